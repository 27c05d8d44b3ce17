package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seamark-mesh/seamark/api"
	"github.com/seamark-mesh/seamark/cmd/internal/proc"
	elected "github.com/seamark-mesh/seamark/liveness/observer"
	"github.com/seamark-mesh/seamark/registry"
)

// observing takes part in the election of the observer, and shows what it says.
type observing struct {
	enabled  bool
	settings atomic.Pointer[elected.Settings]
	store    *registry.Store
	logger   *slog.Logger
	running  atomic.Pointer[elected.Observer] // nil: not connected yet, or not wanted

	leading, suspects, blind, state, orders *prometheus.Desc
	turned, alarmed                         *prometheus.CounterVec
}

func newObserving(c Observer, store *registry.Store, metrics prometheus.Registerer, logger *slog.Logger) *observing {
	o := &observing{
		enabled: c.Enabled, store: store, logger: logger,
		leading:  prometheus.NewDesc("seamark_observer_leading", "1 while this replica is the observer, which decides which clusters are up.", nil, nil),
		suspects: prometheus.NewDesc("seamark_observer_suspects", "1 while this replica is the observer and suspects itself, because most clusters would turn at once: it withdraws nothing.", nil, nil),
		blind:    prometheus.NewDesc("seamark_observer_blind", "1 while this replica is the observer and can't judge, because it does not see the stream as it is.", nil, nil),
		state:    prometheus.NewDesc("seamark_cluster_state", "1 for the state that a cluster is in: up, unreachable, stale, down or gone.", []string{"cluster", "state"}, nil),
		orders:   prometheus.NewDesc("seamark_cluster_orders", "Orders in force about a cluster, by kind: leave, drain (of all of it), drain_gateway, drain_service; none where there is no such order.", []string{"cluster", "kind"}, nil),
		turned: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "seamark_observer_transitions_total", Help: "Transitions of clusters that this replica published as the observer.",
		}, []string{"cluster", "to"}),
		alarmed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "seamark_observer_alarms_total", Help: "Alarms that this replica raised as the observer, by kind: mass_turn, mass_withdrawal.",
		}, []string{"kind"}),
	}
	for _, kind := range []string{elected.AlarmMassTurn, elected.AlarmMassWithdrawal} {
		o.alarmed.WithLabelValues(kind)
	}
	o.reload(c)
	metrics.MustRegister(o, o.turned, o.alarmed)
	return o
}

// reload takes up what may change.
func (o *observing) reload(c Observer) {
	settings := c.settings()
	o.settings.Store(&settings)
	if running := o.running.Load(); running != nil {
		running.Reload(settings)
	}
}

// parts returns what runs beside the replica on a connection; nothing when it is not wanted.
func (o *observing) parts(conn *connection) []proc.Part {
	if !o.enabled {
		return nil
	}
	return []proc.Part{{Name: "observer", Run: func(ctx context.Context) error {
		made, err := elected.New(elected.Config{
			Agent: fmt.Sprintf("%s/%d", author(), os.Getpid()), Version: proc.Version(), Logger: o.logger, Metrics: o,
		}, *o.settings.Load(), o.store, conn.Writer(registry.Observer), conn.Conn)
		if err != nil {
			return err
		}
		o.running.Store(made)
		made.Reload(*o.settings.Load()) // it may have changed meanwhile
		return made.Run(ctx)
	}}}
}

// status is what the HTTP interface shows.
func (o *observing) status() api.Observer {
	running := o.running.Load()
	if running == nil {
		known := o.store.View().Observer()
		return api.Observer{Epoch: known.Epoch, Revision: known.Revision}
	}
	return api.Observer(running.Status())
}

// Turned implements [elected.Metrics].
func (o *observing) Turned(cluster registry.ClusterID, to registry.Liveness) {
	o.turned.WithLabelValues(string(cluster), string(to)).Inc()
}

// Alarmed implements [elected.Metrics].
func (o *observing) Alarmed(kind string) { o.alarmed.WithLabelValues(kind).Inc() }

// Describe sends nothing: what is collected follows from the clusters there are.
func (o *observing) Describe(chan<- *prometheus.Desc) {}

// Collect shows what stands, which every replica knows, and what this one does.
func (o *observing) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value int, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(value), labels...)
	}
	flag := func(d *prometheus.Desc, on bool) {
		value := 0
		if on {
			value = 1
		}
		gauge(d, value)
	}
	s := o.status()
	flag(o.leading, s.Leading)
	flag(o.suspects, s.Suspects)
	flag(o.blind, s.Blind != "")
	v := o.store.View()
	for _, c := range v.Clusters() {
		if v.State(c.ID) == nil {
			gauge(o.state, 1, string(c.ID), string(registry.Up))
		}
	}
	for _, stands := range v.States() {
		gauge(o.state, 1, string(stands.Cluster), string(stands.State))
	}
	for of, count := range ordersInForce(v) {
		gauge(o.orders, count, string(of.cluster), of.kind)
	}
}

// orderOf is what orders are counted by.
type orderOf struct {
	cluster registry.ClusterID
	kind    string
}

// ordersInForce counts the drains and leaves that hold.
func ordersInForce(v *registry.View) map[orderOf]int {
	counts := map[orderOf]int{}
	for _, o := range v.Orders() {
		cluster, gateway, service, err := registry.ParseDrainTarget(o.Target) // a leave names a cluster alone
		if err != nil {
			continue // what a View holds can be read
		}
		kind := o.Kind
		switch {
		case gateway != "":
			kind += "_gateway"
		case service != registry.Labels{}:
			kind += "_service"
		}
		counts[orderOf{cluster, kind}]++
	}
	return counts
}
