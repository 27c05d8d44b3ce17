package export

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"slices"
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

// check refuses what is none. The error lists the formats.
func (f Format) check() error {
	if slices.Contains([]Format{JSONL, CloudEvents, CloudBatch, CSV}, f) {
		return nil
	}
	return fmt.Errorf("%.32q is no format of an export: write jsonl, cloudevents, cloudbatch or csv", f)
}

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
	if err := o.Format.check(); err != nil {
		return Summary{}, err
	}
	span, err := h.Span(ctx)
	if err != nil {
		return Summary{}, err
	}
	w := newWriting(to, o)
	line, err := w.form.opening(w.begins(span.Began))
	if err == nil {
		err = w.put(line)
	}
	if err != nil {
		return Summary{}, err
	}
	err = w.all(ctx, h, span)
	return w.Summary, err
}

// writing writes lines and sums them up.
type writing struct {
	Summary
	options Options
	form    form
	to      *bufio.Writer
	sum     hash.Hash
}

func newWriting(to io.Writer, o Options) *writing {
	return &writing{options: o, form: forms(o.Format), to: bufio.NewWriterSize(to, 256<<10), sum: sha256.New()}
}

func (w *writing) begins(began uint64) opening {
	return opening{Export: version, Format: w.options.Format, From: w.options.Range.From, Filter: w.options.Range.Filter, Began: began}
}

// put writes one line.
func (w *writing) put(line []byte) error {
	line = append(line, '\n')
	w.sum.Write(line)
	w.Bytes += int64(len(line))
	_, err := w.to.Write(line)
	return err
}

// note counts one message that is in the file.
func (w *writing) note(sequence uint64, at time.Time) {
	if w.Messages == 0 {
		w.First, w.Begin = sequence, at
	}
	w.Last, w.End = sequence, at
	w.Messages++
}

// all writes the messages beyond those that are there, and the last line.
func (w *writing) all(ctx context.Context, h audit.History, span audit.Span) error {
	r := w.options.Range
	r.Follow = false
	if r.To == 0 {
		r.To = span.Last
	}
	if r.From = max(r.From, w.Last+1, span.First); r.From <= r.To {
		for m, err := range h.Read(ctx, r) {
			if err != nil {
				return errors.Join(err, w.to.Flush())
			}
			line, err := w.form.message(m)
			if err == nil {
				err = w.put(line)
			}
			if err != nil {
				return errors.Join(err, w.to.Flush())
			}
			w.note(m.Sequence, m.Time)
			if w.options.Progress != nil && w.Messages%1000 == 0 {
				w.options.Progress(w.Summary)
			}
		}
	}
	w.SHA256 = hex.EncodeToString(w.sum.Sum(nil))
	line, err := w.form.closing(closing{
		End: true, Messages: w.Messages, First: w.First, Last: w.Last, To: r.To, SHA256: w.SHA256, Gone: common(span.Gone, [][2]uint64{{w.First, w.Last}}),
	})
	if err == nil {
		err = w.put(line)
	}
	return errors.Join(err, w.to.Flush())
}

// WriteFile writes an export to a file. When the file holds the beginning of the same
// export (same format, filters and first sequence; the messages are compared with the
// history), it goes on behind the last whole line. A whole one is left as it is. The
// error is [ErrOther] when something else stands there.
func WriteFile(ctx context.Context, path string, h audit.History, o Options) (Summary, error) {
	if err := o.Format.check(); err != nil {
		return Summary{}, err
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return Summary{}, fmt.Errorf("export: %w", err)
	}
	s, err := writeFile(ctx, file, h, o)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		err = fmt.Errorf("export to %s: %w", path, err)
	}
	return s, err
}

