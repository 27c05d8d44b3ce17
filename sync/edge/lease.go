package edge

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/election"
)

// takeLease waits as a standby until the lease is free (there is none, its holder
// stopped, or it was not renewed for as long as Lapse) or this agent's own, and
// takes it by compare-and-set. It returns the lease's sequence. Only the end of ctx
// gives an error.
func (a *Agent) takeLease(ctx context.Context) (sequence uint64, err error) {
	retry := a.config.Timing.backoff()
	var watched election.Vigil
	for ctx.Err() == nil {
		at, err := a.log.ReadLease(ctx)
		switch {
		case err != nil:
			watched.Blind()
		case a.candidate.MayTake(at, &watched, a.config.Timing.Lapse):
			if sequence, err = a.claim(ctx, at); err == nil {
				a.streamFault(ctx, nil)
				return sequence, nil
			}
		default:
			a.streamFault(ctx, nil)
			a.standBy(at.Lease)
			a.carried.forget(time.Now())
			retry.Reset()
			election.Pause(ctx, min(max(watched.Left(at, a.config.Timing.Lapse), 0), a.config.Timing.Renew))
			continue
		}
		if !errors.Is(err, registry.ErrConflict) {
			a.streamFault(ctx, fmt.Errorf("take the lease: %w", err))
		}
		election.Pause(ctx, retry.NextBackOff())
	}
	return 0, context.Cause(ctx)
}

// claim writes the lease in place of the one at. Until the new epoch has begun it
// repeats what that one said of the stream.
func (a *Agent) claim(ctx context.Context, at registry.LeaseAt) (sequence uint64, err error) {
	a.status.set(func(s *Status) {
		s.Epoch, s.Revision, s.Keys, s.Digest = at.Lease.Epoch, at.Lease.Revision, at.Lease.Keys, at.Lease.Digest
	})
	return a.putLease(ctx, registry.PhaseSyncing, "", at.Sequence)
}

func (a *Agent) standBy(l registry.Lease) {
	if a.status.get().Holder != l.Agent {
		a.config.Logger.Info("another agent leads this cluster: standing by", "holder", l.Agent, "epoch", l.Epoch)
	}
	a.status.set(func(s *Status) { s.Role, s.Holder = Standby, l.Agent })
}

// putLease writes the agent's state as its lease in place of the one at expect. One
// goroutine at a time calls it.
func (a *Agent) putLease(ctx context.Context, phase registry.Phase, detail string, expect uint64) (sequence uint64, err error) {
	s := a.status.get()
	return a.candidate.Put(registry.Lease{
		Schema: registry.Schema, Writer: a.writer, Version: a.config.Version,
		Phase: phase, Epoch: s.Epoch, Revision: s.Revision, Keys: s.Keys, Digest: s.Digest,
		Source: a.config.Source, Detail: detail,
	}, func(l registry.Lease) (uint64, error) { return a.log.PutLease(ctx, l, expect) })
}

// renewal keeps the lease alive beside the leader, and tells at once when the
// phase changes. It ends the leader when somebody else wrote the lease.
type renewal struct {
	agent    *Agent
	wake     chan struct{} // capacity 1: renew now
	sequence uint64        // of the lease as it was last written; only put uses it

	mu     sync.Mutex // guards what follows
	phase  registry.Phase
	detail string
}

// say changes what the lease says, and renews it soon when that is news. That it
// stopped is its last word.
func (r *renewal) say(phase registry.Phase, detail string) {
	r.mu.Lock()
	if r.phase == registry.PhaseStopped {
		r.mu.Unlock()
		return
	}
	news := r.phase != phase || r.detail != detail
	r.phase, r.detail = phase, detail
	r.mu.Unlock()
	r.agent.status.set(func(s *Status) { s.Phase = phase })
	if news {
		wake(r.wake)
	}
}

// run renews until ctx ends; lost is called once when the lease is somebody else's.
func (r *renewal) run(ctx context.Context, lost context.CancelCauseFunc) {
	ticker := time.NewTicker(r.agent.config.Timing.Renew)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-r.wake:
		}
		drain(ticker.C) // one renewal is enough for all who asked for one until now
		drain(r.wake)
		if err := r.put(ctx); errors.Is(err, registry.ErrConflict) {
			lost(fmt.Errorf("lease: %w", err))
			return
		} else if err != nil && ctx.Err() == nil {
			r.agent.config.Logger.Debug("the lease is not renewed", "err", err)
		}
	}
}

// drain takes what waits in a channel of capacity 1.
func drain[T any](c <-chan T) {
	select {
	case <-c:
	default:
	}
}

// put writes the lease as it is now. One goroutine at a time calls it.
func (r *renewal) put(ctx context.Context) error {
	r.mu.Lock()
	phase, detail := r.phase, r.detail
	r.mu.Unlock()
	sequence, err := r.agent.putLease(ctx, phase, detail, r.sequence)
	if err == nil {
		r.sequence = sequence
	}
	return err
}
