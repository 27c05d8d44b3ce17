package dnsserver

import (
	"bytes"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/seamark-mesh/seamark/registry"
)

var bothProtocols = []Protocol{UDP, TCP}

func edns(size uint16, options ...dns.EDNS0) func(*dns.Msg) {
	return func(q *dns.Msg) {
		q.SetEdns0(size, false)
		q.IsEdns0().Option = options
	}
}

// Header bits of answers of every kind (RFC 1035 §4.1.1, RFC 2181, RFC 4035 §3.1.6):
// AA where we are the authority, RD as asked, everything else clear, whatever the
// query had set.
func TestHeaderBits(t *testing.T) {
	s := start(t, Config{}, harbours())
	tests := []struct {
		name, qtype string
		rcode       int
		aa          bool
	}{
		{"web.shop.svc.mesh.internal.", "A", dns.RcodeSuccess, true},
		{"web.shop.svc.mesh.internal.", "MX", dns.RcodeSuccess, true},
		{"never.shop.svc.mesh.internal.", "A", dns.RcodeNameError, true},
		{"mesh.internal.", "SOA", dns.RcodeSuccess, true},
		{"example.org.", "A", dns.RcodeRefused, false},
		{"mesh.internal.", "AXFR", dns.RcodeRefused, false},
	}
	for _, p := range bothProtocols {
		for _, tt := range tests {
			for _, rd := range []bool{true, false} {
				if tt.qtype == "AXFR" && p == TCP { // the client would wait for a transfer
					continue
				}
				got := s.ask(t, p, tt.name, tt.qtype, func(q *dns.Msg) {
					q.RecursionDesired = rd
					q.CheckingDisabled, q.AuthenticatedData, q.Zero, q.RecursionAvailable, q.Authoritative = true, true, true, true, true
				})
				want := dns.MsgHdr{Id: got.Id, Response: true, Authoritative: tt.aa, RecursionDesired: rd, Rcode: tt.rcode}
				if got.MsgHdr != want {
					t.Errorf("%s %s %s: header %+v, want %+v", p, tt.name, tt.qtype, got.MsgHdr, want)
				}
			}
		}
	}
}

// Outside the zone, other classes (no upward referral, no SOA), and extended errors.
func TestRefused(t *testing.T) {
	s := start(t, Config{}, harbours())
	for _, p := range bothProtocols {
		for name, tt := range map[string]struct {
			name  string
			qtype uint16
			class uint16
			code  int // of the extended error; -1: none
		}{
			"outside":       {"example.org.", dns.TypeA, dns.ClassINET, 20},
			"above":         {"internal.", dns.TypeNS, dns.ClassINET, 20},
			"root":          {".", dns.TypeNS, dns.ClassINET, 20},
			"chaos":         {"version.bind.", dns.TypeTXT, dns.ClassCHAOS, -1},
			"chaos in zone": {"mesh.internal.", dns.TypeTXT, dns.ClassCHAOS, -1},
			"hesiod":        {"mesh.internal.", dns.TypeA, dns.ClassHESIOD, -1},
			"class any":     {"mesh.internal.", dns.TypeA, dns.ClassANY, -1},
			"class none":    {"mesh.internal.", dns.TypeA, dns.ClassNONE, -1},
			"ixfr":          {"mesh.internal.", dns.TypeIXFR, dns.ClassINET, 18},
		} {
			q := new(dns.Msg)
			q.SetQuestion(tt.name, tt.qtype)
			q.Question[0].Qclass = tt.class
			edns(1232)(q)
			got := s.exchange(t, p, q)
			if got.Rcode != dns.RcodeRefused || got.Authoritative || len(got.Answer)+len(got.Ns) > 0 {
				t.Errorf("%s %s: got %v, want REFUSED with nothing", p, name, got)
			}
			if code := extendedCode(got); code != tt.code {
				t.Errorf("%s %s: extended error %d, want %d", p, name, code, tt.code)
			}
		}
	}
}

// extendedCode returns the code of the one extended error; -1 without one.
func extendedCode(m *dns.Msg) int {
	if opt := m.IsEdns0(); opt != nil {
		for _, o := range opt.Option {
			if e, ok := o.(*dns.EDNS0_EDE); ok {
				return int(e.InfoCode)
			}
		}
	}
	return -1
}

