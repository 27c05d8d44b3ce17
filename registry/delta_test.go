package registry_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	"github.com/seamark-mesh/seamark/registry"
)

// TestDeltaNamesAllThatDiffers compares the Views of random histories, cut at random
// places, with what their Deltas and a watcher of them say.
func TestDeltaNamesAllThatDiffers(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		history := drawStream(t).messages
		r := newReader(history)
		var store registry.Store
		watcher := store.Watch()
		before, _, _ := watcher.Poll()
		last := before
		for _, m := range history {
			r.take(m)
			if rapid.IntRange(0, 3).Draw(t, "cut") > 0 {
				continue
			}
			now := r.fold.View()
			if now.Follows(before) {
				checkDelta(t, before, now, now.Delta())
			}
			store.Publish(now)
			before = now
			if rapid.Bool().Draw(t, "watcher looks") {
				v, delta, fresh := watcher.Poll()
				if !fresh || v != now {
					t.Fatal("the watcher does not see the View that was published")
				}
				checkDelta(t, last, v, delta)
				last = v
			}
		}
	})
}

// checkDelta holds a delta to the two Views: all that differs is named.
func checkDelta(t rapid.TB, before, after *registry.View, d registry.Delta) {
	t.Helper()
	if d.Before != before.Sequence() || d.After != after.Sequence() {
		t.Fatalf("the delta is from %d to %d, the Views stand at %d and %d", d.Before, d.After, before.Sequence(), after.Sequence())
	}
	if d.All {
		return
	}
	was, is := contents(before), contents(after)
	for _, l := range everyLabel(was, is) {
		if _, named := slices.BinarySearchFunc(d.Names, l, registry.Labels.Compare); !named && was[l] != is[l] {
			t.Fatalf("%v differs and is not named by %+v: was %s, is %s", l, d, was[l], is[l])
		}
	}
	for _, c := range after.Clusters() {
		old := before.Cluster(c.ID)
		if (old == nil || !reflect.DeepEqual(old.Record, c.Record)) && !slices.Contains(d.Clusters, c.ID) {
			t.Fatalf("the record of %s differs and is not named by %+v", c.ID, d)
		}
	}
	checkDecisions(t, before, after, d)
	if !reflect.DeepEqual(before.Zone(), after.Zone()) && !d.Zone {
		t.Fatal("the zone record differs, and the delta does not say so")
	}
}

// checkDecisions fails when a decision changed and nothing that it rests on is named.
func checkDecisions(t rapid.TB, before, after *registry.View, d registry.Delta) {
	t.Helper()
	for n := range after.Names() {
		for _, e := range n.Known() {
			old, ok := before.Service(e.Key)
			named := d.Zone || slices.Contains(d.Names, n.Labels) ||
				slices.ContainsFunc(e.Records, func(r *registry.Record) bool { return slices.Contains(d.Clusters, r.Cluster) })
			if !named && (!ok || decisions(before, old) != decisions(after, e)) {
				t.Fatalf("what is decided of %v differs, and nothing is named by %+v:\n%s", e.Key, d, decisions(after, e))
			}
		}
	}
}

// contents is what is known of each name, without stamps.
func contents(v *registry.View) map[registry.Labels]string {
	all := map[registry.Labels]string{}
	for n := range v.Names() {
		text := ""
		for _, e := range n.Entries {
			for _, r := range e.Records {
				text += fmt.Sprint(e.Key, r.Cluster, r.Digest)
			}
		}
		all[n.Labels] = text
	}
	return all
}

func everyLabel(a, b map[registry.Labels]string) (all []registry.Labels) {
	for l := range a {
		all = append(all, l)
	}
	for l := range b {
		all = append(all, l)
	}
	return all
}

func TestRefreshIsNoDelta(t *testing.T) {
	t.Parallel()
	s, a := amber()
	f := registry.NewFold()
	s.recordOf(a, registry.ClusterRecord{Cluster: a.cluster, Region: "eu"})
	s.service(a, "change", state(shared...))
	for _, m := range s.messages {
		f.Apply(m.decoded())
	}
	f.View()
	f.Apply(s.service(a, "refresh", state(shared...)).decoded())
	s.recordOf(a, registry.ClusterRecord{Cluster: a.cluster, Region: "eu"})
	f.Apply(s.messages[len(s.messages)-1].decoded())
	if d := f.View().Delta(); !d.None() || d.After != d.Before+2 {
		t.Errorf("the delta of two refreshes is %+v", d)
	}
	f.Apply(s.service(a, "change", state()).decoded())
	if d, want := f.View().Delta().Names, []registry.Labels{api.Labels()}; !slices.Equal(d, want) {
		t.Errorf("the names of the delta are %v, want %v", d, want)
	}
}

func TestDeltaSaysAllWhenMuchChanged(t *testing.T) {
	t.Parallel()
	f := registry.NewFold()
	if d := f.View().Delta(); !d.All || !d.Zone {
		t.Errorf("the delta of a first View is %+v, want all", d)
	}
	all := decodeAll(records(1, registry.MaxChangedNames+1))
	for n, m := range all {
		f.Apply(m)
		if n == registry.MaxChangedNames+1 { // an epoch and a record stand before the services
			break
		}
	}
	full := f.View()
	if d := full.Delta(); d.All || len(d.Names) != registry.MaxChangedNames {
		t.Fatalf("all %v and %d names, want %d of them", d.All, len(d.Names), registry.MaxChangedNames)
	}
	f.Apply(all[len(all)-1])
	one := f.View().Delta()
	if one.All || len(one.Names) != 1 || one.Before != full.Sequence() {
		t.Errorf("the delta after a large one is %+v, want one name", one)
	}
	if d := full.Delta().Then(one); !d.All || !d.Zone || d.Names != nil || d.Before != full.Delta().Before || d.After != one.After {
		t.Errorf("two deltas that are too much together are joined to %+v", d)
	}
}

