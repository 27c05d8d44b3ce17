//go:build linux

package e2e

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/seamark-mesh/seamark/dnsserver/cookie"
	"github.com/seamark-mesh/seamark/e2e/servers"
)

// withCookie is a query with this data in its COOKIE option.
func withCookie(data []byte) []byte {
	return query("web.svc.mesh.internal.", dns.TypeA, func(m *dns.Msg) {
		m.SetEdns0(1232, false)
		m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_LOCAL{Code: dns.EDNS0COOKIE, Data: data})
	})
}

// cookies: what has a bad length is FORMERR; one that is old, early, another client's
// or another server's is answered, and brings a good one; a good one comes back.
func (x *target) cookies(t *testing.T) {
	secret, err := cookie.ParseSecret(cookieSecret)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := cookie.NewKeys(secret), cookie.NewKeys(cookie.NewSecret())
	here, there := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2")
	client, now := []byte("shipmate"), uint32(time.Now().Unix())
	conn := x.from(t, "udp", here.String())
	for _, length := range []int{0, 1, 7, 9, 15, 41, 200} {
		reply := x.exchange(t, conn, withCookie(bytes.Repeat([]byte{1}, length)), 5*time.Second)
		if len(reply) < 12 || reply[3]&15 != dns.RcodeFormatError {
			t.Errorf("a cookie of %d bytes gets %x", length, reply)
		}
	}
	for name, c := range map[string]struct {
		data []byte
		good bool
	}{
		"good":              {ours.Append(nil, client, here, now), true},
		"a client's alone":  {client, false},
		"old":               {ours.Append(nil, client, here, now-3700), false},
		"of the future":     {ours.Append(nil, client, here, now+400), false},
		"another address's": {ours.Append(nil, client, there, now), false},
		"another secret's":  {theirs.Append(nil, client, here, now), false},
		"noise":             {append(bytes.Clone(client), bytes.Repeat([]byte{0xee}, 32)...), false},
	} {
		before := x.metric(t, "seamark_dns_notes_total", `what="bad-cookie"`)
		m := new(dns.Msg)
		if err := m.Unpack(x.exchange(t, conn, withCookie(c.data), 5*time.Second)); err != nil || m.Rcode != dns.RcodeSuccess || len(m.Answer) != 1 {
			t.Fatalf("a cookie that is %s gets %v, %v", name, m, err)
		}
		brought, ok := m.IsEdns0().Option[0].(*dns.EDNS0_COOKIE)
		if !ok {
			t.Fatalf("a cookie that is %s gets no cookie: %v", name, m)
		}
		data, err := hex.DecodeString(brought.Cookie)
		if valid, _ := ours.Verify(data, here, uint32(time.Now().Unix())); err != nil || !valid || bytes.Equal(data, c.data) != c.good {
			t.Errorf("a cookie that is %s brings %x", name, data)
		}
		if bad := x.metric(t, "seamark_dns_notes_total", `what="bad-cookie"`) - before; (bad == 1) == (c.good || len(c.data) == 8) {
			t.Errorf("a cookie that is %s counts as %v bad ones", name, bad)
		}
	}
}

// signatures: a wrong key, secret or time is NOTAUTH with its reason; a signature that
// is not last is FORMERR; a good one is answered with a good one.
func (x *target) signatures(t *testing.T) {
	conn := x.from(t, "udp", "127.0.0.1")
	sign := func(key, secret string, at time.Time) []byte {
		m := new(dns.Msg)
		m.SetQuestion("web.svc.mesh.internal.", dns.TypeA)
		m.SetTsig(key, dns.HmacSHA256, 300, at.Unix())
		packed, _, err := dns.TsigGenerate(m, secret, "", false)
		if err != nil {
			t.Fatal(err)
		}
		return packed
	}
	other := "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	for name, c := range map[string]struct {
		packet        []byte
		rcode, reason int
	}{
		"good":           {sign("xfr.", transferSecret, time.Now()), dns.RcodeSuccess, 0},
		"another key":    {sign("pirate.", transferSecret, time.Now()), dns.RcodeNotAuth, dns.RcodeBadKey},
		"another secret": {sign("xfr.", other, time.Now()), dns.RcodeNotAuth, dns.RcodeBadSig},
		"10 min ago":     {sign("xfr.", transferSecret, time.Now().Add(-10*time.Minute)), dns.RcodeNotAuth, dns.RcodeBadTime},
		"10 min ahead":   {sign("xfr.", transferSecret, time.Now().Add(10*time.Minute)), dns.RcodeNotAuth, dns.RcodeBadTime},
	} {
		m := new(dns.Msg)
		reply := x.exchange(t, conn, c.packet, 5*time.Second)
		if err := m.Unpack(reply); err != nil || m.Rcode != c.rcode || m.IsTsig() == nil || int(m.IsTsig().Error) != c.reason {
			t.Errorf("%s: %v, %v; want rcode %d with %d", name, m, err, c.rcode, c.reason)
		}
	}
	last := sign("xfr.", transferSecret, time.Now())
	last[11]++ // one more record behind it
	if reply := x.exchange(t, conn, append(last, wireOPT...), 5*time.Second); len(reply) < 4 || reply[3]&15 != dns.RcodeFormatError {
		t.Errorf("a signature that is not last gets %x", reply)
	}
}

