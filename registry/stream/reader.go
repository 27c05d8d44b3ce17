package stream

import (
	"context"
	"runtime"
	"sync"

	"github.com/seamark-mesh/seamark/registry"
)

// Start says where a read begins.
type Start int

// The beginnings of a read. Wherever it begins, it goes on as the live tail.
const (
	LastPerSubject Start = iota // the last message of each subject, in stream order
	WholeHistory                // everything the stream holds
	FromSequence                // everything from a sequence on
)

// StartAt says what to read. The zero value is the last message of each subject of
// the whole stream, then everything new.
type StartAt struct {
	Policy   Start
	Sequence uint64   // for FromSequence: the first one wanted
	Until    uint64   // when not 0: end with this sequence, or with the stream's end where that comes first
	Filter   []string // subjects, wildcards allowed; none = all
}

// Batch is what came together.
type Batch struct {
	Messages []registry.Message // in stream order; may be none
	CaughtUp bool               // the stream's end is reached; see [Conn.Read]
}

// Read hands on the messages of [EventsStream] in the order of their sequences,
// each once, and goes on with those that are stored later. f is called by one
// goroutine, in batches of what there is: while much is waiting they are large, a
// single new message comes at once. Batch.Messages belongs to f until it returns.
//
// Batch.CaughtUp is true for the first time when what was stored as Read began has
// been handed on (of an empty stream too, with no message), later whenever nothing
// more was waiting. After a loss of the connection, when that was made good.
//
// Read returns nil when Until was reached, ctx's error when that ended, f's error,
// [ErrStreamChanged], jetstream.ErrStreamNotFound when there is no such stream at
// the beginning, or nats.ErrConnectionClosed after [Conn.Close]. All else it mends by
// itself.
func (c *Conn) Read(ctx context.Context, start StartAt, f func(Batch) error) error {
	config := tailConfig{stream: EventsStream, filters: start.Filter, policy: start.Policy, sequence: start.Sequence}
	return c.read(ctx, config, start.Until, f)
}

// Follow is [Conn.Read] of the last message of each fact and everything after it.
// While it goes on, [Conn.Contact] tells what is heard.
func (c *Conn) Follow(ctx context.Context, f func(messages []registry.Message, caughtUp bool) error) error {
	config := tailConfig{stream: EventsStream, policy: LastPerSubject, tells: true}
	return c.read(ctx, config, 0, func(b Batch) error { return f(b.Messages, b.CaughtUp) })
}

const (
	fewMessages   = 8        // decoded at once, without the way to another goroutine
	chunkMessages = 64       // decoded by one goroutine at a time
	chunkBytes    = 1 << 20  // likewise, of bodies as large as they may become; a single one may be larger
	batchMessages = 4096     // handed on together, at most
	batchBytes    = 32 << 20 // likewise, of bodies as they were decoded, and a chunk
)

// chunk is some messages on their way through the decoders.
type chunk struct {
	items   []item
	decoded []registry.Message
	bytes   int // of the bodies, inflated
	atEnd   bool
	done    chan struct{} // closed when decoded is complete
}

// decode turns the items into messages.
func (c *chunk) decode(d *registry.Decoder) {
	c.decoded = make([]registry.Message, 0, len(c.items))
	for _, i := range c.items {
		if i.sequence > 0 {
			m, size := decode(d, i)
			c.decoded = append(c.decoded, m)
			c.bytes += size
		}
		c.atEnd = i.atEnd
	}
	c.items = nil
	close(c.done)
}

// firstChunk tells how many of the items are decoded together: a small message can
// become a large one, and nobody knows before.
func firstChunk(items []item) int {
	size := 0
	for n, i := range items[:min(len(items), chunkMessages)] {
		if size += i.inflated(); n > 0 && size > chunkBytes {
			return n
		}
	}
	return min(len(items), chunkMessages)
}

// read decodes on all cores and keeps the order: chunks go to whichever decoder is
// free, and wait for each other in a second queue.
func (c *Conn) read(ctx context.Context, config tailConfig, until uint64, f func(Batch) error) error {
	outer := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel(nil)
	t := &tail{tailConfig: config, conn: c, queue: newQueue()}
	wg.Go(func() { cancel(t.run(ctx)) })
	decoders := runtime.GOMAXPROCS(0)
	work, inOrder := make(chan *chunk), make(chan *chunk, 2*decoders)
	wg.Go(func() { split(ctx, t.queue, work, inOrder) })
	for range decoders {
		wg.Go(func() {
			d := registry.NewDecoder()
			for {
				select {
				case c := <-work:
					c.decode(d)
				case <-ctx.Done():
					return
				}
			}
		})
	}
	err := handOn(ctx, inOrder, until, f)
	if outer.Err() != nil {
		return context.Cause(outer)
	}
	return err
}

// split cuts what the queue holds into chunks. A few messages are decoded at once,
// without the way to another goroutine.
func split(ctx context.Context, q *queue, work, inOrder chan<- *chunk) {
	d := registry.NewDecoder()
	for {
		items, err := q.take(ctx)
		if err != nil {
			return
		}
		for len(items) > 0 {
			n := firstChunk(items)
			c := &chunk{items: items[:n:n], done: make(chan struct{})}
			items = items[n:]
			if n <= fewMessages && len(items) == 0 {
				c.decode(d)
				if !send(ctx, inOrder, c) {
					return
				}
				continue
			}
			if !send(ctx, inOrder, c) || !send(ctx, work, c) {
				return
			}
		}
	}
}

func send(ctx context.Context, to chan<- *chunk, c *chunk) bool {
	select {
	case to <- c:
		return true
	case <-ctx.Done():
		return false
	}
}

// sequel gives chunks in their order.
type sequel struct {
	in   <-chan *chunk
	held *chunk // received, perhaps not decoded yet
}

// next waits for the next chunk and for its decoding.
func (s *sequel) next(ctx context.Context) (*chunk, error) {
	if s.held == nil {
		select {
		case s.held = <-s.in:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	select {
	case <-s.held.done:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	c := s.held
	s.held = nil
	return c, nil
}

// ready returns the next chunk if it is decoded already, else nil.
func (s *sequel) ready() *chunk {
	if s.held == nil {
		select {
		case s.held = <-s.in:
		default:
			return nil
		}
	}
	select {
	case <-s.held.done:
		c := s.held
		s.held = nil
		return c
	default:
		return nil
	}
}

// handOn calls f with what is decoded, as much at once as there is.
func handOn(ctx context.Context, inOrder <-chan *chunk, until uint64, f func(Batch) error) error {
	s := &sequel{in: inOrder}
	var messages []registry.Message
	for {
		c, err := s.next(ctx)
		if err != nil {
			return err
		}
		clear(messages)
		messages = messages[:0]
		atEnd, size := false, 0
		for ; c != nil; c = s.ready() {
			messages, atEnd = append(messages, c.decoded...), c.atEnd
			if size += c.bytes; len(messages) >= batchMessages || size >= batchBytes {
				break
			}
		}
		batch, last := cut(Batch{Messages: messages, CaughtUp: atEnd}, until)
		if err := f(batch); err != nil {
			return err
		}
		if last {
			return nil
		}
	}
}

// cut ends a batch with the sequence until; last is true when that, or the
// stream's end, is reached.
func cut(b Batch, until uint64) (cut Batch, last bool) {
	if until == 0 {
		return b, false
	}
	for n, m := range b.Messages {
		if m.Sequence >= until {
			if m.Sequence == until {
				n++
			}
			b.Messages = b.Messages[:n]
			return b, true
		}
	}
	return b, b.CaughtUp
}
