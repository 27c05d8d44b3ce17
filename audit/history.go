package audit

import (
	"context"
	"iter"
	"time"

	"github.com/seamark-mesh/seamark/registry"
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
// First to Last is among it.
type Span struct {
	First uint64    // the sequence of the oldest message
	Last  uint64    // of the newest
	Begin time.Time // when the oldest was stored
	End   time.Time // when the newest was

	// Began is the first sequence that the stream ever had. Where First is beyond it,
	// what stood between them is gone (for its age), or is not among this history.
	Began uint64
}

// Whole reports whether nothing that ever stood before First is missing.
func (s Span) Whole() bool { return s.First <= max(s.Began, 1) }

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
