package replica_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// TestOneClustersGarbageDoesNotDelayTheStart: what stood behind unusable messages was
// loaded fact by fact, in no order, and the start waited for all of it: one cluster's
// garbage kept every name of a restarting replica unanswered for half a minute.
func TestOneClustersGarbageDoesNotDelayTheStart(t *testing.T) {
	const facts = 5000
	var a, b *author
	reading(t, func(tape *spool) {
		tape.zone()
		a, b = tape.author("amber"), tape.author("bronze")
		for n := range facts {
			if n%10 == 0 {
				a.put(fmt.Sprint("s-", n), 1)
			}
			a.garbage(serviceFact(fmt.Sprint("s-", n)))
		}
		b.put("web", 2)
		b.garbage(serviceFact("web"))
		b.garbage(registry.Fact{Kind: registry.KindCluster})
		tape.factTakes = 50 * time.Millisecond
	}, func(t *testing.T, tape *spool, r *reader) {
		time.Sleep(time.Second)
		if r.Ready() == nil {
			t.Fatal("ready at once: nothing is waited for at all")
		}
		time.Sleep(9 * time.Second)
		synctest.Wait()
		if err := r.Ready(); err != nil {
			t.Fatalf("after ten seconds: %v", err)
		}
		if got := r.instances("bronze", "web"); got != 2 {
			t.Errorf("%d instances of another cluster's service, want 2", got)
		}
		v := r.store.View()
		unknown := 0
		for n := range facts {
			l := registry.Labels{Namespace: "default", Name: fmt.Sprint("s-", n)}
			if _, known := v.Lookup(l); n%10 == 0 && !known && !v.Unknown(l) {
				t.Fatalf("%s is neither known nor unknown: it would be answered as never registered", l.Name)
			}
			if v.Unknown(l) {
				unknown++
			}
		}
		if unknown == 0 || !v.AnyUnknown() || unknown > facts-1000 {
			t.Errorf("%d names are unknown, the View says %v", unknown, v.AnyUnknown())
		}
		time.Sleep(time.Minute) // it goes on beside
		r.mustEqual(t, tape)
		if r.store.View().AnyUnknown() {
			t.Error("names are still unknown")
		}
	})
}

// TestLoadsOfSeveralWritersDoNotWaitForEachOther: there was one load at a time,
// and a rest for all after one that failed.
func TestLoadsOfSeveralWritersDoNotWaitForEachOther(t *testing.T) {
	var a, b *author
	reading(t, func(tape *spool) {
		a, b = tape.author("amber"), tape.author("bronze")
		a.put("web", 1)
		b.put("web", 1)
	}, func(t *testing.T, tape *spool, r *reader) {
		tape.set(func(t *spool) { t.loadTakes = 40 * time.Second })
		gap := func(a *author) {
			tape.set(func(t *spool) { t.hide[uint64(len(t.messages)+1)] = true })
			a.put("missed", 1)
			a.put("seen", 1)
		}
		gap(a)
		synctest.Wait()
		tape.set(func(t *spool) { t.loadTakes = 0 })
		gap(b)
		time.Sleep(time.Second)
		synctest.Wait()
		if got := r.instances("bronze", "missed"); got != 1 {
			t.Errorf("%d instances of bronze while amber is being loaded, want 1", got)
		}
		time.Sleep(time.Minute)
		r.mustEqual(t, tape)
	})
}

func TestVoidMessagesAreSearchedBehindOneByOne(t *testing.T) {
	reading(t, func(tape *spool) {
		a := tape.author("amber")
		a.put("web", 1)
		old := *a
		a.begin()
		for n := range 5 {
			old.put("web", 5+n) // the server would have refused them
		}
		a.garbage(serviceFact("web"))
	}, func(t *testing.T, tape *spool, r *reader) {
		if got := r.instances("amber", "web"); got != 1 {
			t.Errorf("%d instances, want that of the last message that is not void", got)
		}
		r.mustEqual(t, tape)
	})
}

// TestFactsThatStayUnusableOrderAResync: they waited for the agent's daily refresh.
func TestFactsThatStayUnusableOrderAResync(t *testing.T) {
	var a, b *author
	reading(t, func(tape *spool) {
		a, b = tape.author("amber"), tape.author("bronze")
		a.put("web", 1)
		b.put("web", 1)
	}, func(t *testing.T, tape *spool, r *reader) {
		a.garbage(serviceFact("web"))
		a.garbage(serviceFact("other"))
		b.garbage(registry.Fact{Kind: registry.KindNote, Name: "brake"}) // no resync publishes it again
		time.Sleep(20 * time.Second)
		if got := tape.did().orders; len(got) > 0 {
			t.Errorf("ordered at once: %v", got)
		}
		time.Sleep(20 * time.Second)
		if got := tape.did().orders; len(got) != 1 || got[0] != "amber" {
			t.Errorf("orders %v, want one to amber", got)
		}
		time.Sleep(time.Hour) // and it does not get better
		if got := len(tape.did().orders); got != 3 {
			t.Errorf("%d orders within an hour, want 3: after half a minute, ten and thirty", got)
		}
		a.put("web", 1)
		a.put("other", 1)
		time.Sleep(24 * time.Hour)
		if got := len(tape.did().orders); got != 3 {
			t.Errorf("%d orders, although all can be used", got)
		}
		a.garbage(serviceFact("web"))
		time.Sleep(20 * time.Second)
		early := len(tape.did().orders)
		time.Sleep(20 * time.Second)
		if got := len(tape.did().orders); early != 3 || got != 4 {
			t.Errorf("%d orders after 20 s and %d after 40 s, want one more for what is wrong again", early, got)
		}
	})
}

func TestAHistoryThatFailsForOneClusterIsTriedOn(t *testing.T) {
	reading(t, func(tape *spool) {
		a := tape.author("amber")
		for n := range 100 {
			a.put(fmt.Sprint("s-", n), 1)
			a.garbage(serviceFact(fmt.Sprint("s-", n)))
		}
		tape.factErr = errors.New("no answer")
	}, func(t *testing.T, tape *spool, r *reader) {
		time.Sleep(10 * time.Second)
		looks := len(tape.did().facts)
		if looks == 0 || looks > 11*32 {
			t.Errorf("%d looks in ten seconds of failures, want some, and no more than a job a second", looks)
		}
		tape.set(func(t *spool) { t.factErr = nil })
		time.Sleep(5 * time.Second)
		r.mustEqual(t, tape)
	})
}
