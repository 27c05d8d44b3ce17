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
	"iter"
	"os"
	"slices"
	"sort"
	"time"

	"github.com/seamark-mesh/seamark/audit"
	"github.com/seamark-mesh/seamark/registry"
)

// Errors of [Open] and of reading.
var (
	ErrNone    = errors.New("it is no export that can be read")
	errVersion = errors.New("the export is of another version")
	errFollow  = errors.New("an export can't be followed: nothing comes any more")
)

// File reads an export (JSONL or CloudEvents). It is an [audit.History]. Any number of
// goroutines may use it. Make one with [Open].
type File struct {
	path     string
	file     *os.File
	form     Format
	begins   opening
	lines    []line   // by sequence
	subjects []string // in the order in which they came
	faults   []error
	more     int // faults that are not listed
	holes    [][2]uint64
	gone     [][2]uint64 // what the source had lost by itself
}

// line is where a message stands, and what is known of it without reading it.
type line struct {
	sequence uint64
	time     int64 // Unix nanoseconds
	offset   int64
	length   int32
	subject  int32
}

var _ audit.History = (*File)(nil)

const maxFaults = 100

// Open reads an export once, to know where its messages are. Lines that can't be used
// are counted and told ([File.Faults]); the error says that the file can't be read, is
// no export, or holds no message that can be used. Close it after use.
func Open(ctx context.Context, path string) (*File, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("export: %w", err)
	}
	f := &File{path: path, file: file}
	if err := f.scan(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("export %s: %w", path, err), file.Close())
	}
	return f, nil
}

// scanning is what is needed only while a file is read for the first time.
type scanning struct {
	file    *File
	form    form
	numbers map[string]int32 // of subjects
	sum     hash.Hash
	at      int64
	number  int // of the line
	end     *closing
}

