package archive

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/seamark-mesh/seamark/audit"
	"github.com/seamark-mesh/seamark/registry"
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

// Break is a place where the stream was replaced: from After on, what was archived
// comes from another stream than what stands before.
type Break struct {
	After uint64    `json:"after"` // the last sequence of the former stream
	Time  time.Time `json:"time"`  // when that message was stored
}

// Defaults of [Options], and what they may not go below.
const (
	defaultSegmentBytes = 32 << 20
	defaultSegmentAge   = 24 * time.Hour
	defaultFlush        = time.Second
	MinSegmentBytes     = 64 << 10
)

const maxListed = 100 // faults and gaps that are kept to be told

// Writer appends to the archive in one folder. One goroutine calls CatchUp, Follow and
// Close; Status may be called by any. Make one with [NewWriter].
type Writer struct {
	dir      string
	options  Options
	coder    *coder
	release  func() error
	manifest manifest
	tail     *tail                      // nil: none is begun
	ask      func() (audit.Span, error) // what the history holds now
	latest   registry.Stored            // the last message; Sequence 0: there is none, or it can't be read
	greatest time.Time                  // the latest time of all messages
	last     uint64                     // sequence of the last message that was written
	lastTime time.Time
	pending  []registry.Stored
	bytes    int // of pending

	mu     sync.Mutex // guards the field below
	status Status
}

// NewWriter opens the archive in a folder for writing, and makes the folder when there
// is none (its parent must exist). It cuts off what a crash left of the last block. The
// error is [ErrLocked] when another process writes there. Close it after use.
func NewWriter(dir string, o Options) (*Writer, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.SegmentBytes == 0 {
		o.SegmentBytes = defaultSegmentBytes
	}
	o.SegmentBytes = max(o.SegmentBytes, MinSegmentBytes)
	if o.SegmentAge <= 0 {
		o.SegmentAge = defaultSegmentAge
	}
	if o.Flush <= 0 {
		o.Flush = defaultFlush
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("archive: %w", err)
	}
	c, err := newCoder(true)
	if err != nil {
		return nil, err
	}
	release, err := takeLock(filepath.Join(dir, lockName))
	if err != nil {
		c.close()
		return nil, fmt.Errorf("archive %s: %w", dir, err)
	}
	w := &Writer{dir: dir, options: o, coder: c, release: release}
	if err := w.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("archive %s: %w", dir, err), w.Close())
	}
	return w, nil
}

