package replica_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/replica"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func zoneRecord(name string) registry.ZoneRecord {
	return registry.ZoneRecord{Name: name, TTL: 5, NegativeTTL: 5, Contact: "hostmaster." + name}
}

func zoneKept() kept {
	body, err := registry.Encode(replica.ZoneEvent(zoneRecord("mesh.internal."), "a test", registry.CauseChange, time.Now()))
	if err != nil {
		panic(err)
	}
	return kept{fact: replica.ZoneFact, body: body}
}

// observed collects what an Observer is told.
type observed struct {
	mu         sync.Mutex
	took       map[registry.Result]int
	propagated []time.Duration
	repaired   []string
}

func (o *observed) Took(_ registry.Writer, out registry.Outcome) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.took[out.Result]++
}

func (o *observed) Propagated(_ registry.ClusterID, since time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.propagated = append(o.propagated, since)
}

func (o *observed) Repaired(cluster registry.ClusterID, reason string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.repaired = append(o.repaired, string(cluster)+" "+reason)
}

func (o *observed) repairs() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.Join(o.repaired, ", ")
}

func (o *observed) propagations() []time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.propagated)
}

func (o *observed) count(result registry.Result) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.took[result]
}

// lines is a log that may be read while it is written.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), s)
}

// reader is a running replica.
type reader struct {
	*replica.Replica
	store *registry.Store
	seen  *observed
	log   *lines
}

// reading runs a test with a replica that reads the tape, in a bubble. The tape is
// written by prepare before the replica begins.
func reading(t *testing.T, prepare func(*spool), f func(t *testing.T, tape *spool, r *reader)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		tape := newTape()
		prepare(tape)
		r := newReader(tape)
		defer r.run(t)()
		f(t, tape, r)
	})
}

// newReader makes a replica that does not run yet.
func newReader(s replica.Stream) *reader {
	r := &reader{store: &registry.Store{}, seen: &observed{took: map[registry.Result]int{}}, log: &lines{}}
	r.Replica = replica.New(r.store, s, r.seen, slog.New(slog.NewTextHandler(r.log, nil)))
	return r
}

// run runs the replica until everything rests; stop ends it.
func (r *reader) run(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	synctest.Wait()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run returned %v", err)
		}
	}
}

// whole is the View of a reader that read the whole history in order.
func whole(tape *spool) *registry.View {
	f := registry.NewFold()
	for _, k := range tape.messages {
		f.Apply(k.message())
	}
	f.Synced()
	return f.View()
}

// mustEqual fails the test when the replica is not what the whole history says.
func (r *reader) mustEqual(t *testing.T, tape *spool) {
	t.Helper()
	synctest.Wait()
	got, want := r.store.View(), whole(tape)
	if !bytes.Equal(got.AppendCanonical(nil), want.AppendCanonical(nil)) {
		t.Errorf("the view at %d with %d services is not the whole history's at %d with %d",
			got.Sequence(), got.Services(), want.Sequence(), want.Services())
	}
}

func (r *reader) instances(cluster registry.ClusterID, name string) int {
	e, known := r.store.View().Service(registry.ServiceKey{Namespace: "default", Name: name})
	if !known || e.Record(cluster) == nil {
		return -1
	}
	return e.Record(cluster).Total
}

func TestNotReadyUntilCaughtUp(t *testing.T) {
	reading(t, func(tape *spool) {
		tape.zone()
		tape.author("amber").put("web", 2)
		tape.held = true
	}, func(t *testing.T, tape *spool, r *reader) {
		time.Sleep(time.Hour)
		if r.Ready() == nil || r.store.View().Synced() || r.store.View().Services() > 0 {
			t.Error("answers before the end of the stream was reached")
		}
		tape.set(func(t *spool) { t.held = false })
		synctest.Wait()
		if err := r.Ready(); err != nil || !r.store.View().Synced() {
			t.Errorf("not ready: %v", err)
		}
		r.mustEqual(t, tape)
	})
}

