package replay

import (
	"context"
	"errors"
	"iter"
	"runtime"
	"sync"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
)

// Bounds of what is decoded together by one goroutine. As many as there are cores are
// on their way, and twice as many wait to be applied.
const (
	chunkMessages = 256
	chunkBytes    = 1 << 20 // of bodies, as stored; a single one may be larger
)

// chunk is some messages on their way through the decoders.
type chunk struct {
	stored  []registry.Stored
	decoded []registry.Message
	err     error // the history's; what is decoded came before it
	done    chan struct{}
}

func (c *chunk) decode(d *stream.StoredDecoder) {
	c.decoded = make([]registry.Message, len(c.stored))
	for n, s := range c.stored {
		c.decoded[n] = d.Decode(s)
	}
	c.stored = nil
	close(c.done)
}

// errNoMore ends the reading when nobody wants more.
var errNoMore = errors.New("no more is wanted")

// decoded decodes messages on all cores and keeps their order. It ends after the first
// error, which comes alone. Whoever stops early waits until all goroutines have ended.
func decoded(ctx context.Context, all iter.Seq2[registry.Stored, error]) iter.Seq2[[]registry.Message, error] {
	return func(yield func([]registry.Message, error) bool) {
		ctx, cancel := context.WithCancelCause(ctx)
		var wg sync.WaitGroup
		defer wg.Wait()
		defer cancel(errNoMore)
		decoders := runtime.GOMAXPROCS(0)
		work, inOrder := make(chan *chunk), make(chan *chunk, 2*decoders)
		wg.Go(func() {
			defer close(inOrder)
			defer close(work)
			gather(ctx, all, work, inOrder)
		})
		for range decoders {
			wg.Go(func() {
				d := stream.NewStoredDecoder()
				for c := range work {
					c.decode(d)
				}
			})
		}
		for c := range inOrder {
			select {
			case <-c.done:
			case <-ctx.Done():
				yield(nil, context.Cause(ctx))
				return
			}
			if len(c.decoded) > 0 && !yield(c.decoded, nil) {
				return
			}
			if c.err != nil {
				yield(nil, c.err)
				return
			}
		}
		if ctx.Err() != nil {
			yield(nil, context.Cause(ctx))
		}
	}
}

// gather cuts the history into chunks.
func gather(ctx context.Context, all iter.Seq2[registry.Stored, error], work, inOrder chan<- *chunk) {
	next, size := &chunk{done: make(chan struct{})}, 0
	send := func() bool {
		c := next
		next, size = &chunk{done: make(chan struct{})}, 0
		for _, to := range []chan<- *chunk{inOrder, work} {
			select {
			case to <- c:
			case <-ctx.Done():
				return false
			}
		}
		return true
	}
	for s, err := range all {
		if err != nil {
			next.err = err
			break
		}
		next.stored = append(next.stored, s)
		size += len(s.Body)
		if (len(next.stored) >= chunkMessages || size >= chunkBytes) && !send() {
			return
		}
	}
	send()
}
