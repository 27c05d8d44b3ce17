package archive

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
)

// Verify reads every file to its end and compares all digests and the chain of the
// segments. It returns what is wrong; none: the archive is as it was written. The error is
// the end of ctx, or what keeps the folder from being read. Progress, which may be nil,
// is told of the bytes that were read.
func (a *Archive) Verify(ctx context.Context, progress func(done, total int64)) (wrong []error, err error) {
	s, err := a.now()
	if err != nil {
		return nil, err
	}
	var done, total int64
	for _, p := range s.parts {
		total += p.Bytes
	}
	told := func(n int) error {
		done += int64(n)
		if progress != nil {
			progress(min(done, total), total)
		}
		return context.Cause(ctx)
	}
	after := s.dropped.Chain
	for _, p := range s.parts {
		h, err := a.verify(p, told)
		if err == nil && h.After != after {
			err = errors.New("it does not continue the chain: a segment before it was altered, replaced or left out")
		}
		if ctx.Err() != nil {
			return wrong, context.Cause(ctx)
		}
		if errors.Is(err, fs.ErrNotExist) && (p.tail != nil || a.dropped(p)) {
			continue // it was sealed or dropped meanwhile
		}
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%s (#%d to #%d): %w", filepath.Join(p.dir, p.File), p.First, p.Last, err))
		}
		if p.tail == nil {
			if p.Chain != chain(after, p.Digest) {
				wrong = append(wrong, fmt.Errorf("%s: the manifest's chain is not that of its digests", filepath.Join(p.dir, p.File)))
			}
			after = p.Chain
		}
	}
	return wrong, nil
}

// verify reads one file to its end.
func (a *Archive) verify(p part, told func(n int) error) (header, error) {
	file, err := p.open()
	if err != nil {
		return header{}, err
	}
	defer file.Close()
	about, err := file.Stat()
	if err != nil {
		return header{}, err
	}
	h, begin, err := readHeader(file)
	if err != nil {
		return h, err
	}
	if p.tail != nil {
		good, faults := scan(file, begin, min(p.Bytes, about.Size()), a.coder, newIndexer(), true)
		for _, f := range faults {
			return h, fmt.Errorf("bytes from %d: %w", f.offset, f.err)
		}
		if good < p.Bytes {
			return h, damaged("it is cut off after %d bytes", good)
		}
		return h, told(int(p.Bytes))
	}
	if about.Size() != p.Bytes {
		return h, damaged("it has %d bytes, not %d", about.Size(), p.Bytes)
	}
	_, stated, err := readFooter(file, about.Size())
	if err != nil {
		return h, err
	}
	digest, err := digestOf(file, about.Size(), told)
	if err == nil && (digest != p.Digest || stated != p.Digest) {
		err = damaged("its SHA-256 is %.16s…, the manifest says %.16s…", digest, p.Digest)
	}
	return h, err
}
