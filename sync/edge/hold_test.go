package edge_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/sync/edge"
)

// notes returns what the agents told of the brake, oldest first.
func (w *world) notes() []registry.Brake {
	var all []registry.Brake
	for _, k := range w.memory.history() {
		if k.fact.Kind != registry.KindNote || k.fact.Name != registry.NoteBrake {
			continue
		}
		b, err := registry.ParseBrake(*k.message().Event.Note)
		if err != nil {
			w.memory.blame("the note at %d: %v", k.sequence, err)
		}
		all = append(all, b)
	}
	return all
}

// heldBack returns what the stream says is held.
func (w *world) heldBack() (b registry.Brake, open bool) {
	if all := w.notes(); len(all) > 0 {
		b = all[len(all)-1]
	}
	return b, b.State.Open()
}

// decide orders about what is held.
func (w *world) decide(decision, id string) {
	w.memory.ask(registry.Order{Kind: registry.OrderBrake, Target: string(cluster), By: "ada", Reason: "because", Decision: decision, Held: id})
}

func (w *world) leave(lifted bool) {
	w.memory.ask(registry.Order{Kind: registry.OrderLeave, Target: string(cluster), By: "ada", Reason: "it goes", Lifted: lifted})
}

// lose takes the second half of a hundred services away, and returns what is held then.
func (w *world) lose(t *testing.T) registry.Brake {
	t.Helper()
	w.catalogue.replace(services(50)...)
	time.Sleep(2 * time.Second)
	synctest.Wait()
	b, open := w.heldBack()
	if !open || b.State != registry.BrakeHeld || b.Services != 50 || b.Instances != 100 || b.OfServices != 100 || b.OfInstances != 200 {
		t.Fatalf("held: %v %+v", open, b)
	}
	w.mustStand(t, registry.NewSnapshot("", services(100)...))
	return b
}

// mustStand fails the test when readers see something else.
func (w *world) mustStand(t *testing.T, want registry.Snapshot) {
	t.Helper()
	if changes := registry.Diff(want, w.published()); len(changes) > 0 {
		t.Fatalf("%d services stand otherwise; the first is %s: %+v", len(changes), changes[0].Key, registry.Compare(changes[0].Old, changes[0].New))
	}
}

// ends fails the test unless what was held ended so, and the stream is what the registry says.
func (w *world) ends(t *testing.T, id string, state registry.BrakeState) {
	t.Helper()
	time.Sleep(2 * time.Second)
	synctest.Wait()
	if b, _ := w.heldBack(); b.ID != id || b.State != state {
		t.Errorf("%s is %s, want %s to be %s", b.ID, b.State, id, state)
	}
	w.mustEqual(t, w.catalogue.now())
}

func TestAMassWithdrawalIsHeldBack(t *testing.T) {
	inWorld(t, newWorld(services(100)...), func(t *testing.T, w *world) {
		a := w.start("one")
		before := w.sequence()
		b := w.lose(t)
		if got := w.since(before); len(got) > 0 {
			t.Errorf("%d messages of services, the first of %s", len(got), got[0].Fact.Service)
		}
		if until := b.Since.Add(15 * time.Minute); !b.Until.Equal(until) || len(b.Names) != 10 || b.Names[0] != "default/s0050" {
			t.Errorf("until %v, want %v; names %v", b.Until, until, b.Names)
		}
		time.Sleep(3 * time.Second)
		if l, _ := w.memory.standingLease(); l.Phase != registry.PhaseSynced || !strings.Contains(l.Detail, "50 of 100 services") || !strings.Contains(l.Detail, b.ID) {
			t.Errorf("the lease says %s: %q", l.Phase, l.Detail)
		}
		if s := a.Status(); s.Brake.ID != b.ID || s.Brake.Services != 50 || s.Brakes != 1 {
			t.Errorf("the status says %+v, %d", s.Brake, s.Brakes)
		}
		time.Sleep(10 * time.Minute)
		w.mustStand(t, registry.NewSnapshot("", services(100)...))
		if n := len(w.notes()); n != 1 {
			t.Errorf("%d notes", n)
		}
	})
}

