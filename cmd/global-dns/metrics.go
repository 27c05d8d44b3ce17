package main

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seamark-mesh/seamark/dnsserver"
	"github.com/seamark-mesh/seamark/dnsserver/transfer"
	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/replica"
)

// observer counts what the replica and the DNS server do.
type observer struct {
	took        *prometheus.CounterVec
	propagated  *prometheus.HistogramVec
	repaired    *prometheus.CounterVec
	answers     *prometheus.CounterVec
	dropped     *prometheus.CounterVec
	noted       *prometheus.CounterVec
	latency     prometheus.Histogram
	transferred *prometheus.CounterVec
}

// What these count comes from two sides: the fast path and the system count by themselves.
const (
	answersName = "seamark_dns_answers_total"
	answersHelp = "DNS answers, by path (fast: copied from what was compiled; complete: made for the question), protocol and response code."
	droppedName = "seamark_dns_dropped_total"
	droppedHelp = "DNS packets and connections that got no answer, by reason."
	notesName   = "seamark_dns_notes_total"
	notesHelp   = "What is worth counting about DNS answers: truncated, cut or failed inside, and the cookies of their queries."
)

func newObserver(r prometheus.Registerer) *observer {
	o := &observer{
		took: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "seamark_events_total",
			Help: "Messages taken from the stream, by writer and by what became of them.",
		}, []string{"writer", "result", "reason"}),
		propagated: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "seamark_propagation_seconds",
			Help:    "From the moment a cluster's agent learnt of a change to the moment it is answered.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10, 60},
		}, []string{"cluster"}),
		repaired: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "seamark_cluster_reloads_total",
			Help: "Clusters loaded again, because a revision was missing or a digest differed.",
		}, []string{"cluster", "reason"}),
		answers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: answersName,
			Help: answersHelp,
		}, []string{"path", "protocol", "rcode"}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: droppedName,
			Help: droppedHelp,
		}, []string{"protocol", "reason"}),
		noted: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: notesName,
			Help: notesHelp,
		}, []string{"protocol", "what"}),
		transferred: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "seamark_dns_transfers_total",
			Help: "Zone transfers that were asked for and NOTIFY messages that were sent, by what became of them.",
		}, []string{"kind", "result"}),
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "seamark_dns_answer_seconds",
			Help:    "From a question's arrival to its answer's departure, on the complete path.",
			Buckets: []float64{.00001, .000025, .00005, .0001, .00025, .0005, .001, .005, .025, .1},
		}),
	}
	r.MustRegister(o.took, o.propagated, o.repaired, o.answers, o.dropped, o.noted, o.latency, o.transferred)
	return o
}

// Took implements [replica.Observer].
func (o *observer) Took(w registry.Writer, out registry.Outcome) {
	o.took.WithLabelValues(string(w), string(out.Result), out.Reason).Inc()
}

// Propagated implements [replica.Observer].
func (o *observer) Propagated(cluster registry.ClusterID, since time.Duration) {
	o.propagated.WithLabelValues(string(cluster)).Observe(max(0, since.Seconds()))
}

// Repaired implements [replica.Observer].
func (o *observer) Repaired(cluster registry.ClusterID, reason string) {
	o.repaired.WithLabelValues(string(cluster), reason).Inc()
}

// fastPath shows what the DNS server's fast path has counted.
type fastPath struct {
	counts                                                              func() dnsserver.Counts
	answers, dropped, noted, failed, names, sets, left, size, took, age *prometheus.Desc
}

func newFastPath(counts func() dnsserver.Counts) *fastPath {
	metric := func(name, help string) *prometheus.Desc { return prometheus.NewDesc(name, help, nil, nil) }
	return &fastPath{
		counts:  counts,
		answers: prometheus.NewDesc(answersName, answersHelp, []string{"path", "protocol", "rcode"}, nil),
		dropped: prometheus.NewDesc(droppedName, droppedHelp, []string{"protocol", "reason"}, nil),
		noted:   prometheus.NewDesc(notesName, notesHelp, []string{"protocol", "what"}, nil),
		failed:  metric("seamark_dns_fast_failed_total", "Answers of the fast path that the system did not take."),
		names:   metric("seamark_dns_compiled_names", "Names whose answers are compiled."),
		sets:    metric("seamark_dns_compiled_sets", "Different sets of compiled answers; names that are answered alike share one."),
		left:    metric("seamark_dns_compiled_left", "Sets of answers that are not compiled for want of room: the complete path makes them."),
		size:    metric("seamark_dns_compiled_bytes", "Length of all compiled answers."),
		took:    metric("seamark_dns_compile_seconds", "How long it took to compile the latest change."),
		age:     metric("seamark_dns_compiled_age_seconds", "Time since the latest change was compiled. It grows while nothing changes, and while this replica is cut off: seamark_cluster_lease_age_seconds tells which."),
	}
}

// Describe sends nothing: some share their name with what the observer counts.
func (f *fastPath) Describe(chan<- *prometheus.Desc) {}

