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
		if n%200 == 199 { // not more than the server can store at its leisure
			if err := c.NATS().FlushTimeout(20 * time.Second); err != nil {
				t.Fatal(err)
			}
		}
	}
	streamtest.Eventually(t, 30*time.Second, "the garbage is stored", func() bool { return lastSequence(t, c, stream.EventsStream) >= want })
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
	for _, run := range []int{1, 3, 5, 800, 2000} {
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

// TestLookingBackLeavesNoConsumerBehind: each look into a history made a consumer that
// the server kept for half a minute, so that a flood of garbage exhausted the
// stream's consumers, for everybody.
func TestLookingBackLeavesNoConsumerBehind(t *testing.T) {
	c := connect(t, 1)
	const facts = 50
	name := func(n int) string { return fmt.Sprintf("g-%d", n%facts) }
	garbage(t, c, 20*facts, func(n int) string { return "mesh.v1.evil.svc.default." + name(n) })
	end := lastSequence(t, c, stream.EventsStream)
	for n := range facts {
		fact := registry.Fact{Writer: "evil", Kind: registry.KindService, Service: registry.ServiceKey{Namespace: "default", Name: name(n)}}
		if messages, err := c.LoadFact(t.Context(), fact, end+1); err != nil || len(messages) > 0 {
			t.Fatalf("%d messages, %v", len(messages), err)
		}
	}
	js := streamtest.JetStream(t, c)
	s, err := js.Stream(t.Context(), stream.EventsStream)
	if err != nil {
		t.Fatal(err)
	}
	if n := s.CachedInfo().State.Consumers; n > 0 {
		t.Errorf("%d consumers are left", n)
	}
}

// TestTheLastBeforeIsFoundOnThreeReplicas: any of them may answer.
func TestTheLastBeforeIsFoundOnThreeReplicas(t *testing.T) {
	c := connect(t, 3)
	a, w := newAuthor("amber"), c.Writer("amber")
	fence := a.begin(t, w, 0)
	publish(t, w, fence, a.service("one", 1))
	want := lastSequence(t, c, stream.EventsStream)
	garbage(t, c, 10, func(n int) string { return fmt.Sprintf("mesh.v1.amber.svc.default.%s", []string{"one", "never"}[n%2]) })
	end := lastSequence(t, c, stream.EventsStream)
	for _, before := range []uint64{want + 1, end, end + 1} {
		streamtest.Eventually(t, 10*time.Second, "no replica lags", func() bool {
			messages, err := c.LoadFact(t.Context(), a.service("one", 1).Fact(), before)
			if err == nil && (len(messages) != 1 || messages[0].Sequence != want) {
				t.Fatalf("before %d: %d messages, want that at %d", before, len(messages), want)
			}
			none, err2 := c.LoadFact(t.Context(), a.service("never", 1).Fact(), before)
			if len(none) > 0 {
				t.Fatalf("before %d: %d messages of what never was", before, len(none))
			}
			return err == nil && err2 == nil
		})
	}
}
