package consul

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

var errTestOver = errors.New("the test is over")

// watcher runs a Watch and keeps its last snapshot.
type watcher struct {
	cancel context.CancelCauseFunc
	done   chan struct{}
	err    error // once done is closed

	mu    sync.Mutex // guards the fields below
	last  registry.Snapshot
	count int
	news  chan struct{}
	check func(registry.Snapshot) string // run on every snapshot; "" is good
	fault string
}

func startWatcher(t testing.TB, s *Source, check func(registry.Snapshot) string) *watcher {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	w := &watcher{cancel: cancel, done: make(chan struct{}), news: make(chan struct{}), check: check}
	go func() {
		defer close(w.done)
		w.err = s.Watch(ctx, w.emit)
	}()
	t.Cleanup(func() { w.stop(t) })
	return w
}

func (w *watcher) stop(t testing.TB) {
	t.Helper()
	w.cancel(errTestOver)
	<-w.done
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fault != "" {
		t.Error(w.fault)
		w.fault = ""
	}
}

func (w *watcher) emit(s registry.Snapshot) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.check != nil && w.fault == "" {
		w.fault = w.check(s)
	}
	w.last = s
	w.count++
	close(w.news)
	w.news = make(chan struct{})
}

func (w *watcher) latest() (registry.Snapshot, int, <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last, w.count, w.news
}

// until waits for a snapshot that good accepts.
func (w *watcher) until(t testing.TB, what string, good func(registry.Snapshot) bool) registry.Snapshot {
	t.Helper()
	limit := time.NewTimer(30 * time.Second)
	defer limit.Stop()
	for {
		last, count, news := w.latest()
		if count > 0 && good(last) {
			return last
		}
		select {
		case <-news:
		case <-w.done:
			if last, count, _ := w.latest(); count > 0 && good(last) {
				return last
			}
			t.Fatalf("waiting for %s: Watch ended: %v", what, w.err)
		case <-limit.C:
			t.Fatalf("waiting for %s: not within 30 s; %d snapshots, the last of %d services", what, count, last.Len())
		}
	}
}

func (w *watcher) first(t testing.TB) registry.Snapshot {
	t.Helper()
	return w.until(t, "the first snapshot", func(registry.Snapshot) bool { return true })
}

// ends waits for the end of the Watch and returns its error.
func (w *watcher) ends(t testing.TB, limit time.Duration) error {
	t.Helper()
	select {
	case <-w.done:
		return w.err
	case <-time.After(limit):
		t.Fatalf("Watch did not end within %v", limit)
		return nil
	}
}

func key(name string) registry.ServiceKey {
	return registry.ServiceKey{Namespace: registry.DefaultNamespace, Name: name}
}

func instances(s registry.Snapshot, name string) []registry.Instance {
	if v := s.Service(key(name)); v != nil {
		return v.Instances
	}
	return nil
}

func has(name string, count int) func(registry.Snapshot) bool {
	return func(s registry.Snapshot) bool { return len(instances(s, name)) == count }
}

func healthOf(name string, want registry.Health) func(registry.Snapshot) bool {
	return func(s registry.Snapshot) bool {
		i := instances(s, name)
		return len(i) == 1 && i[0].Health == want
	}
}