func TestWhatIsHeldBackIsDecided(t *testing.T) {
	for name, test := range map[string]struct {
		brake edge.BrakeRules
		do    func(w *world, id string)
		state registry.BrakeState
	}{
		"approved":         {do: func(w *world, id string) { w.decide(registry.Approve, id) }, state: registry.BrakeApproved},
		"time is up":       {do: func(*world, string) { time.Sleep(15 * time.Minute) }, state: registry.BrakePassed},
		"another time":     {brake: edge.BrakeRules{PassAfter: time.Hour}, do: func(*world, string) { time.Sleep(time.Hour) }, state: registry.BrakePassed},
		"leaves":           {do: func(w *world, _ string) { w.leave(false) }, state: registry.BrakeLeft},
		"comes back":       {do: func(w *world, _ string) { w.catalogue.replace(services(100)...) }, state: registry.BrakeReturned},
		"comes back anew":  {do: func(w *world, _ string) { w.catalogue.replace(renamed(100)...) }, state: registry.BrakeReturned},
		"stays until then": {brake: edge.BrakeRules{Stay: true}, do: func(w *world, id string) { time.Sleep(2 * time.Hour); w.decide(registry.Approve, id) }, state: registry.BrakeApproved},
		"second thoughts": {do: func(w *world, id string) {
			w.decide(registry.Reject, id)
			time.Sleep(time.Hour)
			w.decide(registry.Approve, id)
		}, state: registry.BrakeApproved},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(services(100)...)
			w.brake = test.brake
			inWorld(t, w, func(t *testing.T, w *world) {
				a := w.start("one")
				b := w.lose(t)
				test.do(w, b.ID)
				w.ends(t, b.ID, test.state)
				if s := a.Status(); s.Brake.ID != "" || s.BrakesEnded[test.state] != 1 {
					t.Errorf("the status says %+v, %v", s.Brake, s.BrakesEnded)
				}
				w.catalogue.remove("s0000", "s0001") // the window is anew: little passes
				w.mustEqual(t, w.catalogue.now())
			})
		})
	}
}

// renamed are services whose instances have other ids.
func renamed(count int) []registry.Service {
	all := services(count)
	for n := range all {
		for i := range all[n].Instances {
			all[n].Instances[i].ID += "-new"
		}
	}
	return all
}

func TestWhatWasRejectedStands(t *testing.T) {
	w := newWorld(services(100)...)
	w.timing = edge.Timing{Refresh: time.Hour} // days would take long
	inWorld(t, w, func(t *testing.T, w *world) {
		w.start("one")
		b := w.lose(t)
		w.decide(registry.Reject, b.ID)
		time.Sleep(4 * time.Hour)
		got, _ := w.heldBack()
		if got.State != registry.BrakeRejected || got.ID != b.ID || got.By != "ada" || got.Reason != "because" || !got.Until.IsZero() {
			t.Fatalf("%+v", got)
		}
		w.mustStand(t, registry.NewSnapshot("", services(100)...))
		if n := len(w.notes()); n < 5 || n > 6 { // told again as often as everything that stands
			t.Errorf("%d notes in four hours", n)
		}

		w.catalogue.remove("s0000") // little goes as ever
		time.Sleep(5 * time.Second)
		w.mustStand(t, registry.NewSnapshot("", services(100)[1:]...))
		time.Sleep(2 * time.Minute)

		w.catalogue.replace(services(20)[1:]...) // much is another hold, that keeps what was rejected
		time.Sleep(5 * time.Second)
		if got, _ = w.heldBack(); got.State != registry.BrakeHeld || got.ID == b.ID || got.Services != 80 || got.OfServices != 99 || !got.Until.IsZero() {
			t.Fatalf("%+v", got)
		}
		time.Sleep(2 * time.Hour)
		w.mustStand(t, registry.NewSnapshot("", services(100)[1:]...))
		w.decide(registry.Approve, got.ID)
		w.ends(t, got.ID, registry.BrakeApproved)
	})
}

func TestADecisionAboutAnotherHoldIsNone(t *testing.T) {
	inWorld(t, newWorld(services(100)...), func(t *testing.T, w *world) {
		w.start("one")
		first := w.lose(t)
		w.decide(registry.Approve, first.ID)
		w.ends(t, first.ID, registry.BrakeApproved)
		w.catalogue.replace(services(100)...)
		w.mustEqual(t, w.catalogue.now())
		second := w.lose(t) // the same again: the old decision must not count
		if second.ID == first.ID || second.Content != first.Content {
			t.Errorf("%s and %s", first.ID, second.ID)
		}
		w.decide(registry.Approve, first.ID)
		w.decide(registry.Approve, "")
		time.Sleep(10 * time.Second)
		w.mustStand(t, registry.NewSnapshot("", services(100)...))
	})
}

