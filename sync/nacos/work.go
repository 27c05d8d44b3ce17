package nacos

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nacos-group/nacos-sdk-go/v2/vo"

	"github.com/seamark-mesh/seamark/registry"
)

// jobKind is what a worker does for one service.
type jobKind int

const (
	read        jobKind = iota // by HTTP
	subscribe                  // by the SDK
	unsubscribe                // by the SDK
)

type job struct {
	kind jobKind
	sub  *subscription
}

type result struct {
	job
	reading reading // of a read
	pushes  uint64  // how many there were when the read began
	err     error
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

// list asks the SDK for all names of a unit. The SDK makes an empty list of an
// answer that says "no", so an empty list must be confirmed by the open API.
func (w *watch) list(ctx context.Context, u *unit) (map[string]struct{}, error) {
	names, err := w.session.names(u)
	if err != nil || len(names) > 0 {
		return names, err
	}
	switch second, err := w.api.names(ctx, u); {
	case errors.Is(err, errUnsupported):
		return names, nil
	case err != nil:
		return nil, fmt.Errorf("confirm that %s is empty: %w", u, err)
	case len(second) > 0:
		return nil, fmt.Errorf("%s is empty by gRPC and has %d services by HTTP", u, len(second))
	}
	return names, nil
}

// names asks for all names of a unit in one page.
func (s *session) names(u *unit) (names map[string]struct{}, err error) {
	err = guarded(func() error {
		list, err := s.clients[u.namespace].GetAllServicesInfo(vo.GetAllServiceInfoParam{
			NameSpace: u.namespace, GroupName: u.group, PageNo: 1, PageSize: listSize,
		})
		if err != nil {
			return fmt.Errorf("list %s: %w", u, err)
		}
		if list.Count != int64(len(list.Doms)) {
			return fmt.Errorf("list %s: %d names of %d", u, len(list.Doms), list.Count)
		}
		names = make(map[string]struct{}, len(list.Doms))
		for _, name := range list.Doms {
			names[name] = struct{}{}
		}
		return nil
	})
	return names, err
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
		switch j.kind {
		case read:
			_, r.pushes, _ = j.sub.last()
			r.reading, r.err = w.api.instances(ctx, j.sub.origin)
		case subscribe:
			r.err = j.sub.subscribe()
		case unsubscribe:
			j.sub.unsubscribe()
		}
		select {
		case w.results <- r:
		case <-ctx.Done():
			return
		}
	}
}

// read asks for a reading by HTTP, unless one is on its way.
func (w *watch) read(s *subscription) {
	if s.reading {
		return
	}
	s.reading = true
	w.later(s, time.Time{})
	w.queue = append(w.queue, job{kind: read, sub: s})
}

// later sets when tick reads the service again; the zero time means never.
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

// tick continues the rolling check by one service, repeats what failed, and looks
// whether the registry can still be trusted.
func (w *watch) tick() error {
	now := time.Now()
	if err := w.broken(now); err != nil {
		return err
	}
	for s := range w.waiting {
		if now.After(s.retryAt) {
			w.read(s)
		}
	}
	for range w.ring {
		if w.cursor++; w.cursor >= len(w.ring) {
			w.cursor = 0
		}
		s := w.ring[w.cursor]
		if w.subs[s.origin] != s { // gone: the last takes its place
			last := len(w.ring) - 1
			w.ring[w.cursor], w.ring[last] = w.ring[last], nil
			w.ring = w.ring[:last]
			break
		}
		if s.phase == live && !s.reading && now.Sub(s.checked) >= w.timing.round {
			w.read(s)
		}
		break
	}
	return nil
}

// hurry checks every service at once.
func (w *watch) hurry() {
	for _, s := range w.subs {
		if s.phase == live {
			w.read(s)
		}
	}
}

// finished takes over what a worker did.
func (w *watch) finished(r result) error {
	s := r.sub
	if r.kind == unsubscribe {
		delete(w.leaving, s.origin)
		if w.subs[s.origin] == s && s.phase == byHTTP {
			w.read(s)
		}
		return nil
	}
	if r.kind == read {
		s.reading = false
	}
	if w.subs[s.origin] != s {
		return nil
	}
	if r.kind == subscribe {
		return w.subscribed(s, r.err)
	}
	return w.readBy(s, r)
}

// subscribed goes on after a subscription.
func (w *watch) subscribed(s *subscription, err error) error {
	switch {
	case err == nil:
		s.phase, s.failing = live, time.Time{}
		if !s.known { // it was empty: the open API must agree
			w.read(s)
		}
		return nil
	case errors.Is(err, errRefused):
		w.source.avoid(s.origin)
		return fmt.Errorf("%w: it will be read by HTTP", err)
	}
	return w.failed(s, err)
}

// failed plans another attempt with a service, or ends the watch when there were
// attempts for too long: without the service the catalog would not be whole.
func (w *watch) failed(s *subscription, err error) error {
	now := time.Now()
	if s.failing.IsZero() {
		s.failing = now
	}
	if !s.known && now.Sub(s.failing) > w.timing.patience {
		return fmt.Errorf("%s can't be read: %w", s.origin, err)
	}
	if s.phase == subscribing {
		s.phase = checking
	}
	w.later(s, now.Add(w.timing.retry))
	return nil
}

