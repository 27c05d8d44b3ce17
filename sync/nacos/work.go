package nacos

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// jobKind is what a worker does for one service.
type jobKind int

const (
	read        jobKind = iota // by HTTP
	subscribe                  // by gRPC
	unsubscribe                // by gRPC
)

type job struct {
	kind   jobKind
	sub    *subscription
	pushes uint64 // of the service, when the job was made
}

type result struct {
	job
	reading reading
	err     error
}

// listing is a poller's answer.
type listing struct {
	unit  *unit
	names map[string]struct{}
	err   error
}

// inbox holds the latest push of each service until the loop takes it. One
// goroutine takes, any may put.
type inbox struct {
	wake chan struct{} // capacity 1

	mu     sync.Mutex // guards pushes
	pushes map[pushKey]reading
}

type pushKey struct {
	place
	name string
}

func newInbox() *inbox {
	return &inbox{wake: make(chan struct{}, 1), pushes: make(map[pushKey]reading)}
}

func (i *inbox) put(k pushKey, r reading) {
	i.mu.Lock()
	i.pushes[k] = r
	i.mu.Unlock()
	select {
	case i.wake <- struct{}{}:
	default:
	}
}

func (i *inbox) take() map[pushKey]reading {
	i.mu.Lock()
	defer i.mu.Unlock()
	pushes := i.pushes
	i.pushes = make(map[pushKey]reading)
	return pushes
}

// receive puts pushes into the inbox until the connection breaks, which ends the
// watch. What is pushed of a place that was not asked for is dropped, so the
// inbox holds no more than what the server has us subscribed to.
func (w *watch) receive(ctx context.Context, namespace string, c *connection) {
	err := c.receive(func(p pushedService) {
		if at := (place{namespace, p.Group}); w.places[at] != nil {
			w.inbox.put(pushKey{at, p.Name}, p.Content)
		}
	})
	select {
	case w.broken <- err:
	case <-ctx.Done():
	}
}