func TestLittleIsNeverHeldBack(t *testing.T) {
	for name, test := range map[string]struct{ before, after []registry.Service }{
		"9 of 20":             {single(20), single(20)[9:]},
		"9 of 9":              {single(9), nil},
		"30 of 100":           {services(100), services(100)[30:]},
		"health of all":       {services(100), critical(100)},
		"other instances":     {services(100), renamed(100)},
		"29 of 100, one each": {single(100), single(100)[29:]},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, newWorld(test.before...), func(t *testing.T, w *world) {
				w.start("one")
				w.catalogue.replace(test.after...)
				w.mustEqual(t, w.catalogue.now())
				if n := len(w.notes()); n > 0 {
					t.Errorf("%d notes", n)
				}
			})
		})
	}
}

func single(count int) []registry.Service {
	all := services(count)
	for n := range all {
		all[n].Instances = all[n].Instances[:1]
	}
	return all
}

func critical(count int) []registry.Service {
	all := services(count)
	for n := range all {
		for i := range all[n].Instances {
			all[n].Instances[i].Health = registry.Critical
		}
	}
	return all
}

// A registry that was swapped for another one loses everything although it is as full as before.
func TestAnotherCatalogueIsALoss(t *testing.T) {
	inWorld(t, newWorld(services(20)...), func(t *testing.T, w *world) {
		w.start("one")
		var others []registry.Service
		for n := range 60 {
			others = append(others, service(fmt.Sprintf("other%02d", n), 2))
		}
		w.catalogue.replace(others...)
		time.Sleep(3 * time.Second)
		w.mustStand(t, registry.NewSnapshot("", append(others, services(20)...)...))
	})
}

func TestASlowBleedIsHeldBack(t *testing.T) {
	inWorld(t, newWorld(services(100)...), func(t *testing.T, w *world) {
		w.start("one")
		for n := range 31 {
			w.catalogue.remove(fmt.Sprintf("s%04d", n))
			time.Sleep(1900 * time.Millisecond)
		}
		// What was withdrawn within the window belongs to the same loss: it is back.
		w.mustStand(t, registry.NewSnapshot("", services(100)...))
		if b, _ := w.heldBack(); b.Services != 31 {
			t.Errorf("%+v", b)
		}
	})
}

func TestASlowChangeIsNoBleed(t *testing.T) {
	inWorld(t, newWorld(single(100)...), func(t *testing.T, w *world) {
		w.start("one")
		for n := range 100 {
			w.catalogue.remove(fmt.Sprintf("s%04d", n))
			time.Sleep(7 * time.Second) // never ten within a minute
		}
		w.mustEqual(t, registry.Snapshot{})
		if n := len(w.notes()); n > 0 {
			t.Errorf("%d notes", n)
		}
	})
}

func TestWhatIsNewPassesWhileMuchIsHeldBack(t *testing.T) {
	inWorld(t, newWorld(services(100)...), func(t *testing.T, w *world) {
		w.start("one")
		b := w.lose(t)
		want := registry.NewSnapshot("", services(100)...)

		w.catalogue.put(service("new", 3))
		settle()
		want = want.With("", service("new", 3))
		w.mustStand(t, want)

		w.catalogue.put(critical(3)...) // health of what remains
		settle()
		want = want.With("", critical(3)...)
		w.mustStand(t, want)

		w.catalogue.put(service("s0004", 5)) // more of what remains
		settle()
		want = want.With("", service("s0004", 5))
		w.mustStand(t, want)

		back := critical(100)[99] // one comes back, as the registry has it now
		w.catalogue.put(back)
		settle()
		want = want.With("", back)
		w.mustStand(t, want)
		time.Sleep(6 * time.Second)
		if got, _ := w.heldBack(); got.ID != b.ID || got.Services != 49 || got.Content == b.Content || !got.Until.Equal(b.Until) {
			t.Errorf("%+v", got)
		}

		w.catalogue.remove("s0010") // what little goes now is held with it
		time.Sleep(6 * time.Second)
		w.mustStand(t, want)
		if got, _ := w.heldBack(); got.ID != b.ID || got.Services != 50 || !got.Until.Equal(b.Until) || got.OfServices != 100 {
			t.Errorf("%+v", got)
		}
		for n := 10; n < 30; n++ { // much is another hold, with the whole time
			w.catalogue.remove(fmt.Sprintf("s%04d", n))
		}
		time.Sleep(6 * time.Second)
		w.mustStand(t, want)
		grown, _ := w.heldBack()
		if grown.ID == b.ID || grown.Services != 69 || !grown.Until.After(b.Until) || grown.OfServices != 100 {
			t.Errorf("%+v", grown)
		}
		for range 20 { // what comes and goes makes no other one
			w.catalogue.put(service("s0010", 2))
			time.Sleep(3 * time.Second)
			w.catalogue.remove("s0010")
			time.Sleep(3 * time.Second)
		}
		if got, _ := w.heldBack(); got.ID != grown.ID || !got.Until.Equal(grown.Until) {
			t.Errorf("%+v, want %s", got, grown.ID)
		}
		w.decide(registry.Approve, grown.ID)
		w.ends(t, grown.ID, registry.BrakeApproved)
	})
}

