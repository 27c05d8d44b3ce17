package export

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/seamark-mesh/seamark/audit"
)

// Format is how an export is written.
type Format string

// The formats.
const (
	JSONL       Format = "jsonl"       // one message per line, as stored
	CloudEvents Format = "cloudevents" // one structured CloudEvent 1.0 (JSON) per line
	CloudBatch  Format = "cloudbatch"  // CloudEvents as one JSON array, an event per line
	CSV         Format = "csv"         // for people; can't be read again
)

// ParseFormat reads a Format as it is written. The error lists the formats.
func ParseFormat(s string) (Format, error) { return Format(s), nil }

// Options say what is exported.
type Options struct {
	Format   Format
	Range    audit.Range   // Follow is ignored; To 0: what is there when it begins
	Progress func(Summary) // told after every 1,000 messages; may be nil
}

// Summary is what was exported.
type Summary struct {
	Messages uint64 // in the file
	Resumed  uint64 // of those, how many stood there before
	First    uint64 // the first and last sequence in the file; 0: none
	Last     uint64
	Begin    time.Time // when those were stored
	End      time.Time
	Bytes    int64  // length of the file, the last line included
	SHA256   string // hex, of all before the last line; "" until that is written
}

// ErrOther says that a file is there which is not the beginning of this export.
var ErrOther = errors.New("the file holds something else than the beginning of this export")

// Write writes an export, with its last line. The error is the history's or the writer's.
func Write(ctx context.Context, to io.Writer, h audit.History, o Options) (Summary, error) {
	return Summary{}, errors.New("not built yet")
}

// WriteFile writes an export to a file. When the file holds the beginning of the same
// export (same format, filters and first sequence; the messages are compared with the
// history), it goes on behind the last whole line. A whole one is left as it is. The
// error is [ErrOther] when something else stands there.
func WriteFile(ctx context.Context, path string, h audit.History, o Options) (Summary, error) {
	return Summary{}, errors.New("not built yet")
}
