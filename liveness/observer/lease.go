package observer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// vigil is what a standby knows of the lease it waits for.
type vigil struct {
	sequence uint64        // of the lease when it was last seen to move
	age      time.Duration // of the lease at that moment
	since    time.Time     // when that was, by this process's clock; zero: not seen yet
	blind    bool          // the last try to read it did not succeed
}

// left returns how long the lease still counts as renewed. Who could not read it
// for a time gives its holder, who was perhaps cut off as well, a full period.
func (v *vigil) left(at registry.LeaseAt, lapse time.Duration) time.Duration {
	switch {
	case v.since.IsZero() || at.Sequence != v.sequence:
		v.sequence, v.age, v.since = at.Sequence, at.Age, time.Now()
	case v.blind:
		v.age, v.since = 0, time.Now()
	}
	v.blind = false
	return lapse - v.age - time.Since(v.since)
}

// takeLease waits until the View can be judged and the lease is free (there is none,
// its holder stopped, or it was not renewed for as long as Lapse) or this observer's
// own, and takes it by compare-and-set. It returns the lease's sequence. Only the end
// of ctx gives an error.
func (o *Observer) takeLease(ctx context.Context) (sequence uint64, err error) {
	retry := newBackoff(o.config.Timing, o.config.Timing.Retry)
	var watched vigil
	said := false
	for ctx.Err() == nil {
		if current(o.store.View()) != "" {
			watched.blind = true
			pause(ctx, o.config.Timing.Round)
			continue
		}
		at, err := o.log.ReadLease(ctx)
		switch {
		case err != nil:
			watched.blind = true
		case o.mayTake(at, &watched):
			if sequence, err = o.putLease(ctx, registry.PhaseSyncing, "", at.Lease.Epoch, at.Lease.Revision, at.Sequence); err == nil {
				o.leased = at.Lease.Epoch
				return sequence, nil
			}
		default:
			retry.Reset()
			said = false
			pause(ctx, min(max(watched.left(at, o.config.Timing.Lapse), 0), o.config.Timing.Renew))
			continue
		}
		if ctx.Err() == nil && !said && !errors.Is(err, registry.ErrConflict) {
			said = true
			o.config.Logger.Warn("the observer's lease can't be taken: trying until it can", "err", err)
		}
		pause(ctx, retry.NextBackOff())
	}
	return 0, context.Cause(ctx)
}

// mayTake reports whether the lease is free or this observer's own. At the start a
// lease in its name is its predecessor's; later only what it wrote itself is its own,
// so that two that were given one name by mistake do not fight for ever.
func (o *Observer) mayTake(at registry.LeaseAt, watched *vigil) bool {
	own := at.Lease.Agent == o.config.Agent && (o.tried.IsZero() || at.Lease.Time.Equal(o.tried) || at.Lease.Time.Equal(o.written))
	return watched.left(at, o.config.Timing.Lapse) <= 0 || !at.Found || at.Lease.Phase == registry.PhaseStopped || own
}

// putLease writes the lease in place of the one at expect. One goroutine at a time
// calls it.
func (o *Observer) putLease(ctx context.Context, phase registry.Phase, detail string, epoch, revision, expect uint64) (sequence uint64, err error) {
	o.tried = time.Now().UTC()
	sequence, err = o.log.PutLease(ctx, registry.Lease{
		Schema: registry.Schema, Writer: registry.Observer, Agent: o.config.Agent, Version: o.config.Version,
		Phase: phase, Epoch: epoch, Revision: revision, Time: o.tried, Detail: detail,
	}, expect)
	if err == nil {
		o.written = o.tried
	}
	return sequence, err
}

// renewal keeps the lease alive beside the leader. It ends the leader when somebody
// else wrote the lease.
type renewal struct {
	observer *Observer
	sequence uint64 // of the lease as it was last written; only put uses it

	mu              sync.Mutex // guards what follows
	phase           registry.Phase
	detail          string
	epoch, revision uint64
}

func (r *renewal) say(change func(*renewal)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(r)
}

// run renews until ctx ends; lost is called once when the lease is somebody else's.
func (r *renewal) run(ctx context.Context, lost context.CancelCauseFunc) {
	ticker := time.NewTicker(r.observer.config.Timing.Renew)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if err := r.put(ctx); errors.Is(err, registry.ErrConflict) {
			lost(fmt.Errorf("lease: %w", err))
			return
		} else if err != nil && ctx.Err() == nil {
			r.observer.config.Logger.Debug("the observer's lease is not renewed", "err", err)
		}
	}
}

// put writes the lease as it is now. One goroutine at a time calls it.
func (r *renewal) put(ctx context.Context) error {
	r.mu.Lock()
	phase, detail, epoch, revision := r.phase, r.detail, r.epoch, r.revision
	r.mu.Unlock()
	sequence, err := r.observer.putLease(ctx, phase, detail, epoch, revision, r.sequence)
	if err == nil {
		r.sequence = sequence
	}
	return err
}