// spoofed: a query that seems to come from global-dns itself makes it answer itself
// once and no more; one from port 0 gets nothing.
func (x *target) spoofed(t *testing.T) {
	if os.Geteuid() != 0 {
		notRun(t, "only root may forge a packet's source", "run the tests as root", servers.Required("root"))
	}
	_, port, err := net.SplitHostPort(x.dns)
	if err != nil {
		t.Fatal(err)
	}
	var own uint16
	if _, err := fmt.Sscan(port, &own); err != nil {
		t.Fatal(err)
	}
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_RAW, syscall.IPPROTO_RAW)
	if err != nil {
		notRun(t, "no raw socket: "+err.Error(), "run the tests with CAP_NET_RAW", servers.Required("root"))
	}
	defer func() { _ = syscall.Close(socket) }()
	drops := func(reason string) float64 {
		return x.metric(t, "seamark_dns_dropped_total", `protocol="udp",reason="`+reason+`"`)
	}
	for _, c := range []struct {
		source uint16
		reason string
		packet []byte
	}{{own, "response", plain}, {own, "response", query("web.svc.mesh.internal.", dns.TypeANY)}, {0, "port-zero", query("web.svc.mesh.internal.", dns.TypeANY)}} {
		before := drops(c.reason)
		if err := syscall.Sendto(socket, datagram(c.source, own, c.packet), 0, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
			t.Fatal(err)
		}
		x.eventually(t, 5*time.Second, "the packet is dropped as "+c.reason, func() error {
			if n := drops(c.reason) - before; n != 1 {
				return fmt.Errorf("%v are", n)
			}
			return nil
		})
	}
	before := drops("response")
	time.Sleep(300 * time.Millisecond)
	if n := drops("response") - before; n != 0 {
		t.Errorf("it talks to itself: %v more responses came", n)
	}
}

// datagram is an IPv4 packet with UDP from and to this machine.
func datagram(source, target uint16, payload []byte) []byte {
	b := []byte{0x45, 0, 0, 0, 0, 0, 0, 0, 64, syscall.IPPROTO_UDP, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1}
	binary.BigEndian.PutUint16(b[2:], uint16(28+len(payload)))
	b = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, source), target)
	b = binary.BigEndian.AppendUint16(b, uint16(8+len(payload)))
	return append(append(b, 0, 0), payload...) // no checksum
}

// exposure: strangers get no zone, and fill no log; nothing is said that was not asked
// for; nobody is worth using against others.
func (x *target) exposure(t *testing.T) {
	for n := range 100 {
		conn := x.from(t, "tcp", "127.0.0.1")
		packet := query("mesh.internal.", dns.TypeAXFR)
		if n%2 == 1 {
			packet = query("mesh.internal.", dns.TypeIXFR, func(m *dns.Msg) {
				m.Ns = []dns.RR{&dns.SOA{Hdr: dns.RR_Header{Name: "mesh.internal.", Rrtype: dns.TypeSOA, Class: 1}, Ns: ".", Mbox: ".", Serial: 1}}
			})
		}
		if _, err := conn.Write(framed(packet)); err != nil {
			t.Fatal(err)
		}
		if reply, err := next(conn); err != nil || reply[3]&15 != dns.RcodeRefused || binary.BigEndian.Uint16(reply[6:]) != 0 {
			t.Fatalf("a stranger gets %x, %v", reply, err)
		}
		_ = conn.Close()
	}
	text, err := os.ReadFile(x.process.log())
	if lines := strings.Count(string(text), `"zone transfer refused"`); err != nil || lines < 1 || lines > 5 {
		t.Errorf("100 refused transfers made %d lines in the log, %v", lines, err)
	}
	conn, worst := x.from(t, "udp", "127.0.0.1"), 0.0
	for name, packet := range map[string][]byte{
		"A": plain, "ANY": query("web.svc.mesh.internal.", dns.TypeANY), "TXT": query("web.svc.mesh.internal.", dns.TypeTXT),
		"SRV": query("_http._tcp.web.svc.mesh.internal.", dns.TypeSRV), "NS": query("mesh.internal.", dns.TypeNS), "SOA": query("mesh.internal.", dns.TypeSOA),
		"PTR": query("_http._tcp.default.svc.mesh.internal.", dns.TypePTR, func(m *dns.Msg) { m.SetEdns0(65535, true) }),
		"no":  query("nobody.svc.mesh.internal.", dns.TypeA, func(m *dns.Msg) { m.SetEdns0(65535, true) }),
		"CH":  query("version.bind.", dns.TypeTXT, func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }),
	} {
		reply := x.exchange(t, conn, packet, 5*time.Second)
		m := new(dns.Msg)
		if err := m.Unpack(reply); err != nil || m.RecursionAvailable {
			t.Fatalf("%s: %v, %v", name, m, err)
		}
		if factor := float64(len(reply)) / float64(len(packet)); factor > worst {
			worst = factor
		}
		switch name {
		case "CH":
			if m.Rcode != dns.RcodeRefused {
				t.Errorf("the version is told to everybody: %v", m)
			}
		case "no":
			if len(m.Ns) != 1 || m.Ns[0].Header().Rrtype != dns.TypeSOA {
				t.Errorf("a name that is not there tells of others: %v", m)
			}
		case "PTR":
			if !m.Truncated || len(m.Answer) > 0 {
				t.Errorf("a list that is too long is not sent empty: %v", m)
			}
		}
	}
	t.Logf("at most %.1f times a query's length over UDP without a cookie", worst)
	if worst > 3 {
		t.Errorf("a reply is %.1f times as long as its query", worst)
	}
	x.serials(t)
}

