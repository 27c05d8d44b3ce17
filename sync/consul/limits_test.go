package consul

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/seamark-mesh/seamark/e2e/servers"
	"github.com/seamark-mesh/seamark/registry"
)

// Consul keeps the connections of cancelled queries over plain HTTP until their
// waits end. Watches that follow each other quickly must not add up to its limit.
// No other test runs beside it: what is quick is measured by those waits.
func TestQuickRestartsStayBelowTheLimit(t *testing.T) {
	tests := map[string]struct {
		services, nodes int
		best, then      Mode
	}{
		"nodes":           {110, 100, ModeHints, ModeSweep},
		"nodes, twice":    {110, 50, ModeHints, ModeSweep}, // two watches each
		"services":        {90, 100, ModePerService, ModeSweep},
		"services, hints": {90, 5, ModePerService, ModeHints},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := servers.Consul(t, servers.ConsulConfig{})
			d := newDriver(t, server)
			d.fill(t, tt.services, tt.nodes)
			source, _ := newSource(t, Config{Address: server.HTTP})
			source.timing.plainWait = 8 * time.Second
			complete := func(s registry.Snapshot) string {
				if s.Len() != tt.services {
					return fmt.Sprintf("a snapshot has %d services", s.Len())
				}
				return ""
			}
			var modes []Mode
			for range 5 {
				w := startWatcher(t, source, complete)
				w.first(t)
				modes = append(modes, source.Mode())
				w.stop(t)
			}
			if modes[0] != tt.best || modes[1] != tt.then {
				t.Errorf("the modes are %v, want %s first, then %s", modes, tt.best, tt.then)
			}
			w := startWatcher(t, source, complete)
			w.until(t, "the best mode again", func(registry.Snapshot) bool { return source.Mode() == tt.best })
			d.flip(t, 0, tt.nodes, api.HealthCritical)
			w.until(t, "a change", func(s registry.Snapshot) bool { return instances(s, "svc-0")[0].Health == registry.Critical })
		})
	}
}

// Whoever has taken all connections: the error says what it is, over both schemes.
func TestLimitIsNamed(t *testing.T) {
	t.Parallel()
	server := servers.Consul(t, servers.ConsulConfig{TLS: true, HCL: `limits { http_max_conns_per_client = 20 }`})
	https, err := url.Parse(server.HTTPS)
	if err != nil {
		t.Fatal(err)
	}
	// Plain and TLS connections count together.
	for range 20 {
		conn, err := tls.Dial("tcp", https.Host, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
	for _, config := range []Config{{Address: server.HTTP}, {Address: server.HTTPS, CAFile: server.CAFile}} {
		source, _ := newSource(t, config)
		err := startWatcher(t, source, nil).ends(t, 20*time.Second)
		if err == nil || !strings.Contains(err.Error(), "connection limit") {
			t.Errorf("%s: Watch ended with %v", config.Address, err)
		}
		if !limited(err) || source.startPool() != poolHTTPS/2 {
			t.Errorf("%s: limited is %t and the pool %d", config.Address, limited(err), source.startPool())
		}
	}
}

func TestUnixSocketAndDatacenter(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "consul") //nolint:usetesting // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "http.sock")
	server := servers.Consul(t, servers.ConsulConfig{HCL: fmt.Sprintf(`addresses { http = "127.0.0.1 unix://%s" }`, socket)})
	d := newDriver(t, server)
	d.register(t, registration("n1", "web", plain("web")))
	source, _ := newSource(t, Config{Address: "unix://" + socket, Datacenter: "dc1"})
	w := startWatcher(t, source, nil)
	w.until(t, "the service", has("web", 1))
	d.register(t, registration("n1", "web", plain("web-2")))
	w.until(t, "a change", has("web", 2))
	elsewhere, _ := newSource(t, Config{Address: server.HTTP, Datacenter: "nowhere"})
	if _, err := elsewhere.Read(t.Context()); err == nil || !strings.Contains(err.Error(), "datacenter") {
		t.Errorf("Read of a datacenter that is not there gave %v", err)
	}
}

// A token that was rotated in its file is taken up without a new start.
func TestTokenFileIsReadAgain(t *testing.T) {
	t.Parallel()
	r := newRude(t)
	seen := make(chan string, 1000)
	r.behave(func(_ http.ResponseWriter, q *http.Request, _ answerOf) bool {
		select {
		case seen <- q.Header.Get("X-Consul-Token"):
		default:
		}
		return false
	})
	file := filepath.Join(t.TempDir(), "token")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("old\n")
	source, _ := newSource(t, Config{Address: r.address, TokenFile: file})
	source.timing.rights, source.timing.pulse = 50*time.Millisecond, 20*time.Millisecond
	w := startWatcher(t, source, nil)
	w.first(t)
	if got := <-seen; got != "old" {
		t.Errorf("the token is %q, want old", got)
	}
	write("new")
	limit := time.After(10 * time.Second)
	for got := ""; got != "new"; {
		select {
		case got = <-seen:
		case <-limit:
			t.Fatal("the new token was not used")
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := w.ends(t, 10*time.Second); err == nil || !strings.Contains(err.Error(), "token") {
		t.Errorf("Watch ended with %v", err)
	}
}

// Nobody listens, or something that is no Consul.
func TestNoConsul(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := "http://" + listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	source, _ := newSource(t, Config{Address: address})
	if err := startWatcher(t, source, nil).ends(t, 10*time.Second); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("Watch ended with %v", err)
	}
	if err := source.Watch(t.Context(), func(registry.Snapshot) { t.Error("something was emitted") }); err == nil {
		t.Error("Watch gives no error")
	}
}

func TestSecondWatchIsRefused(t *testing.T) {
	t.Parallel()
	r := newRude(t)
	source, w := watchRude(t, r, 10*time.Second)
	w.first(t)
	if err := source.Watch(t.Context(), func(registry.Snapshot) {}); err == nil || !strings.Contains(err.Error(), "running already") {
		t.Errorf("a second Watch gives %v", err)
	}
}
