package edge

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// lease is this agent's hold on its cluster.
type lease struct {
	sequence uint64 // of the lease as this agent wrote it
	before   uint64 // the highest epoch that the lease named before
}

// takeLease waits as a standby until the lease is free (there is none, its holder
// stopped, or it was not renewed for as long as Lapse) and takes it by
// compare-and-set. Only the end of ctx gives an error.
func (a *Agent) takeLease(ctx context.Context) (lease, error) {
	retry := newBackoff(a.config.Timing.Retry)
	var seen uint64       // the lease's sequence when it was last seen to move
	var age time.Duration // of the lease at that moment
	var since time.Time   // when that was, on this agent's clock
	var known, warned bool
	for ctx.Err() == nil {
		at, err := a.log.ReadLease(ctx)
		if err != nil {
			if ctx.Err() == nil && !warned {
				a.config.Logger.Warn("the lease can't be read: standing by", "err", err)
				warned = true
			}
			pause(ctx, retry.NextBackOff())
			continue
		}
		retry.Reset()
		warned = false
		if !known || at.Sequence != seen {
			seen, age, since, known = at.Sequence, at.Age, time.Now(), true
		}
		if wait := a.config.Timing.Lapse - age - time.Since(since); at.Found && wait > 0 && at.Lease.Phase != registry.PhaseStopped && at.Lease.Agent != a.config.Agent {
			a.standBy(at.Lease)
			pause(ctx, min(wait, a.config.Timing.Renew))
			continue
		}
		mine := a.leaseNow(registry.PhaseSyncing, "")
		mine.Epoch, mine.Revision = at.Lease.Epoch, at.Lease.Revision // until the new epoch has begun
		sequence, err := a.log.PutLease(ctx, mine, at.Sequence)
		if err == nil {
			return lease{sequence: sequence, before: at.Lease.Epoch}, nil
		}
		if !errors.Is(err, registry.ErrConflict) && ctx.Err() == nil {
			a.config.Logger.Warn("the lease can't be taken", "err", err)
		}
		pause(ctx, retry.NextBackOff())
	}
	return lease{}, context.Cause(ctx)
}

func (a *Agent) standBy(l registry.Lease) {
	if a.status.get().Holder != l.Agent {
		a.config.Logger.Info("another agent leads this cluster: standing by", "holder", l.Agent, "epoch", l.Epoch)
	}
	a.status.set(func(s *Status) { s.Role, s.Holder = Standby, l.Agent })
}

// leaseNow describes the agent's state for its lease.
func (a *Agent) leaseNow(phase registry.Phase, detail string) registry.Lease {
	s := a.status.get()
	return registry.Lease{
		Schema: registry.Schema, Writer: a.writer, Agent: a.config.Agent, Version: a.config.Version,
		Phase: phase, Epoch: s.Epoch, Revision: s.Revision, Keys: s.Keys, Digest: s.Digest,
		Time: time.Now().UTC(), Source: a.config.Source, Detail: clipText(detail, 1024),
	}
}

func clipText(s string, most int) string {
	b := []byte(s)
	for i, c := range b {
		if c < ' ' || c >= 0x7f {
			b[i] = ' '
		}
	}
	return string(b[:min(len(b), most)])
}

// renewal keeps the lease alive beside the leader, and tells at once when the
// phase changes. It ends the leader when somebody else wrote the lease.
type renewal struct {
	agent *Agent
	wake  chan struct{} // capacity 1: renew now

	mu     sync.Mutex // guards what follows
	held   lease
	phase  registry.Phase
	detail string
}

// say changes what the lease says, and renews it soon when that is news.
func (r *renewal) say(phase registry.Phase, detail string) {
	r.mu.Lock()
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
		if err := r.put(ctx); errors.Is(err, registry.ErrConflict) {
			lost(fmt.Errorf("lease: %w", err))
			return
		} else if err != nil && ctx.Err() == nil {
			r.agent.config.Logger.Debug("the lease is not renewed", "err", err)
		}
	}
}

// put writes the lease as it is now. A conflict with a write of this agent itself,
// whose acknowledgement was lost, is none.
func (r *renewal) put(ctx context.Context) error {
	r.mu.Lock()
	held, phase, detail := r.held, r.phase, r.detail
	r.mu.Unlock()
	now := r.agent.leaseNow(phase, detail)
	sequence, err := r.agent.log.PutLease(ctx, now, held.sequence)
	if errors.Is(err, registry.ErrConflict) {
		at, readErr := r.agent.log.ReadLease(ctx)
		if readErr != nil {
			return readErr
		}
		if !at.Found || at.Lease.Agent == r.agent.config.Agent {
			sequence, err = r.agent.log.PutLease(ctx, now, at.Sequence)
		}
	}
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.held.sequence = sequence
	r.mu.Unlock()
	return nil
}