func TestAClusterThatLeavesIsNotBraked(t *testing.T) {
	inWorld(t, newWorld(services(100)...), func(t *testing.T, w *world) {
		w.start("one")
		w.leave(false)
		settle()
		w.catalogue.replace(services(20)...)
		w.mustEqual(t, w.catalogue.now())
		if n := len(w.notes()); n > 0 {
			t.Errorf("%d notes", n)
		}
		w.catalogue.replace(services(100)...)
		w.mustEqual(t, w.catalogue.now())
		w.leave(true) // it stays after all
		settle()
		w.lose(t)
	})
}

// What the operator's settings take away is not the registry's loss.
func TestNewSettingsAreNotBraked(t *testing.T) {
	none := func(w *world) edge.Settings {
		s := w.settings
		s.Export.DefaultNone = true
		return s
	}
	t.Run("while it runs", func(t *testing.T) {
		inWorld(t, newWorld(services(100)...), func(t *testing.T, w *world) {
			a := w.start("one")
			a.Reload(none(w))
			w.mustEqual(t, registry.Snapshot{})
			if n := len(w.notes()); n > 0 {
				t.Errorf("%d notes", n)
			}
		})
	})
	t.Run("while much is held", func(t *testing.T) {
		inWorld(t, newWorld(services(100)...), func(t *testing.T, w *world) {
			a := w.start("one")
			b := w.lose(t)
			a.Reload(none(w))
			time.Sleep(3 * time.Second)
			w.mustEqual(t, registry.Snapshot{})
			if got, _ := w.heldBack(); got.ID != b.ID || got.State != registry.BrakePassed {
				t.Errorf("%+v", got)
			}
		})
	})
	t.Run("by a restart", func(t *testing.T) {
		inWorld(t, newWorld(services(100)...), func(t *testing.T, w *world) {
			w.start("one").stop()
			w.settings = none(w)
			w.start("two")
			w.mustEqual(t, registry.Snapshot{})
			if n := len(w.notes()); n > 0 {
				t.Errorf("%d notes", n)
			}
		})
	})
}

// Gateways that were found in the registry stand with what is reached by them.
func TestLostGatewaysStandWithWhatIsHeldBack(t *testing.T) {
	gateways := func(alive ...bool) registry.Service {
		s := registry.Service{Key: key("gateway")}
		for n, passing := range alive {
			i := registry.Instance{ID: fmt.Sprint("gw-", n), Address: fmt.Sprintf("192.0.2.%d", n+10), Port: 443, Weight: 1, Health: registry.Critical}
			if passing {
				i.Health = registry.Passing
			}
			s.Instances = append(s.Instances, i)
		}
		return s
	}
	w := newWorld(append(services(100), gateways(true, true, false))...)
	w.settings.FromService = &edge.GatewayService{Key: key("gateway"), PortName: "https"}
	names := func() string {
		var all []string
		for _, g := range w.view().Cluster(cluster).Record.Gateways {
			all = append(all, g.Name+"="+fmt.Sprint(g.Addresses))
		}
		return strings.Join(all, " ")
	}
	inWorld(t, w, func(t *testing.T, w *world) {
		w.start("one")
		at := func(n int) string {
			return fmt.Sprintf("gw-%d=%v", n, []netip.Addr{netip.MustParseAddr(fmt.Sprintf("192.0.2.%d", n+10))})
		}
		w.settings.Gateways = nil
		w.agents[0].Reload(w.settings)
		settle()
		if got := names(); got != at(0)+" "+at(1) {
			t.Fatalf("gateways %s", got)
		}
		w.catalogue.replace(append(services(40), gateways(false))...) // one is sick, two are gone
		time.Sleep(3 * time.Second)
		if got := names(); got != at(1) {
			t.Errorf("while it is held: gateways %s, want %s: what is sick is no gateway, what is gone stands", got, at(1))
		}
		w.agents[0].stop()
		w.start("two")
		time.Sleep(3 * time.Second)
		if got := names(); got != at(1) {
			t.Errorf("after a takeover: gateways %s", got)
		}
		b, _ := w.heldBack()
		w.decide(registry.Approve, b.ID)
		time.Sleep(3 * time.Second)
		if got := names(); got != "" {
			t.Errorf("after it was approved: gateways %s", got)
		}
	})
}
