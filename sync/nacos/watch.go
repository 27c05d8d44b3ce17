package nacos

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// watch is one run of [Source.Watch]. One goroutine, the loop, decides
// everything and owns every field but the inbox; the others only ask Nacos and
// hand it their answers.
//
//	pollers ──listing→ ┐
//	receivers ─inbox→  ├─ loop ─emit→
//	workers ──result→  ┘   └─job→ workers
type watch struct {
	source      *Source
	api         *openAPI
	connections map[string]*connection // by namespace id
	emit        func(registry.Snapshot)
	catalog     *catalog
	timing      timing

	inbox    *inbox
	listings chan listing
	jobs     chan job
	results  chan result
	broken   chan error

	units   map[*unit]*unitState
	places  map[place]*unit
	subs    map[origin]*subscription
	leaving map[origin]struct{} // being unsubscribed; not to be subscribed meanwhile
	refused map[origin]struct{} // names left out and reported, while they are listed
	queue   []job
	ring    []*subscription // the order of the rolling check
	cursor  int
	waiting map[*subscription]struct{} // those with a retryAt
	unknown int                        // subscriptions that the catalog knows nothing of yet

	started   time.Time
	complete  time.Time // since when the catalog is whole; zero before
	emitted   bool
	missing   int       // instances that the first snapshot waits for
	httpFails time.Time // since when no reading works; zero when they do
	httpError error
	repaired  uint64
}

// place is what a push says of where its service is, with the connection's
// namespace.
type place struct{ namespace, group string }

// unitState is what the loop knows of one unit.
type unitState struct {
	listed bool      // at least once
	good   time.Time // of the last list; of the start before the first
	err    error     // of the last list
}

// phase is how far a service is.
type phase int

const (
	asking   phase = iota // for a subscription
	live                  // pushes come
	excluded              // Nacos does not tell of it
)

// subscription is one listed service during one Watch. It belongs to the loop.
type subscription struct {
	origin   origin
	phase    phase
	known    bool   // the catalog says of it what Nacos says
	pushes   uint64 // counted
	reading  bool   // a reading by HTTP is on its way
	emptied  bool   // the last push had no instance, and that is not confirmed
	absent   int    // successive lists without it
	shielded bool   // the protect threshold was reached
	failing  time.Time
	retryAt  time.Time // zero: nothing to do again
	checked  time.Time // when it was last read by HTTP
	suspect  *registry.Service
	suspects time.Time // since when
}

func newWatch(s *Source, api *openAPI, connections map[string]*connection, emit func(registry.Snapshot)) *watch {
	w := &watch{
		source: s, api: api, connections: connections, emit: emit, catalog: newCatalog(s.refused), timing: s.timing,
		inbox: newInbox(), listings: make(chan listing), jobs: make(chan job), results: make(chan result), broken: make(chan error),
		units: make(map[*unit]*unitState), places: make(map[place]*unit), subs: make(map[origin]*subscription),
		leaving: make(map[origin]struct{}), refused: make(map[origin]struct{}), waiting: make(map[*subscription]struct{}),
		started: time.Now(),
	}
	for _, u := range s.units {
		w.units[u] = &unitState{good: w.started}
		w.places[place{u.namespace, u.group}] = u
	}
	return w
}

// run watches until ctx ends or the registry can't be trusted. It closes the
// connections, and returns when all that it started has ended.
func (w *watch) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer func() {
		cancel()
		for _, c := range w.connections {
			c.close()
		}
	}()
	for namespace, c := range w.connections {
		wg.Go(func() { w.receive(ctx, namespace, c) })
	}
	for _, u := range w.source.units {
		wg.Go(func() { w.poll(ctx, u) })
	}
	for range workers {
		wg.Go(func() { w.work(ctx) })
	}
	err := w.loop(ctx)
	if ctx.Err() == nil && w.emitted {
		snapshot, _ := w.catalog.flush()
		w.source.remember(&snapshot)
	}
	return err
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
		case err = <-w.broken:
		case l := <-w.listings:
			w.listed(l)
		case <-w.inbox.wake:
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
		for _, state := range w.units {
			if !state.listed {
				return
			}
		}
		w.complete = time.Now()
		w.first(true)
		return
	}
	if !w.emitted {
		w.first(false)
		return
	}
	if snapshot, changed := w.catalog.flush(); changed {
		w.emit(snapshot)
	}
}

