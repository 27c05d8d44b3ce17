package packet

import (
	"encoding/binary"
	"strings"

	"github.com/miekg/dns"

	"github.com/seamark-mesh/seamark/dnsserver/lookup"
)

// Sizes of messages in bytes.
const (
	MinUDP = 512             // every client takes that (RFC 1035 §4.2.1)
	MaxTCP = 1<<16 - 1       // the length before a message has two bytes
	Room   = MaxTCP + 2*1024 // of the buffer given to [Builder.Build]: the longest reply, and one record on top
)

const (
	flagResponse      = 0x8000
	flagAuthoritative = 0x0400
	flagTruncated     = 0x0200
	flagRecursion     = 0x0100
	optLength         = 11
)

// Limits say how long a reply may be.
type Limits struct {
	Size    int    // of the reply in bytes, at least [MinUDP], at most [MaxTCP]
	Stream  bool   // over TCP: what does not fit is cut, because there is no other way to ask
	Payload uint16 // the UDP payload that we say we take (RFC 6891 §6.2.3)
	Turn    uint32 // by how much the records of an address RRset are rotated
	OPT     OPT    // what the OPT record carries
}

// Outcome tells what had to be done to a reply.
type Outcome struct {
	RCode     int
	Truncated bool // sent with TC and without records
	Cut       bool // over TCP: sent with as many whole records as fit, the first ones
}

// Builder writes replies. One goroutine uses it at a time. The zero Builder is ready.
type Builder struct {
	names   map[string]int // for compression: where a name stands in the reply
	options []byte         // of the OPT record
}

// Build writes the reply to q into buffer, which has at least [Room] bytes, and
// returns the part that was written. Response is what the zone says; it is not
// looked at when the packet itself decides (Query.RCode).
func (b *Builder) Build(buffer []byte, q *Query, response *lookup.Response, limits Limits) ([]byte, Outcome) {
	if q.RCode != dns.RcodeSuccess {
		response = &lookup.Response{RCode: q.RCode}
	}
	reserved := 0
	if q.EDNS {
		b.options = limits.OPT.append(b.options[:0], response.Extended)
		reserved = optLength + len(b.options)
	}
	w := writer{buffer: buffer[:Room], limit: limits.Size - reserved}
	w.at = headerLength + copy(buffer[headerLength:], q.Question)
	b.seed(q)
	w.names = b.names
	outcome := Outcome{RCode: response.RCode}
	flags := uint16(flagResponse | q.Opcode<<11)
	if q.RD && q.Opcode == dns.OpcodeQuery {
		flags |= flagRecursion
	}
	end := w.at
	if response.Authoritative {
		flags |= flagAuthoritative
	}
	switch w.sections(response, limits.Turn) {
	case overflows:
		b.seed(q)
		w.at, w.counts = end, [3]uint16{}
		if limits.Stream {
			w.section(0, response.Answer, 0)
			outcome.Cut = true
		} else {
			flags |= flagTruncated
			outcome.Truncated = true
		}
	case unpackable:
		w.at, w.counts = end, [3]uint16{}
		outcome.RCode = dns.RcodeServerFailure
		flags &^= flagAuthoritative
		limits.OPT.ZoneVersion = nil
		b.options = limits.OPT.append(b.options[:0], nil) // not longer than what was reserved
	}
	if q.EDNS {
		w.opt(q, outcome.RCode, limits.Payload, b.options)
	}
	flags |= uint16(outcome.RCode & 0x0f)
	w.header(q, flags)
	return buffer[:w.at], outcome
}

// seed makes the question's name and the names above it known to compression.
func (b *Builder) seed(q *Query) {
	if b.names == nil {
		b.names = make(map[string]int, 16)
	}
	clear(b.names)
	if q.Question == nil {
		return
	}
	wire, text := headerLength, q.Name
	for len(text) > 1 {
		b.names[text] = wire
		dot := strings.IndexByte(text, '.')
		text = text[dot+1:]
		wire += 1 + int(q.Question[wire-headerLength])
	}
}

// fit says whether records found room.
type fit int

const (
	fits       fit = iota
	overflows      // not all fit
	unpackable     // a record can't be written at all
)

// writer packs records into a reply. Once something did not fit, the compression
// map may name places that were given up: nothing more is packed with it then.
type writer struct {
	buffer []byte
	at     int
	limit  int
	names  map[string]int
	counts [3]uint16 // answer, authority, additional
}

func (w *writer) sections(r *lookup.Response, turn uint32) fit {
	if f := w.section(0, r.Answer, turn); f != fits {
		return f
	}
	if f := w.section(1, r.Authority, 0); f != fits {
		return f
	}
	for rest := r.Additional; len(rest) > 0; {
		set := 1
		for set < len(rest) && sameSet(rest[0], rest[set]) {
			set++
		}
		at, count := w.at, w.counts[2]
		if f := w.section(2, rest[:set], 0); f != fits {
			w.at, w.counts[2] = at, count
			return fits // what is additional may be missing
		}
		rest = rest[set:]
	}
	return fits
}

func sameSet(a, b dns.RR) bool {
	return a.Header().Rrtype == b.Header().Rrtype && a.Header().Name == b.Header().Name
}

// section packs records in order, those of an address RRset rotated by turn.
func (w *writer) section(number int, records []dns.RR, turn uint32) fit {
	first := 0
	if len(records) > 1 && turn != 0 && rotates(records) {
		first = int(turn % uint32(len(records)))
	}
	for n := range records {
		rr := records[(first+n)%len(records)]
		at, err := dns.PackRR(rr, w.buffer, w.at, w.names, true)
		if err != nil {
			return unpackable
		}
		if at > w.limit {
			return overflows
		}
		w.at = at
		w.counts[number]++
	}
	return fits
}

// rotates reports whether the records are one RRset of addresses.
func rotates(records []dns.RR) bool {
	if t := records[0].Header().Rrtype; t != dns.TypeA && t != dns.TypeAAAA {
		return false
	}
	for _, rr := range records[1:] {
		if !sameSet(records[0], rr) {
			return false
		}
	}
	return true
}

func (w *writer) header(q *Query, flags uint16) {
	question, additional := uint16(0), w.counts[2]
	if q.Question != nil {
		question = 1
	}
	if q.EDNS {
		additional++
	}
	for n, v := range []uint16{q.ID, flags, question, w.counts[0], w.counts[1], additional} {
		binary.BigEndian.PutUint16(w.buffer[2*n:], v)
	}
}

// opt writes the OPT record (RFC 6891 §6.1.2): version 0, DO as asked, all other
// flags clear. It goes last, into the room that was kept for it.
func (w *writer) opt(q *Query, rcode int, payload uint16, options []byte) {
	flags := uint16(0)
	if q.DO {
		flags = 0x8000
	}
	b := append(w.buffer[:w.at], 0)
	b = binary.BigEndian.AppendUint16(b, dns.TypeOPT)
	b = binary.BigEndian.AppendUint16(b, payload)
	b = append(b, byte(rcode>>4), 0)
	b = binary.BigEndian.AppendUint16(b, flags)
	b = binary.BigEndian.AppendUint16(b, uint16(len(options)))
	w.at = len(append(b, options...))
}
