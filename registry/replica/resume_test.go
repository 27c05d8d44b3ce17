package replica_test

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seamark-mesh/seamark/registry/checkpoint"
	"github.com/seamark-mesh/seamark/registry/replica"
)

// resuming is recovering, by a replica that was given what stood on the tape when prepare
// had ended; since is what befell it after that.
func resuming(t *testing.T, prepare func(*spool), since func(*recovery), f func(t *testing.T, tape *recovery, r *reader)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		tape := newRecovery(prepare)
		kept := checkpoint.Checkpoint{Created: tape.created, Current: time.Now(), Stored: time.Now(), Sequence: uint64(len(tape.messages))}
		for _, k := range tape.messages {
			kept.Facts = append(kept.Facts, k.message())
		}
		time.Sleep(time.Minute)
		since(tape)
		r := tape.reader(replica.Options{})
		r.Resume(kept)
		if r.store.View().Synced() || r.Ready() == nil || r.Known().Sequence() != kept.Sequence {
			t.Errorf("before it runs: shown %v, ready %v, %d is known", r.store.View().Synced(), r.Ready(), r.Known().Sequence())
		}
		defer r.run(t)()
		f(t, tape, r)
	})
}

func isCut(r *reader) bool {
	_, cut := r.store.View().Cut()
	return cut
}

// TestTwoClocksSayWhenACheckpointWasAlive: that its stream was alive was told by the stream's
// clock alone, and one that was ahead made every later stream another mesh's.
func TestTwoClocksSayWhenACheckpointWasAlive(t *testing.T) {
	for name, ahead := range map[string]time.Duration{"the stream's is ahead": 6 * time.Hour, "it is behind": -6 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tape := newRecovery(func(*spool) {})
				r := tape.reader(replica.Options{})
				now := time.Now()
				r.Resume(checkpoint.Checkpoint{Created: now, Current: now, Stored: now.Add(ahead), Sequence: 7})
				r.run(t)()
				tape.mu.Lock()
				defer tape.mu.Unlock()
				if want := now.Add(min(ahead, 0)); len(tape.begun) == 0 || !tape.begun[0].Stored.Equal(want) {
					t.Errorf("it was alive at %+v, want %v", tape.begun, want)
				}
			})
		})
	}
}

// What a checkpoint holds is never shown where the stream is caught up with in time.
func TestACheckpointIsKeptBackWhileTheStreamIsRead(t *testing.T) {
	var a *author
	resuming(t, func(tape *spool) { tape.zone(); a = tape.author("amber"); a.put("web", 1) }, func(tape *recovery) {
		a.put("web", 2)
		tape.set(func(t *spool) { t.held = true })
	}, func(t *testing.T, tape *recovery, r *reader) {
		for n := range 4 { // something comes all the time: it is a large stream
			time.Sleep(1900 * time.Millisecond)
			if r.store.View().Synced() || r.Ready() == nil {
				t.Fatalf("after %d messages it answers with %d", n, r.store.View().Sequence())
			}
			a.put("web", 3+n)
			synctest.Wait()
		}
		tape.set(func(t *spool) { t.held = false })
		synctest.Wait()
		if isCut(r) || r.instances("amber", "web") != 6 || r.Ready() != nil {
			t.Errorf("stale %v, %d instances, ready: %v", isCut(r), r.instances("amber", "web"), r.Ready())
		}
		time.Sleep(time.Minute)
		if got := r.log.count("started from a checkpoint"); got != 0 {
			t.Errorf("shown %d times", got)
		}
	})
}

