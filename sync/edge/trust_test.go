package edge_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

func TestRegistryDownPublishesNothing(t *testing.T) {
	inWorld(t, newWorld(services(10)...), func(t *testing.T, w *world) {
		a := w.start("one")
		before := w.sequence()
		a.source.set(func(s *source) { s.watchErr, s.readErr = errRegistry, errRegistry })
		synctest.Wait()
		if s := a.Status(); s.Phase != registry.PhaseRegistryDown || !errors.Is(s.RegistryFault, errRegistry) || !s.RegistryKnown {
			t.Errorf("status is %+v", s)
		}
		synced := a.Status().Synced
		w.catalogue.replace()
		time.Sleep(3 * time.Hour)
		if got := w.since(before); len(got) > 0 {
			t.Errorf("published %v", got[0].Fact)
		}
		if l, _ := w.memory.standingLease(); l.Phase != registry.PhaseRegistryDown || l.Detail != errRegistry.Error() {
			t.Errorf("the lease says %s: %q", l.Phase, l.Detail)
		}
		if got := a.Status().Synced; got.After(synced.Add(time.Second)) {
			t.Errorf("the status says that the stream held all at %v, with the registry down since %v", got, synced)
		}
		w.catalogue.replace(services(12)...)
		a.source.set(func(s *source) { s.watchErr, s.readErr = nil, nil })
		time.Sleep(20 * time.Second)
		w.mustEqual(t, w.catalogue.now())
	})
}

func TestAWatchThatEndsByItselfIsBegunAnew(t *testing.T) {
	inWorld(t, newWorld(services(3)...), func(t *testing.T, w *world) {
		a := w.start("one")
		for range 20 {
			a.source.set(func(s *source) { s.watchErr = errRegistry })
			synctest.Wait()
			a.source.set(func(s *source) { s.watchErr = nil })
			time.Sleep(16 * time.Second)
		}
		if watches, _ := a.source.counts(); watches < 21 || watches > 60 {
			t.Errorf("%d watches for 20 ends", watches)
		}
		w.catalogue.put(service("new", 1))
		w.mustEqual(t, w.catalogue.now())
	})
}

// A registry that answers the first read and then breaks off must not be read in
// full ten times a second.
func TestAWatchThatEndsSoonIsNotBegunAllTheTime(t *testing.T) {
	inWorld(t, newWorld(services(3)...), func(t *testing.T, w *world) {
		a := w.prepare("one")
		a.source.set(func(s *source) { s.breaksOff = true })
		a.run()
		time.Sleep(10 * time.Minute)
		if watches, _ := a.source.counts(); watches > 120 {
			t.Errorf("%d watches in ten minutes", watches)
		}
	})
}

// The ways to lose much at once: they are held until a second read agrees. (What the
// brake does then is in hold_test.go.)
var losses = map[string][]registry.Service{
	"everything":               nil,
	"40 % of the services":     services(6),
	"40 % of the instances":    thinned(10),
	"all instances":            empty(10),
	"names stand, one is left": append(empty(10)[1:], service("s0000", 2)),
}

func thinned(count int) []registry.Service {
	all := services(count)
	for n := range all {
		if n%5 != 0 {
			all[n].Instances = all[n].Instances[:1]
		}
	}
	return all
}

func empty(count int) []registry.Service {
	all := services(count)
	for n := range all {
		all[n].Instances = nil
	}
	return all
}

func TestAMassLossThatTheSecondReadConfirmsIsWithdrawn(t *testing.T) {
	for name, left := range losses {
		t.Run(name, func(t *testing.T) {
			inWorld(t, unbraked(services(10)...), func(t *testing.T, w *world) {
				a := w.start("one")
				_, reads := a.source.counts()
				w.catalogue.replace(left...)
				settle()
				if _, now := a.source.counts(); now != reads+1 {
					t.Errorf("%d reads before it was withdrawn, want 1", now-reads)
				}
				w.mustEqual(t, w.catalogue.now())
				if s := a.Status(); s.Holds != 1 || s.Drifts != 0 {
					t.Errorf("%d holds, %d drifts", s.Holds, s.Drifts)
				}
			})
		})
	}
}

