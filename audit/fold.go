package audit

import (
	"context"
	"fmt"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
)

// Bounds of looking behind messages that can't be used.
const (
	mostBehind = 10_000 // messages of one fact
	epochsBack = 100    // usable epoch records, because each may name fences that the others do not
)

// folding makes the View of a moment.
type folding struct {
	history History
	fold    *registry.Fold
	to      uint64                   // the moment
	behind  map[registry.Fact]uint64 // facts whose latest message can't be used, and before which message to look
	settled map[registry.Fact]bool   // facts of which a state was applied
}

func newFolding(h History, to uint64) *folding {
	return &folding{history: h, fold: registry.NewFold(), to: to, behind: map[registry.Fact]uint64{}, settled: map[registry.Fact]bool{}}
}

// take applies one message.
func (f *folding) take(m registry.Message) registry.Outcome {
	out := f.fold.Apply(m)
	switch {
	case !shapesView(m.Fact.Kind):
	case out.Result == registry.Quarantined:
		if !f.settled[m.Fact] && out.Reason != registry.ReasonTooMany && out.Reason != registry.ReasonEpoch || m.Fact.Kind == registry.KindEpoch {
			f.behind[m.Fact] = m.Sequence
		}
	default:
		f.settled[m.Fact] = true
		if m.Fact.Kind != registry.KindEpoch {
			delete(f.behind, m.Fact)
		}
	}
	f.voided()
	return out
}

// voided notes what an epoch's record, read late, has made void.
func (f *folding) voided() {
	for _, fact := range f.fold.Voided() {
		delete(f.settled, fact)
		f.behind[fact] = f.to + 1
	}
}

// shapesView reports whether facts of a kind are part of a View.
func shapesView(k registry.Kind) bool { return k != "" && k != registry.KindNote }

// look looks behind every message that could not be used, for the newest that can.
func (f *folding) look(ctx context.Context) error {
	for len(f.behind) > 0 {
		behind := f.behind
		f.behind = map[registry.Fact]uint64{}
		for fact, before := range behind {
			if err := f.lookBehind(ctx, fact, before); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *folding) lookBehind(ctx context.Context, fact registry.Fact, before uint64) error {
	subject, err := stream.Subject(fact)
	if err != nil {
		return nil //nolint:nilerr // nothing else can stand at a subject that nobody can write
	}
	usable := 0
	for range mostBehind {
		m, found, err := lastBefore(ctx, f.history, subject, before)
		if err != nil || !found {
			return err
		}
		before = m.Sequence
		if f.fold.Apply(m).Result != registry.Quarantined {
			usable++
		}
		f.voided()
		if usable == epochsBack || usable > 0 && fact.Kind != registry.KindEpoch {
			f.settled[fact] = true
			delete(f.behind, fact)
			return nil
		}
	}
	return fmt.Errorf("%s: none of the %d messages before #%d can be used, more are not looked at", subject, mostBehind, f.to)
}

// lastBefore reads one message.
func lastBefore(ctx context.Context, h History, subject string, before uint64) (m registry.Message, found bool, err error) {
	s, found, err := storedBefore(ctx, h, subject, before)
	if found {
		m = stream.NewStoredDecoder().Decode(s)
	}
	return m, found, err
}

// storedBefore is lastBefore, not understood.
func storedBefore(ctx context.Context, h History, subject string, before uint64) (s registry.Stored, found bool, err error) {
	for s, err := range h.Latest(ctx, before, subject) {
		return s, err == nil, err
	}
	return s, false, nil
}

// view is the finished View of the moment.
func (f *folding) view() *registry.View {
	f.fold.Synced()
	return f.fold.View()
}
