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
