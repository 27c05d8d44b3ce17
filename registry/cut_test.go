package registry_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/seamark-mesh/seamark/registry"
)

// TestMarkOfAViewIsNoChange: a reader that loses the stream and finds it again shows the
// same zone. Its watchers were told that anything may differ, each time.
func TestMarkOfAViewIsNoChange(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r := newReader(drawHonest(t).messages)
		r.fold.Synced()
		var store registry.Store
		store.Publish(r.fold.View())
		watcher := store.Watch()
		last, _, _ := watcher.Poll()
		for _, m := range r.history {
			r.take(m)
			v := r.fold.View()
			shown := []*registry.View{v}
			cut := v.CutOff(registry.Cut{Since: time.Unix(1_800_000_000, 0), Reason: "a test"})
			switch rapid.IntRange(0, 3).Draw(t, "shown") {
			case 0:
				shown = []*registry.View{cut}
			case 1:
				shown = []*registry.View{v, cut}
			case 2:
				shown = []*registry.View{v, cut, v}
			}
			for n, v := range shown {
				store.Publish(v)
				now, delta, fresh := watcher.Poll()
				if !fresh || now != v {
					t.Fatal("the watcher does not see the View that was published")
				}
				if n > 0 && !delta.None() || delta.All {
					t.Fatalf("of the View as of %d, shown for the %d. time, it is told %+v", v.Sequence(), n+1, delta)
				}
				checkDelta(t, last, now, delta)
				last = now
			}
		}
	})
}
