package audit

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
)

// OfStream is the history as the mesh's stream holds it, for as long as the connection
// stands. Reading needs the permissions that [stream.History] names, and no more.
func OfStream(c *stream.Conn) History { return ofStream{c.History()} }

type ofStream struct{ history *stream.History }

// Span implements [History].
func (s ofStream) Span(ctx context.Context) (Span, error) {
	span, err := s.history.Span(ctx)
	if err != nil {
		return Span{}, err
	}
	return Span{First: span.First, Last: span.Last, Begin: span.Begin, End: span.End, Began: span.Began, Retention: &span.Retention}, nil
}

// SequenceAt implements [History].
func (s ofStream) SequenceAt(ctx context.Context, t time.Time) (uint64, error) {
	return s.history.SequenceAt(ctx, t)
}

// Read implements [History].
func (s ofStream) Read(ctx context.Context, r Range) iter.Seq2[registry.Stored, error] {
	return pushed(func(f func(registry.Stored) error) error {
		return s.history.Read(ctx, stream.HistoryRange{From: r.From, To: r.To, Filter: r.Filter, Follow: r.Follow}, f)
	})
}

// Latest implements [History].
func (s ofStream) Latest(ctx context.Context, before uint64, filters ...string) iter.Seq2[registry.Stored, error] {
	return pushed(func(f func(registry.Stored) error) error { return s.history.Latest(ctx, before, filters, f) })
}

// errStop says that nobody wants more.
var errStop = errors.New("nobody wants more")

// pushed makes a sequence of what calls back.
func pushed(read func(func(registry.Stored) error) error) iter.Seq2[registry.Stored, error] {
	return func(yield func(registry.Stored, error) bool) {
		err := read(func(m registry.Stored) error {
			if !yield(m, nil) {
				return errStop
			}
			return nil
		})
		if err != nil && !errors.Is(err, errStop) {
			yield(registry.Stored{}, err)
		}
	}
}
