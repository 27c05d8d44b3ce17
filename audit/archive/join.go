package archive

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"sync/atomic"
	"time"

	"github.com/seamark-mesh/seamark/audit"
	"github.com/seamark-mesh/seamark/registry"
)

// Joined is an archive and its stream as one history. Any number of goroutines may use
// it. Make one with [Join].
type Joined struct {
	archive  *Archive
	stream   audit.History
	compared atomic.Bool // the archive was found to be of this stream
}

var _ audit.History = (*Joined)(nil)

// Join reads an archive and the stream that it is made of as one history: each sequence
// once, whichever has it. Where both have a message, or the stream was replaced since, the
// archive's counts; what is damaged in the archive is read from the stream when that still
// has it. It follows as the stream does. Where the stream is another one than the archive's
// (it ends before it, or has another message where the archive ends) the error of all that
// is asked is [ErrOtherStream].
func Join(a *Archive, stream audit.History) *Joined { return &Joined{archive: a, stream: stream} }

// Faults is [Archive.Faults]. What is damaged there and was read from the stream is
// among them.
func (j *Joined) Faults() []error { return j.archive.Faults() }

// spans returns what both hold.
func (j *Joined) spans(ctx context.Context) (kept, live audit.Span, err error) {
	if kept, err = j.archive.Span(ctx); err == nil {
		live, err = j.stream.Span(ctx)
	}
	switch {
	case err != nil || kept.Empty():
		return kept, live, err
	case live.Last < kept.Last:
		return kept, live, fmt.Errorf("%w: the stream ends with #%d, the archive with #%d", ErrOtherStream, live.Last, kept.Last)
	case live.First <= kept.Last && !j.compared.Load():
		err = j.compare(ctx, kept.Last)
	}
	return kept, live, err
}

// compare looks whether the last message of the archive is the stream's too. Where one of
// both does not have it (it is damaged, or has aged out meanwhile) nothing is known.
func (j *Joined) compare(ctx context.Context, last uint64) error {
	var both []registry.Stored
	for _, h := range []audit.History{j.archive, j.stream} {
		for m, err := range h.Read(ctx, audit.Range{From: last, To: last}) {
			if err != nil {
				return err
			}
			both = append(both, m)
		}
	}
	if len(both) < 2 {
		return nil
	}
	if !same(both[0], both[1]) && !j.archive.brokeOff(last) {
		return fmt.Errorf("%w: its message #%d (%s, stored %s) is not the one that is archived (%s, stored %s)", ErrOtherStream,
			last, both[1].Subject, both[1].Time.Format(time.RFC3339), both[0].Subject, both[0].Time.Format(time.RFC3339))
	}
	j.compared.Store(true)
	return nil
}

// brokeOff reports whether the writer has noted that the stream was replaced behind a
// sequence, and nothing of the new one is archived yet.
func (a *Archive) brokeOff(last uint64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.tail != nil && a.tail.header.Break != nil && a.tail.header.Break.After == last
}

// Span implements [audit.History].
func (j *Joined) Span(ctx context.Context) (audit.Span, error) {
	kept, live, err := j.spans(ctx)
	switch {
	case err != nil:
		return audit.Span{}, err
	case kept.Empty():
		return live, nil
	case isUnused(live):
		return kept, nil
	}
	all := kept
	if !live.Empty() && live.First < kept.First {
		all.First, all.Begin, all.Retention = live.First, live.Begin, live.Retention
	}
	if live.Last > kept.Last {
		all.Last, all.End = live.Last, live.End
	}
	if live.First > kept.Last+1 { // perhaps because nothing is left of it
		all.Holes = append(all.Holes, [2]uint64{kept.Last + 1, live.First - 1})
		if to := live.Dropped(kept.End, time.Now()); to > kept.Last {
			all.Gone = append(all.Gone, [2]uint64{kept.Last + 1, to})
		}
	}
	all.Holes, all.Gone = clip(all.Holes, all.First, live.First-1), clip(all.Gone, all.First, live.First-1)
	return all, nil
}