// readBy judges a reading by HTTP.
func (w *watch) readBy(s *subscription, r result) error {
	if r.err != nil {
		return w.unread(s, r.err)
	}
	w.httpFails, w.httpError = time.Time{}, nil
	now := time.Now()
	s.failing, s.checked = time.Time{}, now
	mapped, _, _ := s.origin.mapped(r.reading)
	empty := len(mapped.Instances) == 0
	if s.absent >= 2 && empty {
		w.gone(s)
		return nil
	}
	switch s.phase {
	case checking:
		if !r.reading.decodable() || w.source.avoided(s.origin) {
			w.withoutSDK(s, r.reading)
			return nil
		}
		s.phase = subscribing
		w.queue = append(w.queue, job{kind: subscribe, sub: s})
	case live:
		w.check(s, r, mapped, now)
	case byHTTP, excluded:
		w.followed(s, r.reading, mapped, now)
	}
	return nil
}

// unread judges a reading that failed.
func (w *watch) unread(s *subscription, err error) error {
	status := new(statusError)
	if errors.As(err, &status) && status.Status == 400 {
		// Nacos will not tell of this name, to nobody. What is known of it stands.
		if _, told := w.refusedFor[s.origin]; !told {
			w.refuse(s.origin, err)
		}
		if s.phase == checking {
			s.phase = excluded
			w.settled(s)
		}
		if s.absent >= 2 && w.catalog.current(s.origin) == nil {
			w.gone(s)
			delete(w.refusedFor, s.origin)
			return nil
		}
		w.later(s, time.Now().Add(w.timing.round))
		return nil
	}
	if w.httpFails.IsZero() {
		w.httpFails = time.Now()
	}
	w.httpError = err
	return w.failed(s, err)
}

// withoutSDK begins to read a service by HTTP only.
func (w *watch) withoutSDK(s *subscription, r reading) {
	w.source.logger.Warn("the SDK can't follow a service: it is read by HTTP", "service", s.origin.String())
	s.phase, s.suspect, s.emptied = byHTTP, nil, false
	w.apply(s, r)
	w.later(s, time.Now().Add(w.timing.poll))
}

// followed goes on with a service that is read by HTTP only.
func (w *watch) followed(s *subscription, r reading, mapped registry.Service, now time.Time) {
	if s.phase == excluded {
		s.phase = byHTTP
		delete(w.refusedFor, s.origin)
	}
	if _, busy := w.leaving[s.origin]; !busy && r.decodable() && !w.source.avoided(s.origin) {
		delete(w.subs, s.origin) // begin anew; what the catalog says stands meanwhile
		delete(w.waiting, s)
		w.appeared(s.origin)
		w.settled(w.subs[s.origin])
		return
	}
	if len(mapped.Instances) > 0 || w.twice(s, mapped, now) {
		w.apply(s, r)
	}
	w.later(s, now.Add(w.timing.poll))
}

// check compares a service with what the SDK told.
func (w *watch) check(s *subscription, r result, mapped registry.Service, now time.Time) {
	if !r.reading.decodable() {
		w.withoutSDK(s, r.reading)
		w.leave(s)
		return
	}
	last, pushes, _ := s.last()
	if pushes != r.pushes { // overtaken by a push
		if s.emptied {
			w.read(s)
		}
		return
	}
	current := w.catalog.current(s.origin)
	empty := len(mapped.Instances) == 0
	switch {
	case s.emptied && empty: // two witnesses
		s.emptied = false
		w.apply(s, r.reading)
	case current == nil && empty, current != nil && r.reading.same(mapped, *current):
		s.suspect = nil
		w.settled(s)
	case w.twice(s, mapped, now):
		w.repaired++
		w.source.logger.Warn("the SDK has missed a change: repaired by a reading", "service", s.origin.String(), "repaired", w.repaired)
		s.emptied = false
		if r.reading.vague {
			r.reading.protected = last.protected
		}
		w.apply(s, r.reading)
	default:
		w.later(s, now.Add(w.timing.again))
	}
}

// twice reports whether two readings some time apart say this of the service,
// with no push in between. One alone may be older or newer than the pushes: from
// another server of the cluster, or while a push is delayed.
func (w *watch) twice(s *subscription, mapped registry.Service, now time.Time) bool {
	if s.suspect == nil || !s.suspect.Equal(mapped) {
		s.suspect, s.suspects = &mapped, now
		return false
	}
	if now.Sub(s.suspects) < w.timing.again {
		return false
	}
	s.suspect = nil
	return true
}

// same reports whether the reading, mapped, says what the catalog says. A vague
// reading is not asked about health.
func (r reading) same(mapped, current registry.Service) bool {
	if !r.vague || len(mapped.Instances) != len(current.Instances) {
		return mapped.Equal(current)
	}
	for n := range mapped.Instances {
		m := mapped.Instances[n]
		m.Health = current.Instances[n].Health
		if !m.Equal(current.Instances[n]) {
			return false
		}
	}
	return true
}
