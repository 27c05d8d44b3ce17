package probe

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// Config says how to probe. A field that is 0 takes its default.
type Config struct {
	Interval    time.Duration  // between two probes of a gateway, give or take a tenth; 2 s
	Timeout     time.Duration  // of one attempt at one address; 1 s
	Rise        int            // successes in a row after which a gateway counts as reached; 2
	Fall        int            // failures in a row after which it counts as not reached; 3
	Concurrency int            // attempts at one time, over all gateways; 64
	Allow       []netip.Prefix // where loopback, link-local and metadata addresses are probed all the same
	Logger      *slog.Logger   // nil: none
}

func (c Config) withDefaults() Config {
	set := func(v *time.Duration, d time.Duration) {
		if *v <= 0 {
			*v = d
		}
	}
	count := func(v *int, n int) {
		if *v <= 0 {
			*v = n
		}
	}
	set(&c.Interval, 2*time.Second)
	set(&c.Timeout, time.Second)
	count(&c.Rise, 2)
	count(&c.Fall, 3)
	count(&c.Concurrency, 64)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// MaxTargets bounds how many gateways one [Prober] probes. Those beyond are not probed,
// which is said.
const MaxTargets = 50_000

// Counts are what a [Prober] has done since it was made, and what it has before it.
type Counts struct {
	Reached  uint64 // rounds in which an address of a gateway was reached
	Failed   uint64 // rounds in which none was
	Local    uint64 // rounds that this machine could not carry out
	Late     uint64 // rounds that began more than an interval too late, for want of workers
	Gateways int    // that are probed
}

// gateway is one target.
type gateway struct {
	cluster   registry.ClusterID
	line      *line
	name      string
	addresses []netip.Addr // sorted, at least one
	plan      plan

	due   time.Time
	place int  // in the schedule
	gone  bool // it is no target any more

	round     uint64    // of which results are wanted
	began     time.Time // the round
	ended     time.Time // the last one; zero: none has
	preferred int       // the address that was reached last
	pending   int       // addresses whose results are missing in this round
	lacking   bool      // in this round something was missing on this machine
	noWay     error     // in this round this machine had no way to some address; nil: it had to all
	noWays    int       // rounds in a row in which it had none to any
	fault     string    // of the first address that was not reached in this round

	judge     judge
	latencies ring
	failure   string // in the last round; "" when all went well
}

// job is one attempt.
type job struct {
	gateway *gateway
	round   uint64
	address int
}

// Prober probes gateways. Make it with [New] and let one goroutine call Run; all other
// methods may be called by any number of goroutines, before, while and after it runs.
type Prober struct {
	config  Config
	attempt func(ctx context.Context, address netip.Addr, p plan) (time.Duration, error)
	random  func() float64

	wake chan struct{} // capacity 1: there may be something to do earlier than thought
	news chan struct{} // capacity 1: turned is not empty

	mu       sync.Mutex // guards the fields below
	clusters map[registry.ClusterID]map[string]*gateway
	share    share
	counts   Counts
	lacking  bool
	turned   map[registry.ClusterID]struct{} // since they were taken last
	said     map[string]struct{}
}

// New returns a Prober without targets.
func New(c Config) *Prober {
	c = c.withDefaults()
	return &Prober{
		config: c, attempt: attempt, random: rand.Float64, share: newShare(c.Concurrency),
		wake: make(chan struct{}, 1), news: make(chan struct{}, 1),
		clusters: map[registry.ClusterID]map[string]*gateway{}, turned: map[registry.ClusterID]struct{}{}, said: map[string]struct{}{},
	}
}

// Run probes until ctx ends; it then returns nil, when all attempts have ended.
func (p *Prober) Run(ctx context.Context) error {
	jobs := make(chan job)
	var wg sync.WaitGroup
	for range p.config.Concurrency {
		wg.Go(func() {
			for j := range jobs {
				p.work(ctx, j)
			}
		})
	}
	p.plan(ctx, jobs)
	close(jobs)
	wg.Wait()
	return nil
}

// plan hands out what is due.
func (p *Prober) plan(ctx context.Context, jobs chan<- job) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		j, wait, ok := p.next(time.Now())
		if ok {
			select {
			case jobs <- j:
				continue
			case <-ctx.Done():
				return
			}
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-p.wake:
		case <-ctx.Done():
			return
		}
	}
}

// next takes the next attempt; ok is false when there is none for a while.
func (p *Prober) next(now time.Time) (j job, wait time.Duration, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		l, wait := p.share.next(now)
		if l == nil {
			return job{}, wait, false
		}
		if j, ok = p.pick(l, now); ok {
			p.share.begun(l)
		}
		p.share.moved(l, now)
		if ok {
			return j, 0, true
		}
		p.share.leave(l) // what it had may have been all
	}
}

// pick takes a line's next attempt; ok is false when what it had is of no use any more.
// Rounds that have begun come first, so that they end. p.mu is held.
func (p *Prober) pick(l *line, now time.Time) (j job, ok bool) {
	for len(l.ready) > 0 {
		j, l.ready = l.ready[0], l.ready[1:]
		if j.gateway.round == j.round && !j.gateway.gone {
			return j, true
		}
	}
	g, _ := l.queue.pop(now)
	if g == nil {
		return job{}, false
	}
	p.noteLag(l, now.Sub(g.due))
	g.round++
	g.began, g.pending, g.lacking, g.noWay, g.fault = now, 1, false, nil, ""
	return job{gateway: g, round: g.round, address: g.preferred}, true
}

