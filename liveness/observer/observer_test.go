package observer_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/liveness/observer"
	"github.com/seamark-mesh/seamark/registry"
)

func expectSaid(t *testing.T, w *world, want ...string) {
	t.Helper()
	if got := w.said(); !slices.Equal(got, want) {
		t.Errorf("it was said\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestNothingIsSaidWhileAllIsWell(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		p := w.observe("one")
		time.Sleep(time.Hour)
		expectSaid(t, w)
		if s := p.Status(); !s.Leading || s.Holder != "one" || s.Blind != "" || s.Suspects || s.Revision != 1 {
			t.Errorf("status %+v", s)
		}
	})
}

func TestASilentAgentMakesItsClusterStale(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		p := w.observe("one")
		time.Sleep(time.Minute)
		w.kill("bronze")
		took := within(t, 12*time.Second, "bronze is stale", func() bool { return w.state("bronze") == registry.Stale })
		if took < 7*time.Second {
			t.Errorf("stale after %v, before the lease had lapsed", took)
		}
		s := w.view().State("bronze")
		if e := s.Evidence; e.Phase != registry.PhaseSynced || e.LeaseAge < 9.9 || e.LeaseAge > 12 || len(e.Votes) != 1 || e.Votes[0] != (registry.Vote{Vantage: "_dns-one", Reached: 2}) {
			t.Errorf("evidence %+v", *e)
		}
		if !strings.Contains(s.Reason, "its agent is silent") {
			t.Errorf("reason %q", s.Reason)
		}
		time.Sleep(time.Hour)
		w.revive("bronze")
		took = within(t, 15*time.Second, "bronze is up", func() bool { return w.state("bronze") == registry.Up })
		if took < 10*time.Second {
			t.Errorf("up after %v, before it had been well for 10 s", took)
		}
		expectSaid(t, w, "bronze stale", "bronze up")
		if want := []string{"bronze stale", "bronze up"}; !slices.Equal(p.turned, want) || p.alarms != nil {
			t.Errorf("metrics: %v, %v", p.turned, p.alarms)
		}
	})
}

func TestGatewaysThatFail(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.observe("one")
		time.Sleep(time.Minute)
		w.gateways("bronze", false, true)
		time.Sleep(10 * time.Second)
		w.gateways("bronze", false, false)
		time.Sleep(10 * time.Second)
		since := w.view().State("bronze").Since
		w.gateways("bronze", true, false)
		time.Sleep(30 * time.Second)
		if s := w.view().State("bronze"); !s.Since.After(since) {
			t.Errorf("it is up since %v, and was unreachable since %v", s.Since, since)
		}
		w.gateways("bronze", true, true)
		time.Sleep(30 * time.Second)
		expectSaid(t, w, "bronze up gw-1", "bronze unreachable gw-1,gw-2", "bronze up gw-2", "bronze up")
	})
}

// TestReportsThatComeSeldomCount: a vantage point with a thousand clusters reports on
// each about once in a minute, and between two reports it was as if nobody told.
func TestReportsThatComeSeldomCount(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.set(func(w *world) { w.every = 54 * time.Second })
		w.observe("one")
		time.Sleep(3 * time.Minute)
		w.gateways("bronze", false, false)
		time.Sleep(10 * time.Minute)
		expectSaid(t, w, "bronze unreachable gw-1,gw-2")
	})
}

// TestAStreamClockThatIsSetBack: until the clock of the server that leads had come to
// where it was, no lease counted as renewed, and the observer saw nothing.
func TestAStreamClockThatIsSetBack(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.observe("one")
		time.Sleep(time.Minute)
		w.set(func(w *world) { w.back = 10 * time.Minute })
		time.Sleep(time.Minute)
		expectSaid(t, w)
		w.kill("amber")
		time.Sleep(30 * time.Second)
		expectSaid(t, w, "amber stale")
	})
}

