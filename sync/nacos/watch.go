package nacos

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nacos-group/nacos-sdk-go/v2/clients/naming_client"

	"github.com/seamark-mesh/seamark/registry"
)

// watch is one run of [Source.Watch]. One goroutine, the loop, decides
// everything and owns every field; pollers and workers only ask Nacos and hand
// their answers to it.
//
//	pollers ─listing→ ┐               ┌─job→ workers
//	SDK ─dirty→       ├─ loop ─emit→  │
//	workers ─result→  ┘               └─ (read, subscribe, unsubscribe)
type watch struct {
	source  *Source
	api     *openAPI
	session *session
	emit    func(registry.Snapshot)
	catalog *catalog
	timing  timing

	listings chan listing
	jobs     chan job
	results  chan result
	dirty    *dirtySet

	units   map[*unit]*unitState
	subs    map[origin]*subscription
	leaving map[origin]struct{} // being unsubscribed; not to be subscribed meanwhile
	queue   []job
	ring    []*subscription // the order of the rolling check
	cursor  int
	unknown int                        // subscriptions that the catalog knows nothing of yet
	waiting map[*subscription]struct{} // have a retryAt

	started    time.Time
	httpFails  time.Time // since when no reading works; zero when they do
	httpError  error
	complete   time.Time // since when the catalog is whole; zero before
	emitted    bool
	heldBack   bool
	repaired   uint64
	refusedFor map[origin]struct{} // names refused and reported
}

// unitState is what the loop knows of one unit.
type unitState struct {
	listed bool      // at least once
	good   time.Time // of the last list; of the start before the first
	err    error     // of the last list
}

// listing is a poller's answer.
type listing struct {
	unit  *unit
	names map[string]struct{}
	err   error
}

func newWatch(s *Source, api *openAPI, session *session, emit func(registry.Snapshot)) *watch {
	w := &watch{
		source: s, api: api, session: session, emit: emit, catalog: newCatalog(s.refused), timing: s.timing,
		listings: make(chan listing), jobs: make(chan job), results: make(chan result), dirty: newDirtySet(),
		units: make(map[*unit]*unitState), subs: make(map[origin]*subscription), leaving: make(map[origin]struct{}),
		waiting: make(map[*subscription]struct{}), refusedFor: make(map[origin]struct{}), started: time.Now(),
	}
	for _, u := range s.units {
		w.units[u] = &unitState{good: w.started}
	}
	return w
}

// run watches until ctx ends or the registry can't be trusted. It ends the
// session.
func (w *watch) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for _, u := range w.source.units {
		wg.Go(func() { w.poll(ctx, u) })
	}
	for range workers {
		wg.Go(func() { w.work(ctx) })
	}
	err := w.loop(ctx)
	if err != nil && ctx.Err() == nil && w.emitted {
		snapshot, _ := w.catalog.flush()
		w.source.remember(&snapshot)
	}
	cancel()
	w.await(&wg)
	return err
}

// await ends the session once the SDK's calls have returned. Those that hang on a
// dead server are ended by the session's end.
func (w *watch) await(wg *sync.WaitGroup) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		wg.Wait()
	}()
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
	}
	if err := w.session.close(); err != nil {
		w.source.logger.Warn("the Nacos session did not end cleanly", "err", err)
	}
	timer.Reset(2 * sdkTimeout)
	select {
	case <-ended:
	case <-timer.C:
		w.source.logger.Error("the Nacos SDK does not return from its calls: they are left behind")
	}
}

// loop decides.
func (w *watch) loop(ctx context.Context) error {
	pace := time.NewTimer(w.pace())
	defer pace.Stop()
	for {
		var next job
		var jobs chan<- job
		if len(w.queue) > 0 {
			next, jobs = w.queue[0], w.jobs
		}
		var err error
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case l := <-w.listings:
			w.listed(l)
		case <-w.dirty.wake:
			w.received()
		case r := <-w.results:
			err = w.finished(r)
		case jobs <- next:
			w.queue[0] = job{}
			w.queue = w.queue[1:]
		case <-pace.C:
			err = w.tick()
			pace.Reset(w.pace())
		}
		if err != nil {
			return err
		}
		w.publish()
	}
}

// publish emits what is new once everything is known.
func (w *watch) publish() {
	if w.complete.IsZero() {
		if w.unknown > 0 {
			return
		}
		for _, u := range w.units {
			if !u.listed {
				return
			}
		}
		w.complete = time.Now()
	}
	if !w.emitted {
		w.first()
		return
	}
	if snapshot, changed := w.catalog.flush(); changed {
		w.emit(snapshot)
	}
}

// first emits the first snapshot, if need be after a wait for what an outage of
// the registry has made it forget.
func (w *watch) first() {
	snapshot, _ := w.catalog.flush()
	lost := w.source.recall()
	if lost != nil && time.Since(w.complete) < w.timing.settle {
		if gone := missing(*lost, snapshot); gone > 0 {
			if !w.heldBack {
				w.heldBack = true
				w.source.logger.Warn("instances are missing after an outage: waiting whether they register again", "instances", gone, "at_most", w.timing.settle)
			}
			return
		}
	}
	w.emitted = true
	w.source.remember(nil)
	w.source.logger.Info("Nacos is read in full", "services", snapshot.Len(), "instances", snapshot.Instances(), "took", time.Since(w.started).Round(time.Millisecond))
	w.emit(snapshot)
}

