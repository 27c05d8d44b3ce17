package transfer

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"github.com/seamark-mesh/seamark/dnsserver/lookup/lookuptest"
	"github.com/seamark-mesh/seamark/dnsserver/tsig"
	"github.com/seamark-mesh/seamark/registry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait of these tests; none of them waits for it to pass.
const patience = 20 * time.Second

// secondary is a socket that gets NOTIFY and answers as it is told to.
type secondary struct {
	conn   *net.UDPConn
	target netip.AddrPort
	got    chan told
}

type told struct {
	at     time.Time
	from   *net.UDPAddr
	packet []byte
	m      *dns.Msg
}

func (s secondary) next(t *testing.T) told {
	t.Helper()
	select {
	case n := <-s.got:
		return n
	case <-time.After(patience):
		t.Fatal("no NOTIFY")
		panic("unreachable")
	}
}

func (n told) serial() uint32 { return n.m.Answer[0].(*dns.SOA).Serial }

func (s secondary) answer(t *testing.T, n told, rcode int) {
	t.Helper()
	reply := new(dns.Msg)
	reply.SetRcode(n.m, rcode)
	b, err := reply.Pack()
	if err != nil {
		t.Fatal(err)
	}
	s.send(t, n, b)
}

func (s secondary) send(t *testing.T, n told, b []byte) {
	t.Helper()
	if _, err := s.conn.WriteToUDP(b, n.from); err != nil {
		t.Error(err)
	}
}

func newSecondary(t *testing.T) secondary {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	s := secondary{conn: conn, target: conn.LocalAddr().(*net.UDPAddr).AddrPort(), got: make(chan told, 100)}
	var wg sync.WaitGroup
	t.Cleanup(func() { _ = conn.Close(); wg.Wait() })
	wg.Go(func() {
		buffer := make([]byte, 4096)
		for {
			n, from, err := conn.ReadFromUDP(buffer)
			if err != nil {
				return
			}
			packet := append([]byte(nil), buffer[:n]...)
			m := new(dns.Msg)
			if err := m.Unpack(packet); err != nil {
				t.Error(err)
				return
			}
			s.got <- told{time.Now(), from, packet, m}
		}
	})
	return s
}

// counts is an Observer.
type counts struct {
	mu  sync.Mutex
	all map[string]int
}

func (c *counts) Transferred(kind Kind, result Result) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == nil {
		c.all = map[string]int{}
	}
	c.all[fmt.Sprint(kind, " ", result)]++
}

func (c *counts) get(what string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all[what]
}

// zone is a store that a test writes to.
type zone struct {
	store *registry.Store
	fold  *registry.Fold
	world *lookuptest.World
	taken int
}

func newZone() *zone {
	z := &zone{store: &registry.Store{}, fold: registry.NewFold(), world: lookuptest.Harbours()}
	z.take()
	z.fold.Synced()
	z.publish()
	return z
}

func (z *zone) take() {
	messages := z.world.Messages()
	for _, m := range messages[z.taken:] {
		z.fold.Apply(m)
	}
	z.taken = len(messages)
}

func (z *zone) publish() uint32 {
	z.take()
	z.store.Publish(z.fold.View())
	return z.store.View().Serial()
}

func (z *zone) change(n int) uint32 {
	z.world.Service("amber", "shop", "web", lookuptest.Instance(fmt.Sprint("web-", n), registry.Passing, fmt.Sprint(n)))
	return z.publish()
}

