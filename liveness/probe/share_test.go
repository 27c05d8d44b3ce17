package probe

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// holes are so many gateways, none of which ever answers.
func holes(n *network, count int) (all []registry.Gateway) {
	for k := range count {
		a := netip.AddrFrom4([4]byte{10, byte(count >> 16), byte(k >> 8), byte(k)}).String()
		n.set(a, errBlackHole)
		all = append(all, gw(fmt.Sprintf("gw-%d", k), a))
	}
	return all
}

// TestHungGatewaysOfOneClusterDelayNoOther: the workers were given to whoever had waited
// longest, so that a cluster of black holes had nearly all of them nearly all the time.
func TestHungGatewaysOfOneClusterDelayNoOther(t *testing.T) {
	for clusters := range 4 {
		t.Run(fmt.Sprint(clusters, " of them"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork()
				p, stop := run(t, Config{}, n)
				defer stop()
				for k := range clusters {
					p.SetTargets(registry.ClusterID(fmt.Sprintf("hung-%d", k)), holes(n, 1000+k))
				}
				p.SetTargets("amber", []registry.Gateway{gw("gw-1", "192.0.2.1"), gw("gw-2", "192.0.2.2")})
				time.Sleep(60 * time.Second)
				for _, a := range []string{"192.0.2.1", "192.0.2.2"} {
					if tries := n.tried(a); tries < 27 || tries > 34 {
						t.Errorf("%s was probed %d times in a minute, every two seconds is wanted", a, tries)
					}
				}
				if got := verdicts(p, "amber"); got != "gw-1+ gw-2+" {
					t.Errorf("amber is %s", got)
				}
				p.mu.Lock()
				defer p.mu.Unlock()
				for id, l := range p.share.clients {
					if most := 64 / (clusters + 1); l.busy > most+1 {
						t.Errorf("%s has %d attempts under way, want %d at most", id, l.busy, most)
					}
				}
			})
		})
	}
}

// TestAClusterAloneHasAllWorkers: nothing is kept free for nobody.
func TestAClusterAloneHasAllWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		p, stop := run(t, Config{Concurrency: 8}, n)
		defer stop()
		p.SetTargets("hung", holes(n, 100))
		time.Sleep(10 * time.Second)
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.most != 8 {
			t.Errorf("%d attempts at a time, want 8", n.most)
		}
	})
}

// TestWhoMovesItsGatewaysGetsNoOtherShare: attempts that are under way count against their
// cluster although their gateway is no target any more.
func TestWhoMovesItsGatewaysGetsNoOtherShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		p, stop := run(t, Config{Timeout: time.Minute, Concurrency: 8}, n)
		defer stop()
		p.SetTargets("amber", []registry.Gateway{gw("gw-1", "192.0.2.1")})
		all := holes(n, 600)
		for k := range 20 { // each time others
			p.SetTargets("hung", nil)
			p.SetTargets("hung", all[30*k:30*(k+1)])
			time.Sleep(2 * time.Second)
		}
		p.mu.Lock()
		busy := p.share.busy
		p.mu.Unlock()
		if busy > 5 || n.tried("192.0.2.1") < 17 {
			t.Errorf("%d of 8 workers are busy, and the good gateway was probed %d times in 40 s", busy, n.tried("192.0.2.1"))
		}
	})
}

// TestABlackHoledClusterDoesNotSlowTheOthers: real connections, to a listener that never
// answers and to one that does.
func TestABlackHoledClusterDoesNotSlowTheOthers(t *testing.T) {
	listen := func() (net.Listener, int) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l, l.Addr().(*net.TCPAddr).Port
	}
	_, silent := listen()
	answering, open := listen()
	var answered atomic.Int64
	go func() {
		for conn, err := answering.Accept(); err == nil; conn, err = answering.Accept() {
			answered.Add(1)
			fmt.Fprint(conn, "HTTP/1.1 204 No Content\r\n\r\n") //nolint:errcheck // the prober sees it
			conn.Close()
		}
	}()
	gateways := func(port, count int) (all []registry.Gateway) {
		for k := range count {
			all = append(all, registry.Gateway{
				Name: fmt.Sprintf("gw-%d", k), Addresses: []netip.Addr{loopback}, Ports: map[string]int{"http": port},
				Probe: &registry.Probe{Kind: registry.ProbeHTTP},
			})
		}
		return all
	}
	const hung, good, rounds = 400, 10, 20
	p := New(Config{Interval: 200 * time.Millisecond, Timeout: 400 * time.Millisecond, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	p.SetTargets("hung", gateways(silent, hung))
	p.SetTargets("good", gateways(open, good))
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	for answered.Load() < good*rounds && ctx.Err() == nil {
		time.Sleep(10 * time.Millisecond)
	}
	counts := p.Counts()
	cancel()
	<-done
	if answered.Load() < good*rounds {
		t.Fatalf("%d probes of good gateways in two minutes", answered.Load())
	}
	if each := float64(counts.Failed) / hung; each > rounds/4 {
		t.Errorf("each hung gateway was probed %.1f times, and each good one %d times only", each, rounds)
	}
}

// TestALineWithoutWorkIsForgotten: a cluster whose gateways went away while only further
// attempts at them waited kept its line for ever, so that no other counted as alone.
func TestALineWithoutWorkIsForgotten(t *testing.T) {
	p := New(Config{Concurrency: 1})
	p.random = func() float64 { return 0 }
	now := time.Now()
	p.SetTargets("amber", []registry.Gateway{gw("gw-1", "192.0.2.1", "192.0.2.2")})
	now = now.Add(time.Minute)
	j, _, ok := p.next(now)
	if !ok {
		t.Fatal("nothing is due")
	}
	p.take(j, 0, errDown, now) // the other address waits
	p.release(j, now)
	p.SetTargets("amber", nil)
	if _, _, ok := p.next(now); ok {
		t.Error("a gateway that is no target is probed")
	}
	if len(p.share.clients) != 0 {
		t.Errorf("%d clusters have a line", len(p.share.clients))
	}
}
