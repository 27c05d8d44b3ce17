package stream

import (
	"context"
	"iter"
	"runtime"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/seamark-mesh/seamark/registry"
)

// StoredDecoder understands messages of the history. It is [Decode] with a memory for
// what comes again and again. Make one with [NewStoredDecoder]; one goroutine uses it.
type StoredDecoder struct{ decoder *registry.Decoder }

// NewStoredDecoder returns a decoder.
func NewStoredDecoder() *StoredDecoder { return &StoredDecoder{registry.NewDecoder()} }

// Decode never fails: see [Decode]. A message that its reader has refused is decoded as one
// that a connection's [Check] refuses.
func (d *StoredDecoder) Decode(m registry.Stored) registry.Message {
	i := item{subject: m.Subject, header: nats.Header(m.Header), data: m.Body, sequence: m.Sequence, stored: m.Time}
	if m.Refused != nil {
		var refuses Check = func(registry.Stored) error { return m.Refused }
		i.check = &refuses
	}
	decoded, _ := decode(d.decoder, i)
	return decoded
}

// DecodeAll is [OnAllCores] with a [StoredDecoder] for each core.
func DecodeAll(ctx context.Context, read func(context.Context) iter.Seq2[registry.Stored, error]) iter.Seq2[[]registry.Message, error] {
	return OnAllCores(ctx, read, func() func(registry.Stored) registry.Message { return NewStoredDecoder().Decode })
}

// Bounds of what one core works on at a time. As many parts as there are cores are on
// their way, and twice as many wait for who takes them.
const (
	partMessages = 256
	partBytes    = 1 << 20 // of bodies, as stored; a single one may be larger
)

// part is some messages on their way through the cores.
type part[T any] struct {
	stored []registry.Stored
	made   []T
	err    error // the history's; what is made came before it
	done   chan struct{}
}

// OnAllCores yields what is made of each message of a history, in their order, some
// together. It ends after the first error, the history's or ctx's, which comes alone.
// Reading, making and what the caller does go on at the same time: read is called on
// another goroutine, with a context that ends when nobody wants more, and worker once for
// each core. All goroutines have ended when the sequence has.
func OnAllCores[T any](
	ctx context.Context, read func(context.Context) iter.Seq2[registry.Stored, error], worker func() func(registry.Stored) T,
) iter.Seq2[[]T, error] {
	return func(yield func([]T, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		var wg sync.WaitGroup
		defer wg.Wait()
		defer cancel()
		cores := runtime.GOMAXPROCS(0)
		work, inOrder := make(chan *part[T]), make(chan *part[T], 2*cores)
		wg.Go(func() {
			defer close(inOrder)
			defer close(work)
			cutParts(ctx, read(ctx), work, inOrder)
		})
		for range cores {
			wg.Go(func() {
				of := worker()
				for p := range work {
					p.finish(of)
				}
			})
		}
		for p := range inOrder {
			select {
			case <-p.done:
			case <-ctx.Done():
				yield(nil, context.Cause(ctx))
				return
			}
			if len(p.made) > 0 && !yield(p.made, nil) {
				return
			}
			if p.err != nil {
				yield(nil, p.err)
				return
			}
		}
		if ctx.Err() != nil {
			yield(nil, context.Cause(ctx))
		}
	}
}

func (p *part[T]) finish(of func(registry.Stored) T) {
	p.made = make([]T, len(p.stored))
	for n, m := range p.stored {
		p.made[n] = of(m)
	}
	p.stored = nil // it may be let go
	close(p.done)
}

// cutParts cuts what is read into parts.
func cutParts[T any](ctx context.Context, messages iter.Seq2[registry.Stored, error], work, inOrder chan<- *part[T]) {
	next, bytes := &part[T]{done: make(chan struct{})}, 0
	send := func() bool {
		p := next
		next, bytes = &part[T]{done: make(chan struct{})}, 0
		for _, to := range []chan<- *part[T]{inOrder, work} {
			select {
			case to <- p:
			case <-ctx.Done():
				return false
			}
		}
		return true
	}
	for m, err := range messages {
		if err != nil {
			next.err = err
			break
		}
		next.stored = append(next.stored, m)
		bytes += len(m.Body)
		if (len(next.stored) == partMessages || bytes >= partBytes) && !send() {
			return
		}
	}
	send()
}
