package compile

import (
	"encoding/binary"
	"net/netip"

	"github.com/miekg/dns"

	"github.com/seamark-mesh/seamark/dnsserver/cookie"
	"github.com/seamark-mesh/seamark/dnsserver/lookup"
)

// Limits of what the fast path looks at.
const (
	headerLength = 12
	maxQuery     = 512
	maxName      = 255
	optLength    = 11
	optionHeader = 4
)

// Room is how long the buffer for a reply must be.
const Room = headerLength + maxName + 4 + maxBody + optLength + 64 + optionHeader + lookup.MaxDoubt

// Terms are what a reply depends on besides the query and the View.
type Terms struct {
	Payload int    // the longest reply over UDP that we send, and say that we take, in bytes
	Stream  bool   // over TCP: the payload does not limit the reply
	Turn    uint32 // by how much the records of an address RRset are rotated

	Cookies *cookie.Keys // nil: queries with a cookie go the complete path
	Require bool         // so do those whose cookie is not good
	Now     uint32       // Unix seconds
	Sender  Sender       // of the query; asked only when there is a cookie
	Index   int

	// GoodCookie is set by a reply: the query's server cookie is valid.
	GoodCookie bool
}

// Sender tells who sent the datagrams of a batch. [batch.Socket] is one.
type Sender interface {
	From(i int) netip.AddrPort
}

// Reply writes the reply to a query into out, which has at least
// [Room] bytes, and returns its length and RCODE. It returns 0 for whatever is to go
// the complete path: replying, refusing or ignoring is decided there.
func (t *Table) Reply(out, query []byte, terms *Terms) (length, rcode int) {
	if len(query) < headerLength+5 || len(query) > maxQuery || len(t.apex) == 0 {
		return 0, 0
	}
	const queryMask = 0xf8 // QR and opcode
	counts := binary.BigEndian.Uint64(query[4:])
	additional := int(counts & 0xffff)
	if query[2]&queryMask != 0 || counts>>16 != 1<<32 || additional > 1 {
		return 0, 0
	}
	var lower [maxName + 1]byte
	nameEnd := foldName(&lower, query[headerLength:])
	if nameEnd == 0 || len(query) < headerLength+nameEnd+4 {
		return 0, 0
	}
	at := headerLength + nameEnd
	qtype := binary.BigEndian.Uint16(query[at:])
	if binary.BigEndian.Uint16(query[at+2:]) != dns.ClassINET {
		return 0, 0
	}
	at += 4
	terms.GoodCookie = false
	e, ok := readOPT(query[at:], additional)
	if !ok || e.cookie != nil && !e.check(terms) {
		return 0, 0
	}
	b, rcode, ok := t.answer(lower[:nameEnd], qtype)
	if !ok {
		return 0, 0
	}
	e.doubt = t.doubtOf(b, rcode)
	limit := dns.MinMsgSize
	if e.present {
		limit = min(max(int(e.size), dns.MinMsgSize), terms.Payload) - e.length()
	}
	if at+len(b.wire) > limit && !terms.Stream {
		return 0, 0
	}
	copy(out, query[:2])
	out[2] = 0x84 | query[2]&0x01 // QR, AA; RD as asked
	out[3] = byte(rcode)
	copy(out[headerLength:], query[headerLength:at])
	apex := headerLength + nameEnd - len(t.apex)
	end := b.write(out, at, apex, terms.Turn)
	arcount := b.additional
	if e.present {
		end += e.write(out[end:], terms)
		arcount++
	}
	binary.BigEndian.PutUint64(out[4:], 1<<48|uint64(b.answers)<<32|uint64(b.authority)<<16|uint64(arcount))
	return end, rcode
}

// foldName copies a name in lower case and returns its length with the root; 0 when it
// is not a plain name.
func foldName(lower *[maxName + 1]byte, wire []byte) int {
	limit := min(len(wire), maxName)
	for at := 0; at < limit; {
		length := int(wire[at])
		if length == 0 {
			lower[at] = 0
			return at + 1
		}
		if length > 63 || at+1+length >= limit {
			return 0
		}
		lower[at] = wire[at]
		for n := at + 1; n <= at+length; n++ {
			c := wire[n]
			if c-'A' < 26 {
				c += 'a' - 'A'
			}
			lower[n] = c
		}
		at += 1 + length
	}
	return 0
}

// edns is what an OPT record says (RFC 6891).
type edns struct {
	present bool
	size    uint16
	do      bool
	cookie  []byte // the data of a COOKIE option (RFC 7873), of a valid length; nil without
	keep    bool   // the cookie is good, and goes back as it is
	doubt   []byte // data of an EDE option for the reply; empty: none
	client  netip.Addr
}

// readOPT reads what follows the question; false when it is more than an OPT without
// options, or with a cookie as its only one.
func readOPT(rest []byte, count int) (e edns, ok bool) {
	if count == 0 {
		return e, len(rest) == 0
	}
	// root, type, size, extended RCODE, version, flags, length
	if len(rest) < optLength || rest[0] != 0 || binary.BigEndian.Uint16(rest[1:]) != dns.TypeOPT || rest[6] != 0 {
		return e, false
	}
	e = edns{present: true, size: binary.BigEndian.Uint16(rest[3:]), do: rest[7]&0x80 != 0}
	options := rest[optLength:]
	if int(binary.BigEndian.Uint16(rest[9:])) != len(options) {
		return e, false
	}
	if len(options) == 0 {
		return e, true
	}
	if len(options) < optionHeader || binary.BigEndian.Uint16(options) != dns.EDNS0COOKIE ||
		int(binary.BigEndian.Uint16(options[2:])) != len(options)-optionHeader {
		return e, false
	}
	e.cookie = options[optionHeader:]
	return e, cookie.ValidLength(len(e.cookie))
}

