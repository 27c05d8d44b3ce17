package observer_test

import (
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// TestAnObserverBeginsAboveTheEpochsThatItsViewKnows: where stream and leases are lost, and
// the stream's clock shows less than the epoch that readers have seen, they pass over what
// comes below it. An observer that began there said the same again in every round.
func TestAnObserverBeginsAboveTheEpochsThatItsViewKnows(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.putLease(registry.Lease{
			Schema: registry.Schema, Writer: registry.Observer, Agent: "before", Phase: registry.PhaseStopped,
			Epoch: uint64(w.now().Unix()) + 3600, Time: time.Now(),
		})
		p := w.observe("one")
		time.Sleep(time.Minute)
		w.kill("bronze")
		time.Sleep(time.Minute)
		expectSaid(t, w, "bronze stale")
		before := w.view().Observer().Epoch
		w.set(func(w *world) {
			clear(w.leases)
			clear(w.holders)
		})
		w.recreate()
		within(t, time.Minute, "its View holds what it said on the new stream", func() bool {
			s := p.store.View().State("bronze")
			return s != nil && s.State == registry.Stale && s.Sequence > 0
		})
		time.Sleep(2 * time.Minute)
		states := 0
		for _, m := range w.history() {
			if m.Fact.Kind == registry.KindState {
				states++
			}
			if m.Fact.Writer == registry.Observer && m.Epoch <= before {
				t.Fatalf("sequence %d is of epoch %d, and %d had begun before", m.Sequence, m.Epoch, before)
			}
		}
		if states > 3 {
			t.Errorf("%d states were published, of three clusters that do not turn", states)
		}
	})
}
