package dnsserver

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/miekg/dns"

	"github.com/seamark-mesh/seamark/dnsserver/compile"
	"github.com/seamark-mesh/seamark/dnsserver/cookie"
)

// sentBy is the sender of every datagram.
type sentBy netip.AddrPort

func (s sentBy) From(int) netip.AddrPort { return netip.AddrPort(s) }

var someClient = netip.MustParseAddrPort("192.0.2.7:5353")

// FuzzPathsAgree feeds packets to the fast path and to the complete path, with the same
// cookies, clock and rotation, and compares whole replies. It returns to the fast path
// what it may answer: nothing that the complete path would say otherwise, or not at all.
func FuzzPathsAgree(f *testing.F) {
	const now = 1_800_000_000
	s := newRunning(f, Config{}, harbours())
	s.table.Store(compile.NewCompiler().Update(s.views.View(), s.views.View().Delta()))
	keys := s.settings.Load().Cookies
	client := []byte("client01")
	fresh := keys.Append(nil, client, someClient.Addr(), now-5)
	old := keys.Append(nil, client, someClient.Addr(), now-2000)
	foreign := keys.Append(nil, client, netip.MustParseAddr("192.0.2.8"), now)
	option := func(data []byte) []byte {
		b := []byte{0, 0, 41, 4, 208, 0, 0, 0, 0, 0, byte(4 + len(data)), 0, dns.EDNS0COOKIE, 0, byte(len(data))}
		return append(b, data...)
	}
	questions := []string{
		wireQuestion,
		"\x05_http\x04_tcp\x03web\x04shop\x03svc\x04mesh\x08internal\x00\x00\x21\x00\x01",
		"\x03wEb\x04shop\x05amber\x07cluster\x04mesh\x08internal\x00\x00\x1c\x00\x01",
		"\x05never\x03svc\x04mesh\x08internal\x00\x00\x01\x00\x01",
		"\x05amber\x02gw\x04mesh\x08internal\x00\x00\x41\x00\x01",
	}
	for n, q := range questions {
		turn := uint32(n)
		f.Add(build(header(1), q), turn, false)
		f.Add(build(header(1, 0, 0, 1), q, wireOPT), turn, false)
		for _, data := range [][]byte{client, fresh, old, foreign, client[:7]} {
			f.Add(build(header(1, 0, 0, 1), q, option(data)), turn, n%2 == 0)
		}
	}
	overUDP, overTCP := s.newAnswerer(UDP), s.newAnswerer(TCP)
	for _, a := range []*answerer{overUDP, overTCP} {
		a.now = func() uint32 { return now }
	}
	out := make([]byte, compile.Room)
	f.Fuzz(func(t *testing.T, query []byte, turn uint32, require bool) {
		settings := *s.settings.Load()
		settings.RequireCookies = require
		s.settings.Store(&settings)
		s.turn = func() uint32 { return turn }
		for _, a := range []*answerer{overUDP, overTCP} {
			terms := compile.Terms{
				Payload: settings.UDPPayload, Stream: a.protocol == TCP, Turn: turn, Cookies: keys, Require: require && a.protocol == UDP,
				Now: now, Sender: sentBy(someClient),
			}
			length, rcode := s.table.Load().Reply(out, query, &terms)
			if length == 0 {
				continue
			}
			fast := bytes.Clone(out[:length])
			r, ok := a.answer(query, someClient.Addr())
			if !ok {
				t.Fatalf("%s: the fast path answers %x, the complete path does not", a.protocol, query)
			}
			if r.rcode != rcode || len(r.message) != length || !bytes.Equal(r.message, fast) && unpacked(t, r.message) != unpacked(t, fast) {
				t.Fatalf("%s: to %x\nfast:     %x\n%s\ncomplete: %x\n%s", a.protocol, query, fast, unpacked(t, fast), r.message, unpacked(t, r.message))
			}
		}
	})
}

func unpacked(t *testing.T, message []byte) string {
	t.Helper()
	m := new(dns.Msg)
	if err := m.Unpack(message); err != nil {
		t.Fatalf("%x can't be read: %v", message, err)
	}
	return m.String()
}

// TestFastPathTakesCookies: clients with cookies are not sent the long way.
func TestFastPathTakesCookies(t *testing.T) {
	s := start(t, Config{}, harbours())
	q := new(dns.Msg)
	q.SetQuestion("login.svc.mesh.internal.", dns.TypeA)
	q.SetEdns0(1232, false)
	mine := &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "636c69656e743031"}
	q.IsEdns0().Option = append(q.IsEdns0().Option, mine)
	for n := range uint64(3) {
		got := s.exchange(t, UDP, q)
		if s.Counts().Answers[UDP]["NOERROR"] != n+1 {
			t.Fatal("not answered by the fast path")
		}
		given, ok := got.IsEdns0().Option[0].(*dns.EDNS0_COOKIE)
		if !ok || len(given.Cookie) != 2*cookie.Length || given.Cookie[:16] != mine.Cookie[:16] {
			t.Fatalf("the cookie is %v", got.IsEdns0())
		}
		if n > 0 && given.Cookie != mine.Cookie {
			t.Error("a good cookie was replaced")
		}
		mine.Cookie = given.Cookie
	}
	mine.Cookie = mine.Cookie[:46] + "00"
	if mine.Cookie == "" || s.exchange(t, UDP, q).IsEdns0().Option[0].(*dns.EDNS0_COOKIE).Cookie == mine.Cookie {
		t.Error("a forged cookie was echoed")
	}
	s.seen.await(t, "udp note bad-cookie", 1)
}

// TestFastPathAllocatesNothing is the whole way of a reader, but for the system calls.
func TestFastPathAllocatesNothing(t *testing.T) {
	s := start(t, Config{}, harbours())
	table, settings := s.table.Load(), s.settings.Load()
	query := build(header(1, 0, 0, 1), wireQuestion, []byte{0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 12, 0, dns.EDNS0COOKIE, 0, 8}, []byte("client01"))
	out := make([]byte, compile.Room)
	terms := compile.Terms{Payload: 1232, Cookies: settings.Cookies, Now: 1, Sender: sentBy(someClient)}
	if n := testing.AllocsPerRun(100, func() {
		if length, _ := table.Reply(out, query, &terms); length == 0 || binary.BigEndian.Uint16(out[6:]) == 0 {
			t.Fatal("not answered")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
