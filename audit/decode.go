package audit

import (
	"context"
	"iter"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
)

// decode yields what the messages of a history mean, in their order; see [stream.DecodeAll].
func decode(ctx context.Context, read func(context.Context) iter.Seq2[registry.Stored, error]) iter.Seq2[registry.Message, error] {
	return func(yield func(registry.Message, error) bool) {
		for decoded, err := range stream.DecodeAll(ctx, read) {
			if err != nil {
				yield(registry.Message{}, err)
				return
			}
			for _, m := range decoded {
				if !yield(m, nil) {
					return
				}
			}
		}
	}
}
