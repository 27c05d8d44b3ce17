package archive

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/seamark-mesh/seamark/audit"
)

// Errors of [Open] and of reading.
var (
	ErrNone    = errors.New("there is no archive")
	ErrClosed  = errors.New("the archive is closed")
	errDropped = errors.New("the archive's retention dropped what is asked for")
)

// cacheBytes bounds the memory that indexes take.
const cacheBytes = 96 << 20

// Archive reads the archive in one folder, also while a [Writer] adds to it. It is an
// [audit.History]. Any number of goroutines may use it. Make one with [Open].
type Archive struct {
	dir   string
	coder *coder

	mu      sync.Mutex // guards the fields below
	closed  bool
	listed  os.FileInfo // of the manifest that was read; nil: there was none
	list    manifest
	tail    *growing
	indexes map[uint64]*cached
	used    uint64 // counts uses of indexes
	held    int64  // bytes that they take
	broken  map[spot]bool
	missing map[uint64]bool    // segments
	lost    map[[2]uint64]bool // ranges that were found to be unreadable
	faults  []error
	told    map[string]bool
}

// spot is where a block that can't be read stands.
type spot struct {
	number uint64
	offset int64
}

type cached struct {
	index *index
	used  uint64
}

// growing is a tail as far as it was read.
type growing struct {
	number uint64
	header header
	begin  int64
	good   int64 // up to here it was read
	blocks *indexer
	index  *index
}

// part is one file of the archive: a sealed segment, or the tail.
type part struct {
	sealed
	dir  string
	tail *index // nil: it is sealed
}

// state is the archive at one moment.
type state struct {
	parts   []part
	dropped dropped
	began   uint64
}

var _ audit.History = (*Archive)(nil)

// Open opens the archive in a folder for reading. It writes nothing: a damaged manifest
// or index is made anew in memory from the segments. The error is [ErrNone], or says
// what can't be read at all. Close it after use.
func Open(dir string) (*Archive, error) {
	c, err := newCoder(false)
	if err != nil {
		return nil, err
	}
	a := &Archive{dir: dir, coder: c, indexes: map[uint64]*cached{}, broken: map[spot]bool{}, missing: map[uint64]bool{}, lost: map[[2]uint64]bool{}, told: map[string]bool{}}
	if _, err := a.now(); err != nil {
		c.close()
		return nil, err
	}
	return a, nil
}

// Close gives the memory back. What is still being read ends with [ErrClosed].
func (a *Archive) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	a.indexes, a.held, a.tail = map[uint64]*cached{}, 0, nil
	return nil
}

// now looks what the folder holds.
func (a *Archive) now() (state, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return state{}, ErrClosed
	}
	if err := a.refresh(); err != nil {
		return state{}, fmt.Errorf("archive %s: %w", a.dir, err)
	}
	s := state{dropped: a.list.Dropped, began: a.list.Began, parts: make([]part, 0, len(a.list.segments)+1)}
	for _, listed := range a.list.segments {
		s.parts = append(s.parts, part{sealed: listed, dir: a.dir})
	}
	if t := a.tail; t != nil && len(t.index.places) > 0 {
		f := t.index.footer()
		s.parts = append(s.parts, part{dir: a.dir, tail: t.index, sealed: sealed{
			Number: t.number, File: name(t.number, tailSuffix), First: f.First, Last: f.Last, Begin: f.Begin, End: f.End, Latest: f.Latest,
			Messages: f.Messages, Bytes: t.good, Raw: f.Raw, Gaps: f.Gaps, Break: t.header.Break,
			Judged: t.header.Judged,
		}})
	}
	return s, nil
}

// refresh reads the manifest when it has changed, and what was added to the tail. The
// caller holds mu.
func (a *Archive) refresh() error {
	for range 5 { // a writer may seal the tail between two looks
		about, err := os.Stat(filepath.Join(a.dir, manifestName))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if about == nil || a.listed == nil || !os.SameFile(about, a.listed) || !about.ModTime().Equal(a.listed.ModTime()) || about.Size() != a.listed.Size() {
			list, faults, err := loadManifest(a.dir)
			if err != nil {
				return err
			}
			for _, fault := range faults {
				a.tell(fault)
			}
			a.list, a.listed = list, about
		}
		again, err := a.growTail()
		if err != nil || !again {
			return err
		}
		a.listed = nil
	}
	return nil
}