// serials: a secondary whose serial is ours, or ahead of it, gets the SOA alone.
func (x *target) serials(t *testing.T) {
	current := x.soa(t)
	for name, serial := range map[string]uint32{"the same": current.Serial, "ahead": current.Serial + 1000, "half around": current.Serial + 1<<31 - 1} {
		m := new(dns.Msg)
		m.SetIxfr("mesh.internal.", serial, ".", ".")
		m.SetTsig("xfr.", dns.HmacSHA256, 300, time.Now().Unix())
		packed, _, err := dns.TsigGenerate(m, transferSecret, "", false)
		if err != nil {
			t.Fatal(err)
		}
		for _, network := range []string{"udp", "tcp"} {
			conn := x.from(t, network, transferClient)
			var reply []byte
			if network == "udp" {
				reply = x.exchange(t, conn, packed, 5*time.Second)
			} else if _, err = conn.Write(framed(packed)); err == nil {
				reply, err = next(conn)
			}
			m := new(dns.Msg)
			if unpacked := m.Unpack(reply); err != nil || unpacked != nil || len(m.Answer) != 1 || m.Answer[0].Header().Rrtype != dns.TypeSOA {
				t.Errorf("over %s a serial that is %s gets %v, %v", network, name, m, err)
			}
		}
	}
}

func (x *target) soa(t *testing.T) *dns.SOA {
	t.Helper()
	m := new(dns.Msg)
	if err := m.Unpack(x.exchange(t, x.from(t, "udp", "127.0.0.1"), query("mesh.internal.", dns.TypeSOA), 5*time.Second)); err != nil || len(m.Answer) != 1 {
		t.Fatalf("%v, %v", m, err)
	}
	return m.Answer[0].(*dns.SOA)
}

// tooLarge: a list that does not fit into TCP either is sent with as many whole
// records as fit, the same ones each time, and is counted.
func (x *target) tooLarge(t *testing.T) {
	before := x.metric(t, "seamark_dns_notes_total", `what="cut"`)
	var first []byte
	for n := range 3 {
		conn := x.from(t, "tcp", "127.0.0.1")
		packet := query("_http._tcp.default.svc.mesh.internal.", dns.TypePTR, func(m *dns.Msg) { m.Id = 7 })
		if _, err := conn.Write(framed(packet)); err != nil {
			t.Fatal(err)
		}
		reply, err := next(conn)
		if err != nil {
			t.Fatal(err)
		}
		m := new(dns.Msg)
		if err := m.Unpack(reply); err != nil || m.Rcode != dns.RcodeSuccess || len(m.Answer) >= longNames || len(reply) < 65000 {
			t.Fatalf("%d records in %d bytes, %v, of %d that are there", len(m.Answer), len(reply), err, longNames)
		}
		if n == 0 {
			first = reply
			t.Logf("%d of %d records in %d bytes", len(m.Answer), longNames+1, len(reply))
		} else if !bytes.Equal(reply, first) {
			t.Errorf("the records differ from time to time")
		}
	}
	if n := x.metric(t, "seamark_dns_notes_total", `what="cut"`) - before; n != 3 {
		t.Errorf("%v answers count as cut, want 3", n)
	}
}
