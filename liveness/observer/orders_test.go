package observer_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/liveness/observer"
	"github.com/seamark-mesh/seamark/registry"
)

func (w *world) order(o registry.Order) uint64 {
	o.By, o.Reason = "somebody", "by the test"
	return w.publish(registry.Event{Kind: registry.KindOrder, Writer: registry.Operator, Order: &o})
}

// orders returns what holds, in short.
func (w *world) orders() []string {
	var all []string
	for _, o := range w.view().Orders() {
		all = append(all, o.Kind+" "+o.Target)
	}
	return all
}

func TestDrainsEnd(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.observe("one")
		time.Sleep(time.Minute)
		w.order(registry.Order{Kind: registry.OrderDrain, Target: "bronze", For: 600, Failback: 30})
		w.order(registry.Order{Kind: registry.OrderDrain, Target: "gw-1.amber", For: 60})
		w.order(registry.Order{Kind: registry.OrderDrain, Target: "web.shop.cobalt"})
		w.order(registry.Order{Kind: registry.OrderLeave, Target: "amber"})
		time.Sleep(58 * time.Second)
		if got := w.orders(); len(got) != 4 {
			t.Errorf("too early only %v hold", got)
		}
		time.Sleep(4 * time.Second)
		if got := w.orders(); slices.Contains(got, "drain gw-1.amber") || len(got) != 3 {
			t.Errorf("after 62 s %v hold", got)
		}
		time.Sleep(563 * time.Second) // 625 s
		if got := w.orders(); !slices.Contains(got, "drain bronze") {
			t.Errorf("before its failback is over: %v hold", got)
		}
		time.Sleep(7 * time.Second)
		if got := w.orders(); slices.Contains(got, "drain bronze") {
			t.Errorf("after 632 s %v hold", got)
		}
		w.order(registry.Order{Kind: registry.OrderDrain, Target: "web.shop.cobalt", Ending: true, Failback: 10})
		time.Sleep(12 * time.Second)
		if got, want := w.orders(), []string{"leave amber"}; !slices.Equal(got, want) {
			t.Errorf("in the end %v hold", got)
		}
		var lifted registry.Order
		for _, m := range w.history() {
			if o := m.Event.Order; o != nil && o.Target == "bronze" {
				lifted = *o
			}
		}
		if want := (registry.Order{Kind: "drain", Target: "bronze", By: "one", Reason: "the time of the drain by somebody is over", Lifted: true}); lifted != want {
			t.Errorf("the end of the drain is %+v", lifted)
		}
	})
}

// A drain that is given again lasts from then on; the observer that saw only the old
// one does not end it.
func TestADrainThatIsGivenAgain(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		p := w.observe("one")
		time.Sleep(time.Minute)
		w.order(registry.Order{Kind: registry.OrderDrain, Target: "bronze", For: 60})
		time.Sleep(59 * time.Second)
		stale := p.store.View()
		w.order(registry.Order{Kind: registry.OrderDrain, Target: "bronze", For: 600})
		time.Sleep(500 * time.Millisecond)
		p.store.Publish(stale) // it lags
		time.Sleep(3 * time.Second)
		if got := w.orders(); !slices.Contains(got, "drain bronze") {
			t.Errorf("%v hold", got)
		}
	})
}

// An observer whose credentials let it write no orders judges clusters all the same.
func TestWithoutTheRightToWriteOrders(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		p := w.observe("one")
		p.mu.Lock()
		p.noPut = true
		p.mu.Unlock()
		time.Sleep(time.Minute)
		for n := range 50 {
			w.order(registry.Order{Kind: registry.OrderDrain, Target: fmt.Sprintf("s%d.shop.amber", n), For: 1})
		}
		time.Sleep(time.Minute)
		w.kill("bronze")
		within(t, 20*time.Second, "bronze is stale", func() bool { return w.state("bronze") == registry.Stale })
		p.mu.Lock()
		p.noPut = false
		p.mu.Unlock()
		within(t, 20*time.Second, "the drains end", func() bool { return len(w.orders()) == 0 })
	})
}