func TestAMassLossThatTheSecondReadDeniesWithdrawsNothing(t *testing.T) {
	for name, left := range losses {
		t.Run(name, func(t *testing.T) {
			inWorld(t, newWorld(services(10)...), func(t *testing.T, w *world) {
				a := w.start("one")
				before, shrunk := w.sequence(), registry.NewSnapshot("x", left...)
				watches, _ := a.source.counts()
				a.source.set(func(s *source) { s.lie = &shrunk })
				time.Sleep(3 * time.Second)
				now, _ := a.source.counts()
				if now == watches || a.Status().Drifts == 0 {
					t.Error("the watch was not begun anew")
				}
				if got := a.Status().Phase; got != registry.PhaseRegistryDown && now == watches+1 {
					t.Errorf("phase is %s while the watch and a read disagree", got)
				}
				time.Sleep(10 * time.Minute)
				if got := w.since(before); len(got) > 0 {
					t.Errorf("published %v", got[0].Fact)
				}
				a.source.set(func(s *source) { s.lie = nil })
				time.Sleep(30 * time.Second)
				w.mustEqual(t, w.catalogue.now())
			})
		})
	}
}

func TestAMassLossWhoseSecondReadFailsWithdrawsNothing(t *testing.T) {
	inWorld(t, unbraked(services(10)...), func(t *testing.T, w *world) {
		a := w.start("one")
		before := w.sequence()
		a.source.set(func(s *source) { s.readErr = errRegistry })
		w.catalogue.replace()
		time.Sleep(time.Hour)
		if got := w.since(before); len(got) > 0 {
			t.Errorf("published %v", got[0].Fact)
		}
		if s := a.Status(); s.Phase != registry.PhaseRegistryDown || !errors.Is(s.RegistryFault, errRegistry) {
			t.Errorf("status is %+v", s)
		}
		a.source.set(func(s *source) { s.readErr = nil })
		time.Sleep(20 * time.Second)
		w.mustEqual(t, registry.Snapshot{})
	})
}

// An instance that is back before the second read makes that disagree with the
// watch for a moment; the watch is about to say so.
func TestWhatReturnsAtOnceIsNoFaultOfTheWatch(t *testing.T) {
	inWorld(t, newWorld(services(2)...), func(t *testing.T, w *world) {
		a := w.start("one")
		back := w.catalogue.now()
		a.source.set(func(s *source) { s.readLie = &back })
		w.catalogue.remove("s0001")
		synctest.Wait() // held, read, not confirmed
		w.catalogue.put(service("s0001", 2))
		a.source.set(func(s *source) { s.readLie = nil })
		time.Sleep(time.Minute)
		if s := a.Status(); s.Holds != 1 || s.Drifts != 0 {
			t.Errorf("%d holds, %d drifts", s.Holds, s.Drifts)
		}
		w.mustEqual(t, w.catalogue.now())
	})
}

// A cluster that is being shut down loses more with every moment; each step is
// confirmed in turn.
func TestALossThatGoesOnIsFollowed(t *testing.T) {
	inWorld(t, unbraked(services(50)...), func(t *testing.T, w *world) {
		a := w.start("one")
		a.source.set(func(s *source) { s.readTakes = 300 * time.Millisecond })
		w.catalogue.replace(services(50)[20:]...) // held, and before it is confirmed more is lost
		for n := range 30 {
			time.Sleep(50 * time.Millisecond)
			w.catalogue.remove(fmt.Sprintf("s%04d", n+20))
			if n == 10 && w.published().Len() > 30 {
				t.Errorf("%d services are still published: what was confirmed is not withdrawn", w.published().Len())
			}
		}
		time.Sleep(time.Second)
		if s := a.Status(); s.Drifts != 0 {
			t.Errorf("%d drifts", s.Drifts)
		}
		w.mustEqual(t, registry.Snapshot{})
	})
}

func TestAWatchThatEndsTakesBackWhatItHeld(t *testing.T) {
	inWorld(t, newWorld(services(10)...), func(t *testing.T, w *world) {
		a := w.start("one")
		before, nothing := w.sequence(), registry.Snapshot{}
		a.source.set(func(s *source) { s.readErr = errRegistry })
		a.source.set(func(s *source) { s.lie = &nothing })
		settle()
		a.source.set(func(s *source) { s.watchErr = errRegistry })
		settle()
		a.source.set(func(s *source) { s.readErr, s.readLie = nil, &nothing }) // a registry that comes up empty
		time.Sleep(time.Minute)
		if got := w.since(before); len(got) > 0 {
			t.Errorf("published %v while the registry was down", got[0].Fact)
		}
		if s := a.Status(); s.RegistryFault == nil {
			t.Error("the registry counts as read although no watch runs")
		}
	})
}

