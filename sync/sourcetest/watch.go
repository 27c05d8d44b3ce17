package sourcetest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

var errCaseOver = errors.New("the case is over")

// watch runs one Watch and checks every snapshot that it emits.
type watch struct {
	cancel context.CancelCauseFunc
	done   chan struct{} // closed when Watch has returned; err is set
	err    error

	calls atomic.Int32 // of emit, at this moment

	mu       sync.Mutex // guards the fields below
	standing map[registry.ServiceKey]registry.Service
	last     registry.Snapshot
	emitted  int
	faults   []string
	news     chan struct{} // closed and replaced at every snapshot
}

// start watches until the case ends. Standing services must be in every snapshot.
func start(t *testing.T, source Source, standing ...registry.Service) *watch {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	w := &watch{
		cancel: cancel, done: make(chan struct{}), news: make(chan struct{}),
		standing: make(map[registry.ServiceKey]registry.Service),
	}
	for _, s := range standing {
		w.standing[s.Key] = s
	}
	go func() {
		defer close(w.done)
		w.err = source.Watch(ctx, w.emit)
	}()
	t.Cleanup(func() { w.stop(t) })
	return w
}

// stop ends the Watch, waits for it, and reports what its snapshots did wrong.
func (w *watch) stop(t *testing.T) {
	t.Helper()
	w.cancel(errCaseOver)
	select {
	case <-w.done:
	case <-time.After(5 * time.Second):
		t.Error("Watch did not return within 5 s of its context's end")
		<-w.done
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range w.faults {
		t.Error(f)
	}
	w.faults = nil
}

func (w *watch) emit(s registry.Snapshot) {
	if w.calls.Add(1) != 1 {
		w.mu.Lock()
		w.faultLocked("emit was called while it ran")
		w.mu.Unlock()
	}
	defer w.calls.Add(-1)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.emitted++
	for key, want := range w.standing {
		if got := s.Service(key); got == nil || !got.Equal(want) {
			w.faultLocked("snapshot %d: service %s is %s, although it stands unchanged as %s", w.emitted, key, show(got), show(&want))
		}
	}
	for service := range s.Services() {
		clean, refused, ok := registry.CleanService(service.Key.Namespace, service.Key.Name, service.Instances)
		if !ok || len(refused) > 0 || !clean.Equal(*service) {
			w.faultLocked("snapshot %d: service %s did not pass the door: %v", w.emitted, service.Key, refused)
		}
	}
	w.last = s
	close(w.news)
	w.news = make(chan struct{})
}

func (w *watch) faultLocked(format string, args ...any) {
	if len(w.faults) < 10 {
		w.faults = append(w.faults, fmt.Sprintf(format, args...))
	}
}

// latest returns the last snapshot, the number of snapshots, and a channel that
// is closed at the next one.
func (w *watch) latest() (registry.Snapshot, int, <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last, w.emitted, w.news
}

// begins waits for the first snapshot or the end of the Watch, no longer than limit, and
// reports whether there was a snapshot.
func (w *watch) begins(limit time.Duration) bool {
	_, emitted, news := w.latest()
	if emitted > 0 {
		return true // it came before it was asked for
	}
	select {
	case <-news:
	case <-w.done:
	case <-time.After(limit):
	}
	_, emitted, _ = w.latest()
	return emitted > 0
}

// first waits for the first snapshot and returns it.
func (w *watch) first(t *testing.T, limit time.Duration) registry.Snapshot {
	t.Helper()
	return w.until(t, limit, "the first snapshot", func(registry.Snapshot) string { return "" })
}

// until waits until wrong says "" of the last snapshot.
func (w *watch) until(t *testing.T, limit time.Duration, what string, wrong func(registry.Snapshot) string) registry.Snapshot {
	t.Helper()
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	for {
		last, emitted, news := w.latest()
		missing := "nothing was emitted"
		if emitted > 0 {
			if missing = wrong(last); missing == "" {
				return last
			}
		}
		select {
		case <-news:
		case <-w.done:
			if _, now, _ := w.latest(); now != emitted {
				continue
			}
			t.Fatalf("waiting for %s: Watch ended: %v; last: %s", what, w.err, missing)
		case <-deadline.C:
			t.Fatalf("waiting for %s: not within %v: %s (%d snapshots)", what, limit, missing, emitted)
		}
	}
}

// sees waits until the last snapshot has these services as given.
func (w *watch) sees(t *testing.T, limit time.Duration, services ...registry.Service) registry.Snapshot {
	t.Helper()
	return w.until(t, limit, "the registry's state", func(s registry.Snapshot) string { return differs(s, services) })
}

// seesGone waits until the last snapshot has no instance of these services.
func (w *watch) seesGone(t *testing.T, limit time.Duration, keys ...registry.ServiceKey) {
	t.Helper()
	w.until(t, limit, "services to leave", func(s registry.Snapshot) string { return stillThere(s, keys) })
}

func differs(s registry.Snapshot, services []registry.Service) string {
	wrong, first := 0, ""
	for _, want := range services {
		if got := s.Service(want.Key); got == nil || !got.Equal(want) {
			if wrong++; first == "" {
				first = fmt.Sprintf("%s is %s, want %s", want.Key, show(got), show(&want))
			}
		}
	}
	if wrong == 0 {
		return ""
	}
	return fmt.Sprintf("%d of %d services differ: %s", wrong, len(services), first)
}

func stillThere(s registry.Snapshot, keys []registry.ServiceKey) string {
	for _, k := range keys {
		if got := s.Service(k); got != nil && len(got.Instances) > 0 {
			return fmt.Sprintf("%s still has %s", k, show(got))
		}
	}
	return ""
}

func show(s *registry.Service) string {
	if s == nil {
		return "absent"
	}
	return fmt.Sprintf("%+v", s.Instances)
}

// unique returns a key that no earlier case or run has used.
func (s suite) unique(name string) registry.ServiceKey {
	return s.h.Key(name + "-" + strings.ToLower(rand.Text()[:8]))
}

// service returns a service of n instances which a registry can hold exactly,
// ids aside.
func service(key registry.ServiceKey, n int) registry.Service {
	s := registry.Service{Key: key}
	for i := range n {
		s.Instances = append(s.Instances, registry.Instance{
			ID: fmt.Sprintf("%s-%d", key.Name, i), Address: fmt.Sprintf("192.0.2.%d", i+1), Port: 8000 + i,
			Weight: 1, Health: registry.Passing, Version: "1.0.0", Meta: map[string]string{"team": "red"},
		})
	}
	return s
}

// with returns a copy of s whose first instance is changed.
func with(s registry.Service, change func(*registry.Instance)) registry.Service {
	s.Instances = append([]registry.Instance(nil), s.Instances...)
	change(&s.Instances[0])
	return s
}

// bystander registers a service that nobody touches.
func (s suite) bystander(t *testing.T) registry.Service {
	t.Helper()
	want := service(s.unique("bystander"), 2)
	t.Cleanup(func() { s.h.Remove(t, want.Key) })
	return s.h.Put(t, want)
}

// put registers want for the length of the case.
func (s suite) put(t *testing.T, want registry.Service) registry.Service {
	t.Helper()
	t.Cleanup(func() { s.h.Remove(t, want.Key) })
	return s.h.Put(t, want)
}
