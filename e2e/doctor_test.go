package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/e2e/servers"
)

// diagnosis is what seamark doctor -o json prints.
type diagnosis struct {
	Status   string
	Findings []struct {
		Category, Check, Status, Description, Fix string
	}
	code int
	text string
}

// doctor examines the mesh with both replicas and the agents that are named.
func (o *observed) doctor(t *testing.T, arguments ...string) diagnosis {
	t.Helper()
	all := []string{"doctor", "-o", "json", "--transfers", "refused"}
	for _, r := range o.replicas {
		all = append(all, "--server", "http://"+r.http, "--dns", r.dns)
	}
	out, code := o.seamark(t, append(all, arguments...)...)
	d := diagnosis{code: code, text: out}
	if err := json.NewDecoder(strings.NewReader(out)).Decode(&d); err != nil { // what is said on stderr follows
		t.Fatalf("%v:\n%s", err, out)
	}
	return d
}

// lacks tells which check (category/name) does not say this with this status.
func (d diagnosis) lacks(check, status, part string) error {
	var said []string
	for _, f := range d.Findings {
		if f.Category+"/"+f.Check == check {
			if f.Status == status && strings.Contains(f.Description, part) {
				return nil
			}
			said = append(said, f.Status+": "+f.Description)
		}
	}
	return fmt.Errorf("%s says %q, want %s with %q", check, said, status, part)
}

// notHealthy are the findings that are not, without the clocks: a busy machine keeps
// messages waiting, and then nothing can be told of them.
func (d diagnosis) notHealthy() (found []string) {
	for _, f := range d.Findings {
		if f.Status != "Healthy" && (f.Category != "clocks" || f.Status == "Critical") {
			found = append(found, fmt.Sprintf("%s/%s %s: %s", f.Category, f.Check, f.Status, f.Description))
		}
	}
	return found
}

// sees waits until the doctor says this.
func (o *observed) sees(t *testing.T, within time.Duration, check, status, part string, arguments ...string) diagnosis {
	t.Helper()
	var d diagnosis
	o.eventually(t, within, "the doctor sees it", func() error {
		d = o.doctor(t, arguments...)
		return d.lacks(check, status, part)
	})
	return d
}