// poll asks for a unit's list, once a second, until ctx ends.
func (w *watch) poll(ctx context.Context, u *unit) {
	ticker := time.NewTicker(w.timing.poll)
	defer ticker.Stop()
	for {
		names, err := w.list(ctx, u)
		select {
		case w.listings <- listing{unit: u, names: names, err: err}:
		case <-ctx.Done():
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// list asks for all names of a unit. That there is none is a lot to say: the open
// API must agree.
func (w *watch) list(ctx context.Context, u *unit) (map[string]struct{}, error) {
	list, err := w.connections[u.namespace].names(ctx, u)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		second, err := w.api.names(ctx, u)
		if err != nil && !errors.Is(err, errUnsupported) {
			return nil, fmt.Errorf("confirm that %s is empty: %w", u, err)
		}
		if len(second) > 0 {
			return nil, fmt.Errorf("%s is empty by gRPC and has %d services by HTTP", u, len(second))
		}
	}
	names := make(map[string]struct{}, len(list))
	for _, name := range list {
		names[name] = struct{}{}
	}
	return names, nil
}

// readable refuses names that can't be asked for: those the mesh does not allow,
// and those that Nacos itself would cut.
func readable(o origin) *registry.Refusal {
	if _, err := o.key(); err != nil {
		refusal := new(registry.Refusal)
		errors.As(err, &refusal)
		return refusal
	}
	if strings.Contains(o.name, "@@") {
		return &registry.Refusal{Reason: "name-characters", Detail: fmt.Sprintf("the service name %q has Nacos's own separator @@", clip(o.name))}
	}
	return nil
}

// work does jobs until ctx ends.
func (w *watch) work(ctx context.Context) {
	for {
		var j job
		select {
		case j = <-w.jobs:
		case <-ctx.Done():
			return
		}
		r := result{job: j}
		o := j.sub.origin
		switch j.kind {
		case read:
			r.reading, r.err = precise(ctx, w.api, w.connections[o.unit.namespace], o)
		case subscribe:
			r.reading, r.err = w.connections[o.unit.namespace].subscribe(ctx, o)
		case unsubscribe:
			r.err = w.connections[o.unit.namespace].unsubscribe(ctx, o)
		}
		select {
		case w.results <- r:
		case <-ctx.Done():
			return
		}
	}
}

// precise reads a service by HTTP, and once more by gRPC where the HTTP answer
// has instances but can't tell of the protect threshold.
func precise(ctx context.Context, api *openAPI, c *connection, o origin) (reading, error) {
	r, err := api.instances(ctx, o)
	if err == nil && r.vague && len(r.hosts) > 0 {
		return c.query(ctx, o)
	}
	return r, err
}

// read asks for a reading by HTTP, unless one is on its way.
func (w *watch) read(s *subscription) {
	if s.reading {
		return
	}
	s.reading = true
	w.later(s, time.Time{})
	w.queue = append(w.queue, job{kind: read, sub: s, pushes: s.pushes})
}

// later sets when tick takes the service up again; the zero time means never.
func (w *watch) later(s *subscription, at time.Time) {
	if s.retryAt = at; at.IsZero() {
		delete(w.waiting, s)
	} else {
		w.waiting[s] = struct{}{}
	}
}

// pace is the time between two ticks: so that every service is checked once in a
// round, at most a hundred a second, and nothing else waits long.
func (w *watch) pace() time.Duration {
	return min(max(w.timing.round/time.Duration(len(w.ring)+1), 10*time.Millisecond), 250*time.Millisecond)
}

// tick goes on with the rolling check by one service, takes up what waits, and
// looks whether the registry can still be trusted.
func (w *watch) tick() error {
	now := time.Now()
	if err := w.untrusted(now); err != nil {
		return err
	}
	for s := range w.waiting {
		if now.Before(s.retryAt) {
			continue
		}
		if s.phase == live {
			w.read(s)
		} else {
			w.later(s, time.Time{})
			w.queue = append(w.queue, job{kind: subscribe, sub: s})
		}
	}
	if len(w.ring) == 0 {
		return nil
	}
	if w.cursor++; w.cursor >= len(w.ring) {
		w.cursor = 0
	}
	s := w.ring[w.cursor]
	if w.subs[s.origin] != s { // gone: the last takes its place
		last := len(w.ring) - 1
		w.ring[w.cursor], w.ring[last] = w.ring[last], nil
		w.ring = w.ring[:last]
	} else if s.phase == live && now.Sub(s.checked) >= w.timing.round {
		w.read(s)
	}
	return nil
}

// finished takes over what a worker did.
func (w *watch) finished(r result) error {
	s := r.sub
	switch {
	case r.kind == unsubscribe: // an error does not matter: what is pushed is dropped
		delete(w.leaving, s.origin)
		return nil
	case r.kind == read:
		s.reading = false
	}
	switch {
	case w.subs[s.origin] != s:
		return nil
	case r.kind == subscribe:
		return w.subscribed(s, r)
	case r.err != nil:
		w.httpFails, w.httpError = since(w.httpFails), r.err
		return w.failed(s, r.err)
	}
	w.httpFails, w.httpError = time.Time{}, nil
	w.compare(s, r)
	return nil
}

// since returns t, or now when t is zero.
func since(t time.Time) time.Time {
	if t.IsZero() {
		return time.Now()
	}
	return t
}

// subscribed goes on after a subscription.
func (w *watch) subscribed(s *subscription, r result) error {
	if r.err != nil {
		return w.failed(s, r.err)
	}
	if s.phase == excluded {
		delete(w.refused, s.origin)
	}
	s.phase, s.failing, s.checked = live, time.Time{}, time.Now()
	if s.pushes == r.pushes { // any push is newer: the server reads before it subscribes
		w.told(s, r.reading)
	}
	return nil
}

// failed plans another attempt with a service, or ends the watch when there were
// attempts for too long: without the service the catalog would not be whole. A
// service which Nacos by its own rules does not tell of is left out; what is known
// of it stands.
func (w *watch) failed(s *subscription, err error) error {
	now := time.Now()
	if forbiddenName(err) {
		if _, told := w.refused[s.origin]; !told {
			w.refuse(s.origin, &registry.Refusal{Reason: "service-unreadable", Detail: clip(err.Error())})
		}
		s.phase = excluded
		w.settled(s)
		if s.absent >= 2 && w.catalog.current(s.origin) == nil {
			w.giveUp(s)
			return nil
		}
		w.later(s, now.Add(w.timing.round))
		return nil
	}
	s.failing = since(s.failing)
	if !s.known && now.Sub(s.failing) > w.timing.patience {
		return fmt.Errorf("%s can't be read: %w", s.origin, err)
	}
	w.later(s, now.Add(w.timing.retry))
	return nil
}

// forbiddenName reports whether Nacos refuses the name of a service as such.
func forbiddenName(err error) bool {
	status, answer := new(statusError), new(answerError)
	return errors.As(err, &status) && status.Status == http.StatusBadRequest || errors.As(err, &answer) && answer.Code == codeInvalid
}

// compare judges a reading by HTTP.
func (w *watch) compare(s *subscription, r result) {
	now := time.Now()
	s.failing, s.checked = time.Time{}, now
	is, current := s.origin.mapped(r.reading), w.catalog.current(s.origin)
	switch {
	case s.absent >= 2 && is.empty():
		w.giveUp(s)
	case s.pushes != r.pushes: // overtaken
		if s.emptied {
			w.read(s)
		}
	case s.emptied && is.empty(): // two witnesses
		w.apply(s, is)
	case current == nil && is.empty(), current != nil && is.service.Equal(*current):
		s.suspect, s.emptied = nil, false
		w.settled(s)
	case w.twice(s, is.service, now):
		w.repaired++
		w.source.logger.Warn("a change was not pushed: repaired by a reading", "service", s.origin.String(), "repaired", w.repaired)
		w.apply(s, is)
	case s.emptied: // the open API may be behind
		w.later(s, now.Add(w.timing.retry))
	default:
		w.later(s, now.Add(w.timing.again))
	}
}

// twice reports whether two readings some time apart say this of the service,
// with no push in between. One alone may be older or newer than the pushes: from
// another server of the cluster, or while a push is delayed.
func (w *watch) twice(s *subscription, is registry.Service, now time.Time) bool {
	if s.suspect == nil || !s.suspect.Equal(is) {
		s.suspect, s.suspects = &is, now
		return false
	}
	if now.Sub(s.suspects) < w.timing.again {
		return false
	}
	s.suspect = nil
	return true
}
