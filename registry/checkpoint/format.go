package checkpoint

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/seamark-mesh/seamark/registry"
)

// Version is the version of the format that this package writes. It reads this one alone.
const Version = 1

const (
	magic     = "SEAMARK\x00"
	fixedHead = len(magic) + 2 + 4
	maxHeader = 64 << 10

	// MaxFile bounds a file in bytes, and maxInflated its body.
	MaxFile     = 1 << 30
	maxInflated = 8 << 30
	maxFacts    = 10_000_000
	maxWindow   = 8 << 20 // bytes that a decoder may be made to keep

	// MaxBefore bounds how many streams of before a checkpoint tells of.
	MaxBefore = 16
)

// Checkpoint is what a reader knew at one moment.
type Checkpoint struct {
	Zone     string    // name of the zone that the reader was configured for
	Created  time.Time // when the stream was made: another moment is another stream
	Sequence uint64    // of the last message that was taken in
	Current  time.Time // by this machine's clock: when the View was last known to be current
	Stored   time.Time // by the stream's clock: the latest message
	Facts    []registry.Message

	// Before are the moments at which the streams were made in whose place this one is, the
	// latest last, as far as the reader has met them. [MaxBefore] at most are kept.
	Before []time.Time
}

// header is what stands before the facts, to be read without them.
type header struct {
	Zone    string    `json:"zone"`
	Created time.Time `json:"created"`

	Before []time.Time `json:"before,omitempty"` // earlier releases neither write nor read it

	Sequence uint64    `json:"sequence"`
	Current  time.Time `json:"current"`
	Stored   time.Time `json:"stored"`
	Count    int       `json:"count"`
}

// Errors of [Decode]; each is wrapped with what was found. [ErrDamaged] is what a
// crash, a full disk or a faulty one leaves.
var (
	ErrDamaged = errors.New("the checkpoint is damaged")
	ErrVersion = errors.New("the checkpoint is of another version")
	ErrZone    = errors.New("the checkpoint is of another zone")
)

// Encode writes a checkpoint. It holds one event in memory besides the compressor's window.
func Encode(to io.Writer, c Checkpoint) error {
	head, err := json.Marshal(header{
		Zone: c.Zone, Created: c.Created, Sequence: c.Sequence, Current: c.Current, Stored: c.Stored, Count: len(c.Facts),
		Before: c.Before[max(0, len(c.Before)-MaxBefore):],
	})
	if err != nil {
		return fmt.Errorf("encode the checkpoint's header: %w", err)
	}
	sum := sha256.New()
	w := io.MultiWriter(to, sum)
	start := binary.BigEndian.AppendUint16([]byte(magic), Version)
	start = binary.BigEndian.AppendUint32(start, uint32(len(head)))
	if _, err := w.Write(append(start, head...)); err != nil {
		return err
	}
	body, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(maxWindow/2))
	if err != nil {
		return fmt.Errorf("encode the checkpoint: %w", err)
	}
	var record []byte
	for _, m := range c.Facts {
		if record, err = appendFact(record[:0], m); err == nil {
			_, err = body.Write(record)
		}
		if err != nil {
			return errors.Join(err, body.Close())
		}
	}
	if err := body.Close(); err != nil {
		return err
	}
	_, err = to.Write(sum.Sum(nil))
	return err
}

