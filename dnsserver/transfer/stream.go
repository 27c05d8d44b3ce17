package transfer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/miekg/dns"

	"github.com/seamark-mesh/seamark/dnsserver/tsig"
)

const (
	prefix       = 2 // the length in front of a message on TCP (RFC 1035 §4.2.2)
	headerLength = 12
	optLength    = 11

	// fill is how long a message gets. Compression finds only names within the first
	// 16 KiB of a message, so longer ones are no shorter in sum; and other answers on
	// the connection wait for one message at most.
	fill = 16 << 10
)

// errTooLong says that a record needs a message longer than there are.
var errTooLong = errors.New("transfer: a record does not fit into a message")

// Request is what the messages of a reply take from their query.
type Request struct {
	ID       uint16
	RD       bool
	Question []byte      // on the wire
	EDNS     bool        // the first message has an OPT record (RFC 5936 §2.2.5)
	DO       bool        // in it
	Payload  uint16      // that we say we take, in it
	Reply    *tsig.Reply // signs every message; nil when the query was not signed
}

// Stream packs records into messages and gives each to send, with its length in
// front, in one piece that is reused afterwards. It ends with the first error, which
// is send's or says that a record can't be sent.
func Stream(q Request, records iter.Seq[dns.RR], now func() time.Time, send func([]byte) error) error {
	w := writer{request: q, now: now, send: send, names: map[string]int{}, room: dns.MaxMsgSize}
	if q.Reply != nil {
		w.room -= q.Reply.Room()
	}
	w.buffer = make([]byte, prefix+2*dns.MaxMsgSize)
	w.begin()
	for rr := range records {
		if err := w.add(rr); err != nil {
			return err
		}
	}
	return w.flush()
}

// writer packs one message after another.
type writer struct {
	request Request
	now     func() time.Time
	send    func([]byte) error
	room    int // of a message, without its signature
	sent    int // messages

	buffer  []byte // prefix, then the message
	names   map[string]int
	at      int // where the next record begins in the message
	records int
}

func (w *writer) message() []byte { return w.buffer[prefix:] }

func (w *writer) begin() {
	clear(w.names)
	w.at, w.records = headerLength, 0
	if w.sent == 0 { // later messages may do without (RFC 5936 §2.2.1)
		w.at += copy(w.message()[headerLength:], w.request.Question)
	}
}

// add puts a record into the message, or into the next when this one is full.
func (w *writer) add(rr dns.RR) error {
	for {
		end, err := dns.PackRR(rr, w.message()[:dns.MaxMsgSize+fill], w.at, w.names, true)
		switch {
		case err != nil:
			return fmt.Errorf("transfer: %s: %w", rr.Header().Name, err)
		case end <= fill || w.records == 0 && end <= w.room-optLength:
			w.at = end
			w.records++
			return nil
		case w.records == 0:
			return errTooLong
		}
		if err := w.flush(); err != nil {
			return err
		}
	}
}

// flush sends the message that was packed.
func (w *writer) flush() error {
	if w.records == 0 {
		return nil
	}
	message := w.message()
	flags := uint16(0x8400) // a response, authoritative
	if w.request.RD {
		flags |= 0x0100
	}
	questions, additional := uint16(0), uint16(0)
	if w.sent == 0 {
		questions = 1
		if w.request.EDNS {
			w.opt()
			additional = 1
		}
	}
	for n, v := range []uint16{w.request.ID, flags, questions, uint16(w.records), 0, additional} {
		binary.BigEndian.PutUint16(message[2*n:], v)
	}
	message = message[:w.at]
	if w.request.Reply != nil {
		message = w.request.Reply.Sign(message, w.now())
	}
	binary.BigEndian.PutUint16(w.buffer, uint16(len(message)))
	if err := w.send(w.buffer[:prefix+len(message)]); err != nil {
		return err
	}
	w.sent++
	w.begin()
	return nil
}

func (w *writer) opt() {
	b := append(w.message()[:w.at], 0)
	b = binary.BigEndian.AppendUint16(b, dns.TypeOPT)
	b = binary.BigEndian.AppendUint16(b, w.request.Payload)
	flags := uint16(0)
	if w.request.DO {
		flags = 0x8000
	}
	b = append(b, 0, 0)
	b = binary.BigEndian.AppendUint16(b, flags)
	b = binary.BigEndian.AppendUint16(b, 0)
	w.at = len(b)
}
