package edge_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// TestWhatWasOrderedComesBeforeWhatIsRegular: after an outage of the stream an order to
// compare all was waiting, and the look at the epoch and the regular comparison were due.
// Which came first was a matter of chance, though the order does what the others do.
func TestWhatWasOrderedComesBeforeWhatIsRegular(t *testing.T) {
	for try := range 8 { // half of them did the one, half the other
		t.Run(fmt.Sprint(try), func(t *testing.T) {
			inWorld(t, newWorld(services(3)...), func(t *testing.T, w *world) {
				a := w.start("one")
				time.Sleep(30 * time.Second)
				var mu sync.Mutex
				var requests []string
				down := true
				a.link.set(func(k *link) {
					k.next = func(request string, _ int) fault {
						mu.Lock()
						defer mu.Unlock()
						if down && request == "publish" {
							return fails
						}
						if !down && !slices.Contains([]string{"lease", "publish"}, request) {
							requests = append(requests, request)
						}
						return works
					}
				})
				w.catalogue.put(registry.Service{Key: registry.ServiceKey{Namespace: "shop", Name: "new"}, Instances: services(1)[0].Instances})
				time.Sleep(time.Minute + 30*time.Second) // both have fallen due
				w.memory.order(cluster, "ada")
				synctest.Wait()
				mu.Lock()
				down = false
				mu.Unlock()
				time.Sleep(11 * time.Second)
				synctest.Wait()
				mu.Lock()
				defer mu.Unlock()
				if want := []string{"last", "now", "epoch", "load"}; len(requests) < len(want) || !slices.Equal(requests[:len(want)], want) {
					t.Errorf("after the outage it asked for %v, want first %v", requests, want)
				}
			})
		})
	}
}
