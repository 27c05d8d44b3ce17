package edge

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

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
	l.firstHold(exports)
	l.describe(r.snapshot)
	l.want(r)
	l.former = carried{} // it is all in the brake and in the outbox
	l.outbox.markAll(l.wantedKeys(), l.seen)
	if err := l.flush(ctx); err != nil {
		return err
	}
	if err := l.markComplete(ctx, registry.CauseResync); err != nil {
		return err
	}
	select {
	case <-a.orders.resync: // what was ordered until now is done
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
	believed, wanted := registry.NewSnapshot("", slices.Collect(l.known())...), exportedBy(exports)
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

// wantedKeys returns the names of all that should stand on the stream, sorted.
func (l *leader) wantedKeys() []registry.ServiceKey {
	if l.brake == nil {
		return nil
	}
	return slices.SortedFunc(maps.Keys(l.brake.stands), registry.ServiceKey.Compare)
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