func TestNotReadyWithoutAZone(t *testing.T) {
	reading(t, func(tape *spool) { tape.author("amber") }, func(t *testing.T, tape *spool, r *reader) {
		if r.Ready() == nil {
			t.Error("ready without a zone record")
		}
		tape.zone()
		synctest.Wait()
		if err := r.Ready(); err != nil {
			t.Error(err)
		}
	})
}

func TestAnEmptyStreamIsCaughtUp(t *testing.T) {
	reading(t, func(*spool) {}, func(t *testing.T, tape *spool, r *reader) {
		if !r.store.View().Synced() {
			t.Error("not synced")
		}
	})
}

func TestAChangeIsVisibleAtOnce(t *testing.T) {
	var a *author
	reading(t, func(tape *spool) { a = tape.author("amber"); a.put("old", 1); time.Sleep(time.Hour) }, func(t *testing.T, tape *spool, r *reader) {
		a.put("web", 2)
		synctest.Wait()
		if got := r.instances("amber", "web"); got != 2 {
			t.Errorf("%d instances", got)
		}
		if got := r.seen.propagations(); len(got) != 1 || got[0] != 0 {
			t.Errorf("propagated %v: what was read at the start is no propagation", got)
		}
		r.mustEqual(t, tape)
	})
}

func TestAMissingRevisionReloadsItsCluster(t *testing.T) {
	var a, b *author
	reading(t, func(tape *spool) { a, b = tape.author("amber"), tape.author("bronze") }, func(t *testing.T, tape *spool, r *reader) {
		tape.set(func(t *spool) { t.hide[uint64(len(t.messages)+1)] = true })
		a.put("missed", 1)
		synctest.Wait()
		if r.instances("amber", "missed") != -1 {
			t.Fatal("the message was not missed")
		}
		b.put("other", 1)
		synctest.Wait()
		if got := r.seen.repairs(); got != "" {
			t.Errorf("repaired %s although no gap can be seen yet", got)
		}
		a.put("web", 1)
		r.mustEqual(t, tape)
		if got := r.seen.repairs(); got != "amber gap" {
			t.Errorf("repaired %q", got)
		}
	})
}

// TestAReloadTellsWhatChanged: no View is made that nobody is shown, for then whoever
// watches would have to compare all names, and the DNS server to compile them.
func TestAReloadTellsWhatChanged(t *testing.T) {
	var a *author
	reading(t, func(tape *spool) { a = tape.author("amber") }, func(t *testing.T, tape *spool, r *reader) {
		w := r.store.Watch()
		w.Poll()
		tape.set(func(t *spool) { t.hide[uint64(len(t.messages)+1)] = true })
		a.put("missed", 1)
		a.put("web", 1)
		r.mustEqual(t, tape)
		if got := r.seen.repairs(); got != "amber gap" {
			t.Fatalf("repaired %q", got)
		}
		if _, change, fresh := w.Poll(); !fresh || change.All || len(change.Names) != 2 {
			t.Errorf("told of %+v", change)
		}
	})
}

func TestAReloadThatFailsIsTriedAgain(t *testing.T) {
	var a *author
	reading(t, func(tape *spool) { a = tape.author("amber") }, func(t *testing.T, tape *spool, r *reader) {
		tape.set(func(t *spool) { t.hide[uint64(len(t.messages)+1)] = true; t.loadErr = errors.New("no answer") })
		a.put("missed", 1)
		a.put("web", 1)
		time.Sleep(time.Minute)
		if got := len(tape.did().loads); got < 30 || got > 70 {
			t.Errorf("%d tries in a minute", got)
		}
		if got := r.log.count("can't be loaded"); got > 2 {
			t.Errorf("said %d times in a minute", got)
		}
		tape.set(func(t *spool) { t.loadErr = nil })
		time.Sleep(2 * time.Second)
		r.mustEqual(t, tape)
	})
}

