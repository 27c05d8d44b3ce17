package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
)

// eventWatch receives the events of one cluster as they are published, and notes
// when each change that is waited for has come.
type eventWatch struct {
	arrived chan struct{} // capacity 1

	mu   sync.Mutex // guards the fields below
	open map[string]awaited
}

// awaited is a change that is under way; one for each service at a time.
type awaited struct {
	sent  time.Time
	match func(*registry.ServiceState) bool
	into  *samples
}

func newEventWatch(conn *stream.Conn, cluster registry.ClusterID) (*eventWatch, *nats.Subscription, error) {
	w := &eventWatch{arrived: make(chan struct{}, 1), open: map[string]awaited{}}
	sub, err := conn.NATS().Subscribe("mesh.v1."+string(cluster)+".svc.>", w.take)
	if err != nil {
		return nil, nil, err
	}
	return w, sub, conn.NATS().Flush()
}

func (w *eventWatch) take(m *nats.Msg) {
	now := time.Now()
	at := strings.LastIndexByte(m.Subject, '.')
	w.mu.Lock()
	_, wanted := w.open[m.Subject[at+1:]]
	w.mu.Unlock()
	if !wanted {
		return
	}
	decoded := stream.Decode(m.Subject, m.Header, m.Data, 1, now)
	if decoded.Event == nil || decoded.Event.Service == nil {
		return
	}
	name := decoded.Event.Service.Name
	w.mu.Lock()
	defer w.mu.Unlock()
	a, wanted := w.open[name]
	if !wanted || !a.match(decoded.Event.Service) {
		return
	}
	delete(w.open, name)
	*a.into = append(*a.into, now.Sub(a.sent))
	select {
	case w.arrived <- struct{}{}:
	default:
	}
}

// published signals every event of one service as it is published, with the time
// at which it came.
func (s *site) published(ctx context.Context, cluster, service string) (<-chan time.Time, error) {
	conn, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	signal := make(chan time.Time, 1)
	// Unsubscribed when the connection is closed, at the end of the measurement.
	_, err = conn.NATS().Subscribe("mesh.v1."+cluster+".svc.*."+service, func(*nats.Msg) {
		select {
		case signal <- time.Now():
		default:
		}
	})
	if err != nil {
		return nil, err
	}
	return signal, conn.NATS().Flush()
}

// drain takes a signal that nobody waited for.
func drain(signal <-chan time.Time) {
	select {
	case <-signal:
	default:
	}
}

// wait waits until no change is under way, and returns how many still are after
// 20 s, which it gives up.
func (w *eventWatch) wait(ctx context.Context) (lost int, err error) {
	limit := time.NewTimer(mostWait)
	defer limit.Stop()
	for {
		w.mu.Lock()
		left := len(w.open)
		w.mu.Unlock()
		if left == 0 {
			return 0, nil
		}
		select {
		case <-w.arrived:
		case <-limit.C:
			w.mu.Lock()
			defer w.mu.Unlock()
			lost = len(w.open)
			clear(w.open)
			return lost, nil
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

// watchChanges changes services one at a time and then many a second: flips, and
// new versions.
func (s *site) watchChanges(ctx context.Context, c *catalog, cluster registry.ClusterID, pace watchPace, w *watched, count func(), used func() (agent, server usage)) error {
	conn, err := s.connect(ctx)
	if err != nil {
		return err
	}
	events, sub, err := newEventWatch(conn, cluster)
	if err != nil {
		return err
	}
	defer sub.Unsubscribe() //nolint:errcheck // only a closed connection refuses
	ch := &changer{catalog: c, events: events, most: downSingly}
	for kind := range 2 {
		for range pace.single {
			if !pause(ctx, pace.betweens) {
				return context.Cause(ctx)
			}
			if err := ch.prepare(kind, &w.singles[kind])(ctx); err != nil {
				return err
			}
			lost, err := events.wait(ctx)
			if err != nil {
				return err
			}
			w.lost += lost
		}
		count()
	}
	ch.most = downCrowded
	agentBefore, serverBefore := used()
	began := time.Now()
	for kind := range 2 {
		lost, err := ch.crowd(ctx, kind, pace, &w.crowds[kind])
		if err != nil {
			return err
		}
		w.lost += lost
		count()
	}
	took := time.Since(began).Seconds()
	agentAfter, serverAfter := used()
	w.agentCPU = 100 * (agentAfter.processor - agentBefore.processor).Seconds() / took
	w.consCPU = 100 * (serverAfter.processor - serverBefore.processor).Seconds() / took
	return ch.restore(ctx)
}

// How many services are critical at once, at most: enough that a service comes up
// again only after its going down was seen.
const (
	downSingly  = 20
	downCrowded = 100
)

// changer makes the changes of one agent's measurement. Its methods are called by
// one goroutine.
type changer struct {
	catalog *catalog
	events  *eventWatch
	most    int // critical at once
	next    int
	down    []int // those that went down first come up first
}

// prepare expects the next change, and returns what makes it.
func (ch *changer) prepare(kind int, into *samples) func(context.Context) error {
	c := ch.catalog
	if kind == flipped && len(ch.down) >= ch.most {
		n := ch.down[0]
		ch.down = ch.down[1:]
		ch.events.expect(n, into, func(s *registry.ServiceState) bool { return health(s) == registry.Passing })
		return func(ctx context.Context) error { return c.setHealth(ctx, n, true) }
	}
	n := ch.next % c.services
	ch.next++
	if kind == flipped {
		ch.down = append(ch.down, n)
		ch.events.expect(n, into, func(s *registry.ServiceState) bool { return health(s) == registry.Critical })
		return func(ctx context.Context) error { return c.setHealth(ctx, n, false) }
	}
	version := fmt.Sprintf("v%d", time.Now().UnixNano())
	ch.events.expect(n, into, func(s *registry.ServiceState) bool { return len(s.Instances) > 0 && s.Instances[0].Version == version })
	return func(ctx context.Context) error { return c.setVersion(ctx, n, version) }
}

// health is that of the first instance, which alone is changed.
func health(s *registry.ServiceState) registry.Health {
	if len(s.Instances) == 0 {
		return ""
	}
	return s.Instances[0].Health
}

// expect begins to wait for the event of a change that is about to be sent. One that
// was still awaited counts with the time until now, which is less than it took.
func (w *eventWatch) expect(n int, into *samples, match func(*registry.ServiceState) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	if was, open := w.open[serviceName(n)]; open {
		*was.into = append(*was.into, now.Sub(was.sent))
	}
	w.open[serviceName(n)] = awaited{now, match, into}
}

// restore makes all services pass again.
func (ch *changer) restore(ctx context.Context) error {
	for _, n := range ch.down {
		if err := ch.catalog.setHealth(ctx, n, true); err != nil {
			return err
		}
	}
	ch.down = nil
	return nil
}

// crowd makes many changes a second, and waits until all were seen.
func (ch *changer) crowd(ctx context.Context, kind int, pace watchPace, into *samples) (lost int, err error) {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	slots := make(chan struct{}, loadWorkers)
	began := time.Now()
	for n := range int(pace.crowd.Seconds() * float64(pace.crowdly)) {
		if wait := time.Until(began.Add(time.Duration(n) * time.Second / time.Duration(pace.crowdly))); wait > 0 && !pause(ctx, wait) {
			return 0, context.Cause(ctx)
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
		send := ch.prepare(kind, into)
		wg.Go(func() {
			if err := send(ctx); err != nil {
				cancel(err)
			}
			<-slots
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	return ch.events.wait(ctx)
}
