package probe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// post takes reports in place of a stream.
type post struct {
	mu      sync.Mutex // guards the fields below
	reports []registry.ProbeReport
	at      []time.Time
	err     error
	takes   time.Duration
	cut     bool
	busy    map[registry.ClusterID]bool
	twice   bool // two at once for one cluster
	most    int
}

func (p *post) PutProbe(ctx context.Context, r registry.ProbeReport) (bool, error) {
	p.mu.Lock()
	if p.busy == nil {
		p.busy = map[registry.ClusterID]bool{}
	}
	p.twice = p.twice || p.busy[r.Cluster]
	p.busy[r.Cluster] = true
	p.most = max(p.most, len(p.busy))
	p.reports, p.at = append(p.reports, r), append(p.at, time.Now())
	err, takes, cut := p.err, p.takes, p.cut
	p.mu.Unlock()
	select {
	case <-time.After(takes):
	case <-ctx.Done():
		err = ctx.Err()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.busy, r.Cluster)
	return cut, err
}

// take returns what came since it was asked last.
func (p *post) take() (reports []registry.ProbeReport) {
	p.mu.Lock()
	defer p.mu.Unlock()
	reports, p.reports, p.at = p.reports, nil, nil
	return reports
}

func (p *post) set(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

// brief writes reports as "amber: gw-1+; …".
func brief(reports []registry.ProbeReport) string {
	var all []string
	for _, r := range reports {
		var gateways []string
		for _, g := range r.Gateways {
			gateways = append(gateways, g.Name+map[bool]string{true: "+", false: "-"}[g.Reached])
		}
		all = append(all, string(r.Cluster)+": "+strings.Join(gateways, " "))
	}
	slices.Sort(all)
	return strings.Join(all, "; ")
}

// tell runs a reporter beside a prober.
func tell(t *testing.T, c ReporterConfig, p *Prober, to Publisher) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	c.Vantage, c.Agent = "bronze", "host/1"
	go func() { done <- NewReporter(c, p, to).Run(ctx) }()
	return func() error { cancel(); return <-done }
}

func TestReporter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, to := newNetwork(), &post{takes: 20 * time.Millisecond}
		n.set("192.0.2.2", errDown)
		p, stop := run(t, Config{Interval: 2 * time.Second, Rise: 1, Fall: 1}, n)
		defer stop()
		end := tell(t, ReporterConfig{}, p, to)
		time.Sleep(time.Minute)
		if got := to.take(); len(got) != 0 {
			t.Errorf("without a target: %s", brief(got))
		}
		p.SetTargets("amber", []registry.Gateway{gw("gw-1", "192.0.2.1"), gw("gw-2", "192.0.2.2")})
		p.SetTargets("cobalt", []registry.Gateway{gw("gw-1", "192.0.2.3")})
		p.SetTargets("quiet", []registry.Gateway{{Name: "gw-1", Addresses: gw("", "192.0.2.9").Addresses}})
		time.Sleep(5 * time.Second)
		first := to.take()
		if last := first[len(first)-1]; last.Schema != registry.Schema || last.Vantage != "bronze" || last.Agent != "host/1" || last.Every < 10 || last.Every > 12 || time.Since(last.Time) > 5*time.Second {
			t.Errorf("a report is %+v", last)
		}
		if got := brief(first); !strings.Contains(got, "amber: gw-1+ gw-2-") || !strings.Contains(got, "cobalt: gw-1+") || strings.Contains(got, "quiet") || len(first) > 3 {
			t.Errorf("at first: %s", got)
		}
		time.Sleep(10 * time.Second)
		if got := brief(to.take()); got != "amber: gw-1+ gw-2-; cobalt: gw-1+" {
			t.Errorf("ten seconds later: %s", got)
		}
		n.set("192.0.2.3", errDown)
		time.Sleep(2300 * time.Millisecond)
		if got := brief(to.take()); !strings.Contains(got, "cobalt: gw-1-") {
			t.Errorf("a verdict turned: %q", got)
		}
		p.SetTargets("cobalt", nil)
		p.SetTargets("amber", []registry.Gateway{gw("gw-1", "192.0.2.1")})
		time.Sleep(time.Second)
		if got := brief(to.take()); got != "amber: gw-1+; cobalt: " {
			t.Errorf("a gateway is gone, and a cluster: %q", got)
		}
		time.Sleep(10 * time.Minute)
		if got := to.take(); len(got) < 60 || len(got) > 75 || strings.Contains(brief(got), "cobalt") {
			t.Errorf("%d reports in ten minutes", len(got))
		}
		if err := end(); err != nil || to.twice {
			t.Errorf("Run returned %v; two reports at once for a cluster: %v", err, to.twice)
		}
	})
}

