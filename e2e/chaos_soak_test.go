package e2e

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/registry/stream"
)

// Between two samples, and between two mild faults, of a soak.
const (
	sampleEvery = 3 * time.Second
	mildEvery   = 20 * time.Second
)

// journalPerChange is how many bytes a reader keeps of a change, for secondaries that
// ask for what is new; in all about 70 MB (registry.MaxJournalBytes of what was replaced).
const journalPerChange = 1500

// series is one figure of one process over the time.
type series struct {
	Name   string        `json:"name"` // "global-dns-0 goroutines"
	Allow  float64       `json:"allow"`
	Times  []float64     `json:"times"` // seconds
	Values []float64     `json:"values"`
	Early  float64       `json:"early"` // median of the first third after the warm-up
	Late   float64       `json:"late"`  // of the last third
	Slope  float64       `json:"slope"` // per hour, by least squares
	Flat   bool          `json:"flat"`
	since  time.Duration // of the warm-up
}

// soakReport is what a soak found.
type soakReport struct {
	Began   time.Time     `json:"began"`
	Seconds float64       `json:"seconds"`
	Mild    int           `json:"mild"` // faults
	Saw     observation   `json:"saw"`
	Series  []*series     `json:"series"`
	Verdict string        `json:"verdict"`
	warm    time.Duration // not counted
}

// soak leaves the mesh alone but for mild faults, and samples what must not grow.
func (c *chaos) soak(t *testing.T, w *watcher3, dice *rand.Rand) {
	t.Helper()
	lasts := time.Hour
	if text := os.Getenv("SOAK_TIME"); text != "" {
		var err error
		if lasts, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	report := &soakReport{Began: time.Now(), warm: min(lasts/5, 5*time.Minute)}
	all := map[string]*series{}
	stop := c.churn(t, dice)
	// Mild faults hold up a cluster's changes, or all, for some seconds at most.
	w.disturb(&disturbance{begun: time.Now(), replica: none, judged: []string{"cobalt"}})
	for next := report.Began.Add(mildEvery); time.Since(report.Began) < lasts; pause(t.Context(), sampleEvery) {
		c.sample(t, time.Since(report.Began), all, report)
		if time.Now().After(next) {
			next = next.Add(mildEvery)
			c.mild(t, report)
		}
	}
	stop()
	if err := c.settled(t.Context(), 40*time.Second); err != nil {
		t.Errorf("in the end: %v", err)
	}
	report.Saw = w.disturb(nil)
	report.Seconds = time.Since(report.Began).Seconds()
	report.judge(t)
	keep(t, c.plan.reports, "soak", report.page(), report)
	t.Log("\n" + report.page())
}

// mild makes the next of the mild faults: the streams' leader steps down, or cobalt's
// agent hears and says nothing for two seconds.
func (c *chaos) mild(t *testing.T, r *soakReport) {
	t.Helper()
	if r.Mild++; r.Mild%2 == 0 {
		lift := c.cut(t, c.cluster3("cobalt").host, "OUTPUT", "--dport", 1)
		pause(t.Context(), 2*time.Second)
		lift()
		return
	}
	for _, name := range []string{stream.EventsStream, stream.LeaseStream} {
		if _, err := c.conn.NATS().Request("$JS.API.STREAM.LEADER.STEPDOWN."+name, nil, 5*time.Second); err != nil {
			t.Logf("%s: step down: %v", name, err)
		}
	}
}

// sample takes one value of each series.
func (c *chaos) sample(t *testing.T, at time.Duration, all map[string]*series, r *soakReport) {
	t.Helper()
	add := func(name string, allow, value float64) {
		s := all[name]
		if s == nil {
			s = &series{Name: name, Allow: allow, since: r.warm}
			all[name] = s
			r.Series = append(r.Series, s)
		}
		s.Allow = allow
		s.Times, s.Values = append(s.Times, at.Seconds()), append(s.Values, value)
	}
	daemons := map[string]*daemon{}
	for n, r := range c.replicas {
		daemons[fmt.Sprintf("global-dns-%d", n)] = r.daemon
	}
	for _, cluster := range c.clusters {
		for n, a := range cluster.agents {
			daemons[fmt.Sprintf("edge-sync-%s-%d", cluster.name, n)] = a
		}
	}
	for name, d := range daemons {
		pid := d.command.Process.Pid
		journal := 0.0
		if strings.HasPrefix(name, "global-dns") {
			journal = min(70, float64(c.truth.count())*journalPerChange/(1<<20))
		}
		if rss, err := residentMB(pid); err == nil {
			add(name+" RSS, MB", 12+2*journal, rss) // twice: what is collected is so large before
		}
		if open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid)); err == nil {
			add(name+" file descriptors", 6, float64(len(open)))
		}
		for line := range strings.Lines(metricsPage(t, d.http)) {
			metric, text, _ := strings.Cut(strings.TrimSpace(line), " ")
			value, err := strconv.ParseFloat(text, 64)
			switch {
			case err != nil:
			case metric == "go_goroutines":
				add(name+" goroutines", 8, value)
			case metric == "go_memstats_next_gc_bytes": // twice what the last collection left
				add(name+" live heap, MB", 6+journal, value/2/(1<<20))
			}
		}
	}
	for _, name := range []string{stream.EventsStream, stream.LeaseStream} {
		if s, err := c.js.Stream(t.Context(), name); err == nil {
			add("consumers of "+name, 6, float64(s.CachedInfo().State.Consumers))
		}
	}
	connections, subscriptions, complete := 0, 0, true
	for _, n := range c.nodes {
		var v struct{ Connections, Subscriptions int }
		if err := get(n.Monitor+"/varz", &v); err != nil {
			complete = false
		}
		connections, subscriptions = connections+v.Connections, subscriptions+v.Subscriptions
	}
	if complete {
		add("connections to NATS", 4, float64(connections))
		add("subscriptions at NATS", 60, float64(subscriptions))
	}
}

