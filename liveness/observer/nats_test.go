package observer_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/liveness/observer"
	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/replica"
	"github.com/seamark-mesh/seamark/registry/stream"
	"github.com/seamark-mesh/seamark/registry/stream/streamtest"
)

// node is an observer with a replica on a real stream.
type node struct {
	*observer.Observer
	store *registry.Store
	conn  *stream.Conn
	stop  func()
}

// silentMetrics are told and forget.
type silentMetrics struct{}

func (silentMetrics) Turned(registry.ClusterID, registry.Liveness) {}
func (silentMetrics) Alarmed(string)                               {}
func (silentMetrics) Took(registry.Writer, registry.Outcome)       {}
func (silentMetrics) Propagated(registry.ClusterID, time.Duration) {}
func (silentMetrics) Repaired(registry.ClusterID, string)          {}

const quickLapse = 1500 * time.Millisecond

// startNode runs a node on a connection, until stopped or the test ends.
func startNode(t *testing.T, name string, conn *stream.Conn) *node {
	t.Helper()
	logger := slog.New(slog.DiscardHandler)
	n := &node{store: &registry.Store{}, conn: conn}
	timing := observer.Timing{Renew: 200 * time.Millisecond, Lapse: quickLapse, Round: 50 * time.Millisecond, Pause: time.Second, Retry: 200 * time.Millisecond}
	settings := observer.Settings{Lapse: quickLapse, DownAfter: time.Minute, ReportAge: 2 * time.Second}
	made, err := observer.New(observer.Config{Agent: name, Logger: logger, Metrics: silentMetrics{}, Timing: timing}, settings, n.store, conn.Writer(registry.Observer), conn)
	if err != nil {
		t.Fatal(err)
	}
	n.Observer = made
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var wg sync.WaitGroup
	followed := replica.New(n.store, conn, silentMetrics{}, logger)
	wg.Go(func() { _ = followed.Run(ctx) })
	wg.Go(func() { _ = made.Run(ctx) })
	n.stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	t.Cleanup(n.stop)
	return n
}

// agents keeps the leases of clusters alive, each until it is stopped.
func agents(t *testing.T, conn *stream.Conn, ids ...registry.ClusterID) (stop map[registry.ClusterID]func()) {
	t.Helper()
	stop = map[registry.ClusterID]func(){}
	for _, id := range ids {
		w := conn.Writer(registry.Writer(id))
		epoch := uint64(time.Now().Unix())
		event := func(revision uint64, kind registry.Kind) *registry.Event {
			return &registry.Event{
				Schema: registry.Schema, ID: fmt.Sprintf("%s-%d-%d", id, epoch, revision), Kind: kind, Writer: registry.Writer(id),
				Epoch: epoch, Revision: revision, Time: time.Now().UTC(), Cause: registry.CauseChange,
			}
		}
		takeover, record := event(1, registry.KindEpoch), event(2, registry.KindCluster)
		takeover.Takeover = &registry.EpochRecord{}
		record.Cluster = &registry.ClusterRecord{Cluster: id, Gateways: []registry.Gateway{
			{Name: "gw-1", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Ports: map[string]int{"http": 80}, Weight: 1},
		}}
		fence, err := w.PutEpoch(t.Context(), takeover, 0)
		if err == nil {
			_, err = w.Publish(t.Context(), []*registry.Event{record}, fence)
		}
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
		var wg sync.WaitGroup
		wg.Go(func() {
			var sequence uint64
			for {
				l := registry.Lease{Schema: registry.Schema, Writer: registry.Writer(id), Agent: "agent", Phase: registry.PhaseSynced, Epoch: epoch, Revision: 2, Time: time.Now()}
				if next, err := w.PutLease(ctx, l, sequence); err == nil {
					sequence = next
				}
				if !sleep(ctx, 200*time.Millisecond) {
					return
				}
			}
		})
		stop[id] = sync.OnceFunc(func() { cancel(); wg.Wait() })
		t.Cleanup(stop[id])
	}
	return stop
}

func leads(n *node) func() bool { return func() bool { return n.Status().Leading } }

func is(n *node, id registry.ClusterID, want registry.Liveness) func() bool {
	return func() bool {
		s := n.store.View().State(id)
		return s != nil && s.State == want
	}
}

// TestElectionOnARealStream: of two observers one leads; when it ends in order the
// other one goes on at once.
func TestElectionOnARealStream(t *testing.T) {
	server, conn := streamtest.Streams(t)
	stop := agents(t, conn, clusters...)
	first := startNode(t, "one", streamtest.Connect(t, server))
	streamtest.Eventually(t, 5*time.Second, "the first leads", leads(first))
	second := startNode(t, "two", streamtest.Connect(t, server))
	stop["bronze"]()
	streamtest.Eventually(t, 10*time.Second, "bronze is stale for both", func() bool {
		return is(first, "bronze", registry.Stale)() && is(second, "bronze", registry.Stale)()
	})
	if second.Status().Leading {
		t.Error("both lead")
	}
	first.stop()
	streamtest.Eventually(t, 5*time.Second, "the second leads", leads(second))
	stop["amber"]()
	streamtest.Eventually(t, 10*time.Second, "amber is stale", is(second, "amber", registry.Stale))
	auditStream(t, conn)
}

