package edge_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/sync/edge"
)

// inDoubt lets an agent wait for an acknowledgement while something happens and is
// trusted, and then much more is gone, which nobody confirms for a while.
func (w *world) inDoubt(a *agent, happens func(), left ...registry.Service) {
	a.source.set(func(s *source) { s.readTakes = 50 * time.Second })
	a.link.set(func(k *link) { k.next = func(string, int) fault { return slow } })
	w.catalogue.put(service("s0000", 3))
	time.Sleep(time.Second)
	happens()
	time.Sleep(time.Second)
	w.catalogue.replace(left...)
	time.Sleep(20 * time.Second)
	a.link.set(func(k *link) { k.next = nil })
	time.Sleep(10 * time.Second)
	synctest.Wait()
}

// confirmed lets that be confirmed.
func (w *world) confirmed(t *testing.T) {
	t.Helper()
	time.Sleep(time.Minute)
	w.mustEqual(t, w.catalogue.now())
}

// ids returns the instances that readers know of a service.
func (w *world) ids(name string) (ids []string) {
	if s := w.published().Service(key(name)); s != nil {
		for _, i := range s.Instances {
			ids = append(ids, i.ID)
		}
	}
	return ids
}

// A service that lost one instance of two was published not at all until what is newer was
// confirmed. Readers of a stream made anew took the mark for the end, and dropped it.
func TestAStreamMadeAnewInDoubtLacksNoHealthyInstance(t *testing.T) {
	inWorld(t, unbraked(services(10)...), func(t *testing.T, w *world) {
		a := w.start("one")
		time.Sleep(time.Hour)
		a.source.set(func(s *source) { s.readTakes = 50 * time.Second })
		a.link.set(func(k *link) { k.down = true })
		w.memory.recreate(1000, false)
		w.catalogue.put(service("s0001", 1))
		time.Sleep(time.Second)
		w.catalogue.replace(append(services(1), service("s0001", 1))...)
		time.Sleep(time.Second)
		a.link.set(func(k *link) { k.down = false })
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if c := w.view().Cluster(cluster); c == nil || c.Snapshot == nil {
			t.Fatal("the stream is not said to be complete")
		}
		w.mustStand(t, registry.NewSnapshot("", services(10)...))
		w.confirmed(t)
	})
}

// What is new is never held back, whatever went in the same service.
func TestAnInstanceThatReplacesAnotherIsPublishedInDoubt(t *testing.T) {
	for name, instances := range map[string]int{"whole": 2, "cut to the server's limit": 300} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, unbraked(append(services(10), service("s0001", instances))...), func(t *testing.T, w *world) {
				w.memory.limit = 20_000
				a := w.start("one")
				before, other := w.sequence(), service("s0001", instances)
				for n := range other.Instances {
					other.Instances[n].ID += "-new"
				}
				w.inDoubt(a, func() { w.catalogue.put(other) }, append(services(1), other)...)
				if got := w.ids("s0001"); instances == 2 && len(got) != 4 {
					t.Errorf("readers know %v, want what was known and what is new", got)
				}
				if e, _ := w.view().Service(key("s0001")); e.Record(cluster).Total != 2*instances {
					t.Errorf("it has %d instances", e.Record(cluster).Total)
				}
				if n := len(w.since(before)); n != 2 {
					t.Errorf("%d messages of two services", n)
				}
				if instances == 2 {
					w.confirmed(t)
				}
			})
		})
	}
}

// The approval was obeyed while a change was taken, and not for itself: it counted for nothing.
func TestAnApprovalThatComesWithAChangeIsObeyedInDoubt(t *testing.T) {
	inWorld(t, newWorld(services(100)...), func(t *testing.T, w *world) {
		a := w.start("one")
		b := w.lose(t)
		w.inDoubt(a, func() {
			w.decide(registry.Approve, b.ID)
			w.catalogue.put(service("s0001", 3))
		}, services(3)...)
		if got := w.ids("s0099"); len(got) > 0 {
			t.Errorf("readers know %v, which was approved to go", got)
		}
		if got := w.ids("s0049"); len(got) != 2 {
			t.Errorf("readers know %v of what is in doubt", got)
		}
	})
}

// New settings decide about what they take away, and about nothing else.
func TestNewSettingsWithdrawNothingElseInDoubt(t *testing.T) {
	inWorld(t, unbraked(services(10)...), func(t *testing.T, w *world) {
		a := w.start("one")
		w.inDoubt(a, func() { w.catalogue.put(service("s0001", 1)) }, append(services(1), service("s0001", 1))...)
		settings := edge.Settings{Region: "us", Gateways: w.settings.Gateways, Export: edge.ExportPolicy{Exclude: []registry.Pattern{"default/s0009"}}}
		a.Reload(settings)
		settle()
		if got := w.ids("s0001"); len(got) != 2 {
			t.Errorf("readers know %v of what was waiting", got)
		}
		if got := w.ids("s0009"); len(got) > 0 {
			t.Errorf("readers know %v, which the operator took away", got)
		}
		w.confirmed(t)
	})
}