func residentMB(pid int) (float64, error) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "VmRSS:" {
			kilobytes, err := strconv.ParseFloat(f[1], 64)
			return kilobytes / 1024, err
		}
	}
	return 0, fmt.Errorf("process %d has no VmRSS", pid)
}

// judge compares the last third after the warm-up with the first: more than a tenth and
// what a series is allowed is growth.
func (s *series) judge() {
	var times, values []float64
	for n, at := range s.Times {
		if at >= s.since.Seconds() {
			times, values = append(times, at), append(values, s.Values[n])
		}
	}
	if len(values) < 6 {
		return
	}
	third := len(values) / 3
	s.Early, s.Late = median(values[:third]), median(values[len(values)-third:])
	s.Flat = s.Late <= s.Early*1.1+s.Allow
	var mt, mv, above, below float64
	for n := range times {
		mt, mv = mt+times[n]/float64(len(times)), mv+values[n]/float64(len(times))
	}
	for n := range times {
		above, below = above+(times[n]-mt)*(values[n]-mv), below+(times[n]-mt)*(times[n]-mt)
	}
	s.Slope = above / below * 3600
}

func median(values []float64) float64 {
	v := slices.Clone(values)
	slices.Sort(v)
	return v[len(v)/2]
}

func (r *soakReport) judge(t *testing.T) {
	t.Helper()
	slices.SortFunc(r.Series, func(a, b *series) int { return cmp.Compare(a.Name, b.Name) })
	var growing []string
	for _, s := range r.Series {
		if s.judge(); !s.Flat {
			growing = append(growing, s.Name)
		}
	}
	if r.Verdict = "flat"; len(growing) > 0 {
		r.Verdict = "grows: " + strings.Join(growing, ", ")
		t.Error(r.Verdict)
	}
	if n := r.Saw.Unavailable; n*10_000 > r.Saw.Queries {
		t.Errorf("%d of %d queries without an answer", n, r.Saw.Queries)
	}
	for what := range r.Saw.Wrong {
		t.Error(what)
	}
}

func (r *soakReport) page() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# soak\n\nA mesh as in chaos, with changes and questions all the time, and %d mild faults: a stream's leader steps down, or an agent's packets are dropped for 2 s.\n\n", r.Mild)
	b.WriteString("| figure | median of the first third | of the last third | slope per hour | flat |\n|---|---|---|---|---|\n")
	for _, s := range r.Series {
		fmt.Fprintf(&b, "| %s | %.1f | %.1f | %+.1f | %v |\n", s.Name, s.Early, s.Late, s.Slope, s.Flat)
	}
	fmt.Fprintf(&b, "\n- Flat: the last third is at most a tenth above the first, and a little: 12 MB resident, 6 MB of live heap, 8 goroutines, 6 file descriptors, 6 consumers, 4 connections; for global-dns also 1.5 KB for each change, which it keeps for secondaries (up to 70 MB in all). The first %v are not counted. "+
		"In a short run the slope is mostly noise.\n- %d queries to both replicas, %d without an answer, %d wrong answers.\n- Verdict: %s.\n\n%s, %.0f s.\n",
		r.warm, r.Saw.Queries, r.Saw.Unavailable, len(r.Saw.Wrong), r.Verdict, r.Began.UTC().Format("2006-01-02 15:04 UTC"), r.Seconds)
	return b.String()
}
