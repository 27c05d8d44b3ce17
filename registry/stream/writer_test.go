package stream_test

import (
	"slices"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
	"github.com/seamark-mesh/seamark/registry/stream/streamtest"
)

func TestStaleWriterStoresNothing(t *testing.T) {
	for name, test := range map[string]struct{ replicas, events int }{
		"one replica, single":    {1, 1},
		"one replica, several":   {1, 10},
		"one replica, batch":     {1, 100},
		"three replicas, single": {3, 1},
		"three replicas, batch":  {3, 100},
	} {
		t.Run(name, func(t *testing.T) {
			c := connect(t, test.replicas)
			first := newAuthor("amber")
			old, new := c.Writer("amber"), c.Writer("amber")
			fence := first.begin(t, old, 0)
			publish(t, old, fence, first.services(test.events, "before")...)
			second := first.successor()
			next := second.begin(t, new, fence)
			before := lastSequence(t, c, stream.EventsStream)

			_, err := old.Publish(t.Context(), first.services(test.events, "stale"), fence)
			if !is(err, registry.ErrFenced) {
				t.Errorf("a stale writer's publish: %v, want ErrFenced", err)
			}
			if _, err := old.PutEpoch(t.Context(), first.takeover(), fence); !is(err, registry.ErrConflict) {
				t.Errorf("a stale writer's epoch: %v, want ErrConflict", err)
			}
			if after := lastSequence(t, c, stream.EventsStream); after != before {
				t.Errorf("a stale writer stored %d messages", after-before)
			}
			publish(t, new, next, second.services(test.events, "after")...)
			if after := lastSequence(t, c, stream.EventsStream); after != before+uint64(test.events) {
				t.Errorf("the new writer stored %d messages, want %d", after-before, test.events)
			}
		})
	}
}

// connect starts so many servers, with streams of as many replicas.
func connect(t testing.TB, replicas int) *stream.Conn {
	t.Helper()
	if replicas == 1 {
		_, c := streamtest.Streams(t)
		return c
	}
	c := streamtest.Connect(t, streamtest.Cluster(t, replicas)...)
	streamtest.Create(t, c, replicas)
	return c
}

// connectTwice starts a server, with a connection for a writer and one for a reader.
func connectTwice(t testing.TB) (writer, reader *stream.Conn) {
	t.Helper()
	s, c := streamtest.Streams(t)
	return c, streamtest.Connect(t, s)
}

func TestResendIsStoredOnce(t *testing.T) {
	for name, test := range map[string]struct{ replicas, events int }{
		"one replica, single":    {1, 1},
		"one replica, several":   {1, 10},
		"one replica, batch":     {1, 100},
		"three replicas, single": {3, 1},
		"three replicas, batch":  {3, 100},
	} {
		t.Run(name, func(t *testing.T) {
			c := connect(t, test.replicas)
			a, w := newAuthor("amber"), c.Writer("amber")
			fence := a.begin(t, w, 0)
			events := a.services(test.events, "s")
			publish(t, w, fence, events...)
			publish(t, w, fence, events...)
			half := events[len(events)/2:]
			publish(t, w, fence, half...) // another shape of the same
			ids := storedIDs(t, c)
			if len(ids) != test.events+1 {
				t.Errorf("%d messages are stored, want %d", len(ids), test.events+1)
			}
			for _, e := range events {
				if !slices.Contains(ids, e.ID) {
					t.Errorf("%s is not stored", e.ID)
				}
			}
		})
	}
}

// A batch of which one message is stored already is refused whole by the server
// (10201): the rest must be stored all the same.
func TestBatchThatIsPartlyStored(t *testing.T) {
	c := connect(t, 1)
	a, w := newAuthor("amber"), c.Writer("amber")
	fence := a.begin(t, w, 0)
	events := a.services(100, "s")
	publish(t, w, fence, events[:7]...)
	publish(t, w, fence, events...)
	ids := storedIDs(t, c)
	if len(ids) != 101 {
		t.Fatalf("%d messages are stored, want 101", len(ids))
	}
	for n, e := range events {
		if ids[n+1] != e.ID {
			t.Fatalf("message %d is %s, want %s", n+1, ids[n+1], e.ID)
		}
	}
}

func TestEpochGivenAgainIsTheSame(t *testing.T) {
	c := connect(t, 1)
	a, w := newAuthor("amber"), c.Writer("amber")
	e := a.takeover()
	first, err := w.PutEpoch(t.Context(), e, 0)
	if err != nil {
		t.Fatal(err)
	}
	again, err := w.PutEpoch(t.Context(), e, 0)
	if err != nil || again != first {
		t.Errorf("the same record again: sequence %d, %v; want %d", again, err, first)
	}
	if _, err := w.PutEpoch(t.Context(), a.takeover(), 0); !is(err, registry.ErrConflict) {
		t.Errorf("another record on the old expectation: %v, want ErrConflict", err)
	}
	refresh, err := w.PutEpoch(t.Context(), a.takeover(), first)
	if err != nil || refresh <= first {
		t.Errorf("refresh: sequence %d, %v", refresh, err)
	}
	if _, err := w.Publish(t.Context(), a.services(1, "s"), first); !is(err, registry.ErrFenced) {
		t.Errorf("publish with the fence before the refresh: %v, want ErrFenced", err)
	}
	publish(t, w, refresh, a.service("s", 1))
}

func TestPublishRefusesWhatIsNotOurs(t *testing.T) {
	c := connect(t, 1)
	a, w := newAuthor("amber"), c.Writer("amber")
	fence := a.begin(t, w, 0)
	if _, err := w.Publish(t.Context(), newAuthor("bronze").services(1, "s"), fence); err == nil {
		t.Error("an event of another writer is published")
	}
	if _, err := w.Publish(t.Context(), a.services(1, "s"), 0); err == nil {
		t.Error("an event is published without a fence")
	}
	if n := lastSequence(t, c, stream.EventsStream); n != 1 {
		t.Errorf("%d messages are stored, want 1", n)
	}
}

func TestLoad(t *testing.T) {
	c := connect(t, 1)
	a, w := newAuthor("amber"), c.Writer("amber")
	fence := a.begin(t, w, 0)
	other, ow := newAuthor("bronze"), c.Writer("bronze")
	otherFence := other.begin(t, ow, 0)
	publish(t, w, fence, a.services(60, "s")...)
	publish(t, ow, otherFence, other.services(60, "s")...)
	publish(t, w, fence, a.services(50, "s")...)
	messages, err := w.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(messages) != 61 {
		t.Errorf("%d messages, want 60 services and the epoch", len(messages))
	}
	if !slices.IsSortedFunc(messages, func(a, b registry.Message) int { return int(a.Sequence) - int(b.Sequence) }) {
		t.Error("the messages are not in the stream's order")
	}
	for _, m := range messages {
		if m.Fact.Writer != "amber" || m.Refused != nil {
			t.Errorf("message %d: %v %v", m.Sequence, m.Fact, m.Refused)
		}
	}
	if empty, err := c.Writer("cobalt").Load(t.Context()); err != nil || len(empty) != 0 {
		t.Errorf("a writer without messages: %d, %v", len(empty), err)
	}
}

func TestNow(t *testing.T) {
	c := connect(t, 1)
	now, err := c.Writer("amber").Now(t.Context())
	if err != nil || time.Since(now).Abs() > 5*time.Second {
		t.Errorf("Now() = %v, %v", now, err)
	}
}
