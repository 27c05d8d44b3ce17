package dnsserver

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/seamark-mesh/seamark/dnsserver/cookie"
	"github.com/seamark-mesh/seamark/dnsserver/lookup"
)

// option is an EDNS option with the data as it is.
func option(code uint16, data string) dns.EDNS0 {
	return &dns.EDNS0_LOCAL{Code: code, Data: []byte(data)}
}

// optionsOf returns what a reply's OPT record carries, by code; it fails when one comes
// twice.
func optionsOf(t *testing.T, m *dns.Msg) map[uint16]string {
	t.Helper()
	all := map[uint16]string{}
	if opt := m.IsEdns0(); opt != nil {
		for _, o := range opt.Option {
			if _, again := all[o.Option()]; again {
				t.Errorf("option %d comes twice", o.Option())
			}
			switch o := o.(type) {
			case *dns.EDNS0_COOKIE:
				data, _ := hex.DecodeString(o.Cookie)
				all[o.Option()] = string(data)
			case *dns.EDNS0_NSID:
				data, _ := hex.DecodeString(o.Nsid)
				all[o.Option()] = string(data)
			case *dns.EDNS0_TCP_KEEPALIVE:
				all[o.Option()] = fmt.Sprint(o.Timeout)
			case *dns.EDNS0_ZONEVERSION:
				all[o.Option()] = fmt.Sprintf("%d %d %x", o.LabelCount, o.Type, o.Version)
			case *dns.EDNS0_EDE:
				all[o.Option()] = fmt.Sprint(o.InfoCode)
			default:
				all[o.Option()] = o.String()
			}
		}
	}
	return all
}

const (
	anyName = "login.svc.mesh.internal."
	half    = "\x00\x11\x22\x33\x44\x55\x66\x77" // a client's cookie
)

// TestGoodCookiesAreCounted on both paths and protocols, by the same number; neither a
// client's first query nor a forged cookie is one.
func TestGoodCookiesAreCounted(t *testing.T) {
	keys := cookie.NewKeys(cookie.NewSecret())
	s := start(t, Config{Settings: Settings{Cookies: keys}}, harbours())
	good := string(keys.Append(nil, []byte(half), netip.MustParseAddr("127.0.0.1"), unixNow()))
	for _, p := range []Protocol{UDP, TCP} {
		for _, qtype := range []string{"A", "TXT"} { // the fast path leaves TXT alone
			for _, data := range []string{half, good, good[:23] + "!", good} {
				s.ask(t, p, anyName, qtype, edns(1232, option(dns.EDNS0COOKIE, data)))
			}
			s.ask(t, p, anyName, qtype)
		}
		if got := s.Counts().Cookies[p]; got != 4 {
			t.Errorf("over %s %d cookies were good, want 4", p, got)
		}
		s.seen.await(t, string(p)+" note bad-cookie", 2)
	}
}