// check looks at the cookie; false when the complete path must.
func (e *edns) check(terms *Terms) bool {
	if terms.Cookies == nil {
		return false
	}
	e.client = terms.Sender.From(terms.Index).Addr()
	good, renew := terms.Cookies.Verify(e.cookie, e.client, terms.Now)
	e.keep = good && !renew
	terms.GoodCookie = good
	return good || len(e.cookie) == cookie.ClientLength && !terms.Require
}

func (e *edns) length() int {
	length := optLength
	if e.cookie != nil {
		length += optionHeader + cookie.Length
	}
	if len(e.doubt) > 0 {
		length += optionHeader + len(e.doubt)
	}
	return length
}

// write writes the OPT record of the reply and returns how long it is.
func (e *edns) write(out []byte, terms *Terms) int {
	opt := out[:optLength]
	clear(opt)
	binary.BigEndian.PutUint16(opt[1:], dns.TypeOPT)
	binary.BigEndian.PutUint16(opt[3:], uint16(terms.Payload))
	if e.do {
		opt[7] = 0x80
	}
	length := e.length()
	binary.BigEndian.PutUint16(opt[9:], uint16(length-optLength))
	at := optLength
	if e.cookie != nil {
		binary.BigEndian.PutUint16(out[at:], dns.EDNS0COOKIE)
		binary.BigEndian.PutUint16(out[at+2:], cookie.Length)
		data := out[at+optionHeader:]
		if e.keep {
			copy(data, e.cookie)
		} else {
			terms.Cookies.Append(data[:0], e.cookie, e.client, terms.Now)
		}
		at += optionHeader + cookie.Length
	}
	if len(e.doubt) > 0 {
		binary.BigEndian.PutUint16(out[at:], dns.EDNS0EDE)
		binary.BigEndian.PutUint16(out[at+2:], uint16(len(e.doubt)))
		copy(out[at+optionHeader:], e.doubt)
	}
	return length
}

// doubtOf returns what is to be said with a reply that may no longer hold.
func (t *Table) doubtOf(b *body, rcode int) []byte {
	switch {
	case len(t.doubt) == 0:
		return b.doubt
	case rcode == dns.RcodeNameError:
		return t.doubtAbsent
	}
	return t.doubt
}

// answer finds what is said to a name in lower case, with its root, and a type.
func (t *Table) answer(name []byte, qtype uint16) (b *body, rcode int, ok bool) {
	head := len(name) - len(t.apex)
	if head <= 0 || string(name[head:]) != string(t.apex) {
		return nil, 0, false
	}
	from, top, ok := split(name[:head])
	if !ok || !ours(name[top:head]) {
		return nil, 0, false
	}
	entry := t.find(name[from:head])
	switch {
	case entry == nil:
		if qtype == 0 || qtype > dns.TypeHTTPS || qtype == dns.TypeOPT || t.view.AnyUnknown() {
			return nil, 0, false
		}
		return t.negative, dns.RcodeNameError, !t.negative.complete
	case entry.node == branch && (from > 0 || t.view.AnyUnknown()):
		return nil, 0, false
	}
	n := indexOf(qtype)
	if n == types {
		return nil, 0, false
	}
	if entry.node != branch {
		s := t.sets[entry.node]
		said := &s.answers
		if from > 0 {
			p := s.port(name[2 : 1+name[0]]) // without the underscore
			if p == nil {
				return nil, 0, false
			}
			said = &p.answers
		}
		if s.complete {
			return nil, 0, false
		}
		b = said[n]
	}
	if b == nil {
		b = t.negative
	}
	return b, dns.RcodeSuccess, !b.complete
}

// split walks through the labels above the zone. From is where the name begins whose
// port is asked for, if one is, else 0; top is where the last label begins. It is
// false for names that this path does not know, which are those with an underscore
// elsewhere than in front.
func split(head []byte) (from, top int, ok bool) {
	underscores, labels := 0, 0
	for at := 0; at < len(head); labels++ {
		if at+1+int(head[at]) > len(head) { // a label that reaches into what looks like the zone's name
			return 0, 0, false
		}
		if head[at+1] == '_' {
			if labels != underscores { // not in front
				return 0, 0, false
			}
			underscores++
		}
		top = at
		at += 1 + int(head[at])
		if labels == 1 {
			from = at
		}
	}
	switch underscores {
	case 0:
		return 0, top, true
	case 2:
		second := 1 + int(head[0])
		return from, top, top >= from && string(head[second:from]) == "\x04_tcp"
	}
	return 0, 0, false
}

// ours reports whether a label is one of those that all compiled names end with.
func ours(top []byte) bool {
	return string(top) == "\x03svc" || string(top) == "\x07cluster" || string(top) == "\x02gw"
}

// write copies the records behind the question, which ends at start, and returns
// where they end.
func (b *body) write(out []byte, start, apex int, turn uint32) int {
	if b.stride != 0 {
		first := int(turn%uint32(b.answers)) * int(b.stride)
		set := int(b.stride) * int(b.answers)
		n := copy(out[start:], b.wire[first:set])
		copy(out[start+n:], b.wire[:first])
		copy(out[start+set:], b.wire[set:])
		return start + len(b.wire)
	}
	copy(out[start:], b.wire)
	for _, f := range b.fixes {
		to := start
		if f.apex {
			to = apex
		}
		binary.BigEndian.PutUint16(out[start+int(f.at):], 0xc000|uint16(to+int(f.to)))
	}
	return start + len(b.wire)
}
