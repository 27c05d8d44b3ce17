package audit

import (
	"context"
	"fmt"
	"iter"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
)

// Step is one message of the history, and what it did.
type Step struct {
	Entry Entry
	View  *registry.View // the registry after it; the same as after the one before when it changed nothing
}

// Live yields what came after the moment of a View, as [At] gives it, and up to another
// one: every message in the order of the stream, with the registry after it. What of two
// Views differs that follow each other [registry.View.Delta] tells. What the fold could
// not use, for whatever reason, is told as [Unreadable]. It ends after the first error. A
// history with a hole in between can't tell what became of the registry: a [*TooEarlyError].
func Live(ctx context.Context, h History, from *registry.View, to Moment) iter.Seq2[Step, error] {
	return func(yield func(Step, error) bool) {
		if err := live(ctx, h, from, to, func(s Step) bool { return yield(s, nil) }); err != nil {
			yield(Step{}, err)
		}
	}
}

// decoded is a message, as it was stored and what it means.
type decoded struct {
	stored  registry.Stored
	message registry.Message
}

func live(ctx context.Context, h History, from *registry.View, to Moment, yield func(Step) bool) error {
	t := newTeller(nil) // the fold judges
	facts := from.Facts()
	for _, m := range facts[:min(len(facts), rememberedStates)] {
		t.before[m.Fact] = m.Event
	}
	fold := registry.Restore(facts, from.Sequence())
	fold.Synced()
	view := fold.View()
	read := func(ctx context.Context) iter.Seq2[registry.Stored, error] {
		return h.Read(ctx, Range{From: from.Sequence() + 1, To: to.Sequence})
	}
	messages := each(stream.OnAllCores(ctx, read, func() func(registry.Stored) decoded {
		d := stream.NewStoredDecoder()
		return func(s registry.Stored) decoded { return decoded{s, d.Decode(s)} }
	}))
	for d, err := range messages {
		if err != nil {
			return err
		}
		m := d.message
		switch out := fold.Apply(m); out.Result {
		case registry.Applied:
			view = fold.View()
		case registry.Quarantined:
			m.Refused = refusalOf(m, out)
		}
		if !yield(Step{Entry: t.told(d.stored, m), View: view}) {
			return nil
		}
	}
	span, err := h.Span(ctx) // now: damage shows when it is read
	if err != nil {
		return err
	}
	for _, hole := range span.Holes {
		if hole[0] <= to.Sequence && hole[1] > from.Sequence() {
			return &TooEarlyError{Asked: When{Sequence: from.Sequence()}.String(), Reason: fmt.Sprintf("the history has a hole from #%d to #%d", hole[0], hole[1])}
		}
	}
	return nil
}
