package dnsserver

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"github.com/seamark-mesh/seamark/dnsserver/compile"
	"github.com/seamark-mesh/seamark/dnsserver/lookup"
	"github.com/seamark-mesh/seamark/dnsserver/lookup/lookuptest"
	"github.com/seamark-mesh/seamark/dnsserver/transfer"
	"github.com/seamark-mesh/seamark/registry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait of these tests; none of them waits for it to pass.
const patience = 10 * time.Second

// recorder counts what an Observer is told, as "udp NOERROR", "tcp drop short" …
type recorder struct {
	mu     sync.Mutex
	counts map[string]int
	change chan struct{} // closed and replaced at each count
}

func newRecorder() *recorder {
	return &recorder{counts: map[string]int{}, change: make(chan struct{})}
}

func (r *recorder) count(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts[what]++
	close(r.change)
	r.change = make(chan struct{})
}

func (r *recorder) Answered(p Protocol, rcode string, took time.Duration) {
	if took <= 0 {
		r.count("answer without a time")
	}
	r.count(fmt.Sprintf("%s %s", p, rcode))
}

func (r *recorder) Dropped(p Protocol, reason Drop) { r.count(fmt.Sprintf("%s drop %s", p, reason)) }
func (r *recorder) Noted(p Protocol, what Note)     { r.count(fmt.Sprintf("%s note %s", p, what)) }

func (r *recorder) Transferred(kind transfer.Kind, result transfer.Result) {
	r.count(fmt.Sprintf("%s %s", kind, result))
}

// await returns once something was counted often enough.
func (r *recorder) await(t *testing.T, what string, want int) {
	t.Helper()
	deadline := time.After(patience)
	for {
		r.mu.Lock()
		got, change := r.counts[what], r.change
		r.mu.Unlock()
		if got >= want {
			return
		}
		select {
		case <-change:
		case <-deadline:
			r.mu.Lock()
			defer r.mu.Unlock()
			t.Fatalf("%q was counted %d times, want %d; counts: %v", what, got, want, r.counts)
		}
	}
}

func (r *recorder) get(what string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counts[what]
}

// running is a server under test, on UDP and TCP of one loopback port.
type running struct {
	*Server
	address netip.AddrPort
	seen    *recorder
	stop    context.CancelFunc
	ended   chan error
}

func fixed(v *registry.View) Views {
	store := &registry.Store{}
	store.Publish(v)
	return store
}

func harbours() Views { return fixed(lookuptest.Harbours().View()) }

// start runs a server until the test ends, and fails the test when that does not
// work out.
func start(t testing.TB, config Config, views Views) *running {
	t.Helper()
	r := newRunning(t, config, views)
	r.begin(t)
	return r
}

// newRunning makes a server that [running.begin] starts.
func newRunning(t testing.TB, config Config, views Views) *running {
	t.Helper()
	seen := newRecorder()
	r := newObserved(t, config, views, seen)
	r.seen = seen
	return r
}

func startObserved(t testing.TB, config Config, views Views, observer Observer) *running {
	t.Helper()
	r := newObserved(t, config, views, observer)
	r.begin(t)
	return r
}

func newObserved(t testing.TB, config Config, views Views, observer Observer) *running {
	t.Helper()
	if config.Listen == nil {
		config.Listen = []string{"127.0.0.1:0"}
	}
	s, err := New(config, views, observer, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return &running{Server: s, ended: make(chan error, 1)}
}

// begin returns once the server listens, and has compiled the View that there is.
func (r *running) begin(t testing.TB) {
	t.Helper()
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	r.stop = stop
	go func() { r.ended <- r.Run(ctx) }()
	select {
	case <-r.Listening():
	case err := <-r.ended:
		t.Fatalf("Run: %v", err)
	}
	r.address = r.Addresses()[0]
	t.Cleanup(func() { r.end(t) })
	r.compiled(t, r.views.View())
}

// compiled returns once the server answers from v, all of it compiled.
func (r *running) compiled(t testing.TB, v *registry.View) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if table := r.table.Load(); table.View().Sequence() == v.Sequence() && (table.Names() > 0 || !v.Synced()) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the server does not follow")
		}
	}
}

