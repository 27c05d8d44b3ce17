package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
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

// Questions about the past counted what servers with verify.policy: refuse had refused.
func TestQuestionsRefuseWhatNobodySigned(t *testing.T) {
	server, _ := streamtest.Streams(t)
	seed, public := streamtest.UserKey(t)
	folder := t.TempDir()
	file, keys := filepath.Join(folder, "operator.nk"), filepath.Join(folder, "keys.json")
	for path, content := range map[string]string{file: string(seed), keys: `{"schema": "seamark-keys/1", "writers": {"_operator": [{"key": "` + public + `"}]}}`} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	seamark := func(arguments ...string) (out, said string, code int) {
		var stdout, stderr bytes.Buffer
		code = proc.Execute(t.Context(), newCommand(nil), arguments, &stdout, &stderr)
		return stdout.String(), stderr.String(), code
	}
	at := []string{"--nats", server.ClientURL()}
	for cluster, with := range map[string][]string{"amber": {"--signing-key", file}, "bronze": nil} {
		if _, said, code := seamark(slices.Concat(at, []string{"leave", cluster, "--reason", "test", "--force"}, with)...); code != 0 {
			t.Fatalf("exit code %d: %s", code, said)
		}
	}
	tests := []struct {
		name       string
		with       []string
		unreadable int
	}{{"without keys", nil, 0}, {"with keys", []string{"--keys", keys}, 1}}
	for _, test := range tests {
		out, said, code := seamark(slices.Concat(at, []string{"audit", "log", "-o", "jsonl"}, test.with)...)
		if code != 0 {
			t.Fatalf("%s: exit code %d: %s", test.name, code, said)
		}
		if got := strings.Count(out, `"reason":"signature"`); got != test.unreadable || strings.Count(out, "\n") != 2 {
			t.Errorf("%s: %d refused, want %d:\n%s", test.name, got, test.unreadable, out)
		}
		if refused := !strings.Contains(out, "leave of bronze"); refused != (test.unreadable > 0) || !strings.Contains(out, "leave of amber") {
			t.Errorf("%s: the wrong order is refused:\n%s", test.name, out)
		}
	}
	for _, wrong := range [][]string{
		{"--server", "http://127.0.0.1:1", "audit", "log", "--keys", keys},
		slices.Concat(at, []string{"audit", "log", "--keys", filepath.Join(folder, "missing.json")}),
	} {
		if _, said, code := seamark(wrong...); code != proc.ExitUsage || !strings.Contains(said, "--keys") {
			t.Errorf("%v: exit code %d: %s", wrong, code, said)
		}
	}
}
