package archive

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"
)

// SequenceAt implements [audit.History]. Where the block that holds the answer is damaged
// it is the block's first sequence.
func (a *Archive) SequenceAt(ctx context.Context, t time.Time) (uint64, error) {
	sequence, _, err := a.sequenceAt(ctx, t)
	return sequence, err
}

// sequenceAt is SequenceAt; sure is false where the answer is a place that can't be read.
func (a *Archive) sequenceAt(ctx context.Context, t time.Time) (sequence uint64, sure bool, err error) {
	for range 10 {
		s, err := a.now()
		if err != nil {
			return 0, false, err
		}
		sequence, sure, err = a.search(ctx, s, t)
		if !errors.Is(err, fs.ErrNotExist) { // else it was sealed or dropped meanwhile
			return sequence, sure, err
		}
	}
	return 0, false, fmt.Errorf("archive %s: its files change faster than they can be read", a.dir)
}

func (a *Archive) search(ctx context.Context, s state, t time.Time) (sequence uint64, sure bool, err error) {
	for _, p := range s.parts {
		if p.Latest.Before(t) {
			continue
		}
		if err := context.Cause(ctx); err != nil {
			return 0, false, err
		}
		sequence, sure, err := a.searchPart(p, t)
		if errors.Is(err, fs.ErrNotExist) && p.tail == nil && !a.dropped(p) {
			a.misses(p)
			return p.First, false, nil
		}
		if err != nil || sequence > 0 {
			return sequence, sure, err
		}
	}
	return s.span().Last + 1, true, nil
}

// searchPart is search in one part; 0: there is none.
func (a *Archive) searchPart(p part, t time.Time) (sequence uint64, sure bool, err error) {
	x, err := a.indexOf(p)
	if err != nil {
		return 0, false, err
	}
	for _, at := range x.places {
		if moment(at.greatest).Before(t) {
			continue
		}
		if a.isBroken(p, at) {
			return at.first, false, nil
		}
		file, err := p.open()
		if err != nil {
			return 0, false, err
		}
		b, err := readPacked(file, at, a.coder)
		file.Close()
		if errors.Is(err, errDamaged) {
			a.breaks(p, at, err)
			return at.first, false, nil
		}
		if err != nil {
			return 0, false, fmt.Errorf("archive: %w", err)
		}
		for _, e := range b.entries {
			if !moment(e.time).Before(t) {
				return e.sequence, true, nil
			}
		}
	}
	return 0, false, nil
}
