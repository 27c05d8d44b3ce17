package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/seamark-mesh/seamark/e2e/servers"
)

// loadBench is many changes a second: half of them health flips, half new versions.
type loadBench struct {
	catalog  *catalog
	services []*loadService
	watch    *answerWatch
	who      []worker

	mu      sync.Mutex // guards the fields below
	changes [2][]change
	late    samples // sent after the time it was due
	wrote   samples // until Consul had answered
}

// loadService is what a service should answer. Only the one change that is under
// way touches it.
type loadService struct {
	question question
	passing  bool // the first instance
	version  string
}

// worker is a process whose processor time is told.
type worker struct {
	name string
	pid  int
}

// used is what each has used so far; negative where that can't be told.
func (b *loadBench) used() (all []time.Duration) {
	for _, w := range b.who {
		u, err := usageOf(w.pid)
		if err != nil {
			u.processor = -1
		}
		all = append(all, u.processor)
	}
	return all
}

// Kinds of change.
const (
	flipped = iota
	redefined
)

const (
	loadServices = 1000
	loadNodes    = 50
	loadCluster  = "amber"
	loadWorkers  = 8 // changes that are being sent at once, at most
)

func measureLoad(ctx context.Context, s *site, r *result) error {
	span := time.Minute
	if s.options.quick {
		span = 5 * time.Second
	}
	const rate = 200
	b := &loadBench{}
	if err := b.open(ctx, s); err != nil {
		return err
	}
	s.say("%d changes a second for %v", rate, span)
	before, began := b.used(), time.Now()
	if err := b.run(ctx, rate, int(span.Seconds()*rate)); err != nil {
		return err
	}
	took, after := time.Since(began), b.used()
	s.say("comparing the final state")
	if err := b.report(ctx, s, r, rate, took); err != nil {
		return err
	}
	for n, w := range b.who {
		if before[n] >= 0 && after[n] >= 0 {
			r.number("processor time a change: "+w.name, "%.2f ms", (after[n]-before[n]).Seconds()*1000/(span.Seconds()*rate), "", nil)
		}
	}
	return nil
}

func (b *loadBench) open(ctx context.Context, s *site) error {
	if err := s.startNATS(ctx); err != nil {
		return err
	}
	var err error
	if b.catalog, err = s.startConsul(ctx, "consul", servers.ConsulConfig{}); err != nil {
		return err
	}
	if err := b.catalog.fill(ctx, loadServices, loadNodes, 2); err != nil {
		return err
	}
	if err := s.startGlobalDNS(ctx); err != nil {
		return err
	}
	agent, err := s.startAgent(ctx, loadCluster, map[string]any{"consul": map[string]any{"address": b.catalog.server.HTTP}})
	if err != nil {
		return err
	}
	b.who = []worker{{"the agent", agent.pid()}, {"bench itself", os.Getpid()}}
	if pid, err := serverPID(b.catalog.dir); err == nil {
		b.who = append(b.who, worker{"Consul, the writing included", pid})
	}
	if b.watch, err = s.newAnswerWatch(); err != nil {
		return err
	}
	for n := range loadServices {
		q, err := newQuestion(serviceName(n)+".svc.mesh.internal.", dnsmessage.TypeTXT)
		if err != nil {
			return err
		}
		b.services = append(b.services, &loadService{question: q, passing: true, version: firstVersion})
	}
	a, err := s.newAsker()
	if err != nil {
		return err
	}
	_, err = a.until(ctx, b.services[loadServices-1].question, b.services[loadServices-1].shown())
	return err
}

// shown matches the answer that the service should give.
func (l *loadService) shown() func(answer) bool {
	healthy, version := "healthy=1", l.version
	if l.passing {
		healthy = "healthy=2"
	}
	return func(a answer) bool { return a.has(healthy) && a.has("total=2") && a.lists(version) }
}

