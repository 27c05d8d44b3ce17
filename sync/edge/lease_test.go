package edge_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/sync/edge"
)

func leading(a *agent) bool { return a.Status().Role == edge.Leader }

// until waits in the bubble's time until it holds, and returns how long that took.
func until(t *testing.T, most time.Duration, holds func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for !holds() {
		if time.Since(began) > most {
			t.Fatalf("not within %v", most)
		}
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
	}
	return time.Since(began)
}

func TestStandbyWaitsWhileTheLeaseIsRenewed(t *testing.T) {
	inWorld(t, newWorld(services(3)...), func(t *testing.T, w *world) {
		a, b := w.start("one"), w.start("two")
		time.Sleep(3 * time.Hour)
		if !leading(a) || leading(b) || len(w.epochs()) != 1 {
			t.Errorf("one leads: %v, two: %v; %d epochs", leading(a), leading(b), len(w.epochs()))
		}
		if got := b.Status().Holder; got != "one" {
			t.Errorf("the standby says that %q holds the lease", got)
		}
		if s := b.Status(); !s.RegistryKnown {
			t.Error("the standby is not warm: it has not read the registry")
		}
	})
}

func TestStandbyTakesOverAfterAKill(t *testing.T) {
	inWorld(t, newWorld(services(3)...), func(t *testing.T, w *world) {
		a, b := w.start("one"), w.start("two")
		time.Sleep(time.Minute)
		a.kill()
		w.catalogue.put(service("meanwhile", 1))
		took := until(t, 11*time.Second, func() bool { return leading(b) })
		if took < 7*time.Second {
			t.Errorf("taken over after %v, before the lease lapsed", took)
		}
		settle()
		w.mustEqual(t, w.catalogue.now())
	})
}

func TestStandbyTakesOverAtOnceAfterAStop(t *testing.T) {
	inWorld(t, newWorld(services(3)...), func(t *testing.T, w *world) {
		a, b := w.start("one"), w.start("two")
		time.Sleep(time.Minute)
		a.stop()
		if took := until(t, 3*time.Second, func() bool { return leading(b) }); took > 2100*time.Millisecond {
			t.Errorf("taken over only after %v", took)
		}
		settle()
		w.mustEqual(t, w.catalogue.now())
	})
}

func TestTheLeaderIsAwayFromTheStreamFor30Seconds(t *testing.T) {
	inWorld(t, newWorld(services(10)...), func(t *testing.T, w *world) {
		a := w.start("one")
		a.link.set(func(k *link) { k.down = true })
		for n := range 30 {
			w.catalogue.put(service("s0001", n+3), service("during", n+1))
			time.Sleep(time.Second)
		}
		if s := a.Status(); s.StreamFault == nil || s.Retries == 0 {
			t.Errorf("status does not say that the stream is away: %+v", s)
		}
		a.link.set(func(k *link) { k.down = false })
		time.Sleep(10 * time.Second)
		w.mustEqual(t, w.catalogue.now())
		if got := len(w.epochs()); got != 1 {
			t.Errorf("%d epochs, want 1: nobody else was there", got)
		}
		if s := a.Status(); s.StreamFault != nil {
			t.Errorf("status still says %v", s.StreamFault)
		}
	})
}

func TestALeaderThatWasCutOffStandsByWhenItReturns(t *testing.T) {
	inWorld(t, newWorld(services(10)...), func(t *testing.T, w *world) {
		a, b := w.start("one"), w.start("two")
		a.link.set(func(k *link) { k.down = true })
		w.catalogue.put(service("during", 1)) // one tries to publish it, and goes on trying
		until(t, 15*time.Second, func() bool { return leading(b) })
		w.catalogue.put(service("later", 1))
		settle()
		a.link.set(func(k *link) { k.down = false })
		time.Sleep(time.Minute)
		if leading(a) || !leading(b) {
			t.Errorf("one leads: %v, two: %v", leading(a), leading(b))
		}
		w.mustEqual(t, w.catalogue.now())
		if got := len(w.epochs()); got != 2 {
			t.Errorf("%d epochs, want 2", got)
		}
		b.kill()
		until(t, 15*time.Second, func() bool { return leading(a) })
		settle()
		w.mustEqual(t, w.catalogue.now())
	})
}

// A leader with nothing to publish learns from the lease that another one leads.
func TestAnIdleLeaderThatWasCutOffStandsByAtOnce(t *testing.T) {
	inWorld(t, newWorld(services(3)...), func(t *testing.T, w *world) {
		a, b := w.start("one"), w.start("two")
		a.link.set(func(k *link) { k.down = true })
		until(t, 15*time.Second, func() bool { return leading(b) })
		settle()
		a.link.set(func(k *link) { k.down = false })
		until(t, callBound+3*time.Second, func() bool { return !leading(a) })
		w.mustEqual(t, w.catalogue.now())
	})
}

