package edge

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// batchLimit is how many events go out together at most.
const batchLimit = 200

// leader is one epoch of an agent: from taking over to losing the lease. One
// goroutine owns it.
type leader struct {
	agent   *Agent
	renewal *renewal
	outbox  *outbox
	exports *exporter
	fence   uint64 // sequence of the epoch record that every message names
	fences  []registry.Fence
	epochAt time.Time         // when the epoch record is due again
	seen    time.Time         // when the snapshot that is wanted came
	sent    []*registry.Event // not acknowledged yet
	from    *registry.Service // what the record's gateways were read from
	synced  bool
}

// lead begins an epoch, brings the stream in line with the registry, and keeps it
// so until ctx ends (nil), the lease is lost, or a resync is ordered.
func (a *Agent) lead(ctx context.Context, held lease) error {
	a.status.set(func(s *Status) { s.Role, s.Holder = Leader, ""; s.Takeovers++ })
	within, lost := context.WithCancelCause(ctx)
	l := &leader{agent: a, renewal: &renewal{agent: a, wake: make(chan struct{}, 1), held: held, phase: registry.PhaseSyncing}}
	var wg sync.WaitGroup
	wg.Go(func() { l.renewal.run(within, lost) })
	err := l.run(within, held)
	if cause := context.Cause(within); cause != nil && ctx.Err() == nil {
		err = cause
	}
	lost(nil)
	wg.Wait()
	if ctx.Err() != nil {
		l.stop(context.WithoutCancel(ctx))
		return nil
	}
	return err
}

func (l *leader) run(ctx context.Context, held lease) error {
	if err := l.begin(ctx, held); err != nil {
		return err
	}
	if err := l.reconcile(ctx); err != nil {
		return err
	}
	return l.steady(ctx)
}

// begin publishes the epoch's record and reads back what the stream believes.
func (l *leader) begin(ctx context.Context, held lease) error {
	a := l.agent
	fact := registry.Fact{Writer: a.writer, Kind: registry.KindEpoch}
	last, found, err := a.log.Last(ctx, fact)
	if err != nil {
		return fmt.Errorf("read the last epoch: %w", err)
	}
	now, err := a.log.Now(ctx)
	if err != nil {
		return fmt.Errorf("read the stream's clock: %w", err)
	}
	epoch := max(held.before+1, uint64(now.Unix()))
	if found {
		epoch = max(epoch, last.Epoch+1)
	}
	l.outbox = newOutbox(a.writer, a.config.Agent, a.config.Timing, epoch)
	if found && last.Event != nil && last.Event.Takeover != nil {
		l.fences = withFence(last.Event.Takeover.Fences, registry.Fence{Epoch: last.Epoch, Sequence: last.Sequence})
	}
	if err := l.putEpoch(ctx, registry.CauseChange, last.Sequence); err != nil {
		return fmt.Errorf("begin epoch %d: %w", epoch, err)
	}
	return l.readBack(ctx, now)
}

// withFence adds a fence unless the epoch's first record is known already.
func withFence(fences []registry.Fence, f registry.Fence) []registry.Fence {
	if slices.ContainsFunc(fences, func(o registry.Fence) bool { return o.Epoch == f.Epoch }) {
		return fences
	}
	fences = append(slices.Clone(fences), f)
	return fences[max(0, len(fences)-registry.MaxFences):]
}

// putEpoch stores the epoch's record after the one at expect; its sequence is the
// fence from then on.
func (l *leader) putEpoch(ctx context.Context, cause registry.Cause, expect uint64) error {
	a := l.agent
	e := l.outbox.event(registry.KindEpoch, cause, time.Now())
	e.Takeover = &registry.EpochRecord{Fences: l.fences, Version: a.config.Version}
	err := l.insist(ctx, func() (err error) {
		l.fence, err = a.log.PutEpoch(ctx, e, expect)
		return err
	})
	if err != nil {
		return err
	}
	l.fences = withFence(l.fences, registry.Fence{Epoch: e.Epoch, Sequence: l.fence})
	l.epochAt = time.Now().Add(a.config.Timing.Refresh)
	l.acknowledged([]*registry.Event{e}, nil)
	return nil
}