// notify runs a Notifier until the test ends.
func notify(t *testing.T, z *zone, settings *atomic.Pointer[Settings], reloaded chan struct{}) *counts {
	t.Helper()
	seen := &counts{}
	n := Notifier{
		Views: z.store, Settings: settings.Load, Reloaded: reloaded, Observer: seen, Log: slog.New(slog.DiscardHandler),
		Answering: func() uint64 { return z.store.View().Sequence() },
		Source:    func(netip.Addr) netip.Addr { return netip.MustParseAddr("127.0.0.9") },
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var wg sync.WaitGroup
	wg.Go(func() { n.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	return seen
}

func settingsOf(targets ...Target) *atomic.Pointer[Settings] {
	p := &atomic.Pointer[Settings]{}
	p.Store(&Settings{Notify: targets})
	return p
}

// TestNotify: the first at once, a burst within a second together, and nothing when
// only the serial moves.
func TestNotify(t *testing.T) {
	z, s := newZone(), newSecondary(t)
	seen := notify(t, z, settingsOf(Target{Address: s.target}), nil)
	first := s.next(t)
	soa := first.m.Answer[0].(*dns.SOA)
	if first.m.Opcode != dns.OpcodeNotify || !first.m.Authoritative || first.m.Question[0] != (dns.Question{Name: "mesh.internal.", Qtype: dns.TypeSOA, Qclass: dns.ClassINET}) || soa.Serial != z.store.View().Serial() {
		t.Errorf("got %v", first.m)
	}
	if from := first.from.IP.String(); from != "127.0.0.9" {
		t.Errorf("told from %s", from)
	}
	s.answer(t, first, dns.RcodeSuccess)
	var last uint32
	for n := range 50 {
		last = z.change(n)
	}
	for got := first; got.serial() != last; {
		next := s.next(t)
		s.answer(t, next, dns.RcodeSuccess)
		if gap := next.at.Sub(got.at); gap < notifyPause-20*time.Millisecond {
			t.Errorf("told again after %v", gap)
		}
		got = next
	}
	z.world.Service("amber", "shop", "web", lookuptest.Instance("web-49", registry.Passing, "49")) // as it was
	if z.publish() == last {
		t.Fatal("the serial did not move")
	}
	select {
	case n := <-s.got:
		t.Errorf("told of %d, although no record changed", n.serial())
	case <-time.After(1500 * time.Millisecond):
	}
	if seen.get("notify answered") < 2 || seen.get("notify unanswered") > 0 {
		t.Errorf("counted %v", seen.all)
	}
}

// TestNotifyWaitsForTheAnswers: a secondary that is told asks at once, and must not
// find what was there before.
func TestNotifyWaitsForTheAnswers(t *testing.T) {
	z, s := newZone(), newSecondary(t)
	var answering atomic.Uint64
	n := Notifier{
		Views: z.store, Settings: settingsOf(Target{Address: s.target}).Load, Observer: &counts{}, Log: slog.New(slog.DiscardHandler),
		Answering: answering.Load, Source: func(netip.Addr) netip.Addr { return netip.Addr{} },
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { n.Run(ctx) })
	select {
	case <-s.got:
		t.Error("told before answers show it")
	case <-time.After(300 * time.Millisecond):
	}
	answering.Store(z.store.View().Sequence())
	s.answer(t, s.next(t), dns.RcodeSuccess)
}

// TestNotifyUntilAnswered: a secondary that is away is told until it answers; another
// secondary that answered is not told again.
func TestNotifyUntilAnswered(t *testing.T) {
	z, away, here := newZone(), newSecondary(t), newSecondary(t)
	seen := notify(t, z, settingsOf(Target{Address: away.target}, Target{Address: here.target}), nil)
	here.answer(t, here.next(t), dns.RcodeSuccess)
	away.next(t)
	again := away.next(t)
	foreign := *again.m
	foreign.Id++
	reply := new(dns.Msg)
	b, err := reply.SetReply(&foreign).Pack()
	if err != nil {
		t.Fatal(err)
	}
	away.send(t, again, b) // somebody else's answer
	away.answer(t, away.next(t), dns.RcodeSuccess)
	select {
	case <-away.got:
		t.Error("told again after it answered")
	case <-here.got:
		t.Error("told again although another one was meant")
	case <-time.After(1500 * time.Millisecond):
	}
	if seen.get("notify unanswered") != 2 || seen.get("notify answered") != 2 {
		t.Errorf("counted %v", seen.all)
	}
}

// TestNotifyAfterAnError: an error was taken for an answer, and the secondary, which
// may only have been busy, never told again.
func TestNotifyAfterAnError(t *testing.T) {
	z, s := newZone(), newSecondary(t)
	seen := notify(t, z, settingsOf(Target{Address: s.target}), nil)
	first := s.next(t)
	s.answer(t, first, dns.RcodeServerFailure)
	second := s.next(t)
	if pause := second.at.Sub(first.at); pause < 900*time.Millisecond || second.serial() != first.serial() {
		t.Errorf("told of %d, then after %v of %d", first.serial(), pause, second.serial())
	}
	s.answer(t, second, dns.RcodeRefused)
	s.answer(t, s.next(t), dns.RcodeSuccess)
	for deadline := time.Now().Add(patience); seen.get("notify answered") == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("counted %v", seen.all)
		}
	}
	if seen.get("notify rejected") != 2 || seen.get("notify unanswered") != 0 {
		t.Errorf("counted %v", seen.all)
	}
}

// TestNotifyIsSigned: with a key, and only an answer with the key counts.
func TestNotifyIsSigned(t *testing.T) {
	k, err := tsig.NewKey("xfr.", "hmac-sha256", secret)
	if err != nil {
		t.Fatal(err)
	}
	z, s := newZone(), newSecondary(t)
	settings := settingsOf(Target{Address: s.target, Key: "xfr."})
	settings.Load().Keys = tsig.Keys{k}
	seen := notify(t, z, settings, nil)
	first := s.next(t)
	s.answer(t, first, dns.RcodeSuccess) // unsigned
	n := s.next(t)
	r, err := tsig.Verify(n.packet, tsig.Keys{k}, time.Now())
	if err != nil || r.Error != 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	m := new(dns.Msg)
	m.SetReply(n.m)
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	s.send(t, n, r.Sign(b, time.Now()))
	for deadline := time.Now().Add(patience); seen.get("notify answered") == 0; {
		if time.Now().After(deadline) {
			t.Fatalf("counted %v", seen.all)
		}
		time.Sleep(time.Millisecond)
	}
	if seen.get("notify unanswered") != 1 {
		t.Errorf("counted %v", seen.all)
	}
}

// TestNotifyFollowsTheSettings: secondaries that a reload adds are told at once.
func TestNotifyFollowsTheSettings(t *testing.T) {
	z, first, second := newZone(), newSecondary(t), newSecondary(t)
	settings, reloaded := settingsOf(Target{Address: first.target}), make(chan struct{}, 1)
	notify(t, z, settings, reloaded)
	first.answer(t, first.next(t), dns.RcodeSuccess)
	settings.Store(&Settings{Notify: []Target{{Address: second.target}}})
	reloaded <- struct{}{}
	second.answer(t, second.next(t), dns.RcodeSuccess)
	z.change(1)
	second.answer(t, second.next(t), dns.RcodeSuccess)
	select {
	case <-first.got:
		t.Error("told although it is not in the settings any more")
	default:
	}
}

func TestSettings(t *testing.T) {
	k, err := tsig.NewKey("xfr.", "hmac-sha256", secret)
	if err != nil {
		t.Fatal(err)
	}
	address := netip.MustParseAddrPort("192.0.2.53:53")
	for name, s := range map[string]Settings{
		"two keys of one name": {Keys: tsig.Keys{k, k}},
		"no network":           {Allow: []netip.Prefix{{}}},
		"no address":           {Notify: []Target{{}}},
		"port 0":               {Notify: []Target{{Address: netip.AddrPortFrom(address.Addr(), 0)}}},
		"unknown key":          {Notify: []Target{{Address: address, Key: "xfr."}}},
		"twice":                {Notify: []Target{{Address: address}, {Address: address}}},
		"too many":             {Notify: make([]Target, maxTargets+1)},
		"negative":             {AtOnce: -1},
	} {
		if _, err := s.Checked(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	s, err := Settings{Allow: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}.Checked()
	if err != nil || s.AtOnce == 0 || s.Longest == 0 {
		t.Fatal(s, err)
	}
	signed := s
	signed.Keys = tsig.Keys{k}
	none := Settings{Keys: tsig.Keys{k}}
	for _, tt := range []struct {
		settings *Settings
		client   string
		signed   bool
		want     bool
	}{
		{&s, "192.0.2.1", false, true},
		{&s, "::ffff:192.0.2.1", false, true},
		{&s, "192.0.3.1", false, false},
		{&signed, "192.0.2.1", false, false},
		{&signed, "192.0.2.1", true, true},
		{&signed, "192.0.3.1", true, false},
		{&none, "192.0.2.1", true, false},
		{&Settings{}, "127.0.0.1", false, false},
	} {
		if got := tt.settings.Allows(netip.MustParseAddr(tt.client), tt.signed); got != tt.want {
			t.Errorf("%+v: %t", tt, got)
		}
	}
}
