package archive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"

	"github.com/seamark-mesh/seamark/audit"
	"github.com/seamark-mesh/seamark/registry"
)

// ErrFollow says that an archive or an export can't be followed by itself.
var ErrFollow = errors.New("an archive can't be followed by itself: join it with its stream")

// Read implements [audit.History]. What is damaged is passed over: see [Archive.Faults].
// It can't follow: use [Join], where the stream does.
func (a *Archive) Read(ctx context.Context, r audit.Range) iter.Seq2[registry.Stored, error] {
	return func(yield func(registry.Stored, error) bool) {
		if r.Follow {
			yield(registry.Stored{}, ErrFollow)
			return
		}
		ended := false
		err := a.walk(ctx, r.From, r.To, audit.NewFilter(r.Filter), func(m registry.Stored) bool {
			ended = !yield(m, nil)
			return !ended
		}, func(uint64, uint64) bool { return true })
		if err != nil && !ended {
			yield(registry.Stored{}, err)
		}
	}
}

// walk hands on what matches between two sequences (0: the ends), and the ranges that
// can't be read, all in their order, until one of both returns false.
func (a *Archive) walk(ctx context.Context, from, to uint64, f audit.Filter, give func(registry.Stored) bool, hole func(first, last uint64) bool) error {
	w := &walker{archive: a, ctx: ctx, filter: f, give: give, hole: hole, next: max(from, 1), to: to}
	for range 10 {
		s, err := a.now()
		if err != nil {
			return err
		}
		if w.to == 0 {
			w.to = s.span().Last
		}
		if w.begun && w.next <= s.dropped.Last {
			return fmt.Errorf("%w: #%d to #%d, while they were being read; ask again", errDropped, w.next, s.dropped.Last)
		}
		moved, err := w.all(s)
		if err != nil || !moved {
			return err
		}
		w.begun = true
	}
	return fmt.Errorf("archive %s: its files change faster than they can be read", a.dir)
}

// walker reads a range.
type walker struct {
	archive  *Archive
	ctx      context.Context //nolint:containedctx // of one call of walk
	filter   audit.Filter
	give     func(registry.Stored) bool
	hole     func(first, last uint64) bool
	next, to uint64
	begun    bool
	ended    bool // by who takes the messages
}

// all reads the parts of one state; moved says that a file is not there any more,
// because it was sealed or dropped since.
func (w *walker) all(s state) (moved bool, err error) {
	for _, p := range s.parts {
		if p.Last < w.next {
			continue
		}
		if p.First > w.to || w.ended {
			break
		}
		err := w.part(p)
		switch {
		case err == nil:
		case !errors.Is(err, fs.ErrNotExist):
			return false, err
		case p.tail != nil || w.archive.dropped(p):
			return true, nil
		default:
			w.archive.misses(p)
			w.miss(p.First, p.Last)
		}
		w.begun = true
		w.next = max(w.next, p.Last+1)
	}
	return false, nil
}

// misses notes a segment that is not there.
func (a *Archive) misses(p part) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.missing[p.Number] = true
	a.lost[[2]uint64{p.First, p.Last}] = true
	a.tell(fmt.Errorf("%s is missing: #%d to #%d can't be answered; restore it from a copy", filepath.Join(p.dir, p.File), p.First, p.Last))
}

// dropped reports whether retention has taken a part.
func (a *Archive) dropped(p part) bool {
	s, err := a.now()
	return err == nil && s.dropped.Number >= p.Number
}

// miss tells of a range that can't be read.
func (w *walker) miss(first, last uint64) {
	first, last = max(first, w.next), min(last, w.to)
	if first <= last && !w.ended {
		w.ended = !w.hole(first, last)
		w.next = last + 1
	}
}

func (w *walker) part(p part) error {
	x, err := w.archive.indexOf(p)
	if err != nil {
		return err
	}
	var file *os.File
	for n, wanted := range x.wanted(w.filter, w.next, w.to) {
		if !wanted || w.ended {
			continue
		}
		if err := context.Cause(w.ctx); err != nil {
			return err
		}
		if w.archive.isClosed() {
			return ErrClosed
		}
		at := x.places[n]
		if at.offset < 0 {
			w.miss(at.first, at.last)
			continue
		}
		if file == nil {
			if file, err = p.open(); err != nil {
				return err
			}
			defer file.Close()
		}
		err := w.block(file, at)
		if errors.Is(err, errDamaged) {
			w.archive.breaks(p, at, err)
			w.miss(at.first, at.last)
		} else if err != nil {
			return fmt.Errorf("archive: %w", err)
		}
	}
	return nil
}

