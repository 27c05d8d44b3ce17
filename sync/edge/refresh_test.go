package edge_test

import (
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/sync/edge"
)

const day = 24 * time.Hour

// gentle is a world for tests of days: with the protocol's periods they would be
// mostly renewals.
func gentle(services ...registry.Service) *world {
	w := newWorld(services...)
	w.timing = edge.Timing{Renew: 10 * time.Minute, Lapse: time.Hour, Compare: 30 * time.Minute, Retry: 10 * time.Minute}
	return w
}

func TestEveryRecordIsPublishedAgainEveryDay(t *testing.T) {
	inWorld(t, gentle(services(10)...), func(t *testing.T, w *world) {
		w.start("one")
		w.catalogue.remove("s0009")
		settle()
		for range 5 {
			before, history := w.sequence(), len(w.memory.history())
			time.Sleep(day + time.Hour)
			again := map[registry.Fact]int{}
			var epoch registry.Message
			for _, k := range w.memory.history()[history:] {
				m := k.message()
				again[m.Fact]++
				if m.Event.Cause != registry.CauseRefresh {
					t.Errorf("%v was published as %s", m.Fact, m.Event.Cause)
				}
				if s := m.Event.Service; s != nil && (s.Changed.Time.After(m.Event.Time.Add(-20*time.Hour)) || s.Changes != nil) {
					t.Errorf("%v: changed is %+v in a refresh", m.Fact, s.Changed)
				}
				if m.Fact.Kind == registry.KindEpoch {
					epoch = m
				}
			}
			for _, k := range w.memory.lastPerFact("amber") {
				if again[k.fact] == 0 || k.sequence <= before {
					t.Errorf("%v was not published again", k.fact)
				}
			}
			first := w.memory.history()[0]
			if f := epoch.Event.Takeover.Fences; len(f) != 1 || f[0] != (registry.Fence{Epoch: epoch.Epoch, Sequence: first.sequence}) {
				t.Errorf("the refreshed epoch record names %v, the epoch began at %d", f, first.sequence)
			}
		}
		w.mustEqual(t, w.catalogue.now())
		if got := len(w.epochs()); got != 1 {
			t.Errorf("%d epochs", got)
		}
	})
}

func TestALostAcknowledgementOfTheEpochRecordIsNoNewEpoch(t *testing.T) {
	for _, f := range []fault{ackLost, fails, unanswered, late} {
		inWorld(t, gentle(services(3)...), func(t *testing.T, w *world) {
			a := w.prepare("one")
			n := 0
			a.link.next = func(request string, _ int) fault {
				if request == "epoch" {
					if n++; n%2 == 1 {
						return f
					}
				}
				return works
			}
			a.run()
			time.Sleep(3*day + time.Hour)
			if got := len(w.epochs()); got != 1 || !leading(a) {
				t.Errorf("fault %d: %d epochs", f, got)
			}
			w.catalogue.put(service("new", 1))
			time.Sleep(time.Hour)
			w.mustEqual(t, w.catalogue.now())
		})
	}
}

func TestOldTombstonesAreForgotten(t *testing.T) {
	inWorld(t, gentle(service("stays", 1), service("goes", 1), service("empty", 1)), func(t *testing.T, w *world) {
		w.start("one")
		w.catalogue.put(service("empty", 0)) // the registry goes on to list it
		w.catalogue.remove("goes")
		time.Sleep(6*day + 12*time.Hour)
		if _, known := w.view().Service(key("goes")); !known {
			t.Error("the tombstone is gone after less than 7 days")
		}
		time.Sleep(2 * day)
		if _, known := w.view().Service(key("goes")); known {
			t.Error("the tombstone is still known after more than 8 days")
		}
		if _, known := w.view().Service(key("empty")); !known {
			t.Error("a service that the registry lists without instances was forgotten")
		}
		for _, m := range w.since(0) {
			if m.Fact.Service == key("empty") && m.Event.Service.Forgotten {
				t.Error("a service that the registry lists was forgotten for a time")
			}
		}
		w.mustEqual(t, w.catalogue.now())
		before := w.sequence()
		time.Sleep(5 * day)
		for _, m := range w.since(before) {
			if m.Fact.Service == key("goes") {
				t.Error("a forgotten service is published again")
			}
		}
		w.catalogue.put(service("goes", 2))
		time.Sleep(20 * time.Minute)
		w.mustEqual(t, w.catalogue.now())
	})
}

func TestRestartsDoNotPutOffTheRefresh(t *testing.T) {
	inWorld(t, gentle(services(5)...), func(t *testing.T, w *world) {
		for range 10 {
			a := w.start("one")
			time.Sleep(12 * time.Hour)
			a.stop()
			for _, k := range w.memory.lastPerFact("amber") {
				if age := time.Since(k.stored); age > day+time.Hour {
					t.Errorf("%v is %v old", k.fact, age)
				}
			}
		}
		w.mustEqual(t, w.catalogue.now())
	})
}

// A registry that is down for weeks must not let the cluster age out of the history.
func TestRecordsAreRefreshedWhileTheRegistryIsDown(t *testing.T) {
	for name, down := range map[string]func(*world, *agent){
		"later":           func(_ *world, a *agent) { a.source.set(func(s *source) { s.watchErr = errRegistry }) },
		"since the start": func(*world, *agent) {},
	} {
		t.Run(name, func(t *testing.T) {
			w := gentle(append(services(5), service("huge", 300), service("gone", 0))...)
			w.memory.limit = 20_000
			inWorld(t, w, func(t *testing.T, w *world) {
				a := w.start("one")
				want, truncated := w.published(), w.view().Cluster(cluster).Digest
				if name == "later" {
					down(w, a)
				} else {
					a.stop()
					a = w.prepare("two")
					a.source.set(func(s *source) { s.watchErr = errRegistry })
					a.run()
				}
				for range 45 {
					time.Sleep(day)
					w.memory.age(30 * day)
				}
				if changes := registry.Diff(want, w.published()); len(changes) > 0 {
					t.Errorf("%d services differ after 45 days without the registry", len(changes))
				}
				if got := w.view().Cluster(cluster); got.Digest != truncated || got.Record == nil {
					t.Errorf("digest %s, record %v", got.Digest, got.Record)
				}
				for _, k := range w.memory.lastPerFact("amber") {
					if age := time.Since(k.stored); age > day+2*time.Hour && k.fact.Kind != registry.KindSnapshot {
						t.Errorf("%v is %v old", k.fact, age)
					}
				}
				a.source.set(func(s *source) { s.watchErr = nil })
				time.Sleep(time.Hour)
				w.memory.mu.Lock()
				defer w.memory.mu.Unlock()
				w.memory.messages = nil // aged histories begin in the middle of an epoch: nothing to audit
			})
		})
	}
}
