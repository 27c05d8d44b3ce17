package edge_test

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// TestOneRenewalAnswersAllThatAskedForOne: while a renewal waits for its answer the next one
// may fall due, and the phase may change. Both asked for one of their own after it.
func TestOneRenewalAnswersAllThatAskedForOne(t *testing.T) {
	inWorld(t, newWorld(services(3)...), func(t *testing.T, w *world) {
		a := w.start("one")
		time.Sleep(20 * time.Second)
		var mu sync.Mutex
		var renewed []time.Time
		a.link.set(func(k *link) {
			k.next = func(request string, _ int) fault {
				if request != "lease" {
					return works
				}
				mu.Lock()
				defer mu.Unlock()
				if renewed = append(renewed, time.Now()); len(renewed) == 1 {
					return slow // 3 s: the next one falls due after 2
				}
				return works
			}
		})
		count := func() int {
			mu.Lock()
			defer mu.Unlock()
			return len(renewed)
		}
		for count() == 0 {
			time.Sleep(10 * time.Millisecond)
			synctest.Wait()
		}
		time.Sleep(time.Second)
		a.source.set(func(s *source) { s.watchErr = errors.New("no registry") })
		synctest.Wait()
		time.Sleep(2500 * time.Millisecond) // 0.5 s after the slow one, 0.5 s before the next falls due
		synctest.Wait()
		if n := count(); n != 2 {
			t.Errorf("%d renewals, want the slow one and one after it: %v", n, renewed)
		}
		if l, ok := w.memory.standingLease(); !ok || l.Phase != registry.PhaseRegistryDown {
			t.Errorf("the lease says %s", l.Phase)
		}
	})
}
