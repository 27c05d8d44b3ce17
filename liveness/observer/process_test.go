package observer_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/seamark-mesh/seamark/liveness/observer"
	"github.com/seamark-mesh/seamark/registry"
)

// process is one observer with its View.
type process struct {
	*observer.Observer
	world  *world
	name   string
	store  *registry.Store
	cancel context.CancelFunc
	ended  chan struct{}

	mu     sync.Mutex
	down   bool          // nothing passes between it and the stream
	frozen chan struct{} // what it sends waits until this is closed
	killed bool
	lags   bool // its View stays as it is
	noPut  bool // it may write no orders
	full   bool // the stream takes no events from it, the leases go on

	turned []string
	alarms []string
}

// start runs another observer.
func (w *world) start(name string, timing observer.Timing, settings observer.Settings) *process {
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{world: w, name: name, store: &registry.Store{}, cancel: cancel, ended: make(chan struct{})}
	logger := slog.New(slog.DiscardHandler)
	if os.Getenv("OBSERVER_TEST_LOG") != "" {
		logger = slog.New(slog.NewTextHandler(os.Stderr, nil)).With("observer", name)
	}
	o, err := observer.New(observer.Config{Agent: name, Logger: logger, Metrics: p, Timing: timing}, settings, p.store, p, p)
	if err != nil {
		panic(err)
	}
	p.Observer = o
	var wg sync.WaitGroup
	wg.Go(func() { p.follow(ctx) })
	wg.Go(func() { _ = o.Run(ctx) })
	go func() { wg.Wait(); close(p.ended) }()
	w.observers = append(w.observers, p)
	return p
}

func (w *world) observe(name string) *process {
	return w.start(name, observer.Timing{}, observer.DefaultSettings())
}

func (p *process) stop() { p.cancel(); <-p.ended }

// kill is SIGKILL: nothing that it still does has an effect.
func (p *process) kill() {
	p.mu.Lock()
	p.killed = true
	p.mu.Unlock()
	p.cancel()
}

func (p *process) setDown(down bool) {
	p.mu.Lock()
	p.down = down
	p.mu.Unlock()
	p.world.set((*world).tell)
}

func (p *process) setLags(lags bool) {
	p.mu.Lock()
	p.lags = lags
	p.mu.Unlock()
	p.world.set((*world).tell)
}

func (p *process) setFull(full bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.full = full
}

func (p *process) isFull() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.full
}

func (p *process) isDown() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.down || p.killed
}

// Turned and Alarmed implement observer.Metrics.
func (p *process) Turned(c registry.ClusterID, to registry.Liveness) {
	p.turned = append(p.turned, fmt.Sprint(c, " ", to))
}
func (p *process) Alarmed(kind string) { p.alarms = append(p.alarms, kind) }

