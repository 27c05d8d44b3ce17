package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/seamark-mesh/seamark/dnsserver/ask"
	"github.com/seamark-mesh/seamark/e2e/servers"
)

// programs builds the daemons once, with the race detector where the tests have it.
var programs = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "seamark-e2e-")
	if err != nil {
		return "", err
	}
	programsDir = dir
	arguments := append([]string{"build", "-o", dir + string(filepath.Separator)}, raceFlags...)
	command := exec.Command("go", append(arguments, "../cmd/...")...)
	if out, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the daemons: %w\n%s", err, out)
	}
	return dir, nil
})

var programsDir string // where programs built; "" when no test asked

// removePrograms removes what programs built, when all tests have ended.
func removePrograms() error {
	if programsDir == "" {
		return nil
	}
	return os.RemoveAll(programsDir)
}

// mesh is a NATS server, one global-dns and any number of agents, all real
// processes.
type mesh struct {
	nats *servers.NATSServer
	dir  string
	dns  string // host:port
	http string // host:port

	mu        sync.Mutex        // guards agentHTTP
	agentHTTP map[string]string // host:port of each agent, by its configuration file

	ports   map[string]map[string]int // of the gateways of a cluster; none: http is 8080
	brake   map[string]any            // of the agents' configurations; nil: the defaults
	environ []string                  // of the daemons that are started from now on, besides that of the tests
}

// newMesh starts NATS and global-dns and waits until it is ready.
func newMesh(t *testing.T) *mesh {
	t.Helper()
	return newMeshWith(t)
}

// newMeshWith is [newMesh] whose daemons have this in their environment besides.
func newMeshWith(t *testing.T, environ ...string) *mesh {
	t.Helper()
	m := &mesh{nats: servers.NATS(t, servers.NATSConfig{}), dir: t.TempDir(), agentHTTP: map[string]string{}, environ: environ}
	m.startGlobalDNS(t, "global-dns.yaml")
	return m
}

// replica starts another global-dns on the same stream.
func (m *mesh) replica(t *testing.T) *mesh {
	t.Helper()
	next := &mesh{nats: m.nats, dir: m.dir}
	next.startGlobalDNS(t, "global-dns-2.yaml")
	return next
}

func (m *mesh) startGlobalDNS(t *testing.T, file string) {
	t.Helper()
	ports, err := servers.FreePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	m.dns, m.http = fmt.Sprintf("127.0.0.1:%d", ports[0]), fmt.Sprintf("127.0.0.1:%d", ports[1])
	config := m.write(t, file, map[string]any{
		"zone": map[string]any{"name": "mesh.internal.", "nameservers": []any{map[string]any{"name": "ns1.mesh.internal.", "addresses": []string{"192.0.2.53"}}}},
		"nats": map[string]any{"servers": []string{m.nats.URL}},
		"dns":  map[string]any{"listen": []string{m.dns}},
		"http": m.http,
	})
	m.start(t, "global-dns", config)
	m.eventually(t, 20*time.Second, "global-dns is ready", func() error { return get("http://"+m.http+"/readyz", nil) })
}

func (m *mesh) write(t *testing.T, name string, content any) string {
	t.Helper()
	text, err := yaml.Marshal(content)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(m.dir, name)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// agentConfig writes the configuration of one cluster's agent. The gateway's
// address tells the cluster in the answers. Only one on this machine can be there to
// be probed.
func (m *mesh) agentConfig(t *testing.T, file, cluster, gateway string, source map[string]any) (path, http string) {
	t.Helper()
	ports, err := servers.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	http = fmt.Sprintf("127.0.0.1:%d", ports[0])
	m.mu.Lock()
	m.agentHTTP[file] = http
	m.mu.Unlock()
	gatewayPorts := m.ports[cluster]
	if gatewayPorts == nil {
		gatewayPorts = map[string]int{"http": 8080}
	}
	brake := m.brake
	if brake == nil {
		brake = map[string]any{}
	}
	static := map[string]any{"name": "gw-1", "addresses": []string{gateway}, "ports": gatewayPorts}
	if !netip.MustParseAddr(gateway).IsLoopback() {
		static["probe"] = map[string]any{"kind": "none"}
	}
	return m.write(t, file, map[string]any{
		"cluster":  cluster,
		"nats":     map[string]any{"servers": []string{m.nats.URL}},
		"source":   source,
		"brake":    brake,
		"gateways": map[string]any{"static": []any{static}},
		"http":     http,
	}), http
}

// agent starts the agent of a cluster and waits until the stream holds what the
// registry says.
func (m *mesh) agent(t *testing.T, cluster, gateway string, source map[string]any) *daemon {
	t.Helper()
	config, http := m.agentConfig(t, cluster+".yaml", cluster, gateway, source)
	d := m.start(t, "edge-sync", config)
	d.http = http
	m.synced(t, cluster, 0)
	return d
}

// clusterState is what /v1/clusters says of one cluster.
type clusterState struct {
	Cluster  string `json:"cluster"`
	Phase    string `json:"phase"`
	Epoch    uint64 `json:"epoch"`
	Revision uint64 `json:"revision"`
	Services int    `json:"services"`
	Digest   string `json:"digest"`
}

func (m *mesh) cluster(name string) (clusterState, error) {
	var all struct {
		Clusters []clusterState `json:"clusters"`
	}
	if err := get("http://"+m.http+"/v1/clusters", &all); err != nil {
		return clusterState{}, err
	}
	for _, c := range all.Clusters {
		if c.Cluster == name {
			return c, nil
		}
	}
	return clusterState{}, fmt.Errorf("cluster %s is not known", name)
}

// synced waits until a cluster is synced in an epoch after the given one, and
// returns its state.
func (m *mesh) synced(t *testing.T, name string, after uint64) clusterState {
	t.Helper()
	var c clusterState
	m.eventually(t, 40*time.Second, name+" is synced", func() (err error) {
		if c, err = m.cluster(name); err == nil && (c.Phase != "synced" || c.Epoch <= after) {
			err = fmt.Errorf("%+v, after epoch %d", c, after)
		}
		return err
	})
	return c
}

// answers waits until a name has exactly these data of a type.
func (m *mesh) answers(t *testing.T, name, rrtype string, want ...string) {
	t.Helper()
	slices.Sort(want)
	m.eventually(t, 20*time.Second, fmt.Sprintf("%s %s is %v", name, rrtype, want), func() error {
		a, err := ask.Ask(t.Context(), m.dns, name, rrtype)
		if err != nil {
			return err
		}
		slices.Sort(a.Data)
		if a.RCode != "NOERROR" || !slices.Equal(a.Data, want) {
			return fmt.Errorf("%s %v %v", a.RCode, a.Data, a.Extended)
		}
		return nil
	})
}

// text waits until one TXT record of a name has all these parts.
func (m *mesh) text(t *testing.T, name string, parts ...string) {
	t.Helper()
	m.eventually(t, 20*time.Second, fmt.Sprintf("%s TXT has %v", name, parts), func() error {
		a, err := ask.Ask(t.Context(), m.dns, name, "TXT")
		if err != nil {
			return err
		}
		for _, record := range a.Data {
			if !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(record, p) }) {
				return nil
			}
		}
		return fmt.Errorf("%s %v", a.RCode, a.Data)
	})
}

