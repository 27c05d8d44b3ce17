package archive

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"path/filepath"
	"time"
)

// version is the version of the format that this package writes. It reads this one alone.
const version = 1

const (
	magic      = "SEAMARKA"
	fixedHead  = len(magic) + 2 + 4 + 4
	maxHeader  = 1 << 20
	trailSize  = 4 + 4 + sha256.Size // length and CRC of the footer, digest of all before
	maxIndex   = 512 << 20
	scanWindow = 1 << 20

	segmentSuffix = ".segment"
	tailSuffix    = ".tail"
	draftSuffix   = ".tmp"
	manifestName  = "manifest"
	lockName      = "lock"
)

// ErrVersion says that an archive is of another version.
var ErrVersion = errors.New("the archive is of another version")

// header is what the tail and a segment begin with.
type header struct {
	Archive string `json:"archive"` // names the archive at random
	Number  uint64 `json:"number"`  // of the segment, from 1
	After   string `json:"after"`   // the chain of the segments before it, hex; "" for the first
	Began   uint64 `json:"began"`   // the first sequence that the stream ever had, when the archive began
	Break   *Break `json:"break,omitempty"`

	Judged *judged `json:"judged,omitempty"` // nil: by a version that did not
}

// judged says that the jumps in the sequences before and in a file were judged when it was
// written: what is among Gone the stream had dropped by itself. All else is missing.
type judged struct {
	Gone [][2]uint64 `json:"gone,omitempty"`
}

// footer is what a segment ends with, but for its length, checksum and digest.
type footer struct {
	First    uint64    `json:"first"`
	Last     uint64    `json:"last"`
	Begin    time.Time `json:"begin"` // when First was stored
	End      time.Time `json:"end"`   // when Last was
	Latest   time.Time `json:"latest"`
	Messages uint64    `json:"messages"`
	Raw      int64     `json:"raw"` // bytes of the messages, not compressed
	Gaps     []Gap     `json:"gaps,omitempty"`
	Index    int64     `json:"index"` // where the index begins, and the blocks end
	Packed   int64     `json:"packed"`
	Plain    uint32    `json:"plain"`
	Sum      uint32    `json:"sum"` // CRC-32C of the index
}

// moment turns Unix nanoseconds into a time.
func moment(nanoseconds int64) time.Time { return time.Unix(0, nanoseconds).UTC() }

// name is the file of a segment or tail.
func name(number uint64, suffix string) string { return fmt.Sprintf("%08d%s", number, suffix) }

// chain joins a digest to the chain before it. All are hex.
func chain(before, digest string) string {
	a, _ := hex.DecodeString(before)
	b, _ := hex.DecodeString(digest)
	sum := sha256.Sum256(append(a, b...))
	return hex.EncodeToString(sum[:])
}

func (h header) encode() ([]byte, error) {
	text, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("encode a header: %w", err)
	}
	out := binary.BigEndian.AppendUint16([]byte(magic), version)
	out = binary.BigEndian.AppendUint32(out, uint32(len(text)))
	out = binary.BigEndian.AppendUint32(out, crc32.Checksum(text, castagnoli))
	return append(out, text...), nil
}