// Collect sums up the readers' counts once.
func (f *fastPath) Collect(out chan<- prometheus.Metric) {
	c := f.counts()
	send := func(d *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, kind, value, labels...)
	}
	for protocol, answers := range c.Answers {
		for rcode, n := range answers {
			send(f.answers, prometheus.CounterValue, float64(n), "fast", string(protocol), rcode)
		}
	}
	for protocol, n := range c.Cookies {
		send(f.noted, prometheus.CounterValue, float64(n), string(protocol), string(dnsserver.NoteGoodCookie))
	}
	if c.Lost != nil {
		send(f.dropped, prometheus.CounterValue, float64(*c.Lost), string(dnsserver.UDP), string(dnsserver.DropKernel))
	}
	send(f.took, prometheus.GaugeValue, c.Compiled.Seconds())
	if !c.Current.IsZero() {
		send(f.age, prometheus.GaugeValue, time.Since(c.Current).Seconds())
	}
	send(f.failed, prometheus.CounterValue, float64(c.Failed))
	send(f.names, prometheus.GaugeValue, float64(c.Names))
	send(f.sets, prometheus.GaugeValue, float64(c.Sets))
	send(f.left, prometheus.GaugeValue, float64(c.Left))
	send(f.size, prometheus.GaugeValue, float64(c.Bytes))
}

// Answered implements [dnsserver.Observer].
func (o *observer) Answered(protocol dnsserver.Protocol, rcode string, took time.Duration) {
	o.answers.WithLabelValues("complete", string(protocol), rcode).Inc()
	o.latency.Observe(took.Seconds())
}

// Dropped implements [dnsserver.Observer].
func (o *observer) Dropped(protocol dnsserver.Protocol, reason dnsserver.Drop) {
	o.dropped.WithLabelValues(string(protocol), string(reason)).Inc()
}

// Noted implements [dnsserver.Observer].
func (o *observer) Noted(protocol dnsserver.Protocol, what dnsserver.Note) {
	o.noted.WithLabelValues(string(protocol), string(what)).Inc()
}

// Transferred implements [dnsserver.Observer].
func (o *observer) Transferred(kind transfer.Kind, result transfer.Result) {
	o.transferred.WithLabelValues(string(kind), string(result)).Inc()
}

// collector shows the current View to Prometheus at the moment it is asked.
type collector struct {
	store   *registry.Store
	replica *replica.Replica

	sequence, synced, services, conflicts, unlisted, clusters, journal, journalReach *prometheus.Desc
	epoch, revision, clusterServices, instances, gateways, quarantined, age, phase   *prometheus.Desc
}

func newCollector(store *registry.Store, r *replica.Replica) *collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("seamark_"+name, help, labels, nil)
	}
	return &collector{
		store: store, replica: r,
		sequence:        desc("sequence", "Sequence of the last message taken from the stream; the SOA serial is this modulo 2^32."),
		synced:          desc("synced", "1 once this replica has caught up with the stream."),
		services:        desc("services", "Services known in any cluster."),
		conflicts:       desc("name_conflicts", "Names at which more than one service is known."),
		unlisted:        desc("namespaces_unlisted", "Namespaces with too many services to be browsed."),
		clusters:        desc("clusters", "Clusters known."),
		journal:         desc("journal_changes", "Changes that the zone's journal can undo for IXFR."),
		journalReach:    desc("journal_reach", "Earliest sequence that IXFR can begin at; more than seamark_sequence when there is none."),
		epoch:           desc("cluster_epoch", "Current epoch of a cluster.", "cluster"),
		revision:        desc("cluster_revision", "Last revision seen of a cluster's current epoch.", "cluster"),
		clusterServices: desc("cluster_services", "Services known in a cluster, tombstones included.", "cluster"),
		instances:       desc("cluster_instances", "Instances registered in a cluster.", "cluster"),
		gateways:        desc("cluster_gateways", "Gateways of a cluster.", "cluster"),
		quarantined:     desc("cluster_quarantined", "Facts of a cluster whose latest message can't be used.", "cluster"),
		age:             desc("cluster_lease_age_seconds", "Time since a cluster's agent renewed its lease.", "cluster"),
		phase:           desc("cluster_phase", "1 for the phase that a cluster's agent is in.", "cluster", "phase"),
	}
}

// Describe sends nothing: what is collected follows from the clusters there are.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect reads the View once.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	v := c.store.View()
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	synced := 0.0
	if v.Synced() {
		synced = 1
	}
	gauge(c.sequence, float64(v.Sequence()))
	gauge(c.synced, synced)
	gauge(c.services, float64(v.Services()))
	gauge(c.conflicts, float64(v.Conflicts()))
	gauge(c.unlisted, float64(v.Unlisted()))
	entries, reach := v.JournalDepth()
	gauge(c.journal, float64(entries))
	gauge(c.journalReach, float64(reach))
	clusters := v.Clusters()
	gauge(c.clusters, float64(len(clusters)))
	for _, s := range clusters {
		id := string(s.ID)
		gauge(c.epoch, float64(s.Epoch), id)
		gauge(c.revision, float64(s.Revision), id)
		gauge(c.clusterServices, float64(s.Services), id)
		gauge(c.instances, float64(s.Instances), id)
		gauge(c.quarantined, float64(s.Quarantined), id)
		if s.Record != nil {
			gauge(c.gateways, float64(len(s.Record.Gateways)), id)
		}
		if l, age, ok := c.replica.Lease(s.ID); ok {
			gauge(c.age, age.Seconds(), id)
			gauge(c.phase, 1, id, string(l.Phase))
		}
	}
}
