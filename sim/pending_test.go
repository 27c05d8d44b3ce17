package sim

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing/synctest"
	"time"
)

// operation is one call from the real code into the world, until the scheduler has
// decided what becomes of it.
type operation struct {
	link   *link
	kind   string
	number int // in the order in which the scheduler met them
	at     time.Time
	ready  func() bool // nil: it can always be served
	effect func() error
	writes bool // it may take effect although nobody waits for it any more
	waits  bool // for something to happen: it has no bound in time
	done   chan error
	gone   atomic.Bool // nobody waits for it any more
}

// link is the way of one process to the stream, or to its registry.
type link struct {
	world  *world
	name   string
	cut    bool // nothing passes: calls hang
	refuse bool // with cut: calls fail at once
	oneWay bool // with cut: requests arrive, answers do not
	dead   atomic.Bool
	broken int // what waits for something to happen is to fail so often
	served int // operations that took effect, or failed
}

var (
	errLost     = errors.New("no answer")
	errRefused  = errors.New("connection refused")
	errConsumer = errors.New("the consumer is gone")
)

// longestWay is how late a request may arrive: well within the time for which the server
// remembers message ids.
const longestWay = time.Minute

// callBound is how long a call waits for its answer.
const callBound = 5 * time.Second

// call waits until the scheduler has served a request. An error of its own means that
// nobody knows whether it took effect.
func (k *link) call(ctx context.Context, kind string, writes bool, effect func() error) error {
	return k.submit(ctx, &operation{link: k, kind: kind, effect: effect, writes: writes})
}

// wait waits until there is something to be delivered, and the scheduler does so.
func (k *link) wait(ctx context.Context, kind string, ready func() bool, effect func() error) error {
	return k.submit(ctx, &operation{link: k, kind: kind, effect: effect, ready: ready, waits: true})
}

func (k *link) submit(ctx context.Context, o *operation) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if k.dead.Load() {
		return errRefused
	}
	o.done = make(chan error, 1)
	k.world.arrive(o)
	var bound <-chan time.Time
	if !o.waits {
		timer := time.NewTimer(callBound)
		defer timer.Stop()
		bound = timer.C
	}
	select {
	case err := <-o.done:
		return err
	case <-ctx.Done():
		o.gone.Store(true)
		return context.Cause(ctx)
	case <-bound:
		o.gone.Store(true)
		return errLost
	}
}

// arrive hands an operation to the scheduler.
func (w *world) arrive(o *operation) {
	w.mu.Lock()
	w.arrived = append(w.arrived, o)
	w.mu.Unlock()
	select {
	case w.poke <- struct{}{}:
	default:
	}
}

// settle waits until nothing moves any more, and takes in what has arrived, in an
// order that does not depend on which goroutine was faster.
func (w *world) settle() {
	w.rest(synctest.Wait)
	w.mu.Lock()
	arrived := w.arrived
	w.arrived = nil
	w.mu.Unlock()
	select {
	case <-w.poke:
	default:
	}
	slices.SortStableFunc(arrived, func(a, b *operation) int {
		return cmp.Or(strings.Compare(a.link.name, b.link.name), strings.Compare(a.kind, b.kind))
	})
	w.pending = slices.DeleteFunc(w.pending, func(o *operation) bool {
		if o.gone.Load() && o.writes && !o.link.cut {
			w.late = append(w.late, o)
		}
		return o.gone.Load()
	})
	w.late = slices.DeleteFunc(w.late, func(o *operation) bool { return time.Since(o.at) > longestWay })
	for _, o := range arrived {
		w.operations++
		o.number, o.at = w.operations, time.Now()
		w.pending = append(w.pending, o)
	}
	w.look()
}

// tick lets a moment pass, a different one each time, so that timers of different
// goroutines do not fire together, and settles.
func (w *world) tick() {
	w.ticks++
	w.sleep(time.Duration(100_003 + w.ticks%977))
	w.settle()
}

// rest gives up the turn while the scheduler waits.
func (w *world) rest(wait func()) {
	w.turn.Unlock()
	defer w.turn.Lock()
	wait()
}

func (w *world) sleep(d time.Duration) { w.rest(func() { time.Sleep(d) }) }

// servable are the operations that can take effect now, in order.
func (w *world) servable() []*operation {
	var out []*operation
	for _, o := range w.pending {
		if o.link.dead.Load() || o.link.cut && !o.link.refuse && (!o.link.oneWay || o.waits) {
			continue
		}
		if o.waits && o.link.broken == 0 && (o.link.cut || !o.ready()) {
			continue
		}
		out = append(out, o)
	}
	return out
}

// fate is what becomes of an operation.
type fate string

const (
	served   fate = "served"
	failed   fate = "failed"    // an error at once, no effect
	hung     fate = "hung"      // no answer, no effect
	ackLost  fate = "ack lost"  // an error, and it took effect
	ackHung  fate = "ack hung"  // no answer, and it took effect
	answered fate = "late"      // it takes effect later, and its caller does not hear of it
	broke    fate = "broke off" // the consumer or the watch ended
)

// serve decides an operation.
func (w *world) serve(o *operation, f fate) {
	w.pending = slices.DeleteFunc(w.pending, func(p *operation) bool { return p == o })
	switch {
	case o.waits && o.link.broken > 0:
		o.link.broken--
		f = broke
	case o.link.cut && o.link.refuse:
		f = failed
	case o.link.cut && o.link.oneWay:
		f = ackHung
	case o.waits && f != served:
		f = broke
	case f == answered && !o.writes:
		f = hung
	}
	o.link.served++
	w.noteOperation(o, f)
	switch f {
	case served:
		o.done <- o.effect()
	case failed:
		o.done <- errRefused
	case broke:
		o.done <- errConsumer
	case ackLost:
		err := o.effect()
		if err == nil {
			err = errLost
		}
		o.done <- err
	case ackHung:
		_ = o.effect()
	case answered:
		w.late = append(w.late, o)
	case hung:
	}
	w.tick()
}