// TestCookies: RFC 7873 §5.2 and RFC 9018: whatever cookie a client has, it is answered
// and has a good one afterwards.
func TestCookies(t *testing.T) {
	keys := cookie.NewKeys(cookie.NewSecret())
	s := start(t, Config{Settings: Settings{Cookies: keys}}, harbours())
	client := netip.MustParseAddr("127.0.0.1")
	now := unixNow()
	fresh := string(keys.Append(nil, []byte(half), client, now))
	aging := string(keys.Append(nil, []byte(half), client, now-1900))
	for n, p := range []Protocol{UDP, TCP, UDP, TCP} {
		qtype := []string{"A", "TXT"}[n/2] // the fast path leaves TXT alone
		ask := func(what, data string, more ...dns.EDNS0) string {
			got := s.ask(t, p, anyName, qtype, edns(1232, append([]dns.EDNS0{option(dns.EDNS0COOKIE, data)}, more...)...))
			if got.Rcode != dns.RcodeSuccess || len(got.Answer) == 0 || !got.Authoritative {
				t.Errorf("%s %s: got %v, want an answer", p, what, got)
			}
			return optionsOf(t, got)[dns.EDNS0COOKIE]
		}
		good := func(what, back string) {
			if ok, renew := keys.Verify([]byte(back), client, unixNow()); !ok || renew || !strings.HasPrefix(back, half) {
				t.Errorf("%s %s: the cookie that comes back, %x, is not a fresh one of this client", p, what, back)
			}
		}
		good("no server cookie", ask("no server cookie", half))
		if back := ask("a good one", fresh); back != fresh {
			t.Errorf("%s: a good cookie %x comes back as %x", p, fresh, back)
		}
		if back := ask("two", fresh, option(dns.EDNS0COOKIE, "ignored!")); back != fresh {
			t.Errorf("%s: of two cookies the first is %x, and %x comes back", p, fresh, back)
		}
		if back := ask("an aging one", aging); back == aging {
			t.Errorf("%s: an aging cookie is not renewed", p)
		} else {
			good("an aging one", back)
		}
		for what, data := range map[string]string{
			"too old":        string(keys.Append(nil, []byte(half), client, now-3700)),
			"from tomorrow":  string(keys.Append(nil, []byte(half), client, now+400)),
			"other address":  string(keys.Append(nil, []byte(half), client.Next(), now)),
			"other secret":   string(cookie.NewKeys(cookie.NewSecret()).Append(nil, []byte(half), client, now)),
			"other version":  fresh[:8] + "\x02" + fresh[9:],
			"8 bytes":        half + "12345678",
			"32 bytes":       half + strings.Repeat("x", 32),
			"another client": "01234567" + fresh[8:],
		} {
			back := ask(what, data)
			if want := data[:8]; !strings.HasPrefix(back, want) {
				t.Errorf("%s %s: the client's half comes back as %x", p, what, back)
			}
			if ok, _ := keys.Verify([]byte(back), client, unixNow()); !ok {
				t.Errorf("%s %s: what comes back, %x, is not good", p, what, back)
			}
		}
		s.seen.await(t, string(p)+" note bad-cookie", 8)
		for _, length := range []int{0, 1, 7, 9, 15, 41, 100} {
			got := s.ask(t, p, anyName, "A", edns(1232, option(dns.EDNS0COOKIE, strings.Repeat("x", length))))
			if got.Rcode != dns.RcodeFormatError || len(got.Answer) > 0 || len(optionsOf(t, got)) > 0 || got.IsEdns0() == nil {
				t.Errorf("%s %d bytes: got %v, want FORMERR without a cookie", p, length, got)
			}
		}
		for name, rcode := range map[string]int{"example.org.": dns.RcodeRefused, "never.mesh.internal.": dns.RcodeNameError} {
			if got := s.ask(t, p, name, "A", edns(1232, option(dns.EDNS0COOKIE, half))); got.Rcode != rcode || len(optionsOf(t, got)[dns.EDNS0COOKIE]) != 24 {
				t.Errorf("%s %s: got %v, want a cookie with it", p, name, got)
			}
		}
		if got := s.ask(t, p, anyName, "A", edns(1232)); len(optionsOf(t, got)) != 0 {
			t.Errorf("%s: a cookie for a client that has none: %v", p, got)
		}
	}
}

// TestRequiredCookies: while it is asked for, UDP clients that know cookies get BADCOOKIE
// and a fresh one (RFC 7873 §5.2.3); those that do not, and TCP, are answered.
func TestRequiredCookies(t *testing.T) {
	keys := cookie.NewKeys(cookie.NewSecret())
	s := start(t, Config{Settings: Settings{Cookies: keys}}, harbours())
	if err := s.Reload(Settings{Cookies: keys, RequireCookies: true}); err != nil {
		t.Fatal(err)
	}
	got := s.ask(t, UDP, anyName, "A", edns(1232, option(dns.EDNS0COOKIE, half)))
	back := optionsOf(t, got)[dns.EDNS0COOKIE]
	if got.Rcode != dns.RcodeBadCookie || got.Authoritative || len(got.Answer)+len(got.Ns) > 0 || len(back) != 24 || len(got.Question) != 1 {
		t.Fatalf("got %v, want BADCOOKIE and a cookie alone", got)
	}
	for _, qtype := range []string{"A", "TXT"} {
		if got := s.ask(t, UDP, anyName, qtype, edns(1232, option(dns.EDNS0COOKIE, back))); len(got.Answer) == 0 {
			t.Errorf("with the cookie: got %v", got)
		}
		if got := s.ask(t, UDP, anyName, qtype, edns(1232, option(dns.EDNS0COOKIE, half))); got.Rcode != dns.RcodeBadCookie {
			t.Errorf("%s without it: got %v", qtype, got)
		}
	}
	for what, got := range map[string]*dns.Msg{
		"TCP":             s.ask(t, TCP, anyName, "A", edns(1232, option(dns.EDNS0COOKIE, half))),
		"TCP, TXT":        s.ask(t, TCP, anyName, "TXT", edns(1232, option(dns.EDNS0COOKIE, half))), // which the fast path leaves alone
		"without cookies": s.ask(t, UDP, anyName, "A", edns(1232)),
		"without EDNS":    s.ask(t, UDP, anyName, "A"),
	} {
		if len(got.Answer) == 0 {
			t.Errorf("%s: got %v, want an answer", what, got)
		}
	}
}