// run sends count changes, one after another in time, and waits until each answer
// has changed.
func (b *loadBench) run(ctx context.Context, rate, count int) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	wg.Go(func() { cancel(b.watch.send(ctx)) })
	wg.Go(func() { cancel(b.watch.receive(ctx)) })

	type due struct {
		number int
		at     time.Time
	}
	queue := make(chan due, count) // all fit: the pace does not depend on who takes them
	var sending sync.WaitGroup
	for range loadWorkers {
		sending.Go(func() {
			for d := range queue {
				if err := b.change(ctx, d.number, d.at); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	began := time.Now()
	for n := range count {
		at := began.Add(time.Duration(n) * time.Second / time.Duration(rate))
		if wait := time.Until(at); wait > 0 && !pause(ctx, wait) {
			break
		}
		queue <- due{n, at}
	}
	close(queue)
	sending.Wait()
	if ctx.Err() == nil {
		b.watch.idle(ctx)
	}
	err := context.Cause(ctx)
	cancel(nil)
	return err
}

// change makes the change with a number and leaves it to the watch.
func (b *loadBench) change(ctx context.Context, number int, due time.Time) error {
	n := number % loadServices
	l := b.services[n]
	kind := number / loadServices % 2 // flips of all services, then new versions of all
	if number%2 == 1 {
		kind = 1 - kind
	}
	c := change{service: serviceName(n), sent: time.Now()}
	if kind == flipped {
		l.passing = !l.passing
	} else {
		l.version = fmt.Sprintf("v%d", number+1)
	}
	b.watch.add(l.question, l.shown(), func(at time.Time) {
		c.answered = at
		b.mu.Lock()
		defer b.mu.Unlock()
		b.changes[kind] = append(b.changes[kind], c)
		b.late = append(b.late, c.sent.Sub(due))
	})
	var err error
	if kind == flipped {
		err = b.catalog.setHealth(ctx, n, l.passing)
	} else {
		err = b.catalog.setVersion(ctx, n, l.version)
	}
	took := time.Since(c.sent)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wrote = append(b.wrote, took)
	return err
}

func (b *loadBench) report(ctx context.Context, s *site, r *result, rate int, took time.Duration) error {
	b.mu.Lock()
	flips, versions, late, wrote := b.changes[flipped], b.changes[redefined], b.late, b.wrote
	b.mu.Unlock()
	spans := func(all []change) (took samples) {
		for _, c := range all {
			took = append(took, c.answered.Sub(c.sent))
		}
		return took
	}
	all := append(append([]change{}, flips...), versions...)
	r.times(fmt.Sprintf("%d changes/s: change → changed DNS answer", rate), spans(all), "p99 ≤ 100 ms", p99Within(100))
	r.times("… health flips", spans(flips), "", nil)
	r.times("… new versions", spans(versions), "", nil)
	lost := b.watch.lost()
	r.number("changes that did not show within 20 s", "%.0f", float64(lost), "0", atMost(0.0))
	differ, err := b.compare(ctx, s)
	if err != nil {
		return err
	}
	r.number(fmt.Sprintf("services whose last answer is not what Consul says, of %d", loadServices), "%.0f", float64(differ), "0", atMost(0.0))
	r.number("changes made a second", "%.0f/s", float64(len(all))/took.Seconds(), "", nil)
	r.times("… sent later than due", late, "", nil)
	r.times("asked every", b.watch.gaps(), "", nil)
	r.times("… Consul has taken the change", wrote, "", nil)
	history, err := s.history(ctx, loadCluster)
	if err != nil {
		return err
	}
	divide(all, history).report(r, "Consul")
	r.note("%d services of two instances on %d nodes; the agent uses plain HTTP. Each service changes every %.0f s, in turn the health of an instance and its version; "+
		"the answer that counts is a TXT answer with the expected health and version.", loadServices, loadNodes, float64(loadServices)/float64(rate))
	return nil
}

// compare asks Consul and DNS for every service and counts those that differ.
func (b *loadBench) compare(ctx context.Context, s *site) (differ int, err error) {
	a, err := s.newAsker()
	if err != nil {
		return 0, err
	}
	for n := range loadServices {
		entries, err := b.catalog.entries(ctx, n)
		if err != nil {
			return 0, err
		}
		now, healthy, versions := b.services[n], 0, map[string]bool{}
		for _, e := range entries {
			if e.Checks.AggregatedStatus() == "passing" {
				healthy++
			}
			versions[e.Service.Meta["version"]] = true
		}
		got, err := a.ask(now.question)
		if err != nil {
			return 0, err
		}
		same := got.has(fmt.Sprintf("healthy=%d", healthy)) && got.has(fmt.Sprintf("total=%d", len(entries)))
		for v := range versions {
			same = same && got.lists(v)
		}
		if !same || !versions[now.version] {
			differ++
			s.say("%s: Consul has %d of %d and %v, the answer is %v", serviceName(n), healthy, len(entries), versions, got.texts)
		}
	}
	return differ, nil
}
