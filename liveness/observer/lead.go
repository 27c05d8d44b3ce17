package observer

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/election"
)

// leader is an observer while it holds the lease. One goroutine uses it.
type leader struct {
	*Observer
	renewal  *renewal
	epoch    uint64
	revision uint64 // of the last event that was made
	fence    uint64 // sequence of the epoch's latest record; 0: not known
	fences   []registry.Fence
	epochDue time.Time // when its record is to be repeated
	met      bool      // a View has shown the epoch
	heard    bool      // what the history says of the configuration is known

	goneAfter time.Duration // half of the history's age; 0: it has no end
	blind     string        // why nothing can be judged; "" when it can
	blindAt   time.Time     // since when
	says      map[registry.ClusterID]saying
	suspects  bool                 // more than half would turn
	orders    map[uint64]time.Time // when the order with this sequence was stored
	ordersAt  time.Time            // when they are looked at again, after they could not be written
	failed    registry.Order       // the one that could not be
	troubled  bool                 // that was said
	untaken   bool                 // the stream takes no events from it
	alarmed   time.Time            // when the last mass turn was
}

// saying is what the signals say of a cluster by themselves, and since when.
type saying struct {
	state registry.Liveness
	since time.Time
}

// errBlind ends the lead of an observer that can't see.
var errBlind = errors.New("it can't judge, and gives another one the chance")

// lead begins an epoch and judges until ctx ends (nil), or the lease is lost.
// Sequence is the lease's.
func (o *Observer) lead(ctx context.Context, sequence uint64) error {
	within, lost := context.WithCancelCause(ctx)
	l := &leader{
		Observer: o, renewal: &renewal{observer: o, sequence: sequence, phase: registry.PhaseSyncing},
		says: map[registry.ClusterID]saying{}, orders: map[uint64]time.Time{},
	}
	var wg sync.WaitGroup
	wg.Go(func() { l.renewal.run(within, lost) })
	err := l.begin(within)
	if err == nil {
		err = l.watch(within)
	}
	if cause := context.Cause(within); cause != nil && ctx.Err() == nil {
		err = cause
	}
	lost(nil)
	wg.Wait()
	if ctx.Err() != nil || errors.Is(err, errBlind) {
		l.resign(context.WithoutCancel(ctx))
	}
	return err
}

// watch judges once in every round.
func (l *leader) watch(ctx context.Context) error {
	ticker := time.NewTicker(l.config.Timing.Round)
	defer ticker.Stop()
	for {
		if err := l.round(ctx, time.Now()); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
		}
	}
}

// resign says in the lease that this observer has ended.
func (l *leader) resign(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	l.untaken = false // what follows is no event
	l.renewal.say(func(r *renewal) { r.phase, r.detail = registry.PhaseStopped, "" })
	err := l.insist(ctx, func() error { return l.renewal.put(ctx) })
	if err != nil && !errors.Is(err, registry.ErrConflict) {
		l.config.Logger.Warn("the stop could not be said in the observer's lease: another one waits until it lapses", "err", err)
	}
}

// begin publishes the epoch's record.
func (l *leader) begin(ctx context.Context) error {
	fact := registry.Fact{Writer: registry.Observer, Kind: registry.KindEpoch}
	var last registry.Message
	err := l.insist(ctx, func() error {
		var err error
		if last, _, err = l.log.Last(ctx, fact); err != nil {
			return err
		}
		now, err := l.log.Now(ctx)
		if err != nil {
			return err
		}
		age, err := l.stream.HistoryAge(ctx)
		if err != nil {
			return err
		}
		l.goneAfter = age / 2
		l.fences = registry.Fences(last)
		known := l.store.View().Observer()
		l.epoch, err = registry.NextEpoch(last, now, l.leased, known.Epoch, known.InheritedEpoch())
		return err
	})
	if err != nil {
		return err
	}
	if err := l.putEpoch(ctx, registry.CauseChange, last.Sequence); err != nil {
		return fmt.Errorf("begin epoch %d: %w", l.epoch, err)
	}
	l.config.Logger.Info("observing: this one decides of the clusters", "epoch", l.epoch)
	l.setStatus(func(s *Status) { *s = Status{Leading: true, Holder: l.config.Agent, Epoch: l.epoch} })
	return nil
}

