package stream

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seamark-mesh/seamark/registry"
)

// AnySequence tells [Conn.Put] to store whatever stands there.
const AnySequence = ^uint64(0)

// Now returns the clock of the server that leads [EventsStream].
func (c *Conn) Now(ctx context.Context) (time.Time, error) {
	info, err := c.streamInfo(ctx, EventsStream)
	if err != nil {
		return time.Time{}, err
	}
	return info.TimeStamp, nil
}

// Put stores an event that carries no fence (the operator's, an epoch record) if
// the last message of its subject has the sequence expect (0: there is none), and
// returns its own. The same event given again after an error returns the sequence
// it was stored with. [registry.ErrConflict] says that another message stands there.
func (c *Conn) Put(ctx context.Context, e *registry.Event, expect uint64) (sequence uint64, err error) {
	m, _, err := encodeEvent(e, c.nats.MaxPayload())
	if err != nil {
		return 0, err
	}
	if _, err := c.seal(m, Link{}, nil); err != nil { // many write as the operator: no message follows another
		return 0, err
	}
	return c.put(ctx, m, expect)
}

// put is Put of a message.
func (c *Conn) put(ctx context.Context, m *nats.Msg, expect uint64) (sequence uint64, err error) {
	if expect != AnySequence {
		expectLast(m, expect, "")
	}
	a, err := c.publish(ctx, EventsStream, m)
	if err == nil {
		return a.Sequence, nil
	}
	last, verdict := c.conflict(ctx, EventsStream, m.Subject, expect, err)
	if errors.Is(verdict, registry.ErrConflict) && last.header.Get(nats.MsgIdHdr) == m.Header.Get(nats.MsgIdHdr) {
		return last.sequence, nil // an earlier try was stored, its acknowledgement lost
	}
	return 0, verdict
}

// Last returns the last message of a fact. On a replicated stream it may be the one
// before, when the replica that answers lags.
func (c *Conn) Last(ctx context.Context, f registry.Fact) (m registry.Message, found bool, err error) {
	subject, err := Subject(f)
	if err != nil {
		return m, false, err
	}
	last, found, err := c.lastOn(ctx, EventsStream, subject)
	if err != nil || !found {
		return m, false, err
	}
	return c.decode(last), true, nil
}

// OrderResync asks the agent of a cluster to compare all it has published with its
// registry. The order is an event like any other, and says who asked.
func (c *Conn) OrderResync(ctx context.Context, cluster registry.ClusterID, reason string) error {
	o := registry.Order{Kind: registry.OrderResync, Target: string(cluster), By: c.name, Reason: reason}
	if _, err := c.PutOrder(ctx, o, c.name, registry.CauseChange, AnySequence); err != nil {
		return err
	}
	return nil
}
