package edge_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/sync/edge"
)

// Readers take what an agent has not published again for never registered: a name that
// was known and empty would be unknown.
func TestAStreamMadeAnewKnowsWhatWasDeregistered(t *testing.T) {
	gone := key("s0002")
	for name, test := range map[string]struct {
		leaseToo bool
		lose     func(t *testing.T, w *world)
		known    bool
	}{
		"events only": {false, func(_ *testing.T, w *world) { w.memory.recreate(1000, false) }, true},
		"leases too":  {true, func(_ *testing.T, w *world) { w.memory.recreate(1000, true) }, true},
		"twice": {true, func(_ *testing.T, w *world) {
			w.memory.recreate(1000, true)
			time.Sleep(time.Minute)
			w.memory.recreate(2000, true)
		}, true},
		"and at once again, before the registry is read": {true, func(_ *testing.T, w *world) {
			w.agents[0].source.set(func(s *source) { s.watchErr = errRegistry })
			w.memory.recreate(1000, true)
			time.Sleep(10 * time.Minute)
			w.memory.recreate(2000, true)
			time.Sleep(10 * time.Minute)
			w.agents[0].source.set(func(s *source) { s.watchErr = nil })
		}, true},
		"after a long time": {true, func(_ *testing.T, w *world) {
			time.Sleep(6 * time.Hour)
			w.memory.recreate(1000, true)
		}, true},
		"once it is to be forgotten": {true, func(_ *testing.T, w *world) {
			w.agents[0].link.set(func(k *link) { k.down = true })
			time.Sleep(8 * time.Hour)
			w.memory.recreate(1000, true)
			w.agents[0].link.set(func(k *link) { k.down = false })
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(services(3)...)
			w.timing = edge.Timing{Forget: 7 * time.Hour, Refresh: time.Hour} // days would take long
			inWorld(t, w, func(t *testing.T, w *world) {
				w.start("one")
				time.Sleep(10 * time.Minute)
				w.catalogue.remove("s0002")
				time.Sleep(time.Minute)
				before, known := w.view().Service(gone)
				if !known || !before.Record(cluster).Tombstone() {
					t.Fatal("no tombstone stands")
				}
				test.lose(t, w)
				time.Sleep(time.Minute)
				w.mustEqual(t, w.catalogue.now())
				after, known := w.view().Service(gone)
				if known != test.known {
					t.Fatalf("known: %v, want %v", known, test.known)
				}
				if !known {
					return
				}
				if r := after.Record(cluster); !r.Tombstone() || r.Changed != before.Record(cluster).Changed {
					t.Errorf("it is %+v, changed at %+v; before that was %+v", r.Service, r.Changed, before.Record(cluster).Changed)
				}
				time.Sleep(8 * time.Hour)
				if _, known := w.view().Service(gone); known {
					t.Error("it is never forgotten")
				}
			})
		})
	}
}

// What was deregistered while the stream was away was known, too, and as much as ever is held back.
func TestWhatIsDeregisteredWhileTheStreamIsLost(t *testing.T) {
	lose := func(w *world, left int) {
		a := w.start("one")
		time.Sleep(time.Hour)
		a.link.set(func(k *link) { k.down = true })
		w.memory.recreate(1000, true)
		w.catalogue.replace(services(left)...)
		time.Sleep(time.Minute)
		a.link.set(func(k *link) { k.down = false })
		time.Sleep(time.Minute)
		synctest.Wait()
	}
	t.Run("little", func(t *testing.T) {
		inWorld(t, newWorld(services(100)...), func(t *testing.T, w *world) {
			lose(w, 99)
			w.mustEqual(t, w.catalogue.now())
			if e, known := w.view().Service(key("s0099")); !known || !e.Record(cluster).Tombstone() {
				t.Error("it is not known any more")
			}
		})
	})
	t.Run("much", func(t *testing.T) {
		inWorld(t, newWorld(services(100)...), func(t *testing.T, w *world) {
			lose(w, 50)
			w.mustStand(t, registry.NewSnapshot("", services(100)...))
			b, open := w.heldBack()
			if !open || b.Services != 50 {
				t.Fatalf("%+v", b)
			}
			w.decide(registry.Approve, b.ID)
			w.ends(t, b.ID, registry.BrakeApproved)
		})
	})
}

// A backup came back, and once more before the registry was read: what had been withdrawn
// after it was made is still known to be.
func TestABackupThatIsRestoredTwiceBringsNoGhosts(t *testing.T) {
	inWorld(t, newWorld(services(100)...), func(t *testing.T, w *world) {
		a := w.start("one")
		kept := len(w.memory.history())
		b := w.lose(t)
		w.decide(registry.Approve, b.ID)
		w.ends(t, b.ID, registry.BrakeApproved)
		a.source.set(func(s *source) { s.watchErr = errRegistry })
		settle()
		for n := range 2 {
			w.memory.cut(len(w.memory.history()) - kept)
			time.Sleep(time.Minute)
			if epochs := len(w.epochs()); epochs != 2 {
				t.Fatalf("%d epochs after the backup came back %d times", epochs, n+1)
			}
		}
		a.source.set(func(s *source) { s.watchErr = nil })
		time.Sleep(time.Minute)
		w.mustEqual(t, w.catalogue.now())
	})
}
