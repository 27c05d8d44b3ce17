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

// orders are what was asked of this agent's cluster. It listens whether or not the
// agent leads, so that a decision is known before anything is withdrawn.
type orders struct {
	resync  chan ordered  // capacity 1
	changed chan struct{} // capacity 1: the others have changed

	mu    sync.Mutex     // guards what follows
	brake registry.Order // the last decision; zero: none
	leave registry.Order // the last word about leaving; zero: none
	watch uint64         // how many watches have begun
	again context.CancelFunc
	heard bool      // the latest was told what stood when it began
	deaf  time.Time // since when no watch was told anything; zero: the latest was
	err   error     // why, when that is long ago; else nil
}

// ordered is an order to compare all.
type ordered struct {
	why      string
	sequence uint64 // of its message
}

func newOrders() *orders {
	return &orders{resync: make(chan ordered, 1), changed: make(chan struct{}, 1)}
}

// take notes an order, or that what stood was told. It does not block. It returns true
// when that ends a fault.
func (o *orders) take(m registry.Message) (mended bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if m.Sequence == 0 {
		mended = o.err != nil
		o.heard, o.deaf, o.err = true, time.Time{}, nil
		wake(o.changed)
	}
	if m.Event == nil || m.Event.Order == nil {
		return mended
	}
	switch order := *m.Event.Order; order.Kind {
	case registry.OrderResync:
		select {
		case <-o.resync: // one that waits may be done already when it is looked at
		default:
		}
		o.resync <- ordered{fmt.Sprintf("by %s: %s", order.By, order.Reason), m.Sequence} // there is room: nobody else adds
	case registry.OrderBrake:
		o.brake = order
		wake(o.changed)
	case registry.OrderLeave:
		o.leave = order
		wake(o.changed)
	}
	return mended
}

// standing returns the last decision about the brake, and the order by which the
// cluster leaves; left is false when there is none.
func (o *orders) standing() (decision, leave registry.Order, left bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.brake, o.leave, o.leave.Kind != "" && !o.leave.Lifted
}

// begin notes that a watch begins: something may have been ordered that is yet to be
// told. Again ends that watch, so that another one begins.
func (o *orders) begin(again context.CancelFunc) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.watch++
	o.heard, o.again = false, again
	if o.deaf.IsZero() {
		o.deaf = time.Now()
	}
}

// ask makes another watch begin, and returns which.
func (o *orders) ask() (watch uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.heard = false
	if o.again != nil {
		o.again()
	}
	return o.watch + 1
}

// heardIn reports whether that watch, or a later one, was told what stands, and nothing
// ended it since.
func (o *orders) heardIn(watch uint64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.heard && o.watch >= watch
}

// fail notes why nothing is heard. It returns true once, when that is so for longer than patience.
func (o *orders) fail(err error, patience time.Duration) (news bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.deaf.IsZero() || time.Since(o.deaf) < patience { // zero also where the watch that was asked for is yet to begin
		return false
	}
	news = o.err == nil
	o.err = err
	wake(o.changed)
	return news
}

// fault tells why nothing is heard of orders, for long; nil when it is.
func (o *orders) fault() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

// followOrders listens until ctx ends. Whenever the watch begins anew it is told again
// what stands.
func (a *Agent) followOrders(ctx context.Context) {
	retry := a.config.Timing.backoff()
	for ctx.Err() == nil {
		watch, again := context.WithCancel(ctx)
		a.orders.begin(again)
		silence := time.AfterFunc(a.config.Timing.Lapse, func() { a.ordersFault(errUntold) })
		err := a.log.WatchOrders(watch, func(m registry.Message) {
			retry.Reset()
			if a.orders.take(m) {
				a.config.Logger.Info("orders can be read again")
			}
		})
		silence.Stop()
		asked := watch.Err() != nil
		again()
		if err != nil && !asked {
			a.ordersFault(err)
		}
		if !election.Pause(ctx, retry.NextBackOff()) {
			return
		}
	}
}

// errUntold says that a watch of orders has not even told which stand.
var errUntold = errors.New("nothing is told of them: is it permitted?")

// ordersFault notes why nothing is heard of orders, and says so when that lasts.
func (a *Agent) ordersFault(err error) {
	if a.orders.fail(err, a.config.Timing.Lapse) {
		a.config.Logger.Warn("orders can't be read: none is obeyed, and nothing that is held back passes by itself", "err", err)
	}
}