// each calls f at every change of the world while nothing is cut off.
func (p *process) each(ctx context.Context, f func()) error {
	for {
		p.world.mu.Lock()
		changed := p.world.changed
		p.world.mu.Unlock()
		if !p.isDown() {
			f()
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// follow is the replica.
func (p *process) follow(ctx context.Context) {
	f, next, streams := registry.NewFold(), 0, 0
	_ = p.each(ctx, func() {
		p.mu.Lock()
		lags := p.lags
		p.mu.Unlock()
		if lags {
			return
		}
		p.world.mu.Lock()
		if streams != p.world.streams {
			streams, next = p.world.streams, 0
			f = registry.Inherit(f.View())
		}
		fresh := slices.Clone(p.world.messages[next:])
		p.world.mu.Unlock()
		for _, m := range fresh {
			f.Apply(m)
		}
		if len(fresh) > 0 {
			next += len(fresh)
			f.Synced()
			p.store.Publish(f.View())
		}
	})
}

// deliver calls f for what is newer than what it was called for before.
func deliver[K comparable, T any](p *process, ctx context.Context, of func() map[K]kept[T], f func(v T, stored, received time.Time)) error {
	next := uint64(0)
	return p.each(ctx, func() {
		p.world.mu.Lock()
		all := slices.SortedFunc(maps.Values(of()), func(a, b kept[T]) int { return int(a.sequence) - int(b.sequence) })
		p.world.mu.Unlock()
		for _, k := range all {
			if k.sequence > next {
				next = k.sequence
				f(k.value, k.stored, time.Now())
			}
		}
	})
}

func (p *process) WatchLeases(ctx context.Context, f func(l registry.Lease, stored, received time.Time)) error {
	return deliver(p, ctx, func() map[registry.Writer]kept[registry.Lease] { return p.world.leases }, f)
}

func (p *process) WatchProbes(ctx context.Context, f func(r registry.ProbeReport, stored, received time.Time)) error {
	return deliver(p, ctx, func() map[string]kept[registry.ProbeReport] { return p.world.probes }, f)
}

var (
	errNoAnswer = errors.New("no answer")
	errFull     = errors.New("no space left\non the disk of the “stream”")
)

// call lets one request through, or not.
func (p *process) call(ctx context.Context, effect func() error) error {
	p.mu.Lock()
	frozen, killed := p.frozen, p.killed
	p.mu.Unlock()
	if frozen != nil {
		<-frozen
	}
	if ctx.Err() != nil || killed {
		return errNoAnswer
	}
	if p.isDown() {
		sleep(ctx, 5*time.Second)
		return errNoAnswer
	}
	p.world.mu.Lock()
	defer p.world.mu.Unlock()
	return effect()
}

func (p *process) ReadLease(ctx context.Context) (at registry.LeaseAt, err error) {
	err = p.call(ctx, func() error {
		if k, found := p.world.leases[registry.Observer]; found {
			at = registry.LeaseAt{Lease: k.value, Sequence: k.sequence, Age: p.world.now().Sub(k.stored), Found: true}
		}
		return nil
	})
	return at, err
}

func (p *process) PutLease(ctx context.Context, l registry.Lease, expect uint64) (sequence uint64, err error) {
	if _, err := registry.EncodeLease(l); err != nil {
		return 0, err
	}
	err = p.call(ctx, func() error {
		w := p.world
		if k := w.leases[registry.Observer]; k.sequence != expect && w.holders[registry.Observer] != p.name {
			return registry.ErrConflict
		}
		w.sequence++
		sequence = w.sequence
		w.leases[registry.Observer] = kept[registry.Lease]{l, w.sequence, w.now()}
		w.holders[registry.Observer] = p.name
		w.tell()
		return nil
	})
	return sequence, err
}

func (p *process) Now(ctx context.Context) (now time.Time, err error) {
	err = p.call(ctx, func() error { now = p.world.now(); return nil })
	return now, err
}

func (p *process) Last(ctx context.Context, f registry.Fact) (m registry.Message, found bool, err error) {
	err = p.call(ctx, func() error { m, found = p.world.last(f); return nil })
	return m, found, err
}

func (p *process) PutEpoch(ctx context.Context, e *registry.Event, expect uint64) (sequence uint64, err error) {
	if p.isFull() {
		return 0, errFull
	}
	err = p.call(ctx, func() error {
		last, _ := p.world.last(e.Fact())
		switch {
		case p.world.ids[e.ID] != 0:
			sequence = p.world.ids[e.ID]
		case last.Sequence != expect:
			return registry.ErrConflict
		default:
			sequence = p.world.store(e)
		}
		return nil
	})
	return sequence, err
}

func (p *process) Publish(ctx context.Context, events []*registry.Event, fence uint64) ([]*registry.Event, error) {
	if p.isFull() {
		return nil, errFull
	}
	return nil, p.call(ctx, func() error {
		for _, e := range events {
			if last, _ := p.world.last(registry.Fact{Writer: e.Writer, Kind: registry.KindEpoch}); last.Sequence != fence {
				return registry.ErrFenced
			}
			if p.world.ids[e.ID] == 0 {
				p.world.store(e)
			}
		}
		return nil
	})
}

func (p *process) PutOrder(ctx context.Context, o registry.Order, by string, cause registry.Cause, expect uint64) (sequence uint64, err error) {
	p.mu.Lock()
	denied := p.noPut
	p.mu.Unlock()
	if denied {
		sleep(ctx, 5*time.Second)
		return 0, errNoAnswer
	}
	err = p.call(ctx, func() error {
		e := &registry.Event{
			Schema: registry.Schema, ID: fmt.Sprint("order-", p.world.sequence), Kind: registry.KindOrder, Writer: registry.Operator,
			Time: time.Now().UTC(), Agent: by, Cause: cause, Order: &o,
		}
		if last, _ := p.world.last(e.Fact()); last.Sequence != expect {
			return registry.ErrConflict
		}
		sequence = p.world.store(e)
		return nil
	})
	return sequence, err
}

func (p *process) LastOrder(ctx context.Context, kind, target string) (o registry.Order, m registry.Message, found bool, err error) {
	m, found, err = p.Last(ctx, registry.Fact{Writer: registry.Operator, Kind: registry.KindOrder, Name: kind + "." + target})
	if found {
		o = *m.Event.Order
	}
	return o, m, found, err
}

func (p *process) HistoryAge(ctx context.Context) (age time.Duration, err error) {
	err = p.call(ctx, func() error { age = p.world.age; return nil })
	return age, err
}