// Negative answers (RFC 2308), empty non-terminals and names below (RFC 8020).
func TestNegative(t *testing.T) {
	s := start(t, Config{}, harbours())
	const soa = "mesh.internal. 3 IN SOA a.dns.mesh.internal. hostmaster.mesh.internal. 20 60 15 604800 3"
	for _, p := range bothProtocols {
		for name, want := range map[string]int{
			"cart.shop.svc.mesh.internal.":               dns.RcodeSuccess,
			"shop.amber.cluster.mesh.internal.":          dns.RcodeSuccess,
			"_tcp.web.shop.svc.mesh.internal.":           dns.RcodeSuccess,
			"never.shop.svc.mesh.internal.":              dns.RcodeNameError,
			"old.lab.svc.mesh.internal.":                 dns.RcodeNameError,
			"x.y.never.shop.svc.mesh.internal.":          dns.RcodeNameError,
			`\000\001.\255 \..shop.svc.mesh.internal.`:   dns.RcodeNameError,
			"*.shop.svc.mesh.internal.":                  dns.RcodeNameError,
			strings.Repeat("a.", 100) + "mesh.internal.": dns.RcodeNameError,
		} {
			got := s.ask(t, p, name, "A")
			if got.Rcode != want || !got.Authoritative || len(got.Answer)+len(got.Extra) > 0 || show(got.Ns) != soa {
				t.Errorf("%s %s: got %v, want rcode %d with the SOA", p, name, got, want)
			}
		}
	}
}

func TestNotSyncedOverTheWire(t *testing.T) {
	s := start(t, Config{}, fixed(&registry.View{}))
	for _, p := range bothProtocols {
		got := s.ask(t, p, "web.shop.svc.mesh.internal.", "A", edns(1232))
		if got.Rcode != dns.RcodeServerFailure || got.Authoritative || extendedCode(got) != 14 {
			t.Errorf("%s: got %v, want SERVFAIL with extended error 14", p, got)
		}
		if got := s.ask(t, p, "web.shop.svc.mesh.internal.", "A"); got.Rcode != dns.RcodeServerFailure || len(got.Extra) > 0 {
			t.Errorf("%s without EDNS: got %v, want SERVFAIL without OPT", p, got)
		}
	}
}

// SRV with the targets' addresses beside it; the target is never compressed (RFC 2782).
func TestSRV(t *testing.T) {
	s := start(t, Config{}, harbours())
	for _, p := range bothProtocols {
		got := s.ask(t, p, "_http._tcp.web.shop.svc.mesh.internal.", "SRV", edns(1232))
		if want := `_http._tcp.web.shop.svc.mesh.internal. 15 IN SRV 0 30 8080 east.amber.gw.mesh.internal.
_http._tcp.web.shop.svc.mesh.internal. 15 IN SRV 0 10 8080 west.amber.gw.mesh.internal.
_http._tcp.web.shop.svc.mesh.internal. 15 IN SRV 0 5 9090 front.bronze.gw.mesh.internal.`; show(got.Answer) != want {
			t.Errorf("%s: answer\n%s\nwant\n%s", p, show(got.Answer), want)
		}
		if want := `east.amber.gw.mesh.internal. 5 IN A 203.0.113.10
east.amber.gw.mesh.internal. 5 IN AAAA 2001:db8:a::10
west.amber.gw.mesh.internal. 5 IN A 203.0.113.11
west.amber.gw.mesh.internal. 5 IN AAAA 2001:db8:a::11
front.bronze.gw.mesh.internal. 5 IN A 198.51.100.20`; show(got.Extra[:len(got.Extra)-1]) != want {
			t.Errorf("%s: additional\n%s\nwant\n%s", p, show(got.Extra), want)
		}
	}
	q := new(dns.Msg)
	q.SetQuestion("_http._tcp.web.shop.svc.mesh.internal.", dns.TypeSRV)
	packed, _ := q.Pack()
	raw := s.exchangeRaw(t, packed)
	if target := "\x04east\x05amber\x02gw\x04mesh\x08internal\x00"; !bytes.Contains(raw, []byte(target)) {
		t.Errorf("no uncompressed target in %q", raw)
	}
}