// end stops the server and waits for it.
func (r *running) end(t testing.TB) {
	t.Helper()
	r.stop()
	select {
	case err := <-r.ended:
		r.ended <- nil
		if err != nil {
			t.Errorf("Run: %v", err)
		}
	case <-time.After(patience):
		t.Fatal("Run does not return")
	}
}

// ask sends one question with the miekg client.
func (r *running) ask(t testing.TB, protocol Protocol, name, qtype string, change ...func(*dns.Msg)) *dns.Msg {
	t.Helper()
	q := new(dns.Msg)
	q.SetQuestion(name, dns.StringToType[qtype])
	q.RecursionDesired = false
	for _, f := range change {
		f(q)
	}
	return r.exchange(t, protocol, q)
}

func (r *running) exchange(t testing.TB, protocol Protocol, q *dns.Msg) *dns.Msg {
	t.Helper()
	c := dns.Client{Net: string(protocol), Timeout: patience, UDPSize: 65535}
	in, _, err := c.Exchange(q, r.address.String())
	if err != nil {
		t.Fatalf("%s %v: %v", protocol, q.Question, err)
	}
	return in
}

// show writes a message's answer section, single spaces between fields.
func show(records []dns.RR) string {
	var lines []string
	for _, rr := range records {
		lines = append(lines, strings.ReplaceAll(rr.String(), "\t", " "))
	}
	return strings.Join(lines, "\n")
}

