package probe

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// BenchmarkAttempt connects to a gateway on this machine; what the gateway costs is in it.
func BenchmarkAttempt(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	go func() {
		for conn, err := l.Accept(); err == nil; conn, err = l.Accept() {
			conn.Close()
		}
	}()
	p := plan{kind: registry.ProbeTCP, port: portOf(l.Addr())}
	b.ReportAllocs()
	for b.Loop() {
		ctx, stop := context.WithTimeout(b.Context(), time.Second)
		if _, err := attempt(ctx, loopback, p); err != nil {
			b.Fatal(err)
		}
		stop()
	}
}

// BenchmarkRound plans and judges one probe among 10,000 gateways, without the attempt.
func BenchmarkRound(b *testing.B) {
	p := New(Config{})
	for k := range 100 {
		gateways := make([]registry.Gateway, 100)
		for i := range gateways {
			gateways[i] = gw(fmt.Sprintf("gw-%d", i), netip.AddrFrom4([4]byte{10, 0, byte(k), byte(i)}).String())
		}
		p.SetTargets(registry.ClusterID(fmt.Sprintf("c-%d", k)), gateways)
	}
	now := time.Now().Add(time.Hour)
	b.ReportAllocs()
	for b.Loop() {
		j, wait, ok := p.next(now)
		if !ok {
			now = now.Add(wait)
			continue
		}
		p.take(j, time.Millisecond, nil, now)
		p.release(j, now)
	}
}