// TestSharedSecrets: replicas with the same secrets take each other's cookies, and go
// on to while the secret changes.
func TestSharedSecrets(t *testing.T) {
	older, newer := cookie.NewSecret(), cookie.NewSecret()
	one := start(t, Config{Settings: Settings{Cookies: cookie.NewKeys(older), RequireCookies: true}}, harbours())
	two := start(t, Config{Settings: Settings{Cookies: cookie.NewKeys(older, newer), RequireCookies: true}}, harbours())
	data := half
	try := func(s *running, want int) {
		t.Helper()
		got := s.ask(t, UDP, anyName, "A", edns(1232, option(dns.EDNS0COOKIE, data)))
		if data = optionsOf(t, got)[dns.EDNS0COOKIE]; got.Rcode != want {
			t.Fatalf("got %v, want rcode %d", got, want)
		}
	}
	reload := func(s *running, first cookie.Secret, others ...cookie.Secret) {
		if err := s.Reload(Settings{Cookies: cookie.NewKeys(first, others...), RequireCookies: true}); err != nil {
			t.Fatal(err)
		}
	}
	try(one, dns.RcodeBadCookie)
	try(two, dns.RcodeSuccess)
	reload(one, older, newer)
	reload(two, newer, older)
	try(two, dns.RcodeSuccess) // which renews it
	try(one, dns.RcodeSuccess)
	reload(one, newer, older)
	try(one, dns.RcodeSuccess) // which renews it once more
	reload(one, newer)
	try(one, dns.RcodeSuccess)
	reload(two, cookie.NewSecret())
	try(two, dns.RcodeBadCookie)
}

