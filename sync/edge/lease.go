package edge

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
	since    time.Time     // when that was, by this agent's clock; zero: not seen yet
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

// takeLease waits as a standby until the lease is free (there is none, its holder
// stopped, or it was not renewed for as long as Lapse) or this agent's own, and
// takes it by compare-and-set. It returns the lease's sequence. Only the end of ctx
// gives an error.
func (a *Agent) takeLease(ctx context.Context) (sequence uint64, err error) {
	retry := newBackoff(a.config.Timing, a.config.Timing.Retry)
	var watched vigil
	for ctx.Err() == nil {
		at, err := a.log.ReadLease(ctx)
		switch {
		case err != nil:
			watched.blind = true
		case a.mayTake(at, &watched):
			if sequence, err = a.claim(ctx, at); err == nil {
				a.streamFault(ctx, nil)
				return sequence, nil
			}
		default:
			a.streamFault(ctx, nil)
			a.standBy(at.Lease)
			a.carried.forget(time.Now())
			retry.Reset()
			pause(ctx, min(max(watched.left(at, a.config.Timing.Lapse), 0), a.config.Timing.Renew))
			continue
		}
		if !errors.Is(err, registry.ErrConflict) {
			a.streamFault(ctx, fmt.Errorf("take the lease: %w", err))
		}
		pause(ctx, retry.NextBackOff())
	}
	return 0, context.Cause(ctx)
}

// mayTake reports whether the lease is free or this agent's own. At the start a
// lease in its name is its predecessor's; later only what it wrote itself is its own,
// so that two agents that were given one name by mistake do not fight for ever.
func (a *Agent) mayTake(at registry.LeaseAt, watched *vigil) bool {
	own := at.Lease.Agent == a.config.Agent && (a.tried.IsZero() || at.Lease.Time.Equal(a.tried) || at.Lease.Time.Equal(a.written))
	return watched.left(at, a.config.Timing.Lapse) <= 0 || !at.Found || at.Lease.Phase == registry.PhaseStopped || own
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
	a.tried = time.Now().UTC()
	sequence, err = a.log.PutLease(ctx, registry.Lease{
		Schema: registry.Schema, Writer: a.writer, Agent: a.config.Agent, Version: a.config.Version,
		Phase: phase, Epoch: s.Epoch, Revision: s.Revision, Keys: s.Keys, Digest: s.Digest,
		Time: a.tried, Source: a.config.Source, Detail: clipText(detail, 1024),
	}, expect)
	if err == nil {
		a.written = a.tried
	}
	return sequence, err
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
		if err := r.put(ctx); errors.Is(err, registry.ErrConflict) {
			lost(fmt.Errorf("lease: %w", err))
			return
		} else if err != nil && ctx.Err() == nil {
			r.agent.config.Logger.Debug("the lease is not renewed", "err", err)
		}
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
