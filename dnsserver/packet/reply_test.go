package packet_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/seamark-mesh/seamark/dnsserver/lookup"
	"github.com/seamark-mesh/seamark/dnsserver/packet"
)

// query packs a question, with EDNS when size is not 0.
func query(t *testing.T, name string, qtype, size uint16) *packet.Query {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(name, qtype)
	m.Id, m.RecursionDesired = 0x1234, false
	if size > 0 {
		m.SetEdns0(size, true)
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	q, err := packet.Parse(b)
	if err != nil || q.RCode != dns.RcodeSuccess {
		t.Fatalf("Parse: %+v, %v", q, err)
	}
	return &q
}

func records(t *testing.T, lines ...string) (all []dns.RR) {
	t.Helper()
	for _, line := range lines {
		rr, err := dns.NewRR(line)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, rr)
	}
	return all
}

func unpack(t *testing.T, b []byte) *dns.Msg {
	t.Helper()
	m := new(dns.Msg)
	if err := m.Unpack(b); err != nil {
		t.Fatalf("%v: %x", err, b)
	}
	return m
}

var udp = packet.Limits{Size: 1232, Payload: 1232}

// TestBytes: the whole reply, byte for byte: owner by pointer to the question.
func TestBytes(t *testing.T) {
	var b packet.Builder
	r := lookup.Response{Authoritative: true, Answer: records(t, "w.s.svc.m. 5 IN A 192.0.2.1", "w.s.svc.m. 5 IN A 192.0.2.2")}
	for range 2 { // a builder keeps nothing between replies
		got, outcome := b.Build(make([]byte, packet.Room), query(t, "W.s.svc.m.", dns.TypeA, 1232), &r, udp)
		want := "1234" + "8400" + "0001" + "0002" + "0000" + "0001" +
			"0157017303737663016d00" + "0001" + "0001" +
			"c00c" + "0001" + "0001" + "00000005" + "0004" + "c0000201" +
			"c00c" + "0001" + "0001" + "00000005" + "0004" + "c0000202" +
			"00" + "0029" + "04d0" + "00008000" + "0000"
		if hex.EncodeToString(got) != want || outcome != (packet.Outcome{}) {
			t.Errorf("got  %x, %+v\nwant %s", got, outcome, want)
		}
	}
}

// TestSOAIsCompressed: the zone's name is found within the question.
func TestSOAIsCompressed(t *testing.T) {
	var b packet.Builder
	r := lookup.Response{RCode: dns.RcodeNameError, Authoritative: true, Authority: records(t, "mesh.internal. 5 IN SOA mesh.internal. h.mesh.internal. 1 2 3 4 5")}
	q := query(t, "never.MESH.internal.", dns.TypeA, 0)
	got, outcome := b.Build(make([]byte, packet.Room), q, &r, udp)
	if outcome.RCode != dns.RcodeNameError || len(got) != 12+len(q.Question)+2+10+2+4+20 {
		t.Errorf("%d bytes, %+v: %x", len(got), outcome, got)
	}
	if m := unpack(t, got); m.Ns[0].(*dns.SOA).Mbox != "h.MESH.internal." {
		t.Errorf("got %v", m)
	}
}

func TestExtendedError(t *testing.T) {
	var b packet.Builder
	r := lookup.Response{RCode: dns.RcodeServerFailure, Extended: &lookup.ExtendedError{Code: 14, Text: "not yet"}}
	got, _ := b.Build(make([]byte, packet.Room), query(t, "a.", dns.TypeA, 512), &r, udp)
	e := unpack(t, got).IsEdns0().Option[0].(*dns.EDNS0_EDE)
	if e.InfoCode != 14 || e.ExtraText != "not yet" {
		t.Errorf("got %v", e)
	}
	got, _ = b.Build(make([]byte, packet.Room), query(t, "a.", dns.TypeA, 0), &r, udp)
	if m := unpack(t, got); len(m.Extra) != 0 || m.Rcode != dns.RcodeServerFailure {
		t.Errorf("without EDNS: %v", m)
	}
}

// TestOptionsFit: with all options there can be, the longest question, and the least
// room, a reply still is one.
func TestOptionsFit(t *testing.T) {
	var b packet.Builder
	label := strings.Repeat("x", 63) + "."
	q := query(t, label+label+label+strings.Repeat("y", 61)+".", dns.TypeA, 512)
	limits := packet.Limits{Size: packet.MinUDP, Payload: 1232, OPT: packet.OPT{
		NSID: strings.Repeat("n", packet.MaxNSID), Cookie: make([]byte, 24), KeepAlive: 1, ZoneVersion: &packet.ZoneVersion{Labels: 2, Serial: 7},
	}}
	r := lookup.Response{Extended: &lookup.ExtendedError{Code: 3, Text: strings.Repeat("e", 40)}, Answer: records(t, "w. 5 IN A 192.0.2.1", "w. 5 IN A 192.0.2.2", "w. 5 IN A 192.0.2.3")}
	got, outcome := b.Build(make([]byte, packet.Room), q, &r, limits)
	m := unpack(t, got)
	if len(got) > packet.MinUDP || !outcome.Truncated || len(m.IsEdns0().Option) != 5 {
		t.Errorf("%d bytes, %+v: %v", len(got), outcome, m)
	}
	last := uint16(0)
	for _, o := range m.IsEdns0().Option {
		if o.Option() <= last {
			t.Errorf("option %d comes behind %d", o.Option(), last)
		}
		last = o.Option()
	}
}

