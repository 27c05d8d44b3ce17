package observer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/election"
)

// takeLease waits until the View can be judged and the lease is free (there is none,
// its holder stopped, or it was not renewed for as long as Lapse) or this observer's
// own, and takes it by compare-and-set. It returns the lease's sequence. Only the end
// of ctx gives an error.
func (o *Observer) takeLease(ctx context.Context) (sequence uint64, err error) {
	retry := o.config.Timing.backoff()
	var watched election.Vigil
	said := false
	for ctx.Err() == nil {
		if current(o.store.View()) != "" {
			watched.Blind()
			election.Pause(ctx, o.config.Timing.Round)
			continue
		}
		o.tally.take(time.Now(), o.config.Timing.Window)
		at, err := o.log.ReadLease(ctx)
		switch {
		case err != nil:
			watched.Blind()
		case o.candidate.MayTake(at, &watched, o.config.Timing.Lapse):
			if sequence, err = o.putLease(ctx, registry.PhaseSyncing, "", at.Lease.Epoch, at.Lease.Revision, at.Sequence); err == nil {
				o.leased = at.Lease.Epoch
				return sequence, nil
			}
		default:
			retry.Reset()
			said = false
			election.Pause(ctx, min(max(watched.Left(at, o.config.Timing.Lapse), 0), o.config.Timing.Renew))
			continue
		}
		if ctx.Err() == nil && !said && !errors.Is(err, registry.ErrConflict) {
			said = true
			o.config.Logger.Warn("the observer's lease can't be taken: trying until it can", "err", err)
		}
		election.Pause(ctx, retry.NextBackOff())
	}
	return 0, context.Cause(ctx)
}

// putLease writes the lease in place of the one at expect. One goroutine at a time
// calls it.
func (o *Observer) putLease(ctx context.Context, phase registry.Phase, detail string, epoch, revision, expect uint64) (sequence uint64, err error) {
	return o.candidate.Put(registry.Lease{
		Schema: registry.Schema, Writer: registry.Observer, Version: o.config.Version,
		Phase: phase, Epoch: epoch, Revision: revision, Detail: detail,
	}, func(l registry.Lease) (uint64, error) { return o.log.PutLease(ctx, l, expect) })
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
