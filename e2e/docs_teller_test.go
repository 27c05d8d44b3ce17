package e2e

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/replica"
	"github.com/seamark-mesh/seamark/registry/stream"
	"github.com/seamark-mesh/seamark/registry/stream/streamtest"
)

// teller picks the story's messages from the stream.
type teller struct {
	t    *testing.T
	conn *stream.Conn
	all  map[string]told
}

func (s teller) event(name string) *registry.Event {
	s.t.Helper()
	e, err := registry.Decode(s.all[name].body)
	if err != nil {
		s.t.Fatalf("%s: %v", name, err)
	}
	return e
}

// stream opens one of the two streams.
func (s teller) stream(name string) jetstream.Stream {
	s.t.Helper()
	return openStream(s.t, jetStream(s.t, s.conn), name)
}

// tell makes a message part of the story.
func (s teller) tell(name string, m *jetstream.RawStreamMsg) {
	s.all[name] = told{subject: m.Subject, sequence: m.Sequence, header: m.Header, body: m.Data}
}

// await waits for the first message on the stream that is as wanted.
func (s teller) await(name string, wanted func(*registry.Event) bool) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	events := s.stream(stream.EventsStream)
	for sequence := uint64(1); ; {
		m, err := events.GetMsg(ctx, sequence)
		if err != nil {
			if !pause(ctx, 5*time.Millisecond) {
				s.t.Fatalf("the story lacks %s: %v", name, err)
			}
			continue
		}
		sequence++
		if e, err := registry.Decode(m.Data); err == nil && wanted(e) {
			s.tell(name, m)
			return
		}
	}
}

// lease waits until the agent's lease says that an event is acknowledged. On a slow
// machine the agent may have published more by the time it is asked.
func (s teller) lease(name string, e *registry.Event) {
	s.t.Helper()
	leases := s.stream(stream.LeaseStream)
	streamtest.Eventually(s.t, time.Minute, "the lease is at the event", func() bool {
		m, err := leases.GetLastMsgForSubject(s.t.Context(), stream.LeaseSubject("amber"))
		if err != nil {
			return false
		}
		l, err := registry.DecodeLease(m.Data)
		if err != nil || l.Epoch != e.Epoch || l.Revision < e.Revision || l.Phase != registry.PhaseSynced {
			return false
		}
		s.tell(name, m)
		return true
	})
}

// note writes what no part of the product writes yet, as the agent would.
func (s teller) note() {
	s.t.Helper()
	writer := s.conn.Writer("amber")
	at, err := writer.ReadLease(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	fence, _, err := writer.Last(s.t.Context(), registry.Fact{Writer: "amber", Kind: registry.KindEpoch})
	if err != nil {
		s.t.Fatal(err)
	}
	l := at.Lease
	e := &registry.Event{
		Schema: registry.Schema, ID: fmt.Sprintf("amber-%d-%d-J5QXC2LTMVQW2YLSNMZDAMRWGE", l.Epoch, l.Revision+1), Kind: registry.KindNote, Writer: "amber",
		Epoch: l.Epoch, Revision: l.Revision + 1, Time: time.Now().UTC(), Agent: l.Agent, Cause: registry.CauseChange,
		Note: &registry.Note{Kind: "refused", Text: "service default/bad*name: the name has a character that no mesh name can have", Data: map[string]string{"reason": "name-characters"}},
	}
	if _, err := writer.Publish(s.t.Context(), []*registry.Event{e}, fence.Sequence); err != nil {
		s.t.Fatal(err)
	}
	s.await("note", func(e *registry.Event) bool { return e.Kind == registry.KindNote })
}

// observed lets an observer say what becomes of a cluster whose agent has ended, and
// then drains it.
func (s teller) observed() {
	s.t.Helper()
	seen := time.Now().UTC().Truncate(time.Millisecond)
	report := registry.ProbeReport{
		Schema: registry.Schema, Vantage: "_dns-dns-1", Agent: "global-dns@dns-1", Cluster: "amber", Time: seen,
		Gateways: []registry.GatewayReport{{
			Name: "gw-1", Since: seen.Add(-time.Minute), Error: "198.51.100.1:8080: connection refused",
			Latency: &registry.Latency{Count: 100, Min: 11.2, Mean: 12.5, P99: 19.75},
		}},
	}
	if _, err := s.conn.PutProbe(s.t.Context(), report); err != nil {
		s.t.Fatal(err)
	}
	s.probe("probe")
	var store registry.Store
	ctx, cancel := context.WithCancel(s.t.Context())
	var wg sync.WaitGroup
	follower := replica.New(&store, s.conn, unheard{}, slog.New(slog.DiscardHandler))
	wg.Go(func() { _ = follower.Run(ctx) })
	defer wg.Wait()
	defer cancel()
	observing := startQuickObserver(s.t, s.conn, &store)
	defer observing.stop()
	s.await("state", func(e *registry.Event) bool { return e.State != nil })
	drain := registry.Order{Kind: registry.OrderDrain, Target: "amber", By: "ada", Reason: "kernel update", For: 1800, Failback: 60}
	if _, err := s.conn.PutOrder(s.t.Context(), drain, "ada@desk-7", registry.CauseChange, 0); err != nil {
		s.t.Fatal(err)
	}
	s.await("drain", func(e *registry.Event) bool { return e.Order != nil && e.Order.Kind == registry.OrderDrain })
}

// probe takes the report that stands.
func (s teller) probe(name string) {
	s.t.Helper()
	m, err := s.stream(stream.LeaseStream).GetLastMsgForSubject(s.t.Context(), stream.ProbeSubject("_dns-dns-1", "amber"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.tell(name, m)
}
