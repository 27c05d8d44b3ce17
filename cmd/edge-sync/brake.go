package main

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/sync/edge"
)

// brakeCollector shows an agent's brake to Prometheus at the moment it is asked.
type brakeCollector struct {
	agent                         *edge.Agent
	held, since, holds, decisions *prometheus.Desc
}

func newBrakeCollector(agent *edge.Agent) *brakeCollector {
	newDesc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return &brakeCollector{
		agent: agent,
		held:  newDesc("seamark_brake_held", "Services and instances that were deregistered and are held back.", "what"),
		since: newDesc("seamark_brake_held_since_seconds", "When what is held back began to be, in Unix seconds; 0: nothing is held."),
		holds: newDesc("seamark_brake_holds_total", "How often so much was deregistered that it was held back."),
		decisions: newDesc("seamark_brake_decisions_total",
			"What became of what was held back: approved, rejected, passed, left (the cluster was ordered to), returned (the registry has it again).", "decision"),
	}
}

// Describe sends nothing: what is collected follows from the agent.
func (c *brakeCollector) Describe(chan<- *prometheus.Desc) {}

// Collect reads the agent's status once.
func (c *brakeCollector) Collect(out chan<- prometheus.Metric) {
	s := c.agent.Status()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge(c.held, float64(s.Brake.Services), "services")
	gauge(c.held, float64(s.Brake.Instances), "instances")
	since := 0.0
	if s.Brake.State.Open() {
		since = float64(s.Brake.Since.UnixMilli()) / 1000
	}
	gauge(c.since, since)
	counter(c.holds, s.Brakes)
	for _, state := range []registry.BrakeState{
		registry.BrakeApproved, registry.BrakeRejected, registry.BrakePassed, registry.BrakeLeft, registry.BrakeReturned,
	} {
		counter(c.decisions, s.BrakesEnded[state], string(state))
	}
}

// brakeStatus is what /v1/status says of the brake; nil when nothing is held.
type brakeStatus struct {
	ID        string              `json:"id,omitempty"` // once it was told
	State     registry.BrakeState `json:"state"`
	Services  int                 `json:"services"`
	Instances int                 `json:"instances"`
	Since     time.Time           `json:"since"`
	Until     time.Time           `json:"until,omitzero"`
}

func heldBack(b registry.Brake) *brakeStatus {
	if !b.State.Open() {
		return nil
	}
	return &brakeStatus{ID: b.ID, State: b.State, Services: b.Services, Instances: b.Instances, Since: b.Since, Until: b.Until}
}
