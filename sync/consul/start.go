package consul

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/url"
	"slices"
	"time"

	"github.com/seamark-mesh/seamark/registry"
	"golang.org/x/sync/errgroup"
)

// crowded is the number of instances on one node above which hints lag under
// many definition changes, because each carries the whole node.
const crowded = 300

// start reads everything, chooses the mode, and starts the watches. Every watch
// goes on from an index that was read before the services were, so nothing falls
// in between.
func (w *session) start(ctx context.Context) error {
	s := w.source
	if err := w.client.testRights(ctx, s); err != nil {
		return err
	}
	marks, err := w.readHints(ctx)
	if err != nil {
		return err
	}
	pool := min(int(s.startPool()), poolPlain)
	if w.client.secure() {
		pool = int(s.startPool())
	}
	records, index, err := s.readCatalog(ctx, w.client, pool)
	if err != nil {
		return err
	}
	w.index = index
	for name, r := range records {
		e := &entry{name: name, record: r, place: -1}
		w.entries[name] = e
		w.where.move(e, record{}, r)
		s.remember(name, r)
	}
	s.forgetAllBut(records)
	w.snapshot = snapshotOf(records, index)
	s.mode.Store(w.mode)
	w.announce(len(records))
	w.startWatches(ctx, marks)
	w.emitted = time.Now()
	w.emit(w.snapshot)
	return nil
}

func (s *Source) forgetAllBut(records map[string]record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.known, func(name string, _ record) bool { _, there := records[name]; return !there })
}

// announce says what is watched and how.
func (w *session) announce(services int) {
	logger := w.source.config.Logger.With("mode", string(w.mode), "services", services, "nodes", len(w.nodes))
	if w.mode == ModeSweep && w.better.IsZero() {
		logger.Warn("watching consul in a degraded mode: changes of definitions are seen late; use https, or raise limits.http_max_conns_per_client and force the mode hints")
		return
	}
	logger.Info("watching consul")
}

// indexes is where the watches go on from.
type indexes struct{ nodes, names, critical, warning uint64 }

// readHints reads what hints are compared with, and chooses the mode.
func (w *session) readHints(ctx context.Context) (from indexes, err error) {
	s, limit := w.source, w.source.timing.request
	nodes, r, err := ask[[]wireNode](ctx, w.client, pathNodes, nil, limit)
	if err != nil {
		return from, err
	}
	from.nodes = r.index
	names, r, err := ask[wireNames](ctx, w.client, pathNames, nil, limit)
	if err != nil {
		return from, err
	}
	from.names = r.index
	services := len(s.admitted(names, func(*registry.Refusal) {}))
	if w.mode = w.chooseMode(len(nodes), services); w.mode == ModePerService {
		if !w.client.multiplexed() && !fitsPlain(services, 0) {
			return from, fmt.Errorf("the mode %s needs https for %d services", w.mode, services)
		}
		return from, nil
	}
	for path, index := range map[string]*uint64{pathCritical: &from.critical, pathWarning: &from.warning} {
		_, r, err := ask[ignored](ctx, w.client, path, nil, limit)
		if err != nil {
			return from, err
		}
		*index = r.index
	}
	most, err := w.readNodes(ctx, nodes)
	if err != nil {
		return from, err
	}
	if w.source.config.Mode == ModeAuto && w.client.multiplexed() && most > crowded {
		w.mode = ModePerService
		clear(w.nodes)
	}
	lingering, _ := s.stillLingering(time.Now())
	w.byNode = w.mode == ModeHints && most <= crowded && w.better.IsZero() &&
		(w.client.multiplexed() || fitsPlain(2*len(nodes), lingering))
	for _, n := range w.nodes {
		n.checks = from.critical // of all checks, whatever their status
	}
	return from, nil
}

// chooseMode follows what was measured: see the package's page.
func (w *session) chooseMode(nodes, services int) Mode {
	lingering, until := w.source.stillLingering(time.Now())
	few := services <= w.source.few
	switch {
	case w.source.config.Mode != ModeAuto:
		return w.source.config.Mode
	case w.client.multiplexed() && (few || services < nodes):
		return ModePerService
	case w.client.multiplexed():
		return ModeHints
	case few && fitsPlain(services, lingering):
		return ModePerService
	case fitsPlain(nodes, lingering):
		if few && fitsPlain(services, nodes+otherWatches) { // also beside what these hints will leave
			w.better = until
		}
		return ModeHints
	case fitsPlain(nodes, otherWatches) || few:
		w.better = until // when the connections of the watch before are free
	}
	return ModeSweep
}

// fewServices is up to how many services each has a watch of its own, which is
// quickest: its reply is the service itself. With more that costs Consul too much.
const fewServices = 100

// fitsPlain reports whether plain HTTP has a connection for so many watches of
// nodes or services and the others, besides those that still linger.
func fitsPlain(watches, lingering int) bool {
	return watches+otherWatches+lingering <= plainWatches
}

