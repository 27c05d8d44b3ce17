package export

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/seamark-mesh/seamark/audit"
	"github.com/seamark-mesh/seamark/registry"
)

// File reads an export (JSONL or CloudEvents). It is an [audit.History]. Any number of
// goroutines may use it. Make one with [Open].
type File struct{}

var _ audit.History = (*File)(nil)

// Open reads an export once, to know where its messages are. Lines that can't be used
// are counted and told ([File.Faults]); the error says that the file can't be read, is
// no export, or holds no message that can be used. Close it after use.
func Open(ctx context.Context, path string) (*File, error) { return nil, errors.New("not built yet") }

// Close gives the file back.
func (f *File) Close() error { return nil }

// Span implements [audit.History].
func (f *File) Span(ctx context.Context) (audit.Span, error) { return audit.Span{First: 1}, nil }

// SequenceAt implements [audit.History].
func (f *File) SequenceAt(ctx context.Context, t time.Time) (uint64, error) { return 0, nil }

// Read implements [audit.History]. With Follow it is an error: nothing comes any more.
func (f *File) Read(ctx context.Context, r audit.Range) iter.Seq2[registry.Stored, error] {
	return func(func(registry.Stored, error) bool) {}
}

// Latest implements [audit.History].
func (f *File) Latest(ctx context.Context, before uint64, filters ...string) iter.Seq2[registry.Stored, error] {
	return func(func(registry.Stored, error) bool) {}
}

// Filter returns the subjects that the export was limited to; none: all.
func (f *File) Filter() []string { return nil }

// Faults tells what is wrong with the file, each a sentence with the line and what to
// do; at most 100, the last of which then tells how many there are. None: the file is
// as it was written.
func (f *File) Faults() []error { return nil }
