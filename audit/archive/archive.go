package archive

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/seamark-mesh/seamark/audit"
	"github.com/seamark-mesh/seamark/registry"
)

// ErrNone says that a folder holds no archive.
var ErrNone = errors.New("there is no archive")

// Archive reads the archive in one folder, also while a [Writer] adds to it. It is an
// [audit.History]. Any number of goroutines may use it. Make one with [Open].
type Archive struct{}

var _ audit.History = (*Archive)(nil)

// Open opens the archive in a folder for reading. It writes nothing: a damaged manifest
// or index is made anew in memory from the segments. The error is [ErrNone], or says
// what can't be read at all. Close it after use.
func Open(dir string) (*Archive, error) { return nil, errors.New("not built yet") }

// Close gives the files back. What is still being read ends with an error.
func (a *Archive) Close() error { return nil }

// Span implements [audit.History].
func (a *Archive) Span(ctx context.Context) (audit.Span, error) { return audit.Span{First: 1}, nil }

// SequenceAt implements [audit.History].
func (a *Archive) SequenceAt(ctx context.Context, t time.Time) (uint64, error) { return 0, nil }

// Read implements [audit.History]. What is damaged is passed over: see [Archive.Faults].
// It can't follow: use [Join], where the stream does.
func (a *Archive) Read(ctx context.Context, r audit.Range) iter.Seq2[registry.Stored, error] {
	return func(func(registry.Stored, error) bool) {}
}

// Latest implements [audit.History].
func (a *Archive) Latest(ctx context.Context, before uint64, filters ...string) iter.Seq2[registry.Stored, error] {
	return func(func(registry.Stored, error) bool) {}
}

// Faults tells what was found damaged so far, each a sentence that says what is missing
// and what to do; at most 100. More are found as more is read.
func (a *Archive) Faults() []error { return nil }

// Gaps returns what the stream had dropped before it could be archived.
func (a *Archive) Gaps() []Gap { return nil }

// Breaks returns where the stream was replaced.
func (a *Archive) Breaks() []Break { return nil }

// Verify reads every file to its end and compares all digests and the chain of the
// segments. It returns what is wrong; none: the archive is as it was written. The error is
// the end of ctx. Progress, which may be nil, is told of the bytes that were read.
func (a *Archive) Verify(ctx context.Context, progress func(done, total int64)) (wrong []error, err error) {
	return nil, nil
}
