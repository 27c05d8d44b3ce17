package stream

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// PutOrder stores an order if the last message of its kind and target has the
// sequence expect (0: there is none; [AnySequence]: whatever stands), and returns its
// own. By names who writes it, for the event; the order itself says on whose behalf.
// [registry.ErrConflict] says that another order stands there.
func (c *Conn) PutOrder(ctx context.Context, o registry.Order, by string, cause registry.Cause, expect uint64) (sequence uint64, err error) {
	e := &registry.Event{
		Schema: registry.Schema, ID: string(registry.Operator) + "-" + o.Kind + "-" + rand.Text(),
		Kind: registry.KindOrder, Writer: registry.Operator, Time: time.Now().UTC(), Agent: by, Cause: cause, Order: &o,
	}
	if sequence, err = c.Put(ctx, e, expect); err != nil {
		return 0, fmt.Errorf("order %s of %s: %w", o.Kind, o.Target, err)
	}
	return sequence, nil
}

// LastOrder returns the order that stands for a kind and target, with the sequence
// and the time of its message; found is false when there is none.
func (c *Conn) LastOrder(ctx context.Context, kind, target string) (o registry.Order, m registry.Message, found bool, err error) {
	m, found, err = c.Last(ctx, registry.Fact{Writer: registry.Operator, Kind: registry.KindOrder, Name: kind + "." + target})
	if err != nil || !found {
		return registry.Order{}, m, false, err
	}
	if m.Event == nil || m.Event.Order == nil {
		return registry.Order{}, m, true, fmt.Errorf("the order %s of %s at sequence %d can't be read: %w", kind, target, m.Sequence, m.Refused)
	}
	return *m.Event.Order, m, true, nil
}
