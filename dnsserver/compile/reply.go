package compile

import (
	"encoding/binary"

	"github.com/miekg/dns"
)

// Limits of what the fast path looks at.
const (
	headerLength = 12
	maxQuery     = 512
	maxName      = 255
	optLength    = 11
)

// Room is how long the buffer for a reply must be.
const Room = headerLength + maxName + 4 + maxBody + optLength + 64

// Terms are what a reply depends on besides the query and the View.
type Terms struct {
	Payload int    // the longest reply over UDP that we send, and say that we take, in bytes
	Turn    uint32 // by how much the records of an address RRset are rotated
}

// Reply writes the reply to a query that came over UDP into out, which has at least
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
	e, ok := readOPT(query[at:], additional)
	if !ok {
		return 0, 0
	}
	b, rcode, ok := t.answer(lower[:nameEnd], qtype)
	if !ok {
		return 0, 0
	}
	limit := dns.MinMsgSize
	if e.present {
		limit = min(max(int(e.size), dns.MinMsgSize), terms.Payload) - optLength
	}
	if at+len(b.wire) > limit {
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
		end += e.write(out[end:], uint16(terms.Payload))
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
}

// readOPT reads what follows the question; false when it is more than a plain OPT.
func readOPT(rest []byte, count int) (e edns, ok bool) {
	if count == 0 {
		return e, len(rest) == 0
	}
	// root, type, size, extended RCODE, version, flags, length
	if len(rest) != optLength || rest[0] != 0 || binary.BigEndian.Uint16(rest[1:]) != dns.TypeOPT || rest[6] != 0 || rest[9] != 0 || rest[10] != 0 {
		return e, false
	}
	return edns{present: true, size: binary.BigEndian.Uint16(rest[3:]), do: rest[7]&0x80 != 0}, true
}

func (e *edns) write(out []byte, payload uint16) int {
	opt := out[:optLength]
	clear(opt)
	binary.BigEndian.PutUint16(opt[1:], dns.TypeOPT)
	binary.BigEndian.PutUint16(opt[3:], payload)
	if e.do {
		opt[7] = 0x80
	}
	return optLength
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
		if qtype == 0 || qtype > dns.TypeHTTPS || qtype == dns.TypeOPT {
			return nil, 0, false
		}
		return t.negative, dns.RcodeNameError, !t.negative.complete
	case entry.node == branch && from > 0:
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
		if at > len(head) { // the zone's name ends a label that is longer
			return 0, 0, false
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
