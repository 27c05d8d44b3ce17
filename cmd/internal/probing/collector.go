package probing

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/seamark-mesh/seamark/liveness/probe"
	"github.com/seamark-mesh/seamark/registry"
)

// maxShown bounds the gateways that have series of their own: the first by cluster and name.
const maxShown = 2000

// collector shows a Prober's verdicts to Prometheus at the moment it is asked.
type collector struct {
	prober                      *probe.Prober
	reached, path, rounds, late *prometheus.Desc
}

// Register shows what a Prober finds; nothing when it is nil.
func Register(r prometheus.Registerer, p *probe.Prober) {
	if p == nil {
		return
	}
	r.MustRegister(&collector{
		prober:  p,
		reached: prometheus.NewDesc("seamark_gateway_reached", "1 while a gateway can be reached from here, 0 while it can't; none while that is not known.", []string{"cluster", "gateway"}, nil),
		path:    prometheus.NewDesc("seamark_gateway_path_seconds", "How long a connection to a gateway took to stand, over the latest 100 that did.", []string{"cluster", "gateway", "stat"}, nil),
		rounds:  prometheus.NewDesc("seamark_probes_total", "Probes of gateways, by result; local: this machine could not carry them out.", []string{"result"}, nil),
		late:    prometheus.NewDesc("seamark_probes_late_total", "Probes that began more than an interval too late, because too many others were under way.", nil, nil),
	})
}

// Describe sends nothing: what is collected follows from the gateways there are.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect reads the verdicts once.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	send := func(d *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, kind, value, labels...)
	}
	counts := c.prober.Counts()
	for result, n := range map[string]uint64{"reached": counts.Reached, "failed": counts.Failed, "local": counts.Local} {
		send(c.rounds, prometheus.CounterValue, float64(n), result)
	}
	send(c.late, prometheus.CounterValue, float64(counts.Late))
	left := maxShown
	for _, cluster := range c.prober.Clusters() {
		verdicts := c.prober.Verdicts(cluster)
		for _, g := range verdicts[:min(len(verdicts), left)] {
			up := 0.0
			if g.Reached {
				up = 1
			}
			send(c.reached, prometheus.GaugeValue, up, string(cluster), g.Name)
			for stat, milliseconds := range stats(g.Latency) {
				send(c.path, prometheus.GaugeValue, milliseconds/1000, string(cluster), g.Name, stat)
			}
		}
		if left -= len(verdicts); left <= 0 {
			return
		}
	}
}

// stats returns the latencies by the name of their label.
func stats(l *registry.Latency) map[string]float64 {
	if l == nil {
		return nil
	}
	return map[string]float64{"min": l.Min, "mean": l.Mean, "p99": l.P99}
}
