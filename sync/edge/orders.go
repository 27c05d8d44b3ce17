package edge

import (
	"context"
	"fmt"
	"sync"

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
	heard bool           // what stood when the watch began was told
}

// ordered is an order to compare all.
type ordered struct {
	why      string
	sequence uint64 // of its message
}

func newOrders() *orders {
	return &orders{resync: make(chan ordered, 1), changed: make(chan struct{}, 1)}
}

// take notes an order, or that what stood was told. It does not block.
func (o *orders) take(m registry.Message) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if m.Sequence == 0 {
		o.heard = true
		wake(o.changed)
	}
	if m.Event == nil || m.Event.Order == nil {
		return
	}
	switch order := *m.Event.Order; order.Kind {
	case registry.OrderResync:
		select {
		case o.resync <- ordered{fmt.Sprintf("by %s: %s", order.By, order.Reason), m.Sequence}:
		default: // one is waiting already
		}
	case registry.OrderBrake:
		o.brake = order
		wake(o.changed)
	case registry.OrderLeave:
		o.leave = order
		wake(o.changed)
	}
}

// standing returns the last decision about the brake, and the order by which the
// cluster leaves; left is false when there is none.
func (o *orders) standing() (decision, leave registry.Order, left bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.brake, o.leave, o.leave.Kind != "" && !o.leave.Lifted
}

// begin notes that a watch begins: something may have been ordered that is yet to be told.
func (o *orders) begin() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.heard = false
}

// current reports whether nothing was ordered that this agent has still to be told.
// Nothing is withdrawn for lack of a decision before.
func (o *orders) current() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.heard
}

// followOrders listens until ctx ends. Whenever the watch begins anew it is told again
// what stands.
func (a *Agent) followOrders(ctx context.Context) {
	retry := a.config.Timing.backoff()
	for ctx.Err() == nil {
		a.orders.begin()
		err := a.log.WatchOrders(ctx, func(m registry.Message) {
			retry.Reset()
			a.orders.take(m)
		})
		if err != nil && ctx.Err() == nil {
			a.config.Logger.Debug("orders can't be followed", "err", err)
		}
		if !election.Pause(ctx, retry.NextBackOff()) {
			return
		}
	}
}
