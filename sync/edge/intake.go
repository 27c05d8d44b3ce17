package edge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/election"
)

// reading is what is known of the local registry at one moment.
type reading struct {
	snapshot registry.Snapshot // the last that was trusted
	known    bool              // there is one
	fault    error             // why the registry can't be read or trusted now; nil when it can
	seen     time.Time         // when the snapshot came
}

// intake keeps the latest trusted reading of the source. It holds back a snapshot
// that loses suspiciously much until a second read agrees, begins a watch anew that
// ended or missed something, and compares once in a while. It runs whether or not
// the agent leads, so that a standby is warm.
type intake struct {
	source  Source
	logger  *slog.Logger
	timing  Timing
	changed chan struct{} // capacity 1: there is something new to look at
	suspect chan struct{} // capacity 1: held needs a second read

	mu      sync.Mutex // guards what follows
	current reading
	held    *registry.Snapshot // waits for the second read
	newer   bool               // something newer than current was shown, and none of it was believed yet
	restart context.CancelCauseFunc
	drifts  uint64
	holds   uint64
}

func newIntake(source Source, logger *slog.Logger, timing Timing) *intake {
	return &intake{source: source, logger: logger, timing: timing, changed: make(chan struct{}, 1), suspect: make(chan struct{}, 1)}
}

// latest returns the reading to act on.
func (i *intake) latest() reading {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.current
}

func (i *intake) counters() (drifts, holds uint64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.drifts, i.holds
}

// errRestart ends a watch that is to begin anew.
var errRestart = errors.New("the watch no longer shows what the registry says")

// run watches until ctx ends.
func (i *intake) run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { i.confirm(ctx) })
	wg.Go(func() { i.compare(ctx) })
	retry := i.timing.backoff()
	for {
		began := time.Now()
		err := i.watch(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			i.fail(err)
		}
		if time.Since(began) > i.timing.Retry { // one that ends at once is not to be read in full all the time
			retry.Reset()
		}
		if !election.Pause(ctx, retry.NextBackOff()) {
			return
		}
	}
}

// watch watches once. It returns nil when the watch was ended to begin anew.
func (i *intake) watch(ctx context.Context) error {
	watch, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	i.mu.Lock()
	i.restart = cancel
	i.mu.Unlock()
	err := i.source.Watch(watch, i.emit)
	i.mu.Lock()
	i.held = nil // the next watch says in full what there is
	i.mu.Unlock()
	switch {
	case errors.Is(context.Cause(watch), errRestart):
		return nil
	case err == nil:
		return errors.New("the watch ended")
	}
	return err
}

// emit takes a snapshot from the watch. It does not block.
func (i *intake) emit(s registry.Snapshot) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.take(&s)
}

// take believes a snapshot, or holds it back. The caller holds mu.
func (i *intake) take(s *registry.Snapshot) {
	if i.current.known && suspicious(i.current.snapshot, *s) {
		if i.held == nil {
			i.holds++
			i.logger.Warn("the registry lost much at once: reading again before anything is withdrawn",
				"services", s.Len(), "services_before", i.current.snapshot.Len())
		}
		i.held, i.newer = s, true
		wake(i.suspect)
		return
	}
	i.held = nil
	i.accept(*s)
}

// accept makes s the reading to act on. The caller holds mu.
func (i *intake) accept(s registry.Snapshot) {
	if i.current.fault != nil {
		i.logger.Info("registry is read again", "services", s.Len())
	}
	i.current, i.newer = reading{snapshot: s, known: true, seen: time.Now()}, false
	wake(i.changed)
}

// fail says why the registry can't be acted on; what was read before stands.
func (i *intake) fail(err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.failLocked(err)
}

// failToConfirm is fail while something is held: what the watch has taken back meanwhile
// needs no second read.
func (i *intake) failToConfirm(err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.held != nil {
		i.failLocked(err)
	}
}

func (i *intake) failLocked(err error) {
	if i.current.fault == nil || i.current.fault.Error() != err.Error() {
		i.logger.Warn("registry can't be read or trusted: what is published stands", "err", err)
	}
	i.current.fault = err
	wake(i.changed)
}

// distrust begins the watch anew; until it has read everything, nothing is acted on.
// The caller holds mu.
func (i *intake) distrust(err error) {
	i.drifts++
	i.held = nil
	i.failLocked(err)
	i.restart(errRestart)
}

// doubt is distrust for whoever does not hold mu.
func (i *intake) doubt(err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.distrust(err)
}

// suspicious reports whether going from one snapshot to the next loses so much
// that a fault is as likely as the truth: all, or more than 30 %, of the services
// that have instances, or of the instances.
func suspicious(before, after registry.Snapshot) bool {
	return lost(before.Populated(), after.Populated()) || lost(before.Instances(), after.Instances())
}

func lost(before, after int) bool {
	return before > 0 && (after == 0 || (before-after)*10 > before*3)
}

// A watch may be behind a read of the same registry. It counts against it when it is
// for longer than this.
const (
	confirmPatience = time.Second // what is held back waits so long
	comparePatience = 5 * time.Second
)

