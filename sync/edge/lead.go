package edge

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/seamark-mesh/seamark/registry"
)

// batchLimit is how many events go out together at most.
const batchLimit = 200

// leader is one epoch of an agent: from taking over to losing the lease. One
// goroutine owns it.
type leader struct {
	agent    *Agent
	renewal  *renewal
	outbox   *outbox
	fence    uint64 // sequence of the epoch record that every message names; 0: not known
	fences   []registry.Fence
	epochDue time.Time // when the epoch's record is due again
	doubted  bool      // the last look did not find this epoch's record

	exports *exporter         // what should stand on the stream; nil before the first reading was confirmed
	from    *registry.Service // what the record's gateways were read from
	seen    time.Time         // when the snapshot that is wanted came
	sent    []*registry.Event // not acknowledged yet
	synced  bool              // the stream held once, in this epoch, what the registry says
	retry   *backoff.ExponentialBackOff
	again   <-chan time.Time // the first reading is to be confirmed again; nil: it is not waiting
}

// follow keeps the stream in line with the registry and the settings until ctx ends.
func (l *leader) follow(ctx context.Context) error {
	timing := l.agent.config.Timing
	compare, guard := time.NewTicker(timing.Compare), time.NewTicker(timing.Lapse)
	defer compare.Stop()
	defer guard.Stop()
	calm := time.NewTimer(timing.Lapse) // several readers may ask for the same resync
	defer calm.Stop()
	var orders <-chan string
	l.retry = newBackoff(timing.Retry)
	for {
		if err := l.advance(ctx); err != nil {
			return err
		}
		var err error
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case why := <-orders:
			if l.synced { // else the comparison that it asks for is still to come
				l.agent.config.Logger.Info("beginning a new epoch to compare all", "ordered", why)
				err = errResync
			}
		case <-calm.C:
			orders = l.agent.resync
		case <-l.agent.intake.changed:
		case <-l.again:
			l.again = nil
		case <-l.agent.reloaded:
			l.reload()
		case <-guard.C:
			err = l.guard(ctx)
		case <-compare.C:
			err = l.compare(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// advance publishes what differs now. Before the first reading was confirmed that
// is at most what is due for its age.
func (l *leader) advance(ctx context.Context) error {
	if l.exports == nil && l.again == nil {
		if r := l.agent.intake.latest(); r.known && r.fault == nil {
			if err := l.reconcile(ctx, r); err != nil {
				return err
			}
		}
	}
	l.take()
	if err := l.flush(ctx); err != nil {
		return err
	}
	if l.again == nil {
		l.sayPhase()
	}
	return nil
}

// reconcile publishes the difference between what the stream had at the beginning
// of the epoch and the first reading that can be trusted: what is there first,
// tombstones after, then the snapshot's mark.
func (l *leader) reconcile(ctx context.Context, r reading) error {
	a := l.agent
	exports := newExporter(a.settings.Load().Export, a.refuse)
	exports.advance(r.snapshot)
	if err := l.confirm(ctx, exports); err != nil {
		l.renewal.say(registry.PhaseRegistryDown, err.Error())
		l.again = time.After(l.retry.NextBackOff())
		return nil
	}
	l.exports = exports
	l.describe(r.snapshot)
	l.want(r)
	l.outbox.markAll(l.wantedKeys(), l.seen)
	if err := l.flush(ctx); err != nil {
		return err
	}
	if err := l.markComplete(ctx, registry.CauseResync); err != nil {
		return err
	}
	select {
	case <-a.resync: // what was ordered until now is done
	default:
	}
	l.synced = true
	l.publishStatus()
	s := a.status.get()
	a.config.Logger.Info("the stream holds what the registry says", "epoch", s.Epoch, "revision", s.Revision, "services", s.Keys)
	return nil
}

// confirm holds a first reading that lacks much of what the stream believes to a
// second read. The error says why nothing may be withdrawn yet.
func (l *leader) confirm(ctx context.Context, exports *exporter) error {
	a := l.agent
	believed, wanted := l.believedSnapshot(), exportedBy(exports)
	if !suspicious(believed, wanted) {
		return nil
	}
	a.config.Logger.Warn("the registry has much less than was published: reading again before anything is withdrawn",
		"services", wanted.Len(), "services_published", believed.Len())
	second, err := a.intake.read(ctx)
	if err != nil {
		return fmt.Errorf("much seems to be gone and a second read fails: %w", err)
	}
	judge := newExporter(exports.policy, func(*registry.Refusal) {})
	judge.advance(second)
	if !agrees(believed, wanted, exportedBy(judge)) {
		err := fmt.Errorf("the watch shows %d services and a second read %d: watching anew", exports.current.Len(), second.Len())
		a.intake.doubt(err)
		return err
	}
	return nil
}

// take makes the latest reading what should stand on the stream, once the first one
// was confirmed.
func (l *leader) take() {
	if l.exports == nil {
		return
	}
	r := l.agent.intake.latest()
	for _, k := range l.want(r) {
		l.outbox.mark(k, registry.CauseChange, r.seen)
	}
}

// want makes a reading what should stand on the stream, and returns the names that
// may differ from the reading before.
func (l *leader) want(r reading) []registry.ServiceKey {
	touched := l.exports.advance(r.snapshot)
	if from := l.agent.settings.Load().gatewayService(r.snapshot); from != l.from {
		l.describe(r.snapshot)
		l.outbox.own = registry.CauseChange
	}
	l.seen = r.seen
	l.outbox.wanted, l.outbox.index = l.exports.service, r.snapshot.Index()
	return touched
}

// describe makes the cluster's record anew. One that no reader would accept is
// refused whole: the one before stands.
func (l *leader) describe(snapshot registry.Snapshot) {
	a := l.agent
	settings := a.settings.Load()
	l.from = settings.gatewayService(snapshot)
	record, refused := settings.record(a.config.Cluster, a.config.Source, snapshot)
	for _, refusal := range refused {
		a.refuse(refusal)
	}
	if refusal := unreadable(record); refusal != nil {
		a.refuse(refusal)
		return
	}
	l.outbox.wantRecord = &record
}

// reload applies new settings to the reading that is wanted. What they take away
// was taken away by the operator: it is not suspicious.
func (l *leader) reload() {
	if l.exports == nil {
		return // the first reading is taken with them
	}
	before, snapshot := l.wantedKeys(), l.exports.current
	l.exports = newExporter(l.agent.settings.Load().Export, l.agent.refuse)
	l.describe(snapshot)
	l.want(reading{snapshot: snapshot, known: true, seen: time.Now()})
	for _, k := range append(before, l.wantedKeys()...) {
		l.outbox.mark(k, registry.CauseChange, l.seen)
	}
	l.outbox.own = registry.CauseChange
	l.agent.config.Logger.Info("new settings are in force")
}

// compare holds all that was published to all that should be, and publishes again
// what is old, the epoch's record first.
func (l *leader) compare(ctx context.Context) error {
	if !time.Now().Before(l.epochDue) {
		if err := l.putEpoch(ctx, registry.CauseRefresh, l.fence); err != nil {
			return err
		}
		if l.synced {
			if err := l.markComplete(ctx, registry.CauseRefresh); err != nil {
				return err
			}
		}
	}
	l.outbox.markAll(l.wantedKeys(), l.seen)
	return nil
}

// flush sends until nothing differs. Between two batches it takes what is newest.
func (l *leader) flush(ctx context.Context) error {
	for {
		events := l.outbox.next(batchLimit, time.Now())
		if len(events) == 0 {
			l.publishStatus()
			return nil
		}
		if err := l.send(ctx, events); err != nil {
			return err
		}
		l.take()
	}
}

// send publishes events until they are acknowledged, fenced, or ctx ends.
func (l *leader) send(ctx context.Context, events []*registry.Event) error {
	var stored []*registry.Event
	l.sent = events
	err := l.insist(ctx, func() (err error) {
		stored, err = l.agent.log.Publish(ctx, events, l.fence)
		return err
	})
	if err != nil {
		return err
	}
	l.sent = nil
	l.acknowledged(events, stored)
	return nil
}

func (l *leader) markComplete(ctx context.Context, cause registry.Cause) error {
	return l.send(ctx, []*registry.Event{l.outbox.snapshotEvent(cause, time.Now())})
}

// acknowledged records what the stream has taken.
func (l *leader) acknowledged(events, stored []*registry.Event) {
	l.outbox.acknowledge(events, stored, time.Now())
	l.agent.status.set(func(s *Status) {
		if s.Published == nil {
			s.Published = map[registry.Cause]uint64{}
		}
		for n, e := range events {
			s.Published[e.Cause]++
			if n < len(stored) && stored[n] != nil && stored[n].Service != nil && stored[n].Service.Truncated {
				s.Truncated++
			}
			s.Revision = e.Revision
		}
		s.Epoch = l.outbox.epoch
		s.Keys, s.Digest = len(l.outbox.believed), l.outbox.digest
	})
}

// publishStatus shows the state between two batches.
func (l *leader) publishStatus() {
	current := l.synced && l.agent.intake.latest().fault == nil
	l.agent.status.set(func(s *Status) {
		s.Pending, s.Keys, s.Digest = l.outbox.pending(), len(l.outbox.believed), l.outbox.digest
		if s.Gateways = 0; l.outbox.wantRecord != nil {
			s.Gateways = len(l.outbox.wantRecord.Gateways)
		}
		if current {
			s.Synced = time.Now()
		}
	})
}

// sayPhase tells in the lease how things stand.
func (l *leader) sayPhase() {
	switch r := l.agent.intake.latest(); {
	case r.fault != nil:
		l.renewal.say(registry.PhaseRegistryDown, r.fault.Error())
	case l.synced:
		l.renewal.say(registry.PhaseSynced, "")
	default:
		l.renewal.say(registry.PhaseSyncing, "")
	}
}

// wantedKeys returns the names of all that should stand on the stream, sorted.
func (l *leader) wantedKeys() []registry.ServiceKey {
	if l.exports == nil {
		return nil
	}
	keys := make([]registry.ServiceKey, 0, len(l.exports.origins))
	for k := range l.exports.origins {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, registry.ServiceKey.Compare)
	return keys
}

// exportedBy is what should stand on the stream, as a snapshot.
func exportedBy(x *exporter) registry.Snapshot {
	services := make([]registry.Service, 0, len(x.origins))
	for k := range x.origins {
		if s := x.service(k); s != nil {
			services = append(services, *s)
		}
	}
	return registry.NewSnapshot("", services...)
}

// believedSnapshot is what the stream has, as a snapshot.
func (l *leader) believedSnapshot() registry.Snapshot {
	services := make([]registry.Service, 0, len(l.outbox.believed))
	for k, b := range l.outbox.believed {
		services = append(services, registry.Service{Key: k, Instances: b.state.Instances})
	}
	return registry.NewSnapshot("", services...)
}

// refuse passes on what the policy refuses.
func (a *Agent) refuse(r *registry.Refusal) {
	if a.config.Refused != nil {
		a.config.Refused(r)
	}
}
