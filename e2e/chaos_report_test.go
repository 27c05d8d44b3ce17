package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// trial is one experiment and its outcome.
type trial struct {
	Name        string        `json:"name"`
	Injection   string        `json:"injection"`
	Lasted      time.Duration `json:"lasted"`      // from the injection until the fault was lifted
	Saw         observation   `json:"saw"`         // from the injection until all was as it should be
	Changes     int           `json:"changes"`     // made in the registries meanwhile
	Convergence time.Duration `json:"convergence"` // from lifting until both replicas equalled the registries
	Lost        []string      `json:"lost"`        // where a replica differed from the registries in the end
	Serials     []string      `json:"serials"`     // where a serial went back
	Older       []string      `json:"older"`       // likewise, in answers that were marked as stale
	Verdict     string        `json:"verdict"`
}

// judge says what came of a trial.
func (r *trial) judge(limit time.Duration) {
	var faults []string
	if n := len(r.Saw.Wrong); n > 0 {
		faults = append(faults, fmt.Sprintf("%d wrong answers", n))
	}
	if r.Saw.Unavailable*10_000 > r.Saw.Queries {
		faults = append(faults, fmt.Sprintf("%d of %d queries without an answer", r.Saw.Unavailable, r.Saw.Queries))
	}
	if len(r.Lost) > 0 {
		faults = append(faults, fmt.Sprintf("not as the registries within %v", limit))
	}
	if len(r.Serials) > 0 {
		faults = append(faults, "a serial went back")
	}
	if r.Verdict = strings.Join(faults, "; "); r.Verdict == "" {
		r.Verdict = "holds"
	}
}

// chaosReport is what a round found.
type chaosReport struct {
	Began       time.Time     `json:"began"`
	Seconds     float64       `json:"seconds"`
	Plan        string        `json:"plan"`
	Seed        uint64        `json:"seed"`
	Hypothesis  string        `json:"hypothesis"`
	Trials      []trial       `json:"trials"`
	Steady      observation   `json:"steady"` // between experiments
	P50, Max    time.Duration // of convergence
	Unavailable float64       `json:"unavailable"` // share of all queries
	Loads       string        `json:"loads"`
}

// steady is the hypothesis of all experiments.
const steady = "Whoever asks both replicas gets an answer within a second (99.99 %), no answer names a cluster that can't serve or " +
	"leaves out one that can for longer than 5 s beyond the fault, serials never go back but in answers marked as stale (from a checkpoint), and soon after the fault both replicas equal the registries at one serial."

func (r *chaosReport) close() {
	r.Seconds = time.Since(r.Began).Seconds()
	if loads, err := os.ReadFile("/proc/loadavg"); err == nil {
		r.Loads = strings.Join(strings.Fields(string(loads))[:3], " ")
	}
	var took []time.Duration
	queries, none := r.Steady.Queries, r.Steady.Unavailable
	for _, trial := range r.Trials {
		took = append(took, trial.Convergence)
		queries, none = queries+trial.Saw.Queries, none+trial.Saw.Unavailable
	}
	if slices.Sort(took); len(took) > 0 {
		r.P50, r.Max = took[len(took)/2], took[len(took)-1]
	}
	r.Unavailable = float64(none) / float64(max(1, queries))
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

// page is the report for people.
func (r *chaosReport) page() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# chaos\n\nReal processes are broken one after another, while registries change and clients ask.\n\n**Hypothesis**: %s\n\n", r.Hypothesis)
	b.WriteString("| fault | injection | for | queries: all, at both failed, at one failed | stale, marked | behind at most | behind until | converged after | changes: all, lost | verdict |\n|---|---|---|---|---|---|---|---|---|---|\n")
	for _, t := range r.Trials {
		fmt.Fprintf(&b, "| %s | %s | %s | %d, %d, %d | %d | %s | %s | %s | %d, %d | %s |\n", t.Name, t.Injection, seconds(t.Lasted),
			t.Saw.Queries, t.Saw.Unavailable, t.Saw.Failed[0]+t.Saw.Failed[1]-2*t.Saw.Unavailable, t.Saw.Marked, seconds(t.Saw.Behind), seconds(t.Saw.Until), seconds(t.Convergence), t.Changes, len(t.Lost), t.Verdict)
	}
	fmt.Fprintf(&b, "| nothing | between the experiments | | %d, %d, %d | %d | %s | | | | %s |\n", r.Steady.Queries, r.Steady.Unavailable,
		r.Steady.Failed[0]+r.Steady.Failed[1]-2*r.Steady.Unavailable, r.Steady.Marked, seconds(r.Steady.Behind), verdict(r.Steady))
	fmt.Fprintf(&b, "\n- Without an answer from either replica: %.4f %% of all queries (at most 0.01 %%).\n- Convergence from the moment at which a fault was lifted: p50 %s, max %s.\n", 100*r.Unavailable, seconds(r.P50), seconds(r.Max))
	b.WriteString("- *Behind* is the age of the oldest answer of either replica: for how long what it said had not been true. *Behind until*: from the injection to the last answer of either that was more than a second old. While a cluster's agent is away nobody can know of its changes.\n")
	for _, t := range append(slices.Clone(r.Trials), trial{Name: "between", Saw: r.Steady}) {
		for _, what := range slices.Concat(slices.Sorted(maps.Keys(t.Saw.Wrong)), t.Lost, t.Serials) {
			fmt.Fprintf(&b, "- %s: %s\n", t.Name, what)
		}
		for _, what := range t.Older {
			fmt.Fprintf(&b, "- %s: %s, in an answer that was marked as stale.\n", t.Name, what)
		}
	}
	fmt.Fprintf(&b, "\n%s, round %q, seed %d, %.0f s; load averages in the end %s.\n", r.Began.UTC().Format("2006-01-02 15:04 UTC"), r.Plan, r.Seed, r.Seconds, r.Loads)
	return b.String()
}

func verdict(o observation) string {
	t := trial{Saw: o}
	t.judge(0)
	return t.Verdict
}

// keep writes a page and its figures; each appears whole or not at all.
func keep(t *testing.T, dir, name, page string, figures any) {
	t.Helper()
	text, err := json.MarshalIndent(figures, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	for file, content := range map[string]string{name + ".md": page, name + ".json": string(text) + "\n"} {
		next := filepath.Join(dir, file+".tmp")
		if err := os.WriteFile(next, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(next, filepath.Join(dir, file)); err != nil {
			t.Fatal(err)
		}
	}
}