func (f *File) scan(ctx context.Context) error {
	in := bufio.NewReaderSize(f.file, 256<<10)
	s := &scanning{file: f, numbers: map[string]int32{}, sum: sha256.New()}
	for {
		if s.number++; s.number%1024 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		whole, err := readLine(in)
		if errors.Is(err, errLong) {
			f.fault("line %d is longer than any message: what stands from there on is not read", s.number)
			return s.finish()
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if s.number == 1 {
			if err := s.begin(bytes.TrimSuffix(whole, []byte("\n"))); err != nil {
				return err
			}
		} else if err != nil {
			s.cut(len(whole))
			return s.finish()
		} else {
			s.take(bytes.TrimSuffix(whole, []byte("\n")))
		}
		if s.end == nil {
			s.sum.Write(whole)
		}
		s.at += int64(len(whole))
	}
}

// begin reads the first line.
func (s *scanning) begin(text []byte) error {
	for _, format := range []Format{JSONL, CloudBatch, CloudEvents} {
		form := forms(format)
		o, ok := form.isOpening(text)
		if !ok || o.Format != format {
			continue
		}
		if o.Export != version {
			return fmt.Errorf("%w: it has version %d, this program reads %d: use the release that wrote it", errVersion, o.Export, version)
		}
		s.form, s.file.form, s.file.begins = form, format, o
		return nil
	}
	if o, ok := csvForm().isOpening(text); ok && o.Format == CSV {
		return fmt.Errorf("%w: it is CSV, which is for people; export it anew as jsonl or cloudevents", ErrNone)
	}
	return fmt.Errorf("%w: its first line is not how an export begins; write one with seamark audit export", ErrNone)
}

// take takes one whole line after the first.
func (s *scanning) take(text []byte) {
	f := s.file
	if s.end != nil {
		if len(text) > 0 {
			f.fault("line %d stands behind the last line: it was added afterwards, and is passed over", s.number)
		}
		return
	}
	if c, ok := s.form.isClosing(text); ok {
		s.end, f.gone = &c, c.Gone
		return
	}
	p, err := f.peek(text)
	if err != nil {
		f.fault("line %d is passed over: %w: take that message from the stream, the archive or another export", s.number, err)
		return
	}
	if n := len(f.lines); n > 0 && p.sequence <= f.lines[n-1].sequence || p.sequence == 0 {
		f.fault("line %d is passed over: its message #%d stands behind #%d: lines were moved or doubled", s.number, p.sequence, f.lastSequence())
		return
	}
	number, known := s.numbers[p.subject]
	if !known {
		number = int32(len(f.subjects))
		s.numbers[p.subject] = number
		f.subjects = append(f.subjects, p.subject)
	}
	if n := len(f.lines); n > 0 && p.sequence > f.lines[n-1].sequence+1 {
		f.holes = append(f.holes, [2]uint64{f.lines[n-1].sequence + 1, p.sequence - 1})
	}
	f.lines = append(f.lines, line{p.sequence, p.time.UnixNano(), s.at, int32(len(text)), number})
}

func (f *File) lastSequence() uint64 {
	if n := len(f.lines); n > 0 {
		return f.lines[n-1].sequence
	}
	return 0
}

// cut is told of the end of the file, and how many bytes of a line stand there.
func (s *scanning) cut(rest int) {
	switch {
	case s.end != nil:
		if rest > 0 {
			s.file.fault("line %d stands behind the last line: it was added afterwards, and is passed over", s.number)
		}
	case rest > 0:
		s.file.fault("line %d was not written to its end: what comes behind #%d is missing; the same export to the same file goes on there", s.number, s.file.lastSequence())
	default:
		s.file.fault("it ends with line %d, without a last line: it was cut behind #%d; the same export to the same file goes on there", s.number-1, s.file.lastSequence())
	}
}

// finish compares the whole with what the last line says.
func (s *scanning) finish() error {
	f := s.file
	if s.end != nil {
		sum := hex.EncodeToString(s.sum.Sum(nil))
		there := uint64(len(f.lines) + f.count())
		switch {
		case sum == s.end.SHA256:
		case there < s.end.Messages:
			f.fault("%d of %d messages are missing: lines were removed; export it anew where you trust the source", s.end.Messages-there, s.end.Messages)
		default:
			f.fault("its SHA-256 is %.16s…, its last line says %.16s…: it was altered after it was written; export it anew where you trust the source", sum, s.end.SHA256)
		}
	}
	if len(f.lines) == 0 && f.count() > 0 {
		return fmt.Errorf("%w: none of its messages can be used: %w", ErrNone, f.faults[0])
	}
	if f.more > 0 {
		f.faults = append(f.faults, fmt.Errorf("and %d more", f.more))
	}
	return nil
}

func (f *File) count() int { return len(f.faults) + f.more }

func (f *File) fault(format string, detail ...any) {
	if len(f.faults) >= maxFaults-1 {
		f.more++
		return
	}
	f.faults = append(f.faults, fmt.Errorf(format, detail...))
}

func (f *File) peek(text []byte) (peeked, error) {
	switch f.form {
	case CloudEvents:
		return peekEvent(text)
	case CloudBatch:
		return peekEvent(bytes.TrimPrefix(text, []byte(",")))
	case JSONL, CSV:
	}
	return peekRow(text)
}

// Close gives the file back.
func (f *File) Close() error { return f.file.Close() }

// Faults tells what is wrong with the file, each a sentence with the line and what to
// do; at most 100, the last of which then tells how many there are. None: the file is
// as it was written.
func (f *File) Faults() []error { return slices.Clone(f.faults) }

// Span implements [audit.History]. What is not in the file between its first message and
// its last, because its line is passed over or for the source had a gap, is a hole.
func (f *File) Span(ctx context.Context) (audit.Span, error) {
	n := len(f.lines)
	if n == 0 {
		return audit.Span{First: 1, Began: f.begins.Began, Filtered: f.filtered()}, context.Cause(ctx)
	}
	first, last := f.lines[0], f.lines[n-1]
	span := audit.Span{
		First: first.sequence, Last: last.sequence, Begin: moment(first.time), End: moment(last.time), Began: f.begins.Began, Filtered: f.filtered(),
	}
	if !span.Filtered {
		span.Holes, span.Gone = slices.Clone(f.holes), common(f.holes, f.gone)
	}
	return span, context.Cause(ctx)
}

// common returns what is in the ranges of both. Both are ascending; what is not is left out.
func common(a, b [][2]uint64) (both [][2]uint64) {
	for len(a) > 0 && len(b) > 0 {
		if first, last := max(a[0][0], b[0][0]), min(a[0][1], b[0][1]); first <= last {
			both = append(both, [2]uint64{first, last})
		}
		if a[0][1] < b[0][1] {
			a = a[1:]
		} else {
			b = b[1:]
		}
	}
	return both
}

// filtered reports whether there are subjects that the export left out.
func (f *File) filtered() bool { return !audit.NewFilter(f.begins.Filter).All() }

func moment(nanoseconds int64) time.Time { return time.Unix(0, nanoseconds).UTC() }

// SequenceAt implements [audit.History].
func (f *File) SequenceAt(ctx context.Context, t time.Time) (uint64, error) {
	for _, l := range f.lines {
		if !moment(l.time).Before(t) {
			return l.sequence, context.Cause(ctx)
		}
	}
	return f.lastSequence() + 1, context.Cause(ctx)
}

// Read implements [audit.History]. With Follow it is an error: nothing comes any more.
func (f *File) Read(ctx context.Context, r audit.Range) iter.Seq2[registry.Stored, error] {
	return func(yield func(registry.Stored, error) bool) {
		if r.Follow {
			yield(registry.Stored{}, errFollow)
			return
		}
		wanted := f.wanted(r.Filter)
		begin := sort.Search(len(f.lines), func(n int) bool { return f.lines[n].sequence >= r.From })
		f.give(ctx, func(each func(line) bool) {
			for _, l := range f.lines[begin:] {
				if r.To > 0 && l.sequence > r.To || wanted[l.subject] && !each(l) {
					return
				}
			}
		}, yield)
	}
}

// Latest implements [audit.History].
func (f *File) Latest(ctx context.Context, before uint64, filters ...string) iter.Seq2[registry.Stored, error] {
	return func(yield func(registry.Stored, error) bool) {
		wanted := f.wanted(filters)
		end := sort.Search(len(f.lines), func(n int) bool { return f.lines[n].sequence >= before })
		var picked []line
		for n := end - 1; n >= 0; n-- {
			if l := f.lines[n]; wanted[l.subject] {
				wanted[l.subject] = false
				picked = append(picked, l)
			}
		}
		slices.Reverse(picked)
		f.give(ctx, slices.Values(picked), yield)
	}
}

// window is how much is read at once.
const window = 256 << 10

// give reads lines and hands on their messages.
func (f *File) give(ctx context.Context, lines iter.Seq[line], yield func(registry.Stored, error) bool) {
	var buffer []byte
	var from int64
	for l := range lines {
		if err := context.Cause(ctx); err != nil {
			yield(registry.Stored{}, err)
			return
		}
		if l.offset < from || l.offset+int64(l.length) > from+int64(len(buffer)) {
			if cap(buffer) < max(window, int(l.length)) {
				buffer = make([]byte, max(window, int(l.length)))
			}
			n, err := f.file.ReadAt(buffer[:cap(buffer)], l.offset)
			if err != nil && !errors.Is(err, io.EOF) {
				yield(registry.Stored{}, fmt.Errorf("export: %w", err))
				return
			}
			buffer, from = buffer[:n], l.offset
		}
		m, err := f.parse(buffer[l.offset-from:], l)
		if err != nil {
			yield(registry.Stored{}, fmt.Errorf("export %s: message #%d: %w", f.path, l.sequence, err))
			return
		}
		if !yield(m, nil) {
			return
		}
	}
}

func (f *File) parse(text []byte, l line) (m registry.Stored, err error) {
	if len(text) < int(l.length) {
		return m, errors.New("the file was cut since it was opened: open it again")
	}
	text = text[:l.length]
	if f.form == JSONL {
		m, err = parseRow(text)
	} else {
		m, err = parseEvent(bytes.TrimPrefix(text, []byte(",")))
	}
	if err == nil && m.Sequence != l.sequence {
		err = errors.New("the file was changed since it was opened: open it again")
	}
	return m, err
}

// wanted tells which subjects match.
func (f *File) wanted(filters []string) []bool {
	filter := audit.NewFilter(filters)
	out := make([]bool, len(f.subjects))
	for n, subject := range f.subjects {
		out[n] = filter.Match(subject)
	}
	return out
}