// TestCookieAlone: a query without a question (RFC 7873 §5.4).
func TestCookieAlone(t *testing.T) {
	keys := cookie.NewKeys(cookie.NewSecret())
	s := start(t, Config{Settings: Settings{Cookies: keys}}, harbours())
	good := string(keys.Append(nil, []byte(half), netip.MustParseAddr("127.0.0.1"), unixNow()))
	for _, p := range bothProtocols {
		for what, tt := range map[string]struct {
			options []dns.EDNS0
			rcode   int
		}{
			"client's half": {[]dns.EDNS0{option(dns.EDNS0COOKIE, half)}, dns.RcodeSuccess},
			"good":          {[]dns.EDNS0{option(dns.EDNS0COOKIE, good)}, dns.RcodeSuccess},
			"bad":           {[]dns.EDNS0{option(dns.EDNS0COOKIE, half+"12345678")}, dns.RcodeBadCookie},
			"no cookie":     {nil, dns.RcodeFormatError},
			"bad length":    {[]dns.EDNS0{option(dns.EDNS0COOKIE, half+"1")}, dns.RcodeFormatError},
		} {
			q := new(dns.Msg)
			q.Id = dns.Id()
			edns(1232, tt.options...)(q)
			got := s.exchange(t, p, q)
			if got.Rcode != tt.rcode || len(got.Question)+len(got.Answer)+len(got.Ns) > 0 || got.Authoritative {
				t.Errorf("%s %s: got %v, want rcode %d", p, what, got, tt.rcode)
			}
			if back := optionsOf(t, got)[dns.EDNS0COOKIE]; (len(back) == 24) != (tt.rcode != dns.RcodeFormatError) {
				t.Errorf("%s %s: the cookie %x came back", p, what, back)
			}
		}
	}
	bare := []byte{0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	if got, want := s.exchangeRaw(t, bare), []byte{0, 1, 0x80, dns.RcodeFormatError, 0, 0, 0, 0, 0, 0, 0, 0}; !bytes.Equal(got, want) {
		t.Errorf("no question and no EDNS: got %x", got)
	}
}

// TestNSID: RFC 5001, only when asked.
func TestNSID(t *testing.T) {
	with, without := start(t, Config{Settings: Settings{NSID: "amber-1"}}, harbours()), start(t, Config{}, harbours())
	for _, p := range bothProtocols {
		for _, data := range []string{"", "ignored"} {
			for _, name := range []string{anyName, "never.mesh.internal.", "example.org."} {
				if got := optionsOf(t, with.ask(t, p, name, "A", edns(1232, option(dns.EDNS0NSID, data)))); len(got) == 0 || got[dns.EDNS0NSID] != "amber-1" {
					t.Errorf("%s %s: got %v", p, name, got)
				}
			}
		}
		if got := optionsOf(t, with.ask(t, p, anyName, "A", edns(1232))); len(got) != 0 {
			t.Errorf("%s, not asked: got %v", p, got)
		}
		if got := optionsOf(t, without.ask(t, p, anyName, "A", edns(1232, option(dns.EDNS0NSID, "")))); len(got) != 0 {
			t.Errorf("%s, without one: got %v", p, got)
		}
	}
}

// TestZoneVersion: the SOA's serial with every answer of the zone (RFC 9660), positive
// or not, and with no other.
func TestZoneVersion(t *testing.T) {
	s := start(t, Config{}, harbours())
	for _, p := range bothProtocols {
		for name, want := range map[string]string{
			anyName: "2 0 00000014", "never.mesh.internal.": "2 0 00000014", "svc.mesh.internal.": "2 0 00000014", "mesh.internal.": "2 0 00000014", "example.org.": "",
		} {
			got := s.ask(t, p, name, "A", edns(1232, option(dns.EDNS0ZONEVERSION, "")))
			if version := optionsOf(t, got)[dns.EDNS0ZONEVERSION]; version != want {
				t.Errorf("%s %s: version %q, want %q", p, name, version, want)
			}
			for _, rr := range got.Ns {
				if serial := rr.(*dns.SOA).Serial; serial != 0x14 {
					t.Errorf("%s %s: the SOA beside it says %d", p, name, serial)
				}
			}
		}
		if got := s.ask(t, p, anyName, "A", edns(1232, option(dns.EDNS0ZONEVERSION, "\x02\x00"))); got.Rcode != dns.RcodeFormatError {
			t.Errorf("%s, with data: got %v, want FORMERR", p, got)
		}
	}
}

// TestKeepAlive: RFC 7828: on TCP, when asked, in units of 100 ms.
func TestKeepAlive(t *testing.T) {
	s := start(t, Config{Settings: Settings{Idle: 12345 * time.Millisecond}}, harbours())
	long := start(t, Config{Settings: Settings{Idle: 3 * time.Hour}}, harbours())
	asked := option(dns.EDNS0TCPKEEPALIVE, "")
	for what, tt := range map[string]struct {
		got  *dns.Msg
		want map[uint16]string
	}{
		"TCP":       {s.ask(t, TCP, anyName, "A", edns(1232, asked)), map[uint16]string{dns.EDNS0TCPKEEPALIVE: "123"}},
		"long":      {long.ask(t, TCP, anyName, "A", edns(1232, asked)), map[uint16]string{dns.EDNS0TCPKEEPALIVE: "65535"}},
		"UDP":       {s.ask(t, UDP, anyName, "A", edns(1232, asked)), map[uint16]string{}},
		"not asked": {s.ask(t, TCP, anyName, "A", edns(1232)), map[uint16]string{}},
		"with time": {s.ask(t, TCP, anyName, "A", edns(1232, option(dns.EDNS0TCPKEEPALIVE, "\x00\x01"))), map[uint16]string{}},
	} {
		if got := optionsOf(t, tt.got); fmt.Sprint(got) != fmt.Sprint(tt.want) || len(tt.got.Answer) != 2 {
			t.Errorf("%s: got %v, want %v", what, got, tt.want)
		}
	}
}

// TestChaos: what the server says of itself, when told to (RFC 4892).
func TestChaos(t *testing.T) {
	told := Settings{Identity: lookup.Identity{Version: `seamark 1\2`, ID: "amber-1"}, NSID: "n"}
	s := start(t, Config{Settings: told}, harbours())
	silent := start(t, Config{Settings: Settings{Identity: lookup.Identity{ID: "only"}}}, harbours())
	for _, p := range bothProtocols {
		for name, want := range map[string]string{
			"version.bind.": `"seamark 1\\2"`, "VERSION.server.": `"seamark 1\\2"`, "id.server.": `"amber-1"`, "hostname.bind.": `"amber-1"`,
			"authors.bind.": "", "mesh.internal.": "", "bind.": "", "x.version.bind.": "",
		} {
			for _, qtype := range []uint16{dns.TypeTXT, dns.TypeA, dns.TypeANY, dns.TypeAXFR} {
				q := new(dns.Msg)
				q.SetQuestion(name, qtype)
				q.Question[0].Qclass = dns.ClassCHAOS
				edns(1232, option(dns.EDNS0NSID, ""), option(dns.EDNS0ZONEVERSION, ""))(q)
				if p == TCP && qtype == dns.TypeAXFR {
					continue // the client would wait for a transfer
				}
				got := s.exchange(t, p, q)
				if o := optionsOf(t, got); o[dns.EDNS0NSID] != "n" || o[dns.EDNS0ZONEVERSION] != "" {
					t.Errorf("%s %s: options %v", p, name, o)
				}
				if qtype != dns.TypeTXT || want == "" {
					if got.Rcode != dns.RcodeRefused || got.Authoritative || len(got.Answer) > 0 {
						t.Errorf("%s %s type %d: got %v, want REFUSED", p, name, qtype, got)
					}
					continue
				}
				if !got.Authoritative || len(got.Answer) != 1 || got.Answer[0].String() != name+"\t0\tCH\tTXT\t"+want {
					t.Errorf("%s %s: got %v, want %s", p, name, got.Answer, want)
				}
				if refused := silent.exchange(t, p, q); (refused.Rcode == dns.RcodeRefused) != strings.HasPrefix(strings.ToLower(name), "version") {
					t.Errorf("%s %s: the server that tells its id only says %v", p, name, refused)
				}
			}
		}
	}
}

// TestReloadDropsNothing: while the settings change all the time, every query is
// answered, over UDP and on a connection that stays open, by one set of settings or the
// other.
func TestReloadDropsNothing(t *testing.T) {
	one := Settings{NSID: "one", Identity: lookup.Identity{ID: "one"}, Cookies: cookie.NewKeys(cookie.NewSecret())}
	two := Settings{NSID: "two", Identity: lookup.Identity{ID: "two"}, UDPPayload: 1400, Idle: time.Minute, MaxConnections: 5}
	s := start(t, Config{Settings: one}, harbours())
	conn, err := dns.Dial("tcp", s.address.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var wg sync.WaitGroup
	defer wg.Wait()
	ended := make(chan struct{})
	defer close(ended)
	wg.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-ended:
				return
			default:
			}
			next := one
			if n%2 == 0 {
				next = two
			}
			if err := s.Reload(next); err != nil {
				t.Error(err)
			}
		}
	})
	said := map[string]int{}
	for range 500 {
		q := new(dns.Msg)
		q.SetQuestion("id.server.", dns.TypeTXT)
		q.Question[0].Qclass = dns.ClassCHAOS
		edns(1232, option(dns.EDNS0NSID, ""), option(dns.EDNS0COOKIE, half))(q)
		overUDP := s.exchange(t, UDP, q)
		_ = conn.SetDeadline(time.Now().Add(patience))
		if err := conn.WriteMsg(q); err != nil {
			t.Fatal(err)
		}
		overTCP, err := conn.ReadMsg()
		if err != nil {
			t.Fatal(err)
		}
		for _, got := range []*dns.Msg{overUDP, overTCP} {
			o := optionsOf(t, got)
			if len(got.Answer) != 1 || got.Answer[0].(*dns.TXT).Txt[0] != o[dns.EDNS0NSID] || len(o[dns.EDNS0COOKIE]) != 24 {
				t.Fatalf("got %v, want an answer by one set of settings", got)
			}
			said[o[dns.EDNS0NSID]]++
		}
	}
	if said["one"] == 0 || said["two"] == 0 {
		t.Errorf("answers by %v: the settings did not change", said)
	}
}
