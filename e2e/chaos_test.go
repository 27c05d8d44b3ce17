package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/dnsserver/ask"
)

// chaosPlan says which round is made.
type chaosPlan struct {
	name               string
	changesPerSecond   float64 // in each cluster
	questionsPerSecond float64 // at each replica
	seed               uint64
	reports            string // folder
	only               string // experiments whose name has this
}

// planned reads the round from the environment: SEAMARK_CHAOS is empty for the short
// one, or full, or soak.
func planned(t *testing.T) chaosPlan {
	t.Helper()
	p := chaosPlan{name: os.Getenv("SEAMARK_CHAOS"), changesPerSecond: 4, questionsPerSecond: 120, seed: uint64(time.Now().UnixNano()), reports: os.Getenv("SEAMARK_CHAOS_REPORTS"), only: os.Getenv("SEAMARK_CHAOS_ONLY")}
	if text := os.Getenv("SEAMARK_CHAOS_SEED"); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		p.seed = seed
	}
	if p.name == "" {
		p.name = "short"
	}
	if p.reports == "" {
		p.reports = t.TempDir()
	}
	t.Logf("round %s, seed %d, reports in %s", p.name, p.seed, p.reports)
	return p
}

// TestChaos breaks real processes one after another, while registries change and
// clients ask, and holds every answer to what was registered. See [steady]. It runs
// alone: it has network namespaces, and measures.
func TestChaos(t *testing.T) {
	plan := planned(t)
	began := time.Now()
	c := newChaos(t, plan)
	c.settle(t, 40*time.Second)
	t.Logf("the mesh stands after %v", time.Since(began))
	dice := rand.New(rand.NewPCG(plan.seed, 0))
	serials, stopSerials := c.watchSerials(t)
	defer stopSerials()
	w, stopWatching := c.watch(t)
	defer stopWatching()
	if plan.name == "soak" {
		c.soak(t, w, dice)
		return
	}
	report := chaosReport{Began: began, Plan: plan.name, Seed: plan.seed, Hypothesis: steady, Steady: observation{Wrong: map[string]int{}}}
	defer func() {
		report.Steady = sum(report.Steady, w.disturb(nil))
		report.close()
		keep(t, plan.reports, "chaos", report.page(), report)
		t.Log("\n" + report.page())
		if v := verdict(report.Steady); v != "holds" {
			t.Errorf("between the experiments: %s", v)
		}
	}()
	for _, e := range experiments() {
		if plan.name == "short" {
			e.lasts = e.short
		}
		if e.lasts == 0 || !strings.Contains(e.name, plan.only) {
			continue
		}
		r, before := c.try(t, e, w, serials, dice)
		report.Trials, report.Steady = append(report.Trials, r), sum(report.Steady, before)
		t.Logf("%s: for %v, converged after %v, behind %v: %s", e.name, r.Lasted, r.Convergence, r.Saw.Behind, r.Verdict)
		if r.Verdict != "holds" {
			t.Errorf("%s: %s: %v %v %v", e.name, r.Verdict, r.Saw.Wrong, r.Lost, r.Serials)
		}
		if len(r.Lost) > 0 {
			return // what follows would not begin from a steady state
		}
	}
}

// sum adds what was seen in two spans.
func sum(a, b observation) observation {
	a.Queries, a.Unavailable, a.Marked = a.Queries+b.Queries, a.Unavailable+b.Unavailable, a.Marked+b.Marked
	a.Failed[0], a.Failed[1] = a.Failed[0]+b.Failed[0], a.Failed[1]+b.Failed[1]
	a.Behind, a.Until = max(a.Behind, b.Behind), max(a.Until, b.Until)
	for what, n := range b.Wrong {
		a.Wrong[what] += n
	}
	return a
}

// try makes one experiment. The state before it is steady, and so is the one after.
func (c *chaos) try(t *testing.T, e experiment, w *watcher3, serials *serialWatch, dice *rand.Rand) (r trial, before observation) {
	t.Helper()
	stop := c.churn(t, dice)
	pause(t.Context(), time.Second)
	changes := c.truth.count()
	held := e.held
	if held.replica == theObserver {
		c.observer = c.leadingReplica(t)
		held.replica = c.observer
	}
	held.begun = time.Now()
	before = w.disturb(&held)
	lift := e.inject(t, c)
	pause(t.Context(), e.lasts)
	stop()
	r = trial{Name: e.name, Injection: e.injection, Lasted: time.Since(held.begun), Changes: c.truth.count() - changes}
	lifted := time.Now()
	lift()
	if err := c.settled(t.Context(), e.limit); err != nil {
		r.Lost = strings.Split(err.Error(), "\n")
	}
	r.Convergence = time.Since(lifted)
	pause(t.Context(), 1100*time.Millisecond) // questions of before are answered, or given up
	r.Saw = w.disturb(nil)
	r.Serials, r.Older = serials.take()
	r.judge(e.limit)
	return r, before
}

func (c *chaos) settle(t *testing.T, within time.Duration) {
	t.Helper()
	if err := c.settled(t.Context(), within); err != nil {
		t.Fatal(err)
	}
}