// confirm reads a second time whenever a snapshot is held. The second read only
// judges: when it lacks all that the watch lost, the watch is believed; when it
// goes on to show some of it, the watch begins anew.
func (i *intake) confirm(ctx context.Context) {
	retry := i.timing.backoff()
	for {
		select {
		case <-ctx.Done():
			return
		case <-i.suspect:
		}
		retry.Reset()
		for held := i.suspicion(); held != nil; held = i.suspicion() {
			second, err := i.read(ctx)
			if ctx.Err() != nil {
				return
			}
			wait := confirmPatience // perhaps what was gone is back, and the watch about to say so
			switch {
			case err != nil:
				i.failToConfirm(fmt.Errorf("much seems to be gone and a second read fails: %w", err))
				wait = retry.NextBackOff()
			case i.believe(held, second):
				continue
			}
			if !election.Pause(ctx, wait) {
				return
			}
			if err == nil {
				i.disbelieve(held, second)
			}
		}
	}
}

// outdated reports whether the source has shown something newer than the latest reading,
// which may have again what that lacks.
func (i *intake) outdated() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.newer
}

// suspicion returns the snapshot that is held; nil when none is.
func (i *intake) suspicion() *registry.Snapshot {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.held
}

// believe accepts what was held when the second read began, if that agrees. What
// the watch has said meanwhile is held to it in turn.
func (i *intake) believe(held *registry.Snapshot, second registry.Snapshot) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.held == nil {
		return true // the watch itself has taken it back
	}
	if !agrees(i.current.snapshot, *held, second) {
		return false
	}
	// So the registry says, and may still be wrong: whoever leads puts the brake before
	// it is withdrawn.
	i.logger.Warn("a second read confirms it", "services", held.Len(), "services_before", i.current.snapshot.Len())
	newer := i.held
	i.held = nil
	i.accept(*held)
	if newer != held {
		i.take(newer)
	}
	return true
}

// disbelieve begins the watch anew, unless it has said something else meanwhile.
func (i *intake) disbelieve(held *registry.Snapshot, second registry.Snapshot) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.held == held {
		i.distrust(fmt.Errorf("the watch shows %d services and a second read %d: watching anew", held.Len(), second.Len()))
	}
}

// agrees reports whether all instances that are lost from before to after are
// missing in second too.
func agrees(before, after, second registry.Snapshot) bool {
	for _, c := range registry.Diff(before, after) {
		changes := registry.Compare(c.Old, c.New)
		if changes == nil || len(changes.Removed) == 0 {
			continue
		}
		still := second.Service(c.Key)
		if still == nil {
			continue
		}
		there := make(map[string]bool, len(still.Instances))
		for _, instance := range still.Instances {
			there[instance.ID] = true
		}
		for _, id := range changes.Removed {
			if there[id] {
				return false
			}
		}
	}
	return true
}

// compare looks once in a while whether the watch still shows the truth. A service
// is missed when two reads differ from what the watch has shown all the time: one
// alone may just be faster than the watch.
func (i *intake) compare(ctx context.Context) {
	for election.Pause(ctx, i.timing.nextCompare()) {
		before := i.latest()
		if !before.known || before.fault != nil {
			continue
		}
		missed, err := i.missed(ctx, before.snapshot, nil)
		if len(missed) > 0 && election.Pause(ctx, comparePatience) {
			missed, err = i.missed(ctx, before.snapshot, missed)
		}
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			i.logger.Warn("the regular comparison can't read the registry", "err", err)
		case len(missed) > 0:
			i.doubt(fmt.Errorf("the watch has missed a change of %s (%d in all): watching anew", missed[0], len(missed)))
		}
	}
}

// nextCompare returns the pause before the next comparison.
func (t Timing) nextCompare() time.Duration {
	if t.Steady {
		return t.Compare
	}
	return t.Compare - t.Compare/10 + rand.N(t.Compare/5)
}

// missed reads the registry and returns the services, sorted, that differ from what
// the watch shows and has shown before. Among, unless nil, are those that count.
func (i *intake) missed(ctx context.Context, before registry.Snapshot, among []registry.ServiceKey) ([]registry.ServiceKey, error) {
	second, err := i.read(ctx)
	if err != nil {
		return nil, err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.held != nil || i.current.fault != nil {
		return nil, nil
	}
	var missed []registry.ServiceKey
	for _, c := range registry.Diff(i.current.snapshot, second) {
		if !sameService(c.Old, before.Service(c.Key)) {
			continue
		}
		if among != nil {
			if _, counts := slices.BinarySearchFunc(among, c.Key, registry.ServiceKey.Compare); !counts {
				continue
			}
		}
		missed = append(missed, c.Key)
	}
	return missed, nil
}

func sameService(a, b *registry.Service) bool {
	return a == b || a != nil && b != nil && a.Equal(*b)
}

// read reads the whole registry, within a bound.
func (i *intake) read(ctx context.Context) (registry.Snapshot, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return i.source.Read(ctx)
}

// wake leaves a token in a channel of capacity 1.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