// readBack loads what the stream believes of this cluster. The own epoch record
// must be in it, so that nothing older is still on its way.
func (l *leader) readBack(ctx context.Context, streamNow time.Time) error {
	a := l.agent
	var messages []registry.Message
	err := l.insist(ctx, func() (err error) {
		messages, err = a.log.Load(ctx)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(messages, func(m registry.Message) bool { return m.Sequence == l.fence }) {
			return fmt.Errorf("what was read back lacks the epoch's own record at sequence %d", l.fence)
		}
		return nil
	})
	if err != nil {
		return err
	}
	fold, stored := registry.NewFold(), map[registry.Fact]time.Time{}
	for _, m := range messages {
		if out := fold.Apply(m); out.Result == registry.Applied {
			stored[m.Fact] = m.Stored
		}
	}
	l.outbox.load(fold.View(), stored, streamNow, time.Now())
	a.config.Logger.Info("leading", "epoch", l.outbox.epoch, "services_on_stream", len(l.outbox.believed))
	l.publishStatus()
	return nil
}

// reconcile waits for a trusted reading and publishes the difference: what is
// there first, tombstones after, then the snapshot's mark.
func (l *leader) reconcile(ctx context.Context) error {
	for !l.ready(ctx) {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-l.agent.intake.changed:
		}
	}
	if err := l.confirmStart(ctx); err != nil {
		return err
	}
	l.outbox.markAll(l.wantedKeys())
	if err := l.flush(ctx); err != nil {
		return err
	}
	if err := l.markComplete(ctx, registry.CauseResync); err != nil {
		return err
	}
	l.synced = true
	l.sayPhase()
	s := l.agent.status.get()
	l.agent.config.Logger.Info("the stream holds what the registry says", "epoch", l.outbox.epoch, "revision", s.Revision, "services", s.Keys)
	return nil
}

// ready takes the first trusted reading; false while there is none.
func (l *leader) ready(context.Context) bool {
	r := l.agent.intake.latest()
	if !r.known {
		l.sayPhase()
		return false
	}
	l.want(r)
	return true
}

// confirmStart holds a first reading that lacks much of what the stream believes
// to a second read.
func (l *leader) confirmStart(ctx context.Context) error {
	a := l.agent
	for {
		believed := l.believedSnapshot()
		if !suspicious(believed, l.exported()) {
			return nil
		}
		a.config.Logger.Warn("the registry has much less than was published: reading again before anything is withdrawn", "services_published", believed.Len())
		second, err := a.intake.read(ctx)
		if err == nil {
			judge := newExporter(a.settings.Load().Export, func(*registry.Refusal) {})
			judge.advance(second)
			if agrees(believed, l.exported(), exportedBy(judge)) {
				return nil
			}
			err = errors.New("two reads of the registry disagree")
		}
		a.intake.fail(fmt.Errorf("much seems to be gone: %w", err))
		l.sayPhase()
		if !pause(ctx, a.config.Timing.Renew) {
			return context.Cause(ctx)
		}
		if r := a.intake.latest(); r.known {
			l.want(r)
		}
	}
}

// steady follows the registry, the settings and the clock.
func (l *leader) steady(ctx context.Context) error {
	a := l.agent
	ticker := time.NewTicker(a.config.Timing.Compare)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case why := <-a.resync:
			return fmt.Errorf("%w: %s", errResync, why)
		case <-a.intake.changed:
			l.follow()
		case <-a.reloaded:
			l.reload()
		case <-ticker.C:
			if err := l.refresh(ctx); err != nil {
				return err
			}
		}
		if err := l.flush(ctx); err != nil {
			return err
		}
	}
}

// follow takes the latest reading.
func (l *leader) follow() {
	if r := l.agent.intake.latest(); r.known && r.fault == nil {
		for _, k := range l.want(r) {
			l.outbox.mark(k, registry.CauseChange)
		}
		if l.outbox.own == "" {
			l.outbox.own = registry.CauseChange
		}
	}
	l.sayPhase()
}

