package edge_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// TestAnAgentBeginsAboveTheEpochsThatItHasLed: where stream and leases are lost, and the
// stream's clock shows less than an epoch that the agent had begun, the agent itself is the
// only one that still knows it. Readers pass over what comes below it.
func TestAnAgentBeginsAboveTheEpochsThatItHasLed(t *testing.T) {
	inWorld(t, newWorld(services(3)...), func(t *testing.T, w *world) {
		ahead := uint64(time.Now().Unix()) + 3600
		body, err := registry.EncodeLease(registry.Lease{
			Schema: registry.Schema, Writer: registry.Writer(cluster), Agent: "other", Phase: registry.PhaseStopped, Epoch: ahead, Time: time.Now(),
		})
		if err != nil {
			t.Fatal(err)
		}
		w.memory.lease = kept{sequence: 1, stored: time.Now(), body: body, id: "other"}
		w.start("one")
		led := w.epochs()
		if len(led) != 1 || led[0] <= ahead {
			t.Fatalf("epochs %v, want one above %d", led, ahead)
		}
		w.memory.recreate(1000, true)
		time.Sleep(time.Minute)
		synctest.Wait()
		if again := w.epochs(); len(again) == 0 || again[0] <= led[0] {
			t.Fatalf("epochs %v on the stream that was made anew, want none below %d", again, led[0])
		}
		w.mustEqual(t, w.catalogue.now())
	})
}
