package archive

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// tail is the file that grows. One goroutine uses it.
type tail struct {
	file   *os.File
	path   string
	header header
	begin  int64 // of the blocks
	end    int64 // of the last whole block
	since  time.Time
	blocks int
	dirty  bool // written and not on disk yet
	broken bool // a write failed: what stands behind end is nothing
}

// makeTail begins a new tail.
func makeTail(dir string, h header) (*tail, error) {
	path := filepath.Join(dir, name(h.Number, tailSuffix))
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	t := &tail{file: file, path: path, header: h}
	content, err := h.encode()
	if err == nil {
		_, err = file.WriteAt(content, 0)
	}
	if err == nil {
		err = syncDirectory(dir)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close(), os.Remove(path))
	}
	t.begin, t.end, t.dirty = int64(len(content)), int64(len(content)), true
	return t, nil
}

// openTail opens the tail that another process left, and cuts off what it did not write
// to its end. A tail without a whole header holds nothing: then the result is nil, and
// the file is gone.
func openTail(dir string, number uint64, c *coder, x *indexer) (t *tail, faults []error, err error) {
	path := filepath.Join(dir, name(number, tailSuffix))
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	about, err := file.Stat()
	if err != nil {
		return nil, nil, errors.Join(err, file.Close())
	}
	h, begin, err := readHeader(file)
	if errors.Is(err, errDamaged) {
		faults = append(faults, fmt.Errorf("%s (%d bytes) is begun anew: %w", path, about.Size(), err))
		return nil, faults, errors.Join(file.Close(), os.Rename(path, path+".damaged"))
	}
	if err != nil {
		return nil, nil, errors.Join(err, file.Close())
	}
	good, found := scan(file, begin, about.Size(), c, x, true)
	for _, f := range found {
		if f.offset < good {
			faults = append(faults, fmt.Errorf("%s: bytes from %d can't be read and are passed over: %w", path, f.offset, f.err))
		}
	}
	t = &tail{file: file, path: path, header: h, begin: begin, end: good, blocks: len(x.places)}
	if x.count > 0 {
		t.since = moment(x.begin)
	}
	if cut := about.Size() - good; cut > 0 {
		faults = append(faults, fmt.Errorf("%s: the last %d bytes were not written to their end and are cut off: what stood in them is taken from the stream again", path, cut))
		if err := t.mend(); err != nil {
			return nil, faults, errors.Join(err, file.Close())
		}
	}
	return t, faults, nil
}

// mend cuts off what stands behind the last whole block.
func (t *tail) mend() error {
	if err := t.file.Truncate(t.end); err != nil {
		return err
	}
	t.broken, t.dirty = false, true
	return nil
}

// append writes one block. When it fails, the tail is as it was before.
func (t *tail) append(block []byte, first time.Time) error {
	if t.broken {
		if err := t.mend(); err != nil {
			return err
		}
	}
	if _, err := t.file.WriteAt(block, t.end); err != nil {
		t.broken = true
		return errors.Join(err, t.mend())
	}
	if t.blocks == 0 {
		t.since = first
	}
	t.end += int64(len(block))
	t.blocks++
	t.dirty = true
	return nil
}

// sync puts all that was written on disk.
func (t *tail) sync() error {
	if t == nil || !t.dirty {
		return nil
	}
	if err := t.file.Sync(); err != nil {
		return err
	}
	t.dirty = false
	return nil
}

// gathering joins the small blocks of a tail to larger ones.
type gathering struct {
	coder   *coder
	index   *indexer
	write   func([]byte) error
	at      int64
	pending []registry.Stored
	bytes   int
}

// take takes the block at an offset of a file: as it is when it is large enough.
func (g *gathering) take(from io.ReaderAt, p place) error {
	h, m, data, err := readBlock(from, p, g.coder)
	if err != nil {
		return err
	}
	if h.count >= blockMessages/2 || h.dataRaw >= blockBytes/2 {
		if err := g.flush(); err != nil {
			return err
		}
		whole := make([]byte, p.size)
		if _, err := from.ReadAt(whole, p.offset); err != nil {
			return err
		}
		return g.put(whole, h, m)
	}
	for _, e := range m.entries {
		stored, err := m.message(e, data)
		if err != nil {
			return err
		}
		g.pending = append(g.pending, stored)
		g.bytes += e.header + e.body
	}
	if len(g.pending) >= blockMessages/2 || g.bytes >= blockBytes/2 {
		return g.flush()
	}
	return nil
}

func (g *gathering) flush() error {
	if len(g.pending) == 0 {
		return nil
	}
	whole, h, err := g.coder.block(g.pending)
	if err != nil {
		return err
	}
	m, err := g.coder.meta(h, whole[headSize:headSize+int(h.metaSize)])
	if err != nil {
		return err
	}
	g.pending, g.bytes = g.pending[:0], 0
	return g.put(whole, h, m)
}

func (g *gathering) put(whole []byte, h head, m meta) error {
	if err := g.write(whole); err != nil {
		return err
	}
	g.index.add(h, m, g.at)
	g.at += int64(len(whole))
	return nil
}

// readWhole reads the bytes of one block. Whole has the length that the head tells.
func readWhole(from io.ReaderAt, p place) (head, []byte, error) {
	whole := make([]byte, p.size)
	if _, err := from.ReadAt(whole, p.offset); errors.Is(err, io.EOF) {
		return head{}, nil, damaged("the block is cut off")
	} else if err != nil {
		return head{}, nil, err
	}
	h, err := parseHead(whole)
	if err == nil && (h.size() != p.size || h.first != p.first || h.last != p.last) {
		err = damaged("the block is not the one that the index names")
	}
	return h, whole, err
}

// readBlock reads one block, and inflates its data.
func readBlock(from io.ReaderAt, p place, c *coder) (head, meta, []byte, error) {
	h, whole, err := readWhole(from, p)
	if err != nil {
		return h, meta{}, nil, err
	}
	packed := whole[headSize:]
	m, err := c.meta(h, packed[:h.metaSize])
	if err != nil {
		return h, m, nil, err
	}
	data, err := c.inflate(packed[h.metaSize:], h.dataSum, h.dataRaw)
	return h, m, data, err
}