// SVCB and HTTPS on the wire: keys ascend, the target is never compressed, its
// addresses stand beside the answer (RFC 9460 §2.2, §4.1).
func TestBindings(t *testing.T) {
	s := start(t, Config{}, harbours())
	for _, p := range bothProtocols {
		got := s.ask(t, p, "web.shop.svc.mesh.internal.", "HTTPS", edns(1232))
		if want := `web.shop.svc.mesh.internal. 15 IN HTTPS 1 west.amber.gw.mesh.internal. port="8443" ipv4hint="203.0.113.11" ipv6hint="2001:db8:a::11"`; show(got.Answer) != want {
			t.Errorf("%s: answer\n%s\nwant\n%s", p, show(got.Answer), want)
		}
		if want := `west.amber.gw.mesh.internal. 5 IN A 203.0.113.11
west.amber.gw.mesh.internal. 5 IN AAAA 2001:db8:a::11`; show(got.Extra[:len(got.Extra)-1]) != want {
			t.Errorf("%s: additional\n%s\nwant\n%s", p, show(got.Extra), want)
		}
	}
	q := new(dns.Msg)
	q.SetQuestion("_8443._tcp.west.amber.gw.mesh.internal.", dns.TypeSVCB)
	packed, _ := q.Pack()
	raw := s.exchangeRaw(t, packed)
	data := "\x00\x01" + "\x04west\x05amber\x02gw\x04mesh\x08internal\x00" +
		"\x00\x01\x00\x09\x08http/1.1" + "\x00\x03\x00\x02\x20\xfb" +
		"\x00\x04\x00\x04\xcb\x00\x71\x0b" + "\x00\x06\x00\x10\x20\x01\x0d\xb8\x00\x0a\x00\x00\x00\x00\x00\x00\x00\x00\x00\x11"
	if !bytes.Contains(raw, []byte(data)) {
		t.Errorf("not the data that was wanted: %q", raw)
	}
}

// EDNS(0) to the letter (RFC 6891).
func TestEDNS(t *testing.T) {
	s := start(t, Config{}, harbours())
	name := "login.svc.mesh.internal."
	for _, p := range bothProtocols {
		if got := s.ask(t, p, name, "A"); len(got.Extra) != 0 {
			t.Errorf("%s: not asked for, and there is %v", p, got.Extra)
		}
		for _, size := range []uint16{0, 1, 511, 512, 4096, 65535} {
			got := s.ask(t, p, name, "A", edns(size))
			if opt := got.IsEdns0(); opt == nil || opt.Hdr.Name != "." || opt.UDPSize() != 1232 || opt.Version() != 0 || len(opt.Option) != 0 || opt.Hdr.Ttl != 0 || len(got.Answer) != 2 {
				t.Errorf("%s size %d: got %v", p, size, got)
			}
		}
		for _, do := range []bool{false, true} {
			got := s.ask(t, p, name, "A", func(q *dns.Msg) {
				q.SetEdns0(1232, do)
				q.IsEdns0().Hdr.Ttl |= 0x7fff // flags that must be zero, CO among them
			})
			if want := map[bool]uint32{true: 0x8000}[do]; got.IsEdns0().Hdr.Ttl != want {
				t.Errorf("%s: OPT's flags %#x, want %#x", p, got.IsEdns0().Hdr.Ttl, want)
			}
		}
		for _, version := range []uint8{1, 2, 255} {
			got := s.ask(t, p, name, "A", func(q *dns.Msg) { edns(1232)(q); q.IsEdns0().SetVersion(version) })
			if got.Rcode != dns.RcodeBadVers || got.IsEdns0().Version() != 0 || len(got.Answer)+len(got.Ns) > 0 || got.Authoritative {
				t.Errorf("%s version %d: got %v, want BADVERS", p, version, got)
			}
		}
		var many []dns.EDNS0
		for n := range 500 {
			many = append(many, &dns.EDNS0_LOCAL{Code: uint16(65001 + n%500), Data: []byte{1, 2, 3}})
		}
		for kind, options := range map[string][]dns.EDNS0{
			"500 unknown":   many,
			"client subnet": {&dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: 24, Address: net.IP{192, 0, 2, 0}}},
			"nsid":          {&dns.EDNS0_NSID{Code: dns.EDNS0NSID}},
			"zero length":   {&dns.EDNS0_LOCAL{Code: 65001}},
		} {
			got := s.ask(t, p, name, "A", edns(1232, options...))
			if got.Rcode != dns.RcodeSuccess || len(got.Answer) != 2 || got.IsEdns0() == nil || len(got.IsEdns0().Option) != 0 {
				t.Errorf("%s %s: got %v, want an answer without the option", p, kind, got)
			}
		}
	}
}

