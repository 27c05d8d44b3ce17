package replica_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/replica"
)

// recovery is what a replica is told of the stream.
type recovery struct {
	*spool
	mu      sync.Mutex
	created time.Time
	contact replica.Contact
	err     error
	begun   []replica.Place
	after   func(*recovery) // called when Begin has looked, once
}

func (r *recovery) change(f func(*recovery)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(r)
}

func (r *recovery) Begin(_ context.Context, known replica.Place) (replica.Beginning, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.begun = append(r.begun, known)
	begun := replica.Beginning{Created: r.created, Lost: !known.Created.IsZero() && !known.Created.Equal(r.created)}
	if after := r.after; after != nil {
		r.after = nil
		after(r)
	}
	return begun, r.err
}

func (r *recovery) Stands(_ context.Context, at replica.Place) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return at.Created.Equal(r.created), nil
}

func (r *recovery) Contact() replica.Contact {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.contact
	if c.Connected {
		c.Heard, c.Current = time.Now(), time.Now()
	}
	return c
}

func (r *recovery) Put(_ context.Context, e *registry.Event, _ uint64) (uint64, error) {
	body, err := registry.Encode(e)
	if err != nil {
		return 0, err
	}
	return r.store(kept{fact: e.Fact(), body: body}), nil
}

// recovering is reading, by a replica that is told of losses.
func recovering(t *testing.T, prepare func(*spool), f func(t *testing.T, tape *recovery, r *reader)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		tape := newRecovery(prepare)
		r := tape.reader(replica.Options{MaxStale: time.Minute})
		defer r.run(t)()
		f(t, tape, r)
	})
}

// newRecovery makes a stream that is connected, with what prepare stores.
func newRecovery(prepare func(*spool)) *recovery {
	tape := &recovery{spool: newTape(), created: time.Now(), contact: replica.Contact{Connected: true}}
	prepare(tape.spool)
	return tape
}

// reader makes a replica that is told of losses, and does not run yet.
func (r *recovery) reader(o replica.Options) *reader {
	made := newReader(r)
	o.Recovery, o.By = r, "test"
	made.Use(o)
	return made
}

func TestSilenceIsMarkedOnceAndEnds(t *testing.T) {
	var a *author
	recovering(t, func(tape *spool) { tape.zone(); a = tape.author("amber"); a.put("web", 1) }, func(t *testing.T, tape *recovery, r *reader) {
		time.Sleep(time.Minute)
		if _, cut := r.store.View().Cut(); cut || r.Ready() != nil {
			t.Fatal("it counts as cut off, although the stream answers and has nothing to say")
		}
		since := time.Now()
		tape.change(func(r *recovery) { r.contact = replica.Contact{Heard: since, Current: since} })
		time.Sleep(2 * time.Second)
		if _, cut := r.store.View().Cut(); cut {
			t.Error("marked after two seconds: a server that is restarted takes longer")
		}
		time.Sleep(3 * time.Second)
		c, cut := r.store.View().Cut()
		if !cut || !c.Since.Equal(since) || r.instances("amber", "web") != 1 {
			t.Fatalf("cut %v %+v, %d instances", cut, c, r.instances("amber", "web"))
		}
		if err := r.Ready(); err != nil {
			t.Errorf("not ready: %v", err)
		}
		time.Sleep(time.Minute)
		if err := r.Ready(); err == nil {
			t.Error("ready although it is cut off for longer than max_stale")
		}
		if got := r.log.count("cut off:"); got != 1 {
			t.Errorf("said %d times", got)
		}
		tape.change(func(r *recovery) { r.contact.Connected = true })
		time.Sleep(2 * time.Second)
		if _, cut := r.store.View().Cut(); cut || r.Ready() != nil {
			t.Error("still cut off")
		}
	})
}