func TestAFirstReadingThatLacksMuchIsConfirmed(t *testing.T) {
	setup := func(t *testing.T, w *world) *agent {
		w.start("one").stop()
		return w.prepare("two")
	}
	t.Run("confirmed", func(t *testing.T) {
		inWorld(t, unbraked(services(10)...), func(t *testing.T, w *world) {
			b := setup(t, w)
			w.catalogue.replace(services(3)...)
			b.run()
			settle()
			if _, reads := b.source.counts(); reads != 1 {
				t.Errorf("%d second reads", reads)
			}
			w.mustEqual(t, w.catalogue.now())
		})
	})
	t.Run("read fails", func(t *testing.T) {
		inWorld(t, unbraked(services(10)...), func(t *testing.T, w *world) {
			b, before := setup(t, w), w.sequence()
			w.catalogue.replace()
			b.source.set(func(s *source) { s.readErr = errRegistry })
			b.run()
			time.Sleep(time.Hour)
			if got := w.since(before); len(got) > 0 {
				t.Errorf("published %v", got[0].Fact)
			}
			if l, _ := w.memory.standingLease(); l.Phase != registry.PhaseRegistryDown || l.Detail == "" {
				t.Errorf("the lease says %s: %q", l.Phase, l.Detail)
			}
			b.source.set(func(s *source) { s.readErr = nil })
			time.Sleep(20 * time.Second)
			w.mustEqual(t, registry.Snapshot{})
		})
	})
	t.Run("read disagrees", func(t *testing.T) {
		inWorld(t, unbraked(services(10)...), func(t *testing.T, w *world) {
			b, before, some := setup(t, w), w.sequence(), registry.NewSnapshot("x", services(2)...)
			b.source.set(func(s *source) { s.lie = &some })
			b.run()
			time.Sleep(time.Minute)
			if got := w.since(before); len(got) > 0 {
				t.Errorf("published %v", got[0].Fact)
			}
			if watches, _ := b.source.counts(); watches < 2 {
				t.Error("the watch was not begun anew")
			}
			b.source.set(func(s *source) { s.lie = nil })
			time.Sleep(20 * time.Second)
			w.mustEqual(t, w.catalogue.now())
		})
	})
}

func TestTheComparisonFindsAMissedChange(t *testing.T) {
	inWorld(t, newWorld(services(10)...), func(t *testing.T, w *world) {
		a := w.start("one")
		a.source.set(func(s *source) { s.deaf = true })
		w.catalogue.put(service("missed", 1), service("s0001", 3))
		took := until(t, 75*time.Second, func() bool { return a.Status().Keys == 11 })
		if s := a.Status(); s.Drifts != 1 || took < 5*time.Second {
			t.Errorf("%d drifts, found after %v", s.Drifts, took)
		}
		w.mustEqual(t, w.catalogue.now())
	})
}

// In a busy registry nearly every read is a moment ahead of the watch.
func TestTheComparisonIsNotMisledByChangesUnderWay(t *testing.T) {
	inWorld(t, newWorld(services(10)...), func(t *testing.T, w *world) {
		a := w.start("one")
		for n := range 300 {
			next := service("s0001", n%3+3) // a read sees what the watch says a second later
			ahead := w.catalogue.now().With("ahead", next)
			a.source.set(func(s *source) { s.readLie = &ahead })
			time.Sleep(time.Second)
			w.catalogue.put(next)
		}
		if s := a.Status(); s.Drifts != 0 {
			t.Errorf("%d drifts", s.Drifts)
		}
	})
}

func TestTheComparisonReportsNothingWhileAllIsWell(t *testing.T) {
	inWorld(t, newWorld(services(10)...), func(t *testing.T, w *world) {
		a := w.start("one")
		before := w.sequence()
		time.Sleep(2 * time.Hour)
		if _, reads := a.source.counts(); reads < 100 || reads > 140 {
			t.Errorf("%d reads in two hours", reads)
		}
		if got := w.since(before); len(got) > 0 || a.Status().Drifts != 0 {
			t.Errorf("%d messages, %d drifts", len(got), a.Status().Drifts)
		}
	})
}
