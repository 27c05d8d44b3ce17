package nacos

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"

	"github.com/nacos-group/nacos-sdk-go/v2/vo"

	"github.com/seamark-mesh/seamark/registry"
)

const (
	readers    = 16 // instance lists asked for at the same time by one Read
	readRounds = 5  // lists until two must agree
)

// Read reads the whole registry once more, without the Watch: the lists, every
// service's instances, and the lists again until nothing was added or taken away
// meanwhile. An error means that the snapshot says nothing. It asks the open API;
// where Nacos 3 does not tell something there, a client of the SDK that lives as
// long as the Read. It refuses what Watch refuses, silently.
func (s *Source) Read(ctx context.Context) (registry.Snapshot, error) {
	files, err := s.config.TLS.load()
	if err != nil {
		return registry.Snapshot{}, fmt.Errorf("nacos: read: %w", err)
	}
	r := &reader{source: s, files: files, api: newOpenAPI(s.config, files.secure()), readings: make(map[origin]reading)}
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
	files  *tlsFiles
	api    *openAPI

	mu       sync.Mutex // guards the fields below
	session  *session   // nil until it is needed
	readings map[origin]reading
}

func (r *reader) close() {
	r.api.close()
	if r.session != nil {
		if err := r.session.close(); err != nil {
			r.source.logger.Warn("the Nacos session of a reading did not end cleanly", "err", err)
		}
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
			names, err = r.listBySDK(ctx, u)
		}
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if o := (origin{u, name}); subscribable(o) == nil {
				all[o] = struct{}{}
			}
		}
	}
	return all, nil
}

func (r *reader) listBySDK(ctx context.Context, u *unit) ([]string, error) {
	session, err := r.open(ctx)
	if err != nil {
		return nil, err
	}
	names, err := session.names(u)
	if err != nil {
		return nil, err
	}
	var list []string
	for name := range names {
		list = append(list, name)
	}
	return list, nil
}

// open returns the SDK's session, made at the first call.
func (r *reader) open(ctx context.Context) (*session, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.session == nil {
		session, err := r.source.openSession(ctx, r.files)
		if err != nil {
			return nil, err
		}
		r.session = session
	}
	return r.session, nil
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
	status := new(statusError)
	if errors.As(err, &status) && status.Status == 400 {
		return nil // Nacos will not tell of this name
	}
	if err == nil && answer.vague && len(answer.hosts) > 0 && answer.decodable() && !r.source.avoided(o) {
		answer, err = r.precise(ctx, o)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", o, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.readings[o] = answer
	return nil
}

// precise asks the SDK, whose answer tells of the protect threshold.
func (r *reader) precise(ctx context.Context, o origin) (answer reading, err error) {
	session, err := r.open(ctx)
	if err != nil {
		return reading{}, err
	}
	err = guarded(func() error {
		service, err := session.clients[o.unit.namespace].GetService(vo.GetServiceParam{ServiceName: o.name, GroupName: o.unit.group})
		if err == nil && service.Name == "" {
			r.source.avoid(o)
			err = errRefused
		}
		answer = pushed(service)
		return err
	})
	return answer, err
}

func (r *reader) snapshot() registry.Snapshot {
	c := newCatalog(func(*registry.Refusal) {})
	for o, reading := range r.readings {
		c.put(o, reading)
	}
	snapshot, _ := c.flush()
	return snapshot
}
