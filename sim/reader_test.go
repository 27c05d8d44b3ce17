package sim

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/seamark-mesh/seamark/liveness/observer"
	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/replica"
)

// tail is the reading end of the stream over one link: what replica.Replica and
// observer.Observer call Stream.
type tail struct {
	*link
	role    string     // who calls: two may wait for the same
	slow    func() int // how many messages are delivered at once at most
	repeats func() int // how many of those before are delivered again
	tried   map[string]*pauses
	atEnd   func() bool // Follow has delivered all there is; only the scheduler
}

var (
	_ replica.Stream  = (*tail)(nil)
	_ observer.Stream = (*tail)(nil)
	_ observer.Log    = (*writer)(nil)
)

// pauses says when a role last began to wait for something.
type pauses struct {
	began, ended time.Time
	failures     int
}

// newPauses has one for each that may wait at the same time.
func newPauses() map[string]*pauses { return map[string]*pauses{"follow": {}, "leases": {}} }

// rest waits until the longest pause is over that the replica may make before it tries
// again: it draws them at random, and what follows must not depend on that.
func (k *tail) rest(ctx context.Context, what string) error {
	p := k.tried[what]
	if !p.began.IsZero() {
		if time.Since(p.began) > time.Minute+20*time.Second {
			p.failures = 0
		}
		wait := min(3*time.Second, time.Duration(0.15*math.Pow(1.5, float64(p.failures))*float64(time.Second))) + time.Millisecond
		p.failures++
		timer := time.NewTimer(time.Until(p.ended.Add(wait)))
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	p.began = time.Now()
	return nil
}

// Follow delivers in as many pieces as the scheduler likes.
func (k *tail) Follow(ctx context.Context, f func([]registry.Message, bool) error) error {
	s := k.world.stream
	var backlog []registry.Message
	begun, caughtUp, next := false, false, uint64(0)
	created, at, id := s.created, uint64(0), "" // which stream, and the message before next
	lost := func() bool {
		return begun && (!s.created.Equal(created) || at > s.end() || at > 0 && at >= s.first && s.at(at).id != id)
	}
	for {
		var batch []registry.Message
		var atEnd bool
		err := k.wait(ctx, "follow", func() bool { return !caughtUp || next <= s.end() || lost() }, func() error {
			if lost() {
				return fmt.Errorf("%w: by the simulation", replica.ErrLost)
			}
			if !begun {
				k.atEnd = func() bool { return caughtUp && !lost() && next > s.end() }
				begun, created, backlog, next = true, s.created, s.lastPerFact(""), s.end()+1
				if at = s.end(); at >= s.first {
					id = s.at(at).id
				}
			}
			most := k.slow()
			if len(backlog) > 0 {
				batch = backlog[:min(most, len(backlog))]
				backlog = backlog[len(batch):]
				return nil
			}
			from := next
			if caughtUp {
				from = max(s.first, next-min(next-s.first, uint64(k.repeats())))
			}
			batch = s.since(from)
			if fresh := int(s.end() - next + 1); fresh > most {
				batch = batch[:len(batch)-(fresh-most)]
			}
			if len(batch) > 0 {
				next = max(next, batch[len(batch)-1].Sequence+1)
				at, id = next-1, s.at(next-1).id
			}
			atEnd = next > s.end()
			caughtUp = caughtUp || atEnd
			return nil
		})
		if errors.Is(err, errConsumer) && begun && k.world.losable { // mended within the call, as the real one does
			continue
		}
		if err != nil {
			k.tried["follow"].ended = time.Now()
			return err
		}
		if err := f(batch, atEnd); err != nil {
			return err
		}
	}
}

func (k *tail) LoadWriter(ctx context.Context, w registry.Writer) ([]registry.Message, error) {
	var out []registry.Message
	err := k.call(ctx, "load writer "+string(w), false, func() error { out = k.world.stream.lastPerFact(w); return nil })
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (k *tail) LoadFact(ctx context.Context, f registry.Fact, before uint64) ([]registry.Message, error) {
	var out []registry.Message
	err := k.call(ctx, fmt.Sprint("load fact ", f, before), false, func() error {
		out = nil
		for _, m := range k.world.stream.since(0) {
			if m.Fact == f && m.Sequence < before && m.Refused == nil {
				out = append(out, m)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if f.Kind != registry.KindEpoch {
		out = out[max(0, len(out)-1):]
	}
	return out, nil
}

func (k *tail) WatchLeases(ctx context.Context, f func(l registry.Lease, stored, received time.Time)) error {
	if err := k.rest(ctx, "leases"); err != nil {
		return err
	}
	s, next := k.world.stream, uint64(0)
	for {
		var come []lease
		err := k.wait(ctx, k.role+" leases", func() bool { return s.leased > next }, func() error {
			come = s.leasesAfter(next)
			next = s.lives
			return nil
		})
		if err != nil {
			k.tried["leases"].ended = time.Now()
			return err
		}
		for _, l := range come {
			f(l.Lease, l.stored, time.Now())
		}
	}
}

func (k *tail) WatchProbes(ctx context.Context, f func(r registry.ProbeReport, stored, received time.Time)) error {
	s, next := k.world.stream, uint64(0)
	for {
		var come []report
		err := k.wait(ctx, "probes", func() bool { return s.told > next }, func() error {
			come = s.reportsAfter(next)
			next = s.lives
			return nil
		})
		if err != nil {
			return err
		}
		for _, r := range come {
			f(r.ProbeReport, r.stored, time.Now())
		}
	}
}

func (k *tail) OrderResync(ctx context.Context, cluster registry.ClusterID, reason string) error {
	return k.call(ctx, "order resync", true, func() error {
		k.world.check.resyncs++
		k.world.order(k.link, registry.Order{Kind: registry.OrderResync, Target: string(cluster), By: k.name, Reason: reason}, registry.CauseChange)
		return nil
	})
}

func (k *tail) PutOrder(ctx context.Context, o registry.Order, by string, cause registry.Cause, expect uint64) (uint64, error) {
	var sequence uint64
	err := k.call(ctx, "put order", true, func() error {
		e := k.world.orderEvent(o, by, cause)
		if k.world.stream.last[e.Fact()] != expect {
			return registry.ErrConflict
		}
		sequence = k.world.stream.store(k.link, encode(e))
		return nil
	})
	if err != nil {
		return 0, err
	}
	return sequence, nil
}

func (k *tail) LastOrder(ctx context.Context, kind, target string) (registry.Order, registry.Message, bool, error) {
	var m registry.Message
	err := k.call(ctx, "last order", false, func() error {
		m = k.world.stream.lastOn(registry.Fact{Writer: registry.Operator, Kind: registry.KindOrder, Name: kind + "." + target}).Message
		return nil
	})
	if err != nil || m.Event == nil || m.Event.Order == nil {
		return registry.Order{}, registry.Message{}, false, err
	}
	return *m.Event.Order, m, true, nil
}

func (k *tail) HistoryAge(ctx context.Context) (time.Duration, error) {
	err := k.call(ctx, "history age", false, func() error { return nil })
	return 30 * 24 * time.Hour, err
}

// report writes what a vantage point sees of a cluster's gateways.
func (k *tail) report(ctx context.Context, of *site, vantage string) error {
	return k.call(ctx, "probe "+string(of.id), true, func() error {
		s := k.world.stream
		r := registry.ProbeReport{Schema: registry.Schema, Vantage: vantage, Cluster: of.id, Time: time.Now()}
		for _, g := range of.gateways {
			r.Gateways = append(r.Gateways, registry.GatewayReport{Name: g.Name, Reached: of.reached[g.Name]})
		}
		s.lives++
		s.told = s.lives
		s.reports[vantage+" "+string(of.id)] = report{r, s.lives, s.now()}
		return nil
	})
}
