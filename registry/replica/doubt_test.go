package replica_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

func TestADifferentDigestReloadsTheCluster(t *testing.T) {
	var a *author
	reading(t, func(tape *spool) {
		a = tape.author("amber")
		tape.hide[a.put("missed", 1)] = true // at the start, where revisions are left out anyway
		a.put("web", 1)
	}, func(t *testing.T, tape *spool, r *reader) {
		if r.instances("amber", "missed") != -1 {
			t.Fatal("the message was not missed")
		}
		a.lease(func(l *registry.Lease) { l.Phase = registry.PhaseRegistryDown })
		a.lease(func(l *registry.Lease) { l.Revision-- })
		a.lease(func(l *registry.Lease) { l.Epoch++ })
		synctest.Wait()
		if len(tape.did().loads) > 0 {
			t.Error("reloaded because of a lease that speaks of another moment")
		}
		a.lease()
		r.mustEqual(t, tape)
		time.Sleep(time.Minute)
		if got := r.seen.repairs(); got != "amber digest" || len(tape.did().orders) > 0 {
			t.Errorf("repaired %q, orders %v", got, tape.did().orders)
		}
	})
}

func TestADigestThatGoesOnToDifferOrdersOneResyncAMinute(t *testing.T) {
	var a, b *author
	reading(t, func(tape *spool) { a, b = tape.author("amber"), tape.author("bronze") }, func(t *testing.T, tape *spool, r *reader) {
		for range 300 { // ten minutes
			a.lease(func(l *registry.Lease) { l.Keys++ })
			b.lease()
			time.Sleep(2 * time.Second)
		}
		if got := len(tape.did().orders); got != 10 {
			t.Errorf("%d orders in ten minutes, want 10", got)
		}
		if got := len(tape.did().loads); got != 10 {
			t.Errorf("%d reloads in ten minutes, want 10", got)
		}
		for _, c := range tape.did().orders {
			if c != "amber" {
				t.Errorf("%s was ordered to resync", c)
			}
		}
		before := len(tape.did().orders)
		for range 60 {
			a.lease()
			time.Sleep(2 * time.Second)
		}
		if got := len(tape.did().orders); got != before {
			t.Errorf("%d orders although the digests are equal", got-before)
		}
		r.mustEqual(t, tape)
	})
}

func TestAQuarantinedClusterIsExemptFromDigests(t *testing.T) {
	var a *author
	reading(t, func(tape *spool) {
		a = tape.author("amber")
		a.garbage(serviceFact("web"))
	}, func(t *testing.T, tape *spool, r *reader) {
		for range 60 {
			a.lease(func(l *registry.Lease) { l.Keys++ })
			time.Sleep(2 * time.Second)
		}
		if got := r.seen.repairs(); got != "" || len(tape.did().loads) > 0 || len(tape.did().orders) > 1 { // one for the unusable fact
			t.Errorf("repaired %q, %d reloads, %d orders", got, len(tape.did().loads), len(tape.did().orders))
		}
	})
}

func TestTheStartLooksBehindWhatCanNotBeUsed(t *testing.T) {
	var a *author
	reading(t, func(tape *spool) {
		tape.zone()
		a = tape.author("amber")
		a.put("web", 3)
		a.put("web", 2)
		a.garbage(serviceFact("web"))
		a.garbage(serviceFact("web"))
		a.garbage(serviceFact("never"))
		a.garbage(registry.Fact{Kind: registry.KindCluster})
		a.garbage(registry.Fact{Kind: registry.KindNote, Name: "brake"})
		tape.store(kept{fact: registry.Fact{Writer: registry.Operator, Kind: registry.KindZone}, body: []byte("{}")})
		tape.store(kept{body: []byte("{}")}) // of no fact at all
	}, func(t *testing.T, tape *spool, r *reader) {
		if err := r.Ready(); err != nil {
			t.Fatal(err)
		}
		if got := r.instances("amber", "web"); got != 2 {
			t.Errorf("%d instances, want those of the last message that can be read", got)
		}
		r.mustEqual(t, tape)
		if c := r.store.View().Cluster("amber"); c.Record == nil || c.Quarantined != 4 {
			t.Errorf("the cluster is %+v", c)
		}
		for _, f := range tape.did().facts {
			if f.Kind == registry.KindNote || f.Kind == "" {
				t.Errorf("looked behind %+v, which shapes nothing", f)
			}
		}
		a.put("web", 5) // readable again
		a.garbage(serviceFact("web"))
		looks := len(tape.did().facts)
		synctest.Wait()
		if got := r.instances("amber", "web"); got != 5 || len(tape.did().facts) != looks {
			t.Errorf("%d instances, %d looks into the history while it follows", got, len(tape.did().facts)-looks)
		}
		r.mustEqual(t, tape)
	})
}