// readHeader reads the beginning of a tail or segment, and returns where the blocks begin.
func readHeader(from io.ReaderAt) (header, int64, error) {
	var h header
	fixed := make([]byte, fixedHead)
	if _, err := from.ReadAt(fixed, 0); errors.Is(err, io.EOF) {
		return h, 0, damaged("its beginning is cut off")
	} else if err != nil {
		return h, 0, err
	}
	if string(fixed[:len(magic)]) != magic {
		return h, 0, damaged("it does not begin as a file of an archive does")
	}
	if v := binary.BigEndian.Uint16(fixed[len(magic):]); v != version {
		return h, 0, fmt.Errorf("%w: it has version %d, this program reads %d: use the release that wrote it", ErrVersion, v, version)
	}
	length, sum := binary.BigEndian.Uint32(fixed[len(magic)+2:]), binary.BigEndian.Uint32(fixed[len(magic)+6:])
	if length > maxHeader {
		return h, 0, damaged("its header has %d bytes", length)
	}
	text := make([]byte, length)
	if _, err := from.ReadAt(text, int64(fixedHead)); errors.Is(err, io.EOF) {
		return h, 0, damaged("its header is cut off")
	} else if err != nil {
		return h, 0, err
	}
	if crc32.Checksum(text, castagnoli) != sum {
		return h, 0, damaged("the checksum of its header is wrong")
	}
	if err := json.Unmarshal(text, &h); err != nil {
		return h, 0, damaged("its header can't be read: %w", err)
	}
	return h, int64(fixedHead) + int64(length), nil
}

// readFooter reads the end of a segment: its footer and digest.
func readFooter(from io.ReaderAt, size int64) (f footer, digest string, err error) {
	trail := make([]byte, trailSize)
	if size < int64(fixedHead+trailSize) {
		return f, "", damaged("it has only %d bytes", size)
	}
	if _, err := from.ReadAt(trail, size-int64(trailSize)); err != nil {
		return f, "", err
	}
	length := int64(binary.BigEndian.Uint32(trail))
	if length > maxHeader || length > size-int64(trailSize) {
		return f, "", damaged("its footer has %d bytes", length)
	}
	text := make([]byte, length)
	if _, err := from.ReadAt(text, size-int64(trailSize)-length); err != nil {
		return f, "", err
	}
	if crc32.Checksum(text, castagnoli) != binary.BigEndian.Uint32(trail[4:]) {
		return f, "", damaged("the checksum of its footer is wrong")
	}
	if err := json.Unmarshal(text, &f); err != nil {
		return f, "", damaged("its footer can't be read: %w", err)
	}
	if f.First == 0 || f.Last < f.First || f.Index < int64(fixedHead) || f.Packed < 0 || f.Index > size || f.Packed > size-f.Index || f.Plain > maxIndex {
		return f, "", damaged("its footer has impossible numbers")
	}
	return f, hex.EncodeToString(trail[8:]), nil
}

// readIndex reads the index of a segment.
func readIndex(from io.ReaderAt, f footer, c *coder) (*index, error) {
	packed := make([]byte, f.Packed)
	if _, err := from.ReadAt(packed, f.Index); err != nil {
		return nil, err
	}
	raw, err := c.inflateIndex(packed, f.Sum, f.Plain)
	if err != nil {
		return nil, err
	}
	x, err := parseIndex(raw, f.Index)
	if err != nil {
		return nil, err
	}
	x.begin, x.end, x.count, x.raw, x.gaps = f.Begin.UnixNano(), f.End.UnixNano(), f.Messages, f.Raw, f.Gaps
	if len(x.places) == 0 || x.places[0].first != f.First || x.places[len(x.places)-1].last != f.Last {
		return nil, damaged("the index and the footer do not agree")
	}
	return x, nil
}

// digestOf returns the SHA-256 of all of a sealed file but its last 32 bytes, hex.
// Told is called with the bytes that were read, and ends it with its error.
func digestOf(from io.ReaderAt, size int64, told func(n int) error) (string, error) {
	sum := sha256.New()
	in := io.NewSectionReader(from, 0, size-sha256.Size)
	buffer := make([]byte, 256<<10)
	for {
		n, err := in.Read(buffer)
		sum.Write(buffer[:n])
		if told != nil && n > 0 {
			if err := told(n); err != nil {
				return "", err
			}
		}
		if errors.Is(err, io.EOF) {
			return hex.EncodeToString(sum.Sum(nil)), nil
		}
		if err != nil {
			return "", err
		}
	}
}

// fault is something damaged that was found in a file.
type fault struct {
	offset int64
	err    error
}

