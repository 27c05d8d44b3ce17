package e2e

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/dnsserver/ask"
	"github.com/seamark-mesh/seamark/e2e/servers"
)

// TestNoQueryIsLostBeforeABalancerKnows: a global-dns that was told to stop answered nothing
// any more at the moment in which its /readyz said so, and before.
func TestNoQueryIsLostBeforeABalancerKnows(t *testing.T) {
	const delay = 2 * time.Second
	m := &mesh{nats: servers.NATS(t, servers.NATSConfig{}), dir: t.TempDir()}
	ports, err := servers.FreePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	m.dns, m.http = fmt.Sprintf("127.0.0.1:%d", ports[0]), fmt.Sprintf("127.0.0.1:%d", ports[1])
	d := m.start(t, "global-dns", m.write(t, "global-dns.yaml", map[string]any{
		"zone":           map[string]any{"name": "mesh.internal."},
		"nats":           map[string]any{"servers": []string{m.nats.URL}},
		"dns":            map[string]any{"listen": []string{m.dns}},
		"shutdown_delay": delay.String(),
		"http":           m.http,
	}))
	m.eventually(t, 20*time.Second, "global-dns is ready", func() error { return get("http://"+m.http+"/readyz", nil) })

	// The balancer sends queries here until it sees that nobody should.
	out := make(chan struct{})
	var asked, lost atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				select {
				case <-out:
					return
				default:
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				if a, err := ask.Ask(ctx, m.dns, "mesh.internal.", "SOA"); err != nil || len(a.Data) != 1 {
					lost.Add(1)
				}
				cancel()
				asked.Add(1)
			}
		})
	}
	pause(t.Context(), 500*time.Millisecond)
	told := time.Now()
	if err := d.command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for {
		pause(t.Context(), 300*time.Millisecond) // a balancer looks now and then
		reply, err := http.Get("http://" + m.http + "/readyz")
		if err != nil {
			t.Errorf("/readyz: %v", err)
			break
		}
		reply.Body.Close()
		if reply.StatusCode == http.StatusServiceUnavailable {
			break
		}
		if time.Since(told) > delay {
			t.Error("/readyz goes on to say that it is ready")
			break
		}
	}
	close(out)
	wg.Wait()
	if lost.Load() > 0 || asked.Load() < 100 {
		t.Errorf("%d of %d queries were lost", lost.Load(), asked.Load())
	}
	select {
	case <-d.done:
	case <-time.After(delay + 10*time.Second):
		t.Fatal("it does not end")
	}
	t.Logf("%d queries, ended %v after it was told", asked.Load(), time.Since(told).Round(time.Millisecond))
	if took, code := time.Since(told), d.command.ProcessState.ExitCode(); took < delay || code != 0 {
		t.Errorf("it ended after %v with exit code %d", took, code)
	}
}
