package edge

import (
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// Who asks for another watch ends one that was told all: nothing is wrong with orders until
// the next one is told nothing for long.
func TestAWatchThatIsAskedForIsNoFaultOfOrders(t *testing.T) {
	o := newOrders()
	o.begin(func() {})
	o.take(registry.Message{})
	o.ask()
	if o.fail(errUntold, time.Minute) || o.fault() != nil {
		t.Errorf("it is said at once that orders can't be read: %v", o.fault())
	}
	o.begin(func() {})
	if !o.fail(errUntold, 0) {
		t.Error("it is never said")
	}
}

// An order that came while an older one waited was dropped; when the older one was found to
// be done already, none was left.
func TestTheNewestOrderWaits(t *testing.T) {
	o := newOrders()
	for sequence := range uint64(3) {
		o.take(registry.Message{Sequence: sequence + 1, Event: &registry.Event{Order: &registry.Order{Kind: registry.OrderResync, Target: "amber"}}})
	}
	if got := <-o.resync; got.sequence != 3 {
		t.Errorf("#%d waits, want #3", got.sequence)
	}
}
