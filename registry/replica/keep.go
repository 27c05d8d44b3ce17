package replica

import (
	"context"
	"time"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/checkpoint"
)

// fromCheckpoint is why a replica is cut off that has not reached the stream yet.
const fromCheckpoint = "started from a checkpoint"

// Resume shows what a checkpoint holds, marked as cut off since it was current, until
// the stream was caught up with. Call it before Run, and at most once.
func (r *Replica) Resume(c checkpoint.Checkpoint) {
	f := registry.Restore(c.Facts, c.Sequence)
	f.Synced()
	for _, m := range c.Facts {
		if m.Sequence == 0 {
			r.inheritance = append(r.inheritance, m)
		}
	}
	r.resumed, r.behind = time.Now(), true
	r.place = Place{Created: c.Created, Sequence: c.Sequence}
	r.stored.Store(c.Stored.UnixNano())
	r.cut, r.cutAt = &registry.Cut{Since: c.Current, Reason: fromCheckpoint}, r.resumed
	r.publish(f.View())
	r.synced.Store(true)
	r.logger.Info("started from a checkpoint", "sequence", c.Sequence, "services", r.shown.Services(), "clusters", len(r.shown.Clusters()), "current", c.Current)
}

// moment is what a checkpoint is made of.
type moment struct {
	view    *registry.View
	created time.Time
	current time.Time
	stored  time.Time
}

// remember notes what a checkpoint may hold: only what is current, and no moment
// between what a cluster has said anew and the end of what it had said before.
func (r *Replica) remember() {
	if !r.live || r.behind || r.cut != nil || len(r.settling) > 0 || r.options.Recovery == nil {
		return
	}
	m := &moment{view: r.shown, created: r.created, current: r.options.Recovery.Contact().Current, stored: time.Unix(0, r.stored.Load()).UTC()}
	if m.current.IsZero() {
		m.current = time.Now()
	}
	r.moment.Store(m)
}

// end notes the last moment.
func (r *Replica) end() {
	r.remember()
	close(r.stopped)
}

// How often checkpoints are written. All of it is written each time, so that it must not
// take more than a twentieth of the time; and what has not changed is confirmed once in
// a while.
const (
	keepShare   = 20
	confirmPace = 10 * time.Minute
)

// Keep writes checkpoints to a file while ctx lasts, at most once in every, and once
// more when it ends and Run has. It needs Options.Recovery. Written is told of each.
func (r *Replica) Keep(ctx context.Context, file *checkpoint.File, every time.Duration, written func(size int64, took time.Duration, err error)) {
	var last moment
	pause := every
	for ctx.Err() == nil {
		if wait(ctx, pause) != nil && r.runs.Load() {
			<-r.stopped
		}
		next := r.moment.Load()
		if next == nil {
			continue
		}
		moved := last.view == nil || next.view.Sequence() != last.view.Sequence() || !next.created.Equal(last.created)
		if !moved && next.current.Sub(last.current) < confirmPace {
			continue
		}
		began := time.Now()
		size, err := file.Write(checkpoint.Checkpoint{
			Created: next.created, Sequence: next.view.Sequence(), Current: next.current,
			Stored: next.stored, Facts: next.view.Facts(),
		})
		took := time.Since(began)
		if err == nil {
			last = *next
		}
		pause = max(every, keepShare*took)
		written(size, took, err)
	}
}
