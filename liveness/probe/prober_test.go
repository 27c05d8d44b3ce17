package probe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seamark-mesh/seamark/registry"
)

// network is what attempts meet in a test without sockets.
type network struct {
	mu     sync.Mutex // guards the fields below
	down   map[netip.Addr]error
	takes  time.Duration
	tries  map[netip.Addr]int
	atOnce int
	most   int
}

func newNetwork() *network {
	return &network{down: map[netip.Addr]error{}, tries: map[netip.Addr]int{}, takes: 10 * time.Millisecond}
}

func (n *network) set(address string, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down[netip.MustParseAddr(address)] = err
}

// attempt stands for the real one. What black-holes takes as long as it is let.
func (n *network) attempt(ctx context.Context, a netip.Addr, _ plan) (time.Duration, error) {
	n.mu.Lock()
	err, takes := n.down[a], n.takes
	n.tries[a]++
	n.atOnce++
	n.most = max(n.most, n.atOnce)
	n.mu.Unlock()
	defer func() {
		n.mu.Lock()
		n.atOnce--
		n.mu.Unlock()
	}()
	if errors.Is(err, errBlackHole) {
		takes, err = time.Hour, nil
	}
	timer := time.NewTimer(takes)
	defer timer.Stop()
	select {
	case <-timer.C:
		return takes, err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (n *network) tried(address string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.tries[netip.MustParseAddr(address)]
}

var (
	errBlackHole = errors.New("black hole")
	errDown      = syscall.ECONNREFUSED
)

// journal is a log that is read while it is written.
type journal struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// run starts a prober over a network; stop ends it.
func run(t *testing.T, c Config, n *network) (p *Prober, stop func()) {
	t.Helper()
	p = New(c)
	p.attempt = n.attempt
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	return p, func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run returned %v", err)
		}
	}
}

func gw(name string, addresses ...string) registry.Gateway {
	g := registry.Gateway{Name: name, Ports: map[string]int{"http": 8080}}
	for _, a := range addresses {
		g.Addresses = append(g.Addresses, netip.MustParseAddr(a))
	}
	return g
}

// verdicts writes what is known of a cluster: "gw-1+ gw-2-".
func verdicts(p *Prober, cluster registry.ClusterID) string {
	var all []string
	for _, g := range p.Verdicts(cluster) {
		all = append(all, g.Name+map[bool]string{true: "+", false: "-"}[g.Reached])
	}
	return strings.Join(all, " ")
}

// scheduled counts the gateways that wait for their turn.
func scheduled(p *Prober) (count int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.share.clients {
		count += len(l.queue)
	}
	return count
}

func TestProber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		n.set("192.0.2.2", errDown)
		p, stop := run(t, Config{}, n)
		defer stop()
		p.SetTargets("amber", []registry.Gateway{gw("gw-1", "192.0.2.1"), gw("gw-2", "192.0.2.2")})
		p.SetTargets("bronze", []registry.Gateway{gw("gw-1", "192.0.2.3")})
		if diff := cmp.Diff([]registry.ClusterID{"amber", "bronze"}, p.Clusters()); diff != "" {
			t.Error(diff)
		}
		time.Sleep(1800 * time.Millisecond) // one probe of each at most: too few for a verdict
		if got := verdicts(p, "amber") + verdicts(p, "bronze"); got != "" {
			t.Errorf("after one probe: %s", got)
		}
		time.Sleep(7 * time.Second)
		if got := verdicts(p, "amber"); got != "gw-1+ gw-2-" {
			t.Errorf("amber is %s", got)
		}
		all := p.Verdicts("amber")
		if l := all[0].Latency; l == nil || l.Min != 10 || l.P99 != 10 || l.Count < 3 || all[0].Error != "" {
			t.Errorf("gw-1 is %+v, %+v", all[0], l)
		}
		if all[1].Latency != nil || all[1].Error != "192.0.2.2:8080: connection refused" {
			t.Errorf("gw-2 is %+v", all[1])
		}
		began := time.Now()
		n.set("192.0.2.1", errBlackHole)
		time.Sleep(2200 * time.Millisecond)
		if got := verdicts(p, "amber"); got != "gw-1+ gw-2-" {
			t.Errorf("after a failure or two: %s", got)
		}
		time.Sleep(5400 * time.Millisecond) // three intervals of at most 2.2 s, and one timeout
		if got := verdicts(p, "amber"); got != "gw-1- gw-2-" {
			t.Errorf("after three failures: %s", got)
		}
		if g := p.Verdicts("amber")[0]; !g.Since.After(began) || g.Error != "192.0.2.1:8080: no answer within 1s" || g.Latency == nil {
			t.Errorf("gw-1 is %+v", g)
		}
		n.set("192.0.2.1", nil)
		time.Sleep(5 * time.Second)
		if got := verdicts(p, "amber"); got != "gw-1+ gw-2-" {
			t.Errorf("back: %s", got)
		}
		if c := p.Counts(); c.Gateways != 3 || c.Reached == 0 || c.Failed == 0 || c.Late != 0 || c.Local != 0 {
			t.Errorf("%+v", c)
		}
	})
}