// growTail reads what was added to the tail; again says that it was sealed meanwhile.
func (a *Archive) growTail() (again bool, err error) {
	tails, err := numbered(a.dir, tailSuffix)
	if err != nil {
		return false, err
	}
	if len(tails) == 0 || tails[len(tails)-1] < a.list.next() {
		a.tail = nil
		sealed, err := numbered(a.dir, segmentSuffix)
		return err == nil && len(sealed) > 0 && sealed[len(sealed)-1] == a.list.next(), err
	}
	number := tails[len(tails)-1]
	path := filepath.Join(a.dir, name(number, tailSuffix))
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer file.Close()
	about, err := file.Stat()
	if err != nil {
		return false, err
	}
	if a.tail == nil || a.tail.number != number || about.Size() < a.tail.good {
		h, begin, err := readHeader(file)
		if errors.Is(err, errDamaged) {
			if about.Size() > 0 { // else it is being made
				a.tell(fmt.Errorf("%s can't be read: %w: the next writer begins it anew", path, err))
			}
			a.tail = nil
			return false, nil
		}
		if err != nil {
			return false, err
		}
		a.tail = &growing{number: number, header: h, begin: begin, good: begin, blocks: newIndexer(), index: &index{}}
	}
	t := a.tail
	if about.Size() > t.good {
		good, found := scan(file, t.good, about.Size(), a.coder, t.blocks, false)
		for _, f := range found {
			if f.offset < good { // behind the last whole block it may be what is being written
				a.tell(fmt.Errorf("%s: bytes from %d can't be read and are passed over: %w", path, f.offset, f.err))
			}
		}
		if good != t.good {
			t.good, t.index = good, t.blocks.done()
		}
	}
	return false, nil
}

// tell keeps a fault once. The caller holds mu.
func (a *Archive) tell(fault error) {
	if text := fault.Error(); !a.told[text] && len(a.faults) < maxListed {
		a.told[text] = true
		a.faults = append(a.faults, fault)
	}
}

func (a *Archive) fault(format string, detail ...any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tell(fmt.Errorf(format, detail...))
}

// Faults tells what is missing: the gaps, and what was found damaged so far. Each is a
// sentence that says what to do; at most 200. More are found as more is read.
func (a *Archive) Faults() []error {
	var out []error
	for _, g := range a.Gaps() {
		if len(out) < maxListed {
			out = append(out, errors.New(g.String()))
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return append(out, a.faults...)
}

// withHoles adds to a span what is not there or was found to be unreadable.
func (a *Archive) withHoles(s state) audit.Span {
	span := s.span()
	for _, g := range s.gaps() {
		span.Holes = append(span.Holes, [2]uint64{g.First, g.Last})
		if !g.Damaged && !g.Missing {
			span.Gone = append(span.Gone, [2]uint64{g.First, g.Last})
		}
	}
	for _, p := range s.parts {
		if p.tail == nil {
			continue
		}
		for _, at := range p.tail.places {
			if at.offset < 0 {
				span.Holes = append(span.Holes, [2]uint64{at.first, at.last})
			}
		}
	}
	a.mu.Lock()
	for hole := range a.lost {
		span.Holes = append(span.Holes, hole)
	}
	a.mu.Unlock()
	span.Holes, span.Gone = clip(span.Holes, span.First, span.Last), clip(span.Gone, span.First, span.Last)
	return span
}

// Breaks returns where the stream was replaced. When the folder can't be read there are
// none: reading says so.
func (a *Archive) Breaks() []Break {
	s, err := a.now()
	if err != nil {
		return nil
	}
	var breaks []Break
	for _, p := range s.parts {
		if p.Break != nil {
			breaks = append(breaks, *p.Break)
		}
	}
	return breaks
}

// Span implements [audit.History].
func (a *Archive) Span(ctx context.Context) (audit.Span, error) {
	s, err := a.now()
	if err != nil {
		return audit.Span{}, err
	}
	return a.withHoles(s), context.Cause(ctx)
}

func (s state) span() audit.Span {
	if len(s.parts) == 0 {
		return audit.Span{First: s.dropped.Last + 1, Last: s.dropped.Last, Began: s.began}
	}
	first, last := s.parts[0], s.parts[len(s.parts)-1]
	return audit.Span{First: first.First, Last: last.Last, Begin: first.Begin, End: last.End, Began: s.began}
}