// 10,000 gateways of 1,000 clusters stay far below 100 reports a second, also when all
// turn at once, and every cluster is told of within what its report promises.
func TestReportsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const clusters, each = 1000, 10
		n, to := newNetwork(), &post{takes: 150 * time.Millisecond}
		n.takes = time.Millisecond
		p, stop := run(t, Config{Interval: time.Minute, Rise: 1, Fall: 1, Concurrency: 64}, n)
		defer stop()
		var all []string
		for k := range clusters {
			var gateways []registry.Gateway
			for i := range each {
				a := fmt.Sprintf("10.%d.%d.%d", k>>8, k&255, i)
				all = append(all, a)
				gateways = append(gateways, gw(fmt.Sprintf("gw-%d", i), a))
			}
			p.SetTargets(registry.ClusterID(fmt.Sprintf("c-%d", k)), gateways)
		}
		end := tell(t, ReporterConfig{}, p, to)
		check := func(what string, wait time.Duration, mostPerSecond int) {
			t.Helper()
			to.take()
			began := time.Now()
			last := map[registry.ClusterID]time.Time{}
			time.Sleep(wait)
			to.mu.Lock()
			defer to.mu.Unlock()
			perSecond := map[int]int{}
			for k, r := range to.reports {
				perSecond[int(to.at[k].Sub(began)/time.Second)]++
				if before, ok := last[r.Cluster]; ok && to.at[k].Sub(before).Seconds() > r.Every {
					t.Errorf("%s: %s is told of after %v, and %v s were promised", what, r.Cluster, to.at[k].Sub(before), r.Every)
				}
				last[r.Cluster] = to.at[k]
			}
			most := 0
			for _, count := range perSecond {
				most = max(most, count)
			}
			if most > mostPerSecond || len(last) != clusters || to.most > inFlight {
				t.Errorf("%s: up to %d a second, %d clusters, %d at a time", what, most, len(last), to.most)
			}
		}
		time.Sleep(2 * time.Minute)
		check("quiet", 70*time.Second, 51)
		for _, a := range all {
			n.set(a, errDown)
		}
		check("all turn", 70*time.Second, 51)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		defer cancel()
		go func() { // a fifth of them turns all the time
			for ctx.Err() == nil {
				for k := range clusters / 5 {
					p.mu.Lock()
					p.turn(registry.ClusterID(fmt.Sprintf("c-%d", k)))
					p.mu.Unlock()
				}
				time.Sleep(100 * time.Millisecond)
			}
		}()
		check("some flap", 70*time.Second, 51)
		cancel()
		time.Sleep(time.Second)
		if err := end(); err != nil {
			t.Error(err)
		}
	})
}

// Of an outage of the stream two lines are said, and after it all is told.
func TestReporterOutlivesTheStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log journal
		n, to := newNetwork(), &post{}
		p, stop := run(t, Config{Rise: 1, Fall: 1}, n)
		defer stop()
		end := tell(t, ReporterConfig{Logger: slog.New(slog.NewTextHandler(&log, nil))}, p, to)
		for k := range 20 {
			p.SetTargets(registry.ClusterID(fmt.Sprintf("c-%d", k)), []registry.Gateway{gw("gw-1", fmt.Sprintf("192.0.2.%d", k))})
		}
		time.Sleep(10 * time.Second)
		to.set(func() { to.err = errors.New("no servers") })
		time.Sleep(30 * time.Second)
		for k := range 20 {
			n.set(fmt.Sprintf("192.0.2.%d", k), errDown)
		}
		to.take()
		time.Sleep(time.Minute)
		if tries := len(to.take()); tries > 200 || tries < 5 {
			t.Errorf("%d tries within a minute without a stream", tries)
		}
		to.set(func() { to.err = nil; to.cut = true })
		time.Sleep(15 * time.Second)
		latest := map[registry.ClusterID]bool{}
		for _, r := range to.take() {
			latest[r.Cluster] = r.Gateways[0].Reached
		}
		if len(latest) != 20 || latest["c-7"] {
			t.Errorf("after the outage: %v", latest)
		}
		for said, times := range map[string]int{"can't be stored": 1, "stored again": 1, "too large": 20} {
			if got := strings.Count(log.String(), said); got != times {
				t.Errorf("%q is said %d times, want %d", said, got, times)
			}
		}
		if err := end(); err != nil {
			t.Error(err)
		}
	})
}

// A standby keeps its verdicts to itself, and tells them as soon as it leads.
func TestStandbyIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, to := newNetwork(), &post{}
		p, stop := run(t, Config{}, n)
		defer stop()
		var leads atomic.Bool
		end := tell(t, ReporterConfig{Speaks: leads.Load}, p, to)
		p.SetTargets("amber", []registry.Gateway{gw("gw-1", "192.0.2.1")})
		time.Sleep(time.Minute)
		if got := to.take(); len(got) != 0 {
			t.Errorf("a standby says %s", brief(got))
		}
		leads.Store(true)
		time.Sleep(2 * time.Second)
		if got := brief(to.take()); got != "amber: gw-1+" {
			t.Errorf("the leader says %q", got)
		}
		if err := end(); err != nil {
			t.Error(err)
		}
	})
}

// An error that nothing but a new connection can mend ends Run, which may begin again.
func TestReporterEndsAndBeginsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		denied := errors.New("denied")
		n, to := newNetwork(), &post{err: denied}
		p, stop := run(t, Config{}, n)
		defer stop()
		p.SetTargets("amber", []registry.Gateway{gw("gw-1", "192.0.2.1")})
		r := NewReporter(ReporterConfig{Vantage: "bronze", Final: func(err error) bool { return errors.Is(err, denied) }}, p, to)
		if err := r.Run(t.Context()); !errors.Is(err, denied) {
			t.Errorf("Run returned %v", err)
		}
		to.set(func() { to.err = nil })
		to.take()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.Run(ctx); err != nil {
			t.Errorf("Run returned %v", err)
		}
		if got := brief(to.take()); got != "amber: gw-1+" {
			t.Errorf("the second time it says %q", got)
		}
	})
}