// TestTurn: every turn is a rotation of the same records; other types stand still.
func TestTurn(t *testing.T) {
	var b packet.Builder
	addresses := lookup.Response{Answer: records(t, "w. 5 IN AAAA 2001:db8::1", "w. 5 IN AAAA 2001:db8::2", "w. 5 IN AAAA 2001:db8::3")}
	texts := lookup.Response{Answer: records(t, "w. 5 IN TXT 1", "w. 5 IN TXT 2")}
	mixed := lookup.Response{Answer: records(t, "w. 5 IN A 192.0.2.1", "v. 5 IN A 192.0.2.2")}
	for turn := range uint32(7) {
		limits := udp
		limits.Turn = turn
		got, _ := b.Build(make([]byte, packet.Room), query(t, "w.", dns.TypeAAAA, 0), &addresses, limits)
		for n, rr := range unpack(t, got).Answer {
			if want := fmt.Sprint("2001:db8::", (n+int(turn))%3+1); rr.(*dns.AAAA).AAAA.String() != want {
				t.Errorf("turn %d: record %d is %s, want %s", turn, n, rr.(*dns.AAAA).AAAA, want)
			}
		}
		for _, r := range []*lookup.Response{&texts, &mixed} {
			got, _ = b.Build(make([]byte, packet.Room), query(t, "w.", dns.TypeTXT, 0), r, limits)
			for n, rr := range unpack(t, got).Answer {
				if rr.String() != r.Answer[n].String() {
					t.Errorf("turn %d: record %d is %s", turn, n, rr)
				}
			}
		}
	}
	if addresses.Answer[0].(*dns.AAAA).AAAA.String() != "2001:db8::1" {
		t.Error("the response was reordered")
	}
}

// TestUnpackable: a record that can't be written costs its answer, not more: as
// an answer it is SERVFAIL, beside an answer it is left out.
func TestUnpackable(t *testing.T) {
	var b packet.Builder
	bad := &dns.A{Hdr: dns.RR_Header{Name: strings.Repeat("x", 64) + ".", Rrtype: dns.TypeA, Class: dns.ClassINET}, A: net.IP{1, 2, 3, 4}}
	good := records(t, "w. 5 IN A 192.0.2.1")
	q := query(t, "w.", dns.TypeA, 1232)
	got, outcome := b.Build(make([]byte, packet.Room), q, &lookup.Response{Authoritative: true, Answer: append(records(t, "w. 5 IN A 192.0.2.1"), bad)}, udp)
	if m := unpack(t, got); outcome.RCode != dns.RcodeServerFailure || m.Rcode != dns.RcodeServerFailure || m.Authoritative || len(m.Answer) != 0 || m.IsEdns0() == nil {
		t.Errorf("as an answer: %v, %+v", m, outcome)
	}
	got, outcome = b.Build(make([]byte, packet.Room), q, &lookup.Response{Authoritative: true, Answer: good, Additional: []dns.RR{bad}}, udp)
	if m := unpack(t, got); outcome.RCode != dns.RcodeSuccess || len(m.Answer) != 1 || len(m.Extra) != 1 {
		t.Errorf("beside an answer: %v, %+v", m, outcome)
	}
	got, _ = b.Build(make([]byte, packet.Room), q, &lookup.Response{Authoritative: true, Answer: good}, udp)
	if m := unpack(t, got); len(m.Answer) != 1 {
		t.Errorf("the next answer: %v", m)
	}
}

