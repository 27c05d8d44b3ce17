package archive

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
)

// seal makes a segment of a tail: its blocks gathered to larger ones, an index, a footer
// and a digest. When it fails, the tail stands as it was.
func seal(dir string, t *tail, c *coder) (sealed, error) {
	path := filepath.Join(dir, name(t.header.Number, segmentSuffix))
	file, err := os.OpenFile(path+draftSuffix, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return sealed{}, err
	}
	s, err := writeSegment(file, t, c)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(path+draftSuffix, path)
	}
	if err != nil {
		os.Remove(path + draftSuffix) //nolint:errcheck // a full disk is to have its room back
		return sealed{}, fmt.Errorf("seal %s: %w", path, err)
	}
	return s, syncDirectory(dir)
}

// digesting writes and sums up what is written.
type digesting struct {
	to  *bufio.Writer
	sum hash.Hash
	at  int64
}

func (d *digesting) put(b []byte) error {
	d.sum.Write(b)
	d.at += int64(len(b))
	_, err := d.to.Write(b)
	return err
}

func writeSegment(to io.Writer, t *tail, c *coder) (sealed, error) {
	out := &digesting{to: bufio.NewWriterSize(to, 256<<10), sum: sha256.New()}
	start, err := t.header.encode()
	if err != nil {
		return sealed{}, err
	}
	if err := out.put(start); err != nil {
		return sealed{}, err
	}
	g := &gathering{coder: c, index: newIndexer(), write: out.put, at: out.at}
	if err := g.all(t); err != nil {
		return sealed{}, err
	}
	x := g.index.done()
	if len(x.places) == 0 {
		return sealed{}, errors.New("nothing in it can be read")
	}
	f := x.footer()
	plain := x.pack()
	packed := c.pack.EncodeAll(plain, nil)
	f.Index, f.Packed, f.Plain, f.Sum = out.at, int64(len(packed)), uint32(len(plain)), crc32.Checksum(packed, castagnoli)
	text, err := json.Marshal(f)
	if err != nil {
		return sealed{}, fmt.Errorf("encode a footer: %w", err)
	}
	trail := binary.BigEndian.AppendUint32(nil, uint32(len(text)))
	trail = binary.BigEndian.AppendUint32(trail, crc32.Checksum(text, castagnoli))
	for _, b := range [][]byte{packed, text, trail} {
		if err := out.put(b); err != nil {
			return sealed{}, err
		}
	}
	digest := out.sum.Sum(nil)
	if _, err := out.to.Write(digest); err != nil {
		return sealed{}, err
	}
	s := sealed{
		Number: t.header.Number, File: name(t.header.Number, segmentSuffix), First: f.First, Last: f.Last, Begin: f.Begin, End: f.End, Latest: f.Latest,
		Messages: f.Messages, Bytes: out.at + sha256.Size, Raw: f.Raw, Digest: hex.EncodeToString(digest), Gaps: f.Gaps, Break: t.header.Break,
		Judged: t.header.Judged,
	}
	s.Chain = chain(t.header.After, s.Digest)
	return s, out.to.Flush()
}

// all takes every block of a tail that can be read.
func (g *gathering) all(t *tail) error {
	blocks := newIndexer()
	scan(t.file, t.begin, t.end, g.coder, blocks, false)
	torn := false
	for _, p := range blocks.places {
		if p.offset < 0 {
			torn = true
			continue
		}
		if torn {
			if err := g.flush(); err != nil {
				return err
			}
			g.index.torn(head{first: p.first, least: p.least}, true)
		}
		err := g.take(t.file, p)
		if err != nil && !errors.Is(err, errDamaged) {
			return err
		}
		torn = err != nil
	}
	return g.flush()
}