// A gateway is reached when any address is, and the others are tried in the same round.
func TestAnyAddressWillDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		n.set("192.0.2.1", errDown)
		n.set("192.0.2.2", errBlackHole)
		p, stop := run(t, Config{Concurrency: 1}, n)
		defer stop()
		p.SetTargets("amber", []registry.Gateway{gw("gw-1", "192.0.2.1", "192.0.2.2", "192.0.2.3")})
		time.Sleep(20 * time.Second)
		if got := verdicts(p, "amber"); got != "gw-1+" {
			t.Errorf("with one good address: %q", got)
		}
		if bad, good := n.tried("192.0.2.1"), n.tried("192.0.2.3"); bad > 1 || good < 8 {
			t.Errorf("the bad address was tried %d times, the good one %d: the good one is to be remembered", bad, good)
		}
		n.set("192.0.2.3", errDown)
		time.Sleep(20 * time.Second)
		if got := verdicts(p, "amber"); got != "gw-1-" {
			t.Errorf("without a good address: %q", got)
		}
		n.set("192.0.2.2", nil)
		time.Sleep(20 * time.Second)
		if got := verdicts(p, "amber"); got != "gw-1+" || p.Verdicts("amber")[0].Error != "" {
			t.Errorf("another address came back: %q %+v", got, p.Verdicts("amber"))
		}
	})
}

// Two addresses that are reached in one round end it once.
func TestARoundEndsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		p, stop := run(t, Config{}, n)
		defer stop()
		p.SetTargets("amber", []registry.Gateway{gw("gw-1", "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4")})
		for k := range 10 { // each time the one that was reached last goes down
			n.set(fmt.Sprintf("192.0.2.%d", k%4+1), errDown)
			n.set(fmt.Sprintf("192.0.2.%d", (k+3)%4+1), nil)
			time.Sleep(4 * time.Second)
		}
		for k := range 4 {
			n.set(fmt.Sprintf("192.0.2.%d", k+1), nil)
		}
		time.Sleep(4 * time.Second)
		before := p.Counts()
		time.Sleep(time.Minute)
		if rounds := p.Counts().Reached - before.Reached; rounds < 27 || rounds > 34 || scheduled(p) > 1 {
			t.Errorf("%d rounds in a minute, %d in the schedule", rounds, scheduled(p))
		}
	})
}

// What is on its way when a target goes, or when all ends, counts for nothing.
func TestResultsThatComeTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		n.takes = 500 * time.Millisecond
		p, stop := run(t, Config{Interval: time.Second, Rise: 1, Fall: 1}, n)
		p.random = func() float64 { return 0.5 }
		p.SetTargets("amber", []registry.Gateway{gw("gw-1", "192.0.2.1")})
		time.Sleep(750 * time.Millisecond) // the first probe is under way
		p.SetTargets("amber", nil)
		time.Sleep(5 * time.Second)
		if tries := n.tried("192.0.2.1"); tries != 1 || p.Counts().Reached != 0 {
			t.Errorf("%d probes of what is no target, %+v", tries, p.Counts())
		}
		p.SetTargets("bronze", []registry.Gateway{gw("gw-1", "192.0.2.2")})
		time.Sleep(2250 * time.Millisecond) // the second probe is over, the third has not begun
		if got := verdicts(p, "bronze"); got != "gw-1+" {
			t.Fatalf("bronze is %q", got)
		}
		n.set("192.0.2.2", errBlackHole)
		time.Sleep(500 * time.Millisecond)
		stop()
		if got := verdicts(p, "bronze"); got != "gw-1+" || p.Counts().Failed != 0 {
			t.Errorf("the end counts as a failure: %s, %+v", got, p.Counts())
		}
	})
}