// isUnused reports whether a stream holds nothing because nothing was ever stored there,
// as far as is known.
func isUnused(s audit.Span) bool { return s.Empty() && (s.Began == 0 || s.First <= s.Began) }

// SequenceAt implements [audit.History].
func (j *Joined) SequenceAt(ctx context.Context, t time.Time) (uint64, error) {
	kept, live, err := j.spans(ctx)
	if err != nil {
		return 0, err
	}
	sequence, sure := kept.Last+1, true
	if !kept.Empty() {
		if sequence, sure, err = j.archive.sequenceAt(ctx, t); err != nil {
			return 0, err
		}
	}
	switch {
	case live.Empty() && sequence > kept.Last && !isUnused(live):
		return live.Last + 1, nil
	case live.Empty():
		return sequence, nil
	}
	there, err := j.stream.SequenceAt(ctx, t)
	switch {
	case err != nil:
		return 0, err
	case !sure && live.First <= sequence: // the stream still has what can't be read
		return there, nil
	case sequence > kept.Last: // the archive has none
		if there > live.Last {
			return max(kept.Last, live.Last) + 1, nil
		}
		return there, nil
	}
	return min(sequence, there), nil
}

// Read implements [audit.History].
func (j *Joined) Read(ctx context.Context, r audit.Range) iter.Seq2[registry.Stored, error] {
	return func(yield func(registry.Stored, error) bool) {
		kept, live, err := j.spans(ctx)
		if err != nil {
			yield(registry.Stored{}, err)
			return
		}
		to := r.To
		if to == 0 {
			to = max(kept.Last, live.Last)
		}
		p := &passing{joined: j, ctx: ctx, filter: r.Filter, live: live, yield: yield}
		next := max(r.From, 1)
		if kept.Empty() {
			p.from(audit.Range{From: next, To: r.To, Filter: r.Filter, Follow: r.Follow})
			return
		}
		if next < kept.First {
			p.between(next, min(to, kept.First-1))
		}
		if !p.ended && next <= kept.Last && to >= kept.First {
			err := j.archive.walk(ctx, max(next, kept.First), min(to, kept.Last), audit.NewFilter(r.Filter), p.give, p.between)
			if err != nil && !p.ended {
				yield(registry.Stored{}, err)
				return
			}
		}
		if p.ended {
			return
		}
		switch next = max(next, kept.Last+1); {
		case r.Follow:
			p.from(audit.Range{From: next, Filter: r.Filter, Follow: true})
		case to >= next && live.Last >= next:
			p.from(audit.Range{From: next, To: min(to, live.Last), Filter: r.Filter})
		}
	}
}

// passing hands on messages from both.
type passing struct {
	joined *Joined
	ctx    context.Context //nolint:containedctx // of one call of Read
	filter []string
	live   audit.Span
	yield  func(registry.Stored, error) bool
	ended  bool
}

func (p *passing) give(m registry.Stored) bool {
	p.ended = !p.yield(m, nil)
	return !p.ended
}

// between reads from the stream what it still holds between two sequences.
func (p *passing) between(first, last uint64) bool {
	first, last = max(first, p.live.First), min(last, p.live.Last)
	if first <= last && !p.live.Empty() {
		p.from(audit.Range{From: first, To: last, Filter: p.filter})
	}
	return !p.ended
}

// from hands on what the stream gives.
func (p *passing) from(r audit.Range) {
	for m, err := range p.joined.stream.Read(p.ctx, r) {
		if err != nil {
			p.yield(registry.Stored{}, err)
			p.ended = true
			return
		}
		if !p.give(m) {
			return
		}
	}
}

// shortTail is how many messages behind the archive are rather read in their order than
// asked for by subject.
const shortTail = 5000

