package e2e

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// seamark runs the operator's command against a mesh.
func (m *mesh) seamark(t *testing.T, arguments ...string) (out string, code int) {
	t.Helper()
	dir, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(filepath.Join(dir, "seamark"), arguments...)
	command.Env = append(os.Environ(), "SEAMARK_SERVER=http://"+m.http, "SEAMARK_NATS_URL="+m.nats.URL, "SEAMARK_DNS="+m.dns, "SEAMARK_BY=ada@bridge")
	text, err := command.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(text), command.ProcessState.ExitCode()
}

// TestOperatorCommand asks and changes a running mesh as an operator does.
func TestOperatorCommand(t *testing.T) {
	together(t)
	m := newMesh(t)
	r := newFile(t)
	r.put(t, "checkout", first, second)
	m.agent(t, "amber", amberGateway, r.source())
	m.answers(t, checkout, "A", amberGateway)

	for name, test := range map[string]struct {
		arguments []string
		code      int
		parts     []string
	}{
		"status":           {[]string{"status"}, 0, []string{"mesh.internal.", "1 of 1 synced"}},
		"clusters":         {[]string{"clusters"}, 0, []string{"amber", "file", "synced", "gw-1=" + amberGateway}},
		"services":         {[]string{"services"}, 0, []string{"default/checkout", "amber", "8001,8002"}},
		"one service":      {[]string{"services", "default/checkout"}, 0, []string{"c1", "10.0.0.1:8001", "passing"}},
		"resolve":          {[]string{"resolve", checkout}, 0, []string{"NOERROR", amberGateway, "serving"}},
		"resolve SRV":      {[]string{"resolve", "_http._tcp." + checkout, "SRV"}, 0, []string{"gw-1.amber.gw.mesh.internal."}},
		"resolve unknown":  {[]string{"resolve", "nobody.svc.mesh.internal"}, 0, []string{"NXDOMAIN", "the cluster does not know the service"}},
		"service unknown":  {[]string{"services", "default/nobody"}, 1, []string{"not found"}},
		"streams check":    {[]string{"streams", "check"}, 0, []string{"as designed"}},
		"streams differ":   {[]string{"streams", "check", "--history-age", "168h"}, 1, []string{"MESH_EVENTS", "168h"}},
		"zone show":        {[]string{"zone", "show"}, 0, []string{"mesh.internal.", "ns1.mesh.internal."}},
		"wrong type":       {[]string{"resolve", checkout, "NONSENSE"}, 1, []string{"no record type"}},
		"wrong server":     {[]string{"status", "--server", "http://127.0.0.1:1"}, 1, []string{"--server"}},
		"unknown command":  {[]string{"nonsense"}, 2, []string{"unknown command"}},
		"version":          {[]string{"version"}, 0, []string{"seamark"}},
		"help":             {[]string{"--help"}, 0, []string{"seamark demo", "Available Commands"}},
		"shell completion": {[]string{"completion", "bash"}, 0, []string{"__start_seamark"}},
	} {
		t.Run(name, func(t *testing.T) {
			out, code := m.seamark(t, test.arguments...)
			if code != test.code {
				t.Errorf("seamark %v exits with %d, want %d", test.arguments, code, test.code)
			}
			for _, part := range test.parts {
				if !strings.Contains(out, part) {
					t.Errorf("seamark %v lacks %q:\n%s", test.arguments, part, out)
				}
			}
		})
	}
	t.Run("json is what the API says", func(t *testing.T) {
		out, _ := m.seamark(t, "clusters", "-o", "json")
		var reply struct{ Clusters []clusterState }
		if err := json.Unmarshal([]byte(out), &reply); err != nil || len(reply.Clusters) != 1 || reply.Clusters[0].Services != 1 {
			t.Errorf("%v: %s", err, out)
		}
	})
	t.Run("zone apply", func(t *testing.T) { testZoneApply(t, m) })
	m.audit(t)
}

// testZoneApply changes the zone record of a running mesh: the answers follow,
// and the history says who did it.
func testZoneApply(t *testing.T, m *mesh) {
	file := m.write(t, "zone.yaml", map[string]any{"zone": map[string]any{
		"name": "mesh.internal.", "ttl": "30s", "ttl_by_service": map[string]string{"default/check*": "9s"},
		"nameservers": []any{map[string]any{"name": "ns1.mesh.internal.", "addresses": []string{"192.0.2.53"}}},
	}})
	if out, code := m.seamark(t, "zone", "diff", file); code != 1 || !strings.Contains(out, "ttl_by_service") {
		t.Errorf("zone diff exits with %d, want 1:\n%s", code, out)
	}
	if out, code := m.seamark(t, "zone", "apply", file); code != 0 {
		t.Fatalf("zone apply exits with %d:\n%s", code, out)
	}
	m.eventually(t, patienceOfTests, "the answer's TTL is 9 s", func() error {
		out, _ := m.seamark(t, "resolve", checkout, "-o", "json")
		var reply struct{ Answers []string }
		if err := json.Unmarshal([]byte(out), &reply); err != nil {
			return err
		}
		if len(reply.Answers) == 0 || !strings.Contains(reply.Answers[0], "\t9\t") {
			return errors.New(out)
		}
		return nil
	})
	if out, code := m.seamark(t, "zone", "diff", file); code != 0 {
		t.Errorf("after apply, zone diff exits with %d:\n%s", code, out)
	}
	all := m.history(t)
	last := ""
	for _, message := range all {
		if message.Event != nil && message.Event.Zone != nil {
			last = message.Event.Agent
		}
	}
	if last != "ada@bridge" {
		t.Errorf("the history says that %q changed the zone, want ada@bridge", last)
	}
	bad := m.write(t, "bad.yaml", map[string]any{"zone": map[string]any{"name": "mesh.internal.", "ttl": "90000s"}})
	if out, code := m.seamark(t, "zone", "apply", bad); code != 2 || !strings.Contains(out, "ttl") {
		t.Errorf("a bad zone exits with %d, want 2:\n%s", code, out)
	}
}