// rcode waits until a name gives this response code without an answer.
func (m *mesh) rcode(t *testing.T, name, want string) {
	t.Helper()
	m.eventually(t, 20*time.Second, name+" gives "+want, func() error {
		a, err := ask.Ask(t.Context(), m.dns, name, "A")
		if err == nil && (a.RCode != want || len(a.Data) > 0) {
			err = fmt.Errorf("%s %v", a.RCode, a.Data)
		}
		return err
	})
}

// always asks until the context ends and fails the test at the first answer that
// is not exactly want: what must never happen, must not happen for a moment.
func (m *mesh) always(t *testing.T, name string, want ...string) (stop func()) {
	t.Helper()
	slices.Sort(want)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			a, err := ask.Ask(ctx, m.dns, name, "A")
			slices.Sort(a.Data)
			if ctx.Err() == nil && (err != nil || !slices.Equal(a.Data, want)) {
				t.Errorf("%s was %s %v (%v), but must be %v all the time", name, a.RCode, a.Data, err, want)
				return
			}
			pause(ctx, 2*time.Millisecond)
		}
	})
	return func() { cancel(); wg.Wait() }
}

// eventually repeats check until it succeeds.
func (m *mesh) eventually(t *testing.T, within time.Duration, what string, check func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	for {
		err := check()
		if err == nil {
			return
		}
		if !pause(ctx, 5*time.Millisecond) {
			t.Fatalf("not within %v: %s: %v", within, what, err)
		}
	}
}

func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// get reads JSON from url into v (nil: only the status counts).
func get(url string, v any) error {
	reply, err := http.Get(url)
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	body, err := io.ReadAll(reply.Body)
	if err != nil {
		return err
	}
	if reply.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", reply.Status, body)
	}
	if v == nil {
		return nil
	}
	return json.Unmarshal(body, v)
}

// daemon is one running program. Its log is shown when the test fails.
type daemon struct {
	dir, program, config string   // dir: where the program stands
	environ              []string // besides that of the tests
	http                 string
	command              *exec.Cmd
	done                 chan struct{}
}

func startDaemon(t *testing.T, program, config string) *daemon {
	t.Helper()
	dir, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	return startDaemonOf(t, dir, program, config)
}

// start starts a program with the environment of the mesh.
func (m *mesh) start(t *testing.T, program, config string) *daemon {
	t.Helper()
	dir, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	return startDaemonOf(t, dir, program, config, m.environ...)
}

// startDaemonOf starts a program that stands in dir.
func startDaemonOf(t *testing.T, dir, program, config string, environ ...string) *daemon {
	t.Helper()
	d := &daemon{dir: dir, program: program, config: config, environ: environ}
	d.start(t)
	t.Cleanup(func() {
		d.end(syscall.SIGTERM)
		if text, err := os.ReadFile(d.log()); err == nil {
			if strings.Contains(string(text), "DATA RACE") {
				t.Errorf("%s has a data race", program)
			}
			if t.Failed() {
				t.Logf("log of %s (%s):\n%s", program, filepath.Base(config), tail(text, 6000))
			}
		}
	})
	return d
}

func (d *daemon) log() string { return d.config + ".log" }

func (d *daemon) start(t *testing.T) {
	t.Helper()
	out, err := os.OpenFile(d.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	d.command = exec.Command(filepath.Join(d.dir, d.program), "--config", d.config)
	d.command.Env = append(os.Environ(), d.environ...)
	d.command.Stdout, d.command.Stderr = out, out
	dieWithParent(d.command)
	if err := d.command.Start(); err != nil {
		t.Fatal(err)
	}
	done, command := make(chan struct{}), d.command
	d.done = done
	go func() {
		_ = command.Wait()
		close(done)
	}()
}

// end sends a signal and waits; after 20 s it kills.
func (d *daemon) end(s syscall.Signal) {
	_ = d.command.Process.Signal(s)
	select {
	case <-d.done:
	case <-time.After(20 * time.Second):
		_ = d.command.Process.Kill()
		<-d.done
	}
}

func (d *daemon) kill() { d.end(syscall.SIGKILL) }

func tail(text []byte, most int) []byte { return text[max(0, len(text)-most):] }
