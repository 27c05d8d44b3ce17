package main

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/seamark-mesh/seamark/cmd/internal/config"
	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/replica"
	"github.com/seamark-mesh/seamark/registry/stream"
	"github.com/seamark-mesh/seamark/registry/stream/streamtest"
	"github.com/seamark-mesh/seamark/sync/edge"
)

// node is one global-dns, without DNS and HTTP.
type node struct {
	store   *registry.Store
	replica *replica.Replica
	kept    *keeper
	log     *bytes.Buffer // to be read when it has stopped; see said
	guard   *locked
	stop    func()
}

// startNode starts one that neither probes nor observes.
func startNode(t *testing.T, url, path string) *node {
	t.Helper()
	return startNodeWith(t, url, path, "probes: {enabled: false}\nobserver: {enabled: false}\n")
}

// startNodeWith starts one with this configuration besides.
func startNodeWith(t *testing.T, url, path, configuration string) *node {
	t.Helper()
	n := &node{store: &registry.Store{}, log: &bytes.Buffer{}}
	n.guard = &locked{to: n.log}
	logger := slog.New(slog.NewTextHandler(n.guard, nil))
	c := mustLoad(t, configuration)
	c.NATS.Servers, c.Checkpoint.Path, c.Checkpoint.Interval = []string{url}, config.Path(path), 200*time.Millisecond
	metrics := prometheus.NewRegistry()
	conn := &connection{
		config: c, logger: logger, losses: newLosses(metrics),
		probes: newProbes(c.Probes, n.store, metrics, logger), observing: newObserving(c.Observer, n.store, metrics, logger),
	}
	n.replica = replica.New(n.store, conn, newObserver(metrics), logger)
	n.replica.Use(c.options(conn))
	n.kept = newKeeper(c, n.store, metrics, logger)
	n.kept.resume(n.replica)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- conn.run(ctx, n.replica, n.kept) }()
	n.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("it ended with %v", err)
		}
		if t.Failed() {
			t.Logf("log:\n%s", n.log)
		}
	})
	t.Cleanup(n.stop)
	return n
}

// locked is a log that several goroutines write.
type locked struct {
	mu sync.Mutex
	to *bytes.Buffer
}

func (l *locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.to.Write(b)
}

// serves reports whether a cluster serves a service.
func serves(v *registry.View, cluster registry.ClusterID, name string) bool {
	e, ok := v.Service(registry.ServiceKey{Namespace: "default", Name: name})
	return ok && e.Record(cluster) != nil && e.Record(cluster).Serving > 0
}

// watch fails the test when a View of the node misses what is registered, or goes back.
func (n *node) watch(t *testing.T, want map[string]registry.ClusterID) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		views, last := n.store.Watch(), uint64(0)
		for {
			v, _, err := views.Next(ctx)
			if err != nil {
				return
			}
			if v.Sequence() < last {
				t.Errorf("the sequence went back from %d to %d", last, v.Sequence())
			}
			last = v.Sequence()
			for name, cluster := range want {
				if !serves(v, cluster, name) {
					t.Errorf("%s of %s is not served at %d", name, cluster, v.Sequence())
				}
			}
			if v.Zone() == nil || v.Zone().TTL != 9 {
				t.Errorf("the zone record is %+v", v.Zone())
			}
		}
	})
	return func() { cancel(); wg.Wait() }
}

// source is a registry that says what it is told.
type source struct {
	mu      sync.Mutex
	names   []string
	changed chan struct{}
}

func newSource(names ...string) *source { return &source{names: names, changed: make(chan struct{})} }

func (s *source) put(names ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names = names
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *source) now() (registry.Snapshot, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var services []registry.Service
	for _, name := range s.names {
		services = append(services, registry.Service{
			Key:       registry.ServiceKey{Namespace: "default", Name: name},
			Instances: []registry.Instance{{ID: name, Address: "10.0.0.1", Port: 80, Weight: 1, Health: registry.Passing}},
		})
	}
	return registry.NewSnapshot("1", services...), s.changed
}

func (s *source) Watch(ctx context.Context, emit func(registry.Snapshot)) error {
	for {
		snapshot, changed := s.now()
		emit(snapshot)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-changed:
		}
	}
}