// settled waits until both replicas say what is registered, at one serial, with all
// clusters up. The error tells the differences that are left.
func (c *chaos) settled(ctx context.Context, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for {
		faults := c.differences(context.WithoutCancel(ctx))
		if len(faults) == 0 {
			return nil
		}
		if !pause(ctx, 50*time.Millisecond) {
			return fmt.Errorf("%s", strings.Join(faults, "\n"))
		}
	}
}

// differences lists where the replicas are not as they should be, at most some.
func (c *chaos) differences(ctx context.Context) (faults []string) {
	serials := map[uint32]bool{}
	for n, r := range c.replicas {
		var status struct{ Serial uint32 }
		if err := get("http://"+r.http+"/v1/status", &status); err != nil {
			return append(faults, fmt.Sprintf("replica %d: %v", n, err))
		}
		serials[status.Serial] = true
		faults = append(faults, c.differencesOf(ctx, n, r)...)
	}
	if len(faults) == 0 && len(serials) > 1 {
		faults = append(faults, fmt.Sprintf("serials are %v", serials))
	}
	return faults[:min(len(faults), 10)]
}

func (c *chaos) differencesOf(ctx context.Context, n int, r *chaosReplica) (faults []string) {
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Sprintf("replica %d: ", n)+fmt.Sprintf(format, args...))
	}
	var all struct{ Clusters []standingCluster }
	var known struct {
		Services []struct {
			Name     string
			Clusters []shownRecord
		}
	}
	if err := get("http://"+r.http+"/v1/clusters", &all); err != nil {
		fault("%v", err)
		return faults
	}
	if err := get("http://"+r.http+"/v1/services", &known); err != nil {
		fault("%v", err)
		return faults
	}
	for _, s := range all.Clusters {
		if s.State != "up" {
			fault("%s is %s: %s", s.Cluster, s.State, s.Reason)
		}
	}
	shown := map[string]shownRecord{}
	for _, s := range known.Services {
		for _, record := range s.Clusters {
			shown[record.Cluster+"/"+s.Name] = record
		}
	}
	for _, cluster := range c.clusters {
		for k := range chaosServices {
			want, have := c.truth.now(cluster.name, serviceName(k)), shown[cluster.name+"/"+serviceName(k)]
			if have.Healthy != want.healthy || have.Total != want.total {
				fault("%s in %s: %d/%d, registered are %d/%d", serviceName(k), cluster.name, have.Healthy, have.Total, want.healthy, want.total)
			}
		}
	}
	if len(faults) > 0 {
		return faults
	}
	for _, q := range c.questions() {
		var want []string
		gone := c.forgot.Load()
		for _, cluster := range c.clusters {
			if !slices.Contains(q.clusters, cluster.name) {
				continue
			}
			now := c.truth.now(cluster.name, q.service)
			if gone = gone && now.total == 0; now.healthy > 0 {
				want = append(want, cluster.gateway)
			}
		}
		bounded, cancel := context.WithTimeout(ctx, time.Second)
		a, err := ask.Ask(bounded, r.dns, q.name, "A")
		cancel()
		slices.Sort(a.Data)
		slices.Sort(want)
		if gone && a.RCode == "NXDOMAIN" {
			continue
		}
		if err != nil || a.RCode != "NOERROR" || !slices.Equal(a.Data, want) || len(a.Extended) > 0 {
			fault("%s is %s %v %v (%v), want %v", q.name, a.RCode, a.Data, a.Extended, err, want)
		}
	}
	return faults
}

// serialWatch sees that no replica's serial ever goes back, restarts included.
type serialWatch struct {
	mu   sync.Mutex // guards what follows
	went []string
	said []string // likewise, in answers that said that they are stale: from a checkpoint
}

func (s *serialWatch) note(what string, stale bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if stale {
		s.said = append(s.said, what)
	} else {
		s.went = append(s.went, what)
	}
}

// take returns what was noted since the last call.
func (s *serialWatch) take() (went, said []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	went, said = s.went, s.said
	s.went, s.said = nil, nil
	return went, said
}

func (c *chaos) watchSerials(t *testing.T) (s *serialWatch, stop func()) {
	t.Helper()
	s = &serialWatch{}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for n, r := range c.replicas {
		wg.Go(func() {
			var last uint32
			for pause(ctx, 100*time.Millisecond) {
				bounded, cancel := context.WithTimeout(ctx, time.Second)
				a, err := ask.Ask(bounded, r.dns, "mesh.internal.", "SOA")
				cancel()
				if err != nil || len(a.Data) != 1 {
					continue
				}
				serial, err := strconv.ParseUint(strings.Fields(a.Data[0])[2], 10, 32)
				if err != nil {
					continue
				}
				now := uint32(serial)
				if last != 0 && int32(now-last) < 0 { // RFC 1982
					s.note(fmt.Sprintf("replica %d: serial %d after %d", n, now, last), len(a.Extended) > 0)
				}
				last = now
			}
		})
	}
	return s, func() { cancel(); wg.Wait() }
}