// All that would age out of the history is published again once a day, and nothing
// changes by it.
func TestWhatIsOldIsRepeated(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.start("one", observer.Timing{Refresh: time.Hour}, observer.DefaultSettings()) // a short day
		time.Sleep(time.Minute)
		w.order(registry.Order{Kind: registry.OrderLeave, Target: "amber"})
		w.order(registry.Order{Kind: registry.OrderDrain, Target: "cobalt", For: 4 * 60 * 60})
		w.kill("bronze")
		time.Sleep(time.Minute)
		before := len(w.history())
		began := w.view().Orders()
		time.Sleep(3*time.Hour + 10*time.Minute)
		count := map[string]int{}
		for _, m := range w.history()[before:] {
			if m.Event.Cause != registry.CauseRefresh {
				t.Errorf("sequence %d is no refresh: %+v", m.Sequence, m.Fact)
			}
			count[fmt.Sprint(m.Fact.Kind, " ", m.Fact.Name)]++
		}
		want := map[string]int{"epoch ": 3, "state bronze": 3, "order leave.amber": 3, "order drain.cobalt": 3}
		if fmt.Sprint(count) != fmt.Sprint(want) {
			t.Errorf("repeated were %v, want %v", count, want)
		}
		for n, o := range w.view().Orders() {
			if !o.Stored.Equal(began[n].Stored) {
				t.Errorf("%s %s began at %v, now it says %v", o.Kind, o.Target, began[n].Stored, o.Stored)
			}
		}
		time.Sleep(time.Hour)
		if got, want := w.orders(), []string{"leave amber"}; !slices.Equal(got, want) {
			t.Errorf("after its four hours: %v hold", got)
		}
	})
}

// Another stream takes the place of the one that was lost: what stood is said again.
func TestWhatWasLostWithTheStreamIsSaidAgain(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		p := w.observe("one")
		time.Sleep(time.Minute)
		w.kill("bronze")
		drain := w.order(registry.Order{Kind: registry.OrderDrain, Target: "gw-1.amber", For: 600})
		w.order(registry.Order{Kind: registry.OrderLeave, Target: "cobalt"})
		time.Sleep(time.Minute)
		expectSaid(t, w, "bronze stale")
		before := w.view()
		w.recreate()
		within(t, 10*time.Second, "all is said again", func() bool { return len(w.orders()) == 2 && w.state("bronze") == registry.Stale })
		after := w.view()
		if was, is := before.State("bronze"), after.State("bronze"); !was.Equal(is.StateRecord) {
			t.Errorf("it was %+v, and is %+v", was.StateRecord, is.StateRecord)
		}
		for n, o := range before.Orders() {
			if is := after.Orders()[n]; !is.Stored.Equal(o.Stored) || is.By != o.By || is.Sequence <= drain {
				t.Errorf("it was %+v, and is %+v", *o, *is)
			}
		}
		if !p.Status().Leading || after.Observer().Epoch <= before.Observer().Epoch {
			t.Errorf("status %+v, epoch %d after %d", p.Status(), after.Observer().Epoch, before.Observer().Epoch)
		}
		time.Sleep(10 * time.Minute)
		if got, want := w.orders(), []string{"leave cobalt"}; !slices.Equal(got, want) {
			t.Errorf("%v hold", got)
		}
		w.revive("bronze")
		time.Sleep(time.Minute)
		expectSaid(t, w, "bronze up")
	})
}

// services gives a cluster n services more, or withdraws them.
func (w *world) services(c registry.ClusterID, n int, there bool) {
	for n := range n {
		w.service(c, fmt.Sprintf("s%03d", n), there)
	}
}

// instancesOfAll gives each of a cluster's n services so many instances.
func (w *world) instancesOfAll(c registry.ClusterID, n, count int) {
	for n := range n {
		w.instances(c, fmt.Sprintf("s%03d", n), count)
	}
}

// brake publishes what a cluster's brake says of so many services, with an instance each.
func (w *world) brake(c registry.ClusterID, state registry.BrakeState, services int) {
	note := registry.Brake{ID: "1", State: state, Services: services, Instances: services, OfServices: 41, OfInstances: 41}.Note(string(state))
	w.publish(registry.Event{Kind: registry.KindNote, Writer: registry.Writer(c), Note: &note})
}

