package archive

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/seamark-mesh/seamark/registry"
)

// A block ends at whichever of these comes first. Readers accept more, up to the
// bounds below, which keep a hostile file from filling the memory.
const (
	blockMessages = 1000
	blockBytes    = 1 << 20

	maxBlockMessages = 1 << 16
	maxMessage       = 65 << 20 // a message of the server: at most 64 MiB, and its headers
	maxBlockRaw      = maxMessage + blockBytes
	maxWindow        = 8 << 20
)

const (
	blockMagic = "BLK1"
	headSize   = len(blockMagic) + 5*4 + 4*8 + 2*4 + 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errDamaged is in all errors about bytes that are not as they were written.
var errDamaged = errors.New("damaged")

func damaged(format string, detail ...any) error {
	return fmt.Errorf("%w: %w", errDamaged, fmt.Errorf(format, detail...))
}

// head is what stands before a block, to be read without it.
type head struct {
	metaSize, dataSize uint32 // as it is in the file
	metaRaw, dataRaw   uint32 // inflated
	count              uint32
	first, last        uint64 // sequences
	least, greatest    int64  // times, in Unix nanoseconds
	metaSum, dataSum   uint32
}

// size returns the length of the whole block in the file.
func (h head) size() int64 { return int64(headSize) + int64(h.metaSize) + int64(h.dataSize) }

func (h head) append(to []byte) []byte {
	begin := len(to)
	to = append(to, blockMagic...)
	for _, n := range []uint32{h.metaSize, h.dataSize, h.metaRaw, h.dataRaw, h.count} {
		to = binary.BigEndian.AppendUint32(to, n)
	}
	for _, n := range []uint64{h.first, h.last, uint64(h.least), uint64(h.greatest)} {
		to = binary.BigEndian.AppendUint64(to, n)
	}
	to = binary.BigEndian.AppendUint32(to, h.metaSum)
	to = binary.BigEndian.AppendUint32(to, h.dataSum)
	return binary.BigEndian.AppendUint32(to, crc32.Checksum(to[begin:], castagnoli))
}

// parseHead reads what [head.append] wrote.
func parseHead(b []byte) (head, error) {
	if len(b) < headSize {
		return head{}, damaged("a block's head is cut off")
	}
	b = b[:headSize]
	if string(b[:len(blockMagic)]) != blockMagic {
		return head{}, damaged("no block begins here")
	}
	if crc32.Checksum(b[:headSize-4], castagnoli) != binary.BigEndian.Uint32(b[headSize-4:]) {
		return head{}, damaged("the checksum of a block's head is wrong")
	}
	u32 := func(n int) uint32 { return binary.BigEndian.Uint32(b[len(blockMagic)+4*n:]) }
	u64 := func(n int) uint64 { return binary.BigEndian.Uint64(b[len(blockMagic)+20+8*n:]) }
	h := head{
		metaSize: u32(0), dataSize: u32(1), metaRaw: u32(2), dataRaw: u32(3), count: u32(4),
		first: u64(0), last: u64(1), least: int64(u64(2)), greatest: int64(u64(3)),
		metaSum: u32(13), dataSum: u32(14),
	}
	if h.count == 0 || h.count > maxBlockMessages || h.metaRaw > maxBlockRaw || h.dataRaw > maxBlockRaw ||
		h.first == 0 || h.first > h.last || h.last-h.first < uint64(h.count)-1 || h.metaSize > maxBlockRaw || h.dataSize > maxBlockRaw {
		return head{}, damaged("a block's head has impossible numbers")
	}
	return h, nil
}

// entry is one message of a block without its content.
type entry struct {
	sequence     uint64
	time         int64
	subject      int // in the meta's subjects
	offset       int // of the headers in the data
	header, body int // lengths
}

// meta tells what a block holds.
type meta struct {
	subjects []string
	entries  []entry
}

// coder packs and unpacks blocks. Any number of goroutines may unpack.
type coder struct {
	pack   *zstd.Encoder // nil: only for unpacking
	unpack *zstd.Decoder
}

func newCoder(packs bool) (*coder, error) {
	c := &coder{}
	var err error
	if c.unpack, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(maxBlockRaw)); err != nil {
		return nil, fmt.Errorf("zstd: %w", err)
	}
	if packs {
		c.pack, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithWindowSize(maxWindow/4))
	}
	if err != nil {
		return nil, fmt.Errorf("zstd: %w", err)
	}
	return c, nil
}

