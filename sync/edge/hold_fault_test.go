package edge_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// Nobody can tell what the registry would say now: perhaps it has all of it again.
func TestWhatIsHeldBackDoesNotPassWhileTheRegistryCantBeRead(t *testing.T) {
	inWorld(t, newWorld(services(100)...), func(t *testing.T, w *world) {
		a := w.start("one")
		b := w.lose(t)
		a.source.set(func(s *source) { s.watchErr, s.readErr = errRegistry, errRegistry })
		time.Sleep(time.Minute)
		w.catalogue.replace(services(100)...)
		time.Sleep(20 * time.Minute)
		w.mustStand(t, registry.NewSnapshot("", services(100)...))
		a.source.set(func(s *source) { s.watchErr, s.readErr = nil, nil })
		time.Sleep(time.Minute)
		synctest.Wait()
		w.ends(t, b.ID, registry.BrakeReturned)
	})
}

func TestAHoldWhoseTimeIsOverPassesBeforeAnythingIsPublished(t *testing.T) {
	inWorld(t, newWorld(services(8)...), func(t *testing.T, w *world) {
		a := w.start("one")
		before := w.sequence()
		a.link.set(func(k *link) { k.down = true })
		w.catalogue.put(service("s0000", 3)) // the agent waits for its acknowledgement
		time.Sleep(10 * time.Second)
		w.catalogue.put(service("late", 40))
		time.Sleep(10 * time.Second)
		w.catalogue.remove("late")
		time.Sleep(20 * time.Minute)
		a.link.set(func(k *link) { k.down = false })
		time.Sleep(time.Minute)
		synctest.Wait()
		for _, m := range w.since(before) {
			if m.Event.Service != nil && m.Event.Service.Name == "late" {
				t.Errorf("sequence %d says that late has %d instances: it has come and gone unseen", m.Sequence, m.Event.Service.Total)
			}
		}
		w.mustEqual(t, w.catalogue.now())
	})
}

// The watch itself has taken back what was in doubt, so nobody needs the second read any
// more: its failure must not stand as the registry's until the next change.
func TestASecondReadThatFailsTooLateIsNoFault(t *testing.T) {
	inWorld(t, unbraked(services(10)...), func(t *testing.T, w *world) {
		a := w.start("one")
		a.source.set(func(s *source) { s.readTakes, s.readErr = 3*time.Second, errRegistry })
		w.catalogue.replace(services(2)...)
		time.Sleep(time.Second)
		w.catalogue.replace(services(10)...)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if err := a.Status().RegistryFault; err != nil {
			t.Errorf("the registry is read, and the agent says: %v", err)
		}
	})
}

// What was gone in the last reading that was trusted is there again in one that is held
// back until it is confirmed: nobody may withdraw it meanwhile.
func TestNothingIsWithdrawnByAnOlderReadingWhileANewerOneIsHeld(t *testing.T) {
	for name, then := range map[string]func(a *agent){
		"a second read confirms it": func(*agent) {},
		"the watch ends meanwhile": func(a *agent) {
			time.Sleep(500 * time.Millisecond)
			a.source.set(func(s *source) { s.watchErr = errRegistry })
			time.Sleep(20 * time.Second)
			a.source.set(func(s *source) { s.watchErr = nil })
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, unbraked(services(10)...), func(t *testing.T, w *world) {
				a := w.start("one")
				before := w.sequence()
				a.source.set(func(s *source) { s.readTakes = 10 * time.Second })
				a.link.set(func(k *link) { k.next = func(string, int) fault { return slow } })
				w.catalogue.put(service("s0000", 3)) // the agent waits for its acknowledgement
				time.Sleep(time.Second)
				w.catalogue.remove("s0001")
				time.Sleep(time.Second)
				w.catalogue.replace(services(3)...)
				then(a)
				time.Sleep(time.Minute)
				a.link.set(func(k *link) { k.next = nil })
				time.Sleep(10 * time.Second)
				for _, m := range w.since(before) {
					if s := m.Event.Service; s != nil && s.Name == "s0001" && s.Total == 0 {
						t.Errorf("sequence %d withdraws it", m.Sequence)
					}
				}
				w.mustEqual(t, w.catalogue.now())
			})
		})
	}
}