// block hands on what matches of one block.
func (w *walker) block(file *os.File, at place) error {
	b, err := readPacked(file, at, w.archive.coder)
	if err != nil {
		return err
	}
	wanted := b.wanted(w.filter)
	var data []byte
	for _, e := range b.entries {
		if e.sequence < w.next || e.sequence > w.to || !wanted[e.subject] {
			continue
		}
		if data == nil {
			if data, err = b.data(w.archive.coder); err != nil {
				return err
			}
		}
		stored, err := b.message(e, data)
		if err != nil {
			return err
		}
		w.next = e.sequence + 1
		if !w.give(stored) {
			w.ended = true
			return nil
		}
	}
	w.next = max(w.next, min(at.last, w.to)+1)
	return nil
}

// packed is a block of which only the meta was inflated.
type packed struct {
	head
	meta
	rest []byte
}

func readPacked(file *os.File, p place, c *coder) (packed, error) {
	h, whole, err := readWhole(file, p)
	if err != nil {
		return packed{}, err
	}
	m, err := c.meta(h, whole[headSize:headSize+int(h.metaSize)])
	return packed{h, m, whole[headSize+int(h.metaSize):]}, err
}

func (b packed) data(c *coder) ([]byte, error) { return c.inflate(b.rest, b.dataSum, b.dataRaw) }

// wanted tells which subjects of the block match.
func (b packed) wanted(f audit.Filter) []bool {
	out := make([]bool, len(b.subjects))
	for n, subject := range b.subjects {
		out[n] = f.Match(subject)
	}
	return out
}

// pick is one message that is wanted: where it stands.
type pick struct {
	part     int // of the state's parts
	place    int // of the index
	sequence uint64
	subject  string
}

// Latest implements [audit.History]. Where the latest message of a subject is damaged it
// is the one before: see [Archive.Faults].
func (a *Archive) Latest(ctx context.Context, before uint64, filters ...string) iter.Seq2[registry.Stored, error] {
	return func(yield func(registry.Stored, error) bool) {
		s, picks, err := a.latest(ctx, before, audit.NewFilter(filters))
		ended := false
		if err == nil {
			err = a.fetch(ctx, s, picks, func(m registry.Stored) bool {
				ended = !yield(m, nil)
				return !ended
			})
		}
		if err != nil && !ended {
			yield(registry.Stored{}, err)
		}
	}
}

// latest finds the last message of each subject before a sequence in the archive as it
// is now, and opens the files that they stand in.
func (a *Archive) latest(ctx context.Context, before uint64, f audit.Filter) (state, []pick, error) {
	for range 10 {
		s, err := a.now()
		if err != nil {
			return s, nil, err
		}
		picks, err := a.picks(ctx, s, before, f)
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return s, picks, err
		}
	}
	return state{}, nil, fmt.Errorf("archive %s: its files change faster than they can be read", a.dir)
}

// holes returns the ranges that are known to be unreadable, and those that were archived
// once and lost before they were sealed.
func (a *Archive) holes(s state) [][2]uint64 {
	var out [][2]uint64
	for _, p := range s.parts {
		for _, g := range p.Gaps {
			if g.Damaged {
				out = append(out, [2]uint64{g.First, g.Last})
			}
		}
		x := p.tail
		a.mu.Lock()
		if known := a.indexes[p.Number]; x == nil && known != nil {
			x = known.index
		}
		missing := a.missing[p.Number]
		a.mu.Unlock()
		switch {
		case missing:
			out = append(out, [2]uint64{p.First, p.Last})
		case x != nil:
			for _, at := range x.places {
				if a.isBroken(p, at) {
					out = append(out, [2]uint64{at.first, at.last})
				}
			}
		}
	}
	return out
}

