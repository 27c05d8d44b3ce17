package archive

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
)

// open opens the file of a part.
func (p part) open() (*os.File, error) { return os.Open(filepath.Join(p.dir, p.File)) }

// load reads the index of a sealed part, or makes it anew from its blocks; then fault
// says why.
func (p part) load(file *os.File, c *coder) (x *index, fault, err error) {
	about, err := file.Stat()
	if err != nil {
		return nil, nil, err
	}
	end := about.Size()
	f, digest, err := readFooter(file, end)
	if err == nil && digest != p.Digest {
		err = damaged("its digest is not the one in the manifest: it was altered or replaced")
	}
	if err == nil {
		if x, err = readIndex(file, f, c); err == nil {
			return x, nil, nil
		}
		end = f.Index
	}
	if !errors.Is(err, errDamaged) && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	fault = err
	begin := int64(0)
	if _, at, err := readHeader(file); err == nil {
		begin = at
	}
	if begin = max(nextBlock(file, begin, end), 0); begin > 0 {
		blocks := newIndexer()
		scan(file, begin, end, c, blocks, false)
		x = blocks.done()
	} else {
		x = &index{}
	}
	x.fill(p.sealed)
	return x, fault, nil
}

// fill marks what a segment is known to hold and an index made anew does not.
func (x *index) fill(s sealed) {
	hole := func(first, last uint64) place {
		return place{offset: -1, first: first, last: last, least: math.MinInt64, greatest: s.Latest.UnixNano()}
	}
	x.places = slices.DeleteFunc(x.places, func(p place) bool { return p.last < s.First || p.first > s.Last })
	n := len(x.places)
	switch {
	case n == 0:
		x.places = []place{hole(s.First, s.Last)}
		return
	case x.places[n-1].last < s.Last:
		x.places = append(x.places, hole(x.places[n-1].last+1, s.Last))
	}
	if x.places[0].first > s.First {
		x.places = slices.Insert(x.places, 0, hole(s.First, x.places[0].first-1))
	}
}

// indexOf returns the index of a part. What can't be read of it is told.
func (a *Archive) indexOf(p part) (*index, error) {
	if p.tail != nil {
		return p.tail, nil
	}
	a.mu.Lock()
	known := a.indexes[p.Number]
	if known != nil {
		a.used++
		known.used = a.used
	}
	a.mu.Unlock()
	if known != nil {
		return known.index, nil
	}
	file, err := p.open()
	if err != nil {
		return nil, err
	}
	defer file.Close()
	x, fault, err := p.load(file, a.coder)
	if err != nil {
		return nil, fmt.Errorf("archive: %w", err)
	}
	if fault != nil {
		a.fault("%s: %w: what can be read of #%d to #%d is answered; restore the file from a copy", filepath.Join(p.dir, p.File), fault, p.First, p.Last)
	}
	a.keep(p.Number, x)
	return x, nil
}

// keep keeps an index, and forgets those that were not used for the longest time.
func (a *Archive) keep(number uint64, x *index) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed || a.indexes[number] != nil {
		return
	}
	a.used++
	a.indexes[number] = &cached{x, a.used}
	a.held += x.size
	for _, at := range x.places {
		if at.offset < 0 {
			a.lost[[2]uint64{at.first, at.last}] = true
		}
	}
	for a.held > cacheBytes && len(a.indexes) > 1 {
		oldest := uint64(0)
		for n, c := range a.indexes {
			if n != number && (oldest == 0 || cmp.Less(c.used, a.indexes[oldest].used)) {
				oldest = n
			}
		}
		a.held -= a.indexes[oldest].index.size
		delete(a.indexes, oldest)
	}
}

// isBroken reports whether a block was found to be unreadable.
func (a *Archive) isBroken(p part, at place) bool {
	if at.offset < 0 {
		return true
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.broken[spot{p.Number, at.offset}]
}

func (a *Archive) isClosed() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.closed
}

// breaks notes a block that can't be read.
func (a *Archive) breaks(p part, at place, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.broken[spot{p.Number, at.offset}] = true
	a.lost[[2]uint64{at.first, at.last}] = true
	a.tell(fmt.Errorf("%s: the block with #%d to #%d is passed over: %w: restore the file from a copy", filepath.Join(p.dir, p.File), at.first, at.last, err))
}
