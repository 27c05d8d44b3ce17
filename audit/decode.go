package audit

import (
	"context"
	"iter"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
)

// decode yields what the messages of a history mean, in their order; see [stream.DecodeAll].
func decode(ctx context.Context, read func(context.Context) iter.Seq2[registry.Stored, error]) iter.Seq2[registry.Message, error] {
	return each(stream.DecodeAll(ctx, read))
}