func TestSetTargets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		n.set("192.0.2.2", errDown)
		p, stop := run(t, Config{}, n)
		defer stop()
		two := []registry.Gateway{gw("gw-1", "192.0.2.1"), gw("gw-2", "192.0.2.2")}
		p.SetTargets("amber", two)
		time.Sleep(10 * time.Second)
		if got := verdicts(p, "amber"); got != "gw-1+ gw-2-" {
			t.Fatalf("amber is %s", got)
		}
		two[0].Weight, two[1].Ports = 7, map[string]int{"http": 8080, "https": 8443} // neither changes the probe
		p.SetTargets("amber", two)
		if got := verdicts(p, "amber"); got != "gw-1+ gw-2-" {
			t.Errorf("the same gateways lost their verdicts: %s", got)
		}
		for name, change := range map[string]func(*registry.Gateway){
			"address": func(g *registry.Gateway) { g.Addresses = []netip.Addr{netip.MustParseAddr("192.0.2.9")} },
			"port":    func(g *registry.Gateway) { g.Ports = map[string]int{"http": 8081} },
			"probe":   func(g *registry.Gateway) { g.Probe = &registry.Probe{Kind: registry.ProbeHTTP} },
		} {
			next := slices.Clone(two)
			change(&next[0])
			p.SetTargets("amber", next)
			if got := verdicts(p, "amber"); got != "gw-2-" {
				t.Errorf("%s: another target has a verdict already: %s", name, got)
			}
			p.SetTargets("amber", two)
			time.Sleep(10 * time.Second)
		}
		for what, none := range map[string]registry.Gateway{
			"no port": {Name: "gw-1", Addresses: two[0].Addresses},
			"none":    {Name: "gw-1", Addresses: two[0].Addresses, Ports: map[string]int{"http": 8080}, Probe: &registry.Probe{Kind: registry.ProbeNone}},
			"invalid": {Name: "GW", Addresses: two[0].Addresses, Ports: map[string]int{"http": 8080}},
		} {
			p.SetTargets("amber", []registry.Gateway{none, two[1]})
			if c := p.Counts(); c.Gateways != 1 {
				t.Errorf("%s: %d gateways are probed", what, c.Gateways)
			}
		}
		p.SetTargets("amber", nil)
		before := n.tried("192.0.2.2")
		time.Sleep(10 * time.Second)
		if p.Counts().Gateways != 0 || len(p.Clusters()) != 0 || verdicts(p, "amber") != "" || n.tried("192.0.2.2") != before {
			t.Error("what is no target any more is probed still")
		}
	})
}

// Addresses that a registry could name to make us ask for what only we can reach.
func TestForbiddenAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log journal
		n := newNetwork()
		p, stop := run(t, Config{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Logger: slog.New(slog.NewTextHandler(&log, nil))}, n)
		defer stop()
		forbidden := []string{"169.254.169.254", "169.254.1.1", "::1", "fe80::1", "fd00:ec2::254", "100.100.100.200", "::ffff:169.254.169.254"}
		gateways := []registry.Gateway{gw("allowed", "127.0.0.1"), gw("partly", "::1", "192.0.2.1")}
		for k, a := range forbidden {
			gateways = append(gateways, gw(fmt.Sprintf("bad-%d", k), a))
		}
		for range 2 {
			p.SetTargets("amber", gateways)
		}
		time.Sleep(10 * time.Second)
		if got := verdicts(p, "amber"); got != "allowed+ partly+" {
			t.Errorf("amber is %s", got)
		}
		for _, a := range forbidden {
			if tries := n.tried(netip.MustParseAddr(a).Unmap().String()); tries > 0 {
				t.Errorf("%s was probed %d times", a, tries)
			}
		}
		if lines := strings.Count(log.String(), "are not probed"); lines != len(forbidden)+1 {
			t.Errorf("said %d times:\n%s", lines, log.String())
		}
	})
}

// What this machine lacks is not held against gateways.
func TestLocalFaultsTurnNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log journal
		n := newNetwork()
		p, stop := run(t, Config{Logger: slog.New(slog.NewTextHandler(&log, nil))}, n)
		defer stop()
		p.SetTargets("amber", []registry.Gateway{gw("gw-1", "192.0.2.1"), gw("gw-2", "192.0.2.2", "192.0.2.3")})
		time.Sleep(10 * time.Second)
		for _, a := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"} {
			n.set(a, &net.OpError{Op: "dial", Err: os.NewSyscallError("socket", syscall.EMFILE)})
		}
		time.Sleep(time.Minute)
		if got := verdicts(p, "amber"); got != "gw-1+ gw-2+" || p.Counts().Local == 0 || p.Counts().Failed != 0 {
			t.Errorf("amber is %s, %+v", got, p.Counts())
		}
		if lines := strings.Count(log.String(), "can't be probed"); lines != 1 {
			t.Errorf("said %d times:\n%s", lines, log.String())
		}
	})
}

