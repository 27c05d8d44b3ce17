package dnsserver

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"github.com/seamark-mesh/seamark/dnsserver/lookup"
	"github.com/seamark-mesh/seamark/dnsserver/packet"
	"github.com/seamark-mesh/seamark/registry"
)

// answerer turns one query packet into one reply packet: all that happens between
// two socket calls. One goroutine uses it at a time.
type answerer struct {
	server   *Server
	protocol Protocol
	builder  packet.Builder
	buffer   []byte        // prefix, then the reply
	cookie   []byte        // a fresh one, while its reply is made
	now      func() uint32 // see unixNow
}

// prefix is the room for the length that stands before a message on TCP (RFC 1035
// §4.2.2), so that both leave in one write (RFC 7766 §8).
const prefix = 2

func (s *Server) newAnswerer(protocol Protocol) *answerer {
	return &answerer{server: s, protocol: protocol, buffer: make([]byte, prefix+packet.Room), now: unixNow}
}

// reply is an answered query.
type reply struct {
	message []byte // as on UDP; valid until the next answer
	rcode   int
	zone    *outbound // over TCP: to be sent in place of a message
}

// answer returns the reply to a packet from a client; ok is false when it gets none.
// It never panics.
func (a *answerer) answer(query []byte, client netip.Addr) (r reply, ok bool) {
	defer func() {
		if cause := recover(); cause != nil {
			r, ok = a.afterPanic(query, cause)
		}
	}()
	q, err := packet.Parse(query)
	if err != nil {
		a.server.observer.Dropped(a.protocol, dropOf(err))
		return reply{}, false
	}
	settings := a.server.settings.Load()
	signature := a.signature(query, &q, client, settings)
	limits := a.limits(&q, settings)
	var response lookup.Response
	var shorter *lookup.Response
	if kind, ok := kindOf(&q); ok && q.RCode == dns.RcodeSuccess {
		var zone *outbound
		if response, shorter, zone = a.transfer(query, &q, kind, client, signature, settings); zone != nil {
			return reply{zone: zone}, true
		}
		a.checkCookie(&q, client, settings, &limits.OPT)
		a.options(&q, nil, settings, &limits.OPT)
	} else if q.RCode == dns.RcodeSuccess {
		var v *registry.View
		v, response = a.decide(&q, client, settings, &limits.OPT)
		a.options(&q, v, settings, &limits.OPT)
	}
	size := limits.Size
	if signature != nil {
		limits.Size -= signature.Room()
	}
	message, outcome := a.builder.Build(a.buffer[prefix:], &q, &response, limits)
	if outcome.Truncated && shorter != nil {
		message, outcome = a.builder.Build(a.buffer[prefix:], &q, shorter, limits)
	}
	if signature != nil {
		if len(message)+signature.Room() > size {
			message, outcome = a.bare(&q, outcome, limits)
		}
		if len(message)+signature.Room() <= size { // else the names are nobody's: no key has one, nor an algorithm
			message = signature.Sign(message, time.Now())
		}
	}
	if outcome.Truncated {
		a.server.observer.Noted(a.protocol, NoteTruncated)
	}
	if outcome.Cut {
		a.server.observer.Noted(a.protocol, NoteCut)
		a.server.noteCut(&q)
	}
	return reply{message: message, rcode: outcome.RCode}, true
}

// bare makes the reply of which a signature leaves room for nothing else, as where both
// the key and the name that is asked are very long: truncated, and with neither options
// nor the question (RFC 8945 §5.3 keeps that, but a datagram has no room for it).
func (a *answerer) bare(q *packet.Query, outcome packet.Outcome, limits packet.Limits) ([]byte, packet.Outcome) {
	bare := packet.Query{ID: q.ID, Opcode: q.Opcode, RD: q.RD, RCode: q.RCode, EDNS: q.EDNS, DO: q.DO}
	limits.OPT = packet.OPT{}
	outcome.Truncated = true
	message, built := a.builder.Build(a.buffer[prefix:], &bare, &lookup.Response{}, limits)
	message[2] |= 0x02 // TC
	outcome.RCode = built.RCode
	return message, outcome
}

// zone returns what the zone says, and the View that says it.
func (a *answerer) zone(q lookup.Question) (*registry.View, lookup.Response) {
	v := a.server.table.Load().View()
	return v, a.server.lookup(v, q)
}

func dropOf(err error) Drop {
	if errors.Is(err, packet.ErrShort) {
		return DropShort
	}
	return DropResponse
}

// limits says how long the reply to q may be. What a client says it takes counts
// within 512 bytes and our own limit (RFC 6891 §6.2.5).
func (a *answerer) limits(q *packet.Query, settings *Settings) packet.Limits {
	own := settings.UDPPayload
	l := packet.Limits{Size: packet.MinUDP, Payload: uint16(own), Turn: a.server.turn()}
	switch {
	case a.protocol == TCP:
		l.Size, l.Stream = packet.MaxTCP, true
	case q.EDNS:
		l.Size = min(max(int(q.Size), packet.MinUDP), own)
	}
	return l
}

// noteCut says in the log, once in a while, that an answer is sent in part.
func (s *Server) noteCut(q *packet.Query) {
	if s.cut.due(time.Now()) {
		s.log.Warn("an answer is too large even for TCP: its first records are sent", "name", q.Name, "type", dns.Type(q.Type).String())
	}
}

// notePanic counts a panic and logs what has panicked, once in a while. Query is the
// packet that it was about; nil: none.
func (s *Server) notePanic(protocol Protocol, what string, query []byte, cause any) {
	s.observer.Noted(protocol, NotePanic)
	if s.panicked.due(time.Now()) {
		s.log.Error("dns panicked", "where", what, "cause", fmt.Sprint(cause), "query", fmt.Sprintf("%.1024x", query), "stack", string(debug.Stack()))
	}
}

// seldom is true at most once in ten seconds of the wall clock, whichever way that
// goes, so that what a client can bring about does not fill the disk. The zero value is
// ready; any number of goroutines may use it.
type seldom struct{ last atomic.Int64 } // Unix seconds

func (s *seldom) due(now time.Time) bool {
	second, last := now.Unix(), s.last.Load()
	apart := max(second, last) - min(second, last) // a clock that was set back must not silence the log until it has caught up
	return apart >= 10 && s.last.CompareAndSwap(last, second)
}

// afterPanic answers SERVFAIL where the header can be read.
func (a *answerer) afterPanic(query []byte, cause any) (reply, bool) {
	a.server.notePanic(a.protocol, "dns answer", query, cause)
	if len(query) < 12 {
		return reply{}, false
	}
	header := a.buffer[prefix : prefix+12]
	clear(header)
	copy(header, query[:2])
	header[2] = 0x80 | query[2]&0x79 // QR; opcode and RD as asked
	header[3] = dns.RcodeServerFailure
	return reply{message: header, rcode: dns.RcodeServerFailure}, true
}

// rcodeText names an RCODE. There are as many as fit its 12 bits, and only those
// that this server sends.
func rcodeText(rcode int) string {
	if rcode == dns.RcodeBadVers { // shares its number with BADSIG
		return "BADVERS"
	}
	if text, ok := dns.RcodeToString[rcode]; ok {
		return text
	}
	return "RCODE" + strconv.Itoa(rcode)
}
