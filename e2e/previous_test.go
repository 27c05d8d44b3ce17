package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/seamark-mesh/seamark/e2e/servers"
)

// previous is the last commit before the protocol got liveness, drains, brakes and
// probes: the one that must go on working beside this version, in both roles.
const previous = "883748ee8edb498ae4ee7257d8d806c4fb861821"

// previousPrograms builds the daemons of that commit once, from the history of this
// checkout; present is false when the checkout has none.
var previousPrograms = sync.OnceValues(func() (dir string, err error) {
	current, err := programs()
	if err != nil {
		return "", err
	}
	dir = filepath.Join(current, "previous")
	if out, err := exec.Command("mkdir", "-p", dir+"/source").CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	history := exec.Command("git", "archive", "--format=tar", previous)
	history.Dir = ".." // from here it would be this folder alone
	archive, err := history.Output()
	if err != nil {
		return "", fmt.Errorf("git archive: %w", err)
	}
	unpack := exec.Command("tar", "-x", "-C", dir+"/source")
	unpack.Stdin = bytes.NewReader(archive)
	if out, err := unpack.CombinedOutput(); err != nil {
		return "", fmt.Errorf("unpack: %w: %s", err, out)
	}
	build := exec.Command("go", "build", "-o", dir+string(filepath.Separator), "./cmd/edge-sync", "./cmd/global-dns")
	build.Dir = dir + "/source"
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the previous daemons: %w\n%s", err, out)
	}
	return dir, nil
})

// beside tells where the previous daemons stand. A checkout without history can't
// build them; where there is one, a failure is a failure.
func beside(t *testing.T) string {
	t.Helper()
	if exec.Command("git", "cat-file", "-e", previous+"^{commit}").Run() != nil {
		servers.NotRun(t, &servers.UnavailableError{
			Server: "the previous version", Reason: "this checkout has no history to build it from", Enable: "clone the repository with its history",
		})
	}
	dir, err := previousPrograms()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestPreviousAgentBesideThisReader: an agent of the previous version keeps working
// with this version's global-dns, drains included, and is taken over by this
// version's agent.
func TestPreviousAgentBesideThisReader(t *testing.T) {
	together(t)
	dir := beside(t)
	m := newMesh(t)
	r := newFile(t)
	r.put(t, "checkout", first)
	config, _ := m.agentConfig(t, "amber.yaml", "amber", amberGateway, r.source())
	old := startDaemonOf(t, dir, "edge-sync", m.write(t, "amber-previous.yaml", withoutNews(t, config)))
	before := m.synced(t, "amber", 0)
	m.answers(t, checkout, "A", amberGateway)
	r.put(t, "payments", first)
	m.answers(t, "payments.svc.mesh.internal.", "A", amberGateway)
	m.nothingQuarantined(t)

	stop := m.always(t, checkout, amberGateway)
	old.end(syscall.SIGTERM)
	startDaemon(t, "edge-sync", config)
	m.synced(t, "amber", before.Epoch)
	r.put(t, "later", first)
	m.answers(t, "later.svc.mesh.internal.", "A", amberGateway)
	stop()
	m.nothingQuarantined(t)
}

// TestPreviousReaderBesideThisAgent: a global-dns of the previous version answers what
// this version's agents publish, beside one of this version: what it does not know it
// passes over, and it asks for no resync.
func TestPreviousReaderBesideThisAgent(t *testing.T) {
	together(t)
	dir := beside(t)
	m := newMesh(t)
	ports, err := servers.FreePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	old := &mesh{nats: m.nats, dir: m.dir, dns: fmt.Sprintf("127.0.0.1:%d", ports[0]), http: fmt.Sprintf("127.0.0.1:%d", ports[1])}
	startDaemonOf(t, dir, "global-dns", m.write(t, "previous.yaml", map[string]any{
		"nats": map[string]any{"servers": []string{m.nats.URL}}, "dns": map[string]any{"listen": []string{old.dns}}, "http": old.http,
	}))
	r := newFile(t)
	r.put(t, "checkout", first)
	agent := m.agent(t, "amber", amberGateway, r.source())
	old.synced(t, "amber", 0)
	old.answers(t, checkout, "A", amberGateway)
	r.put(t, "payments", first)
	old.answers(t, "payments.svc.mesh.internal.", "A", amberGateway)

	stop := old.always(t, checkout, amberGateway)
	agent.end(syscall.SIGTERM) // the observer says so on the stream: the old reader passes it over
	m.eventually(t, 40*time.Second, "amber is stale", func() error {
		var all struct{ Clusters []struct{ State string } }
		if err := get("http://"+m.http+"/v1/clusters", &all); err != nil {
			return err
		}
		if len(all.Clusters) != 1 || all.Clusters[0].State == "up" {
			return fmt.Errorf("%+v", all)
		}
		return nil
	})
	stop()
	old.nothingQuarantined(t)
	startDaemon(t, "edge-sync", agent.config)
	was, err := m.cluster("amber")
	if err != nil {
		t.Fatal(err)
	}
	is := old.synced(t, "amber", was.Epoch)
	if again, err := m.cluster("amber"); err != nil || again.Digest != is.Digest {
		t.Errorf("the digests of the two versions differ: %+v and %+v (%v)", again, is, err)
	}
}

// withoutNews returns an agent's configuration as the previous version knows it.
func withoutNews(t *testing.T, path string) map[string]any {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := yaml.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	for _, news := range []string{"brake", "probes"} {
		delete(config, news)
	}
	for _, gateway := range config["gateways"].(map[string]any)["static"].([]any) {
		delete(gateway.(map[string]any), "probe")
	}
	return config
}

// nothingQuarantined fails when a reader could not use a message.
func (m *mesh) nothingQuarantined(t *testing.T) {
	t.Helper()
	if n := metricOf(t, m.http, "seamark_events_total", `result="quarantined"`); n > 0 {
		t.Errorf("%v messages could not be used", n)
	}
}
