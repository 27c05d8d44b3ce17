package stream_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
	"github.com/seamark-mesh/seamark/registry/stream/streamtest"
)

// garbage stores messages that nobody can read.
func garbage(t testing.TB, c *stream.Conn, count int, subject func(n int) string) {
	t.Helper()
	want := lastSequence(t, c, stream.EventsStream) + uint64(count)
	for n := range count {
		if err := c.NATS().PublishMsg(&nats.Msg{Subject: subject(n), Data: []byte(`{"schema":"seamark/9.0"}`)}); err != nil {
			t.Fatal(err)
		}
	}
	streamtest.Eventually(t, 20*time.Second, "the garbage is stored", func() bool { return lastSequence(t, c, stream.EventsStream) >= want })
}

// TestTheStateBehindALongRunOfGarbageIsFound: the whole history of a fact was read
// from its beginning, and only the last 10,000 messages of it were kept.
func TestTheStateBehindALongRunOfGarbageIsFound(t *testing.T) {
	c := connect(t, 1)
	a, w := newAuthor("amber"), c.Writer("amber")
	fence := a.begin(t, w, 0)
	fact := a.service("one", 1).Fact()
	const subject = "mesh.v1.amber.svc.default.one"
	publish(t, w, fence, a.service("one", 1), a.service("other", 1), a.service("one", 2))
	good := lastSequence(t, c, stream.EventsStream)
	for _, run := range []int{1, 3, 5, 800, 5000} {
		garbage(t, c, run, func(n int) string {
			if n%2 == 0 {
				return subject
			}
			return fmt.Sprintf("mesh.v1.amber.svc.default.between-%d", n%9)
		})
		end := lastSequence(t, c, stream.EventsStream)
		began := time.Now()
		messages, err := c.LoadFact(t.Context(), fact, end+1)
		if err != nil || len(messages) != 1 || messages[0].Sequence != good || messages[0].Refused != nil || len(messages[0].Event.Service.Instances) != 2 {
			t.Fatalf("behind %d messages: %d, %v", end-good, len(messages), err)
		}
		t.Logf("found behind %d messages after %v", end-good, time.Since(began).Round(10*time.Microsecond))
	}
	none, err := c.LoadFact(t.Context(), a.service("between-1", 1).Fact(), lastSequence(t, c, stream.EventsStream)+1)
	if err != nil || len(none) != 0 {
		t.Errorf("of a fact that never was readable: %d messages, %v", len(none), err)
	}
}

func TestTheHistoryOfAnEpochRecordIsLoadedInOrder(t *testing.T) {
	c := connect(t, 1)
	a, w := newAuthor("amber"), c.Writer("amber")
	first := a.begin(t, w, 0)
	b := a.successor()
	second := b.begin(t, w, first)
	garbage(t, c, 3, func(int) string { return "mesh.v1.amber.epoch" })
	messages, err := c.LoadFact(t.Context(), registry.Fact{Writer: "amber", Kind: registry.KindEpoch}, second+4)
	if err != nil || len(messages) != 2 || messages[0].Sequence != first || messages[1].Sequence != second {
		t.Errorf("%d messages, %v; want those at %d and %d", len(messages), err, first, second)
	}
}
