package archive

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Gap is a range of sequences that the archive does not have, because the stream did
// not have them (any more) when it was archived.
type Gap struct {
	First  uint64    `json:"first"`
	Last   uint64    `json:"last"`
	Before time.Time `json:"before"` // when the message before it was stored; zero: there is none
	After  time.Time `json:"after"`  // when the one behind it was

	Anew    bool `json:"anew,omitempty"`    // the stream was made anew and begins behind it
	Missing bool `json:"missing,omitempty"` // the stream had not dropped it by itself: it was taken away
	Damaged bool `json:"damaged,omitempty"` // it was archived, and could not be read any more
}

// refused says what is answered in and behind a gap.
const refused = "; what stood then can't be told, nor later on until it is proven that nothing of it is lacking (mostly a day)"

// String returns a sentence for a person.
func (g Gap) String() string {
	when := "before " + g.After.Format(time.RFC3339)
	if !g.Before.IsZero() {
		when = "between " + g.Before.Format(time.RFC3339) + " and " + g.After.Format(time.RFC3339)
	}
	what := fmt.Sprintf("#%d to #%d (%s) are not in the archive: ", g.First, g.Last, when)
	switch {
	case g.Damaged:
		return what + "they were archived and can't be read any more" + refused
	case g.Missing:
		return what + "when it was archived the stream still had to hold them, and did not: they were taken away" + refused
	case g.Anew:
		return what + "the stream was made anew and begins behind them; what the former one held beyond is not known" + refused
	}
	return what + "the stream did not hold them any more when it was archived" + refused
}

func between(last uint64, before time.Time, first uint64, after time.Time) Gap {
	return Gap{First: last + 1, Last: first - 1, Before: before, After: after}
}

// Gaps returns what the stream did not hold any more when it was archived. When the folder
// can't be read there are none: reading says so.
func (a *Archive) Gaps() []Gap {
	s, err := a.now()
	if err != nil {
		return nil
	}
	return s.gaps()
}

func (s state) gaps() []Gap {
	var gaps []Gap
	last, at, number := s.dropped.Last, s.dropped.Time, s.dropped.Number
	for _, p := range s.parts {
		own := p.Gaps
		if last > 0 && p.First > last+1 {
			gap := between(last, at, p.First, p.Begin)
			gap.Damaged = p.Number != number+1 // segments between are missing
			own = slices.Insert(slices.Clone(own), 0, gap)
		}
		for _, gap := range own {
			gaps = append(gaps, p.Judged.parts(gap)...)
		}
		last, at, number = p.Last, p.End, p.Number
	}
	return gaps
}

// parts takes apart what of a gap is gone and what is missing.
func (j *judged) parts(g Gap) []Gap {
	if j == nil || g.Damaged {
		return []Gap{g}
	}
	var parts []Gap
	add := func(first, last uint64, missing bool) {
		if first <= last {
			part := g
			part.First, part.Last, part.Missing = first, last, missing
			parts = append(parts, part)
		}
	}
	next := g.First
	for _, gone := range clip(slices.Clone(j.Gone), g.First, g.Last) {
		add(next, gone[0]-1, true)
		add(gone[0], gone[1], false)
		next = gone[1] + 1
	}
	add(next, g.Last, true)
	return parts
}

// skip takes note of what the history does not have before a message. What it had dropped
// by itself is written into the header of a new tail, so that the rest is known to be missing.
func (w *Writer) skip(g Gap) error {
	span, err := w.ask()
	if err != nil {
		return err
	}
	g.Anew = g.Last < span.Began
	own := &judged{Gone: slices.Clone(span.Gone)}
	if to := span.Dropped(g.Before, time.Now()); to >= g.First {
		own.Gone = append(own.Gone, [2]uint64{g.First, to})
	}
	if span.Filtered { // what else stood there is not known
		own.Gone = [][2]uint64{{g.First, g.Last}}
	}
	own.Gone = clip(own.Gone, g.First, g.Last)
	parts := own.parts(g)
	for _, part := range parts {
		if part.Missing {
			w.options.Logger.Error("messages are missing on the stream, which it had not dropped by itself: the archive has a gap", "first", part.First, "last", part.Last)
		} else {
			w.options.Logger.Warn("the stream does not hold what comes next any more: the archive has a gap", "first", part.First, "last", part.Last)
		}
	}
	w.noteGaps(parts)
	if len(own.Gone) == 0 && (w.tail == nil || w.tail.header.Judged != nil) {
		return nil // as it is with all that no header tells of
	}
	if err := w.flush(); err != nil {
		return err
	}
	var mark *Break
	if w.tail != nil && w.tail.blocks == 0 {
		mark = w.tail.header.Break
	}
	if err := w.sealTail(); err != nil {
		return err
	}
	return w.beginTail(mark, own)
}

// clip sorts ranges, joins those that touch, and takes away what lies outside of first to last.
func clip(ranges [][2]uint64, first, last uint64) [][2]uint64 {
	var out [][2]uint64
	slices.SortFunc(ranges, func(a, b [2]uint64) int { return cmp.Compare(a[0], b[0]) })
	for _, r := range ranges {
		r = [2]uint64{max(r[0], first), min(r[1], last)}
		switch n := len(out); {
		case r[0] > r[1]:
		case n > 0 && r[0] <= out[n-1][1]+1:
			out[n-1][1] = max(out[n-1][1], r[1])
		default:
			out = append(out, r)
		}
	}
	return out
}
