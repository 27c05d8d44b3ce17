package consul

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/seamark-mesh/seamark/registry"
)

// Whatever happens to the catalog, and however quickly, the Watch alone (no
// comparison helps it) says in the end what a full read says.
func TestChurn(t *testing.T) {
	t.Parallel()
	for name, few := range map[string]int{"few": fewServices, "many": 0} { // 0: as if they were more
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			churn(t, few)
		})
	}
}

func churn(t *testing.T, few int) {
	modes(t, func(t *testing.T, d *driver, config Config) {
		seed := uint64(time.Now().UnixNano())
		t.Logf("seed %d", seed)
		random := rand.New(rand.NewPCG(seed, 0))
		d.fill(t, 60, 12)
		source, _ := newSource(t, config)
		source.few = few
		w := startWatcher(t, source, nil)
		w.first(t)
		const operations = 500
		for range operations {
			d.disturb(t, random)
		}
		other, _ := newSource(t, config)
		limit := time.Now().Add(5 * time.Second)
		for {
			read, err := other.Read(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			last, count, news := w.latest()
			changes := registry.Diff(last, read)
			if len(changes) == 0 {
				t.Logf("%d operations, %d snapshots", operations, count)
				return
			}
			if time.Now().After(limit) {
				t.Fatalf("after %d operations %d services differ: %s is watched as %+v, read as %+v", operations, len(changes), changes[0].Key, changes[0].Old, changes[0].New)
			}
			select {
			case <-news:
			case <-w.done:
				t.Fatalf("Watch ended: %v", w.err)
			case <-time.After(50 * time.Millisecond):
			}
		}
	})
}

// disturb does one thing to the catalog.
func (d *driver) disturb(t *testing.T, random *rand.Rand) {
	t.Helper()
	node := fmt.Sprintf("fill-%d", random.IntN(12))
	name := fmt.Sprintf("svc-%d", random.IntN(60))
	id := fmt.Sprintf("%s-%d", name, random.IntN(2))
	health := []registry.Health{registry.Passing, registry.Warning, registry.Critical}[random.IntN(3)]
	i := registry.Instance{ID: id, Address: fmt.Sprintf("192.0.2.%d", random.IntN(200)), Port: 80, Weight: 1 + random.IntN(5), Health: health}
	r := registration(node, name, i)
	r.Address = "203.0.113.9"
	switch random.IntN(20) {
	case 0: // the node's address
		d.register(t, &api.CatalogRegistration{Node: node, Address: fmt.Sprintf("203.0.113.%d", random.IntN(200))})
	case 1: // the node goes
		d.deregister(t, &api.CatalogDeregistration{Node: node})
	case 2: // the id moves to another name
		r.Service.Service = fmt.Sprintf("svc-%d", random.IntN(60))
		r.Check.ServiceName = r.Service.Service
		d.register(t, r)
	case 3: // a check of the node
		check := api.HealthCheck{Node: node, CheckID: "node-alive", Name: "node", Status: string(health)}
		d.register(t, &api.CatalogRegistration{Node: node, Address: "203.0.113.9", Checks: api.HealthChecks{&check}})
	case 4, 5: // out and in
		d.deregister(t, &api.CatalogDeregistration{Node: node, ServiceID: id})
		d.register(t, r)
	case 6, 7, 8: // out
		d.deregister(t, &api.CatalogDeregistration{Node: node, ServiceID: id})
	case 9, 10: // an address of the node
		r.Service.Address = ""
		d.register(t, r)
	default:
		d.register(t, r)
	}
}
