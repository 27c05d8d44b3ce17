package packet

import (
	"encoding/binary"
	"errors"

	"github.com/miekg/dns"
)

// Errors of [Parse] for packets that are not to be answered at all.
var (
	ErrShort    = errors.New("packet: shorter than a header")
	ErrResponse = errors.New("packet: a response, not a query")
)

const (
	headerLength = 12
	maxWireName  = 255 // RFC 1035 §2.3.4
)

// Query is one query as far as its packet could be read. It shares the packet's
// memory: use it before the packet's buffer is used again.
type Query struct {
	ID     uint16
	Opcode int  // RFC 6895 §2.2
	RD     bool // recursion desired

	// RCode other than NOERROR says that the packet itself must be answered so,
	// without a look at the zone: FORMERR, NOTIMP, BADVERS or NOTAUTH (signed by a
	// key that nobody has, RFC 8945 §5.2.1).
	RCode int

	// Signed says that there is a TSIG record, at the end. RCode is NOTAUTH then, and
	// stays so unless somebody who knows the key says otherwise.
	Signed bool

	Question []byte // name, type and class on the wire; nil when they could not be read
	Name     string // of the question: ASCII lower-case, presentation format
	Type     uint16
	Class    uint16

	EDNS    bool   // there is an OPT record
	Version uint8  // of EDNS
	Size    uint16 // the UDP payload that the client takes, as it says
	DO      bool   // DNSSEC OK (RFC 3225)
	Asked   Asked  // by options

	// CookieOnly says that there is no question: the client wants to know whether its
	// cookie is good, and get one (RFC 7873 §5.4).
	CookieOnly bool
}

// Parse reads a packet. The error is [ErrShort] or [ErrResponse], for packets that
// deserve no reply; whatever else is wrong with a packet is its RCode.
func Parse(packet []byte) (Query, error) {
	if len(packet) < headerLength {
		return Query{}, ErrShort
	}
	if packet[2]&0x80 != 0 {
		return Query{}, ErrResponse
	}
	q := Query{
		ID:     binary.BigEndian.Uint16(packet),
		Opcode: int(packet[2] >> 3 & 0x0f),
		RD:     packet[2]&0x01 != 0,
	}
	r := reader{packet: packet, at: headerLength}
	if q.Opcode != dns.OpcodeQuery {
		q.parseOther(&r)
		return q, nil
	}
	if !q.parseQuestion(&r) || !q.parseRecords(&r) {
		q.RCode = dns.RcodeFormatError
	}
	return q, nil
}

// parseOther reads of a message that is no query whether it has an OPT record, for the
// reply has one then, too (RFC 6891 §6.1.1). A NOTIFY comes back with its question (RFC
// 1996 §4.7): it is understood, and not for a primary.
func (q *Query) parseOther(r *reader) {
	q.RCode = dns.RcodeNotImplemented
	for range r.count(questions) {
		name, ok := r.questionName()
		if !ok || len(r.packet)-r.at < 4 {
			return
		}
		rrtype, class := r.uint16(), r.uint16()
		if q.Opcode == dns.OpcodeNotify && r.count(questions) == 1 {
			q.Name, q.Type, q.Class, q.Question = presentation(name), rrtype, class, r.packet[headerLength:r.at]
		}
	}
	if q.Question != nil {
		q.RCode = dns.RcodeNotAuth
	}
	other := r.count(answers) + r.count(authorities)
	for n := range other + r.count(additionals) {
		record, ok := r.record()
		if !ok {
			return
		}
		if record.rrtype == dns.TypeOPT && record.root && n >= other {
			q.EDNS, q.Size = true, record.class
			q.DO = record.ttl&0x8000 != 0
			return
		}
	}
}

// parseQuestion reads the one question that a query has (RFC 9619), unless it is
// about its cookie alone.
func (q *Query) parseQuestion(r *reader) bool {
	switch r.count(questions) {
	case 0:
		q.CookieOnly = true
		return true
	case 1:
	default:
		return false
	}
	name, ok := r.questionName()
	if !ok || len(r.packet)-r.at < 4 {
		return false
	}
	q.Type, q.Class = r.uint16(), r.uint16()
	q.Name, q.Question = presentation(name), r.packet[headerLength:r.at]
	return true
}

// parseRecords reads what stands behind the question, and decides about it.
func (q *Query) parseRecords(r *reader) bool {
	authority := r.count(authorities)
	if r.count(answers) != 0 || authority != 0 && q.Type != dns.TypeIXFR { // IXFR brings its SOA (RFC 1995 §3)
		return false
	}
	signed := false
	for n := range authority + r.count(additionals) {
		record, ok := r.record()
		if !ok || signed { // a TSIG is the last record (RFC 8945 §5.1)
			return false
		}
		switch {
		case record.rrtype == dns.TypeOPT:
			if n < authority || q.EDNS || !record.root {
				return false
			}
			q.EDNS, q.Size = true, record.class
			q.Version, q.DO = uint8(record.ttl>>16), record.ttl&0x8000 != 0
			if q.Version == 0 && !q.options(record.data) {
				return false
			}
		case record.rrtype == dns.TypeTSIG:
			signed, q.Signed = true, true
		}
	}
	if r.at != len(r.packet) || q.CookieOnly && q.Version == 0 && q.Asked.Cookie == nil {
		return false
	}
	switch {
	case q.Version > 0:
		q.RCode = dns.RcodeBadVers
	case signed:
		q.RCode = dns.RcodeNotAuth
	}
	return true
}

// presentation writes a wire name in lower case. What is not a letter, digit,
// hyphen or underscore is written as \DDD, so that a dot is always a separator.
func presentation(wire []byte) string {
	if len(wire) == 1 {
		return "."
	}
	text := make([]byte, 0, maxWireName)
	for at := 0; wire[at] != 0; {
		label := wire[at+1 : at+1+int(wire[at])]
		for _, c := range label {
			switch {
			case 'A' <= c && c <= 'Z':
				text = append(text, c+'a'-'A')
			case 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_':
				text = append(text, c)
			default:
				text = append(text, '\\', '0'+c/100, '0'+c/10%10, '0'+c%10)
			}
		}
		text = append(text, '.')
		at += 1 + len(label)
	}
	return string(text)
}
