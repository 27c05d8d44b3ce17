package registry_test

import (
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// A writer may name whatever fences it likes for itself. What a View is written down as
// must be readable again, or one cluster's writer would take everybody's checkpoint away.
func TestFencesThatContradictEachOtherCanBeReadAgain(t *testing.T) {
	t.Parallel()
	now := time.Now()
	epoch := uint64(now.Unix())
	fact := registry.Fact{Writer: "mallory", Kind: registry.KindEpoch}
	f := registry.NewFold()
	begin := func(epoch, sequence uint64, fences ...registry.Fence) {
		e := &registry.Event{
			Schema: registry.Schema, ID: "m", Kind: registry.KindEpoch, Writer: "mallory", Epoch: epoch, Revision: 1, Time: now,
			Cause: registry.CauseChange, Takeover: &registry.EpochRecord{Fences: fences},
		}
		if out := f.Apply(registry.NewMessage(fact, sequence, now, epoch, 1, e, nil)); out.Result != registry.Applied {
			t.Fatalf("epoch %d: %+v", epoch, out)
		}
	}
	begin(epoch, 47, registry.Fence{Epoch: epoch - 1, Sequence: 3})
	begin(epoch+20, 82, registry.Fence{Epoch: epoch + 19, Sequence: 3}) // before the one above, and later
	for _, m := range f.View().Facts() {
		body, err := registry.Encode(m.Event)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := registry.Decode(body); err != nil {
			t.Errorf("%s can't be read again: %v", body, err)
		}
	}
	late := &registry.Event{
		Schema: registry.Schema, ID: "l", Kind: registry.KindService, Writer: "mallory", Epoch: epoch + 10, Revision: 2, Time: now, Cause: registry.CauseChange,
		Service: &registry.ServiceState{Namespace: "shop", Name: "web", Instances: []registry.Instance{}},
	}
	m := registry.NewMessage(late.Fact(), 50, now, epoch+10, 2, late, nil)
	if out := f.Apply(m); out.Result != registry.Quarantined || out.Reason != "fenced" {
		t.Errorf("what the later fence makes void counts: %+v", out)
	}
}