func TestNewRefuses(t *testing.T) {
	for name, config := range map[string]Config{
		"no address":        {},
		"no port":           {Listen: []string{"127.0.0.1"}},
		"a name":            {Listen: []string{"localhost:53"}},
		"port too high":     {Listen: []string{"127.0.0.1:65536"}},
		"port by name":      {Listen: []string{"127.0.0.1:domain"}},
		"payload too small": {Listen: []string{"127.0.0.1:0"}, Settings: Settings{UDPPayload: 511}},
		"payload too large": {Listen: []string{"127.0.0.1:0"}, Settings: Settings{UDPPayload: 4097}},
		"negative limit":    {Listen: []string{"127.0.0.1:0"}, Settings: Settings{MaxConnections: -1}},
	} {
		if _, err := New(config, harbours(), newRecorder(), slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestRunRefusesTakenPort(t *testing.T) {
	first := start(t, Config{}, harbours())
	s, err := New(Config{Listen: []string{"127.0.0.1:0", first.address.String()}}, harbours(), newRecorder(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("Run: %v, want that the address is in use", err)
	}
	if s.Addresses() != nil {
		t.Errorf("addresses %v of a server that never listened", s.Addresses())
	}
}

func TestRunsOnce(t *testing.T) {
	s := start(t, Config{}, harbours())
	if err := s.Run(t.Context()); err == nil {
		t.Error("Run a second time: no error")
	}
}

// TestAddresses: several addresses, each on one port for both protocols.
func TestAddresses(t *testing.T) {
	s := start(t, Config{Listen: []string{"127.0.0.1:0", "127.0.0.2:0"}}, harbours())
	if len(s.Addresses()) != 2 {
		t.Fatalf("addresses %v, want two", s.Addresses())
	}
	for _, address := range s.Addresses() {
		s.address = address
		for _, p := range []Protocol{UDP, TCP} {
			if got := s.ask(t, p, "login.svc.mesh.internal.", "A"); len(got.Answer) != 2 {
				t.Errorf("%s %s: got %v", p, address, got)
			}
		}
	}
}

// TestWildcard: a server on all addresses answers from the one that was asked;
// a connected socket takes nothing else.
func TestWildcard(t *testing.T) {
	for listen, asked := range map[string][]string{
		"0.0.0.0:0": {"127.0.0.1", "127.0.0.2"},
		":0":        {"127.0.0.1", "127.0.0.2", "::1"},
		"[::]:0":    {"127.0.0.2", "::1"},
	} {
		if strings.HasPrefix(listen, "[") {
			probe, err := net.Listen("tcp", "[::1]:0")
			if err != nil {
				t.Logf("%s is left out: this machine has no IPv6", listen)
				continue
			}
			_ = probe.Close()
		}
		s := start(t, Config{Listen: []string{listen}}, harbours())
		for _, host := range asked {
			address := netip.AddrPortFrom(netip.MustParseAddr(host), s.Addresses()[0].Port())
			probe, err := net.Dial("udp", address.String())
			if err != nil {
				t.Logf("%s is left out: %v", address, err)
				continue
			}
			_ = probe.Close()
			s.address = address
			for _, p := range []Protocol{UDP, TCP} {
				if got := s.ask(t, p, "login.svc.mesh.internal.", "A"); len(got.Answer) != 2 {
					t.Errorf("%s at %s on %s: got %v", p, address, listen, got)
				}
			}
		}
	}
}

// TestFollowsTheView: soon after a View was published, answers are of it.
func TestFollowsTheView(t *testing.T) {
	var store registry.Store
	s := start(t, Config{}, &store)
	if got := s.ask(t, UDP, "login.svc.mesh.internal.", "A").Rcode; got != dns.RcodeServerFailure {
		t.Errorf("before the first View: rcode %d, want SERVFAIL", got)
	}
	w := lookuptest.Harbours()
	s.publish(t, &store, w.View())
	for _, p := range []Protocol{UDP, TCP} {
		if got := s.ask(t, p, "login.svc.mesh.internal.", "A"); len(got.Answer) != 2 {
			t.Errorf("with the View: %v", got)
		}
	}
	w.Service("amber", "", "login")
	s.publish(t, &store, w.View())
	for _, p := range []Protocol{UDP, TCP} {
		if got := s.ask(t, p, "login.svc.mesh.internal.", "A"); got.Rcode != dns.RcodeSuccess || len(got.Answer) != 0 {
			t.Errorf("after the last instance left: %v", got)
		}
	}
}

// publish returns once the server answers from v.
func (r *running) publish(t *testing.T, store *registry.Store, v *registry.View) {
	t.Helper()
	store.Publish(v)
	r.compiled(t, v)
}

// TestPanic: a panic costs one answer.
func TestPanic(t *testing.T) {
	s := newRunning(t, Config{}, harbours())
	var broken atomic.Bool
	broken.Store(true)
	s.lookup = func(v *registry.View, q lookup.Question) lookup.Response {
		if broken.Load() {
			panic("broken on purpose")
		}
		return lookup.Answer(v, q)
	}
	s.begin(t)
	for _, p := range []Protocol{UDP, TCP} {
		for range 3 {
			q := new(dns.Msg)
			q.SetQuestion("login.svc.mesh.internal.", dns.TypeTXT)
			q.CheckingDisabled, q.AuthenticatedData, q.Zero = true, true, true
			got := s.exchange(t, p, q)
			if got.Rcode != dns.RcodeServerFailure || !got.RecursionDesired || got.CheckingDisabled || got.AuthenticatedData || got.Zero {
				t.Errorf("%s: got %v, want SERVFAIL with clear flags", p, got)
			}
		}
		s.seen.await(t, string(p)+" note panic", 3)
		s.seen.await(t, string(p)+" SERVFAIL", 3)
	}
	broken.Store(false)
	for _, p := range []Protocol{UDP, TCP} {
		if got := s.ask(t, p, "login.svc.mesh.internal.", "TXT"); len(got.Answer) != 1 {
			t.Errorf("%s afterwards: %v", p, got)
		}
	}
}

// TestPanicWhileCompiling: a View that can't be compiled is answered from all the same,
// by the complete path, and the next one is compiled again.
func TestPanicWhileCompiling(t *testing.T) {
	var store registry.Store
	s := newRunning(t, Config{}, &store)
	var broken atomic.Bool
	s.compile = func(c *compile.Compiler, v *registry.View, delta registry.Delta) *compile.Table {
		if broken.Load() {
			panic("broken on purpose")
		}
		return c.Update(v, delta)
	}
	w := lookuptest.Harbours()
	store.Publish(w.View())
	s.begin(t)
	broken.Store(true)
	w.Service("amber", "", "fresh", lookuptest.Instance("a", registry.Passing, ""))
	v := w.View()
	store.Publish(v)
	s.seen.await(t, "udp note panic", 1)
	for deadline := time.Now().Add(patience); s.table.Load().View() != v && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if got := s.ask(t, UDP, "fresh.svc.mesh.internal.", "A"); len(got.Answer) != 2 || s.table.Load().Names() > 0 {
		t.Errorf("after the panic: %v", got)
	}
	broken.Store(false)
	s.publish(t, &store, w.View())
	if got := s.ask(t, UDP, "fresh.svc.mesh.internal.", "A"); len(got.Answer) != 2 || s.Counts().Answers[UDP]["NOERROR"] != 1 {
		t.Errorf("compiled again: %v", got)
	}
}

// TestSecondServerTakesNothing: one that is started by mistake on the same port took
// packets before it was refused.
func TestSecondServerTakesNothing(t *testing.T) {
	first := start(t, Config{}, harbours())
	second, err := New(Config{Listen: []string{first.address.String()}}, harbours(), newRecorder(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var asked atomic.Int32
	wg.Go(func() {
		defer close(stop)
		for n := 0; n < 200 || asked.Load() < 20; n++ {
			if err := second.Run(t.Context()); err == nil {
				t.Error("a second server runs on the port")
			}
			second.started.Store(false)
		}
	})
	for {
		first.ask(t, UDP, "login.svc.mesh.internal.", "A") // each has a socket of its own
		asked.Add(1)
		select {
		case <-stop:
			wg.Wait()
			return
		default:
		}
	}
}

// TestObserver: answers of the complete path are told by protocol and rcode, those of
// the fast path are summed up.
func TestObserver(t *testing.T) {
	s := start(t, Config{}, harbours())
	for _, p := range []Protocol{UDP, TCP} {
		s.ask(t, p, "login.svc.mesh.internal.", "TXT")
		s.ask(t, p, "nothing.mesh.internal.", "A")
		s.ask(t, p, "example.org.", "A")
		s.ask(t, p, "login.svc.mesh.internal.", "A", func(q *dns.Msg) { q.SetEdns0(1232, false); q.IsEdns0().SetVersion(3) })
		for _, rcode := range []string{"NOERROR", "NXDOMAIN", "REFUSED", "BADVERS"} {
			s.seen.await(t, string(p)+" "+rcode, 1)
		}
	}
	if s.seen.get("answer without a time") > 0 {
		t.Error("an answer took no time")
	}
	for range 3 {
		s.ask(t, UDP, "login.svc.mesh.internal.", "A")
		s.ask(t, UDP, "_http._tcp.login.svc.mesh.internal.", "SRV")
		s.ask(t, UDP, "nothing.svc.mesh.internal.", "A")
	}
	c := s.Counts()
	if want := map[string]uint64{"NOERROR": 6, "NXDOMAIN": 3}; !maps.Equal(c.Answers[UDP], want) || c.Failed != 0 || c.Names < 20 || c.Sets < 5 || c.Bytes == 0 {
		t.Errorf("the fast path counts %+v, want %v", c, want)
	}
	if got := s.seen.get("udp NOERROR"); got != 1 {
		t.Errorf("the complete path counts %d, want 1", got)
	}
}