// TestDoctor examines a real mesh, sound and with one thing after another broken.
func TestDoctor(t *testing.T) {
	t.Parallel() // without waiting for a place: it takes long
	const amberGateway, bronzeGateway = "127.0.0.41", "127.0.0.42"
	o := newObserved(t, 10*time.Second)
	amber, bronze := newFile(t), newFile(t)
	amber.put(t, "checkout", instance{id: "checkout-1", address: "10.1.0.1", port: 8080})
	bronze.put(t, "checkout", instance{id: "checkout-2", address: "10.2.0.1", port: 8080})
	for n := range bulkOfDoctor {
		bronze.put(t, fmt.Sprintf("bulk-%d", n), instance{id: "only", address: "10.2.0.2", port: 1000 + n})
	}
	o.gateway(t, "amber", amberGateway)
	o.ports["bronze"] = o.ports["amber"] // or clients that add a port would miss one
	bronzeListens := o.gateway(t, "bronze", bronzeGateway)
	agent := o.agent(t, "amber", amberGateway, amber.source())
	o.agent(t, "bronze", bronzeGateway, bronze.source())
	o.answers(t, checkout, "A", amberGateway, bronzeGateway)
	leader := o.leader(t, 30*time.Second, o.replicas...)
	o.eventually(t, 60*time.Second, "both vantage points reach all", func() error { return o.reached(leader) })

	standby, standbyHTTP := o.agentConfig(t, "amber-2.yaml", "amber", amberGateway, amber.source())
	second := startDaemon(t, "edge-sync", standby)
	agents := []string{"--agent", "http://" + agent.http, "--agent", "http://" + standbyHTTP}
	configs := []string{"--config", standby, "--config", leader.daemon.config}

	t.Run("sound", func(t *testing.T) {
		var d diagnosis
		o.eventually(t, 60*time.Second, "all is healthy", func() error {
			d = o.doctor(t, append(agents, configs...)...)
			if found := d.notHealthy(); len(found) > 0 {
				return fmt.Errorf("%q", found)
			}
			return nil
		})
		if d.code != 0 && d.Status == "Healthy" || len(d.Findings) < 35 {
			t.Errorf("it exits with %d and has %d findings:\n%s", d.code, len(d.Findings), d.text)
		}
		for _, err := range []error{
			d.lacks("clusters/standbys", "Healthy", "amber: one agent leads, 1 stand"), d.lacks("readers/checkpoint", "Healthy", leader.http+" keeps no checkpoint"),
		} {
			if err != nil {
				t.Error(err)
			}
		}
		table, _ := o.seamark(t, "doctor", "--only", "nats", "--server", "http://"+o.http)
		if !strings.Contains(table, "CATEGORY") || !strings.Contains(table, "answers in") || strings.Contains(table, "clusters") {
			t.Errorf("the table is\n%s", table)
		}
	})
	t.Run("a configuration with a fault", func(t *testing.T) {
		bad := o.write(t, "bad.yaml", map[string]any{"cluster": "amber", "gatways": "x"})
		other := o.write(t, "other-dns.yaml", map[string]any{"zone": map[string]any{"name": "mesh.internal.", "ttl": "9s"}, "streams": map[string]any{"history_age": "240h"}})
		d := o.doctor(t, "--config", bad, "--config", other)
		for _, err := range []error{
			d.lacks("configuration/files", "Critical", "gatways"), d.lacks("configuration/zone", "Warning", "other-dns.yaml"),
			d.lacks("nats/streams", "Warning", "streams.history_age is 240h0m0s"),
		} {
			if err != nil {
				t.Error(err)
			}
		}
		if d.code != 2 {
			t.Errorf("it exits with %d, want 2", d.code)
		}
	})
	t.Run("a replica of another mesh", func(t *testing.T) {
		stranger := newMesh(t)
		d := o.doctor(t, "--server", "http://"+stranger.http, "--dns", stranger.dns, "--transfers", "allowed")
		for _, err := range []error{
			d.lacks("readers/lag", "Critical", "messages behind the stream"), d.lacks("readers/serials", "Warning", "different serials"),
			d.lacks("dns/serial", "Critical", "the stream stood at"), d.lacks("dns/service", "Critical", "no address"),
			d.lacks("dns/transfers", "Warning", "refuses a transfer"),
		} {
			if err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("a checkpoint that can't be written", func(t *testing.T) { testDoctorCheckpoint(t, o) })
	t.Run("a gateway closed", func(t *testing.T) {
		_ = bronzeListens.Close()
		d := o.sees(t, 60*time.Second, "gateways/reached", "Critical", "bronze/gw-1 is not reached")
		if d.code != 2 {
			t.Errorf("it exits with %d, want 2", d.code)
		}
		o.sees(t, 60*time.Second, "clusters/state", "Critical", "bronze: unreachable")
		o.gateway(t, "bronze", bronzeGateway)
		o.sees(t, 60*time.Second, "clusters/state", "Healthy", "2 clusters are up")
	})
	t.Run("a drain", func(t *testing.T) {
		if out, code := o.seamark(t, "drain", "amber", "--for", "30m", "--reason", "test"); code != 0 {
			t.Fatal(out)
		}
		o.sees(t, 20*time.Second, "clusters/orders", "Healthy", "drain of amber by ada@bridge (test), until ")
		if out, code := o.seamark(t, "undrain", "amber"); code != 0 {
			t.Fatal(out)
		}
	})
	t.Run("a brake", func(t *testing.T) { testDoctorBrake(t, o, bronze) })
	t.Run("a reader stopped in its tracks", func(t *testing.T) {
		other := o.replicas[0]
		if other == leader {
			other = o.replicas[1]
		}
		if err := other.daemon.command.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = other.daemon.command.Process.Signal(syscall.SIGCONT) }()
		began := time.Now()
		d := o.doctor(t)
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("it took %v", took)
		}
		for _, err := range []error{
			d.lacks("readers/ready", "Critical", other.http), d.lacks("dns/answers", "Critical", other.dns), d.lacks("dns/answers", "Critical", "udp"),
		} {
			if err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("an agent killed", func(t *testing.T) {
		o.sees(t, 60*time.Second, "readers/ready", "Healthy", "2 replicas")
		second.kill()
		if err := o.doctor(t, agents...).lacks("clusters/standbys", "Warning", "amber: of the agents that were asked none stands by"); err != nil {
			t.Error(err)
		}
		agent.kill()
		o.sees(t, 60*time.Second, "clusters/agents", "Critical", "amber: the agent")
		o.sees(t, 60*time.Second, "clusters/state", "Warning", "amber: stale", agents...)
	})
	t.Run("NATS stopped", func(t *testing.T) {
		o.nats.Kill()
		d := o.doctor(t)
		if err := d.lacks("nats/reachable", "Critical", "refused"); err != nil || d.code != 2 {
			t.Errorf("it exits with %d: %v", d.code, err)
		}
		for _, f := range d.Findings {
			if f.Status == "Healthy" && (f.Category == "nats" || f.Category == "clusters" && f.Check != "inherited" || f.Category == "gateways" || f.Category == "configuration") {
				t.Errorf("without NATS it says of %s/%s: %s", f.Category, f.Check, f.Description)
			}
		}
		if err := d.lacks("dns/answers", "Healthy", "2 servers answer"); err != nil {
			t.Error(err)
		}
		o.sees(t, 60*time.Second, "readers/cut-off", "Warning", "stale for")
		if err := o.nats.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("the streams lost", func(t *testing.T) { // amber's agent is dead: nobody says again what it said
		o.tape.endsWithTheStream()
		o.loseStreams(t)
		o.sees(t, 90*time.Second, "clusters/inherited", "Warning", "from before the stream was lost")
	})
}

// testDoctorCheckpoint takes away the room for one replica's checkpoint.
func testDoctorCheckpoint(t *testing.T, o *observed) {
	path := filepath.Join(t.TempDir(), "zone.checkpoint")
	ports, err := servers.FreePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	dns, http := fmt.Sprintf("127.0.0.1:%d", ports[0]), fmt.Sprintf("127.0.0.1:%d", ports[1])
	d := startDaemon(t, "global-dns", o.write(t, "global-dns-kept.yaml", map[string]any{
		"zone": map[string]any{"name": "mesh.internal."}, "nats": map[string]any{"servers": []string{o.nats.URL}},
		"dns": map[string]any{"listen": []string{dns}}, "http": http, "probes": map[string]any{"enabled": false}, "observer": map[string]any{"enabled": false},
		"checkpoint": map[string]any{"path": path, "interval": "1s"},
	}))
	defer d.kill()
	asked := []string{"--only", "readers", "--server", "http://" + http}
	o.sees(t, 30*time.Second, "readers/checkpoint", "Healthy", "1 checkpoint is young", asked...)
	if err := os.MkdirAll(filepath.Join(path+".tmp", "in the way"), 0o700); err != nil { // of what is written first
		t.Fatal(err)
	}
	if out, code := o.seamark(t, "drain", "amber", "--for", "30m", "--reason", "test"); code != 0 { // something to write
		t.Fatal(out)
	}
	o.sees(t, 30*time.Second, "readers/checkpoint", "Warning", http+" can write no checkpoint", asked...)
	o.must(t, "", "undrain", "amber")
}

// bulk is how many services bronze has besides: a brake needs more than ten.
const bulkOfDoctor = 20

// testDoctorBrake deregisters most of bronze at once, and lets it pass.
func testDoctorBrake(t *testing.T, o *observed, bronze realRegistry) {
	for n := range bulkOfDoctor {
		bronze.put(t, fmt.Sprintf("bulk-%d", n))
	}
	d := o.sees(t, 60*time.Second, "clusters/brakes", "Warning", "bronze: since")
	if d.code != 1 && d.code != 2 {
		t.Errorf("it exits with %d", d.code)
	}
	o.must(t, "", "brake", "approve", "bronze", "--reason", "test")
	o.sees(t, 30*time.Second, "clusters/brakes", "Healthy", "no mass withdrawal")
}