// Latest implements [audit.History].
func (j *Joined) Latest(ctx context.Context, before uint64, filters ...string) iter.Seq2[registry.Stored, error] {
	return func(yield func(registry.Stored, error) bool) {
		kept, live, err := j.spans(ctx)
		if err != nil {
			yield(registry.Stored{}, err)
			return
		}
		if kept.Empty() {
			for m, err := range j.stream.Latest(ctx, before, filters...) {
				if !yield(m, err) {
					return
				}
			}
			return
		}
		s, picks, err := j.archive.latest(ctx, min(before, kept.Last+1), audit.NewFilter(filters))
		var more []registry.Stored
		if err == nil {
			more, err = j.beside(ctx, s, kept, live, before, filters)
		}
		if err != nil {
			yield(registry.Stored{}, err)
			return
		}
		if err := j.merge(ctx, s, picks, more, yield); err != nil {
			yield(registry.Stored{}, err)
		}
	}
}

// beside reads from the stream what the archive does not hold: the last message of each
// subject in the order of their sequences.
func (j *Joined) beside(ctx context.Context, s state, kept, live audit.Span, before uint64, filters []string) ([]registry.Stored, error) {
	latest := map[string]registry.Stored{}
	take := func(messages iter.Seq2[registry.Stored, error], first, last uint64) error {
		for m, err := range messages {
			if err != nil {
				return err
			}
			if m.Sequence >= first && m.Sequence <= last && m.Sequence >= latest[m.Subject].Sequence {
				latest[m.Subject] = m
			}
		}
		return nil
	}
	ranges := j.archive.holes(s)
	if kept.First > 1 {
		ranges = append(ranges, [2]uint64{1, kept.First - 1})
	}
	if behind := kept.Last + 1; before > behind && live.Last >= behind {
		if last := min(before-1, live.Last); last-behind >= shortTail {
			if err := take(j.stream.Latest(ctx, before, filters...), behind, last); err != nil {
				return nil, err
			}
		} else {
			ranges = append(ranges, [2]uint64{behind, last})
		}
	}
	for _, r := range ranges {
		first, last := max(r[0], live.First), min(r[1], live.Last, before-1)
		if live.Empty() || before == 0 || first > last {
			continue
		}
		messages := j.stream.Read(ctx, audit.Range{From: first, To: last, Filter: filters})
		if last-first >= shortTail && last < kept.First {
			messages = j.stream.Latest(ctx, last+1, filters...)
		}
		if err := take(messages, first, last); err != nil {
			return nil, err
		}
	}
	more := make([]registry.Stored, 0, len(latest))
	for _, m := range latest {
		more = append(more, m)
	}
	slices.SortFunc(more, func(a, b registry.Stored) int { return cmp.Compare(a.Sequence, b.Sequence) })
	return more, nil
}

// merge hands on, of each subject, the later one of both.
func (j *Joined) merge(ctx context.Context, s state, picks []pick, more []registry.Stored, yield func(registry.Stored, error) bool) error {
	newer := map[string]uint64{}
	for _, m := range more {
		newer[m.Subject] = m.Sequence
	}
	older := map[string]uint64{}
	picks = slices.DeleteFunc(picks, func(p pick) bool {
		older[p.subject] = p.sequence
		return newer[p.subject] > p.sequence
	})
	more = slices.DeleteFunc(more, func(m registry.Stored) bool { return older[m.Subject] >= m.Sequence })
	err := j.archive.fetch(ctx, s, picks, func(m registry.Stored) bool {
		for len(more) > 0 && more[0].Sequence < m.Sequence {
			if !yield(more[0], nil) {
				more = nil
				return false
			}
			more = more[1:]
		}
		if !yield(m, nil) {
			more = nil
			return false
		}
		return true
	})
	if err != nil {
		return err
	}
	for _, m := range more {
		if !yield(m, nil) {
			return nil
		}
	}
	return nil
}
