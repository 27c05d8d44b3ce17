package registry_test

import (
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// What was said again and then overwritten by something that nobody can read was said:
// settling must not take it for forgotten.
func TestSettlingKeepsWhatCantBeRead(t *testing.T) {
	t.Parallel()
	now := time.Now()
	epoch, key := uint64(now.Unix()), registry.ServiceKey{Namespace: "shop", Name: "web"}
	fact := registry.Fact{Writer: "amber", Kind: registry.KindService, Service: key}
	event := func(kind registry.Kind, epoch, revision uint64, fill func(*registry.Event)) *registry.Event {
		e := &registry.Event{Schema: registry.Schema, ID: "x", Kind: kind, Writer: "amber", Epoch: epoch, Revision: revision, Time: now, Cause: registry.CauseChange}
		fill(e)
		return e
	}
	apply := func(f *registry.Fold, sequence uint64, e *registry.Event) {
		f.Apply(registry.NewMessage(e.Fact(), sequence, now, e.Epoch, e.Revision, e, nil))
	}
	takeover := func(e *registry.Event) { e.Takeover = &registry.EpochRecord{} }
	web := func(e *registry.Event) {
		state := registry.NewServiceState(key, &registry.Service{Key: key, Instances: []registry.Instance{{ID: "a", Address: "10.0.0.1", Weight: 1, Health: registry.Passing}}})
		e.Service = &state
	}
	older := registry.NewFold()
	apply(older, 1, event(registry.KindEpoch, epoch, 1, takeover))
	apply(older, 2, event(registry.KindService, epoch, 2, web))

	f := registry.Inherit(older.View())
	apply(f, 1, event(registry.KindEpoch, epoch+1, 1, takeover))
	f.Apply(registry.NewMessage(fact, 3, now, epoch+1, 3, nil, &registry.Refusal{Reason: "schema"})) // at 2 it was said again
	apply(f, 4, event(registry.KindSnapshot, epoch+1, 4, func(e *registry.Event) { e.Snapshot = &registry.SnapshotMark{Keys: 1} }))
	f.Settle("amber")
	if e, known := f.View().Service(key); !known || e.Record("amber").Tombstone() {
		t.Error("what can't be read now is no longer known")
	}
	apply(f, 2, event(registry.KindService, epoch+1, 2, web))
	if e, known := f.View().Service(key); !known || e.Record("amber").Sequence != 2 {
		t.Error("what was found behind it does not count")
	}
}
