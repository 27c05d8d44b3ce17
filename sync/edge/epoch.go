package edge

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/election"
)

// lead begins an epoch, brings the stream in line with the registry, and keeps it
// so until ctx ends (nil), the lease is lost, or a resync is ordered. Sequence is
// the lease's; it returns the one that the lease has then.
func (a *Agent) lead(ctx context.Context, sequence uint64) (uint64, error) {
	a.status.set(func(s *Status) { s.Role, s.Holder = Leader, ""; s.Takeovers++ })
	within, lost := context.WithCancelCause(ctx)
	l := &leader{agent: a, renewal: &renewal{agent: a, wake: make(chan struct{}, 1), sequence: sequence, phase: registry.PhaseSyncing}}
	var wg sync.WaitGroup
	wg.Go(func() { l.renewal.run(within, lost) })
	err := l.begin(within)
	if err == nil {
		err = l.follow(within)
	}
	if cause := context.Cause(within); cause != nil && ctx.Err() == nil {
		err = cause
	}
	lost(nil)
	wg.Wait()
	a.status.set(func(s *Status) { s.Brake = registry.Brake{} })
	l.carry()
	if ctx.Err() != nil {
		l.stop(context.WithoutCancel(ctx))
		return 0, nil
	}
	return l.renewal.sequence, err
}

// begin publishes the epoch's record and reads back what the stream believes.
func (l *leader) begin(ctx context.Context) error {
	a := l.agent
	var last registry.Message
	var now time.Time
	var epoch uint64
	err := l.insist(ctx, func() (err error) {
		if last, _, err = a.log.Last(ctx, l.epochFact()); err != nil {
			return err
		}
		if now, err = a.log.Now(ctx); err != nil {
			return err
		}
		l.clock = clock{stream: now, local: time.Now()}
		epoch, err = registry.NextEpoch(last, now, a.status.get().Epoch, a.led)
		return err
	})
	if err != nil {
		return err
	}
	a.led = epoch
	l.outbox = newOutbox(a.writer, a.config.Agent, a.config.Timing, epoch)
	l.fences = registry.Fences(last)
	if err := l.putEpoch(ctx, registry.CauseChange, last.Sequence); err != nil {
		return fmt.Errorf("begin epoch %d: %w", epoch, err)
	}
	l.begun = l.fence
	return l.readBack(ctx, now)
}

func (l *leader) epochFact() registry.Fact {
	return registry.Fact{Writer: l.agent.writer, Kind: registry.KindEpoch}
}

// putEpoch stores the epoch's record after the one at expect; its sequence is the
// fence from then on. Until it is known there is none, and nothing is published.
func (l *leader) putEpoch(ctx context.Context, cause registry.Cause, expect uint64) error {
	a := l.agent
	e := l.outbox.event(registry.KindEpoch, cause, time.Now())
	e.Takeover = &registry.EpochRecord{Fences: l.fences, Version: a.config.Version}
	l.fence = 0
	err := l.insist(ctx, func() error {
		sequence, err := a.log.PutEpoch(ctx, e, expect)
		if err == nil {
			l.fence = sequence
		}
		return err
	})
	if err != nil {
		return err
	}
	l.fences = registry.WithFence(l.fences, registry.Fence{Epoch: e.Epoch, Sequence: l.fence})
	l.epochDue = time.Now().Add(a.config.Timing.Refresh)
	l.acknowledged([]*registry.Event{e}, nil)
	return nil
}