func (c *coder) close() { c.unpack.Close() }

// inflateIndex is inflate for an index, which may be longer than a block.
func (c *coder) inflateIndex(packed []byte, sum, length uint32) ([]byte, error) {
	if length <= maxBlockRaw {
		return c.inflate(packed, sum, length)
	}
	large, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(maxIndex))
	if err != nil {
		return nil, fmt.Errorf("zstd: %w", err)
	}
	defer large.Close()
	return (&coder{unpack: large}).inflate(packed, sum, length)
}

// inflate undoes the compression; the result must have this length.
func (c *coder) inflate(packed []byte, sum, length uint32) ([]byte, error) {
	if crc32.Checksum(packed, castagnoli) != sum {
		return nil, damaged("the checksum is wrong")
	}
	raw, err := c.unpack.DecodeAll(packed, make([]byte, 0, min(int(length), len(packed)*64+1024)))
	if err != nil {
		return nil, damaged("%w", err)
	}
	if len(raw) != int(length) {
		return nil, damaged("it inflates to %d bytes, not %d", len(raw), length)
	}
	return raw, nil
}

// block makes a block of messages, whose sequences ascend.
func (c *coder) block(messages []registry.Stored) ([]byte, head, error) {
	h := head{count: uint32(len(messages)), first: messages[0].Sequence, last: messages[len(messages)-1].Sequence, least: math.MaxInt64, greatest: math.MinInt64}
	numbers := map[string]uint64{}
	var subjects, rows, data []byte
	before := entry{sequence: h.first}
	for _, m := range messages {
		number, known := numbers[m.Subject]
		if !known {
			number = uint64(len(numbers))
			numbers[m.Subject] = number
			subjects = appendText(subjects, m.Subject)
		}
		at := m.Time.UnixNano()
		h.least, h.greatest = min(h.least, at), max(h.greatest, at)
		begin := len(data)
		data = appendHeader(data, m.Header)
		length := len(data) - begin
		data = append(data, m.Body...)
		rows = binary.AppendUvarint(rows, m.Sequence-before.sequence)
		rows = binary.AppendVarint(rows, at-before.time)
		rows = binary.AppendUvarint(rows, number)
		rows = binary.AppendUvarint(rows, uint64(length))
		rows = binary.AppendUvarint(rows, uint64(len(m.Body)))
		before = entry{sequence: m.Sequence, time: at}
	}
	if len(data) > maxBlockRaw {
		return nil, head{}, fmt.Errorf("the messages from #%d to #%d have %d bytes, more than a block can hold (%d)", h.first, h.last, len(data), maxBlockRaw)
	}
	plain := append(binary.AppendUvarint(nil, uint64(len(numbers))), subjects...)
	plain = append(plain, rows...)
	packedMeta, packedData := c.pack.EncodeAll(plain, nil), c.pack.EncodeAll(data, nil)
	h.metaRaw, h.dataRaw = uint32(len(plain)), uint32(len(data))
	h.metaSize, h.dataSize = uint32(len(packedMeta)), uint32(len(packedData))
	h.metaSum, h.dataSum = crc32.Checksum(packedMeta, castagnoli), crc32.Checksum(packedData, castagnoli)
	out := h.append(make([]byte, 0, h.size()))
	return append(append(out, packedMeta...), packedData...), h, nil
}

