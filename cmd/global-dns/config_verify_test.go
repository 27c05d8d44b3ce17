package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/seamark-mesh/seamark/audit/chain"
	"github.com/seamark-mesh/seamark/cmd/internal/config"
	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream/streamtest"
)

func TestVerifyNeedsItsFiles(t *testing.T) {
	for _, test := range []struct {
		section Verify
		signs   bool
		field   string // of the fault; "" = none
	}{
		{Verify{Policy: "off"}, false, ""},
		{Verify{Policy: "warn"}, false, "verify.keys_file"},
		{Verify{Policy: "warn", KeysFile: "keys"}, false, ""},
		{Verify{Policy: "refuse", KeysFile: "keys"}, false, "signing.seed_file"},
		{Verify{Policy: "refuse", KeysFile: "keys"}, true, ""},
		{Verify{Policy: "on", KeysFile: "keys"}, true, "verify.policy"},
	} {
		r := &config.Report{}
		test.section.check(r, test.signs)
		var fields []string
		for _, f := range r.Faults() {
			fields = append(fields, f.Field)
		}
		if want := strings.Fields(test.field); !slices.Equal(fields, want) {
			t.Errorf("%+v, signs %v: faults of %v, want %v", test.section, test.signs, fields, want)
		}
	}
	path := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(path, []byte(`{"schema": "seamark-keys/1", "writers": {"amber": [{"key": "UX"}]}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if faults := (Verify{KeysFile: config.Path(path)}).unusable(); len(faults) != 1 || faults[0].Field != "verify.keys_file" {
		t.Errorf("a bad file: %v", faults)
	}
}

// With warn nothing is refused, with refuse it is; both count, and the log is not flooded.
func TestVerifyWarnsOrRefuses(t *testing.T) {
	_, public := streamtest.UserKey(t)
	keys, err := chain.NewKeys(map[string][]chain.Key{"amber": {{Public: public}}})
	if err != nil {
		t.Fatal(err)
	}
	for policy, refuses := range map[string]bool{"warn": false, "refuse": true} {
		var log strings.Builder
		failed := newUnverified(prometheus.NewRegistry())
		check := Verify{Policy: policy}.checking(keys, failed, slog.New(slog.NewTextHandler(&log, nil)))
		for n := range 3 {
			err := check(registry.Stored{Sequence: uint64(n) + 1, Time: time.Now(), Subject: "mesh.v1.amber.cluster", Body: []byte("{}")})
			if (err != nil) != refuses {
				t.Errorf("%s: %v", policy, err)
			}
		}
		if got := testutil.ToFloat64(failed); got != 3 {
			t.Errorf("%s: %v are counted", policy, got)
		}
		if lines := strings.Count(log.String(), "\n"); lines != 1 {
			t.Errorf("%s: the log has %d lines:\n%s", policy, lines, log.String())
		}
	}
}