// first emits the first snapshot, if need be after a wait for what an outage has
// made the registry forget.
func (w *watch) first(fresh bool) {
	snapshot, changed := w.catalog.flush()
	if lost := w.source.recall(); lost != nil && time.Since(w.complete) < w.timing.settle {
		if fresh || changed {
			waited := w.missing > 0
			if w.missing = missing(*lost, snapshot); w.missing > 0 && !waited {
				w.source.logger.Warn("instances are missing after an outage: waiting whether they register again", "instances", w.missing, "at_most", w.timing.settle)
			}
		}
		if w.missing > 0 {
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
		}
		state.err = l.err
		return
	}
	if state.err != nil {
		w.source.logger.Info("lists of services work again", "unit", l.unit.String())
	}
	state.listed, state.good, state.err = true, time.Now(), nil
	for name := range l.names {
		o := origin{l.unit, name}
		if s := w.subs[o]; s != nil {
			s.absent = 0
		} else {
			w.appeared(o)
		}
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
	for o := range w.refused {
		if _, there := l.names[o.name]; !there && o.unit == l.unit {
			delete(w.refused, o)
		}
	}
}

// appeared begins with a service that is new in a list.
func (w *watch) appeared(o origin) {
	if _, busy := w.leaving[o]; busy {
		return
	}
	if _, told := w.refused[o]; told {
		return
	}
	if err := readable(o); err != nil {
		w.refuse(o, err)
		return
	}
	s := &subscription{origin: o}
	w.subs[o] = s
	w.ring = append(w.ring, s)
	w.unknown++
	w.queue = append(w.queue, job{kind: subscribe, sub: s})
}

// refuse reports a service that is left out, once while it is listed.
func (w *watch) refuse(o origin, refusal *registry.Refusal) {
	w.refused[o] = struct{}{}
	w.source.refused(&registry.Refusal{Reason: refusal.Reason, Detail: clip(o.unit.String()) + ": " + refusal.Detail})
}

// giveUp ends with a service that is neither listed nor has instances.
func (w *watch) giveUp(s *subscription) {
	w.settled(s)
	delete(w.subs, s.origin)
	w.later(s, time.Time{})
	w.catalog.forget(s.origin)
	if s.phase == live {
		w.leaving[s.origin] = struct{}{}
		w.queue = append(w.queue, job{kind: unsubscribe, sub: s})
	}
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
	for at, r := range w.inbox.take() {
		s := w.subs[origin{w.places[at.place], at.name}]
		if s == nil || s.phase == excluded {
			continue
		}
		s.pushes++
		w.told(s, r)
	}
}

// told takes over what Nacos says by gRPC. An empty list is pushed also when
// Nacos has only lost sight of the instances: the open API must agree.
func (w *watch) told(s *subscription, r reading) {
	s.suspect = nil
	is := s.origin.mapped(r)
	if s.emptied = is.empty(); !s.emptied {
		w.apply(s, is)
		return
	}
	if s.known && w.catalog.current(s.origin) == nil {
		s.emptied = false
		return
	}
	w.read(s)
}

// apply makes the catalog say this of the service.
func (w *watch) apply(s *subscription, is *said) {
	if is.protected != s.shielded {
		s.shielded = is.protected
		if is.protected {
			w.source.logger.Warn("Nacos hides health behind its protect threshold: unknown", "service", s.origin.String())
		} else {
			w.source.logger.Info("Nacos tells health again", "service", s.origin.String())
		}
	}
	s.emptied = false
	w.catalog.put(s.origin, is)
	w.settled(s)
}

// untrusted returns why the registry can't be read or trusted any more; nil while
// it can.
func (w *watch) untrusted(now time.Time) error {
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