// meta reads what a block holds; packed is what stands behind the head.
func (c *coder) meta(h head, packed []byte) (meta, error) {
	raw, err := c.inflate(packed, h.metaSum, h.metaRaw)
	if err != nil {
		return meta{}, err
	}
	in := &cursor{rest: raw}
	var m meta
	number := in.uvarint()
	if number > uint64(h.count) {
		return meta{}, damaged("%d subjects for %d messages", number, h.count)
	}
	m.subjects = make([]string, 0, number)
	for range number {
		m.subjects = append(m.subjects, string(in.text()))
	}
	m.entries = make([]entry, 0, min(int(h.count), len(in.rest)))
	e := entry{sequence: h.first}
	offset := 0
	for n := range h.count {
		step := in.uvarint()
		e.sequence += step
		e.time += in.varint()
		subject, header, body := in.uvarint(), in.uvarint(), in.uvarint()
		switch {
		case in.failed:
			return meta{}, damaged("message %d of %d is cut off", n+1, h.count)
		case n > 0 && step == 0, n == 0 && step != 0, step > h.last-h.first, e.sequence > h.last:
			return meta{}, damaged("the sequence of message %d does not follow", n+1)
		case subject >= number || header > uint64(h.dataRaw) || body > uint64(h.dataRaw) || e.time < h.least || e.time > h.greatest:
			return meta{}, damaged("message %d has impossible numbers", n+1)
		}
		e.subject, e.header, e.body, e.offset = int(subject), int(header), int(body), offset
		offset += e.header + e.body
		m.entries = append(m.entries, e)
	}
	if len(in.rest) > 0 || offset != int(h.dataRaw) || e.sequence != h.last {
		return meta{}, damaged("the block does not hold what its head says")
	}
	return m, nil
}

// message makes one message. It shares nothing with the block but its subject.
func (m *meta) message(e entry, data []byte) (registry.Stored, error) {
	header, err := parseHeader(data[e.offset : e.offset+e.header])
	if err != nil {
		return registry.Stored{}, err
	}
	body := data[e.offset+e.header : e.offset+e.header+e.body]
	return registry.Stored{
		Sequence: e.sequence, Time: time.Unix(0, e.time).UTC(), Subject: m.subjects[e.subject],
		Header: header, Body: slices.Clone(body),
	}, nil
}

func appendText(to []byte, s string) []byte {
	return append(binary.AppendUvarint(to, uint64(len(s))), s...)
}

// appendHeader writes the headers in the order of their names.
func appendHeader(to []byte, header map[string][]string) []byte {
	if len(header) == 0 {
		return to
	}
	to = binary.AppendUvarint(to, uint64(len(header)))
	for _, key := range slices.Sorted(maps.Keys(header)) {
		to = appendText(to, key)
		to = binary.AppendUvarint(to, uint64(len(header[key])))
		for _, value := range header[key] {
			to = appendText(to, value)
		}
	}
	return to
}

// parseHeader reads what appendHeader wrote. All texts share one string, so that a
// message costs few allocations.
func parseHeader(raw []byte) (map[string][]string, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	whole := string(raw)
	in := &cursor{rest: raw}
	text := func() string {
		b := in.text()
		end := len(raw) - len(in.rest)
		return whole[end-len(b) : end]
	}
	keys := in.uvarint()
	if keys > uint64(len(raw)) {
		return nil, damaged("%d headers in %d bytes", keys, len(raw))
	}
	header := make(map[string][]string, keys)
	values := make([]string, 0, keys)
	for range keys {
		key, number := text(), in.uvarint()
		if in.failed || number > uint64(len(in.rest)) {
			break
		}
		begin := len(values)
		for range number {
			values = append(values, text())
		}
		header[key] = values[begin:len(values):len(values)]
	}
	if in.failed || len(in.rest) > 0 || len(header) != int(keys) {
		return nil, damaged("the headers of a message can't be read")
	}
	return header, nil
}

// cursor reads numbers and texts; after the first that is not there it is failed, and
// all that follow are zero.
type cursor struct {
	rest   []byte
	failed bool
}

func (c *cursor) uvarint() uint64 {
	v, n := binary.Uvarint(c.rest)
	return c.take(v, n)
}

func (c *cursor) varint() int64 {
	v, n := binary.Varint(c.rest)
	return int64(c.take(uint64(v), n))
}

func (c *cursor) take(v uint64, n int) uint64 {
	if n <= 0 || c.failed {
		c.failed = true
		return 0
	}
	c.rest = c.rest[n:]
	return v
}

func (c *cursor) text() []byte {
	n := c.uvarint()
	if c.failed || n > uint64(len(c.rest)) {
		c.failed = true
		return nil
	}
	text := c.rest[:n]
	c.rest = c.rest[n:]
	return text
}
