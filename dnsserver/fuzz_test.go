package dnsserver

import (
	"bytes"
	"encoding/binary"
	"log/slog"
	"net/netip"
	"testing"

	"github.com/miekg/dns"

	"github.com/seamark-mesh/seamark/dnsserver/packet"
)

// FuzzAnswer feeds packets to all that happens between two socket calls, for both
// protocols, and holds the reply to what every reply must be.
func FuzzAnswer(f *testing.F) {
	for _, seed := range [][]byte{
		probe(1), header(1), build(header(1), wireQuestion), build(header(1, 0, 0, 1), wireQuestion, wireOPT),
		build(header(1), "\x05_http\x04_tcp\x03web\x04shop\x03svc\x04mesh\x08internal\x00\x00\x21\x00\x01"),
		build(header(1), "\x03web\x04shop\x05amber\x07cluster\x04mesh\x08internal\x00\x00\x10\x00\x01"),
		build(header(1), "\x05amber\x02gw\x04mesh\x08internal\x00\x00\x1c\x00\x01"),
		build(header(1), "\x04mesh\x08internal\x00\x00\xff\x00\x01"),
		build(header(1, 0, 1), "\x04mesh\x08internal\x00\x00\xfb\x00\x01", "\xc0\x0c\x00\x06\x00\x01\x00\x00\x00\x00\x00\x16\x00\x00", bytes.Repeat([]byte{0}, 20)),
		build(header(1, 0, 0, 2), wireQuestion, wireOPT, wireOPT), build(header(1), "\xc0\x0c\x00\x01\x00\x01"),
	} {
		f.Add(seed)
	}
	seen := newRecorder()
	s, err := New(Config{Listen: []string{"127.0.0.1:0"}}, harbours(), seen, slog.New(slog.DiscardHandler))
	if err != nil {
		f.Fatal(err)
	}
	udp, tcp := s.newAnswerer(UDP), s.newAnswerer(TCP)
	f.Fuzz(func(t *testing.T, query []byte) {
		if len(query) > 65535 {
			return
		}
		before := bytes.Clone(query)
		overUDP, ok := udp.answer(query, netip.Addr{})
		overTCP, okTCP := tcp.answer(query, netip.Addr{})
		if seen.get("udp note panic")+seen.get("tcp note panic") > 0 {
			t.Fatal("a panic")
		}
		if !bytes.Equal(query, before) {
			t.Fatal("the query was written to")
		}
		wanted := len(query) >= 12 && query[2]&0x80 == 0
		if ok != wanted || okTCP != wanted {
			t.Fatalf("answered %v and %v, want %v", ok, okTCP, wanted)
		}
		if !ok {
			return
		}
		q, err := packet.Parse(query)
		if err != nil {
			t.Fatal(err)
		}
		limit := packet.MinUDP
		if q.EDNS {
			limit = min(max(int(q.Size), packet.MinUDP), 1232)
		}
		checkReply(t, query, overUDP, limit)
		checkReply(t, query, overTCP, packet.MaxTCP)
	})
}

func checkReply(t *testing.T, query []byte, r reply, limit int) {
	t.Helper()
	m := new(dns.Msg)
	if err := m.Unpack(r.message); err != nil {
		t.Fatalf("the reply can't be read: %v\n%x", err, r.message)
	}
	q, err := packet.Parse(query)
	if err != nil {
		t.Fatal(err)
	}
	opt := m.IsEdns0()
	switch {
	case len(r.message) > limit:
		t.Fatalf("%d bytes, more than %d", len(r.message), limit)
	case m.Id != binary.BigEndian.Uint16(query) || !m.Response || m.Opcode != int(query[2]>>3&15):
		t.Fatalf("header %+v", m.MsgHdr)
	case m.RecursionAvailable || m.Zero || m.AuthenticatedData || m.CheckingDisabled:
		t.Fatalf("a flag that must be clear: %+v", m.MsgHdr)
	case m.Opcode == dns.OpcodeQuery && m.RecursionDesired != q.RD:
		t.Fatalf("RD is %v, was %v", m.RecursionDesired, q.RD)
	case m.Truncated && len(m.Answer)+len(m.Ns) > 0:
		t.Fatal("TC with records")
	case m.Authoritative && m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError:
		t.Fatalf("AA with %s", dns.RcodeToString[m.Rcode])
	case q.EDNS != (opt != nil):
		t.Fatalf("OPT asked %v, given %v", q.EDNS, opt)
	case q.Question != nil && !bytes.HasPrefix(r.message[12:], q.Question):
		t.Fatal("the question is not echoed")
	case m.Rcode == dns.RcodeSuccess && !m.Truncated && len(m.Answer) == 0 && len(m.Ns) != 1:
		t.Fatal("an empty answer without SOA")
	case rcodeText(r.rcode) == "":
		t.Fatalf("rcode %d has no name", r.rcode)
	}
	if q.RCode == dns.RcodeSuccess { // then another reader finds the same question
		other := new(dns.Msg)
		if err := other.Unpack(query); err == nil && (dns.CanonicalName(other.Question[0].Name) != canonical(q.Name) || other.Question[0].Qtype != q.Type) {
			t.Fatalf("question %q, another reader says %q", q.Name, other.Question[0].Name)
		}
	}
}

// canonical brings a name to the way the DNS library escapes.
func canonical(name string) string {
	wire := make([]byte, 256)
	end, err := dns.PackDomainName(name, wire, 0, nil, false)
	if err != nil {
		return err.Error()
	}
	name, _, _ = dns.UnpackDomainName(wire[:end], 0)
	return name
}