func TestMassWithdrawalsAreSeen(t *testing.T) {
	seen := []string{"alarm mass_withdrawal"}
	for name, tt := range map[string]struct {
		before, after func(w *world)
		want          []string
	}{
		"many": {nil, func(w *world) { w.services("bronze", 20, false) }, seen},
		"few":  {nil, func(w *world) { w.services("bronze", 9, false) }, nil},
		"some of many": {
			func(w *world) { w.services("bronze", 100, true) },
			func(w *world) { w.services("bronze", 30, false) }, nil,
		},
		"they come back": {nil, func(w *world) {
			for range 10 {
				w.services("bronze", 9, false)
				w.services("bronze", 9, true)
			}
		}, nil},
		"two of three instances": {
			func(w *world) { w.instancesOfAll("bronze", 40, 3) },
			func(w *world) { w.instancesOfAll("bronze", 40, 1) }, seen,
		},
		"one instance after another": {
			func(w *world) { w.instancesOfAll("bronze", 40, 3) },
			func(w *world) {
				for count := 3; count > 1; count-- {
					w.instancesOfAll("bronze", 40, count-1)
					time.Sleep(30 * time.Second)
				}
			}, seen,
		},
		"some instances of many": {
			func(w *world) { w.instancesOfAll("bronze", 40, 4) },
			func(w *world) { w.instancesOfAll("bronze", 40, 3) }, nil,
		},
		"each service is rolled": {
			func(w *world) { w.instancesOfAll("bronze", 40, 3) },
			func(w *world) {
				for n := range 40 {
					for _, count := range []int{2, 3, 2, 3, 2, 3} {
						w.instances("bronze", fmt.Sprintf("s%03d", n), count)
						time.Sleep(time.Second)
					}
				}
			}, nil,
		},
		"the brake let them pass": {nil, func(w *world) {
			w.brake("bronze", registry.BrakePassed, 20)
			w.services("bronze", 20, false)
		}, nil},
		"somebody approved": {nil, func(w *world) {
			w.brake("bronze", registry.BrakeApproved, 20)
			w.services("bronze", 22, false) // two go as any service may
		}, nil},
		"the brake holds them, and they go all the same": {nil, func(w *world) {
			w.brake("bronze", registry.BrakeHeld, 20)
			w.services("bronze", 40, false)
		}, seen},
		"what was rejected goes": {nil, func(w *world) {
			w.brake("bronze", registry.BrakeRejected, 20)
			w.services("bronze", 20, false)
		}, seen},
		"more goes than the brake let pass": {nil, func(w *world) {
			w.brake("bronze", registry.BrakePassed, 20)
			w.services("bronze", 20, false)
			time.Sleep(time.Minute)
			w.services("bronze", 40, false)
		}, seen},
		"two that passed": {nil, func(w *world) {
			w.brake("bronze", registry.BrakePassed, 20)
			w.services("bronze", 20, false)
			time.Sleep(time.Minute)
			w.brake("bronze", registry.BrakePassed, 20)
			w.services("bronze", 40, false)
		}, nil},
		"what passed once explains it once": {nil, func(w *world) {
			w.brake("bronze", registry.BrakePassed, 20)
			w.services("bronze", 20, false)
			time.Sleep(10 * time.Second)
			w.services("bronze", 20, true)
			time.Sleep(10 * time.Second)
			w.services("bronze", 20, false)
		}, seen},
		"the cluster leaves": {nil, func(w *world) {
			w.order(registry.Order{Kind: registry.OrderLeave, Target: "bronze"})
			w.services("bronze", 20, false)
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.services("bronze", 40, true)
				if tt.before != nil {
					tt.before(w)
				}
				w.observe("one")
				time.Sleep(time.Minute)
				tt.after(w)
				time.Sleep(90 * time.Second)
				expectSaid(t, w, tt.want...)
			})
		})
	}
}

// TestWhatIsWithdrawnBetweenTwoObserversIsSeen: the next one began to count when it led.
func TestWhatIsWithdrawnBetweenTwoObserversIsSeen(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.services("bronze", 40, true)
		first := w.observe("one")
		time.Sleep(30 * time.Second)
		second := w.observe("two")
		time.Sleep(30 * time.Second)
		first.kill()
		w.services("bronze", 20, false)
		within(t, 15*time.Second, "the second leads", func() bool { return second.Status().Leading })
		time.Sleep(10 * time.Second)
		expectSaid(t, w, "alarm mass_withdrawal")
		w.observe("three")
		time.Sleep(time.Minute)
		second.kill()
		time.Sleep(time.Minute)
		expectSaid(t, w, "alarm mass_withdrawal")
	})
}

// TestTheNextObserverRepeatsNoAlarm: it has seen the same.
func TestTheNextObserverRepeatsNoAlarm(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.services("bronze", 40, true)
		first := w.observe("one")
		time.Sleep(30 * time.Second)
		second := w.observe("two")
		time.Sleep(30 * time.Second)
		w.services("bronze", 20, false)
		time.Sleep(10 * time.Second)
		first.kill()
		within(t, 15*time.Second, "the second leads", func() bool { return second.Status().Leading })
		time.Sleep(time.Minute)
		expectSaid(t, w, "alarm mass_withdrawal")
	})
}
