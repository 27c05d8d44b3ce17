package dnsserver

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/seamark-mesh/seamark/dnsserver/lookup"
	"github.com/seamark-mesh/seamark/dnsserver/lookup/lookuptest"
	"github.com/seamark-mesh/seamark/dnsserver/transfer"
	"github.com/seamark-mesh/seamark/dnsserver/tsig"
	"github.com/seamark-mesh/seamark/registry"
)

const sharedSecret = "0123456789abcdef0123456789abcdef"

var (
	loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	secrets  = map[string]string{"xfr.": base64.StdEncoding.EncodeToString([]byte(sharedSecret)), "other.": base64.StdEncoding.EncodeToString([]byte("another secret of 32 bytes ......"))}
)

func xfrKey(t testing.TB) tsig.Key {
	t.Helper()
	k, err := tsig.NewKey("xfr", "hmac-sha256", []byte(sharedSecret))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func allowed(change ...func(*Settings)) Config {
	c := Config{Settings: Settings{Transfer: transfer.Settings{Allow: loopback}}}
	for _, f := range change {
		f(&c.Settings)
	}
	return c
}

// growing is a store whose zone a test changes.
type growing struct {
	*registry.Store
	fold  *registry.Fold
	world *lookuptest.World
	taken int
}

func newGrowing(services int) *growing {
	g := &growing{Store: &registry.Store{}, fold: registry.NewFold(), world: lookuptest.Harbours()}
	for n := range services {
		g.world.Service("amber", "shop", fmt.Sprintf("many-%d", n), lookuptest.Instance("i", registry.Passing, "1.0"))
	}
	g.take()
	g.fold.Synced()
	g.Publish(g.fold.View())
	return g
}

func (g *growing) take() {
	messages := g.world.Messages()
	for _, m := range messages[g.taken:] {
		g.fold.Apply(m)
	}
	g.taken = len(messages)
}

// change registers services anew and waits until the server answers so.
func (g *growing) change(t testing.TB, s *running, services int, version string) (before, after uint32) {
	t.Helper()
	before = g.View().Serial()
	for n := range services {
		g.world.Service("amber", "shop", fmt.Sprintf("many-%d", n), lookuptest.Instance("i", registry.Passing, version))
	}
	g.take()
	g.Publish(g.fold.View())
	s.compiled(t, g.View())
	return before, g.View().Serial()
}

// fetch transfers a zone with the miekg client.
func (r *running) fetch(t testing.TB, q *dns.Msg, secret map[string]string) (records []dns.RR, messages int, err error) {
	t.Helper()
	x := &dns.Transfer{TsigSecret: secret, DialTimeout: patience, ReadTimeout: patience, WriteTimeout: patience}
	envelopes, err := x.In(q, r.address.String())
	if err != nil {
		t.Fatal(err)
	}
	for e := range envelopes {
		if e.Error != nil {
			err = e.Error
			continue
		}
		messages++
		records = append(records, e.RR...)
	}
	return records, messages, err
}

func axfr() *dns.Msg {
	q := new(dns.Msg)
	q.SetAxfr("mesh.internal.")
	return q
}

func ixfr(serial uint32) *dns.Msg {
	q := new(dns.Msg)
	q.SetIxfr("mesh.internal.", serial, "a.", "b.")
	q.SetEdns0(4096, false)
	return q
}

func signed(q *dns.Msg, key string, when time.Time) *dns.Msg {
	q.SetTsig(key, dns.HmacSHA256, 300, when.Unix())
	return q
}

func lines(records []dns.RR) []string {
	var all []string
	for _, rr := range records {
		if rr.Header().Rrtype != dns.TypeSOA {
			all = append(all, rr.String())
		}
	}
	slices.Sort(all)
	return all
}

// TestAXFR: the whole zone, with and without a key.
func TestAXFR(t *testing.T) {
	g := newGrowing(300)
	want := lines(slices.Collect(lookup.Zone(g.View())))
	for name, tt := range map[string]struct {
		keys tsig.Keys
		q    *dns.Msg
	}{"plain": {nil, axfr()}, "signed": {tsig.Keys{xfrKey(t)}, signed(axfr(), "xfr.", time.Now())}, "IXFR from afar": {nil, ixfr(1)}} {
		t.Run(name, func(t *testing.T) {
			s := start(t, allowed(func(c *Settings) { c.Transfer.Keys = tt.keys }), g)
			var known map[string]string
			if tt.keys != nil {
				known = secrets
			}
			got, messages, err := s.fetch(t, tt.q, known)
			if err != nil || messages < 2 || !slices.Equal(lines(got), want) {
				t.Fatalf("%d records in %d messages, %v; want %d", len(got), messages, err, len(want))
			}
			if first, last := got[0].(*dns.SOA), got[len(got)-1].(*dns.SOA); first.Serial != g.View().Serial() || last.Serial != first.Serial {
				t.Errorf("between %v and %v", first, last)
			}
			s.seen.await(t, map[bool]string{true: "ixfr full", false: "axfr full"}[tt.q.Question[0].Qtype == dns.TypeIXFR], 1)
		})
	}
}

// TestIXFR: only what changed, over TCP and UDP; our SOA alone when it does not fit
// or there is nothing newer.
func TestIXFR(t *testing.T) {
	g := newGrowing(300)
	s := start(t, allowed(func(c *Settings) { c.UDPPayload = 4096 }), g)
	before, after := g.change(t, s, 1, "2.0")
	for _, protocol := range []Protocol{TCP, UDP} {
		got := s.exchange(t, protocol, ixfr(before))
		serials := []uint32{}
		for _, rr := range got.Answer {
			if soa, ok := rr.(*dns.SOA); ok {
				serials = append(serials, soa.Serial)
			}
		}
		if !slices.Equal(serials, []uint32{after, before, after, after}) || len(got.Answer) < 8 || len(got.Answer) > 40 || !got.Authoritative {
			t.Errorf("%s: %v", protocol, got)
		}
		for name, serial := range map[string]uint32{"the same": after, "a later one": after + 1000} {
			if got := s.exchange(t, protocol, ixfr(serial)); len(got.Answer) != 1 || got.Answer[0].(*dns.SOA).Serial != after {
				t.Errorf("%s, %s: %v", protocol, name, got)
			}
		}
	}
	g.change(t, s, 100, "3.0")
	if got := s.exchange(t, UDP, ixfr(before)); len(got.Answer) != 1 || got.Truncated || got.Answer[0].(*dns.SOA).Serial != g.View().Serial() {
		t.Errorf("more than fits: %v", got)
	}
	if got := s.exchange(t, UDP, ixfr(3)); len(got.Answer) != 1 {
		t.Errorf("from before the journal, over UDP: %v", got)
	}
	got, _, err := s.fetch(t, ixfr(before), nil)
	if err != nil || len(got) < 600 {
		t.Errorf("over TCP: %d records, %v", len(got), err)
	}
	otherZone := ixfr(before)
	otherZone.Ns[0].Header().Name = "Example.org."
	if got := s.exchange(t, TCP, otherZone); got.Rcode != dns.RcodeFormatError {
		t.Errorf("with another zone's serial: %v", got)
	}
	capitals := ixfr(g.View().Serial())
	capitals.Ns[0].Header().Name = "Mesh.INTERNAL."
	if got := s.exchange(t, TCP, capitals); got.Rcode != dns.RcodeSuccess || len(got.Answer) != 1 {
		t.Errorf("with the zone's name in capitals: %v", got)
	}
	noSerial := axfr()
	noSerial.Question[0].Qtype = dns.TypeIXFR
	if got := s.exchange(t, TCP, noSerial); got.Rcode != dns.RcodeFormatError {
		t.Errorf("without a serial: %v", got)
	}
}

// TestTransferIsDenied by default, to other addresses, and without a key when there
// are keys.
func TestTransferIsDenied(t *testing.T) {
	keyed := func(c *Settings) { c.Transfer.Keys = tsig.Keys{xfrKey(t)} }
	elsewhere := func(c *Settings) { c.Transfer.Allow = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")} }
	other := axfr()
	other.Question[0].Name = "shop.svc.mesh.internal."
	outside := axfr()
	outside.Question[0].Name = "example."
	for name, tt := range map[string]struct {
		config   Config
		q        *dns.Msg
		protocol Protocol
		rcode    int
		count    string
	}{
		"by default":          {Config{}, axfr(), TCP, dns.RcodeRefused, "axfr refused"},
		"by default, IXFR":    {Config{}, ixfr(1), UDP, dns.RcodeRefused, "ixfr refused"},
		"another address":     {allowed(elsewhere), axfr(), TCP, dns.RcodeRefused, "axfr refused"},
		"and signed":          {allowed(elsewhere, keyed), signed(axfr(), "xfr.", time.Now()), TCP, dns.RcodeRefused, "axfr refused"},
		"without the key":     {allowed(keyed), axfr(), TCP, dns.RcodeRefused, "axfr refused"},
		"without, IXFR":       {allowed(keyed), ixfr(1), UDP, dns.RcodeRefused, "ixfr refused"},
		"another key":         {allowed(keyed), signed(axfr(), "other.", time.Now()), TCP, dns.RcodeNotAuth, "axfr refused"},
		"a key, but no keys":  {allowed(), signed(axfr(), "xfr.", time.Now()), TCP, dns.RcodeNotAuth, "axfr refused"},
		"an old signature":    {allowed(keyed), signed(axfr(), "xfr.", time.Now().Add(-time.Hour)), TCP, dns.RcodeNotAuth, "axfr refused"},
		"AXFR over UDP":       {allowed(), axfr(), UDP, dns.RcodeRefused, "axfr refused"},
		"a name in the zone":  {allowed(), other, TCP, dns.RcodeNotAuth, "axfr refused"},
		"a name outside":      {allowed(), outside, TCP, dns.RcodeNotAuth, "axfr refused"},
		"key on an allowed":   {allowed(keyed), signed(ixfr(1<<31), "xfr.", time.Now()), UDP, dns.RcodeSuccess, ""},
		"nothing to give yet": {allowed(), axfr(), TCP, dns.RcodeServerFailure, "axfr not-ready"},
	} {
		t.Run(name, func(t *testing.T) {
			views := harbours()
			if name == "nothing to give yet" {
				views = fixed(&registry.View{})
			}
			s := start(t, tt.config, views)
			c := dns.Client{Net: string(tt.protocol), Timeout: patience, TsigSecret: secrets}
			got, _, err := c.Exchange(tt.q, s.address.String())
			if got == nil || got.Rcode != tt.rcode || tt.rcode != 0 && len(got.Answer) > 0 {
				t.Fatalf("%v, %v; want rcode %d", got, err, tt.rcode)
			}
			if tt.count != "" {
				s.seen.await(t, tt.count, 1)
			}
		})
	}
}

// TestTransferWithABadSignatureIsCounted, and logged: whoever looked for the reason why
// a secondary with a wrong key, secret or clock gets no zone found nothing.
func TestTransferWithABadSignatureIsCounted(t *testing.T) {
	pack := func(q *dns.Msg, secret string) []byte {
		packed, _, err := dns.TsigGenerate(q, secret, "", false)
		if err != nil {
			t.Fatal(err)
		}
		return packed
	}
	now := time.Now()
	good := pack(signed(axfr(), "xfr.", now), secrets["xfr."])
	for want, tt := range map[string]struct {
		packet []byte
		count  string
	}{
		"BADKEY":        {pack(signed(axfr(), "other.", now), secrets["other."]), "axfr refused"},
		"BADSIG":        {pack(signed(ixfr(1), "xfr.", now), secrets["other."]), "ixfr refused"},
		"BADTIME":       {pack(signed(axfr(), "xfr.", now.Add(-time.Hour)), secrets["xfr."]), "axfr refused"},
		"can't be read": {bytes.Replace(good, []byte("\x00\xfa\x00\xff"), []byte("\x00\xfa\x00\x01"), 1), "axfr refused"}, // its class is ANY
	} {
		t.Run(want, func(t *testing.T) {
			s := newRunning(t, allowed(func(c *Settings) { c.Transfer.Keys = tsig.Keys{xfrKey(t)} }), harbours())
			var log written
			s.log = slog.New(slog.NewTextHandler(&log, nil))
			s.begin(t)
			conn := s.dial(t, TCP)
			defer conn.Close()
			for range 3 {
				sendStream(t, conn, tt.packet)
				if got := readStream(t, conn); got[3]&15 == dns.RcodeSuccess {
					t.Fatalf("got %x", got)
				}
			}
			s.seen.await(t, tt.count, 3)
			if lines := log.lines("zone transfer refused"); len(lines) != 1 || !strings.Contains(lines[0], want) || !strings.Contains(lines[0], "client=127.0.0.1") {
				t.Errorf("%d lines, want one with %s: %v", len(lines), want, lines)
			}
			q := new(dns.Msg)
			q.SetQuestion("login.svc.mesh.internal.", dns.TypeA)
			sendStream(t, conn, pack(signed(q, "other.", now), secrets["other."]))
			readStream(t, conn)
			if n := s.seen.get("axfr refused") + s.seen.get("ixfr refused"); n != 3 {
				t.Errorf("%d transfers count as refused, 3 were asked for", n)
			}
		})
	}
}

// TestSignedQueries: an ordinary query with a known key gets a signed answer, also a
// long one, on both protocols; a wrong signature gets the error that RFC 8945 has.
func TestSignedQueries(t *testing.T) {
	s := start(t, Config{Settings: Settings{Transfer: transfer.Settings{Keys: tsig.Keys{xfrKey(t)}}}}, wide(500, "http"))
	for _, protocol := range []Protocol{UDP, TCP} {
		for _, qtype := range []uint16{dns.TypeA, dns.TypeSOA, dns.TypeTXT} {
			q := new(dns.Msg)
			q.SetQuestion("w.s.svc.mesh.internal.", qtype)
			q.SetEdns0(1232, false)
			c := dns.Client{Net: string(protocol), Timeout: patience, TsigSecret: secrets, UDPSize: 1232}
			got, _, err := c.Exchange(signed(q, "xfr.", time.Now()), s.address.String())
			if err != nil || got.Rcode != dns.RcodeSuccess || got.IsTsig() == nil || protocol == TCP && qtype == dns.TypeA && len(got.Answer) != 500 {
				t.Errorf("%s %d: %v, %v", protocol, qtype, err, got)
			}
			if protocol == UDP && got.Len() > 1232 {
				t.Errorf("%d bytes", got.Len())
			}
		}
	}
	for name, tt := range map[string]struct {
		key  string
		when time.Time
		want uint16
		mac  bool
	}{
		"unknown key": {"other.", time.Now(), dns.RcodeBadKey, false},
		"an hour ago": {"xfr.", time.Now().Add(-time.Hour), dns.RcodeBadTime, true},
	} {
		q := new(dns.Msg)
		q.SetQuestion("w.s.svc.mesh.internal.", dns.TypeA)
		got, _, _ := (&dns.Client{Timeout: patience, TsigSecret: secrets}).Exchange(signed(q, tt.key, tt.when), s.address.String())
		if got == nil || got.Rcode != dns.RcodeNotAuth || got.IsTsig() == nil || got.IsTsig().Error != tt.want || (got.IsTsig().MACSize > 0) != tt.mac || len(got.Answer) > 0 {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// tooLong is so many services that their zone is longer than what the system takes
// for a client that does not read.
const tooLong = 2500

// narrow makes the system take little for a client that does not read.
func narrow(t *testing.T, conn net.Conn) net.Conn {
	t.Helper()
	if err := conn.(*net.TCPConn).SetReadBuffer(64 << 10); err != nil {
		t.Fatal(err)
	}
	return conn
}

// TestTransferHoldsUpNothing: other queries of the connection are answered while the
// zone is on its way, and a zone takes longer than a connection may be idle.
func TestTransferHoldsUpNothing(t *testing.T) {
	s := start(t, allowed(func(c *Settings) { c.Idle = 200 * time.Millisecond }), newGrowing(tooLong))
	conn := narrow(t, s.dial(t, TCP))
	defer conn.Close()
	zone, _ := axfr().Pack()
	sendStream(t, conn, zone)
	sendStream(t, conn, probe(7))
	var first, between, soas, bytes int
	for n := 0; soas < 2; n++ {
		got := readStream(t, conn)
		bytes += len(got)
		m := new(dns.Msg)
		if err := m.Unpack(got); err != nil {
			t.Fatal(err)
		}
		if m.Id == 7 {
			between = n
			continue
		}
		if first++; first < 6 {
			time.Sleep(60 * time.Millisecond) // longer in sum than the connection may be idle
		}
		for _, rr := range m.Answer {
			if rr.Header().Rrtype == dns.TypeSOA {
				soas++
			}
		}
	}
	if bytes < 3<<20 || between == 0 && first < 2 || between > first/2 {
		t.Errorf("the other answer came as number %d among %d messages of %d bytes", between, first, bytes)
	}
}

// TestTransferToOneWhoNeverReads: it ends at the write deadline and gives its slot
// back; meanwhile a second client is told to come later. The server can stop.
func TestTransferToOneWhoNeverReads(t *testing.T) {
	s := start(t, allowed(func(c *Settings) {
		c.Transfer.AtOnce, c.WriteTimeout = 1, 2*time.Second
	}), newGrowing(tooLong))
	zone, _ := axfr().Pack()
	stuck := func() net.Conn {
		conn := narrow(t, s.dial(t, TCP))
		sendStream(t, conn, zone)
		return conn
	}
	first := stuck()
	defer first.Close()
	readStream(t, first) // it has begun
	if got := s.exchange(t, TCP, axfr()); got.Rcode != dns.RcodeServerFailure {
		t.Errorf("a second one at the same time: %v", got.MsgHdr)
	}
	s.seen.await(t, "axfr busy", 1)
	s.seen.await(t, "axfr failed", 1)
	if _, messages, err := s.fetch(t, axfr(), nil); err != nil || messages < 10 {
		t.Errorf("afterwards: %d messages, %v", messages, err)
	}
	second := stuck()
	defer second.Close()
	readStream(t, second) // it has begun
	s.end(t)
	if _, err := io.Copy(io.Discard, second); errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	s.seen.await(t, "axfr stopped", 1) // our own end is nobody's failure
	s.seen.await(t, "axfr failed", 1)
}

// TestTransferTakesTooLong: a client that reads slowly does not keep a View for ever.
func TestTransferTakesTooLong(t *testing.T) {
	s := start(t, allowed(func(c *Settings) { c.Transfer.Longest = 100 * time.Millisecond }), newGrowing(tooLong))
	conn := narrow(t, s.dial(t, TCP))
	defer conn.Close()
	zone, _ := axfr().Pack()
	sendStream(t, conn, zone)
	go func() {
		buffer := make([]byte, 16<<10)
		for {
			if _, err := conn.Read(buffer); err != nil {
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	s.seen.await(t, "axfr failed", 1)
}

// TestNotifyAfterReload: a secondary that a reload names is told of the zone, and
// finds what it was told of.
func TestNotifyAfterReload(t *testing.T) {
	g := newGrowing(10)
	s := start(t, allowed(), g)
	secondary, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer secondary.Close()
	if err := s.Reload(Settings{Transfer: transfer.Settings{Allow: loopback, Notify: []transfer.Target{{}}}}); err == nil {
		t.Error("a secondary without an address was taken")
	}
	target := transfer.Target{Address: secondary.LocalAddr().(*net.UDPAddr).AddrPort()}
	if err := s.Reload(Settings{Transfer: transfer.Settings{Allow: loopback, Notify: []transfer.Target{target}}}); err != nil {
		t.Fatal(err)
	}
	_ = secondary.SetReadDeadline(time.Now().Add(patience))
	buffer := make([]byte, 4096)
	for n := range 3 {
		length, from, err := secondary.ReadFromUDP(buffer)
		if err != nil {
			t.Fatal(err)
		}
		m := new(dns.Msg)
		if err := m.Unpack(buffer[:length]); err != nil || m.Opcode != dns.OpcodeNotify {
			t.Fatalf("%v, %v", m, err)
		}
		told := m.Answer[0].(*dns.SOA).Serial
		if found := s.ask(t, UDP, "mesh.internal.", "SOA").Answer[0].(*dns.SOA).Serial; found < told {
			t.Errorf("told of %d, found %d", told, found)
		}
		reply, _ := new(dns.Msg).SetReply(m).Pack()
		if _, err := secondary.WriteToUDP(reply, from); err != nil {
			t.Fatal(err)
		}
		g.change(t, s, 5, fmt.Sprint("n", n))
	}
	s.seen.await(t, "notify answered", 2)
}

func TestSourceOfNotify(t *testing.T) {
	s := &Server{listening: make(chan struct{})}
	close(s.listening)
	for _, a := range []string{"127.0.0.1:53", "0.0.0.0:53", "192.0.2.1:53", "[::1]:53"} {
		s.addresses = append(s.addresses, netip.MustParseAddrPort(a))
	}
	for secondary, want := range map[string]string{
		"192.0.2.53": "192.0.2.1", "::ffff:192.0.2.53": "192.0.2.1", "127.0.0.5": "127.0.0.1", "::1": "::1", "2001:db8::53": "invalid IP",
	} {
		if got := s.source(netip.MustParseAddr(secondary)); got.String() != want {
			t.Errorf("to %s from %s, want %s", secondary, got, want)
		}
	}
}