// want makes a reading what should stand on the stream, and returns the names
// that may differ from the reading before.
func (l *leader) want(r reading) []registry.ServiceKey {
	a := l.agent
	settings := a.settings.Load()
	first := l.exports == nil
	if first {
		l.exports = newExporter(settings.Export, a.refuse)
	}
	touched := l.exports.advance(r.snapshot)
	if from := settings.gatewayService(r.snapshot); first || from != l.from {
		record, refused := settings.record(a.config.Cluster, a.config.Source, r.snapshot)
		for _, refusal := range refused {
			a.refuse(refusal)
		}
		l.outbox.wantRecord, l.from = record, from
	}
	l.seen = r.seen
	l.outbox.wanted = l.exports.service
	l.outbox.index = func() (string, time.Time) { return r.snapshot.Index(), l.seen.UTC() }
	return touched
}

// reload applies new settings to the reading that is wanted. What they take away
// was taken away by the operator: it is not suspicious.
func (l *leader) reload() {
	before := l.wantedKeys()
	snapshot := l.exports.current
	l.exports = nil
	l.want(reading{snapshot: snapshot, known: true, seen: time.Now()})
	for _, k := range append(before, l.wantedKeys()...) {
		l.outbox.mark(k, registry.CauseChange)
	}
	l.outbox.own = registry.CauseChange
	l.agent.config.Logger.Info("new settings are in force")
}

// refresh publishes again what is old, the epoch's record first.
func (l *leader) refresh(ctx context.Context) error {
	now := time.Now()
	if !now.Before(l.epochAt) {
		if err := l.putEpoch(ctx, registry.CauseRefresh, l.fence); err != nil {
			return err
		}
		if err := l.markComplete(ctx, registry.CauseRefresh); err != nil {
			return err
		}
	}
	l.outbox.markDue(now)
	return nil
}

// flush sends until nothing differs. Between two batches it takes what is newest.
func (l *leader) flush(ctx context.Context) error {
	for {
		events := l.outbox.next(batchLimit, time.Now())
		if len(events) == 0 {
			if l.outbox.pending() == 0 && l.outbox.own == "" {
				l.publishStatus()
				return nil
			}
			continue
		}
		if err := l.send(ctx, events); err != nil {
			return err
		}
		select {
		case <-l.agent.intake.changed:
			l.follow()
		default:
		}
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

// insist repeats a call until it succeeds or its outcome is final.
func (l *leader) insist(ctx context.Context, call func() error) error {
	retry := newBackoff(min(time.Second, l.agent.config.Timing.Retry))
	said := false
	for {
		err := call()
		switch {
		case err == nil:
			if said {
				l.agent.config.Logger.Info("the stream is reached again")
			}
			return nil
		case errors.Is(err, registry.ErrFenced), errors.Is(err, registry.ErrConflict):
			return err
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
		if !said {
			said = true
			l.agent.config.Logger.Warn("the stream does not acknowledge: sending again until it does", "err", err)
		}
		l.agent.status.set(func(s *Status) { s.Retries++ })
		if !pause(ctx, retry.NextBackOff()) {
			return context.Cause(ctx)
		}
	}
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
	l.agent.status.set(func(s *Status) {
		s.Pending, s.Keys, s.Digest = l.outbox.pending(), len(l.outbox.believed), l.outbox.digest
		s.Gateways = len(l.outbox.wantRecord.Gateways)
		if l.synced {
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

// stop tries once to publish what is waiting, and says that this agent has ended.
func (l *leader) stop(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for events := l.sent; l.synced; events = nil {
		if len(events) == 0 {
			events = l.outbox.next(batchLimit, time.Now())
		}
		if len(events) == 0 {
			break
		}
		stored, err := l.agent.log.Publish(ctx, events, l.fence)
		if err != nil {
			break // the next agent's comparison finds it
		}
		l.acknowledged(events, stored)
	}
	l.renewal.say(registry.PhaseStopped, "")
	if err := l.renewal.put(ctx); err != nil {
		l.agent.config.Logger.Warn("the stop could not be said in the lease: a standby waits until it lapses", "err", err)
	}
}

func (l *leader) wantedKeys() []registry.ServiceKey {
	keys := make([]registry.ServiceKey, 0, len(l.exports.origins))
	for k := range l.exports.origins {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, registry.ServiceKey.Compare)
	return keys
}

// exported is what should stand on the stream, as a snapshot.
func (l *leader) exported() registry.Snapshot { return exportedBy(l.exports) }

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