// One cluster that always misses something must not stop the others.
func TestAReloadDoesNotHoldUpOtherClusters(t *testing.T) {
	var a, b *author
	reading(t, func(tape *spool) { a, b = tape.author("amber"), tape.author("bronze") }, func(t *testing.T, tape *spool, r *reader) {
		tape.set(func(t *spool) { t.loadTakes = 20 * time.Second })
		began := time.Now()
		for n := range 100 {
			a.revision++ // a revision that nobody will ever see
			a.put("bad", n%7)
			b.put("good", n+1)
			synctest.Wait()
			if got := r.instances("bronze", "good"); got != n+1 {
				t.Fatalf("after %v the other cluster's service has %d instances, want %d", time.Since(began), got, n+1)
			}
			time.Sleep(time.Second)
		}
		tape.set(func(t *spool) { t.loadTakes = 0 })
		loads := len(tape.did().loads)
		for range 100 {
			a.revision++
			a.put("bad", 1)
			time.Sleep(time.Second)
		}
		if got := len(tape.did().loads) - loads; got > 25 {
			t.Errorf("the cluster was loaded %d times in 100 s", got)
		}
	})
}

func TestAReconnectIsNoGap(t *testing.T) {
	var a *author
	reading(t, func(tape *spool) { tape.zone(); a = tape.author("amber"); a.put("web", 1) }, func(t *testing.T, tape *spool, r *reader) {
		tape.set(func(t *spool) { t.broken = errors.New("connection lost") })
		synctest.Wait()
		for n := range 20 {
			a.put("web", n)
			a.put(fmt.Sprint("s", n), 1)
		}
		time.Sleep(time.Minute)
		if err := r.Ready(); err != nil || r.instances("amber", "web") != 1 || !r.store.View().Synced() {
			t.Errorf("an error of Follow changed what is known: %v", err)
		}
		tape.set(func(t *spool) { t.broken = nil })
		time.Sleep(20 * time.Second)
		r.mustEqual(t, tape)
		if got := r.seen.repairs(); got != "" || len(tape.did().loads) > 0 {
			t.Errorf("repaired %q: last messages per fact leave revisions out", got)
		}
		if got := r.seen.propagations(); len(got) > 0 {
			t.Errorf("propagated %v: they were visible elsewhere", got)
		}
		tape.set(func(t *spool) { t.hide[uint64(len(t.messages)+1)] = true })
		a.put("missed", 1)
		a.put("web", 3)
		r.mustEqual(t, tape)
		if got := r.seen.repairs(); got != "amber gap" {
			t.Errorf("repaired %q after the reconnect", got)
		}
	})
}

// A View is the state of all clusters at one sequence. A reload reads further than
// the tail has come.
func TestAReloadDoesNotRunAheadOfTheTail(t *testing.T) {
	var a, b *author
	reading(t, func(tape *spool) { a, b = tape.author("amber"), tape.author("bronze") }, func(t *testing.T, tape *spool, r *reader) {
		tape.set(func(t *spool) {
			t.hide[uint64(len(t.messages)+1)] = true
			t.loadTakes = 500 * time.Millisecond
		})
		a.put("missed", 1)
		a.put("web", 1) // the gap
		synctest.Wait()
		tape.set(func(t *spool) { t.aheadOfTail = time.Second })
		b.put("other", 1)
		a.put("web", 2) // loaded in half a second, followed in one
		time.Sleep(700 * time.Millisecond)
		synctest.Wait()
		if r.instances("amber", "missed") != 1 {
			t.Error("what was missed is not there after the reload")
		}
		if got := r.store.View(); r.instances("bronze", "other") == -1 && got.Sequence() >= uint64(len(tape.messages)-1) {
			t.Errorf("the view says that it stands at %d and lacks what was stored before", got.Sequence())
		}
		time.Sleep(2 * time.Second)
		r.mustEqual(t, tape)
	})
}
