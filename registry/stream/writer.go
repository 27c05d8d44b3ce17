package stream

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seamark-mesh/seamark/registry"
)

// Above these counts an atomic batch is faster than single messages one after
// another (measured: a batch costs some 2.5 ms on one replica, next to nothing on three).
const (
	batchAboveSingle     = 40
	batchAboveReplicated = 2
)

// Writer is one writer's end of the streams: a cluster's agent, or the observer.
// Its methods may be called by several goroutines; Publish by one at a time, so
// that one message is in flight.
type Writer struct {
	conn   *Conn
	writer registry.Writer
	holder string        // names this Writer in the leases it writes
	stored atomic.Uint64 // the highest sequence that was acknowledged to it
	last   atomic.Pointer[receipt]
	chain  binding
}

// receipt is the last message that was acknowledged.
type receipt struct {
	subject  string
	id       string
	sequence uint64
}

// Writer returns the end of the streams for w.
func (c *Conn) Writer(w registry.Writer) *Writer {
	return &Writer{conn: c, writer: w, holder: rand.Text()}
}

// Now returns the clock of the server that leads [EventsStream].
func (w *Writer) Now(ctx context.Context) (time.Time, error) { return w.conn.Now(ctx) }

// Last returns the last message of a fact; see [Conn.Last].
func (w *Writer) Last(ctx context.Context, f registry.Fact) (registry.Message, bool, error) {
	return w.conn.Last(ctx, f)
}

// Load returns the last message of each fact of this writer in [EventsStream], in
// stream order: all of them, and none older than what was acknowledged to this
// Writer before, or an error.
func (w *Writer) Load(ctx context.Context) ([]registry.Message, error) {
	all, err := w.conn.loadTree(ctx, w.writer, w.stored.Load())
	if err == nil {
		w.remember(all)
	}
	return all, err
}

// PutEpoch stores an epoch's record if the last one has the sequence expect (0:
// there is none), and returns its sequence, which is the fence from then on. The
// same event given again after an error returns the sequence it was stored with.
// [registry.ErrConflict] says that another record stands there.
func (w *Writer) PutEpoch(ctx context.Context, e *registry.Event, expect uint64) (sequence uint64, err error) {
	if err := w.owns(e); err != nil || e.Kind != registry.KindEpoch {
		return 0, fmt.Errorf("event %s is no epoch record of %s", clip(e.ID), w.writer)
	}
	m, _, err := encodeEvent(e, w.conn.nats.MaxPayload())
	if err != nil {
		return 0, err
	}
	if err := w.bindEpoch(ctx, e, m, expect); err != nil {
		return 0, err
	}
	if sequence, err = w.conn.put(ctx, m, expect); err == nil {
		// Not the highest ever: a stream that was made anew counts from the beginning.
		w.stored.Store(sequence)
		w.last.Store(&receipt{subject: m.Subject, id: e.ID, sequence: sequence})
	}
	return sequence, err
}

// Stands reports whether the last message that was acknowledged to this Writer still
// stands where it was stored, or has aged out; true when there was none. False may also
// be the word of a replica that lags: two looks, some time apart, should agree. When
// they do the stream has lost what it had acknowledged.
func (w *Writer) Stands(ctx context.Context) (bool, error) {
	known := w.last.Load()
	if known == nil {
		return true, nil
	}
	m, _, err := w.conn.lastOn(ctx, EventsStream, known.subject)
	if err != nil || m.sequence > known.sequence { // a later one is another writer's, and no loss
		return err == nil, err
	}
	if m.sequence == known.sequence {
		return m.header.Get(nats.MsgIdHdr) == known.id, nil
	}
	state, err := w.conn.State(ctx)
	if err != nil {
		return false, err
	}
	return state.First > known.sequence && known.sequence >= state.Began && state.Last >= known.sequence, nil
}

// Publish stores events in their order, each only if the writer's last epoch
// record has the sequence fence. It returns nil as the error when all are stored;
// until then give it the identical events again: what was stored before is not
// stored twice. [registry.ErrFenced] is final: another epoch has begun (what was
// sent before that may be stored). Any other error leaves open what is stored.
//
// Stored is nil, or has for each event that did not fit the server's max payload
// the event as it was stored, its instances cut, and nil for the others. Any
// number of events may be given; some 200 at a time is best.
func (w *Writer) Publish(ctx context.Context, events []*registry.Event, fence uint64) (stored []*registry.Event, err error) {
	if fence == 0 {
		return nil, fmt.Errorf("publish for %s: no epoch record was stored", w.writer)
	}
	epoch, err := Subject(registry.Fact{Writer: w.writer, Kind: registry.KindEpoch})
	if err != nil {
		return nil, err
	}
	limit := w.conn.nats.MaxPayload()
	messages := make([]*nats.Msg, len(events))
	for n, e := range events {
		if err := w.owns(e); err != nil {
			return nil, err
		}
		m, as, err := encodeEvent(e, limit)
		if err != nil {
			return nil, err
		}
		if as != e {
			if stored == nil {
				stored = make([]*registry.Event, len(events))
			}
			stored[n] = as
		}
		messages[n] = m
	}
	if err := w.bind(ctx, events, messages, fence); err != nil {
		return nil, err
	}
	if err := w.send(ctx, messages, epoch, fence); err != nil {
		return nil, w.fenced(ctx, err, epoch, fence)
	}
	return stored, nil
}

