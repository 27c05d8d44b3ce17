package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seamark-mesh/seamark/audit/chain"
	"github.com/seamark-mesh/seamark/cmd/internal/proc"
	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream/streamtest"
)

// Readers that are told the operator's key (verify.policy: refuse) took every order for
// forged, because the command signed none.
func TestOrdersAreSigned(t *testing.T) {
	server, conn := streamtest.Streams(t)
	seed, public := streamtest.UserKey(t)
	file := filepath.Join(t.TempDir(), "operator.nk")
	if err := os.WriteFile(file, seed, 0o600); err != nil {
		t.Fatal(err)
	}
	seamark := func(environment []string, arguments ...string) (said string, code int) {
		var stdout, stderr bytes.Buffer
		code = proc.Execute(t.Context(), newCommand(environment), append([]string{"--nats", server.ClientURL()}, arguments...), &stdout, &stderr)
		return stderr.String(), code
	}
	if said, code := seamark(nil, "leave", "amber", "--reason", "by flag", "--force", "--signing-key", file); code != 0 {
		t.Fatalf("exit code %d: %s", code, said)
	}
	if said, code := seamark([]string{"SEAMARK_SIGNING_KEY=" + file}, "leave", "bronze", "--reason", "by environment", "--force"); code != 0 {
		t.Fatalf("exit code %d: %s", code, said)
	}
	keys, err := chain.NewKeys(map[string][]chain.Key{string(registry.Operator): {{Public: public}}})
	if err != nil {
		t.Fatal(err)
	}
	orders := 0
	err = conn.History().Latest(t.Context(), 1<<32, []string{"mesh.v1._operator.order.>"}, func(m registry.Stored) error {
		orders++
		return keys.Check(m)
	})
	if err != nil {
		t.Error(err)
	}
	if orders != 2 {
		t.Errorf("%d orders", orders)
	}
	missing := filepath.Join(t.TempDir(), "missing.nk")
	if said, code := seamark(nil, "leave", "cobalt", "--reason", "never", "--force", "--signing-key", missing); code == 0 || !strings.Contains(said, "--signing-key "+missing) || !strings.Contains(said, "hint") {
		t.Errorf("exit code %d: %s", code, said)
	}
}