// An agent that stood still between reading the last epoch and beginning its own.
func TestAnEpochThatAnotherOneForestalledIsGivenUp(t *testing.T) {
	inWorld(t, newWorld(services(3)...), func(t *testing.T, w *world) {
		a := w.prepare("one")
		thaw := make(chan struct{})
		a.link.set(func(k *link) {
			k.next = func(request string, _ int) fault {
				switch {
				case k.frozen != nil:
					return unanswered
				case request == "now":
					k.frozen = thaw
				}
				return works
			}
		})
		a.run()
		settle()
		b := w.prepare("two").run()
		until(t, 15*time.Second, func() bool { return leading(b) })
		settle()
		a.link.set(func(k *link) {
			k.frozen, k.next = nil, func(request string, _ int) fault {
				if request == "lease" { // nor does it hear that its lease is gone
					return unanswered
				}
				return works
			}
		})
		close(thaw)
		time.Sleep(time.Second)
		if leading(a) || !leading(b) || len(w.epochs()) != 1 {
			t.Errorf("one leads: %v, two: %v, %d epochs", leading(a), leading(b), len(w.epochs()))
		}
		w.mustEqual(t, w.catalogue.now())
	})
}

// After an outage of the stream for everybody, the holder renews its lease as soon
// as it can; a standby that reads first must leave it the time to.
func TestAnOutageForAllIsNoReasonToTakeOver(t *testing.T) {
	inWorld(t, newWorld(services(3)...), func(t *testing.T, w *world) {
		a, b := w.start("one"), w.start("two")
		time.Sleep(time.Minute)
		a.link.set(func(k *link) { k.down = true })
		b.link.set(func(k *link) { k.down = true })
		time.Sleep(40 * time.Second)
		b.link.set(func(k *link) { k.down = false })
		until(t, 20*time.Second, func() bool { return b.Status().StreamFault == nil })
		time.Sleep(5 * time.Second)
		a.link.set(func(k *link) { k.down = false })
		time.Sleep(30 * time.Second)
		if !leading(a) || len(w.epochs()) != 1 {
			t.Errorf("one leads: %v; %d epochs", leading(a), len(w.epochs()))
		}
	})
}

func TestALostAcknowledgementOfTheLeaseIsNoConflict(t *testing.T) {
	inWorld(t, newWorld(services(3)...), func(t *testing.T, w *world) {
		a, b := w.start("one"), w.start("two")
		n := 0
		a.link.set(func(k *link) {
			k.next = func(request string, _ int) fault {
				if request == "lease" {
					n++
					return []fault{ackLost, works, fails, ackLost, ackLost}[n%5]
				}
				return works
			}
		})
		time.Sleep(5 * time.Minute)
		if !leading(a) || leading(b) || len(w.epochs()) != 1 {
			t.Errorf("one leads: %v, two: %v, %d epochs", leading(a), leading(b), len(w.epochs()))
		}
	})
}

// An agent that stood still between taking the lease and beginning its epoch may
// begin one behind the back of its successor.
func TestAnEpochBegunBehindTheHoldersBackIsNoticed(t *testing.T) {
	inWorld(t, newWorld(services(5)...), func(t *testing.T, w *world) {
		a := w.prepare("one")
		thaw := make(chan struct{})
		a.link.set(func(k *link) {
			k.next = func(request string, _ int) fault {
				switch {
				case k.frozen != nil: // its renewals come too late to tell it
					return unanswered
				case request == "last": // the lease is taken; here the process stops
					k.frozen = thaw
				}
				return works
			}
		})
		a.run()
		settle()
		b := w.prepare("two").run()
		until(t, 15*time.Second, func() bool { return leading(b) })
		settle()
		a.link.set(func(k *link) {
			k.frozen, k.next = nil, func(request string, _ int) fault {
				if request == "lease" { // it hears late that its lease is gone
					return unanswered
				}
				return works
			}
		})
		close(thaw)
		time.Sleep(40 * time.Second)
		if got := len(w.epochs()); got < 3 {
			t.Fatalf("%d epochs: the first agent was to begin one, and the holder to notice", got)
		}
		a.link.set(func(k *link) { k.next = nil })
		time.Sleep(2 * time.Minute)
		if leading(a) == leading(b) {
			t.Errorf("one leads: %v, two: %v", leading(a), leading(b))
		}
		w.mustEqual(t, w.catalogue.now())
	})
}