func TestWatcherJoinsWhatItMissed(t *testing.T) {
	t.Parallel()
	s, a := amber()
	f := registry.NewFold()
	var store registry.Store
	publish := func(name string) *registry.View {
		f.Apply(s.service(a, "change", registry.ServiceState{Namespace: "default", Name: name, Instances: shared}).decoded())
		v := f.View()
		store.Publish(v)
		return v
	}
	w := store.Watch()
	if v, d, fresh := w.Poll(); !fresh || !d.All || v.Sequence() != 0 {
		t.Errorf("the first look at an empty Store gives %+v, fresh %v", d, fresh)
	}
	if _, d, fresh := w.Poll(); fresh || !d.None() {
		t.Errorf("a second look gives %+v, fresh %v", d, fresh)
	}
	first := publish("a")
	if v, d, _ := w.Poll(); v != first || !d.All {
		t.Errorf("the fold's first View gives %+v, want all", d)
	}
	publish("b")
	publish("c")
	publish("b")
	last := publish("a") // content does not change: shared again
	v, d, fresh := w.Poll()
	want := registry.Delta{
		Names:  []registry.Labels{{Namespace: "default", Name: "b"}, {Namespace: "default", Name: "c"}},
		Before: first.Sequence(), After: last.Sequence(),
	}
	if !fresh || v != last || !reflect.DeepEqual(d, want) {
		t.Errorf("after four Views the watcher says %+v, want %+v", d, want)
	}

	f.View() // made and not published: what it changed can't be told any more
	publish("d")
	if _, d, _ := w.Poll(); !d.All || d.Before != last.Sequence() {
		t.Errorf("after a View that was not published the watcher says %+v, want all", d)
	}
	for range 2000 {
		publish("e")
	}
	if _, d, _ := w.Poll(); !d.All {
		t.Errorf("2000 Views later the watcher says %+v, want all", d)
	}
	other := registry.NewFold()
	other.View()
	store.Publish(other.View())
	if _, d, _ := w.Poll(); !d.All {
		t.Errorf("a View of another fold gives %+v, want all", d)
	}
}

func TestWatcherWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var store registry.Store
		f := registry.NewFold()
		w := store.Watch()
		if _, d, err := w.Next(t.Context()); err != nil || !d.All {
			t.Fatalf("the first Next gives %+v, %v", d, err)
		}
		var wg sync.WaitGroup
		done := false
		wg.Go(func() {
			v, _, err := w.Next(t.Context())
			if err != nil || v != store.View() {
				t.Errorf("Next returned %v, %v", v, err)
			}
			done = true
		})
		changed := store.Changed()
		synctest.Wait()
		if done {
			t.Fatal("Next did not wait")
		}
		store.Publish(f.View())
		wg.Wait()
		select {
		case <-changed:
		default:
			t.Error("Changed did not tell")
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("enough")
		wg.Go(func() {
			if _, _, err := w.Next(ctx); !errors.Is(err, why) {
				t.Errorf("Next returned %v, want the context's cause", err)
			}
		})
		synctest.Wait()
		cancel(why)
		wg.Wait()
	})
}

// TestWatchersDoNotDisturbEachOther lets one goroutine publish while others watch at
// their own pace; each ends with the last View and has heard of every name.
func TestWatchersDoNotDisturbEachOther(t *testing.T) {
	t.Parallel()
	const views = 3000
	s, a := amber()
	f := registry.NewFold()
	var store registry.Store
	store.Publish(f.View())
	var wg sync.WaitGroup
	for n := range 4 {
		w := store.Watch()
		w.Poll()
		wg.Go(func() {
			heard, all := map[registry.Labels]bool{}, false
			for {
				v, d, err := w.Next(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				all = all || d.All
				for _, l := range d.Names {
					heard[l] = true
				}
				if v.Sequence() == views+1 {
					break
				}
			}
			if len(heard) != views && !all {
				t.Errorf("watcher %d heard of %d names, want %d", n, len(heard), views)
			}
		})
	}
	for n := range views {
		f.Apply(s.service(a, "change", stateOf(n, 0)).decoded())
		store.Publish(f.View())
	}
	wg.Wait()
}

func TestNamesKeepTheirOrder(t *testing.T) {
	t.Parallel()
	all := decodeAll(records(1, 3000))
	forward, backward := registry.NewFold(), registry.NewFold()
	for n := range all {
		forward.Apply(all[n])
		backward.Apply(all[len(all)-1-n])
	}
	a, b := slices.Collect(forward.View().Names()), slices.Collect(backward.View().Names())
	if len(a) != 3000 || !slices.EqualFunc(a, b, func(a, b *registry.Name) bool { return a.Labels == b.Labels }) {
		t.Error("two Views with the same names give them in different orders")
	}
	sorted := forward.View().SortedNames()
	if len(sorted) != 3000 || !slices.IsSortedFunc(sorted, func(a, b *registry.Name) int { return a.Labels.Compare(b.Labels) }) {
		t.Error("SortedNames are not sorted, or not all")
	}
}
