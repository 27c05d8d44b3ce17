package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

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
	settled map[registry.Fact]uint64 // facts of which a state was applied, and the latest such message

	unused   map[registry.Fact]Unused // the latest message of a fact that can't be used; one that can may be later
	redacted map[registry.Fact]int    // metadata pairs that were withheld of what stands
}

func newFolding(h History, to uint64) *folding {
	return &folding{
		history: h, fold: registry.NewFold(), to: to, behind: map[registry.Fact]uint64{}, settled: map[registry.Fact]uint64{},
		unused: map[registry.Fact]Unused{}, redacted: map[registry.Fact]int{},
	}
}

// apply folds one message, and notes what became of it.
func (f *folding) apply(m registry.Message) registry.Outcome {
	out := f.fold.Apply(m)
	switch {
	case !shapesView(m.Fact.Kind):
	case out.Result != registry.Quarantined:
		f.settled[m.Fact] = max(f.settled[m.Fact], m.Sequence)
		if out.Result == registry.Applied && m.Event.Service != nil {
			if delete(f.redacted, m.Fact); m.Event.Service.Redacted > 0 {
				f.redacted[m.Fact] = m.Event.Service.Redacted
			}
		}
	case m.Sequence > f.unused[m.Fact].Sequence:
		refused := refusalOf(m, out)
		f.unused[m.Fact] = Unused{Sequence: m.Sequence, Fact: m.Fact, Reason: refused.Reason, Detail: refused.Detail}
	}
	return out
}

// take applies one message.
func (f *folding) take(m registry.Message) registry.Outcome {
	out := f.apply(m)
	switch {
	case !shapesView(m.Fact.Kind):
	case out.Result == registry.Quarantined:
		if f.settled[m.Fact] == 0 && out.Reason != registry.ReasonTooMany && out.Reason != registry.ReasonEpoch || m.Fact.Kind == registry.KindEpoch {
			f.behind[m.Fact] = m.Sequence
		}
	case m.Fact.Kind != registry.KindEpoch:
		delete(f.behind, m.Fact)
	}
	f.voided()
	return out
}

// voided notes what an epoch's record, read late, has made void.
func (f *folding) voided() {
	for _, fact := range f.fold.Voided() {
		delete(f.settled, fact)
		delete(f.redacted, fact)
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
		if f.apply(m).Result != registry.Quarantined {
			usable++
		}
		f.voided()
		if usable == epochsBack || usable > 0 && fact.Kind != registry.KindEpoch {
			delete(f.behind, fact)
			return nil
		}
	}
	return fmt.Errorf("%s: %w: %d before #%d were looked at", subject, errOnlyGarbage, mostBehind, f.to)
}

var errOnlyGarbage = errors.New("none of its messages can be used")

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

// stood is the View of the moment, and what is to be known of it.
func (f *folding) stood() Stood {
	s := Stood{View: f.view(), redacted: f.redacted}
	for fact, u := range f.unused {
		if u.Sequence > f.settled[fact] && fact.Kind != registry.KindSnapshot {
			s.Unused = append(s.Unused, u)
		}
	}
	slices.SortFunc(s.Unused, func(a, b Unused) int { return cmp.Compare(a.Sequence, b.Sequence) })
	return s
}
