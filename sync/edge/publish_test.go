package edge_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

func TestTheFirstChangeGoesOutAtOnce(t *testing.T) {
	inWorld(t, newWorld(services(5)...), func(t *testing.T, w *world) {
		w.start("one")
		before, began := w.sequence(), time.Now()
		w.catalogue.put(service("new", 1))
		synctest.Wait() // no time passes
		got := w.since(before)
		if len(got) != 1 || got[0].Fact.Service != key("new") || !time.Now().Equal(began) {
			t.Fatalf("published %v after %v", got, time.Since(began))
		}
		e := got[0].Event
		if e.Cause != registry.CauseChange || e.Service.Index != "2" || !e.Service.Seen.Equal(began) || !slices.Equal(e.Service.Changes.Added, []string{"new-000"}) {
			t.Errorf("the event is %+v with %+v", e, e.Service)
		}
		if c := e.Service.Changed; c.Epoch != e.Epoch || c.Revision != e.Revision || !c.Time.Equal(e.Time) {
			t.Errorf("changed is %+v in epoch %d revision %d", c, e.Epoch, e.Revision)
		}
	})
}

func TestBurstsCoalesceWhileOneIsInFlight(t *testing.T) {
	inWorld(t, newWorld(services(5)...), func(t *testing.T, w *world) {
		a := w.start("one")
		before := w.sequence()
		a.link.set(func(k *link) { k.next = func(string, int) fault { return slow } })
		w.catalogue.put(service("first", 1))
		synctest.Wait()
		for n := range 100 {
			time.Sleep(10 * time.Millisecond)
			w.catalogue.put(service("s0001", n+1), service("s0002", n+2))
		}
		a.link.set(func(k *link) { k.next = nil })
		time.Sleep(10 * time.Second)
		if got := w.since(before); len(got) != 3 {
			t.Errorf("%d messages for one change and two that changed a hundred times while it was in flight, want 3", len(got))
		}
		w.mustEqual(t, w.catalogue.now())
	})
}

// The lag that is measured for a change must not shrink because another service
// changed later while both were waiting.
func TestAChangeThatWaitedSaysSinceWhen(t *testing.T) {
	inWorld(t, newWorld(services(5)...), func(t *testing.T, w *world) {
		a := w.start("one")
		a.link.set(func(k *link) { k.down = true })
		w.catalogue.put(service("blocking", 1))
		settle()
		learnt := time.Now()
		w.catalogue.put(service("early", 1))
		time.Sleep(20 * time.Second)
		w.catalogue.put(service("later", 1), service("early", 2)) // the latest state, since the first change
		a.link.set(func(k *link) { k.down = false })
		time.Sleep(10 * time.Second)
		for _, m := range w.since(0) {
			if m.Fact.Service != key("early") {
				continue
			}
			if late := m.Event.Service.Seen.Sub(learnt); late > callBound { // a call that is not answered takes that long
				t.Errorf("seen is %v after the agent learnt it", late)
			}
		}
	})
}

func TestWhatWasSentIsSentIdenticallyUntilItIsAcknowledged(t *testing.T) {
	for _, f := range []fault{fails, ackLost, late, unanswered} {
		inWorld(t, newWorld(services(5)...), func(t *testing.T, w *world) {
			a := w.start("one")
			before := len(a.link.requests())
			a.link.set(func(k *link) {
				k.next = func(request string, _ int) fault {
					if request == "publish" {
						return f
					}
					return works
				}
			})
			w.catalogue.put(service("s0001", 3))
			settle()
			w.catalogue.put(service("s0001", 4), service("newer", 1))
			time.Sleep(time.Minute)
			sent := a.link.requests()[before:]
			if len(sent) < 5 {
				t.Fatalf("sent %d times in a minute without an acknowledgement", len(sent))
			}
			for _, s := range sent {
				if !slices.Equal(s.ids, sent[0].ids) {
					t.Errorf("fault %d: %v was sent after %v, which was not acknowledged", f, s.ids, sent[0].ids)
				}
			}
			a.link.set(func(k *link) { k.next = nil })
			time.Sleep(10 * time.Second)
			w.mustEqual(t, w.catalogue.now())
			if got := len(w.epochs()); got != 1 {
				t.Errorf("fault %d: %d epochs", f, got)
			}
		})
	}
}

// The stream forgets ids after its window; what is stored twice then is the same.
func TestALostAcknowledgementBeyondTheDedupeWindow(t *testing.T) {
	inWorld(t, newWorld(services(5)...), func(t *testing.T, w *world) {
		a := w.start("one")
		lost := false
		a.link.set(func(k *link) {
			k.next = func(request string, _ int) fault {
				if request != "publish" {
					return works
				}
				if !lost {
					lost = true
					return ackLost
				}
				return unanswered
			}
		})
		w.catalogue.put(service("s0001", 3))
		settle()
		w.catalogue.put(service("s0001", 4))
		time.Sleep(dedupeWindow + time.Minute)
		a.link.set(func(k *link) { k.next = nil })
		time.Sleep(10 * time.Second)
		w.mustEqual(t, w.catalogue.now()) // the audit finds a revision with two contents
	})
}