// TestTheLoserIsFenced: the leader is cut off behind a black hole. Another one takes
// over; what the first one had on its way changes nothing any more.
func TestTheLoserIsFenced(t *testing.T) {
	server, conn := streamtest.Streams(t)
	stop := agents(t, conn, clusters...)
	proxy := streamtest.NewProxy(t, server.ClientURL())
	first := startNode(t, "one", streamtest.ConnectTo(t, proxy.URL()))
	streamtest.Eventually(t, 5*time.Second, "the first leads", leads(first))
	second := startNode(t, "two", streamtest.Connect(t, server))
	streamtest.Eventually(t, 5*time.Second, "the second is there", func() bool { return second.Status().Holder == "one" })
	proxy.Hold()
	stop["bronze"]()
	streamtest.Eventually(t, 10*time.Second, "the second leads", leads(second))
	streamtest.Eventually(t, 10*time.Second, "bronze is stale", is(second, "bronze", registry.Stale))
	proxy.Heal()
	streamtest.Eventually(t, 20*time.Second, "the first knows", func() bool {
		return is(first, "bronze", registry.Stale)() && !first.Status().Leading && first.Status().Holder == "two"
	})
	if !second.Status().Leading {
		t.Error("the first one took it back")
	}
	auditStream(t, conn)
}

// TestADrainIsGivenAgainAsItEnds: the observer lifts only the drain that it saw end.
func TestADrainIsGivenAgainAsItEnds(t *testing.T) {
	server, conn := streamtest.Streams(t)
	agents(t, conn, clusters...)
	n := startNode(t, "one", streamtest.Connect(t, server))
	drain := func(seconds int, expect uint64) (uint64, error) {
		o := registry.Order{Kind: registry.OrderDrain, Target: "bronze", By: "somebody", Reason: "by the test", For: seconds}
		return conn.PutOrder(t.Context(), o, "test", registry.CauseChange, expect)
	}
	drained := func() *registry.StandingOrder { return n.store.View().Drained("bronze", registry.Labels{}) }
	if _, err := drain(1, 0); err != nil {
		t.Fatal(err)
	}
	streamtest.Eventually(t, 5*time.Second, "bronze is drained", func() bool { return drained() != nil })
	streamtest.Eventually(t, 10*time.Second, "the drain is over", func() bool { return drained() == nil })
	for range 4 { // around the end of each, the next is given
		sequence, err := drain(1, stream.AnySequence)
		if err != nil {
			t.Fatal(err)
		}
		sleep(t.Context(), 995*time.Millisecond)
		again, err := drain(600, stream.AnySequence)
		if err != nil {
			t.Fatal(err)
		}
		sleep(t.Context(), 100*time.Millisecond)
		o, m, _, err := conn.LastOrder(t.Context(), registry.OrderDrain, "bronze")
		if err != nil || o.Lifted || m.Sequence != again {
			t.Fatalf("after the drain at %d another one at %d was given, and %+v stands at %d (%v)", sequence, again, o, m.Sequence, err)
		}
	}
	auditStream(t, conn)
}

// auditStream holds the whole history to the writer's protocol, and what is read from
// the last message of each fact to what is read from all.
func auditStream(t *testing.T, conn *stream.Conn) {
	t.Helper()
	read := func(from stream.StartAt) []registry.Message {
		var all []registry.Message
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_ = conn.Read(ctx, from, func(b stream.Batch) error {
			all = append(all, b.Messages...)
			if b.CaughtUp {
				return context.Canceled
			}
			return nil
		})
		return all
	}
	history := read(stream.StartAt{Policy: stream.WholeHistory})
	whole, latest := fold(history), fold(read(stream.StartAt{Policy: stream.LastPerSubject}))
	if !bytes.Equal(whole.AppendCanonical(nil), latest.AppendCanonical(nil)) {
		t.Error("the last message of each fact and the whole history give different views")
	}
	var epoch, revision uint64
	epochs := 0
	for _, m := range history {
		if m.Fact.Writer != registry.Observer {
			continue
		}
		if m.Epoch != epoch {
			epoch, revision = m.Epoch, 0
			epochs++
			if m.Fact.Kind != registry.KindEpoch {
				t.Errorf("epoch %d begins with a %s", epoch, m.Fact.Kind)
			}
		}
		if revision++; m.Refused != nil || m.Revision != revision {
			t.Errorf("sequence %d: revision %d follows %d (%v)", m.Sequence, m.Revision, revision-1, m.Refused)
		}
	}
	if epochs == 0 || len(history) == 0 {
		t.Errorf("%d messages with %d epochs of the observer", len(history), epochs)
	}
}