func (w *Writer) owns(e *registry.Event) error {
	if e.Writer != w.writer {
		return fmt.Errorf("event %s belongs to %s, not to %s", clip(e.ID), clip(string(e.Writer)), w.writer)
	}
	return nil
}

// send chooses between batches and single messages.
func (w *Writer) send(ctx context.Context, messages []*nats.Msg, epoch string, fence uint64) error {
	if len(messages) > 2 {
		above, err := w.conn.batchAbove(ctx)
		if err != nil {
			return err
		}
		if len(messages) > above {
			return w.sendBatches(ctx, messages, epoch, fence)
		}
	}
	return w.sendSingly(ctx, messages, epoch, fence)
}

func (w *Writer) sendSingly(ctx context.Context, messages []*nats.Msg, epoch string, fence uint64) error {
	for _, m := range messages {
		expectLast(m, fence, epoch)
		a, err := w.conn.publish(ctx, EventsStream, m)
		if err != nil {
			return err
		}
		w.acknowledged(m, a.Sequence)
	}
	return nil
}

// sendBatches falls back to single messages when some are stored already (a resend
// whose first acknowledgement was lost): those are acknowledged as duplicates. So
// it does where the stream takes no batches.
func (w *Writer) sendBatches(ctx context.Context, messages []*nats.Msg, epoch string, fence uint64) error {
	for some := range slices.Chunk(messages, largestBatch) {
		expectLast(some[0], fence, epoch)
		a, err := w.conn.publishBatch(ctx, EventsStream, some)
		if err == nil {
			w.acknowledged(some[len(some)-1], a.Sequence)
		}
		if c := code(err); c == codeBatchHasID || c == codeNoBatches {
			err = w.sendSingly(ctx, some, epoch, fence)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// fenced translates the server's refusal. Another message in flight (codeInFlight)
// proves nothing: only an epoch record after ours does.
func (w *Writer) fenced(ctx context.Context, err error, epoch string, fence uint64) error {
	switch code(err) {
	case codeWrongLast:
		return fmt.Errorf("%w (epoch record at %d: %w)", registry.ErrFenced, fence, err)
	case codeInFlight:
		if last, found, readErr := w.conn.lastOn(ctx, EventsStream, epoch); readErr == nil && found && last.sequence > fence {
			return fmt.Errorf("%w (epoch record at %d, now %d)", registry.ErrFenced, fence, last.sequence)
		}
	}
	return err
}

func (w *Writer) acknowledged(m *nats.Msg, sequence uint64) {
	w.last.Store(&receipt{subject: m.Subject, id: m.Header.Get(nats.MsgIdHdr), sequence: sequence})
	for {
		known := w.stored.Load()
		if sequence <= known || w.stored.CompareAndSwap(known, sequence) {
			return
		}
	}
}

// WatchOrders calls f for the last order of each kind to this writer's cluster, as it
// stands, and for every one that is stored later, until ctx ends; it then returns
// ctx's error. Once all that stood was told, even if nothing did, it calls f a single
// time with the zero Message. Calls do not overlap. An order that can't be read is given
// with Refused set.
func (w *Writer) WatchOrders(ctx context.Context, f func(registry.Message)) error {
	return w.conn.watchOrders(ctx, string(w.writer), f)
}

// batchAbove returns the count of messages above which a batch is faster.
func (c *Conn) batchAbove(ctx context.Context) (int, error) {
	c.mu.Lock()
	replicas := c.replicas[EventsStream]
	c.mu.Unlock()
	if replicas == 0 {
		info, err := c.streamInfo(ctx, EventsStream)
		if err != nil {
			return 0, err
		}
		replicas = info.Config.Replicas
		c.mu.Lock()
		c.replicas[EventsStream] = replicas
		c.mu.Unlock()
	}
	if replicas > 1 {
		return batchAboveReplicated, nil
	}
	return batchAboveSingle, nil
}
