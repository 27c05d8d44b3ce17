package edge_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// catalogue is a local registry: what is true of it, and who watches.
type catalogue struct {
	mu       sync.Mutex
	truth    registry.Snapshot
	index    int
	watchers map[chan struct{}]struct{}
}

func newCatalogue(services ...registry.Service) *catalogue {
	c := &catalogue{watchers: map[chan struct{}]struct{}{}}
	c.put(services...)
	return c
}

// change replaces the truth and tells whoever watches.
func (c *catalogue) change(next func(s registry.Snapshot, index string) registry.Snapshot) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.index++
	c.truth = next(c.truth, fmt.Sprint(c.index))
	c.tell()
}

// tell wakes the watchers. The caller holds mu.
func (c *catalogue) tell() {
	for w := range c.watchers {
		select {
		case w <- struct{}{}:
		default:
		}
	}
}

func (c *catalogue) put(services ...registry.Service) {
	c.change(func(s registry.Snapshot, index string) registry.Snapshot { return s.With(index, services...) })
}

func (c *catalogue) remove(names ...string) {
	var keys []registry.ServiceKey
	for _, n := range names {
		keys = append(keys, key(n))
	}
	c.change(func(s registry.Snapshot, index string) registry.Snapshot { return s.Without(index, keys...) })
}

// replace makes the catalogue hold exactly these services.
func (c *catalogue) replace(services ...registry.Service) {
	c.change(func(_ registry.Snapshot, index string) registry.Snapshot {
		return registry.NewSnapshot(index, services...)
	})
}

func (c *catalogue) now() registry.Snapshot {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.truth
}

// source shows a catalogue to one agent: an edge.Source that misbehaves on demand.
type source struct {
	catalogue *catalogue

	mu        sync.Mutex
	watchErr  error              // ends the watch, and the next ones at once
	readErr   error              // fails every read
	deaf      bool               // the watch does not notice changes
	lie       *registry.Snapshot // what the watch says instead of the truth
	readLie   *registry.Snapshot // what a read says instead of the truth
	readTakes time.Duration      // how long a read takes; it says what was true when it began
	breaksOff bool               // every watch ends after its first snapshot
	watches   int
	reads     int
	again     chan struct{} // the watch is to look again
}

func newSource(c *catalogue) *source {
	return &source{catalogue: c, again: make(chan struct{}, 1)}
}

// set changes how the source behaves; a running watch takes it up at once.
func (s *source) set(change func(*source)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
	select {
	case s.again <- struct{}{}:
	default:
	}
}

func (s *source) counts() (watches, reads int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.watches, s.reads
}

func (s *source) Watch(ctx context.Context, emit func(registry.Snapshot)) error {
	changed := make(chan struct{}, 1)
	s.catalogue.mu.Lock()
	s.catalogue.watchers[changed] = struct{}{}
	s.catalogue.mu.Unlock()
	defer func() {
		s.catalogue.mu.Lock()
		delete(s.catalogue.watchers, changed)
		s.catalogue.mu.Unlock()
	}()
	s.mu.Lock()
	s.watches++
	s.mu.Unlock()
	for first := true; ; first = false {
		s.mu.Lock()
		err, deaf, lie := s.watchErr, s.deaf, s.lie
		if s.breaksOff && !first {
			err = errRegistry
		}
		breaksOff := s.breaksOff
		s.mu.Unlock()
		switch {
		case err != nil:
			return err
		case lie != nil:
			emit(*lie)
		case first || !deaf:
			emit(s.catalogue.now())
		}
		if breaksOff {
			continue
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-changed:
		case <-s.again:
		}
	}
}

func (s *source) Read(ctx context.Context) (registry.Snapshot, error) {
	s.mu.Lock()
	s.reads++
	takes, is := s.readTakes, s.catalogue.now()
	s.mu.Unlock()
	if takes > 0 {
		if err := sleep(ctx, takes); err != nil {
			return registry.Snapshot{}, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.readErr != nil {
		return registry.Snapshot{}, s.readErr
	}
	if s.readLie != nil {
		return *s.readLie, ctx.Err()
	}
	return is, ctx.Err()
}

var errRegistry = errors.New("registry: connection refused")

// key names a service of the tests.
func key(name string) registry.ServiceKey {
	return registry.ServiceKey{Namespace: registry.DefaultNamespace, Name: name}
}

// service is a service with so many passing instances.
func service(name string, instances int) registry.Service {
	s := registry.Service{Key: key(name)}
	for n := range instances {
		s.Instances = append(s.Instances, registry.Instance{
			ID: fmt.Sprintf("%s-%03d", name, n), Address: fmt.Sprintf("10.0.0.%d", n+1), Port: 8080, Weight: 1, Health: registry.Passing,
		})
	}
	return s
}

// services are so many services, s0000 and on, with two instances each.
func services(count int) []registry.Service {
	all := make([]registry.Service, count)
	for n := range all {
		all[n] = service(fmt.Sprintf("s%04d", n), 2)
	}
	return all
}