// putEpoch stores the epoch's record after the one at expect; its sequence is the
// fence from then on.
func (l *leader) putEpoch(ctx context.Context, cause registry.Cause, expect uint64) error {
	e := l.event(registry.KindEpoch, cause)
	e.Takeover = &registry.EpochRecord{Fences: l.fences, Version: l.config.Version}
	l.fence = 0
	err := l.insist(ctx, func() error {
		sequence, err := l.log.PutEpoch(ctx, e, expect)
		if err == nil {
			l.fence = sequence
		}
		return err
	})
	if err != nil {
		return err
	}
	l.fences = registry.WithFence(l.fences, registry.Fence{Epoch: e.Epoch, Sequence: l.fence})
	l.epochDue = time.Now().Add(l.config.Timing.Refresh)
	l.acknowledged()
	return nil
}

// event makes the next event of the epoch.
func (l *leader) event(kind registry.Kind, cause registry.Cause) *registry.Event {
	l.revision++
	return &registry.Event{
		Schema: registry.Schema, ID: fmt.Sprintf("%s-%d-%d-%s", registry.Observer, l.epoch, l.revision, rand.Text()),
		Kind: kind, Writer: registry.Observer, Epoch: l.epoch, Revision: l.revision,
		Time: time.Now().UTC(), Agent: l.config.Agent, Cause: cause,
	}
}

// publish stores events. What was sent once is sent again identically until it is
// stored or fenced.
func (l *leader) publish(ctx context.Context, events []*registry.Event) error {
	if len(events) == 0 {
		return nil
	}
	err := l.insist(ctx, func() error {
		_, err := l.log.Publish(ctx, events, l.fence)
		return err
	})
	if err != nil {
		return err
	}
	l.acknowledged()
	return nil
}

// acknowledged notes that all that was made is stored.
func (l *leader) acknowledged() {
	l.renewal.say(func(r *renewal) { r.epoch, r.revision = l.epoch, l.revision })
	l.setStatus(func(s *Status) { s.Revision = l.revision })
}

// insist repeats a call until it succeeds or its outcome is final. Meanwhile nothing is
// judged, and whoever looks is told why. In the end another one is given the chance.
func (l *leader) insist(ctx context.Context, call func() error) error {
	began := time.Now()
	retry := election.NewBackoff(min(time.Second, l.config.Timing.Retry), l.config.Timing.Steady)
	for {
		err := call()
		switch {
		case err == nil:
			l.streamFault(nil)
			return nil
		case errors.Is(err, registry.ErrFenced), errors.Is(err, registry.ErrConflict):
			return err
		case ctx.Err() == nil:
			l.streamFault(err)
			if time.Since(began) > 3*l.config.Timing.Lapse {
				return fmt.Errorf("%w: the stream takes nothing: %w", errBlind, err)
			}
		}
		if !election.Pause(ctx, retry.NextBackOff()) {
			return context.Cause(ctx)
		}
	}
}

// streamFault says why the stream takes nothing from this observer, in its lease and its
// status; nil: it does.
func (l *leader) streamFault(err error) {
	was := l.untaken
	switch l.untaken = err != nil; {
	case l.untaken:
		if !was {
			l.config.Logger.Warn("the stream does not take what the observer says: nothing is judged, trying until it does", "err", err)
		}
		l.sayBlind("the stream takes nothing: " + err.Error())
	case was:
		l.config.Logger.Info("the stream takes again what the observer says")
		l.sayBlind(l.blind)
	}
}

// sayBlind tells why nothing is judged; "": it is.
func (l *leader) sayBlind(why string) {
	detail := ""
	if why != "" {
		detail = "nothing is judged: " + why
	}
	l.renewal.say(func(r *renewal) { r.detail = detail })
	l.setStatus(func(s *Status) { s.Leading, s.Blind = true, why })
}
