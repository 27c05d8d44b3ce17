package stream

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/textproto"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seamark-mesh/seamark/registry"
)

// Headers of an event's message. The ce- ones are the CloudEvents 1.0 binary
// content mode for NATS, so that any consumer of CloudEvents can read the trail;
// epoch and revision are readable although the body may not be.
const (
	headerEpoch    = "Seamark-Epoch"
	headerRevision = "Seamark-Revision"
	headerHolder   = "Seamark-Holder" // of a lease: which process wrote it

	headerContentType     = "Content-Type"
	headerContentEncoding = "Content-Encoding"
	encodingGzip          = "gzip"
	contentJSON           = "application/json"
)

const (
	compressAbove  = 64 << 10 // bytes of a body
	headroom       = 4 << 10  // bytes that headers may take beside a body
	defaultPayload = 1 << 20  // NATS's own default, until a server has told its limit
)

// encodeEvent makes the message of an event, always the same one for the same
// event and limit (the server's max payload, in bytes). Stored is the event as the
// message says it: another one when its instances had to be cut.
func encodeEvent(e *registry.Event, limit int64) (m *nats.Msg, stored *registry.Event, err error) {
	fact := e.Fact()
	subject, err := Subject(fact)
	if err != nil {
		return nil, nil, err
	}
	if e.ID == "" {
		return nil, nil, fmt.Errorf("an event for %s has no id", subject)
	}
	if limit <= 0 {
		limit = defaultPayload
	}
	body, zipped, stored, err := fit(e, int(max(limit-headroom, limit/2)))
	if err != nil {
		return nil, nil, err
	}
	h := nats.Header{
		nats.MsgIdHdr:     {e.ID},
		headerContentType: {contentJSON},
		"ce-specversion":  {"1.0"},
		"ce-id":           {escape(e.ID)},
		"ce-type":         {"seamark." + string(e.Kind) + ".v1"},
		"ce-source":       {"/seamark/" + string(e.Writer)},
		"ce-time":         {e.Time.UTC().Format(time.RFC3339Nano)},
		"ce-subject":      {escape(aboutWhat(fact))},
	}
	if e.Epoch != 0 || e.Revision != 0 {
		h[headerEpoch] = []string{strconv.FormatUint(e.Epoch, 10)}
		h[headerRevision] = []string{strconv.FormatUint(e.Revision, 10)}
	}
	if zipped {
		h[headerContentEncoding] = []string{encodingGzip}
	}
	return &nats.Msg{Subject: subject, Header: h, Data: body}, stored, nil
}

// aboutWhat names a fact's object for ce-subject.
func aboutWhat(f registry.Fact) string {
	switch {
	case f.Kind == registry.KindService:
		return f.Service.String()
	case f.Name != "":
		return f.Name
	}
	return string(f.Writer)
}

// fit encodes and, when it is large, compresses a body; it cuts the event until
// the result has at most limit bytes and inflates to at most [registry.MaxBody].
func fit(e *registry.Event, limit int) (body []byte, zipped bool, stored *registry.Event, err error) {
	stored = e
	plain, err := registry.Encode(e)
	if err != nil {
		return nil, false, nil, err
	}
	for aim := registry.MaxBody; ; {
		if len(plain) > aim {
			if stored, err = registry.Truncate(e, aim); err != nil {
				return nil, false, nil, err
			}
			if plain, err = registry.Encode(stored); err != nil {
				return nil, false, nil, err
			}
			if len(plain) > aim {
				return nil, false, nil, fmt.Errorf("event %s has %d bytes without its instances, more than %d", clip(e.ID), len(plain), aim)
			}
		}
		body, zipped = plain, len(plain) > compressAbove
		if zipped {
			body = deflate(plain)
		}
		if len(body) <= limit {
			return body, zipped, stored, nil
		}
		aim = int(int64(len(plain)) * int64(limit) / int64(len(body)) * 19 / 20)
	}
}

func deflate(plain []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write(plain) //nolint:errcheck // a bytes.Buffer takes all
	w.Close()      //nolint:errcheck
	return b.Bytes()
}