func writeFile(ctx context.Context, file *os.File, h audit.History, o Options) (Summary, error) {
	span, err := h.Span(ctx)
	if err != nil {
		return Summary{}, err
	}
	w := newWriting(file, o)
	there, err := w.resume(file, span.Began)
	if err != nil || there.whole {
		return w.Summary, err
	}
	if w.Bytes == 0 {
		line, err := w.form.opening(w.begins(span.Began))
		if err == nil {
			err = w.put(line)
		}
		if err != nil {
			return w.Summary, err
		}
	} else if err := w.compare(ctx, h, span, there); err != nil {
		return w.Summary, err
	}
	if err := file.Truncate(there.good); err != nil {
		return w.Summary, err
	}
	if _, err := file.Seek(there.good, io.SeekStart); err != nil {
		return w.Summary, err
	}
	err = w.all(ctx, h, span)
	return w.Summary, err
}

// found is what stands in a file already.
type found struct {
	good  int64 // where its last whole line ends
	whole bool  // nothing is missing
	line  []byte
}

// resume reads what stands in the file.
func (w *writing) resume(file io.Reader, began uint64) (found, error) {
	other := func(line int, format string, detail ...any) error {
		return fmt.Errorf("%w: line %d %s: choose another file, or remove this one", ErrOther, line, fmt.Sprintf(format, detail...))
	}
	var f found
	in := bufio.NewReaderSize(file, 256<<10)
	for number := 1; ; number++ {
		line, err := readLine(in)
		if errors.Is(err, io.EOF) { // also a line that was not written to its end
			if first, err := w.form.opening(w.begins(began)); number == 1 && (err != nil || !bytes.HasPrefix(first, line)) {
				return f, other(number, "is not how this export begins")
			}
			w.Resumed = w.Messages
			return f, nil
		}
		if errors.Is(err, errLong) {
			return f, other(number, "is longer than any message")
		}
		if err != nil {
			return f, err
		}
		body := bytes.TrimSuffix(line, []byte("\n"))
		if number == 1 {
			have, ok := w.form.isOpening(body)
			want := w.begins(began)
			if !ok || have.Export != want.Export || have.Format != want.Format || have.From != want.From || !slices.Equal(have.Filter, want.Filter) {
				return f, other(number, "is not how this export begins")
			}
		} else if end, ok := w.form.isClosing(body); ok {
			if sum := hex.EncodeToString(w.sum.Sum(nil)); end.SHA256 != sum || end.Messages != w.Messages {
				return f, other(number, "does not fit what stands before it, which was altered")
			}
			w.SHA256, f.whole, w.Resumed = end.SHA256, true, w.Messages
			w.Bytes += int64(len(line))
			return f, nil
		} else {
			sequence, at, err := w.form.read(body)
			heading := sequence == 0 && w.options.Format == CSV
			if err != nil || sequence <= w.Last && !heading {
				return f, other(number, "was altered, or is not of this export")
			}
			if sequence > 0 {
				w.note(sequence, at)
				f.line = body
			}
		}
		w.sum.Write(line)
		w.Bytes += int64(len(line))
		f.good = w.Bytes
	}
}

// compare looks whether the last message that is in the file is the history's.
func (w *writing) compare(ctx context.Context, h audit.History, span audit.Span, there found) error {
	if w.Messages == 0 {
		return nil
	}
	if span.First > w.Last+1 {
		return fmt.Errorf("%w: it ends with #%d, and the history begins with #%d by now: export to another file", ErrOther, w.Last, span.First)
	}
	for m, err := range h.Read(ctx, audit.Range{From: w.Last, To: w.Last}) {
		if err != nil {
			return err
		}
		line, err := w.form.message(m)
		if err != nil {
			return err
		}
		if !bytes.Equal(line, there.line) {
			return fmt.Errorf("%w: its message #%d is not the history's: export to another file", ErrOther, w.Last)
		}
	}
	return nil
}

// maxLine bounds a line: a message of the server, in base64.
const maxLine = 192 << 20

var errLong = errors.New("a line is too long")

// readLine reads one line with its end; io.EOF when there is no whole one.
func readLine(in *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > maxLine {
			return nil, errLong
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}