func TestDownAfterTheHoldTime(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.observe("one")
		time.Sleep(time.Minute)
		w.kill("bronze")
		time.Sleep(20 * time.Second)
		w.gateways("bronze", false, false)
		within(t, 10*time.Second, "its gateways fail", func() bool { return len(w.view().State("bronze").Failing) == 2 })
		took := within(t, 6*time.Minute, "bronze is down", func() bool { return w.state("bronze") == registry.Down })
		if took < 290*time.Second || took > 305*time.Second {
			t.Errorf("down after %v, want 5 minutes", took)
		}
		w.gateways("bronze", true, true)
		within(t, 10*time.Second, "bronze is stale again", func() bool { return w.state("bronze") == registry.Stale })
		w.revive("bronze")
		time.Sleep(time.Minute)
		expectSaid(t, w, "bronze stale", "bronze stale gw-1,gw-2", "bronze down gw-1,gw-2", "bronze stale", "bronze up")
	})
}

// An observer that begins finds a cluster without an agent, and one without gateways.
func TestAColdStartWaits(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.set(func(w *world) { w.vantages = nil })
		time.Sleep(10 * time.Second)
		w.kill("bronze")
		time.Sleep(time.Hour)
		w.observe("one")
		time.Sleep(29 * time.Second) // nobody reports: it waits for as long as a report counts
		expectSaid(t, w)
		time.Sleep(5 * time.Second)
		expectSaid(t, w, "bronze stale")
	})
	inWorld(t, func(t *testing.T, w *world) {
		time.Sleep(10 * time.Second)
		w.kill("bronze")
		w.gateways("cobalt", false, false)
		time.Sleep(time.Hour)
		w.observe("one")
		within(t, 10*time.Second, "what needs no lapse is said", func() bool { return slices.Contains(w.said(), "cobalt unreachable gw-1,gw-2") })
		expectSaid(t, w, "cobalt unreachable gw-1,gw-2")
		time.Sleep(30 * time.Second)
		expectSaid(t, w, "cobalt unreachable gw-1,gw-2", "bronze stale")
	})
}

func TestWhenMostTurnTheObserverSuspectsItself(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		p := w.observe("one")
		time.Sleep(time.Minute)
		for _, c := range clusters {
			w.kill(c)
		}
		time.Sleep(time.Hour)
		expectSaid(t, w, "alarm mass_turn")
		if !p.Status().Suspects || !slices.Equal(p.alarms, []string{observer.AlarmMassTurn}) {
			t.Errorf("status %+v, alarms %v", p.Status(), p.alarms)
		}
		w.revive("amber")
		w.revive("cobalt")
		time.Sleep(time.Minute)
		expectSaid(t, w, "alarm mass_turn", "bronze stale")
		if p.Status().Suspects {
			t.Error("it still suspects itself")
		}
	})
}

// A cluster that comes and goes makes no alarm each time.
func TestAMassTurnThatComesAndGoes(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		p := w.observe("one")
		time.Sleep(time.Minute)
		for range 4 {
			w.kill("amber")
			w.kill("bronze")
			time.Sleep(12 * time.Second)
			w.revive("bronze")
			w.revive("amber")
			time.Sleep(8 * time.Second)
		}
		if n := len(p.alarms); n < 1 || n > 2 {
			t.Errorf("%d alarms within 80 s", n)
		}
	})
}

// All gateways fail for the only vantage point: it is rather cut off itself.
func TestALoneVantagePointThatSeesNothing(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		p := w.observe("one")
		time.Sleep(time.Minute)
		for _, c := range clusters {
			w.gateways(c, false, false)
		}
		time.Sleep(time.Hour)
		expectSaid(t, w)
		w.set(func(w *world) { w.vantages = append(w.vantages, "_dns-two") })
		time.Sleep(time.Minute) // now two say it, and all clusters turn at once
		expectSaid(t, w, "alarm mass_turn")
		if len(p.alarms) != 1 {
			t.Errorf("alarms %v", p.alarms)
		}
	})
}

// Two of three that fail one after another are no mass turn.
func TestOneAfterAnother(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.observe("one")
		time.Sleep(time.Minute)
		w.kill("amber")
		time.Sleep(time.Minute)
		w.kill("bronze")
		time.Sleep(time.Minute)
		w.kill("cobalt")
		time.Sleep(time.Minute)
		expectSaid(t, w, "amber stale", "bronze stale", "cobalt stale")
	})
}

