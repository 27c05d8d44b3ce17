package audit

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"sync"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
)

// bound is how far back [At] is exact.
type bound struct {
	earliest Moment // At answers from this moment on; zero: for none
	reason   string // why not for earlier ones
}

// bounds finds out how far back [At] is exact; before a hole it may be so too. On a history that has lost its beginning
// that takes reading a day of it, and all of it where nothing can be proven.
func bounds(ctx context.Context, h History) (bound, error) {
	span, err := h.Span(ctx)
	switch {
	case err != nil:
		return bound{}, err
	case span.Empty():
		return bound{reason: "the history is empty"}, nil
	case span.Filtered:
		return bound{reason: errFiltered}, nil
	}
	if span, err = span.since(ctx, h, span.behind(span.Last)); err != nil {
		return bound{}, err
	}
	switch {
	case span.Empty():
		return bound{reason: "the history ends with a hole"}, nil
	case span.Whole():
		return bound{earliest: Moment{Sequence: span.First, Time: span.Begin}, reason: "the history begins there"}, nil
	}
	w := newWitness(newFolding(h, span.Last))
	read := func(ctx context.Context) iter.Seq2[registry.Stored, error] {
		return h.Read(ctx, Range{From: span.First, To: span.Last})
	}
	for m, err := range decode(ctx, read) {
		if err != nil {
			return bound{}, fmt.Errorf("how far the history reaches back: %w", err)
		}
		if w.take(m) && w.complete() {
			return bound{
				earliest: Moment{Sequence: m.Sequence, Time: m.Stored},
				reason:   "the history has lost its beginning or a part, and only from here on it is proven that it has all that stood",
			}, nil
		}
	}
	return bound{reason: w.doubt()}, nil
}

// tooEarly is why At does not answer at a moment, with the first one behind it at which it does.
func tooEarly(ctx context.Context, h History, m Moment, reason string) error {
	early := &TooEarlyError{Asked: When{Sequence: m.Sequence}.String(), Reason: reason}
	b, err := bounds(ctx, h)
	if err != nil {
		return err
	}
	if b.earliest.Sequence > m.Sequence {
		early.Earliest = b.earliest
	}
	return early
}

// doubt says what is not proven.
func (w *witness) doubt() string {
	var parts []string
	if missing := w.missing(); len(missing) > 0 {
		names := make([]string, 0, len(missing))
		for _, id := range missing[:min(len(missing), 10)] {
			names = append(names, string(id))
		}
		if len(missing) > len(names) {
			names = append(names, "…")
		}
		parts = append(parts, "of "+strings.Join(names, ", ")+" no complete publication is among it")
	}
	if w.observed == 0 {
		parts = append(parts, "no observer was in office for a day, so that states and orders may have aged out")
	}
	if len(parts) == 0 {
		return "the history has lost its beginning or a part"
	}
	return "the history has lost its beginning or a part, and " + strings.Join(parts, "; ")
}

// prove folds a history that has lost its beginning up to a moment, such that the fold
// is exact; or the error is a [*TooEarlyError].
func prove(ctx context.Context, h History, span Span, m Moment) (*folding, error) {
	end, err := storedAt(ctx, h, m.Sequence)
	if err != nil {
		return nil, err
	}
	from, err := h.SequenceAt(ctx, end.Time.Add(-2*proofSpan))
	if err != nil {
		return nil, err
	}
	from = max(min(from, m.Sequence), span.First)
	w := newWitness(newFolding(h, m.Sequence))
	if err := w.read(ctx, h, Range{From: from, To: m.Sequence}); err != nil {
		return nil, err
	}
	needs := from
	if !w.complete() && from > span.First {
		if needs = span.First; w.begin.IsZero() {
			w.begin = end.Time
		}
		if err := w.fill(ctx, h, span, m.Sequence); err != nil {
			return nil, err
		}
	}
	if !w.complete() {
		return nil, tooEarly(ctx, h, m, w.doubt())
	}
	if err := w.f.look(ctx); err != nil {
		return nil, fmt.Errorf("the registry at #%d: %w", m.Sequence, err)
	}
	remember(h, proof{at: m.Sequence, needs: needs})
	return w.f, nil
}

// fill reads from the history's beginning on what the part did not prove, writer by
// writer: one that is silent for days said all it knows before.
func (w *witness) fill(ctx context.Context, h History, span Span, to uint64) error {
	if w.observed == 0 {
		other, err := w.readTrees(ctx, h, span, to, registry.Observer, registry.Operator)
		if err != nil {
			return err
		}
		w.observed = other.observed
	}
	for _, id := range w.missing() {
		other, err := w.readTrees(ctx, h, span, to, registry.Writer(id))
		if err != nil {
			return err
		}
		if t := other.clusters[id]; t != nil && t.proven > 0 {
			w.clusters[id] = t
		}
	}
	return nil
}

// readTrees looks at all that some writers said, and adds it to what is folded.
func (w *witness) readTrees(ctx context.Context, h History, span Span, to uint64, writers ...registry.Writer) (*witness, error) {
	other := newWitness(newFolding(h, to))
	other.partial, other.begin = true, span.Begin
	r := Range{From: span.First, To: to}
	for _, writer := range writers {
		tree, err := treeOf(writer)
		if err != nil {
			return nil, err
		}
		r.Filter = append(r.Filter, tree)
	}
	last := map[registry.Fact]registry.Message{}
	for m, err := range decode(ctx, func(ctx context.Context) iter.Seq2[registry.Stored, error] { return h.Read(ctx, r) }) {
		if err != nil {
			return nil, fmt.Errorf("what %v said up to #%d: %w", writers, to, err)
		}
		other.take(m)
		if m.Refused == nil {
			last[m.Fact] = m
		}
	}
	for _, m := range last {
		w.f.take(m)
	}
	for fact, u := range other.f.unused {
		if u.Sequence > w.f.unused[fact].Sequence {
			w.f.unused[fact] = u
		}
	}
	return other, nil
}

// treeOf is the filter for all that a writer says.
func treeOf(w registry.Writer) (string, error) {
	epoch, err := stream.Subject(registry.Fact{Writer: w, Kind: registry.KindEpoch})
	if err != nil {
		return "", err
	}
	return strings.TrimSuffix(epoch, string(registry.KindEpoch)) + ">", nil
}

// proof says that the history is exact at a sequence, and at every later one, for as
// long as nothing of it is lost from needs on.
type proof struct{ at, needs uint64 }

// Remembered is a history that remembers what was proven of it, for whoever asks it
// many questions: [ServiceAt] on a history that has lost its beginning then takes as
// long as on one that has not.
type Remembered struct {
	History

	mu     sync.Mutex // guards proofs
	proofs []proof
}

// Remember returns the history with a memory.
func Remember(h History) *Remembered { return &Remembered{History: h} }

// memoryOf returns the memory of a history; nil when it has none.
func memoryOf(h History) *Remembered {
	switch h := h.(type) {
	case *Remembered:
		return h
	case *watched:
		return memoryOf(h.History)
	case *clipped:
		return memoryOf(h.History)
	}
	return nil
}

// mostProofs bounds the memory of a [Remembered].
const mostProofs = 64

func remember(h History, p proof) {
	r := memoryOf(h)
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.proofs = append(r.proofs, p); len(r.proofs) > mostProofs {
		r.proofs = r.proofs[1:]
	}
}

// proven reports whether it is known that the history is exact at a moment.
func proven(h History, span Span, m Moment) bool {
	r := memoryOf(h)
	if r == nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.proofs {
		if p.at <= m.Sequence && p.needs >= span.First {
			return true
		}
	}
	return false
}