// TestLimits: at every limit a reply is whole, or TC and empty; never longer.
func TestLimits(t *testing.T) {
	var b packet.Builder
	r := lookup.Response{Authoritative: true}
	for n := range 60 {
		r.Answer = append(r.Answer, records(t, fmt.Sprintf("_h._tcp.w.s.svc.m. 5 IN SRV 0 1 80 gw-%d.c.gw.m.", n))...)
		r.Additional = append(r.Additional, records(t, fmt.Sprintf("gw-%d.c.gw.m. 5 IN A 192.0.2.%d", n, n), fmt.Sprintf("gw-%d.c.gw.m. 5 IN A 192.0.3.%d", n, n))...)
	}
	q := query(t, "_h._tcp.w.s.svc.m.", dns.TypeSRV, 4096)
	last := 0
	for size := packet.MinUDP; size < 8000; size += 3 {
		got, outcome := b.Build(make([]byte, packet.Room), q, &r, packet.Limits{Size: size, Payload: 1232})
		m := unpack(t, got)
		if len(got) > size || m.Truncated != outcome.Truncated || m.Truncated && len(m.Answer)+len(m.Extra) != 1 || !m.Truncated && len(m.Answer) != 60 {
			t.Fatalf("limit %d: %d bytes, %d answers, %d additional, %+v", size, len(got), len(m.Answer), len(m.Extra), outcome)
		}
		if len(m.Extra)%2 != 1 || !m.Truncated && len(m.Extra) < last {
			t.Fatalf("limit %d: %d additional: RRsets are cut", size, len(m.Extra)-1)
		}
		last = len(m.Extra)
		if cut, outcome := b.Build(make([]byte, packet.Room), q, &r, packet.Limits{Size: size, Stream: true}); len(cut) > size || outcome.Truncated || outcome.Cut != (len(unpack(t, cut).Answer) < 60) {
			t.Fatalf("limit %d as a stream: %d bytes, %+v", size, len(cut), outcome)
		}
	}
	if last != 121 {
		t.Errorf("%d additional at the end, want all", last-1)
	}
}

// TestCutNames: names within records that were packed twice point to nothing that
// the second time did not write.
func TestCutNames(t *testing.T) {
	var b packet.Builder
	var r lookup.Response
	for n := range 100 {
		r.Answer = append(r.Answer, records(t, fmt.Sprintf("m. 5 IN NS ns-%d.some.where.", n))...)
	}
	got, outcome := b.Build(make([]byte, packet.Room), query(t, "m.", dns.TypeNS, 0), &r, packet.Limits{Size: 1000, Stream: true})
	m := unpack(t, got)
	if !outcome.Cut || len(m.Answer) < 40 {
		t.Fatalf("%d records, %+v", len(m.Answer), outcome)
	}
	for n, rr := range m.Answer {
		if rr.String() != r.Answer[n].String() {
			t.Errorf("record %d is %s", n, rr)
		}
	}
}

// TestParseKeepsNothing: a query that was refused leaves no half-read question.
func TestParseKeepsNothing(t *testing.T) {
	if _, err := packet.Parse(make([]byte, 11)); err != packet.ErrShort {
		t.Errorf("11 bytes: %v", err)
	}
	response := make([]byte, 12)
	response[2] = 0x80
	if _, err := packet.Parse(response); err != packet.ErrResponse {
		t.Errorf("a response: %v", err)
	}
	q, err := packet.Parse(append([]byte{0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0}, "\x01a\x00\x00\x01"...))
	if err != nil || q.RCode != dns.RcodeFormatError || q.Question != nil || q.Name != "" {
		t.Errorf("a cut question: %+v, %v", q, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("\x00\x01\x00\x00\x00\x01\x00\x00\x00\x00\x00\x01\x01a\x00\x00\x01\x00\x01\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00"))
	for _, options := range []string{
		"\x00\x0a\x00\x0812345678",                             // a client's cookie
		"\x00\x0a\x00\x181234567812345678\x01\x00\x00\x00abcd", // and a server's
		"\x00\x03\x00\x00\x00\x13\x00\x00\x00\x0b\x00\x00",     // NSID, ZONEVERSION, keepalive
		"\x00\x08\x00\x07\x00\x01\x18\x00\xc0\x00\x02",         // a client's subnet
		"\x00\x0a\x00\x09123456789", "\x00\x0a\xff\xff", "\x00",
	} {
		length := string([]byte{0, byte(len(options))})
		f.Add([]byte("\x00\x01\x00\x00\x00\x01\x00\x00\x00\x00\x00\x01\x01a\x00\x00\x01\x00\x01\x00\x00\x29\x04\xd0\x00\x00\x00\x00" + length + options))
		f.Add([]byte("\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x29\x04\xd0\x00\x00\x00\x00" + length + options))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		q, err := packet.Parse(b)
		if !bytes.Equal(b, before) {
			t.Fatal("the packet was written to")
		}
		if err == nil && q.Question != nil && (len(q.Question) < 5 || len(q.Question) > 259 || q.Name == "" || len(q.Name) > 1017) {
			t.Fatalf("question %q of %d bytes, name %q", q.Question, len(q.Question), q.Name)
		}
		if c := q.Asked.Cookie; err == nil && c != nil && (len(c) < 8 || len(c) > 40) {
			t.Fatalf("a cookie of %d bytes", len(c))
		}
		if err == nil && q.RCode == dns.RcodeSuccess && (q.Question == nil) != q.CookieOnly {
			t.Fatalf("question %q, a cookie alone: %v", q.Question, q.CookieOnly)
		}
	})
}
