package audit

import (
	"context"
	"iter"
	"runtime"
	"sync"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
)

const (
	partMessages = 128     // that are decoded together …
	partBytes    = 1 << 20 // … or as many as have so many bytes
)

// part is some messages on their way through the decoders.
type part struct {
	stored  []registry.Stored
	decoded []registry.Message
	done    chan struct{} // closed when decoded is complete
}

// decode yields what the messages of a history mean, in their order. Reading, decoding
// (on all cores) and what the caller does go on at the same time.
func decode(ctx context.Context, read func(context.Context) iter.Seq2[registry.Stored, error]) iter.Seq2[registry.Message, error] {
	return func(yield func(registry.Message, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		var wg sync.WaitGroup
		defer wg.Wait()
		defer cancel()
		decoders := runtime.GOMAXPROCS(0)
		work, inOrder := make(chan *part), make(chan *part, 4*decoders)
		var failed error // set before inOrder is closed
		wg.Go(func() {
			defer close(inOrder)
			failed = split(ctx, read(ctx), work, inOrder)
		})
		for range decoders {
			wg.Go(func() { decodeParts(ctx, work) })
		}
		for p := range inOrder {
			select {
			case <-p.done:
			case <-ctx.Done():
				yield(registry.Message{}, context.Cause(ctx))
				return
			}
			for _, m := range p.decoded {
				if !yield(m, nil) {
					return
				}
			}
		}
		if failed != nil {
			yield(registry.Message{}, failed)
		}
	}
}

// split cuts what is read into parts.
func split(ctx context.Context, messages iter.Seq2[registry.Stored, error], work, inOrder chan<- *part) error {
	var held []registry.Stored
	bytes := 0
	send := func() error {
		if len(held) == 0 {
			return nil
		}
		p := &part{stored: held, done: make(chan struct{})}
		held, bytes = nil, 0
		for _, to := range []chan<- *part{inOrder, work} {
			select {
			case to <- p:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		return nil
	}
	for m, err := range messages {
		if err != nil {
			return err
		}
		if held == nil {
			held = make([]registry.Stored, 0, partMessages)
		}
		held = append(held, m)
		if bytes += len(m.Body); len(held) == partMessages || bytes >= partBytes {
			if err := send(); err != nil {
				return err
			}
		}
	}
	return send()
}

func decodeParts(ctx context.Context, work <-chan *part) {
	d := stream.NewStoredDecoder()
	for {
		select {
		case p := <-work:
			p.decoded = make([]registry.Message, len(p.stored))
			for n, m := range p.stored {
				p.decoded[n] = d.Decode(m)
			}
			p.stored = nil
			close(p.done)
		case <-ctx.Done():
			return
		}
	}
}