func TestManyChangesGoOutInBatches(t *testing.T) {
	inWorld(t, newWorld(), func(t *testing.T, w *world) {
		a := w.start("one")
		before := len(a.link.requests())
		w.catalogue.put(services(1001)...)
		settle()
		sent := a.link.requests()[before:]
		if len(sent) != 6 { // more than 200 is a fault of its own
			t.Errorf("%d requests for 1001 changes, want 6", len(sent))
		}
		w.mustEqual(t, w.catalogue.now())
		if s := a.Status(); s.Published[registry.CauseChange] < 1001 {
			t.Errorf("status counts %v", s.Published)
		}
	})
}

func TestBetweenTwoBatchesTheNewestStateIsTaken(t *testing.T) {
	inWorld(t, newWorld(), func(t *testing.T, w *world) {
		a := w.start("one")
		a.link.set(func(k *link) { k.next = func(string, int) fault { return slow } })
		w.catalogue.put(services(601)...)
		time.Sleep(time.Second) // the first batch is in flight
		w.catalogue.put(service("s0600", 9))
		time.Sleep(30 * time.Second)
		a.link.set(func(k *link) { k.next = nil })
		count := 0
		for _, m := range w.since(0) {
			if m.Fact.Service == key("s0600") {
				count++
			}
		}
		if count != 1 {
			t.Errorf("published %d times, want once, in its last state", count)
		}
		w.mustEqual(t, w.catalogue.now())
	})
}

func TestUpsertsGoBeforeTombstonesAtTheStart(t *testing.T) {
	inWorld(t, newWorld(append(services(300), service("a", 1))...), func(t *testing.T, w *world) {
		w.start("one").stop()
		w.catalogue.replace(append(services(250), service("zz", 1), service("zzz", 1))...)
		at := w.sequence()
		w.start("two")
		var order []bool
		for _, m := range w.since(at) {
			order = append(order, m.Event.Service.Total == 0)
		}
		if len(order) != 53 || !slices.IsSortedFunc(order, func(a, b bool) int {
			if a == b {
				return 0
			} else if b {
				return -1
			}
			return 1
		}) {
			t.Errorf("tombstones: %v", order)
		}
		w.mustEqual(t, w.catalogue.now())
	})
}

func TestServicesBeyondTheServersLimitAreCut(t *testing.T) {
	w := newWorld(service("small", 2), service("huge", 500))
	w.memory.limit = 20_000
	inWorld(t, w, func(t *testing.T, w *world) {
		a := w.start("one")
		check := func(total int) {
			t.Helper()
			e, _ := w.view().Service(key("huge"))
			if r := e.Record(cluster); !r.Truncated || r.Total != total || len(r.Service.Instances) == 0 || len(r.Service.Instances) >= total {
				t.Errorf("stands with %d of %d instances, truncated: %v", len(r.Service.Instances), r.Total, r.Truncated)
			}
			time.Sleep(2100 * time.Millisecond) // the next renewal
			l, _ := w.memory.standingLease()
			if c := w.view().Cluster(cluster); c.Digest != l.Digest {
				t.Errorf("the lease has digest %s, the stream %s", l.Digest, c.Digest)
			}
		}
		check(500)
		if got := a.Status().Truncated; got != 1 {
			t.Errorf("%d services counted as cut", got)
		}
		before := w.sequence()
		time.Sleep(time.Hour)
		if got := w.since(before); len(got) > 0 {
			t.Errorf("published again without a change: %v", got[0].Fact)
		}
		w.catalogue.put(service("huge", 499))
		settle()
		check(499)
		a.stop()
		w.start("two") // can't compare what was cut, so it publishes it
		check(499)
	})
}

func TestUnknownHealthKeepsTheHealthItHad(t *testing.T) {
	inWorld(t, newWorld(service("s", 3)), func(t *testing.T, w *world) {
		w.start("one")
		unknown := service("s", 4)
		for n := range unknown.Instances {
			unknown.Instances[n].Health = registry.Unknown
		}
		w.catalogue.put(unknown)
		settle()
		health := func() (all []registry.Health) {
			for _, i := range w.published().Service(key("s")).Instances {
				all = append(all, i.Health)
			}
			return all
		}
		want := []registry.Health{registry.Passing, registry.Passing, registry.Passing, registry.Unknown}
		if got := health(); !slices.Equal(got, want) {
			t.Errorf("health %v, want %v", got, want)
		}
		critical := service("s", 4)
		critical.Instances[0].Health, critical.Instances[1].Health = registry.Critical, registry.Unknown
		w.catalogue.put(critical)
		settle()
		w.catalogue.put(unknown)
		settle()
		want = []registry.Health{registry.Critical, registry.Passing, registry.Passing, registry.Passing}
		if got := health(); !slices.Equal(got, want) {
			t.Errorf("health %v, want %v", got, want)
		}
		w.agents[0].stop()
		w.start("two")
		if got := health(); !slices.Equal(got, want) {
			t.Errorf("after a restart health %v, want %v", got, want)
		}
	})
}