// appendFact appends one fact. An event that would not pass the door again, because
// it is longer than the one it came from, is cut as a writer does it.
func appendFact(to []byte, m registry.Message) ([]byte, error) {
	if m.Event == nil {
		return nil, fmt.Errorf("encode the checkpoint: the fact at sequence %d has no event", m.Sequence)
	}
	event, err := registry.Encode(m.Event)
	if err == nil && len(event) > registry.MaxBody {
		var cut *registry.Event
		if cut, err = registry.Truncate(m.Event, registry.MaxBody); err == nil {
			event, err = registry.Encode(cut)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("encode the checkpoint: %w", err)
	}
	to = binary.AppendUvarint(to, m.Sequence)
	stored := int64(0)
	if !m.Stored.IsZero() {
		stored = m.Stored.UnixNano()
	}
	to = binary.AppendVarint(to, stored)
	to = binary.AppendUvarint(to, uint64(len(event)))
	return append(to, event...), nil
}

// Decode reads a checkpoint for a zone. The error wraps [ErrDamaged], [ErrVersion] or
// [ErrZone].
func Decode(file []byte, zone string) (Checkpoint, error) {
	damaged := func(format string, detail ...any) (Checkpoint, error) {
		return Checkpoint{}, fmt.Errorf("%w: %w", ErrDamaged, fmt.Errorf(format, detail...))
	}
	switch {
	case len(file) == 0:
		return damaged("it is empty")
	case len(file) > MaxFile:
		return damaged("it has %d bytes, more than %d", len(file), MaxFile)
	case len(file) < fixedHead+sha256.Size:
		return damaged("it has only %d bytes", len(file))
	case string(file[:len(magic)]) != magic:
		return damaged("it does not begin as a checkpoint does")
	}
	if v := binary.BigEndian.Uint16(file[len(magic):]); v != Version {
		return Checkpoint{}, fmt.Errorf("%w: it has version %d, this program reads %d: it will be written anew; to use it, run the release that wrote it", ErrVersion, v, Version)
	}
	content, sum := file[:len(file)-sha256.Size], file[len(file)-sha256.Size:]
	if have := sha256.Sum256(content); !bytes.Equal(have[:], sum) {
		return damaged("its checksum is wrong: it was not written to the end, or was changed since")
	}
	length := binary.BigEndian.Uint32(content[len(magic)+2:])
	if length > maxHeader || int(length) > len(content)-fixedHead {
		return damaged("its header has %d bytes", length)
	}
	var h header
	if err := json.Unmarshal(content[fixedHead:fixedHead+int(length)], &h); err != nil {
		return damaged("its header can't be read: %w", err)
	}
	if h.Count < 0 || h.Count > maxFacts {
		return damaged("it speaks of %d facts", h.Count)
	}
	if h.Zone != zone {
		return Checkpoint{}, fmt.Errorf("%w: it is of %q, this configuration is for %q: set another checkpoint.path, or remove the file", ErrZone, clip(h.Zone), zone)
	}
	c := Checkpoint{
		Zone: h.Zone, Created: h.Created, Sequence: h.Sequence, Current: h.Current, Stored: h.Stored,
		Before: h.Before[max(0, len(h.Before)-MaxBefore):],
	}
	var err error
	if c.Facts, err = decodeFacts(content[fixedHead+int(length):], h); err != nil {
		return damaged("%w", err)
	}
	return c, nil
}

// decodeFacts reads as many facts as the header speaks of.
func decodeFacts(body []byte, h header) ([]registry.Message, error) {
	r, err := zstd.NewReader(bytes.NewReader(body), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(maxInflated))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	in := &factReader{from: io.LimitReader(r, maxInflated), decoder: registry.NewDecoder()}
	facts := make([]registry.Message, 0, min(h.Count, len(body)/8)) // no count makes room for what can't be there
	for n := range h.Count {
		m, err := in.next(h)
		if err != nil {
			return nil, fmt.Errorf("fact %d of %d: %w", n+1, h.Count, err)
		}
		facts = append(facts, m)
	}
	if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("something follows the %d facts: %w", h.Count, err)
	}
	return facts, nil
}

// factReader reads facts through a buffer of its own.
type factReader struct {
	from    io.Reader
	decoder *registry.Decoder
	buffer  []byte
	at, end int
	event   []byte // reused
}

const factBuffer = 64 << 10

// ReadByte implements io.ByteReader.
func (r *factReader) ReadByte() (byte, error) {
	if r.at == r.end {
		if r.buffer == nil {
			r.buffer = make([]byte, factBuffer)
		}
		n, err := io.ReadAtLeast(r.from, r.buffer, 1)
		if n == 0 {
			return 0, err
		}
		r.at, r.end = 0, n
	}
	b := r.buffer[r.at]
	r.at++
	return b, nil
}

// read fills b.
func (r *factReader) read(b []byte) error {
	n := copy(b, r.buffer[r.at:r.end])
	r.at += n
	_, err := io.ReadFull(r.from, b[n:])
	return err
}

func (r *factReader) next(h header) (registry.Message, error) {
	var none registry.Message
	sequence, err := binary.ReadUvarint(r)
	if err != nil {
		return none, err
	}
	nanos, err := binary.ReadVarint(r)
	if err != nil {
		return none, err
	}
	length, err := binary.ReadUvarint(r)
	switch {
	case err != nil:
		return none, err
	case length > registry.MaxBody:
		return none, fmt.Errorf("its event has %d bytes, more than %d", length, registry.MaxBody)
	case sequence > h.Sequence:
		return none, fmt.Errorf("its sequence %d is beyond the checkpoint's %d", sequence, h.Sequence)
	}
	if uint64(cap(r.event)) < length {
		r.event = make([]byte, length)
	}
	r.event = r.event[:length]
	if err := r.read(r.event); err != nil {
		return none, err
	}
	event, err := r.decoder.Decode(r.event)
	if err != nil {
		return none, err
	}
	// An epoch is held to the time at which it was stored, which not all facts tell.
	m := registry.NewMessage(event.Fact(), sequence, h.Stored, event.Epoch, event.Revision, event, nil)
	if m.Refused != nil {
		return none, m.Refused
	}
	m.Stored = time.Time{}
	if nanos != 0 {
		m.Stored = time.Unix(0, nanos).UTC()
	}
	return m, nil
}

// clip bounds what of a file is shown.
func clip(s string) string { return s[:min(len(s), 64)] }

// Age returns how long ago the View of the checkpoint was known to be current, by this
// machine's clock; never less than 0.
func (c Checkpoint) Age(now time.Time) time.Duration {
	if c.Current.IsZero() {
		return time.Duration(math.MaxInt64)
	}
	return max(0, now.Sub(c.Current))
}