func TestAnObserverThatIsCutOffSaysNothing(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		p := w.observe("one")
		time.Sleep(time.Minute)
		p.setDown(true)
		time.Sleep(10 * time.Minute)
		p.setDown(false)
		time.Sleep(time.Minute)
		expectSaid(t, w)
		if s := p.Status(); !s.Leading || s.Blind != "" {
			t.Errorf("status %+v", s)
		}
		w.kill("bronze") // during the next absence
		p.setDown(true)
		time.Sleep(time.Minute)
		p.setDown(false)
		back := time.Now()
		within(t, time.Minute, "bronze is stale", func() bool { return w.state("bronze") == registry.Stale })
		if took := time.Since(back); took < 10*time.Second {
			t.Errorf("said %v after it was back: not a full window", took)
		}
	})
}

func TestTheNextObserverGoesOn(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		first := w.observe("one")
		time.Sleep(30 * time.Second)
		second := w.observe("two")
		time.Sleep(30 * time.Second)
		w.kill("bronze")
		time.Sleep(20 * time.Second)
		expectSaid(t, w, "bronze stale")
		if second.Status().Leading || second.Status().Holder != "one" {
			t.Errorf("status of the second %+v", second.Status())
		}
		first.kill()
		took := within(t, 12*time.Second, "the second leads", func() bool { return second.Status().Leading })
		if took < 7*time.Second {
			t.Errorf("taken over after %v, before the lease had lapsed", took)
		}
		time.Sleep(time.Minute)
		expectSaid(t, w, "bronze stale") // it repeats nothing
		w.revive("bronze")
		time.Sleep(30 * time.Second)
		expectSaid(t, w, "bronze stale", "bronze up") // and loses nothing
		third := w.observe("three")
		time.Sleep(10 * time.Second)
		second.stop()
		if took := within(t, 3*time.Second, "the third leads", func() bool { return third.Status().Leading }); took > 2500*time.Millisecond {
			t.Errorf("taken over %v after a stop in order", took)
		}
	})
}

// The leader stands still while another one takes over. What it then sends is refused.
func TestALeaderThatStoodStill(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		first := w.observe("one")
		time.Sleep(20 * time.Second)
		second := w.observe("two")
		time.Sleep(40 * time.Second)
		w.kill("bronze")
		time.Sleep(5 * time.Second)
		thaw := make(chan struct{})
		first.mu.Lock()
		first.frozen = thaw
		first.mu.Unlock()
		within(t, 20*time.Second, "the second leads", func() bool { return second.Status().Leading })
		within(t, 20*time.Second, "bronze is stale", func() bool { return w.state("bronze") == registry.Stale })
		close(thaw)
		first.mu.Lock()
		first.frozen = nil
		first.mu.Unlock()
		time.Sleep(time.Minute)
		expectSaid(t, w, "bronze stale")
		if first.Status().Leading || !second.Status().Leading {
			t.Errorf("first %+v, second %+v", first.Status(), second.Status())
		}
	})
}

// A leader that sees no leases for long lets another one try.
func TestABlindLeaderResigns(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		first := w.observe("one")
		time.Sleep(20 * time.Second)
		second := w.observe("two")
		time.Sleep(20 * time.Second)
		blind := *first.store.View()
		first.store.Publish(blind.CutOff(registry.Cut{Since: time.Now(), Reason: "by the test"}))
		time.Sleep(1500 * time.Millisecond)
		if s := first.Status(); !s.Leading || s.Blind == "" {
			t.Errorf("status %+v", s)
		}
		within(t, 40*time.Second, "the second leads", func() bool { return second.Status().Leading })
	})
}