// escape writes a CloudEvents attribute as a header value: printable ASCII but the
// space, the quotation mark and the percent sign stands, the rest is
// percent-encoded byte by byte.
func escape(s string) string {
	plain := func(c byte) bool { return c > ' ' && c < 0x7f && c != '"' && c != '%' }
	for i := range len(s) {
		if !plain(s[i]) {
			var b strings.Builder
			for i := range len(s) {
				if plain(s[i]) {
					b.WriteByte(s[i])
				} else {
					fmt.Fprintf(&b, "%%%02X", s[i])
				}
			}
			return b.String()
		}
	}
	return s
}

// Decode reads one message of [EventsStream] as it was stored. It never fails:
// what can't be understood is a message with Refused set, which keeps its place in
// the stream and, where the subject is one of ours, its fact.
func Decode(subject string, header nats.Header, data []byte, sequence uint64, stored time.Time) registry.Message {
	m, _ := decode(&registry.Decoder{}, item{subject: subject, header: header, data: data, sequence: sequence, stored: stored})
	return m
}

// decode is Decode, and tells how many bytes the body has once it is inflated.
func decode(d *registry.Decoder, i item) (m registry.Message, size int) {
	fact, err := ParseSubject(i.subject)
	if err != nil {
		return registry.Message{Sequence: i.sequence, Stored: i.stored, Refused: refuse("subject", err.Error())}, 0
	}
	epoch, badEpoch := number(i.header, headerEpoch)
	revision, badRevision := number(i.header, headerRevision)
	if badEpoch || badRevision {
		return registry.Message{
			Fact: fact, Sequence: i.sequence, Stored: i.stored,
			Refused: refuse("headers", "the epoch or revision in the headers is no number"),
		}, 0
	}
	var body []byte
	var event *registry.Event
	refused := i.judge()
	if refused == nil {
		body, refused = plainBody(i.header, i.data)
	}
	if refused == nil {
		event, refused = decodeBody(d, body)
	}
	return registry.NewMessage(fact, i.sequence, i.stored, epoch, revision, event, refused), len(body)
}

// plainBody undoes the compression.
func plainBody(header nats.Header, data []byte) ([]byte, *registry.Refusal) {
	switch encoding := header.Get(headerContentEncoding); encoding {
	case "":
		return data, nil
	case encodingGzip:
		return inflate(data)
	default:
		return nil, refuse("encoding", "content encoding "+strconv.Quote(clip(encoding))+" is not understood")
	}
}

// decodeBody returns exactly one of both.
func decodeBody(d *registry.Decoder, body []byte) (*registry.Event, *registry.Refusal) {
	event, err := d.Decode(body)
	if err == nil {
		return event, nil
	}
	var refused *registry.Refusal
	if !errors.As(err, &refused) || refused == nil {
		refused = refuse("not-json", clip(err.Error()))
	}
	return nil, refused
}

// inflate reads at most [registry.MaxBody] bytes, so that a small message can't
// fill the memory.
func inflate(data []byte) ([]byte, *registry.Refusal) {
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, refuse("encoding", "the body is no gzip: "+clip(err.Error()))
	}
	plain, err := io.ReadAll(io.LimitReader(r, registry.MaxBody+1))
	switch {
	case len(plain) > registry.MaxBody:
		return nil, refuse("too-large", fmt.Sprintf("a body inflates to more than %d bytes", registry.MaxBody))
	case err != nil:
		return nil, refuse("encoding", "the body is no whole gzip: "+clip(err.Error()))
	}
	return plain, nil
}

// number reads a header; one that is missing is 0.
func number(h nats.Header, key string) (n uint64, bad bool) {
	values := h[key]
	if len(values) == 0 {
		return 0, false
	}
	n, err := strconv.ParseUint(values[0], 10, 64)
	return n, err != nil || len(values) > 1
}

func refuse(reason, detail string) *registry.Refusal {
	return &registry.Refusal{Reason: reason, Detail: detail}
}

// lastValue returns the last value of a header. The server appends its own to those
// of the stored message, where a writer may have put anything.
func lastValue(h nats.Header, key string) string {
	values := h[key]
	if len(values) == 0 {
		values = h[textproto.CanonicalMIMEHeaderKey(key)]
	}
	if len(values) == 0 {
		return ""
	}
	return values[len(values)-1]
}
