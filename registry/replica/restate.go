package replica

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// restate writes again what the operator had said and the stream that is there does not
// know, or knows in an older version: the zone record and the orders that hold, and the
// end of those that do not hold any more. What was stored after all that this replica
// has read was said by somebody since, and counts; the seed of a zone record is nobody's
// word. Every replica does this: the first one wins. One that knows only what a
// checkpoint holds, which may be old, says nothing where somebody else has spoken.
func (r *Replica) restate(ctx context.Context, checkpointOnly bool) error {
	v, upTo := r.Known(), time.Unix(0, r.stored.Load())
	if v.Zone() == nil {
		return nil
	}
	messages, err := r.stream.LoadWriter(ctx, registry.Operator)
	if err != nil {
		return err
	}
	stands := map[registry.Fact]registry.Message{}
	for _, m := range messages {
		stands[m.Fact] = m
	}
	seed := func(m registry.Message) bool { return m.Event != nil && m.Event.Cause == registry.CauseSeed }
	if m, found := stands[ZoneFact]; found && checkpointOnly && !seed(m) {
		return nil
	}
	say := func(e *registry.Event) error {
		m, found := stands[e.Fact()]
		if found && m.Stored.After(upTo) && !seed(m) {
			return nil
		}
		_, err := r.options.Recovery.Put(ctx, e, m.Sequence)
		if errors.Is(err, registry.ErrConflict) { // another replica was faster
			return nil
		}
		return err
	}
	if err := say(ZoneEvent(*v.Zone(), r.options.By, registry.CauseResync, time.Now())); err != nil {
		return err
	}
	holds := map[registry.Fact]bool{}
	for _, o := range v.Orders() {
		order := o.Order
		order.Since = o.Stored
		e := orderEvent(order, r.options.By)
		holds[e.Fact()] = true
		if err := say(e); err != nil {
			return err
		}
	}
	for fact, m := range stands {
		if m.Event == nil || m.Event.Order == nil || holds[fact] || m.Event.Order.Lifted {
			continue
		}
		if o := *m.Event.Order; o.Kind == registry.OrderDrain || o.Kind == registry.OrderLeave {
			o.Lifted = true
			if err := say(orderEvent(o, r.options.By)); err != nil {
				return err
			}
		}
	}
	return nil
}

// orderEvent states an order.
func orderEvent(o registry.Order, by string) *registry.Event {
	return &registry.Event{
		Schema: registry.Schema, ID: string(registry.Operator) + "-" + o.Kind + "-" + rand.Text(), Kind: registry.KindOrder,
		Writer: registry.Operator, Time: time.Now().UTC(), Agent: by, Cause: registry.CauseResync, Order: &o,
	}
}
