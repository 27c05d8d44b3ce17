package e2e

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/e2e/servers"
)

// shore is a mesh of two clusters whose gateways are real, for clients that find
// them by DNS.
type shore struct {
	*mesh
	inside  *namespace // a host of its own; nil where none can be made
	port    int        // on which both gateways answer HTTP with the name of their cluster
	sources map[string]realRegistry
	process *daemon  // the first replica of global-dns
	queries []string // where the two replicas listen besides port 53

	otherHTTP string // of the second replica
}

// The addresses of the gateways.
var gatewayOf = map[string]string{"amber": "127.0.1.1", "bronze": "127.0.1.2"}

func newShore(t *testing.T) *shore {
	t.Helper()
	s := &shore{mesh: &mesh{nats: servers.NATS(t, servers.NATSConfig{}), dir: t.TempDir(), agentHTTP: map[string]string{}}, sources: map[string]realRegistry{}}
	ports, err := servers.FreePorts(4)
	if err != nil {
		t.Fatal(err)
	}
	s.port, s.otherHTTP = ports[2], fmt.Sprintf("127.0.0.1:%d", ports[3])
	s.dns, s.http = fmt.Sprintf("127.0.0.1:%d", ports[0]), fmt.Sprintf("127.0.0.1:%d", ports[1])
	s.queries = []string{s.dns, fmt.Sprintf("127.0.0.2:%d", ports[0])}
	listen := []string{s.dns}
	if s.inside = newNamespace(t); s.inside != nil {
		listen = append(listen, s.inside.outside+":53")
	}
	s.process = s.startReplica(t, "global-dns.yaml", s.http, listen)
	s.startReplica(t, "global-dns-2.yaml", s.otherHTTP, []string{s.queries[1]})
	s.ports = map[string]map[string]int{}
	for cluster, address := range gatewayOf {
		listener, err := net.Listen("tcp", fmt.Sprintf("%s:%d", address, s.port))
		if err != nil {
			t.Fatal(err)
		}
		gateway := &httptest.Server{Listener: listener, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = fmt.Fprint(w, cluster)
		})}}
		gateway.Start()
		t.Cleanup(gateway.Close)
		s.ports[cluster] = map[string]int{"http": s.port}
		s.sources[cluster] = newFile(t)
	}
	s.sources["amber"].fill(t, "svc", 200)
	s.sources["amber"].put(t, "web", passing)
	for cluster, address := range gatewayOf {
		s.agent(t, cluster, address, s.sources[cluster].source())
	}
	return s
}

// startReplica starts a global-dns and waits until it is ready.
func (s *shore) startReplica(t *testing.T, file, http string, listen []string) *daemon {
	t.Helper()
	d := startDaemon(t, "global-dns", s.write(t, file, map[string]any{
		"zone": map[string]any{"name": "mesh.internal.", "nameservers": []any{map[string]any{"name": "ns1.mesh.internal.", "addresses": []string{"192.0.2.53"}}}},
		"nats": map[string]any{"servers": []string{s.nats.URL}},
		"dns":  map[string]any{"listen": listen, "nsid": "pilot-1", "chaos": map[string]any{"id": "pilot-1"}},
		"http": http,
	}))
	s.eventually(t, 20*time.Second, "global-dns is ready", func() error { return get("http://"+http+"/readyz", nil) })
	return d
}

var (
	passing = instance{id: "1", address: "10.0.0.1", port: 80}
	failing = instance{id: "1", address: "10.0.0.1", port: 80, bad: true}
)

// clientSnippet returns a block of docs/clients.md with the test's values in the place
// of the page's.
func (s *shore) clientSnippet(t *testing.T, name string, pairs ...string) string {
	t.Helper()
	found := regexp.MustCompile("(?s)<!-- test: " + name + " -->\n```[a-z]*\n(.*?)```\n").FindStringSubmatch(readText(t, "../docs/clients.md"))
	if found == nil {
		t.Fatalf("docs/clients.md has no snippet %s", name)
	}
	return replace(t, found[1], pairs...)
}

