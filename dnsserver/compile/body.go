package compile

import (
	"encoding/binary"
	"strings"

	"github.com/miekg/dns"

	"github.com/seamark-mesh/seamark/dnsserver/lookup"
)

// maxBody is more than any UDP reply takes.
const maxBody = 4096

// body is what follows the question in a reply, before the OPT record. It is
// immutable.
type body struct {
	wire       []byte
	answers    uint16
	authority  uint16
	additional uint16
	stride     uint16 // not 0: the answers are that long each, and may be rotated
	fixes      []fix
	complete   bool   // only the complete path can say it: too long, or not understood
	doubt      []byte // data of an EDE option (RFC 8914), for clients that use EDNS; empty: none
}

// encodeDoubt makes the data of an EDE option; nil of nil.
func encodeDoubt(e *lookup.ExtendedError) []byte {
	if e == nil {
		return nil
	}
	return append(binary.BigEndian.AppendUint16(nil, e.Code), e.Text...)
}

// fix is a compression pointer (RFC 1035 §4.1.4) that depends on how long the
// question is: the two bytes at `at` lead to `to`, counted from the start of the body
// or from the zone's name within the question.
type fix struct {
	at, to uint16
	apex   bool
}

// owner stands in for the name that is asked: in a reply it is always a pointer to
// the question.
const owner = "."

const pointerToQuestion = 0xc00c

// encoder builds one body.
type encoder struct {
	zone    string
	body    body
	targets map[string]uint16 // names within the data of answers
	scratch []byte
}

// encode makes a body of an answer and what belongs beside it; nil when there is no
// answer. Records of the answer have [owner] as theirs.
func encode(answer, additional []dns.RR) *body {
	if len(answer) == 0 {
		return nil
	}
	e := encoder{targets: map[string]uint16{}, scratch: make([]byte, maxBody)}
	rotates := len(answer) > 1
	for _, rr := range answer {
		before := len(e.body.wire)
		if !e.record(rr) {
			return &body{complete: true}
		}
		t := rr.Header().Rrtype
		rotates = rotates && (t == dns.TypeA || t == dns.TypeAAAA) && t == answer[0].Header().Rrtype
		e.body.stride = uint16(len(e.body.wire) - before)
	}
	if !rotates {
		e.body.stride = 0
	}
	e.body.answers = uint16(len(answer))
	for _, rr := range additional {
		if !e.record(rr) {
			return &body{complete: true}
		}
	}
	e.body.additional = uint16(len(additional))
	return &e.body
}

// encodeNegative makes the body of a negative answer.
func encodeNegative(zone string, soa dns.RR) *body {
	e := encoder{zone: zone, scratch: make([]byte, maxName+1)} // for one name at a time
	s, ok := soa.(*dns.SOA)
	if !ok || s.Hdr.Name != zone {
		return &body{complete: true}
	}
	e.pointerTo(fix{apex: true})
	e.fixed(s.Header())
	length := len(e.body.wire)
	e.body.wire = append(e.body.wire, 0, 0)
	if !e.name(s.Ns) || !e.name(s.Mbox) {
		return &body{complete: true}
	}
	for _, n := range []uint32{s.Serial, s.Refresh, s.Retry, s.Expire, s.Minttl} {
		e.body.wire = binary.BigEndian.AppendUint32(e.body.wire, n)
	}
	binary.BigEndian.PutUint16(e.body.wire[length:], uint16(len(e.body.wire)-length-2))
	e.body.authority = 1
	return &e.body
}

// record appends one record; false when it can't be written, or is too long.
func (e *encoder) record(rr dns.RR) bool {
	end, err := dns.PackRR(rr, e.scratch, 0, nil, false)
	if err != nil || len(e.body.wire)+end > maxBody {
		return false
	}
	name := rr.Header().Name
	nameEnd := 1
	if name == owner {
		e.body.wire = binary.BigEndian.AppendUint16(e.body.wire, pointerToQuestion)
	} else {
		_, nameEnd, err = dns.UnpackDomainName(e.scratch[:end], 0)
		at, known := e.targets[name]
		if err != nil || !known {
			return false // a name that was not led to
		}
		e.pointerTo(fix{to: at})
	}
	data := len(e.body.wire) + 10 // behind type, class, TTL and length
	e.body.wire = append(e.body.wire, e.scratch[nameEnd:end]...)
	switch rr := rr.(type) {
	case *dns.SRV:
		e.target(rr.Target, data+6)
	case *dns.SVCB:
		e.target(rr.Target, data+2)
	case *dns.HTTPS:
		e.target(rr.Target, data+2)
	}
	return true
}

// target remembers the first place where a name stands in full.
func (e *encoder) target(name string, at int) {
	if _, known := e.targets[name]; !known && name != owner {
		e.targets[name] = uint16(at)
	}
}

func (e *encoder) pointerTo(f fix) {
	f.at = uint16(len(e.body.wire))
	e.body.fixes = append(e.body.fixes, f)
	e.body.wire = append(e.body.wire, 0, 0)
}

// fixed appends type, class and TTL.
func (e *encoder) fixed(h *dns.RR_Header) {
	e.body.wire = binary.BigEndian.AppendUint16(e.body.wire, h.Rrtype)
	e.body.wire = binary.BigEndian.AppendUint16(e.body.wire, h.Class)
	e.body.wire = binary.BigEndian.AppendUint32(e.body.wire, h.Ttl)
}

// name appends a name, its end as a pointer to the zone's name where it is in the zone.
func (e *encoder) name(name string) bool {
	head, inside := name, false
	if name == e.zone {
		head, inside = "", true
	} else if h, ok := strings.CutSuffix(name, "."+e.zone); ok {
		head, inside = h+".", true
	}
	if head != "" {
		end, err := dns.PackDomainName(head, e.scratch, 0, nil, false)
		if err != nil {
			return false
		}
		e.body.wire = append(e.body.wire, e.scratch[:end-1]...) // without the root
	}
	if inside {
		e.pointerTo(fix{apex: true})
	} else {
		e.body.wire = append(e.body.wire, 0)
	}
	return true
}
