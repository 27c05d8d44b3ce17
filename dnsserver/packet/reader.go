package packet

import "encoding/binary"

// section names the counts of a header by their offset (RFC 1035 §4.1.1).
type section int

const (
	questions   section = 4
	answers     section = 6
	authorities section = 8
	additionals section = 10
)

// reader walks through a packet that has at least a header.
type reader struct {
	packet []byte
	at     int
}

func (r *reader) count(s section) int { return int(binary.BigEndian.Uint16(r.packet[s:])) }

// uint16 reads two bytes; the caller has made sure that they are there.
func (r *reader) uint16() uint16 {
	r.at += 2
	return binary.BigEndian.Uint16(r.packet[r.at-2:])
}

// questionName reads a name without compression: in front of the first question
// there is no name to point to.
func (r *reader) questionName() (wire []byte, ok bool) {
	start := r.at
	for r.at < len(r.packet) {
		length := int(r.packet[r.at])
		r.at++
		if length == 0 {
			return r.packet[start:r.at], r.at-start <= maxWireName
		}
		if length > 63 { // a pointer, or a label type that never came to be (RFC 6891 §5)
			return nil, false
		}
		if r.at += length; r.at-start > maxWireName {
			return nil, false
		}
	}
	return nil, false
}

// record is a resource record; data shares the packet's memory.
type record struct {
	root   bool // its owner is the root
	rrtype uint16
	class  uint16
	ttl    uint32
	data   []byte
}

func (r *reader) record() (record, bool) {
	start := r.at
	if !r.skipName() || len(r.packet)-r.at < 10 {
		return record{}, false
	}
	rr := record{root: r.packet[start] == 0, rrtype: r.uint16(), class: r.uint16()}
	rr.ttl = binary.BigEndian.Uint32(r.packet[r.at:])
	r.at += 4
	length := int(r.uint16())
	if length > len(r.packet)-r.at {
		return record{}, false
	}
	rr.data = r.packet[r.at : r.at+length]
	r.at += length
	return rr, true
}

// skipName passes over a name that may end in a pointer. The pointer must lead
// backwards; it is not followed.
func (r *reader) skipName() bool {
	start := r.at
	for r.at < len(r.packet) && r.at-start < maxWireName {
		length := int(r.packet[r.at])
		switch {
		case length == 0:
			r.at++
			return true
		case length >= 0xc0:
			if r.at+2 > len(r.packet) {
				return false
			}
			to := int(binary.BigEndian.Uint16(r.packet[r.at:]) & 0x3fff)
			r.at += 2
			return to >= headerLength && to < start
		case length > 63:
			return false
		}
		r.at += 1 + length
	}
	return false
}