// config writes a file for a client.
func (s *shore) config(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(s.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
	return path
}

// ask gives the addresses that a client finds for a service of the namespace
// default, or of the gateways that it reaches, sorted.
type asking func(ctx context.Context, service string) ([]string, error)

// client is one program that finds gateways by DNS.
type client struct {
	name   string
	need   func(t *testing.T)                  // ends the test where the program can't be had
	start  func(t *testing.T, s *shore) asking // the program, set up as docs/clients.md says
	within time.Duration                       // until it must have followed a change
	fixed  bool                                // it knows the service web only
	alone  bool                                // it knows the first replica only
	ask    asking

	followed, found, lost time.Duration // how long it took; lost, without the first replica
}

// Until a client that keeps nothing, and one that keeps answers for their TTL of 5 s,
// must have followed.
const (
	directly = 2 * time.Second
	cached   = 10 * time.Second

	whenSilent = 10 * time.Second // longer, when one of two replicas is silent; nginx waits 5 s for it
)

// program returns what makes sure of programs, each with its Debian package.
func program(pairs ...string) func(*testing.T) {
	return func(t *testing.T) {
		t.Helper()
		for n := 0; n < len(pairs); n += 2 {
			servers.NeedProgram(t, pairs[n], pairs[n+1])
		}
	}
}

// notRun ends a test that can't be run here: it fails where it is required, and is
// recorded otherwise.
func notRun(t *testing.T, what, enable string, required bool) {
	t.Helper()
	if required {
		t.Fatalf("%s; to enable it: %s", what, enable)
	}
	if path := os.Getenv(servers.NotRunEnv); path != "" {
		out, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err == nil {
			_, err = fmt.Fprintf(out, "e2e %s: %s; to enable it: %s\n", t.Name(), what, enable)
			err = errors.Join(err, out.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Skipf("not run: %s; to enable it: %s", what, enable)
}

// Real clients, set up as docs/clients.md says, follow a service that moves to
// another cluster, and see a new name, within their time; and on the way nobody gets
// nothing. It runs alone: it measures how soon they follow.
func TestClientsFollow(t *testing.T) {
	s := newShore(t)
	t.Run("judges", func(t *testing.T) { s.judge(t) })
	var all []*client
	for _, c := range slices.Concat(resolvers(), hosts(), applications(), tools()) {
		t.Run(c.name+" is here", func(t *testing.T) {
			c.need(t)
			all = append(all, c)
		})
	}
	for _, c := range all {
		c.ask = c.start(t, s)
	}
	s.sources["bronze"].put(t, "web", passing)
	s.answers(t, "web.svc.mesh.internal.", "A", gatewayOf["amber"], gatewayOf["bronze"])
	s.each(all, func(c *client) {
		s.see(t, c, "web", 40*time.Second, gatewayOf["amber"], gatewayOf["bronze"])
	})
	time.Sleep(6500 * time.Millisecond) // nginx counts whole seconds; now nobody keeps anything, so that all of them learn the old answers right before the change
	s.each(all, func(c *client) {
		if got, err := c.ask(t.Context(), "web"); err != nil || len(got) == 0 {
			t.Errorf("%s finds %v, %v", c.name, got, err)
		}
		if c.fixed {
			return
		}
		if got, err := c.ask(t.Context(), "fresh"); err == nil {
			t.Errorf("%s finds %v for a name that does not exist", c.name, got)
		}
	})
	changed := time.Now()
	file := s.sources["amber"].(*fileRegistry)
	file.services["fresh"] = []map[string]any{{"id": "1", "address": "10.0.0.1", "port": 80}}
	file.put(t, "web", failing)
	s.answers(t, "web.svc.mesh.internal.", "A", gatewayOf["bronze"])
	s.answers(t, "fresh.svc.mesh.internal.", "A", gatewayOf["amber"])
	answered := time.Since(changed)
	s.each(all, func(c *client) {
		var wg sync.WaitGroup
		wg.Go(func() { s.see(t, c, "web", c.within, gatewayOf["bronze"]); c.followed = time.Since(changed) })
		if !c.fixed {
			wg.Go(func() { s.seeNew(t, c, "fresh", c.within); c.found = time.Since(changed) })
		}
		wg.Wait()
	})
	s.loseReplica(t, all)
	table := fmt.Sprintf("| global-dns itself | %.2f s | %.2f s | | |\n", answered.Seconds(), answered.Seconds())
	figure := func(d time.Duration) string {
		if d == 0 {
			return "–"
		}
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	for _, c := range all {
		table += fmt.Sprintf("| %s | %s | %s | %s | %.0f s |\n", c.name, figure(c.followed), figure(c.found), figure(c.lost), c.within.Seconds())
	}
	t.Logf("followed after:\n%s", table)
}

// loseReplica silences the first replica, as a machine that is gone, and takes the
// service back to the first cluster: those who know both replicas follow.
func (s *shore) loseReplica(t *testing.T, all []*client) {
	t.Helper()
	if err := s.process.command.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.process.command.Process.Signal(syscall.SIGCONT) }()
	s.dns, s.http = s.queries[1], s.otherHTTP
	s.sources["amber"].put(t, "web", passing)
	s.answers(t, "web.svc.mesh.internal.", "A", gatewayOf["amber"], gatewayOf["bronze"])
	changed := time.Now()
	s.sources["bronze"].put(t, "web", failing)
	s.answers(t, "web.svc.mesh.internal.", "A", gatewayOf["amber"])
	s.each(all, func(c *client) {
		if !c.alone {
			s.see(t, c, "web", c.within+whenSilent, gatewayOf["amber"])
			c.lost = time.Since(changed)
		}
	})
}

// each does something with all clients at once.
func (s *shore) each(all []*client, do func(c *client)) {
	var wg sync.WaitGroup
	for _, c := range all {
		wg.Go(func() { do(c) })
	}
	wg.Wait()
}

// see waits until a client finds exactly these addresses. A client that finds none in
// the meantime has lost a service that was there all the time.
func (s *shore) see(t *testing.T, c *client, service string, within time.Duration, want ...string) {
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	for {
		got, err := c.ask(t.Context(), service)
		if err != nil || len(got) == 0 {
			t.Errorf("%s finds %v for %s, %v, and it was served all the time", c.name, got, service, err)
			return
		}
		if slices.Equal(got, want) {
			return
		}
		if !pause(ctx, 200*time.Millisecond) {
			t.Errorf("%s still finds %v for %s after %v, want %v", c.name, got, service, within, want)
			return
		}
	}
}

// seeNew waits until a client finds a name at all.
func (s *shore) seeNew(t *testing.T, c *client, service string, within time.Duration) {
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	for {
		got, err := c.ask(t.Context(), service)
		if err == nil && slices.Equal(got, []string{gatewayOf["amber"]}) {
			return
		}
		if !pause(ctx, 200*time.Millisecond) {
			t.Errorf("%s finds %v for the new name %s after %v, %v", c.name, got, service, within, err)
			return
		}
	}
}

// at asks a resolver at an address, as Go's own resolver does.
func at(address string) asking {
	r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}}
	return func(ctx context.Context, service string) ([]string, error) {
		found, err := r.LookupNetIP(ctx, "ip4", service+".svc.mesh.internal.")
		var all []string
		for _, address := range found {
			all = append(all, address.Unmap().String())
		}
		slices.Sort(all)
		return all, err
	}
}

// addresses finds the IPv4 addresses that a program prints, each once, sorted. None
// is an error.
func addressesIn(output []byte) ([]string, error) {
	var all []string
	for field := range strings.FieldsSeq(string(output)) {
		if ip := net.ParseIP(field); ip != nil && ip.To4() != nil {
			all = append(all, field)
		}
	}
	slices.Sort(all)
	if all = slices.Compact(all); len(all) == 0 {
		return nil, fmt.Errorf("no address in %q", bytes.TrimSpace(output))
	}
	return all, nil
}

// resolver is a client that is a resolver, which must answer before it is used.
func (s *shore) resolver(t *testing.T, name, address string) asking {
	t.Helper()
	ask := at(address)
	s.eventually(t, 30*time.Second, name+" answers", func() error {
		got, err := ask(t.Context(), "web")
		return cmp.Or(err, func() error {
			if !slices.Equal(got, []string{gatewayOf["amber"]}) {
				return fmt.Errorf("it finds %v", got)
			}
			return nil
		}())
	})
	return ask
}
