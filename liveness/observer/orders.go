package observer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// keepOrders lifts the drains whose time is over, by the stream's clock, and repeats
// the orders that would become old or that do not stand on this stream. Each is written only in place of the order that
// was looked at: whoever changed it meanwhile is right.
func (l *leader) keepOrders(ctx context.Context, v *registry.View, clock time.Time) {
	if time.Now().Before(l.ordersAt) {
		return
	}
	asked := 0
	orders := v.Orders()
	failed := slices.IndexFunc(orders, func(o *registry.StandingOrder) bool { return o.Kind == l.failed.Kind && o.Target == l.failed.Target })
	orders = slices.Concat(orders[failed+1:], orders[:failed+1]) // one that always fails must not stand before the others
	for _, o := range orders {
		next, cause, due, err := l.due(ctx, o, clock, &asked)
		if err == nil && due {
			asked++
			_, err = l.stream.PutOrder(ctx, next, l.config.Agent, cause, o.Sequence)
			if errors.Is(err, registry.ErrConflict) {
				continue // the next round sees what stands
			}
			if err == nil && next.Lifted {
				l.config.Logger.Info("a drain is over", "target", o.Target, "by", o.By, "reason", o.Reason)
			}
		}
		if err != nil { // each try may take seconds, in which no cluster is judged
			l.ordersAt, l.failed = time.Now().Add(l.config.Timing.Retry), o.Order
			if !l.troubled && ctx.Err() == nil {
				l.troubled = true
				l.config.Logger.Warn("orders can't be read or written: trying until they can", "target", o.Target, "err", err)
			}
			return
		}
		if asked >= maxAtOnce {
			return
		}
	}
	if asked > 0 {
		l.troubled = false
	}
	l.forgetOrders(orders)
}

// due returns what is to be written in place of an order, if anything. Asked counts
// what the stream is asked.
func (l *leader) due(ctx context.Context, o *registry.StandingOrder, clock time.Time, asked *int) (next registry.Order, cause registry.Cause, due bool, err error) {
	if ends, known := o.Ends(); known && o.Kind == registry.OrderDrain && !clock.Before(ends) {
		return registry.Order{
			Kind: o.Kind, Target: o.Target, By: l.config.Agent, Lifted: true,
			Reason: fmt.Sprintf("the time of the drain by %.100s is over", o.By),
		}, registry.CauseChange, true, nil
	}
	next = o.Order
	next.Since = o.Stored
	if o.Sequence == 0 { // it stood on a stream that this one took the place of
		return next, registry.CauseResync, true, nil
	}
	if clock.Sub(o.Stored) < l.config.Timing.Refresh {
		return next, "", false, nil
	}
	// It began to hold long ago; when it was last written only its message tells.
	stored, known := l.orders[o.Sequence]
	if !known {
		*asked++
		_, m, found, err := l.stream.LastOrder(ctx, o.Kind, o.Target)
		if found && m.Sequence != o.Sequence { // somebody has changed it
			return next, "", false, nil
		}
		if err != nil || !found {
			return next, "", false, err
		}
		stored = m.Stored
		l.orders[o.Sequence] = stored
	}
	if clock.Sub(stored) < l.config.Timing.Refresh {
		return next, "", false, nil
	}
	return next, registry.CauseRefresh, true, nil
}

// forgetOrders drops what is remembered of orders that no longer hold.
func (l *leader) forgetOrders(orders []*registry.StandingOrder) {
	if len(l.orders) <= 2*len(orders) {
		return
	}
	holding := make(map[uint64]time.Time, len(orders))
	for _, o := range orders {
		if stored, known := l.orders[o.Sequence]; known {
			holding[o.Sequence] = stored
		}
	}
	l.orders = holding
}
