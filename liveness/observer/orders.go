package observer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// keepOrders lifts the drains whose time is over, by the stream's clock, and repeats
// the orders that would become old or that do not stand on this stream. Each is written only in place of the order that
// was looked at: whoever changed it meanwhile is right.
func (l *leader) keepOrders(ctx context.Context, v *registry.View, clock time.Time) {
	written := 0
	orders := v.Orders()
	for _, o := range orders {
		if written >= maxAtOnce || ctx.Err() != nil {
			return
		}
		next, cause, due := l.due(ctx, o, clock)
		if !due {
			continue
		}
		_, err := l.stream.PutOrder(ctx, next, l.config.Agent, cause, o.Sequence)
		written++
		switch {
		case err == nil && next.Lifted:
			l.config.Logger.Info("a drain is over", "target", o.Target, "by", o.By, "reason", o.Reason)
		case err == nil, errors.Is(err, registry.ErrConflict):
		case !l.troubled && ctx.Err() == nil:
			l.troubled = true
			l.config.Logger.Warn("an order can't be written: trying until it can", "target", o.Target, "err", err)
		}
		if err == nil {
			l.troubled = false
		}
	}
	l.forgetOrders(orders)
}

// due returns what is to be written in place of an order, if anything.
func (l *leader) due(ctx context.Context, o *registry.StandingOrder, clock time.Time) (next registry.Order, cause registry.Cause, due bool) {
	if ends, known := o.Ends(); known && o.Kind == registry.OrderDrain && !clock.Before(ends) {
		return registry.Order{
			Kind: o.Kind, Target: o.Target, By: l.config.Agent, Lifted: true,
			Reason: fmt.Sprintf("the time of the drain by %.100s is over", o.By),
		}, registry.CauseChange, true
	}
	next = o.Order
	next.Since = o.Stored
	if o.Sequence == 0 { // it stood on a stream that this one took the place of
		return next, registry.CauseResync, true
	}
	if clock.Sub(o.Stored) < l.config.Timing.Refresh {
		return next, "", false
	}
	// It began to hold long ago; when it was last written only its message tells.
	stored, known := l.orders[o.Sequence]
	if !known {
		_, m, found, err := l.stream.LastOrder(ctx, o.Kind, o.Target)
		if err != nil || !found || m.Sequence != o.Sequence {
			return next, "", false
		}
		stored = m.Stored
		l.orders[o.Sequence] = stored
	}
	if clock.Sub(stored) < l.config.Timing.Refresh {
		return next, "", false
	}
	return next, registry.CauseRefresh, true
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
