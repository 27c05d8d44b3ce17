package nacos

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"sync"

	"github.com/seamark-mesh/seamark/registry"
)

const (
	readers    = 16 // instance lists asked for at the same time by one Read
	readRounds = 5  // lists until two must agree
)

// Read reads the whole registry once more, without the Watch: the lists, every
// service's instances, and the lists again until nothing was added or taken away
// meanwhile. An error means that the snapshot says nothing. It asks the open API,
// and a gRPC connection of its own for what Nacos 3 does not tell there. It
// refuses what Watch refuses, silently.
func (s *Source) Read(ctx context.Context) (registry.Snapshot, error) {
	secure, err := s.config.TLS.load()
	if err != nil {
		return registry.Snapshot{}, fmt.Errorf("nacos: read: %w", err)
	}
	r := &reader{
		source: s, secure: secure, api: newOpenAPI(s.config, secure),
		connections: make(map[string]*connection), readings: make(map[origin]reading),
	}
	defer r.close()
	snapshot, err := r.run(ctx)
	if ctx.Err() != nil {
		return registry.Snapshot{}, context.Cause(ctx)
	}
	if err != nil {
		return registry.Snapshot{}, fmt.Errorf("nacos: read: %w", err)
	}
	return snapshot, nil
}

// reader is one run of [Source.Read].
type reader struct {
	source *Source
	secure *tls.Config
	api    *openAPI

	mu          sync.Mutex             // guards the fields below
	connections map[string]*connection // by namespace id, made when one is needed
	readings    map[origin]reading
}

func (r *reader) close() {
	r.api.close()
	for _, c := range r.connections {
		c.close()
	}
}

func (r *reader) run(ctx context.Context) (registry.Snapshot, error) {
	var before map[origin]struct{}
	for range readRounds {
		now, err := r.list(ctx)
		if err != nil {
			return registry.Snapshot{}, err
		}
		if before != nil && maps.Equal(before, now) {
			return r.snapshot(), nil
		}
		// What is new is read, and what left the list is read again: a name may
		// miss in a list while its instances are there.
		var ask []origin
		for o := range now {
			if _, known := r.readings[o]; !known {
				ask = append(ask, o)
			}
		}
		for o := range before {
			if _, still := now[o]; !still {
				ask = append(ask, o)
			}
		}
		if err := r.readAll(ctx, ask); err != nil {
			return registry.Snapshot{}, err
		}
		before = now
	}
	return registry.Snapshot{}, fmt.Errorf("the lists of services were still changing after %d attempts", readRounds)
}

// list returns all services that can be read.
func (r *reader) list(ctx context.Context) (map[origin]struct{}, error) {
	all := make(map[origin]struct{})
	for _, u := range r.source.units {
		names, err := r.api.names(ctx, u)
		if errors.Is(err, errUnsupported) {
			var c *connection
			if c, err = r.connect(ctx, u.namespace); err == nil {
				names, err = c.names(ctx, u)
			}
		}
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if o := (origin{u, name}); readable(o) == nil {
				all[o] = struct{}{}
			}
		}
	}
	return all, nil
}

// connect returns the connection of a namespace, made at the first call.
func (r *reader) connect(ctx context.Context, namespace string) (*connection, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.connections[namespace]; c != nil {
		return c, nil
	}
	c, err := r.source.connect(ctx, r.api, r.secure, namespace)
	if err == nil {
		r.connections[namespace] = c
	}
	return c, err
}

// readAll reads services side by side, and ends with the first error.
func (r *reader) readAll(ctx context.Context, ask []origin) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan origin)
	var wg sync.WaitGroup
	for range min(readers, len(ask)) {
		wg.Go(func() {
			for o := range next {
				if err := r.readOne(ctx, o); err != nil {
					cancel(err)
				}
			}
		})
	}
	for _, o := range ask {
		if ctx.Err() != nil {
			break
		}
		next <- o
	}
	close(next)
	wg.Wait()
	return context.Cause(ctx)
}

func (r *reader) readOne(ctx context.Context, o origin) error {
	answer, err := r.api.instances(ctx, o)
	if err == nil && answer.vague && len(answer.hosts) > 0 {
		var c *connection
		if c, err = r.connect(ctx, o.unit.namespace); err == nil {
			answer, err = c.query(ctx, o)
		}
	}
	if forbiddenName(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", o, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.readings[o] = answer
	return nil
}

func (r *reader) snapshot() registry.Snapshot {
	c := newCatalog(func(*registry.Refusal) {})
	for o, reading := range r.readings {
		c.put(o, o.mapped(reading))
	}
	snapshot, _ := c.flush()
	return snapshot
}