// … but not for ever.
func TestACheckpointIsShownWhereTheStreamIsNotReadInTime(t *testing.T) {
	var a *author
	prepare := func(tape *spool) { tape.zone(); a = tape.author("amber"); a.put("web", 1) }
	for name, c := range map[string]struct {
		silent bool
		after  time.Duration
	}{"it is silent": {true, 2 * time.Second}, "it is endless": {false, 10 * time.Second}} {
		t.Run(name, func(t *testing.T) {
			resuming(t, prepare, func(tape *recovery) { tape.set(func(t *spool) { t.held = true }) }, func(t *testing.T, tape *recovery, r *reader) {
				for began := time.Now(); time.Since(began) < c.after-100*time.Millisecond; time.Sleep(50 * time.Millisecond) {
					if r.store.View().Synced() {
						t.Fatalf("shown after %v", time.Since(began))
					}
					if !c.silent {
						a.put("web", 2)
					}
				}
				time.Sleep(200 * time.Millisecond)
				if !isCut(r) || r.instances("amber", "web") != 1 || r.Ready() != nil {
					t.Fatalf("stale %v, %d instances, ready: %v", isCut(r), r.instances("amber", "web"), r.Ready())
				}
				tape.set(func(t *spool) { t.held = false })
				synctest.Wait()
				if isCut(r) {
					t.Error("still stale")
				}
			})
		})
	}
}

// Another stream is there: what is kept back is what it takes the place of.
func TestACheckpointThatIsKeptBackIsInherited(t *testing.T) {
	for name, silent := range map[string]bool{"the new one is read at once": false, "the new one is silent": true} {
		t.Run(name, func(t *testing.T) {
			var sequence uint64
			resuming(t, func(tape *spool) {
				tape.zone()
				tape.author("amber").put("web", 1)
				sequence = uint64(len(tape.messages))
			}, func(tape *recovery) {
				tape.created = time.Now()
				tape.set(func(t *spool) { t.messages, t.held = nil, silent })
			}, func(t *testing.T, tape *recovery, r *reader) {
				if got := tape.begun[0]; got.Sequence != sequence {
					t.Errorf("it begins with %+v", got)
				}
				if silent {
					if r.store.View().Synced() {
						t.Error("shown at once")
					}
					time.Sleep(5 * time.Second)
				}
				if isCut(r) != silent || r.Ready() != nil || r.instances("amber", "web") != 1 || !silent && !r.store.View().Cluster("amber").Inherited() || r.store.View().Sequence() < sequence {
					t.Errorf("stale %v, %d instances, %d", isCut(r), r.instances("amber", "web"), r.store.View().Sequence())
				}
				if m := tape.messages; len(m) != 1 || m[0].fact != replica.ZoneFact {
					t.Errorf("the new stream holds %+v, want the zone record", m)
				}
				tape.set(func(t *spool) { t.broken = errors.New("test") })
			})
		})
	}
}

func TestACheckpointIsShownAtOnceWithoutAConnection(t *testing.T) {
	resuming(t, func(tape *spool) { tape.zone(); tape.author("amber").put("web", 1) }, func(tape *recovery) {
		tape.contact.Connected, tape.broken = false, errors.New("no connection")
	}, func(t *testing.T, _ *recovery, r *reader) {
		if !isCut(r) || r.instances("amber", "web") != 1 || r.Ready() != nil {
			t.Errorf("stale %v, %d instances, ready: %v", isCut(r), r.instances("amber", "web"), r.Ready())
		}
	})
}

// What a checkpoint tells of the streams of before tells a backup of theirs from another mesh.
func TestACheckpointNamesTheStreamsOfBefore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "checkpoint")
	recovering(t, func(tape *spool) { tape.zone(); tape.author("amber").put("web", 1) }, func(t *testing.T, tape *recovery, r *reader) {
		file := checkpoint.Open(path, "mesh.internal.")
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go r.Keep(ctx, file, time.Second, func(_ int64, _ time.Duration, err error) { // ends with Run
			if err != nil {
				t.Error(err)
			}
		})
		var made []time.Time
		for range checkpoint.MaxBefore + 3 {
			made = append(made, tape.created)
			time.Sleep(time.Minute)
			tape.change(func(r *recovery) { r.created = time.Now() })
			tape.set(func(t *spool) { t.broken = errors.Join(replica.ErrLost, errors.New("test")) })
			synctest.Wait()
			tape.set(func(t *spool) { t.broken = nil })
			time.Sleep(10 * time.Second)
		}
		kept, _, err := checkpoint.Open(path, "mesh.internal.").Read()
		if err != nil || !kept.Created.Equal(tape.created) || !slices.EqualFunc(kept.Before, made[3:], time.Time.Equal) {
			t.Errorf("made %v, before %v, %v; want %v, %v", kept.Created, kept.Before, err, tape.created, made[3:])
		}
	})
}