// readBack loads what the stream believes of this cluster. The own epoch record
// must be in it, so that nothing older is still on its way.
func (l *leader) readBack(ctx context.Context, streamNow time.Time) error {
	a := l.agent
	var messages []registry.Message
	err := l.insist(ctx, func() (err error) {
		if messages, err = a.log.Load(ctx); err != nil {
			return err
		}
		if slices.ContainsFunc(messages, func(m registry.Message) bool { return m.Sequence == l.fence }) {
			return nil
		}
		if mine, err := l.standsLast(ctx); err == nil && !mine {
			return registry.ErrFenced
		}
		return fmt.Errorf("what was read back lacks the epoch's own record at sequence %d", l.fence)
	})
	if err != nil {
		return err
	}
	fold, stored := registry.NewFold(), map[registry.Fact]time.Time{}
	var unreadable []registry.Fact
	for _, m := range messages {
		switch out := fold.Apply(m); out.Result {
		case registry.Applied:
			stored[m.Fact] = m.Stored
		case registry.Quarantined:
			unreadable = append(unreadable, m.Fact)
		}
		if m.Event != nil && m.Event.Note != nil && m.Event.Note.Kind == registry.NoteBrake {
			if told, err := registry.ParseBrake(*m.Event.Note); err == nil {
				l.noted, l.notedAt, l.told = told, m.Stored, registry.Stamp{Epoch: m.Epoch, Revision: m.Revision}
			}
		}
	}
	l.heardConfiguration(messages)
	unreadable = append(unreadable, fold.Voided()...)
	l.outbox.load(fold.View(), stored, unreadable, streamNow, time.Now())
	l.loaded, l.former = true, a.carried.take(time.Now())
	l.outbox.miss(l.former.believed, time.Now())
	l.tellConfiguration()
	a.config.Logger.Info("leading", "epoch", l.outbox.epoch, "services_on_stream", len(l.outbox.believed), "unreadable", len(unreadable))
	l.publishStatus()
	return nil
}

// standsLast reports whether this epoch's record is the last one on the stream.
func (l *leader) standsLast(ctx context.Context) (bool, error) {
	last, found, err := l.agent.log.Last(ctx, l.epochFact())
	return found && last.Sequence == l.fence, err
}

// guard looks whether this epoch still stands, for an agent with nothing to publish
// would not notice that another one began or that the stream was made anew; and whether
// what was acknowledged last does, for a stream that was restored, or has lost its end,
// may still have the epoch's record. A replica of the stream may lag: two looks must
// agree.
func (l *leader) guard(ctx context.Context) error {
	mine, err := l.standsLast(ctx)
	if err != nil {
		return nil // the next look will tell
	}
	whole := true
	if receipts, ok := l.agent.log.(Receipts); ok && mine {
		if whole, err = receipts.Stands(ctx); err != nil {
			return nil
		}
	}
	switch {
	case mine && whole:
		l.doubted = false
	case !l.doubted:
		l.doubted = true
	case !mine:
		return registry.ErrFenced
	default:
		l.agent.config.Logger.Error("the stream has lost what it had acknowledged: beginning a new epoch to publish it again", "epoch", l.outbox.epoch)
		return errResync
	}
	return nil
}

// insist repeats a call until it succeeds or its outcome is final.
func (l *leader) insist(ctx context.Context, call func() error) error {
	a := l.agent
	retry := election.NewBackoff(min(time.Second, a.config.Timing.Retry), a.config.Timing.Steady)
	began := time.Now()
	for {
		err := call()
		if err == nil {
			a.streamFault(ctx, nil)
			return nil
		}
		if errors.Is(err, registry.ErrFenced) || errors.Is(err, registry.ErrConflict) {
			return err
		}
		a.streamFault(ctx, err)
		a.status.set(func(s *Status) { s.Retries++ })
		if time.Since(began) > a.config.Timing.Lapse { // whoever reads the lease is to know
			l.renewal.say(registry.PhaseSyncing, "the stream does not acknowledge: "+err.Error())
		}
		if err := l.pause(ctx, retry.NextBackOff()); err != nil {
			return err
		}
	}
}

// pause waits, and notes meanwhile what changes, so that each change says truly
// since when it waited.
func (l *leader) pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-l.agent.intake.changed:
			l.take()
		}
	}
}

// stop publishes what is waiting, as far as the stream takes it in time, and says
// that this agent has ended.
func (l *leader) stop(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if l.synced && l.fence != 0 {
		l.publishRest(ctx)
	}
	l.renewal.say(registry.PhaseStopped, "")
	err := l.insist(ctx, func() error { return l.renewal.put(ctx) })
	if err != nil && !errors.Is(err, registry.ErrConflict) {
		l.agent.config.Logger.Warn("the stop could not be said in the lease: a standby waits until it lapses", "err", err)
	}
}

func (l *leader) publishRest(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 4*time.Second)
	defer cancel()
	l.take()
	for events := l.sent; ; events = nil {
		if len(events) == 0 {
			events = l.outbox.next(batchLimit, time.Now())
		}
		if len(events) == 0 || l.send(ctx, events) != nil {
			return // the next agent's comparison finds what is left
		}
	}
}