// load learns what the folder holds, and puts in order what a crash left.
func (w *Writer) load() error {
	m, faults, err := loadManifest(w.dir)
	fresh := errors.Is(err, ErrNone)
	if fresh {
		m, err = newManifest(), nil
	}
	if err != nil {
		return err
	}
	if m.Archive == "" {
		m.Archive = newManifest().Archive
	}
	w.manifest = m
	tails, err := numbered(w.dir, tailSuffix)
	if err != nil {
		return err
	}
	number := m.next()
	if n := len(tails); n > 0 && tails[n-1] > number {
		number = tails[n-1]
		faults = append(faults, fmt.Errorf("the segments before %d are missing in %s: restore them from a copy of the folder", number, w.dir))
	}
	x := newIndexer()
	t, found, err := openTail(w.dir, number, w.coder, x)
	faults = append(faults, found...)
	if err != nil {
		return err
	}
	w.tail = t
	w.status.Gaps, w.status.Bytes = nil, 0
	held := state{dropped: m.Dropped}
	for _, s := range m.segments {
		held.parts = append(held.parts, part{sealed: s})
		w.greatest = later(w.greatest, s.Latest)
	}
	if len(x.places) > 0 {
		f := x.footer()
		held.parts = append(held.parts, part{sealed: sealed{Number: number, First: f.First, Last: f.Last, Begin: f.Begin, End: f.End, Gaps: f.Gaps, Judged: t.header.Judged}})
	}
	w.noteGaps(held.gaps())
	for _, p := range x.places {
		w.greatest = later(w.greatest, moment(p.greatest))
	}
	if err := w.readLatest(x); err != nil {
		faults = append(faults, err)
	}
	for _, fault := range faults {
		w.fault(fault)
	}
	if err := w.store(); err != nil { // also shows that the folder can be written
		return err
	}
	if err := w.sweep(number); err != nil {
		return err
	}
	w.describe(x)
	return nil
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// readLatest reads the last message of all, to know the stream by it.
func (w *Writer) readLatest(x *indexer) error {
	if n := len(x.places); n > 0 {
		return w.readLast(w.tail.file, x.places[n-1])
	}
	n := len(w.manifest.segments)
	if n == 0 {
		return nil
	}
	s := w.manifest.segments[n-1]
	path := filepath.Join(w.dir, s.File)
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	defer file.Close()
	p := part{dir: w.dir, sealed: s}
	index, _, err := p.load(file, w.coder)
	if err == nil && len(index.places) > 0 {
		err = w.readLast(file, index.places[len(index.places)-1])
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func (w *Writer) readLast(file *os.File, p place) error {
	if p.offset < 0 {
		return nil
	}
	_, m, data, err := readBlock(file, p, w.coder)
	if err != nil {
		return err
	}
	w.latest, err = m.message(m.entries[len(m.entries)-1], data)
	return err
}

// sweep removes what a crash left behind: drafts, a tail that was sealed, segments that
// retention took.
func (w *Writer) sweep(number uint64) error {
	drafts, err := filepath.Glob(filepath.Join(w.dir, "*"+draftSuffix))
	if err != nil {
		return err
	}
	tails, err := numbered(w.dir, tailSuffix)
	if err != nil {
		return err
	}
	for _, n := range tails {
		if n < number {
			drafts = append(drafts, filepath.Join(w.dir, name(n, tailSuffix)))
		}
	}
	segments, err := numbered(w.dir, segmentSuffix)
	if err != nil {
		return err
	}
	for _, n := range segments {
		if n <= w.manifest.Dropped.Number {
			drafts = append(drafts, filepath.Join(w.dir, name(n, segmentSuffix)))
		}
	}
	for _, path := range drafts {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// store writes the manifest.
func (w *Writer) store() error {
	content, err := w.manifest.encode()
	if err == nil {
		err = replace(filepath.Join(w.dir, manifestName), content)
	}
	if err != nil {
		return fmt.Errorf("write the manifest: %w", err)
	}
	return nil
}

// describe makes the status anew.
func (w *Writer) describe(x *indexer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := &w.status
	s.First, s.Last, s.Begin, s.End = w.manifest.Dropped.Last+1, w.manifest.Dropped.Last, time.Time{}, w.manifest.Dropped.Time
	if n := len(w.manifest.segments); n > 0 {
		first, last := w.manifest.segments[0], w.manifest.segments[n-1]
		s.First, s.Begin, s.Last, s.End = first.First, first.Begin, last.Last, last.End
	} else if len(x.places) > 0 {
		s.First, s.Begin = x.places[0].first, moment(x.begin)
	}
	if n := len(x.places); n > 0 {
		s.Last, s.End = x.places[n-1].last, moment(x.end)
	}
	w.last, w.lastTime = s.Last, s.End
	w.measure()
}

// measure counts segments and bytes. The caller holds mu.
func (w *Writer) measure() {
	w.status.Segments, w.status.Bytes = len(w.manifest.segments), 0
	for _, s := range w.manifest.segments {
		w.status.Bytes += s.Bytes
	}
	if w.tail != nil {
		w.status.Bytes += w.tail.end
	}
}

func (w *Writer) noteGaps(gaps []Gap) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.status.Gaps = append(w.status.Gaps, gaps...)
	if n := len(w.status.Gaps); n > maxListed {
		w.status.Gaps = slices.Delete(w.status.Gaps, 0, n-maxListed)
	}
}

func (w *Writer) fault(err error) {
	w.options.Logger.Warn("the archive is not whole", "err", err)
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.status.Faults) < maxListed {
		w.status.Faults = append(w.status.Faults, err)
	}
}

// Status tells what the archive holds.
func (w *Writer) Status() Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.status
	s.Gaps, s.Faults = slices.Clone(s.Gaps), slices.Clone(s.Faults)
	return s
}

// Close writes what is not written yet and gives the lock back. Further calls do nothing.
func (w *Writer) Close() error {
	if w.release == nil {
		return nil
	}
	err := w.flush()
	if w.tail != nil {
		err = errors.Join(err, w.tail.sync(), w.tail.file.Close())
		w.tail = nil
	}
	w.coder.close()
	err = errors.Join(err, w.release())
	w.release = nil
	return err
}

// same reports whether two messages are one, in all that was stored.
func same(a, b registry.Stored) bool {
	equal := func(a, b []string) bool { return slices.Equal(a, b) }
	return a.Sequence == b.Sequence && a.Time.Equal(b.Time) && a.Subject == b.Subject && bytes.Equal(a.Body, b.Body) && maps.EqualFunc(a.Header, b.Header, equal)
}