// ANY is answered with one HINFO record (RFC 8482).
func TestANY(t *testing.T) {
	s := start(t, Config{}, harbours())
	for _, p := range bothProtocols {
		for _, name := range []string{"web.shop.svc.mesh.internal.", "mesh.internal.", "amber.gw.mesh.internal."} {
			got := s.ask(t, p, name, "ANY")
			if want := name + ` 5 IN HINFO "RFC8482" ""`; show(got.Answer) != want || len(got.Ns)+len(got.Extra) > 0 {
				t.Errorf("%s %s: got %v", p, name, got)
			}
		}
		if got := s.ask(t, p, "never.mesh.internal.", "ANY"); got.Rcode != dns.RcodeNameError {
			t.Errorf("%s: got %v, want NXDOMAIN", p, got)
		}
	}
}

// The question comes back byte for byte, whatever the case of its letters (0x20),
// and means the same (RFC 4343): only ASCII letters fold.
func TestCase(t *testing.T) {
	s := start(t, Config{}, harbours())
	for _, name := range []string{"LOGIN.SVC.MESH.INTERNAL.", "LoGiN.sVc.mEsH.iNtErNaL.", "login.svc.mesh.internal."} {
		q := new(dns.Msg)
		q.SetQuestion(name, dns.TypeA)
		packed, _ := q.Pack()
		raw := s.exchangeRaw(t, packed)
		if !bytes.Equal(raw[12:len(packed)], packed[12:]) {
			t.Errorf("%s: the question came back as %q", name, raw[12:len(packed)])
		}
		got := new(dns.Msg)
		if err := got.Unpack(raw); err != nil || len(got.Answer) != 2 || got.Answer[0].Header().Name != name {
			t.Errorf("%s: got %v, %v", name, got, err)
		}
	}
	if got := s.ask(t, UDP, "log\\201n.svc.mesh.internal.", "A"); got.Rcode != dns.RcodeNameError {
		t.Errorf("a letter beyond ASCII folds: %v", got)
	}
}

// Every opcode but QUERY and NOTIFY is NOTIMP: the header alone, flags clear.
func TestOpcodes(t *testing.T) {
	s := start(t, Config{}, harbours())
	for opcode := 1; opcode <= 15; opcode++ {
		for _, body := range []string{"", "\x04mesh\x08internal\x00\x00\x06\x00\x01", "garbage"} {
			query := append([]byte{0xab, 0xcd, byte(opcode<<3) | 0x07, 0xf5, 0, 1, 0, 2, 0, 3, 0, 4}, body...)
			want := []byte{0xab, 0xcd, 0x80 | byte(opcode<<3), dns.RcodeNotImplemented, 0, 0, 0, 0, 0, 0, 0, 0}
			if opcode == dns.OpcodeNotify && body != "" && body != "garbage" {
				want[3], want[5] = dns.RcodeNotAuth, 1
				want = append(want, body...)
			}
			if got := s.exchangeRaw(t, query); !bytes.Equal(got, want) {
				t.Errorf("opcode %d: got %x, want %x", opcode, got, want)
			}
		}
	}
}

// TestReplyToOtherOpcodesHasOPT: where the message has an OPT record the reply has one,
// whatever the opcode (RFC 6891 §6.1.1); else none.
func TestReplyToOtherOpcodesHasOPT(t *testing.T) {
	s := start(t, Config{}, harbours())
	for _, opcode := range []int{dns.OpcodeStatus, dns.OpcodeNotify, dns.OpcodeUpdate} {
		for _, edns := range []bool{true, false} {
			q := new(dns.Msg)
			q.SetQuestion("mesh.internal.", dns.TypeSOA)
			q.Opcode = opcode
			q.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: "mesh.internal.", Rrtype: dns.TypeA, Class: dns.ClassINET}, A: net.IPv4(192, 0, 2, 1)}}
			if edns {
				q.SetEdns0(4096, true)
			}
			want := dns.RcodeNotImplemented
			if opcode == dns.OpcodeNotify {
				want = dns.RcodeNotAuth
			}
			got := s.exchange(t, UDP, q)
			opt := got.IsEdns0()
			if got.Rcode != want || got.Opcode != opcode || len(got.Answer) > 0 || (opt != nil) != edns || edns && (!opt.Do() || opt.UDPSize() != 1232 || len(opt.Option) > 0) {
				t.Errorf("opcode %d, EDNS %v: %v", opcode, edns, got)
			}
		}
	}
}

