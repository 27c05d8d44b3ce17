package audit

import (
	"context"
	"iter"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
)

// Checked returns the same history, in which every message that check has an error for is
// refused ([registry.Stored.Refused]). So questions are answered as a server answers that
// refuses the same messages (verify.policy: refuse): the last good one stands.
func Checked(h History, check stream.Check) History { return &checked{h, check} }

type checked struct {
	History
	check stream.Check
}

// Read implements [History].
func (c *checked) Read(ctx context.Context, r Range) iter.Seq2[registry.Stored, error] {
	read := func(ctx context.Context) iter.Seq2[registry.Stored, error] { return c.History.Read(ctx, r) }
	if !r.Follow {
		return c.onAllCores(ctx, read)
	}
	return func(yield func(registry.Stored, error) bool) { // what comes is not to wait for more
		for m, err := range read(ctx) {
			if err == nil {
				m = c.judge(m)
			}
			if !yield(m, err) {
				return
			}
		}
	}
}

// Latest implements [History].
func (c *checked) Latest(ctx context.Context, before uint64, filters ...string) iter.Seq2[registry.Stored, error] {
	return c.onAllCores(ctx, func(ctx context.Context) iter.Seq2[registry.Stored, error] {
		return c.History.Latest(ctx, before, filters...)
	})
}

func (c *checked) judge(m registry.Stored) registry.Stored {
	if m.Refused == nil {
		m.Refused = c.check(m)
	}
	return m
}

func (c *checked) onAllCores(ctx context.Context, read func(context.Context) iter.Seq2[registry.Stored, error]) iter.Seq2[registry.Stored, error] {
	return each(stream.OnAllCores(ctx, read, func() func(registry.Stored) registry.Stored { return c.judge }))
}

// each yields one after another what comes in parts.
func each[T any](parts iter.Seq2[[]T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for part, err := range parts {
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, one := range part {
				if !yield(one, nil) {
					return
				}
			}
		}
	}
}
