package replica

import (
	"context"
	"time"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/checkpoint"
)

// fromCheckpoint is why a replica is cut off that has not reached the stream yet.
const fromCheckpoint = "started from a checkpoint"

// Resume gives the replica what a checkpoint holds. It is kept back while the stream may
// be read in a moment, for it may be older than what was answered before; see [Replica.Hold].
// Shown, it is marked as cut off since it was current, until the stream was caught up with.
// Call it before Run and before Hold, and at most once.
func (r *Replica) Resume(c checkpoint.Checkpoint) {
	f := registry.Restore(c.Facts, c.Sequence)
	f.Synced()
	for _, m := range c.Facts {
		if m.Sequence == 0 {
			r.inheritance = append(r.inheritance, m)
		}
	}
	r.resumed, r.behind = time.Now(), true
	alive := c.Stored // by the stream's clock and by this machine's: the two must agree
	if c.Current.Before(alive) {
		alive = c.Current
	}
	r.place = Place{Created: c.Created, Sequence: c.Sequence, Stored: alive, Before: c.Before}
	r.created, r.before = c.Created, c.Before
	r.stored.Store(c.Stored.UnixNano())
	r.cut, r.cutAt = &registry.Cut{Since: c.Current, Reason: fromCheckpoint}, r.resumed
	v := f.View()
	r.shown, r.held = v, v.CutOff(*r.cut)
	r.reached.Store(v.Sequence())
	r.kept.Store(v.Sequence())
	r.logger.Info("a checkpoint was read", "sequence", c.Sequence, "services", v.Services(), "clusters", len(v.Clusters()), "current", c.Current)
}

// How long what a checkpoint holds is kept back: while the stream is not heard of, and
// while it is being read, altogether.
const (
	holdSilent = 2 * time.Second
	holdAtMost = 10 * time.Second
)

// Hold shows what a checkpoint holds once the stream seems not to be there to be caught up
// with: when nothing of it was heard for two seconds, or it takes ten. It returns then, when
// something was shown before, or when ctx ends. Run does this too: call it while there is
// nothing to run with yet; Run shows it at once when there is no connection.
func (r *Replica) Hold(ctx context.Context) {
	for r.holds() {
		age := time.Since(r.resumed)
		rest := min(holdSilent-(age-time.Duration(r.moved.Load())), holdAtMost-age)
		if rest <= 0 {
			r.Show("the stream can't be read, or not soon")
			return
		}
		if wait(ctx, rest) != nil {
			return
		}
	}
}

// Show shows what a checkpoint holds at once, unless something was shown since. Any
// number of goroutines may call it. Why is for the log.
func (r *Replica) Show(why string) {
	r.showing.Lock()
	defer r.showing.Unlock()
	if r.held == nil {
		return
	}
	r.store.Publish(r.held)
	r.synced.Store(true)
	r.logger.Info("started from a checkpoint", "sequence", r.held.Sequence(), "why", why)
	r.held = nil
}

// Known returns what is known: the View that is shown, or that of a checkpoint which is kept
// back; nothing while one that turned out to be of another mesh is shown. Any number of
// goroutines may call it.
func (r *Replica) Known() *registry.View {
	r.showing.Lock()
	defer r.showing.Unlock()
	switch {
	case r.held != nil:
		return r.held
	case r.dropped:
		return &registry.View{}
	}
	return r.store.View()
}

// Kept returns the sequence of the latest checkpoint that was read or written; 0: none was.
// Any number of goroutines may call it.
func (r *Replica) Kept() uint64 { return r.kept.Load() }

// holds reports whether a View is kept back.
func (r *Replica) holds() bool {
	r.showing.Lock()
	defer r.showing.Unlock()
	return r.held != nil
}

// drop forgets what a checkpoint held that is of another mesh. Where it is shown already it
// stands, marked as it is, until the stream was caught up with.
func (r *Replica) drop() {
	r.logger.Error("the checkpoint is of another mesh: it was current while the stream that is there was another one already, and nothing of it counts; "+
		"give each mesh its own checkpoint.path", "sequence", r.reached.Load(), "clusters", len(r.shown.Clusters()))
	r.showing.Lock()
	r.held, r.dropped = nil, true
	r.showing.Unlock()
	r.shown, r.inheritance, r.before = nil, nil, nil
	r.reached.Store(0)
	r.stored.Store(0)
	r.renew(registry.NewFold())
}

// notHeld shows what is kept back when there is nothing to wait for.
func (r *Replica) notHeld() {
	if r.options.Recovery != nil && r.holds() && !r.options.Recovery.Contact().Connected {
		r.Show("NATS is not connected")
	}
}

// move notes that the stream is being read: what a checkpoint holds may be kept back longer.
func (r *Replica) move() { r.moved.Store(int64(time.Since(r.resumed))) }

// moment is what a checkpoint is made of.
type moment struct {
	view    *registry.View
	created time.Time
	before  []time.Time
	current time.Time
	stored  time.Time
}

// remember notes what a checkpoint may hold: only what is current, and no moment
// between what a cluster has said anew and the end of what it had said before.
func (r *Replica) remember() {
	if !r.live || r.behind || r.cut != nil || len(r.settling) > 0 || r.options.Recovery == nil {
		return
	}
	m := &moment{view: r.shown, created: r.created, before: r.before, current: r.options.Recovery.Contact().Current, stored: time.Unix(0, r.stored.Load()).UTC()}
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
			Stored: next.stored, Before: next.before, Facts: next.view.Facts(),
		})
		took := time.Since(began)
		if err == nil {
			last = *next
			r.kept.Store(next.view.Sequence())
		}
		pause = max(every, keepShare*took)
		written(size, took, err)
	}
}
