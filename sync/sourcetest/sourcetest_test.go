package sourcetest

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// memory is a registry in memory, its harness and its source; fault makes the
// source break its contract in one way.
type memory struct {
	fault string

	mu       sync.Mutex // guards the fields below
	services map[registry.ServiceKey]registry.Service
	down     bool
	version  int
	news     chan struct{}
	stray    chan struct{}
}

func newMemory(fault string) *memory {
	return &memory{fault: fault, services: make(map[registry.ServiceKey]registry.Service), news: make(chan struct{}), stray: make(chan struct{})}
}

func (m *memory) change(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
	m.version++
	close(m.news)
	m.news = make(chan struct{})
}

func (m *memory) Source(*testing.T) Source { return m }

func (m *memory) Put(_ *testing.T, s registry.Service) registry.Service {
	clean, _, _ := registry.CleanService(s.Key.Namespace, s.Key.Name, s.Instances)
	m.change(func() { m.services[s.Key] = clean })
	return clean
}

func (m *memory) Remove(_ *testing.T, k registry.ServiceKey) {
	m.change(func() { delete(m.services, k) })
}

func (m *memory) Outage(*testing.T) func() {
	m.change(func() { m.down = true })
	return func() { m.change(func() { m.down = false }) }
}

func (m *memory) Hostile(t *testing.T) []registry.Service {
	if m.fault == "hostile ends the watch" {
		m.change(func() { m.services[registry.ServiceKey{}] = registry.Service{} })
	}
	good := registry.Instance{ID: "good", Address: "192.0.2.1", Weight: 1, Health: registry.Passing}
	return []registry.Service{m.Put(t, registry.Service{
		Key: m.Key("mixed"), Instances: []registry.Instance{good, {ID: "bad", Address: "no address"}},
	})}
}

func (*memory) Key(name string) registry.ServiceKey {
	return registry.ServiceKey{Namespace: registry.DefaultNamespace, Name: name}
}
func (*memory) Supports(registry.Health) bool            { return true }
func (*memory) Patience() (change, outage time.Duration) { return time.Second, time.Second }

var errDown = errors.New("the registry is down")

func (m *memory) read() (registry.Snapshot, int, <-chan struct{}, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down {
		return registry.Snapshot{}, m.version, m.news, errDown
	}
	var all []registry.Service
	for k, s := range m.services {
		if k == (registry.ServiceKey{}) {
			return registry.Snapshot{}, m.version, m.news, errors.New("hostile content")
		}
		all = append(all, s)
	}
	return registry.NewSnapshot("", all...), m.version, m.news, nil
}

func (m *memory) Read(context.Context) (registry.Snapshot, error) {
	s, _, _, err := m.read()
	if m.fault == "read gives nothing in an outage" {
		err = nil
	}
	return s, err
}

func (m *memory) Watch(ctx context.Context, emit func(registry.Snapshot)) error {
	if m.fault == "goroutine stays" {
		go func() { <-m.stray }()
	}
	for n := 0; ; n++ {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		s, _, news, err := m.read()
		switch {
		case err != nil && m.fault == "outage is emptiness":
			emit(registry.Snapshot{})
			return err
		case err != nil && m.fault == "outage is silence":
			<-ctx.Done()
			return context.Cause(ctx)
		case err != nil:
			return err
		case n == 0 && m.fault == "first snapshot is a part":
			emit(registry.Snapshot{})
		}
		emit(s)
		if m.fault == "misses quick changes" {
			select { // deaf for a while; then waits for the next change
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
			}
			m.mu.Lock()
			news = m.news
			m.mu.Unlock()
		}
		select {
		case <-news:
		case <-ctx.Done():
			if m.fault == "cancel gives another error" {
				return errDown
			}
		}
	}
}

func TestRun(t *testing.T) {
	if fault := os.Getenv("SOURCETEST_FAULT"); fault != "" {
		t.Log("fault:", fault)
		Run(t, newMemory(fault))
		return
	}
	Run(t, newMemory(""))
}

// A Watch may be quicker than who waits for its first snapshot; the suite once waited for
// another one then, for ever.
func TestAFirstSnapshotIsNotAwaitedTwice(t *testing.T) {
	w := start(t, newMemory(""))
	for {
		if _, emitted, _ := w.latest(); emitted > 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if !w.begins(time.Millisecond) {
		t.Error("what was emitted already is waited for")
	}
}

// Every fault makes the case fail that is there for it. Each runs in a process
// of its own, because a subtest's failure is its parent's.
func TestRunCatches(t *testing.T) {
	faults := map[string]string{
		"outage is emptiness":             "OutageIsNotEmptiness",
		"outage is silence":               "OutageIsNotEmptiness",
		"read gives nothing in an outage": "OutageIsNotEmptiness",
		"first snapshot is a part":        "FirstSnapshotIsComplete",
		"misses quick changes":            "LastOfQuickChanges",
		"goroutine stays":                 "CancelIsPromptAndClean",
		"cancel gives another error":      "CancelIsPromptAndClean",
		"hostile ends the watch":          "HostileNeighbours",
	}
	for fault, name := range faults {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			command := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestRun$/^"+name+"$", "-test.v", "-test.timeout=2m")
			command.Env = append(os.Environ(), "SOURCETEST_FAULT="+fault)
			out, err := command.CombinedOutput()
			if err == nil || !strings.Contains(string(out), "--- FAIL: TestRun/"+name) {
				t.Errorf("%s passed a source whose %s:\n%s", name, fault, out)
			}
		})
	}
}