// TestInboundNotifyIsRefused: we are nobody's secondary, and say so (RFC 1996 §3.10)
// rather than that we do not know the opcode.
func TestInboundNotifyIsRefused(t *testing.T) {
	s := start(t, Config{}, harbours())
	for _, protocol := range []Protocol{UDP, TCP} {
		for _, zone := range []string{"mesh.internal.", "example.org."} {
			q := new(dns.Msg)
			q.SetNotify(zone)
			got := s.exchange(t, protocol, q)
			if got.Rcode != dns.RcodeNotAuth || got.Authoritative || len(got.Question) != 1 || got.Question[0] != q.Question[0] {
				t.Errorf("%s, %s: %v", protocol, zone, got)
			}
		}
	}
}

// Types that nobody knows are NODATA at names that exist (RFC 3597).
func TestUnknownTypes(t *testing.T) {
	s := start(t, Config{}, harbours())
	for _, qtype := range []uint16{0, 2, 5, 6, 12, 15, 46, 64, 99, 127, 129, 200, 248, 253, 254, 256, 32768, 65280, 65535} {
		q := new(dns.Msg)
		q.SetQuestion("login.svc.mesh.internal.", qtype)
		if got := s.exchange(t, UDP, q); got.Rcode != dns.RcodeSuccess || len(got.Answer) != 0 || len(got.Ns) != 1 {
			t.Errorf("type %d: got %v, want NODATA", qtype, got)
		}
		q.SetQuestion("never.svc.mesh.internal.", qtype)
		if got := s.exchange(t, UDP, q); got.Rcode != dns.RcodeNameError {
			t.Errorf("type %d at a name that is not there: got %v", qtype, got)
		}
	}
	for _, qtype := range []uint16{dns.TypeOPT, dns.TypeNXNAME, dns.TypeTKEY, dns.TypeTSIG} {
		q := new(dns.Msg)
		q.SetQuestion("login.svc.mesh.internal.", qtype)
		edns(1232)(q)
		if got := s.exchange(t, UDP, q); got.Rcode != dns.RcodeFormatError || extendedCode(got) != 30 {
			t.Errorf("type %d: got %v, want FORMERR", qtype, got)
		}
	}
}

// Addresses of one RRset come in each order of a rotation, and nothing else moves.
func TestRotation(t *testing.T) {
	s := start(t, Config{}, harbours())
	for _, p := range bothProtocols {
		orders := map[string]bool{}
		for deadline := time.Now().Add(patience); len(orders) < 3 && time.Now().Before(deadline); {
			got := s.ask(t, p, "web.shop.svc.mesh.internal.", "A")
			var lines []string
			for _, rr := range got.Answer {
				lines = append(lines, rr.(*dns.A).A.String())
			}
			orders[strings.Join(lines, " ")] = true
		}
		want := []string{"198.51.100.20 203.0.113.10 203.0.113.11", "203.0.113.10 203.0.113.11 198.51.100.20", "203.0.113.11 198.51.100.20 203.0.113.10"}
		for _, order := range want {
			delete(orders, order)
		}
		if len(orders) > 0 {
			t.Errorf("%s: other orders than rotations: %v", p, orders)
		}
		for name, qtype := range map[string]string{"_http._tcp.web.shop.svc.mesh.internal.": "SRV", "web.shop.svc.mesh.internal.": "TXT", "mesh.internal.": "NS"} {
			var seen []string
			for range 20 {
				got := s.ask(t, p, name, qtype)
				seen = append(seen, show(got.Answer)+show(got.Extra))
			}
			if slices.Sort(seen); len(slices.Compact(seen)) != 1 {
				t.Errorf("%s %s %s comes in several orders", p, name, qtype)
			}
		}
	}
}

// TestRotationOfPairs: a client that asks for A and AAAA by turns, as most do, does not
// get the same address first each time.
func TestRotationOfPairs(t *testing.T) {
	s := start(t, Config{Readers: 1}, harbours())
	first := map[string]int{}
	const pairs = 64
	for range pairs {
		for _, qtype := range []string{"A", "AAAA"} {
			first[show(s.ask(t, UDP, "login.svc.mesh.internal.", qtype).Answer[:1])]++
		}
	}
	if s.Counts().Answers[UDP]["NOERROR"] != 2*pairs {
		t.Fatal("not answered by the fast path")
	}
	if len(first) != 4 {
		t.Errorf("only these of two addresses of each family came first: %v", first)
	}
}