// Thousands of gateways take no more attempts at a time than there are workers, are
// probed in turn, and it is told when the workers are too few.
func TestTooFewWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log journal
		n := newNetwork()
		before := runtime.NumGoroutine()
		p, stop := run(t, Config{Concurrency: 4, Logger: slog.New(slog.NewTextHandler(&log, nil))}, n)
		defer stop()
		const count = 3000
		var gateways []registry.Gateway
		for k := range count {
			gateways = append(gateways, gw(fmt.Sprintf("gw-%d", k), netip.AddrFrom4([4]byte{10, 0, byte(k >> 8), byte(k)}).String()))
		}
		for k := range 10 {
			p.SetTargets(registry.ClusterID(fmt.Sprintf("c-%d", k)), gateways[k*300:(k+1)*300])
		}
		time.Sleep(61 * time.Second) // 400 attempts a second: a round of all takes 7.5 s
		synctest.Wait()
		if more := runtime.NumGoroutine() - before; more > 4+3 {
			t.Errorf("%d goroutines more", more)
		}
		n.mu.Lock()
		fewest, most := 1000, 0
		for _, tries := range n.tries {
			fewest, most = min(fewest, tries), max(most, tries)
		}
		if n.most > 4 || len(n.tries) != count || fewest < 7 || most > 10 {
			t.Errorf("%d at a time, %d gateways were tried %d to %d times", n.most, len(n.tries), fewest, most)
		}
		n.takes = time.Millisecond
		n.mu.Unlock()
		if p.Counts().Late == 0 || strings.Count(log.String(), "less often than configured") != 1 {
			t.Errorf("%d late; said:\n%s", p.Counts().Late, log.String())
		}
		time.Sleep(20 * time.Second)
		if strings.Count(log.String(), "as often as configured") != 1 {
			t.Errorf("it is not said that all is well again:\n%s", log.String())
		}
	})
}

// A black hole does not hold up the rest.
func TestBlackHolesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		p, stop := run(t, Config{Concurrency: 64}, n)
		defer stop()
		var holes []registry.Gateway
		for k := range 50 {
			a := netip.AddrFrom4([4]byte{10, 0, 0, byte(k)}).String()
			n.set(a, errBlackHole)
			holes = append(holes, gw(fmt.Sprintf("gw-%d", k), a))
		}
		p.SetTargets("holes", holes)
		p.SetTargets("amber", []registry.Gateway{gw("gw-1", "192.0.2.1")})
		time.Sleep(30 * time.Second)
		if tries := n.tried("192.0.2.1"); tries < 13 || tries > 17 {
			t.Errorf("a good gateway was probed %d times in 30 s", tries)
		}
		if all := p.Verdicts("holes"); len(all) != 50 || all[0].Reached {
			t.Errorf("%d black holes are judged: %+v", len(all), all)
		}
	})
}

func TestMostTargets(t *testing.T) {
	var log journal
	p := New(Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	for k := range MaxTargets/registry.MaxGateways + 2 {
		gateways := make([]registry.Gateway, registry.MaxGateways)
		for i := range gateways {
			gateways[i] = gw(fmt.Sprintf("gw-%d", i), "192.0.2.1")
		}
		p.SetTargets(registry.ClusterID(fmt.Sprintf("c-%d", k)), gateways)
	}
	if n := p.Counts().Gateways; n != MaxTargets || scheduled(p) != MaxTargets {
		t.Errorf("%d targets", n)
	}
	if lines := strings.Count(log.String(), "too many"); lines != 1 {
		t.Errorf("said %d times", lines)
	}
	p.SetTargets("c-0", nil)
	p.SetTargets("new", []registry.Gateway{gw("gw-1", "192.0.2.1")})
	if len(p.Clusters()) == 0 || !slices.Contains(p.Clusters(), "new") {
		t.Error("there is no room after some have gone")
	}
}

// Targets may change at any moment, from anywhere.
func TestTargetsMoveWhileProbing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		n.set("192.0.2.2", errDown)
		p, stop := run(t, Config{Interval: 50 * time.Millisecond, Timeout: 20 * time.Millisecond, Rise: 1, Fall: 1}, n)
		defer stop()
		var wg sync.WaitGroup
		for k := range 4 {
			wg.Go(func() {
				cluster := registry.ClusterID(fmt.Sprintf("c-%d", k%2))
				for i := range 500 {
					switch i % 3 {
					case 0:
						p.SetTargets(cluster, []registry.Gateway{gw("gw-1", "192.0.2.1"), gw("gw-2", "192.0.2.2", "192.0.2.3")})
					case 1:
						p.SetTargets(cluster, []registry.Gateway{gw("gw-1", "192.0.2.2")})
					default:
						p.SetTargets(cluster, nil)
					}
					time.Sleep(7 * time.Millisecond)
					p.Verdicts(cluster)
				}
			})
		}
		wg.Wait()
		p.SetTargets("c-0", nil)
		p.SetTargets("c-1", []registry.Gateway{gw("gw-1", "192.0.2.1"), gw("gw-2", "192.0.2.2")})
		time.Sleep(time.Second)
		if got := verdicts(p, "c-1"); got != "gw-1+ gw-2-" || p.Counts().Gateways != 2 || len(p.Clusters()) != 1 {
			t.Errorf("in the end: %s, %+v, %v", got, p.Counts(), p.Clusters())
		}
	})
}