// A stream that takes no events, while leases go on: nothing that happens is said, and
// whoever looks at the lease, the status or the metric must see that.
func TestAnObserverWhoseStreamTakesNothingSaysSo(t *testing.T) {
	const why = "the stream takes nothing"
	says := func(w *world) string {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.leases[registry.Observer].value.Detail
	}
	expect := func(t *testing.T, w *world, p *process) {
		t.Helper()
		within(t, 15*time.Second, "the status says so", func() bool {
			s := p.Status()
			return s.Leading && strings.Contains(s.Blind, why) && strings.Contains(s.Blind, "no space left")
		})
		within(t, 5*time.Second, "the lease says so", func() bool {
			return strings.Contains(says(w), why) && strings.Contains(says(w), "no space left")
		})
		p.setFull(false)
		within(t, 5*time.Second, "the status is well again", func() bool { s := p.Status(); return s.Leading && s.Blind == "" })
		within(t, 5*time.Second, "the lease is well again", func() bool { return says(w) == "" })
	}
	t.Run("while it leads", func(t *testing.T) {
		inWorld(t, func(t *testing.T, w *world) {
			p := w.observe("one")
			time.Sleep(time.Minute)
			p.setFull(true)
			w.kill("bronze")
			time.Sleep(15 * time.Second)
			expect(t, w, p)
			expectSaid(t, w, "bronze stale")
		})
	})
	t.Run("as it begins", func(t *testing.T) {
		inWorld(t, func(t *testing.T, w *world) {
			p := w.start("one", observer.Timing{}, observer.DefaultSettings())
			p.setFull(true)
			expect(t, w, p)
		})
	})
}

// TestAnObserverWhoseStreamTakesNothingGivesUpTheLease: one whose events were refused held the
// lease for ever, so that no other one, whose events would be taken, judged.
func TestAnObserverWhoseStreamTakesNothingGivesUpTheLease(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		first := w.observe("one")
		time.Sleep(time.Minute)
		second := w.observe("two")
		time.Sleep(10 * time.Second)
		first.setFull(true)
		w.kill("bronze")
		within(t, 90*time.Second, "the other one leads", func() bool { return second.Status().Leading && !first.Status().Leading })
		within(t, 30*time.Second, "it judges", func() bool { return w.state("bronze") != registry.Up })
		time.Sleep(2 * time.Minute)
		if !second.Status().Leading || first.Status().Leading {
			t.Errorf("the first is %+v, the second %+v", first.Status(), second.Status())
		}
	})
}

// What was published and is not in the View yet is not published again.
func TestALaggingViewIsNotJudged(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		p := w.observe("one")
		time.Sleep(time.Minute)
		p.setLags(true)
		w.kill("bronze")
		time.Sleep(20 * time.Second)
		expectSaid(t, w, "bronze stale")
		if p.Status().Blind == "" {
			t.Errorf("status %+v", p.Status())
		}
		time.Sleep(10 * time.Minute)
		p.setLags(false)
		time.Sleep(time.Minute)
		expectSaid(t, w, "bronze stale")
	})
}

// A lease that stands there since long is no sign of life to whoever finds it.
func TestAnOldLeaseIsNoSignOfLife(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		settings := observer.DefaultSettings()
		settings.Failback = 0
		first := w.start("one", observer.Timing{}, settings)
		time.Sleep(time.Minute)
		w.kill("bronze")
		time.Sleep(time.Minute)
		first.stop()
		w.start("two", observer.Timing{}, settings)
		time.Sleep(time.Minute)
		expectSaid(t, w, "bronze stale")
	})
}

func TestGone(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.set(func(w *world) { w.age = 4 * time.Hour })
		w.observe("one")
		time.Sleep(time.Minute)
		w.kill("bronze")
		time.Sleep(2*time.Hour - time.Minute)
		if w.state("bronze") != registry.Stale {
			t.Errorf("bronze is %s", w.state("bronze"))
		}
		time.Sleep(2 * time.Minute)
		if w.state("bronze") != registry.Gone || w.view().Cluster("bronze") != nil {
			t.Errorf("bronze is %s", w.state("bronze"))
		}
		time.Sleep(3 * time.Hour)
		w.revive("bronze")
		time.Sleep(time.Minute)
		expectSaid(t, w, "bronze stale", "bronze gone", "bronze up")
	})
}

func TestReloadedSettings(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		p := w.observe("one")
		time.Sleep(time.Minute)
		s := observer.DefaultSettings()
		s.Lapse = 30 * time.Second
		p.Reload(s)
		w.kill("bronze")
		time.Sleep(25 * time.Second)
		expectSaid(t, w)
		time.Sleep(10 * time.Second)
		expectSaid(t, w, "bronze stale")
	})
}