func TestTwoAgentsThatFightLeaveAConsistentStream(t *testing.T) {
	inWorld(t, newWorld(services(10)...), func(t *testing.T, w *world) {
		a, b := w.start("same name"), w.start("same name")
		for n := range 50 { // each loses the stream in turn, for longer than the lapse
			x := []*agent{a, b}[n%2]
			x.link.set(func(k *link) { k.down = true })
			w.catalogue.put(service("s0001", n%7+1))
			time.Sleep(12 * time.Second)
			x.link.set(func(k *link) { k.down = false })
			time.Sleep(time.Duration(n) * 100 * time.Millisecond)
		}
		time.Sleep(time.Minute)
		if leading(a) == leading(b) {
			t.Errorf("one leads: %v, the other: %v", leading(a), leading(b))
		}
		w.mustEqual(t, w.catalogue.now())
		at := len(w.epochs())
		time.Sleep(time.Hour)
		if got := len(w.epochs()); got != at {
			t.Errorf("%d more epochs in an hour without a fault", got-at)
		}
	})
}

func TestALeaseThatCanNotBeReadLapsesLikeAnyOther(t *testing.T) {
	inWorld(t, newWorld(services(2)...), func(t *testing.T, w *world) {
		w.memory.lease = kept{sequence: 7, stored: time.Now(), id: "other", body: []byte(`{"schema":"seamark/9.0"}`)}
		w.memory.last = 7
		a := w.start("one")
		if leading(a) {
			t.Error("took a lease that it did not understand at once")
		}
		until(t, 11*time.Second, func() bool { return leading(a) })
	})
}

func TestStopSaysSoAndWithdrawsNothing(t *testing.T) {
	inWorld(t, newWorld(services(10)...), func(t *testing.T, w *world) {
		a := w.start("one")
		a.link.set(func(k *link) {
			k.next = func(request string, _ int) fault {
				if request == "last" { // the leader looks whether its epoch stands
					return slow
				}
				return works
			}
		})
		time.Sleep(10*time.Second + 500*time.Millisecond)
		w.catalogue.put(service("waiting", 1)) // not looked at yet when the signal comes
		settle()
		if w.published().Service(key("waiting")) != nil {
			t.Fatal("the change was published before the stop")
		}
		took := a.stop()
		if took > time.Second {
			t.Errorf("the stop took %v", took)
		}
		if l, _ := w.memory.standingLease(); l.Phase != registry.PhaseStopped || l.Agent != "one" {
			t.Errorf("the lease says %s of %s", l.Phase, l.Agent)
		}
		w.mustEqual(t, w.catalogue.now())
	})
}

func TestStopSendsWhatWasInFlightIdentically(t *testing.T) {
	// Several times, for which of two wake-ups comes first is a matter of luck.
	for _, f := range slices.Repeat([]fault{ackLost, fails, late, slow, unanswered}, 4) {
		inWorld(t, newWorld(services(10)...), func(t *testing.T, w *world) {
			a := w.start("one")
			a.link.set(func(k *link) {
				k.next = func(request string, _ int) fault {
					if request == "publish" {
						return f
					}
					return works
				}
			})
			w.catalogue.put(service("in-flight", 1))
			settle()
			w.catalogue.put(service("waiting", 1))
			settle()
			a.link.set(func(k *link) { k.next = nil })
			if took := a.stop(); took > 2*time.Second {
				t.Errorf("fault %d: the stop took %v", f, took)
			}
			w.mustEqual(t, w.catalogue.now())
		})
	}
}

func TestStopWithTheStreamAwayEnds(t *testing.T) {
	inWorld(t, newWorld(services(10)...), func(t *testing.T, w *world) {
		a := w.start("one")
		at := w.sequence()
		a.link.set(func(k *link) { k.down = true })
		w.catalogue.put(service("lost", 1))
		settle()
		if took := a.stop(); took > 6*time.Second {
			t.Errorf("the stop took %v", took)
		}
		if got := w.since(at); len(got) > 0 {
			t.Errorf("something was stored: %v", got[0].Fact)
		}
	})
}

// Whether the refreshed record was stored is not known: what would be published
// after it would leave its revision out, or be fenced.
func TestStopDuringTheRefreshOfTheEpochPublishesNothing(t *testing.T) {
	inWorld(t, gentle(services(10)...), func(t *testing.T, w *world) {
		a := w.start("one")
		a.link.set(func(k *link) {
			k.next = func(request string, _ int) fault {
				if request == "epoch" {
					return fails
				}
				return works
			}
		})
		time.Sleep(day + time.Hour)
		before := w.sequence()
		w.catalogue.put(service("waiting", 1))
		settle()
		a.stop()
		if got := w.since(before); len(got) > 0 {
			t.Errorf("published %v", got[0].Fact)
		}
		if l, _ := w.memory.standingLease(); l.Phase != registry.PhaseStopped {
			t.Errorf("the lease says %s", l.Phase)
		}
	})
}