// A message that was stored after a later epoch had begun, and the record that says
// so was repeated behind it: only then the reader learns it.
func TestTheStartLooksBehindWhatALaterRecordMakesVoid(t *testing.T) {
	reading(t, func(tape *spool) {
		a := tape.author("amber")
		a.put("web", 1)
		old := *a
		a.begin()
		old.put("web", 9) // the server would have refused it
		fences := a.fences
		a.write(func(e *registry.Event) {
			e.Kind, e.Cause, e.Takeover = registry.KindEpoch, registry.CauseRefresh, &registry.EpochRecord{Fences: fences}
		})
	}, func(t *testing.T, tape *spool, r *reader) {
		if got := r.instances("amber", "web"); got != 1 {
			t.Errorf("%d instances: a void message stands", got)
		}
		r.mustEqual(t, tape)
	})
}

func TestAHistoryThatCanNotBeReadDelaysTheStartForALimitedTime(t *testing.T) {
	reading(t, func(tape *spool) {
		tape.zone()
		a := tape.author("amber")
		a.put("web", 3)
		a.garbage(serviceFact("web"))
		tape.author("bronze").put("web", 1)
		tape.factErr = errors.New("no answer")
	}, func(t *testing.T, tape *spool, r *reader) {
		time.Sleep(20 * time.Second)
		if r.Ready() == nil {
			t.Error("ready without the state behind a message")
		}
		time.Sleep(12 * time.Second)
		if err := r.Ready(); err != nil || r.instances("bronze", "web") != 1 {
			t.Errorf("one cluster's history keeps all others from being answered: %v", err)
		}
		tape.set(func(t *spool) { t.factErr = nil })
		time.Sleep(2 * time.Second)
		r.mustEqual(t, tape) // and it goes on to try
	})
}

func TestAReloadLooksBehindToo(t *testing.T) {
	var a *author
	reading(t, func(tape *spool) { a = tape.author("amber"); a.put("web", 1) }, func(t *testing.T, tape *spool, r *reader) {
		tape.set(func(t *spool) { t.hide[uint64(len(t.messages)+1)] = true })
		a.put("web", 2)
		a.garbage(serviceFact("web"))
		r.mustEqual(t, tape)
		if got := r.instances("amber", "web"); got != 2 {
			t.Errorf("%d instances", got)
		}
	})
}

func TestAFloodOfGarbageIsSaidOnceAMinute(t *testing.T) {
	var a, b *author
	reading(t, func(tape *spool) { a, b = tape.author("amber"), tape.author("bronze") }, func(t *testing.T, tape *spool, r *reader) {
		for n := range 1000 {
			a.garbage(serviceFact(fmt.Sprint("s", n)))
		}
		b.garbage(serviceFact("web"))
		synctest.Wait()
		if got := r.log.count("can't be used"); got != 2 {
			t.Errorf("%d lines for two writers", got)
		}
		if got := r.seen.count(registry.Quarantined); got != 1001 {
			t.Errorf("%d counted", got)
		}
		time.Sleep(2 * time.Minute)
		a.garbage(serviceFact("web"))
		synctest.Wait()
		if got := r.log.count("can't be used"); got != 3 {
			t.Errorf("%d lines", got)
		}
	})
}

func TestLeaseAges(t *testing.T) {
	var a *author
	reading(t, func(tape *spool) {
		a = tape.author("amber")
		a.lease()
		time.Sleep(time.Hour) // nobody renewed it
	}, func(t *testing.T, tape *spool, r *reader) {
		age := func() time.Duration {
			synctest.Wait()
			_, age, ok := r.Lease("amber")
			if !ok {
				t.Error("no lease")
			}
			return age
		}
		if _, _, ok := r.Lease("bronze"); ok {
			t.Error("a lease of a cluster that was never heard of")
		}
		if got := age(); got != time.Hour {
			t.Errorf("age %v of a lease that stood for an hour", got)
		}
		a.lease()
		if got := age(); got != 0 {
			t.Errorf("age %v right after a renewal", got)
		}
		time.Sleep(10 * time.Second)
		if got := age(); got != 10*time.Second {
			t.Errorf("age %v", got)
		}
		// The connection is lost and found; the lease is the same old one.
		tape.set(func(t *spool) { t.broken = errors.New("connection lost") })
		time.Sleep(20 * time.Second)
		tape.set(func(t *spool) { t.broken = nil })
		time.Sleep(30 * time.Second)
		if got := age(); got != time.Minute {
			t.Errorf("age %v of a lease that was written a minute ago and delivered again since", got)
		}
		a.lease()
		if got := age(); got != 0 {
			t.Errorf("age %v right after a renewal", got)
		}
	})
}

// A message of the current epoch that its agent never wrote pins the revision
// beyond the agent's own, so that neither a gap nor a digest would ever show.
func TestAMessageThatTheAgentDoesNotKnowOrdersAResync(t *testing.T) {
	var a *author
	reading(t, func(tape *spool) {
		a = tape.author("amber")
		a.put("web", 1)
	}, func(t *testing.T, tape *spool, r *reader) {
		a.lease()
		time.Sleep(2 * time.Second)
		known := a.revision
		a.put("web", 0)
		synctest.Wait()
		for range 3 {
			a.lease(func(l *registry.Lease) { l.Revision = known })
			time.Sleep(2 * time.Second)
		}
		if got := tape.did().orders; len(got) != 1 || got[0] != "amber" {
			t.Errorf("orders %v, want one to amber", got)
		}
	})
}