// noteLag tells when the workers are too few for some cluster, and when they no longer
// are. p.mu is held.
func (p *Prober) noteLag(l *line, lag time.Duration) {
	switch {
	case lag > p.config.Interval:
		p.counts.Late++
		if p.share.setLate(l, true) {
			p.config.Logger.Warn("gateways are probed less often than configured: there are too many for so many probes at a time, or too many that do not answer; raise probes.concurrency or probes.interval",
				"cluster", string(l.cluster), "gateways", p.counts.Gateways, "concurrency", p.config.Concurrency, "interval", p.config.Interval)
		}
	case lag < p.config.Interval/10 && p.share.setLate(l, false):
		p.config.Logger.Info("gateways are probed as often as configured")
	}
}

// work makes one attempt.
func (p *Prober) work(ctx context.Context, j job) {
	g := j.gateway // its addresses and its plan never change
	bounded, stop := context.WithTimeout(ctx, p.config.Timeout)
	defer stop()
	path, err := p.attempt(bounded, g.addresses[j.address], g.plan)
	if ctx.Err() != nil {
		return // it says nothing of the gateway
	}
	now := time.Now()
	p.take(j, path, err, now)
	p.release(j, now)
}

// release gives back what an attempt held.
func (p *Prober) release(j job, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.share.ended(j.gateway.line, now)
	signal(p.wake)
}

// take judges the result of one attempt.
func (p *Prober) take(j job, path time.Duration, err error, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	g := j.gateway
	if g.gone || g.round != j.round {
		return
	}
	if err == nil {
		g.preferred = j.address
		g.latencies.add(path)
		p.end(g, true, now)
		return
	}
	switch {
	case errors.Is(err, errNoWay):
		g.noWay = err
	case isLocal(err):
		g.lacking = true
		p.sayLack(err)
	case g.fault == "":
		g.fault = explain(err, netip.AddrPortFrom(g.addresses[j.address], g.plan.port), p.config.Timeout)
	}
	g.pending--
	if j.address == g.preferred && len(g.addresses) > 1 { // the others have not been tried
		for n := range g.addresses {
			if n != g.preferred {
				g.line.ready = append(g.line.ready, job{gateway: g, round: g.round, address: n})
				g.pending++
			}
		}
		p.share.moved(g.line, now)
	}
	if g.pending == 0 {
		p.end(g, false, now)
	}
}

// end ends a round. p.mu is held.
func (p *Prober) end(g *gateway, good bool, now time.Time) {
	if g.judge.standing == reached && p.starved(g, now) {
		g.judge = judge{} // nobody knows since when that did not hold
	}
	g.ended = now
	g.round++ // what is still on its way comes too late
	g.line.queue.push(g, next(g.began, now, p.config.Interval, p.random()))
	p.share.moved(g.line, now)
	noWays := g.noWays
	g.noWays = 0
	switch {
	case good:
		p.counts.Reached++
		p.lacking = false
	case g.lacking:
		p.counts.Local++
		return // nothing is known
	case g.noWay != nil && g.fault == "": // what could be tried tells, if anything could
		p.counts.Local++
		p.pass(g, noWays+1)
		return
	default:
		p.counts.Failed++
	}
	g.failure = g.fault
	if g.judge.take(good, p.config.Rise, p.config.Fall, now) {
		p.turn(g.cluster)
	}
}

// pass ends a round in which this machine had no way to a gateway, the last of so many in a
// row. Unlike what it lacks for a moment that may last: that it was reached is known no more
// then. That it had failed stands, for nothing speaks against it. p.mu is held.
func (p *Prober) pass(g *gateway, rounds int) {
	g.noWays = rounds
	if rounds == p.config.Fall && p.once("no way to gateways of "+string(g.cluster)) {
		p.config.Logger.Warn("gateways can't be probed from this machine, which has no way there and so no vote on them", "cluster", string(g.cluster), "gateway", g.name, "err", g.noWay)
	}
	if rounds >= p.config.Fall && g.judge.standing == reached {
		g.judge, g.failure = judge{}, ""
		p.turn(g.cluster)
	}
}

// starvedAfter is after how many intervals without the end of a round a verdict no longer
// speaks of now.
const starvedAfter = 5

// starved reports whether a gateway's probes have not had their turn for so long. What was
// tried in vain for something that this machine lacks was a turn. p.mu is held.
func (p *Prober) starved(g *gateway, now time.Time) bool {
	return !g.ended.IsZero() && now.Sub(g.ended) > starvedAfter*p.config.Interval+2*p.config.Timeout
}

// turn remembers that there is news of a cluster. p.mu is held.
func (p *Prober) turn(cluster registry.ClusterID) {
	p.turned[cluster] = struct{}{}
	signal(p.news)
}

// sayLack says once that this machine can't probe. p.mu is held.
func (p *Prober) sayLack(err error) {
	if !p.lacking {
		p.lacking = true
		p.config.Logger.Warn("gateways can't be probed for want of something on this machine; their verdicts stand", "err", err)
	}
}

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