// An agent that does not notice by itself, of an earlier release or with the same epoch
// still standing, is asked.
func TestAClusterThatIsNotPublishedAnewIsAskedFor(t *testing.T) {
	var a, dead *author
	recovering(t, func(tape *spool) {
		tape.zone()
		a, dead = tape.author("amber"), tape.author("bronze")
		a.put("web", 1)
		dead.put("old", 1)
	}, func(t *testing.T, tape *recovery, r *reader) {
		tape.change(func(r *recovery) { r.created = time.Now() })
		tape.set(func(t *spool) { t.broken = errors.Join(replica.ErrLost, errors.New("test")) })
		synctest.Wait()
		tape.set(func(t *spool) { t.broken = nil })
		for range 20 {
			a.lease()
			time.Sleep(2 * time.Second)
		}
		v := r.store.View()
		if _, cut := v.Cut(); cut || !v.Cluster("amber").Inherited() || r.instances("amber", "web") != 1 {
			t.Fatalf("cut %v, inherited %v, %d instances", cut, v.Cluster("amber").Inherited(), r.instances("amber", "web"))
		}
		if got := tape.did().orders; len(got) != 1 || got[0] != "amber" {
			t.Errorf("orders %v, want one to amber", got)
		}
		if len(tape.did().loads) > 1 { // the operator's
			t.Errorf("loaded %v, although nothing was published anew", tape.did().loads)
		}
		time.Sleep(time.Second)
		a.begin()
		a.put("web", 2)
		a.write(func(e *registry.Event) {
			e.Kind, e.Snapshot = registry.KindSnapshot, &registry.SnapshotMark{Keys: 1}
		})
		time.Sleep(3 * time.Second)
		v = r.store.View()
		if v.Cluster("amber").Inherited() || r.instances("amber", "web") != 2 || !v.Cluster("bronze").Inherited() || r.instances("bronze", "old") != 1 {
			t.Errorf("amber %+v, bronze %+v", v.Cluster("amber"), v.Cluster("bronze"))
		}
	})
}

// What can't be mended is tried again within seconds, and the answers stand.
func TestABeginningThatFailsIsTriedAgain(t *testing.T) {
	recovering(t, func(tape *spool) { tape.zone(); tape.author("amber").put("web", 1) }, func(t *testing.T, tape *recovery, r *reader) {
		tape.change(func(r *recovery) { r.err = errors.New("no stream") })
		tape.set(func(t *spool) { t.broken = errors.Join(replica.ErrLost, errors.New("test")) })
		synctest.Wait()
		tape.set(func(t *spool) { t.broken = nil })
		time.Sleep(time.Minute)
		if c, cut := r.store.View().Cut(); !cut || r.instances("amber", "web") != 1 {
			t.Errorf("cut %v %+v", cut, c)
		}
		tape.change(func(r *recovery) { r.err = nil })
		time.Sleep(5 * time.Second)
		if _, cut := r.store.View().Cut(); cut {
			t.Error("still cut off")
		}
	})
}

// TestASeedIsNobodysWord: a replica that knew nothing was the first to find the stream
// gone, and what its configuration says of the zone took the place of what the operator
// had said.
func TestASeedIsNobodysWord(t *testing.T) {
	recovering(t, func(tape *spool) { tape.zone(); tape.author("amber").put("web", 1) }, func(t *testing.T, tape *recovery, r *reader) {
		ours := *r.store.View().Zone()
		time.Sleep(time.Minute)
		tape.change(func(r *recovery) { r.created = time.Now() })
		seed := ours
		seed.TTL = ours.TTL + 1
		if _, err := tape.Put(t.Context(), replica.ZoneEvent(seed, "global-dns@new", registry.CauseSeed, time.Now()), 0); err != nil {
			t.Fatal(err)
		}
		tape.set(func(t *spool) { t.broken = errors.Join(replica.ErrLost, errors.New("test")) })
		synctest.Wait()
		tape.set(func(t *spool) { t.broken = nil })
		time.Sleep(20 * time.Second)
		if z := r.store.View().Zone(); z.TTL != ours.TTL {
			t.Errorf("the zone's TTL is %d, the operator said %d", z.TTL, ours.TTL)
		}
	})
}

// A stream that was made anew after the look at it, and before the reading began, was read
// as if it were the one before: whoever started then knew nothing of what is not on it yet,
// and who had lost its end gave a lower serial.
func TestAStreamThatIsLostWhileItsReadingBegins(t *testing.T) {
	var sequence uint64
	resuming(t, func(tape *spool) {
		tape.zone()
		tape.author("amber").put("web", 1)
		sequence = uint64(len(tape.messages))
	}, func(tape *recovery) {
		tape.after = func(tape *recovery) {
			tape.created = time.Now()
			tape.set(func(t *spool) { t.messages = nil })
		}
	}, func(t *testing.T, tape *recovery, r *reader) {
		time.Sleep(5 * time.Second)
		if isCut(r) || r.instances("amber", "web") != 1 || r.store.View().Sequence() < sequence {
			t.Errorf("stale %v, %d instances, sequence %d after %d", isCut(r), r.instances("amber", "web"), r.store.View().Sequence(), sequence)
		}
		tape.set(func(t *spool) { t.broken = errors.New("test") })
	})
}
