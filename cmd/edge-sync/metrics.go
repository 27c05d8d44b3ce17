package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/sync/edge"
)

// collector shows an agent's status to Prometheus at the moment it is asked.
type collector struct {
	agent *edge.Agent
	mode  func() string // how the source watches; "" when it has but one way

	leader, known, up, epoch, revision, services, pending, gateways *prometheus.Desc
	published, takeovers, truncated, retries, drifts, holds, how    *prometheus.Desc
}

func newCollector(agent *edge.Agent, mode func() string) *collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("seamark_edge_"+name, help, labels, nil)
	}
	return &collector{
		agent: agent, mode: mode,
		leader:    desc("leader", "1 while this agent publishes, 0 while it stands by."),
		known:     desc("registry_known", "1 once the registry was read in full."),
		up:        desc("registry_up", "1 while the registry can be read and trusted."),
		epoch:     desc("epoch", "Epoch of this agent; Unix seconds of its takeover."),
		revision:  desc("revision", "Last revision that the stream acknowledged within the epoch."),
		services:  desc("services", "Services of this cluster on the stream, tombstones included."),
		pending:   desc("pending_services", "Services that may differ from the stream and wait to be published."),
		gateways:  desc("gateways", "Gateways in the cluster's record."),
		published: desc("events_published_total", "Events acknowledged by the stream, by cause.", "cause"),
		takeovers: desc("takeovers_total", "Epochs that this agent began."),
		truncated: desc("services_truncated_total", "Services whose instance list was cut to the server's limit."),
		retries:   desc("publish_retries_total", "Calls to the stream that had to be repeated."),
		drifts:    desc("watch_restarts_total", "Watches begun anew because they had missed something."),
		holds:     desc("snapshots_held_total", "Readings that lost much at once and were held for a second read."),
		how:       desc("source_mode", "How the source watches its registry.", "mode"),
	}
}

// Describe sends nothing: what is collected follows from the agent.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect reads the agent's status once.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	s := c.agent.Status()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge(c.leader, one(s.Role == edge.Leader))
	gauge(c.known, one(s.RegistryKnown))
	gauge(c.up, one(s.RegistryKnown && s.RegistryFault == nil))
	gauge(c.epoch, float64(s.Epoch))
	gauge(c.revision, float64(s.Revision))
	gauge(c.services, float64(s.Keys))
	gauge(c.pending, float64(s.Pending))
	gauge(c.gateways, float64(s.Gateways))
	for _, cause := range []registry.Cause{registry.CauseChange, registry.CauseResync, registry.CauseRefresh} {
		counter(c.published, s.Published[cause], string(cause))
	}
	counter(c.takeovers, s.Takeovers)
	counter(c.truncated, s.Truncated)
	counter(c.retries, s.Retries)
	counter(c.drifts, s.Drifts)
	counter(c.holds, s.Holds)
	if c.mode != nil {
		if mode := c.mode(); mode != "" {
			gauge(c.how, 1, mode)
		}
	}
}

func one(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
