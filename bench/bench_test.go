package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/seamark-mesh/seamark/e2e/servers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestFlipContainsWhatIsHeldBack measures a few flips with everything held back by
// far more than they take: what is found must contain it, on both sides.
func TestFlipContainsWhatIsHeldBack(t *testing.T) {
	servers.Need(t, "consul", "nats")
	const hold = 60 * time.Millisecond
	var said bytes.Buffer
	where, err := newGround(t.Context(), options{hold: hold, quick: true}, newProgress(&said))
	if err != nil {
		t.Fatal(err)
	}
	defer where.close()
	r, err := where.measure(t.Context(), measurement{"flip", "a few flips", 3 * time.Minute, func(ctx context.Context, s *site, r *result) error {
		return flips(ctx, s, r, 6)
	}})
	if err != nil {
		t.Fatalf("%v\n%s", err, said.String())
	}
	for n, name := range []string{"Consul flip → changed DNS answer", "Consul flip → blocking query on a peered Consul"} {
		f := r.Figures[n]
		if f.Name != name || f.Times == nil {
			t.Fatalf("figure %d is %+v, want %q", n, f, name)
		}
		if f.Times.Count != 6 || f.Times.Min < milliseconds(hold) || f.Times.P50 > 20*milliseconds(hold) {
			t.Errorf("%s: %s, min %v; want 6 samples, none shorter than %v", name, f.Value, f.Times.Min, hold)
		}
	}
	dir := t.TempDir()
	if err := r.write(dir); err != nil {
		t.Fatal(err)
	}
	var kept result
	text, err := os.ReadFile(filepath.Join(dir, "flip.json"))
	if err == nil {
		err = json.Unmarshal(text, &kept)
	}
	if err != nil || len(kept.Figures) != len(r.Figures) || kept.Versions["Consul"] == "" || kept.Versions["NATS"] == "" {
		t.Errorf("the JSON is %s (%v)", text, err)
	}
	page, err := os.ReadFile(filepath.Join(dir, "flip.md"))
	if err != nil || !strings.Contains(string(page), "held back by 60ms") || !strings.Contains(string(page), "oad average before") {
		t.Errorf("the page is %s (%v)", page, err)
	}
}

func TestSummary(t *testing.T) {
	var hundred samples
	for n := range 100 {
		hundred = append(hundred, time.Duration(100-n)*time.Millisecond)
	}
	for name, tt := range map[string]struct {
		in   samples
		want summary
	}{
		"none":    {nil, summary{}},
		"one":     {samples{3 * time.Millisecond}, summary{1, 3, 3, 3, 3, 3}},
		"two":     {samples{9 * time.Millisecond, time.Millisecond}, summary{2, 1, 1, 9, 9, 9}},
		"hundred": {hundred, summary{100, 1, 50, 90, 99, 100}},
	} {
		if got := tt.in.summarize(); got != tt.want {
			t.Errorf("%s: %+v, want %+v", name, got, tt.want)
		}
	}
}

func TestParse(t *testing.T) {
	for text, want := range map[string]options{
		"":                              {out: "bench/results"},
		"--quick":                       {quick: true, out: "bin/bench"},
		"--only fold,consul-flip":       {only: []string{"fold", "consul-flip"}, out: "bench/results"},
		"--hold 5ms --out x":            {hold: 5 * time.Millisecond, out: "x"},
		"--quick --only bootstrap, --o": {}, // an error
		"--only nonsense":               {},
		"fold":                          {},
		"--hold -1s":                    {},
	} {
		got, err := parse(strings.Fields(text), new(bytes.Buffer))
		if want.out == "" {
			if err == nil {
				t.Errorf("%q is accepted", text)
			}
			continue
		}
		if err != nil || !slices.Equal(got.only, want.only) || got.quick != want.quick || got.out != want.out || got.hold != want.hold {
			t.Errorf("%q: %+v, %v, want %+v", text, got, err, want)
		}
	}
}

func TestHelpNamesEveryMeasurement(t *testing.T) {
	var out bytes.Buffer
	if code := run(t.Context(), []string{"--help"}, new(bytes.Buffer), &out); code != 0 {
		t.Errorf("--help exits with %d", code)
	}
	for _, m := range measurements() {
		if !strings.Contains(out.String(), m.name) || !strings.Contains(out.String(), m.about) {
			t.Errorf("the help does not tell of %s", m.name)
		}
	}
}

func TestProcessorCosts(t *testing.T) {
	got, err := processorCosts("goos: linux\nBenchmarkApply/new/services=1000 \t 100\t 5000 ns/op\t 4500 cpu-ns/op\t 7 B/op\nPASS\n")
	if err != nil || len(got) != 1 || got["BenchmarkApply/new/services=1000"] != 4500 {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := processorCosts("PASS\n"); !errors.Is(err, errNoBenchmark) {
		t.Errorf("no benchmark: %v", err)
	}
}