// picks finds the last message of each subject before a sequence, of those that can be
// read. They are in the order of their sequences.
func (a *Archive) picks(ctx context.Context, s state, before uint64, f audit.Filter) ([]pick, error) {
	literals, plain := f.Literals()
	for {
		found, seen := []pick(nil), map[string]bool{}
		for n := len(s.parts) - 1; n >= 0; n-- {
			p := s.parts[n]
			if p.First >= before || plain && len(seen) == len(literals) {
				continue
			}
			if err := context.Cause(ctx); err != nil {
				return nil, err
			}
			x, err := a.indexOf(p)
			if errors.Is(err, fs.ErrNotExist) && p.tail == nil && !a.dropped(p) {
				a.misses(p)
				continue
			}
			if err != nil {
				return nil, err
			}
			x.chosen(f, func(subject int) {
				if name := x.subjects[subject]; !seen[name] {
					if last := a.lastOf(p, x, subject, before); last.sequence > 0 {
						last.part, last.subject = n, name
						seen[name] = true
						found = append(found, last)
					}
				}
			})
		}
		slices.SortFunc(found, func(a, b pick) int { return cmp.Compare(a.sequence, b.sequence) })
		again, err := a.prove(ctx, s, found)
		if err != nil || !again {
			return found, err
		}
	}
}

// lastOf finds the last message of a subject in one part; sequence 0: there is none.
func (a *Archive) lastOf(p part, x *index, subject int, before uint64) pick {
	var last pick
	x.sequences(subject, func(sequence uint64) bool {
		if sequence >= before {
			return false
		}
		if n := x.at(sequence); n < len(x.places) && !a.isBroken(p, x.places[n]) {
			last = pick{place: n, sequence: sequence}
		}
		return true
	})
	return last
}

// prove looks whether all blocks that picks stand in can be read. Again says that one
// can't, which is noted.
func (a *Archive) prove(ctx context.Context, s state, picks []pick) (again bool, err error) {
	err = a.blocks(ctx, s, picks, func(p part, at place, file *os.File, _ []pick) error {
		h, whole, err := readWhole(file, at)
		if err == nil && (crc32.Checksum(whole[headSize:headSize+int(h.metaSize)], castagnoli) != h.metaSum ||
			crc32.Checksum(whole[headSize+int(h.metaSize):], castagnoli) != h.dataSum) {
			err = damaged("the checksum is wrong")
		}
		if errors.Is(err, errDamaged) {
			a.breaks(p, at, err)
			again, err = true, nil
		}
		return err
	})
	return again, err
}

// fetch hands on the messages that were picked.
func (a *Archive) fetch(ctx context.Context, s state, picks []pick, give func(registry.Stored) bool) error {
	err := a.blocks(ctx, s, picks, func(p part, at place, file *os.File, picks []pick) error {
		_, m, data, err := readBlock(file, at, a.coder)
		if errors.Is(err, errDamaged) {
			a.breaks(p, at, err)
			return nil
		}
		if err != nil {
			return err
		}
		for _, e := range m.entries {
			if len(picks) == 0 || picks[0].sequence != e.sequence {
				continue
			}
			picks = picks[1:]
			stored, err := m.message(e, data)
			if err != nil {
				a.breaks(p, at, err)
				continue
			}
			if !give(stored) {
				return errEnded
			}
		}
		return nil
	})
	if errors.Is(err, errEnded) {
		return nil
	}
	return err
}

// errEnded ends a loop whose taker wants no more.
var errEnded = errors.New("no more is wanted")

// blocks calls each once for every block that picks stand in, in their order.
func (a *Archive) blocks(ctx context.Context, s state, picks []pick, each func(p part, at place, file *os.File, picks []pick) error) error {
	var file *os.File
	defer func() {
		if file != nil {
			file.Close()
		}
	}()
	opened := -1
	for len(picks) > 0 {
		first := picks[0]
		n := slices.IndexFunc(picks, func(p pick) bool { return p.part != first.part || p.place != first.place })
		if n < 0 {
			n = len(picks)
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
		p := s.parts[first.part]
		if opened != first.part {
			if file != nil {
				file.Close()
				file = nil
			}
			var err error
			if file, err = p.open(); err != nil {
				return err
			}
			opened = first.part
		}
		x, err := a.indexOf(p)
		if err != nil {
			return err
		}
		if err := each(p, x.places[first.place], file, picks[:n]); err != nil {
			return err
		}
		picks = picks[n:]
	}
	return nil
}