// missing counts the instances of before that after lacks.
func missing(before, after registry.Snapshot) int {
	gone := 0
	for _, c := range registry.Diff(before, after) {
		if c.Old == nil {
			continue
		}
		there := make(map[string]struct{})
		if c.New != nil {
			for _, i := range c.New.Instances {
				there[i.ID] = struct{}{}
			}
		}
		for _, i := range c.Old.Instances {
			if _, ok := there[i.ID]; !ok {
				gone++
			}
		}
	}
	return gone
}

// listed takes over which services a unit has.
func (w *watch) listed(l listing) {
	state := w.units[l.unit]
	if l.err != nil {
		if state.err == nil {
			w.source.logger.Warn("a list of services failed", "unit", l.unit.String(), "err", l.err)
			w.hurry() // the connection may have been lost, and pushes with it
		}
		state.err = l.err
		return
	}
	if state.err != nil {
		w.source.logger.Info("lists of services work again", "unit", l.unit.String())
		w.hurry()
	}
	state.listed, state.good, state.err = true, time.Now(), nil
	for name := range l.names {
		o := origin{l.unit, name}
		if s := w.subs[o]; s != nil {
			s.absent = 0
			continue
		}
		w.appeared(o)
	}
	for o, s := range w.subs {
		if _, there := l.names[o.name]; there || o.unit != l.unit {
			continue
		}
		// Twice, because a list may be wrong; then the open API is asked, and
		// only when it has no instance either is the service given up.
		if s.absent++; s.absent >= 2 {
			w.read(s)
		}
	}
	for o := range w.refusedFor {
		if _, there := l.names[o.name]; !there && o.unit == l.unit {
			delete(w.refusedFor, o)
		}
	}
}

// appeared begins with a service that is new in a list: it is read by HTTP first,
// because the SDK must not meet what it can't decode.
func (w *watch) appeared(o origin) {
	if _, busy := w.leaving[o]; busy {
		return
	}
	if _, told := w.refusedFor[o]; told {
		return
	}
	if err := subscribable(o); err != nil {
		w.refuse(o, err)
		return
	}
	s := newSubscription(o, w.client(o), w.dirty)
	w.subs[o] = s
	w.ring = append(w.ring, s)
	w.unknown++
	w.read(s)
}

func (w *watch) client(o origin) naming_client.INamingClient {
	return w.session.clients[o.unit.namespace]
}

// refuse reports a name that is left out, once while it is listed.
func (w *watch) refuse(o origin, err error) {
	w.refusedFor[o] = struct{}{}
	refusal, ok := err.(*registry.Refusal)
	if !ok {
		refusal = &registry.Refusal{Reason: "service-unreadable", Detail: err.Error()}
	}
	w.source.refused(&registry.Refusal{Reason: refusal.Reason, Detail: clip(o.unit.String()) + ": " + clip(refusal.Detail)})
}

// gave up on a service: it is neither listed nor has it instances.
func (w *watch) gone(s *subscription) {
	w.settled(s)
	delete(w.subs, s.origin)
	delete(w.waiting, s)
	w.catalog.forget(s.origin)
	if s.phase == live || s.phase == subscribing {
		w.leave(s)
	}
}

// leave ends the subscription in a worker.
func (w *watch) leave(s *subscription) {
	w.leaving[s.origin] = struct{}{}
	w.queue = append(w.queue, job{kind: unsubscribe, sub: s})
}

// settled notes that the catalog now says of the service what Nacos says.
func (w *watch) settled(s *subscription) {
	if !s.known {
		s.known = true
		w.unknown--
	}
}

// received takes over the pushes.
func (w *watch) received() {
	for s := range w.dirty.take() {
		if w.subs[s.origin] != s || s.phase == byHTTP || s.phase == excluded {
			continue
		}
		r, _, _ := s.last()
		s.suspect = nil
		if mapped, _, _ := s.origin.mapped(r); len(mapped.Instances) == 0 {
			// Nacos pushes an empty list also when it has only lost sight: the
			// open API must agree.
			if s.known && w.catalog.current(s.origin) == nil {
				continue
			}
			s.emptied = true
			w.read(s)
			continue
		}
		s.emptied = false
		w.apply(s, r)
	}
}

// apply makes the catalog say what the reading says.
func (w *watch) apply(s *subscription, r reading) {
	if r.protected != s.shielded {
		s.shielded = r.protected
		if r.protected {
			w.source.logger.Warn("Nacos hides health behind the protect threshold: unknown", "service", s.origin.String())
		} else {
			w.source.logger.Info("Nacos tells health again", "service", s.origin.String())
		}
	}
	w.catalog.put(s.origin, r)
	w.settled(s)
}

// broken returns why the registry can't be read or trusted any more; nil while it
// can.
func (w *watch) broken(now time.Time) error {
	for u, state := range w.units {
		if now.Sub(state.good) > w.timing.patience {
			if state.err == nil {
				return fmt.Errorf("no list of %s came within %v", u, w.timing.patience)
			}
			return fmt.Errorf("no list of %s for %v: %w", u, w.timing.patience, state.err)
		}
	}
	if !w.httpFails.IsZero() && now.Sub(w.httpFails) > w.timing.patience {
		return fmt.Errorf("the open API can't be read for %v: %w", w.timing.patience, w.httpError)
	}
	return nil
}
