package audit

import (
	"context"
	"iter"
	"time"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
)

// History is where the messages of a mesh can be read from: its stream, an archive of
// it, an export, or several of these as one. Sequences are the stream's everywhere.
// Its methods may be called from several goroutines.
type History interface {
	// Span tells what there is now. An empty history has First > Last.
	Span(ctx context.Context) (Span, error)

	// SequenceAt returns the sequence of the first message that was stored at t or
	// later; Span.Last+1 when there is none.
	SequenceAt(ctx context.Context, t time.Time) (uint64, error)

	// Read yields the messages of a range in the order of their sequences. It ends
	// after the first error. What it yields is the caller's.
	Read(ctx context.Context, r Range) iter.Seq2[registry.Stored, error]

	// Latest yields the last message before a sequence of each subject that one of the
	// filters matches (no filter: of all), in the order of their sequences. Filters may
	// be many (thousands of subjects without wildcards), and may match what is not there.
	Latest(ctx context.Context, before uint64, filters ...string) iter.Seq2[registry.Stored, error]
}

// Span is the part of the history that can be read. Every message of the stream from
// First to Last is among it, but for the Holes.
type Span struct {
	First uint64    // the sequence of the oldest message
	Last  uint64    // of the newest
	Begin time.Time // when the oldest was stored
	End   time.Time // when the newest was

	// Began is the first sequence that the stream ever had. Where First is beyond it,
	// what stood between them is gone (for its age), or is not among this history.
	Began uint64

	// Holes are the ranges between First and Last that are not among it, both ends
	// included, ascending. Gone are those parts of them that nobody took away: they had aged
	// out before they could be kept, or a stream that was made anew begins behind them.
	Holes [][2]uint64 `json:",omitempty"`
	Gone  [][2]uint64 `json:",omitempty"`

	Filtered bool `json:",omitempty"` // it is limited to some subjects, what else stood is not known

	// Retention is how long whoever holds the oldest message keeps messages; nil: not known.
	Retention *stream.Retention `json:",omitempty"`
}

// Dropped returns the last sequence up to which a history may have dropped by itself what
// stood behind a message that was stored at a time: what is before its First and is not too
// young for that, or is before what it began with.
func (s Span) Dropped(behind, now time.Time) uint64 {
	if s.Retention != nil && s.Retention.Holds(behind, now) {
		return max(s.Began, 1) - 1
	}
	return max(s.First, 1) - 1
}

// Whole reports whether nothing that ever stood before First is missing. Of holes behind
// it says nothing.
func (s Span) Whole() bool { return !s.Filtered && s.First <= max(s.Began, 1) }

// behind returns the sequence behind the last hole that begins at a sequence or before
// it; 0: there is none.
func (s Span) behind(sequence uint64) (first uint64) {
	for _, hole := range s.Holes {
		if hole[0] <= sequence {
			first = max(first, hole[1]+1)
		}
	}
	return first
}

// since leaves out what stands before a hole: the rest has lost its beginning.
func (s Span) since(ctx context.Context, h History, first uint64) (Span, error) {
	if first <= s.First {
		return s, nil
	}
	begin, err := storedAt(ctx, h, first)
	s.First, s.Began, s.Begin = first, 0, begin.Time
	return s, err
}

// clipped is a history of which nothing before a hole is looked at.
type clipped struct {
	History
	first uint64
}

// Latest implements [History].
func (c *clipped) Latest(ctx context.Context, before uint64, filters ...string) iter.Seq2[registry.Stored, error] {
	return func(yield func(registry.Stored, error) bool) {
		for m, err := range c.History.Latest(ctx, before, filters...) {
			if (err != nil || m.Sequence >= c.first) && !yield(m, err) {
				return
			}
		}
	}
}

// Empty reports whether there is nothing to be read.
func (s Span) Empty() bool { return s.First > s.Last }

// Range says which messages are wanted.
type Range struct {
	From   uint64   // the first sequence; 0: the oldest there is
	To     uint64   // the last sequence; 0: the newest there is when reading begins
	Filter []string // subjects, with NATS wildcards; none: all
	Follow bool     // after the end, go on with what comes; To must be 0
}

// Moment is a point of the history: the state after the message Sequence was stored.
type Moment struct {
	Sequence uint64
	Time     time.Time // when that message was stored; or the time that was asked for
}
