package archive

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/seamark-mesh/seamark/audit"
)

// Options shape a [Writer]. Zero values are the defaults.
type Options struct {
	SegmentBytes   int64         // length at which the tail is sealed; default 32 MiB, at least 64 KiB
	SegmentAge     time.Duration // time between the first and the latest message of a tail at which it is sealed; default 24 h
	Flush          time.Duration // longest time that a message waits to be written; default 1 s
	RetentionAge   time.Duration // segments whose latest message is older than this, by the stream's clock, are dropped; 0: none
	RetentionBytes int64         // the oldest segments are dropped while all take more; 0: no bound
	Replaced       bool          // go on with a stream that has another message at the last sequence that was archived
	Logger         *slog.Logger  // state changes; nil: silence
}

// Errors of [NewWriter] and [Writer.Follow]; each is wrapped with what was found.
var (
	ErrLocked      = errors.New("another process writes to this archive")
	ErrOtherStream = errors.New("this is not the stream that was archived here")
)

// Status is what a [Writer] has done and what it is doing.
type Status struct {
	First, Last uint64    // sequences in the archive; First > Last: empty
	Begin, End  time.Time // when those were stored
	Behind      uint64    // messages that the stream is known to hold beyond Last
	Segments    int       // sealed ones
	Bytes       int64     // of all segments and the tail
	Taken       uint64    // messages archived since the writer was made
	Gaps        []Gap     // the latest 100; see [Archive.Gaps]
	Faults      []error   // what was found damaged or cut, each a sentence; at most 100
}

// Gap is a range of sequences that the archive does not have, because the stream did
// not have them (any more) when it was archived.
type Gap struct {
	First  uint64    `json:"first"`
	Last   uint64    `json:"last"`
	Before time.Time `json:"before"` // when the message before it was stored; zero: there is none
	After  time.Time `json:"after"`  // when the one behind it was
}

// Break is a place where the stream was replaced: from After on, what was archived
// comes from another stream than what stands before.
type Break struct {
	After uint64    `json:"after"` // the last sequence of the former stream
	Time  time.Time `json:"time"`  // when that message was stored
}

// Writer appends to the archive in one folder. One goroutine calls CatchUp, Follow and
// Close; Status may be called by any. Make one with [NewWriter].
type Writer struct{}

// NewWriter opens the archive in a folder for writing, and makes the folder when there
// is none (its parent must exist). It cuts off what a crash left of the last block. The
// error is [ErrLocked] when another process writes there. Close it after use.
func NewWriter(dir string, o Options) (*Writer, error) { return nil, errors.New("not built yet") }

// CatchUp archives all that the history holds now beyond what is archived already, and
// returns when all of it is on disk. The error is [ErrOtherStream], the history's, the
// disk's, or the end of ctx; what was archived until then stands, and a later call goes on.
// Progress, which may be nil, is told after each block.
func (w *Writer) CatchUp(ctx context.Context, h audit.History, progress func(Status)) error {
	return nil
}

// Follow is CatchUp, and then goes on with what comes, until ctx ends (then the error is
// nil) or something fails. After a failure it may be called again.
func (w *Writer) Follow(ctx context.Context, h audit.History) error { return nil }

// Status tells what the archive holds.
func (w *Writer) Status() Status { return Status{} }

// Close writes what is not written yet and gives the lock back.
func (w *Writer) Close() error { return nil }
