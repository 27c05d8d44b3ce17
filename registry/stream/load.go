package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

const (
	loadTimeout  = 60 * time.Second // for reading many messages
	factMessages = 10_000           // of one fact's history that are looked at
	factBytes    = 64 << 20         // likewise, as stored
)

// errLoaded ends a read that has all it wanted.
var errLoaded = errors.New("loaded")

// LoadWriter returns the last message of each fact of one writer in
// [EventsStream], in stream order: all of them or an error. It takes a minute at most.
func (c *Conn) LoadWriter(ctx context.Context, w registry.Writer) ([]registry.Message, error) {
	return c.loadTree(ctx, w, 0)
}

// loadTree is LoadWriter; what it returns reaches at least to a sequence that is
// known to be stored, so that no replica that lags can leave something out.
func (c *Conn) loadTree(ctx context.Context, w registry.Writer, atLeast uint64) ([]registry.Message, error) {
	ctx, stop := context.WithTimeout(ctx, loadTimeout)
	defer stop()
	var all []registry.Message
	config := tailConfig{stream: EventsStream, filters: []string{treeOf(w)}, policy: LastPerSubject, atLeast: atLeast}
	err := c.read(ctx, config, 0, func(b Batch) error {
		all = append(all, b.Messages...)
		if b.CaughtUp {
			return errLoaded
		}
		return nil
	})
	if !errors.Is(err, errLoaded) {
		return nil, fmt.Errorf("load all of %s: %w", w, err)
	}
	return lastOfEach(all), nil
}

// lastOfEach drops messages that a later one of the same subject follows: new ones
// may come while the old are being read.
func lastOfEach(messages []registry.Message) []registry.Message {
	last := make(map[registry.Fact]uint64, len(messages))
	for _, m := range messages {
		last[m.Fact] = m.Sequence
	}
	if len(last) == len(messages) {
		return messages
	}
	kept := messages[:0]
	for _, m := range messages {
		if last[m.Fact] == m.Sequence {
			kept = append(kept, m)
		}
	}
	return kept
}

// LoadFact searches the history of one fact, from the message that stands next before
// a sequence backwards, for the newest that can be read, and returns it; none when
// there is none. Of an epoch's record it returns the latest 100 that can be read, in
// order, because each may name fences that the others do not.
//
// It gives up (with none) when it has looked at some 10,000 messages, and takes a
// minute at most.
func (c *Conn) LoadFact(ctx context.Context, f registry.Fact, before uint64) ([]registry.Message, error) {
	subject, err := Subject(f)
	if err != nil || before <= 1 {
		return nil, err
	}
	ctx, stop := context.WithTimeout(ctx, loadTimeout)
	defer stop()
	if f.Kind == registry.KindEpoch {
		s := &search{subject: subject, before: before, keep: epochsKept}
		_, err := s.window(ctx, c, 1)
		return s.usable, err
	}
	for range nearby {
		m, found, err := c.lastBefore(ctx, subject, before, root+string(f.Writer)+".epoch", root+string(registry.Operator)+".zone")
		if err != nil || !found {
			return nil, err
		}
		if decoded := c.decode(m); decoded.Refused == nil {
			return []registry.Message{decoded}, nil
		}
		if before = m.sequence; before <= 1 {
			return nil, nil
		}
	}
	s := &search{subject: subject, before: before, keep: 1}
	for step := uint64(firstWindow); s.before > 1; step *= 4 {
		from := s.before - min(step, s.before-1)
		if enough, err := s.window(ctx, c, from); enough || err != nil {
			return s.usable, err
		}
		s.before = from
	}
	return nil, nil
}

const (
	nearby         = 4   // messages that are asked for one by one
	firstWindow    = 500 // sequences that are read together after that; each next window is four times as large
	windowMessages = 256 // at once
	windowBytes    = 4 << 20
	epochsKept     = 100
)

// search looks for what can be read in windows of a subject's history. It holds one
// body at a time.
type search struct {
	subject string
	before  uint64 // the first sequence after the window
	keep    int    // of the messages that can be read, so many, the latest
	usable  []registry.Message
	looked  int // messages
	bytes   int // of theirs, as stored
}

// window reads from a sequence on. Enough: the search is over.
func (s *search) window(ctx context.Context, c *Conn, from uint64) (enough bool, err error) {
	for next := from; next < s.before; {
		last := uint64(0)
		q := directQuery{Next: s.subject, From: next, Batch: windowMessages, MaxBytes: windowBytes}
		_, err := c.directGetMany(ctx, q, func(m storedMessage) {
			if last = m.sequence; last < s.before {
				s.take(c, m)
			}
		})
		if err != nil {
			return true, fmt.Errorf("load the history of %s: %w", s.subject, err)
		}
		if last < next {
			break // there is none from here on
		}
		if s.exhausted() {
			return true, nil
		}
		next = last + 1
	}
	return len(s.usable) > 0, nil
}

func (s *search) take(c *Conn, m storedMessage) {
	s.looked++
	s.bytes += len(m.data)
	if decoded := c.decode(m); decoded.Refused == nil {
		s.usable = append(s.usable[max(0, len(s.usable)-s.keep+1):], decoded)
	}
}

func (s *search) exhausted() bool { return s.looked >= factMessages || s.bytes >= factBytes }

// watchOrders follows what is asked of one target, from the last order of each kind on.
// That what stood was told it says by the zero message, once.
func (c *Conn) watchOrders(ctx context.Context, target string, f func(registry.Message)) error {
	config := tailConfig{stream: EventsStream, filters: []string{ordersFor(target)}, policy: LastPerSubject, restart: true}
	told := false
	return c.follow(ctx, config, func(i item) error {
		if i.sequence > 0 {
			m, _ := decode(&registry.Decoder{}, i)
			f(m)
		}
		if i.atEnd && !told { // the last of them may say so itself
			told = true
			f(registry.Message{})
		}
		return nil
	})
}

// follow calls f for one item after another (those without a message say only that
// the end is reached), on the caller's goroutine. It is
// for few and small messages.
func (c *Conn) follow(ctx context.Context, config tailConfig, f func(item) error) error {
	outer := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	t := &tail{tailConfig: config, conn: c, queue: newQueue()}
	done := make(chan struct{})
	go func() {
		defer close(done)
		cancel(t.run(ctx))
	}()
	defer func() {
		cancel(nil)
		<-done
	}()
	for {
		items, err := t.queue.take(ctx)
		if outer.Err() != nil {
			return context.Cause(outer)
		}
		if err != nil {
			return err
		}
		for _, i := range items {
			if err := f(i); err != nil {
				return err
			}
		}
	}
}
