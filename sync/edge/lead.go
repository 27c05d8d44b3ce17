package edge

import (
	"context"
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
	begun    uint64 // sequence of the epoch's first record
	clock    clock  // the stream's
	fences   []registry.Fence
	epochDue time.Time // when the epoch's record is due again
	doubted  bool      // the last look did not find this epoch's record

	exports *exporter        // what the registry lets out; nil before the first reading was confirmed
	brake   *brake           // what of it should stand on the stream; nil likewise
	alarm   <-chan time.Time // when the brake has something to do; nil: not set
	alarmAt time.Time
	asked   uint64            // the watch of orders that is to tell whether what is overdue may pass; 0: nothing is
	noted   registry.Brake    // what the stream says of the brake, as the epoch begins; zero: nothing
	notedAt time.Time         // when that was stored
	told    registry.Stamp    // the last message that says something of the brake
	loaded  bool              // what the stream believes was read back
	former  carried           // what was known before that
	lost    lostGateways      // those that the registry no longer has
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
	calmAt := time.Now().Add(timing.Lapse)
	var orders <-chan ordered
	l.retry = timing.backoff()
	for {
		if err := l.advance(ctx); err != nil {
			return err
		}
		var err error
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case order := <-orders:
			err = l.compareAll(order)
		case <-calm.C:
			orders = l.agent.orders.resync
		case <-l.agent.orders.changed:
		case <-l.brakeDue():
			l.alarm = nil
		case <-l.agent.intake.changed:
		case <-l.again:
			l.again = nil
		case <-l.agent.reloaded:
			l.reload()
		case <-guard.C:
			if err = l.orderedFirst(calmAt); err == nil {
				err = l.guard(ctx)
			}
		case <-compare.C:
			if err = l.orderedFirst(calmAt); err == nil {
				err = l.compare(ctx)
			}
		}
		if err != nil {
			return err
		}
	}
}

// compareAll ends the epoch when the comparison that was ordered was not made since, and is not
// still to come.
func (l *leader) compareAll(order ordered) error {
	if !l.synced || order.sequence <= l.begun {
		return nil
	}
	l.agent.config.Logger.Info("beginning a new epoch to compare all", "ordered", order.why)
	return errResync
}

// orderedFirst obeys an order that waits, once it is calm: the next epoch does all that is
// regular.
func (l *leader) orderedFirst(calm time.Time) error {
	if time.Now().Before(calm) {
		return nil
	}
	select {
	case order := <-l.agent.orders.resync:
		return l.compareAll(order)
	default:
		return nil
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
	l.brakeNow()
	if err := l.flush(ctx); err != nil {
		return err
	}
	if l.again == nil {
		l.sayPhase()
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

// want makes a reading, but for what the brake holds back, what should stand on the
// stream, and returns the names that may differ from the reading before.
func (l *leader) want(r reading) []registry.ServiceKey {
	touched := l.exports.advance(r.snapshot)
	if len(touched) > 0 {
		touched = append(touched, l.hold(touched)...)
	}
	if from := l.agent.settings.Load().gatewayService(r.snapshot); from != l.from {
		l.describe(r.snapshot)
		l.outbox.own = registry.CauseChange
	}
	l.seen = r.seen
	l.outbox.wanted, l.outbox.index = l.stands, r.snapshot.Index()
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
	l.keepGateways(&record, settings, snapshot)
	if refusal := unreadable(record); refusal != nil {
		a.refuse(refusal)
		return
	}
	l.outbox.wantRecord = &record
}

// reload applies new settings to the reading that is wanted. What they take away
// was taken away by the operator: it is not suspicious.
func (l *leader) reload() {
	l.tellConfiguration()
	if l.exports == nil {
		return // the first reading is taken with them
	}
	before, snapshot := l.wantedKeys(), l.exports.current
	l.exports = newExporter(l.agent.settings.Load().Export, l.agent.refuse)
	l.exports.advance(snapshot)
	l.holdUnder(l.exports)
	l.describe(snapshot)
	l.seen = time.Now()
	for _, k := range append(before, l.wantedKeys()...) {
		if l.exports.mayExport(k) {
			l.outbox.mark(k, registry.CauseChange, l.seen)
		} else {
			l.outbox.decide(k, l.seen)
		}
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
		l.repeatConfiguration()
		if l.synced {
			if err := l.markComplete(ctx, registry.CauseRefresh); err != nil {
				return err
			}
		}
	}
	if l.brake != nil {
		l.brake.repeat(l.clock.now(), l.agent.config.Timing.Refresh)
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
		l.brakeNow() // it may have taken long
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
		l.showBrake(s)
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
		l.renewal.say(registry.PhaseSynced, l.remarks())
	default:
		l.renewal.say(registry.PhaseSyncing, "")
	}
}

// remarks is what an operator is to know although all is published; "" when there is nothing.
func (l *leader) remarks() string {
	held, fault := l.heldBack(), l.agent.orders.fault()
	switch {
	case fault == nil:
		return held
	case held == "":
		return "orders can't be read: " + fault.Error()
	}
	return held + "; orders can't be read: " + fault.Error()
}

// refuse passes on what the policy refuses.
func (a *Agent) refuse(r *registry.Refusal) {
	if a.config.Refused != nil {
		a.config.Refused(r)
	}
}
