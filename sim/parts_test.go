package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/seamark-mesh/seamark/liveness/observer"
	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/checkpoint"
	"github.com/seamark-mesh/seamark/registry/replica"
	"github.com/seamark-mesh/seamark/sync/edge"
)

// process is what can be started, stopped and killed.
type process struct {
	world  *world
	name   string
	starts int
	cancel context.CancelFunc // nil: it does not run
	ended  chan struct{}
	stops  bool
}

func (p *process) running() bool { return p.cancel != nil }

// begin runs f as the process's main function.
func (p *process) begin(f func(ctx context.Context)) {
	ctx, cancel := context.WithCancel(p.world.ctx)
	p.cancel, p.ended, p.stops = cancel, make(chan struct{}), false
	p.starts++
	ended := p.ended
	p.world.wg.Go(func() {
		defer close(ended)
		f(ctx)
	})
}

// over notes whether a process that was asked to stop has ended.
func (p *process) over() {
	if p.stops {
		select {
		case <-p.ended:
			p.cancel = nil
		default:
		}
	}
}

// logger writes what the process says, when that is wanted.
func (p *process) logger() *slog.Logger {
	if !p.world.loud {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("process", fmt.Sprint(p.name, ".", p.starts))
}

// agent is one edge-sync.
type agent struct {
	process
	site   *site
	source *source
	log    *writer
	real   *edge.Agent

	asked   int // operations that were served when its status was last looked at
	askedAt time.Time
	braked  bool // what it said
}

// start runs it. Its name tells whether it takes itself for the one before.
func (a *agent) start(name string) {
	w := a.world
	k := &link{world: w, name: a.name}
	a.source = &source{link: &link{world: w, name: a.name + "~"}, site: a.site}
	a.log = newWriter(k, registry.Writer(a.site.id), func(e *registry.Event) { w.check.made(a, e) })
	a.log.skew = w.skew()
	made, err := edge.New(edge.Config{
		Cluster: a.site.id, Agent: name, Version: "v0", Source: "sim", Logger: a.logger(), Timing: w.agentTiming, Brake: w.brake,
	}, edge.Settings{Region: "eu", Gateways: a.site.gateways}, a.source, a.log)
	if err != nil {
		panic(err)
	}
	a.real, a.site.disturbed = made, time.Now()
	a.begin(func(ctx context.Context) { _ = made.Run(ctx) })
}

// kill is SIGKILL: nothing that it still does has an effect.
func (a *agent) kill() {
	a.log.dead.Store(true)
	a.source.dead.Store(true)
	a.cancel()
	a.cancel = nil
	a.site.disturbed = time.Now() // if it led, nobody does until its lease has lapsed
}

// stop is SIGTERM.
func (p *process) stop() {
	p.stops = true
	p.cancel()
}

// reader is one global-dns: the replica, the observer, and its vantage point.
type reader struct {
	process
	store     *registry.Store
	tail      *tail
	log       *writer
	replica   *replica.Replica
	observer  *observer.Observer
	shown     *registry.View // the last that was checked
	serial    uint64         // the last that was shown as synced, before a restart too
	served    int            // of the link, at the last look
	facts     map[standing]registry.Digest
	live      map[uint64]uint64 // sums of what was shown, by sequence
	disturbed time.Time
	disk      disk

	mu      sync.Mutex // guards contact
	contact replica.Contact
}

func (r *reader) start() {
	w := r.world
	k := &link{world: w, name: r.name}
	r.store, r.shown, r.facts, r.served = &registry.Store{}, nil, nil, 0
	r.disturbed = time.Now()
	r.tail = &tail{link: k, role: "replica", tried: newPauses(), slow: func() int { return 1 + w.rng.IntN(w.pieces) }, repeats: func() int {
		if w.rng.IntN(20) == 0 {
			return w.rng.IntN(6)
		}
		return 0
	}}
	r.log = newWriter(k, registry.Observer, nil)
	r.replica = replica.New(r.store, r.tail, silent{}, r.logger())
	made, err := observer.New(observer.Config{
		Agent: fmt.Sprint(r.name, ".", r.starts), Logger: r.logger(), Metrics: silent{}, Timing: w.observerTiming,
	}, w.observing, r.store, r.log, &tail{link: k, role: "observer", tried: newPauses()})
	if err != nil {
		panic(err)
	}
	r.observer = made
	r.tail.atEnd = func() bool { return false }
	r.contact = replica.Contact{}
	r.replica.Use(replica.Options{Recovery: recovery{r.tail, r}, By: r.name})
	keep := func(context.Context) {}
	if w.folder != "" {
		file, err := r.disk.mount(filepath.Join(w.folder, fmt.Sprint(r.name, ".", r.starts)))
		if err != nil {
			panic(err)
		}
		found, fault, err := file.Read()
		switch {
		case err == nil:
			r.replica.Resume(found)
		case !errors.Is(err, checkpoint.ErrNone):
			w.check.fail(flow, "%s can't read its checkpoint: %v, %v", r.name, fault, err)
		}
		following := r.replica
		keep = func(ctx context.Context) {
			following.Keep(ctx, file, 45*time.Second, func(_ int64, _ time.Duration, err error) {
				if err != nil {
					w.check.fail(flow, "%s can't write its checkpoint: %v", r.name, err)
				}
			})
		}
	}
	vantage, follow := registry.VantagePrefix+r.name, r.replica
	r.begin(func(ctx context.Context) {
		var wg sync.WaitGroup
		wg.Go(func() { _ = follow.Run(ctx) })
		wg.Go(func() { _ = made.Run(ctx) })
		wg.Go(func() { w.probe(ctx, k, vantage) })
		wg.Go(func() { keep(ctx) })
		wg.Wait()
	})
}

func (r *reader) kill() {
	r.log.dead.Store(true)
	if r.world.folder != "" {
		r.disk.keep()
	}
	r.cancel()
	r.cancel = nil
}

// probe reports what a vantage point sees of all clusters, once in a while.
func (w *world) probe(ctx context.Context, k *link, vantage string) {
	ticker := time.NewTicker(10*time.Second + 7*time.Millisecond)
	defer ticker.Stop()
	t := &tail{link: k}
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for _, s := range w.sites {
			_ = t.report(ctx, s, vantage)
		}
	}
}

// silent is told what happens, and does not care.
type silent struct{}

func (silent) Took(registry.Writer, registry.Outcome)       {}
func (silent) Propagated(registry.ClusterID, time.Duration) {}
func (silent) Repaired(registry.ClusterID, string)          {}
func (silent) Turned(registry.ClusterID, registry.Liveness) {}
func (silent) Alarmed(string)                               {}