// scan makes an index of the blocks between two offsets, without reading what is in them,
// but for its checksum when it is thorough. It goes on behind what is damaged. Good is where the last whole block ends.
func scan(from io.ReaderAt, begin, end int64, c *coder, x *indexer, thorough bool) (good int64, faults []fault) {
	torn, highest := false, x.spot.sequence
	good = begin
	buffer := make([]byte, headSize)
	for at := begin; at < end; {
		h, m, err := scanBlock(from, at, end, buffer, c, thorough)
		if err == nil && highest >= h.first {
			err = damaged("the block begins with #%d, behind #%d", h.first, highest)
		}
		if err != nil {
			faults = append(faults, fault{at, err})
			torn = true
			if at = nextBlock(from, at+1, end); at < 0 {
				break
			}
			continue
		}
		if torn {
			x.torn(h, false)
		}
		x.add(h, m, at)
		torn, highest = false, h.last
		at += h.size()
		good = at
	}
	return good, faults
}

func scanBlock(from io.ReaderAt, at, end int64, buffer []byte, c *coder, thorough bool) (head, meta, error) {
	if end-at < int64(headSize) {
		return head{}, meta{}, damaged("a block's head is cut off")
	}
	if _, err := from.ReadAt(buffer, at); err != nil {
		return head{}, meta{}, err
	}
	h, err := parseHead(buffer)
	if err != nil {
		return h, meta{}, err
	}
	if h.size() > end-at {
		return h, meta{}, damaged("a block is cut off")
	}
	packed := make([]byte, h.metaSize)
	if _, err := from.ReadAt(packed, at+int64(headSize)); err != nil {
		return h, meta{}, err
	}
	if thorough {
		data := make([]byte, h.dataSize)
		if _, err := from.ReadAt(data, at+int64(headSize)+int64(h.metaSize)); err != nil {
			return h, meta{}, err
		}
		if crc32.Checksum(data, castagnoli) != h.dataSum {
			return h, meta{}, damaged("the checksum is wrong")
		}
	}
	m, err := c.meta(h, packed)
	return h, m, err
}

// nextBlock looks for the next whole head; less than 0: there is none.
func nextBlock(from io.ReaderAt, at, end int64) int64 {
	buffer := make([]byte, scanWindow)
	for at < end-int64(headSize) {
		n, err := from.ReadAt(buffer[:min(int64(len(buffer)), end-at)], at)
		if n < headSize || err != nil && !errors.Is(err, io.EOF) {
			return -1
		}
		for i := 0; ; i++ {
			found := bytes.Index(buffer[i:n], []byte(blockMagic))
			if found < 0 || i+found+headSize > n {
				break
			}
			if i += found; isHead(buffer[i:n]) {
				return at + int64(i)
			}
		}
		at += int64(n - headSize + 1)
	}
	return -1
}

func isHead(b []byte) bool {
	_, err := parseHead(b)
	return err == nil
}

// footer tells what an index holds.
func (x *index) footer() footer {
	f := footer{First: x.places[0].first, Last: x.places[len(x.places)-1].last, Begin: moment(x.begin), End: moment(x.end), Messages: x.count, Raw: x.raw, Gaps: x.gaps}
	latest := int64(math.MinInt64)
	for _, p := range x.places {
		latest = max(latest, p.greatest)
	}
	f.Latest = moment(latest)
	return f
}

// syncDirectory makes renames last.
func syncDirectory(path string) error {
	directory, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(directory.Sync(), directory.Close())
}

// replace writes a file whole or not at all.
func replace(path string, content []byte) error {
	draft := path + draftSuffix
	err := writeWhole(draft, content)
	if err == nil {
		err = os.Rename(draft, path)
	}
	if err != nil {
		os.Remove(draft) //nolint:errcheck // it may not be there, and a full disk is to have its room back
		return err
	}
	return syncDirectory(filepath.Dir(path))
}

func writeWhole(path string, content []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}
