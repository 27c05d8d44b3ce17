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
	factMessages = 10_000           // of one fact's history, the latest
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

// LoadFact returns the messages of one fact that stand before a sequence, in
// order: its whole history, or the last 10,000 of them, or the last 64 MiB. It
// takes a minute at most.
func (c *Conn) LoadFact(ctx context.Context, f registry.Fact, before uint64) ([]registry.Message, error) {
	subject, err := Subject(f)
	if err != nil || before <= 1 {
		return nil, err
	}
	ctx, stop := context.WithTimeout(ctx, loadTimeout)
	defer stop()
	var kept []item
	bytes := 0
	config := tailConfig{stream: EventsStream, filters: []string{subject}, policy: WholeHistory}
	err = c.follow(ctx, config, func(i item) error {
		if i.sequence > 0 && i.sequence < before {
			kept = append(kept, i)
			bytes += len(i.data)
			for len(kept) > factMessages || bytes > factBytes {
				bytes -= len(kept[0].data)
				kept[0] = item{}
				kept = kept[1:]
			}
		}
		if i.atEnd || i.sequence >= before-1 {
			return errLoaded
		}
		return nil
	})
	if !errors.Is(err, errLoaded) {
		return nil, fmt.Errorf("load the history of %s: %w", subject, err)
	}
	all := make([]registry.Message, 0, len(kept))
	for _, i := range kept {
		all = append(all, Decode(i.subject, i.header, i.data, i.sequence, i.stored))
	}
	return all, nil
}

// watchOrders follows what is asked of one target.
func (c *Conn) watchOrders(ctx context.Context, target string, f func(registry.Message)) error {
	config := tailConfig{stream: EventsStream, filters: []string{ordersFor(target)}, policy: onlyNew, restart: true}
	return c.follow(ctx, config, func(i item) error {
		if i.sequence == 0 {
			return nil
		}
		f(Decode(i.subject, i.header, i.data, i.sequence, i.stored))
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