func TestTheStreamIsMadeAnew(t *testing.T) {
	for name, leaseToo := range map[string]bool{"events only": false, "leases too": true} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, newWorld(services(5)...), func(t *testing.T, w *world) {
				a := w.start("one")
				time.Sleep(time.Hour)
				w.memory.recreate(1000, leaseToo)
				time.Sleep(time.Minute) // nothing changes, and it is noticed
				if !leading(a) {
					t.Error("the agent does not lead any more")
				}
				w.mustEqual(t, w.catalogue.now())
				w.memory.recreate(2000, leaseToo)
				w.catalogue.put(service("new", 1)) // the fence fails
				time.Sleep(time.Second)
				w.mustEqual(t, w.catalogue.now())
			})
		})
	}
}

// TestTheStreamLosesItsEnd: the epoch's record is still the last one, so that nothing
// told the agent that what came after it is gone.
func TestTheStreamLosesItsEnd(t *testing.T) {
	for name, after := range map[string]func(w *world){
		"and nobody goes on": func(*world) {},
		"and others go on": func(w *world) {
			for range 10 {
				w.memory.order("bronze", "test")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, newWorld(services(5)...), func(t *testing.T, w *world) {
				a := w.start("one")
				time.Sleep(time.Hour)
				w.catalogue.put(service("new", 1), service("newer", 1))
				time.Sleep(time.Minute)
				epochs := len(w.epochs())
				w.memory.cut(2)
				after(w)
				time.Sleep(25 * time.Second)
				w.mustEqual(t, w.catalogue.now())
				if !leading(a) {
					t.Error("the agent does not lead any more")
				}
				if got := len(w.epochs()); got != epochs+1 {
					t.Errorf("%d epochs began, want one", got-epochs)
				}
				time.Sleep(time.Hour)
				if got := len(w.epochs()); got != epochs+1 {
					t.Errorf("%d epochs began, want one", got-epochs)
				}
			})
		})
	}
}

func TestWhatNobodyCanReadIsPublishedAnew(t *testing.T) {
	inWorld(t, newWorld(service("there", 2), service("gone", 2), service("also", 2)), func(t *testing.T, w *world) {
		w.start("one").stop()
		epoch := w.epochs()[0]
		for n, f := range []registry.Fact{
			{Writer: "amber", Kind: registry.KindService, Service: key("there")},
			{Writer: "amber", Kind: registry.KindService, Service: key("gone")},
			{Writer: "amber", Kind: registry.KindCluster},
		} {
			w.memory.forge(kept{fact: f, epoch: epoch, revision: uint64(100 + n), id: fmt.Sprint("forged", n), body: []byte(`{"schema":"seamark/2.0"}`)})
		}
		w.catalogue.remove("gone")
		w.start("two")
		if got := w.view().Cluster(cluster); got.Quarantined != 0 || got.Record == nil {
			t.Errorf("%d facts can't be read, record %v", got.Quarantined, got.Record)
		}
		if e, known := w.view().Service(key("gone")); !known || !e.Record(cluster).Tombstone() {
			t.Error("what is gone from the registry still stands behind a message that can't be read")
		}
		w.mustEqual(t, w.catalogue.now())
		w.memory.mu.Lock()
		defer w.memory.mu.Unlock()
		w.memory.messages = slices.DeleteFunc(w.memory.messages, func(k kept) bool { return k.revision >= 100 }) // for the audit
	})
}

// Nobody knows what stands behind a message that can't be read. As long as the
// registry can't be asked, it is left alone, also when it is due for its age.
func TestWhatNobodyCanReadIsLeftAloneWhileTheRegistryIsDown(t *testing.T) {
	inWorld(t, gentle(service("there", 2), service("other", 1)), func(t *testing.T, w *world) {
		w.start("one").stop()
		fact := registry.Fact{Writer: "amber", Kind: registry.KindService, Service: key("there")}
		at := w.memory.forge(kept{fact: fact, epoch: w.epochs()[0], revision: 100, id: "forged", body: []byte(`{"schema":"seamark/2.0"}`)})
		b := w.prepare("two")
		b.source.set(func(s *source) { s.watchErr = errRegistry })
		b.run()
		time.Sleep(3 * day)
		for _, m := range w.since(at) {
			if m.Fact == fact {
				t.Errorf("published %+v without knowing the registry", m.Event.Service)
			}
		}
		b.source.set(func(s *source) { s.watchErr = nil })
		time.Sleep(30 * time.Minute)
		if w.published().Service(key("there")) == nil || w.view().Cluster(cluster).Quarantined > 0 {
			t.Error("it was not published anew when the registry was back")
		}
		w.memory.mu.Lock()
		defer w.memory.mu.Unlock()
		w.memory.messages = slices.DeleteFunc(w.memory.messages, func(k kept) bool { return k.sequence == at }) // for the audit
	})
}