// otherWatches is how many there are besides those of nodes or services.
const otherWatches = 5

// mayNotFit reports whether what grows may need more connections than there are.
func (w *session) mayNotFit() bool {
	return !w.client.multiplexed() && w.source.config.Mode == ModeAuto
}

// hintWatches is how many watches the mode hints has for so many nodes.
func (w *session) hintWatches(nodes int) int {
	if w.byNode {
		return 2 * nodes
	}
	return nodes
}

// readNodes reads each node's index, and returns the most instances that one has.
func (w *session) readNodes(ctx context.Context, nodes []wireNode) (most int, err error) {
	counts := make([]int, len(nodes))
	replies := make([]reply, len(nodes))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(poolPlain)
	for n := range nodes {
		group.Go(func() error {
			if groupCtx.Err() != nil {
				return context.Cause(groupCtx)
			}
			list, r, err := ask[wireNodeServices](groupCtx, w.client, pathNode(nodes[n].Node), nil, w.source.timing.request)
			if unreadable(err) || errors.Is(err, errNoData) {
				return nil // its watch starts from nothing
			}
			counts[n], replies[n] = len(list.Services), r
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return 0, err
	}
	for n := range nodes {
		w.nodes[fold(nodes[n].Node)] = &node{wire: nodes[n], index: replies[n].index}
	}
	return slices.Max(append(counts, 0)), nil
}

// notFromMemory keeps the streaming backend away, which answers from memory.
func notFromMemory() url.Values { return url.Values{"near": {"_none"}} }

// startWatches starts the goroutines that give hints, and the pulse.
func (w *session) startWatches(ctx context.Context, from indexes) {
	s := w.source
	w.wg.Go(func() { w.fail(w.beat(ctx)) })
	// A query that is always waiting, because it concerns what hardly ever changes:
	// when the state is swapped it comes back, while the others may just be pausing,
	// and would then wait for an index of the past.
	watch(ctx, w, stream{path: pathService("consul"), query: notFromMemory()}, func(reply, []ignored) {})
	gap := s.timing.names
	if w.mode == ModeSweep || len(w.entries) <= s.few { // in a sweep the names are what tells of changed definitions
		gap = s.timing.sweep
	}
	watch(ctx, w, stream{path: pathNames, index: from.names, gap: gap}, w.onNames)
	if w.mode == ModePerService {
		for _, e := range w.entries {
			w.followService(ctx, e)
		}
		return
	}
	watch(ctx, w, stream{path: pathNodes, index: from.nodes}, func(_ reply, nodes []wireNode) { w.onNodes(ctx, nodes) })
	if !w.byNode {
		watch(ctx, w, stream{path: pathCritical, index: from.critical}, func(_ reply, c []wireCheck) { w.onState(pathCritical, c) })
		watch(ctx, w, stream{path: pathWarning, index: from.warning}, func(_ reply, c []wireCheck) { w.onState(pathWarning, c) })
	}
	if !w.better.IsZero() {
		w.wg.Go(func() {
			if pause(ctx, time.Until(w.better)) == nil {
				w.fail(&restartError{why: "there are connections for a better mode again"})
			}
		})
	}
	if w.mode == ModeSweep {
		w.wg.Go(func() { w.fail(w.sweepNodes(ctx)) })
		return
	}
	for _, n := range w.nodes {
		w.followNode(ctx, n)
	}
}

// beat asks for a sign of life, and for the token's rights, until one fails. It
// is what notices servers that are gone behind an agent that lives, and rights
// that were lost while no watch wakes. A read that found something hidden has the
// rights tested at once, but not more often than there are signs of life: a token
// may be denied a single service for good.
func (w *session) beat(ctx context.Context) error {
	t := w.source.timing
	rights := time.Now().Add(around(t.rights))
	var tested time.Time
	for {
		hidden := w.hidden
		if time.Since(tested) < t.pulse {
			hidden = nil
		}
		timer := time.NewTimer(around(t.pulse))
		select {
		case <-timer.C:
		case <-hidden:
			rights = time.Now()
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
		timer.Stop()
		if _, _, err := ask[[]ignored](ctx, w.client, pathService("consul"), notFromMemory(), t.pulse); err != nil {
			return err
		}
		if time.Now().Before(rights) {
			continue
		}
		if err := w.client.renewToken(); err != nil {
			return err
		}
		if err := w.client.testRights(ctx, w.source); err != nil {
			return err
		}
		tested = time.Now()
		rights = tested.Add(around(t.rights))
	}
}

// doubtRights has the token's rights tested soon. Any goroutine may call it.
func (w *session) doubtRights() {
	select {
	case w.hidden <- struct{}{}:
	default: // a test is due already
	}
}

// pause waits; it returns the context's cause if that ends first.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// around returns d, up to a quarter more or less.
func around(d time.Duration) time.Duration {
	return d - d/4 + rand.N(d/2+1)
}
