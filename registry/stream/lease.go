package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seamark-mesh/seamark/registry"
)

// ReadLease returns the writer's lease as it stands in [LeaseStream]. Age is by
// the clock of the server that stored it. A lease that can't be understood is
// found, with Refused set.
func (w *Writer) ReadLease(ctx context.Context) (registry.LeaseAt, error) {
	m, found, err := w.conn.lastOn(ctx, LeaseStream, LeaseSubject(w.writer))
	if err != nil || !found {
		return registry.LeaseAt{}, err
	}
	info, err := w.conn.streamInfo(ctx, LeaseStream)
	if err != nil {
		return registry.LeaseAt{}, err
	}
	at := registry.LeaseAt{Found: true, Sequence: m.sequence, Age: max(info.TimeStamp.Sub(m.stored), 0)}
	at.Lease, at.Refused = decodeLease(m.subject, m.data)
	return at, nil
}

// PutLease replaces the lease whose message has the sequence expect (0: none
// stands) and returns the new one's sequence. What this same Writer wrote last
// without hearing of it does not count as another's: it is replaced too.
// [registry.ErrConflict] says that somebody else wrote; any other error leaves
// open whether the lease is written.
func (w *Writer) PutLease(ctx context.Context, l registry.Lease, expect uint64) (sequence uint64, err error) {
	body, err := registry.EncodeLease(l)
	if err != nil {
		return 0, fmt.Errorf("encode the lease of %s: %w", w.writer, err)
	}
	subject := LeaseSubject(w.writer)
	for range 2 {
		m := &nats.Msg{Subject: subject, Data: body, Header: nats.Header{
			headerHolder: {w.holder}, headerContentType: {contentJSON},
		}}
		expectLast(m, expect, "")
		a, err := w.conn.publish(ctx, LeaseStream, m)
		if err == nil {
			return a.Sequence, nil
		}
		last, verdict := w.conn.conflict(ctx, LeaseStream, subject, expect, err)
		if !errors.Is(verdict, registry.ErrConflict) || last.header.Get(headerHolder) != w.holder {
			return 0, verdict
		}
		expect = last.sequence
	}
	return 0, fmt.Errorf("the lease of %s moves while it is written", w.writer)
}

// conflict finds out what a failed compare-and-set means: [registry.ErrConflict]
// with the message that stands there instead of expect (empty when there is none),
// or the error as it is.
func (c *Conn) conflict(ctx context.Context, stream, subject string, expect uint64, err error) (storedMessage, error) {
	var last storedMessage
	var readErr error
	switch code(err) {
	case codeWrongLast:
		last, _, readErr = c.lastOnAtLeast(ctx, stream, subject, lastNamed(err))
	case codeInFlight:
		last, _, readErr = c.lastOn(ctx, stream, subject)
		if readErr == nil && last.sequence <= expect { // the other one is not stored, or not shown, yet
			return last, err
		}
	default:
		return last, err
	}
	if readErr != nil {
		return last, errors.Join(err, readErr)
	}
	return last, fmt.Errorf("%w (%s: expected sequence %d, found %d)", registry.ErrConflict, subject, expect, last.sequence)
}

// decodeLease holds a lease to its subject.
func decodeLease(subject string, data []byte) (registry.Lease, error) {
	writer, ok := parseLeaseSubject(subject)
	if !ok {
		return registry.Lease{}, refuse("subject", fmt.Sprintf("%q is no lease's subject", clip(subject)))
	}
	l, err := registry.DecodeLease(data)
	if err != nil {
		return registry.Lease{}, err
	}
	if l.Writer != writer {
		return registry.Lease{}, refuse("foreign", fmt.Sprintf("the subject says %s, the lease %s", writer, clip(string(l.Writer))))
	}
	return l, nil
}

// WatchLeases calls f for the lease of every writer as it stands, then for each new
// one, until ctx ends; it then returns ctx's error. Stored is by the server's clock,
// received by this process's (with its monotonic part). Calls do not overlap. A
// lease that can't be understood is passed over, and said once in the log.
func (c *Conn) WatchLeases(ctx context.Context, f func(l registry.Lease, stored, received time.Time)) error {
	said := map[string]bool{}
	return c.follow(ctx, tailConfig{stream: LeaseStream, filters: []string{root + "*.lease"}, policy: LastPerSubject, restart: true}, func(i item) error {
		if i.sequence == 0 {
			return nil
		}
		l, err := decodeLease(i.subject, i.data)
		if err == nil {
			f(l, i.stored, i.received)
			return nil
		}
		if !said[i.subject] && len(said) < 1000 {
			said[i.subject] = true
			c.log.Warn("a lease can't be understood", "subject", clip(i.subject), "err", err)
		}
		return nil
	})
}
