package nacos

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// timing holds the periods of a Watch.
type timing struct {
	poll     time.Duration // between two lists of a unit
	patience time.Duration // how long lists, reads or a service's first reading may fail
	round    time.Duration // in which every service is checked once
	again    time.Duration // between two readings that must agree
	retry    time.Duration // after a failure with one service
	settle   time.Duration // how long the first snapshot after an outage may wait
}

func defaultTiming() timing {
	return timing{
		poll: time.Second, patience: 5 * time.Second, round: 10 * time.Second,
		again: 2 * time.Second, retry: 500 * time.Millisecond, settle: 10 * time.Second,
	}
}

const (
	workers  = 32     // readings and subscriptions at the same time
	listSize = 100000 // names in one list: one page, because pages of a changing list don't fit together
)

// Source is one Nacos cluster as a source of snapshots. One Watch runs at a
// time; Read may be called by any number of goroutines, also meanwhile.
type Source struct {
	config  Config
	units   []*unit
	logger  *slog.Logger
	refused func(*registry.Refusal)
	timing  timing

	mu sync.Mutex // guards lost
	// lost is the last snapshot of a Watch that ended by an error; nil when the
	// last one did not.
	lost *registry.Snapshot
}

// New checks the configuration and returns the source. It starts and opens
// nothing but the TLS files. The error lists all faults.
func New(c Config) (*Source, error) {
	if faults := c.Validate(); len(faults) > 0 {
		var all []error
		for _, f := range faults {
			all = append(all, fmt.Errorf("nacos: %s: %s", f.Field, f.Detail))
		}
		return nil, errors.Join(all...)
	}
	c.Servers = slices.Clone(c.Servers)
	s := &Source{config: c, logger: c.Logger, refused: c.Refused, timing: defaultTiming()}
	s.units, _ = c.units()
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	if s.refused == nil {
		s.refused = func(*registry.Refusal) {}
	}
	return s, nil
}

// Watch emits the whole catalog as soon as it has been read in full, and again
// after each change. It blocks until ctx ends, and then returns the context's
// cause, or until Nacos can't be read or trusted, and then returns an error. It
// emits no partial catalog and does not begin again by itself. It calls emit from
// one goroutine; emit must not block. After a Watch that ended by an error, the
// first snapshot of the next waits up to ten seconds for instances that are
// missing: a Nacos that was restarted learns of them again from their clients.
func (s *Source) Watch(ctx context.Context, emit func(registry.Snapshot)) (err error) {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	secure, err := s.config.TLS.load()
	if err != nil {
		return fmt.Errorf("nacos: %w", err)
	}
	api := newOpenAPI(s.config, secure)
	defer api.close()
	if err := s.reachable(ctx, api); err != nil {
		return s.ended(ctx, err)
	}
	connections, err := s.connectAll(ctx, api, secure)
	if err != nil {
		return s.ended(ctx, err)
	}
	w := newWatch(s, api, connections, emit)
	return s.ended(ctx, w.run(ctx))
}

// connectAll makes a connection for each namespace: a push does not say which
// namespace it is about.
func (s *Source) connectAll(ctx context.Context, api *openAPI, secure *tls.Config) (map[string]*connection, error) {
	connections := make(map[string]*connection)
	for _, u := range s.units {
		if connections[u.namespace] != nil {
			continue
		}
		c, err := s.connect(ctx, api, secure, u.namespace)
		if err != nil {
			for _, c := range connections {
				c.close()
			}
			return nil, err
		}
		connections[u.namespace] = c
	}
	return connections, nil
}

// ended is the one place where a Watch's error gets its form.
func (s *Source) ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("nacos: %w", err)
}

// reachable asks one question, so that a wrong address or password is told in
// plain words before anything else.
func (s *Source) reachable(ctx context.Context, api *openAPI) error {
	_, err := api.names(ctx, s.units[0])
	if errors.Is(err, errUnsupported) {
		_, err = api.instances(ctx, origin{s.units[0], "seamark-probe"})
	}
	return err
}

// recall returns what a Watch that failed had seen last; nil when none did.
func (s *Source) recall() *registry.Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lost
}

// remember keeps what a failed Watch had seen last; nil forgets.
func (s *Source) remember(snapshot *registry.Snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lost = snapshot
}
