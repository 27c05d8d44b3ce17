package edge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/seamark-mesh/seamark/registry"
)

// reading is what is known of the local registry at one moment.
type reading struct {
	snapshot registry.Snapshot // the last that was trusted
	known    bool              // there is one
	fault    error             // why the registry can't be read or trusted now; nil when it can
	seen     time.Time         // when the snapshot came
}

// intake keeps the latest trusted reading of the source. It holds back a snapshot
// that loses suspiciously much until a second read agrees, restarts a watch that
// ends or that drifted, and compares once in a while. It runs whether or not the
// agent leads, so that a standby is warm.
type intake struct {
	source  Source
	logger  *slog.Logger
	timing  Timing
	changed chan struct{} // capacity 1: there is something new to look at
	suspect chan struct{} // capacity 1: held needs a second read

	mu      sync.Mutex // guards what follows
	current reading
	held    *registry.Snapshot // waits for the second read
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

// errRestart ends a watch that is to begin anew at once.
var errRestart = errors.New("the watch no longer shows what the registry says")

// run watches until ctx ends.
func (i *intake) run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { i.confirm(ctx) })
	wg.Go(func() { i.compare(ctx) })
	retry := newBackoff(i.timing.Retry)
	for ctx.Err() == nil {
		watch, cancel := context.WithCancelCause(ctx)
		i.mu.Lock()
		i.restart = cancel
		i.mu.Unlock()
		err := i.source.Watch(watch, func(s registry.Snapshot) {
			retry.Reset()
			i.emit(s)
		})
		restarted := errors.Is(context.Cause(watch), errRestart)
		cancel(nil)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = errors.New("the watch ended")
		}
		if !restarted {
			i.fail(err)
		}
		if !pause(ctx, retry.NextBackOff()) {
			return
		}
	}
}

// emit takes a snapshot from the watch. It does not block.
func (i *intake) emit(s registry.Snapshot) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.current.known && suspicious(i.current.snapshot, s) {
		if i.held == nil {
			i.holds++
			i.logger.Warn("the registry lost much at once: reading again before anything is withdrawn",
				"services", s.Len(), "services_before", i.current.snapshot.Len())
		}
		i.held = &s
		wake(i.suspect)
		return
	}
	i.held = nil
	i.accept(s)
}

// accept makes s the reading to act on. The caller holds mu.
func (i *intake) accept(s registry.Snapshot) {
	if i.current.fault != nil {
		i.logger.Info("registry is read again", "services", s.Len())
	}
	i.current = reading{snapshot: s, known: true, seen: time.Now()}
	wake(i.changed)
}

// fail says why the registry can't be acted on; what was read before stands.
func (i *intake) fail(err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.current.fault == nil || i.current.fault.Error() != err.Error() {
		i.logger.Warn("registry can't be read or trusted: what is published stands", "err", err)
	}
	i.current.fault = err
	wake(i.changed)
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

// confirm reads a second time whenever a snapshot is held. The second read only
// judges: when it lacks all that the watch lost, the watch is believed; otherwise
// the watch begins anew.
func (i *intake) confirm(ctx context.Context) {
	retry := newBackoff(i.timing.Retry)
	for {
		select {
		case <-ctx.Done():
			return
		case <-i.suspect:
		}
		for i.holding() {
			second, err := i.read(ctx)
			if ctx.Err() != nil {
				return
			}
			if err == nil {
				i.judge(second)
				retry.Reset()
				break
			}
			i.fail(fmt.Errorf("much seems to be gone and a second read fails: %w", err))
			if !pause(ctx, retry.NextBackOff()) {
				return
			}
		}
	}
}

func (i *intake) holding() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.held != nil
}

// judge decides about the held snapshot by a second read.
func (i *intake) judge(second registry.Snapshot) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.held == nil {
		return
	}
	s := *i.held
	i.held = nil
	if agrees(i.current.snapshot, s, second) {
		// The brake of design §4.5 (a later step) stands here: what is confirmed
		// and still too much at once waits for an operator.
		i.logger.Warn("a second read confirms it: withdrawing", "services", s.Len(), "services_before", i.current.snapshot.Len())
		i.accept(s)
		return
	}
	i.drifts++
	i.logger.Error("a second read does not confirm what the watch lost: watching anew", "services", s.Len(), "services_read", second.Len())
	i.restart(errRestart)
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

// compare looks once in a while whether the watch still shows the truth.
func (i *intake) compare(ctx context.Context) {
	for pause(ctx, i.timing.Compare-i.timing.Compare/10+rand.N(i.timing.Compare/5)) {
		before := i.latest()
		if !before.known || before.fault != nil {
			continue
		}
		second, err := i.read(ctx)
		if err != nil {
			if ctx.Err() == nil {
				i.logger.Warn("the regular comparison can't read the registry", "err", err)
			}
			continue
		}
		i.settle(before, second)
	}
}

// settle begins the watch anew when a service differs that did not change while
// the second read was made.
func (i *intake) settle(before reading, second registry.Snapshot) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.held != nil || i.current.fault != nil {
		return
	}
	for _, c := range registry.Diff(i.current.snapshot, second) {
		if i.current.snapshot.Service(c.Key) == before.snapshot.Service(c.Key) {
			i.drifts++
			i.logger.Error("the watch has missed a change: watching anew", "service", c.Key.String())
			i.restart(errRestart)
			return
		}
	}
}

// read reads the whole registry, within a bound.
func (i *intake) read(ctx context.Context) (registry.Snapshot, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return i.source.Read(ctx)
}

// newBackoff returns jittered, growing pauses from 100 ms up to longest.
func newBackoff(longest time.Duration) *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval, b.Multiplier = min(100*time.Millisecond, longest), longest, 2
	return b
}

// pause waits; false means that ctx has ended.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// wake leaves a token in a channel of capacity 1.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
