package servers_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seamark-mesh/seamark/e2e/servers"
)

// needsNacosEnv makes TestNeedsNacos ask for Nacos; it is the subject of the tests below, in a process of its own.
const needsNacosEnv = "SEAMARK_TEST_NEEDS_NACOS"

func TestNeedsNacos(t *testing.T) {
	if os.Getenv(needsNacosEnv) != "" {
		servers.Need(t, "nacos")
	}
}

func TestWhatBecomesOfATestWithoutItsServer(t *testing.T) {
	const enable = "install a JDK"
	tests := map[string]struct {
		require    string
		wantOutput string
		wantFails  bool
		wantRecord bool
	}{
		"not required":     {"", "--- SKIP: TestNeedsNacos", false, true},
		"others required":  {"consul,nats", "--- SKIP: TestNeedsNacos", false, true},
		"required by name": {"consul, nacos", "--- FAIL: TestNeedsNacos", true, false},
		"all required":     {"all", "--- FAIL: TestNeedsNacos", true, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			notRun := filepath.Join(t.TempDir(), "not-run")
			cmd := exec.Command(os.Args[0], "-test.run=^TestNeedsNacos$", "-test.v")
			cmd.Env = append(os.Environ(), needsNacosEnv+"=1", "PATH=",
				servers.RequireEnv+"="+tt.require, servers.NotRunEnv+"="+notRun)
			output, err := cmd.CombinedOutput()
			if fails := err != nil; fails != tt.wantFails {
				t.Errorf("fails: %v (%v), want %v", fails, err, tt.wantFails)
			}
			if !strings.Contains(string(output), tt.wantOutput) || !strings.Contains(string(output), enable) {
				t.Errorf("output %q, want %q and %q", output, tt.wantOutput, enable)
			}
			record, _ := os.ReadFile(notRun)
			recorded := strings.Contains(string(record), "TestNeedsNacos: nacos is not available here") &&
				strings.Contains(string(record), enable) && strings.Count(string(record), "\n") == 1
			if recorded != tt.wantRecord {
				t.Errorf("recorded %q, want one line: %v", record, tt.wantRecord)
			}
		})
	}
}