func (s *source) Read(context.Context) (registry.Snapshot, error) {
	snapshot, _ := s.now()
	return snapshot, nil
}

func startAgent(t *testing.T, s *server.Server, cluster registry.ClusterID, from *source) (stop func()) {
	t.Helper()
	return startAgentOn(t, streamtest.Connect(t, s), cluster, edge.Settings{}, from)
}

// startAgentOn starts an agent on a connection, which is closed when it stops.
func startAgentOn(t *testing.T, c *stream.Conn, cluster registry.ClusterID, settings edge.Settings, from *source) (stop func()) {
	t.Helper()
	a, err := edge.New(edge.Config{
		Cluster: cluster, Agent: "agent", Version: "test", Source: "test", Logger: slog.New(slog.DiscardHandler),
		Timing: edge.Timing{Renew: 500 * time.Millisecond, Lapse: 2 * time.Second, Compare: 5 * time.Second},
	}, settings, from, c.Writer(registry.Writer(cluster)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	stop = sync.OnceFunc(func() { cancel(); <-done; c.Close() })
	t.Cleanup(stop)
	return stop
}

// harbour is a mesh with two global-dns, one agent that lives and one that has died.
type harbour struct {
	server *server.Server
	direct *stream.Conn
	amber  *source
	nodes  [2]*node
	backup string
}

func newHarbour(t *testing.T, purgeable bool) *harbour {
	h := &harbour{amber: newSource("web", "api"), backup: t.TempDir()}
	h.server = streamtest.Start(t)
	h.direct = streamtest.Connect(t, h.server)
	if purgeable {
		streamtest.Create(t, h.direct, 1)
		s := h.stream(t)
		c := s.CachedInfo().Config
		c.DenyPurge = false
		if err := streamtest.JetStream(t, h.direct).DeleteStream(t.Context(), stream.EventsStream); err != nil {
			t.Fatal(err)
		}
		if _, err := streamtest.JetStream(t, h.direct).CreateStream(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	h.nodes[0] = startNode(t, h.server.ClientURL(), "")
	h.eventually(t, "it is ready", func() bool { return h.nodes[0].replica.Ready() == nil })
	// What the operator has said differs from the configuration.
	zone := *h.nodes[0].store.View().Zone()
	zone.TTL = 9
	last, _, err := h.direct.Last(t.Context(), replica.ZoneFact)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.direct.Put(t.Context(), replica.ZoneEvent(zone, "operator", registry.CauseChange, time.Now()), last.Sequence); err != nil {
		t.Fatal(err)
	}
	h.nodes[1] = startNode(t, h.server.ClientURL(), "")
	startAgent(t, h.server, "amber", h.amber)
	dies := startAgent(t, h.server, "bronze", newSource("old"))
	h.eventually(t, "both know all", func() bool {
		for _, n := range h.nodes {
			v := n.store.View()
			if !serves(v, "amber", "web") || !serves(v, "bronze", "old") || v.Zone() == nil || v.Zone().TTL != 9 {
				return false
			}
		}
		return true
	})
	dies()
	stopped := streamtest.Stop(t, h.server)
	if err := os.CopyFS(h.backup, os.DirFS(stopped.Dir())); err != nil {
		t.Fatal(err)
	}
	h.server = streamtest.StartAgain(t, stopped)
	h.eventually(t, "the server is back", func() bool { _, err := h.direct.State(t.Context()); return err == nil })
	h.amber.put("web", "api", "new") // after the backup
	order := registry.Order{Kind: registry.OrderDrain, Target: "cobalt", By: "operator", Reason: "after the backup"}
	if _, err := h.direct.PutOrder(t.Context(), order, "operator", registry.CauseChange, 0); err != nil {
		t.Fatal(err)
	}
	h.eventually(t, "the changes are known", func() bool {
		for _, n := range h.nodes {
			if v := n.store.View(); !serves(v, "amber", "new") || len(v.Orders()) != 1 {
				return false
			}
		}
		return true
	})
	return h
}

func (h *harbour) eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	streamtest.Eventually(t, 60*time.Second, what, condition)
}

func (h *harbour) stream(t *testing.T) jetstream.Stream {
	t.Helper()
	s, err := streamtest.JetStream(t, h.direct).Stream(t.Context(), stream.EventsStream)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (h *harbour) delete(t *testing.T) {
	t.Helper()
	for _, name := range []string{stream.EventsStream, stream.LeaseStream} {
		if err := streamtest.JetStream(t, h.direct).DeleteStream(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
}

// restore puts another store in the place of the server's.
func (h *harbour) restore(t *testing.T, from string) {
	t.Helper()
	stopped := streamtest.Stop(t, h.server)
	if err := os.RemoveAll(stopped.Dir()); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(stopped.Dir(), os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	h.server = streamtest.StartAgain(t, stopped)
}

// TestTheAnswersOutliveTheStream: whatever becomes of the stream, nothing that is
// registered is missing for a moment, the sequence never goes back, what the operator
// said stands, and in the end both replicas are equal, without anybody's help.
func TestTheAnswersOutliveTheStream(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(t *testing.T, h *harbour){
		"deleted": func(t *testing.T, h *harbour) { h.delete(t) },
		"deleted, while something changes": func(t *testing.T, h *harbour) {
			h.delete(t)
			for range 20 {
				h.amber.put("web", "api", "new", "later")
				time.Sleep(50 * time.Millisecond)
				h.amber.put("web", "api", "new")
			}
		},
		"made anew by hand, from 1": func(t *testing.T, h *harbour) {
			h.delete(t)
			streamtest.Create(t, h.direct, 1)
		},
		"restored from a backup": func(t *testing.T, h *harbour) { h.restore(t, h.backup) },
		"lost its end, and others went on": func(t *testing.T, h *harbour) {
			other := streamtest.StartWith(t, func(o *server.Options) { o.StoreDir = h.backup })
			c := streamtest.Connect(t, other)
			if _, err := c.FillUp(t.Context(), 3000, "test"); err != nil {
				t.Fatal(err)
			}
			c.Close()
			h.restore(t, streamtest.Stop(t, other).Dir())
		},
		"purged": func(t *testing.T, h *harbour) {
			if err := h.stream(t).Purge(t.Context()); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarbour(t, name == "purged")
			want := map[string]registry.ClusterID{"web": "amber", "api": "amber", "new": "amber", "old": "bronze"}
			var stops []func()
			for _, n := range h.nodes {
				stops = append(stops, n.watch(t, want))
			}
			before := h.nodes[0].store.View()
			began := time.Now()
			lose(t, h)
			h.eventually(t, "it was noticed", func() bool {
				for _, n := range h.nodes {
					if c := n.store.View().Cluster("bronze"); c == nil || !c.Inherited() {
						return false
					}
				}
				return true
			})
			noticed := time.Since(began)
			h.eventually(t, "the agent that lives has published everything anew, and all is current", func() bool {
				for _, n := range h.nodes {
					v := n.store.View()
					if _, cut := v.Cut(); cut || v.Cluster("amber").Inherited() {
						return false
					}
				}
				return true
			})
			mended := time.Since(began)
			h.amber.put("web", "api", "new", "last")
			h.eventually(t, "both are equal and go on", func() bool {
				a, b := h.nodes[0].store.View(), h.nodes[1].store.View()
				return serves(a, "amber", "last") && a.Sequence() == b.Sequence() && bytes.Equal(a.AppendCanonical(nil), b.AppendCanonical(nil))
			})
			for _, stop := range stops {
				stop()
			}
			v := h.nodes[0].store.View()
			if v.Sequence() <= before.Sequence() || !v.Cluster("bronze").Inherited() {
				t.Errorf("sequence %d after %d, bronze inherited: %v", v.Sequence(), before.Sequence(), v.Cluster("bronze").Inherited())
			}
			if orders := v.Orders(); len(orders) != 1 || orders[0].Target != "cobalt" || !orders[0].Stored.Equal(before.Orders()[0].Stored) {
				t.Errorf("the orders are %+v, want the one that held", orders)
			}
			if noticed > 10*time.Second {
				t.Errorf("it was noticed after %v", noticed)
			}
			t.Logf("noticed after %v, mended after %v; sequence %d, then %d", noticed.Round(time.Millisecond), mended.Round(time.Millisecond), before.Sequence(), v.Sequence())
			if strings.Contains(h.nodes[0].log.String(), "panic") {
				t.Error(h.nodes[0].log)
			}
		})
	}
}
