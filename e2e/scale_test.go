package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// TestManyServicesAtStart starts an agent in a cluster that has many services
// already: all of them are answered. Nothing runs beside it, for it keeps both
// processors busy.
func TestManyServicesAtStart(t *testing.T) {
	for kind, open := range registries {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			count := 5000
			if kind == "nacos" { // it takes each by a request of its own: 5,000 are a minute of two busy processors
				count = 1000
			}
			r := open(t)
			m := newMesh(t)
			r.fill(t, "bulk", count)
			began := time.Now()
			m.agent(t, "amber", amberGateway, r.source())
			m.eventually(t, time.Minute, "all services are known", func() error {
				c, err := m.cluster("amber")
				if err == nil && c.Services < count {
					err = fmt.Errorf("%d services", c.Services)
				}
				return err
			})
			t.Logf("%d services of %s are in DNS %v after the agent's start", count, kind, time.Since(began).Round(time.Millisecond))
			for _, n := range []int{0, 1, count / 2, count - 1} {
				m.answers(t, fmt.Sprintf("bulk-%d.svc.mesh.internal.", n), "A", amberGateway)
			}
			seen := map[string]int{}
			for _, message := range m.audit(t) {
				if message.Fact.Kind == registry.KindService {
					seen[message.Fact.Service.Name]++
				}
			}
			for n := range count {
				if times := seen[fmt.Sprintf("bulk-%d", n)]; times != 1 {
					t.Fatalf("bulk-%d was published %d times, want once", n, times)
				}
			}
		})
	}
}

// TestTwoClustersWithTheSameService joins a Consul cluster and one with a file:
// one name, both gateways; each cluster comes and goes by itself.
func TestTwoClustersWithTheSameService(t *testing.T) {
	together(t)
	m := newMesh(t)
	amber, bronze := newConsul(t), newFile(t)
	amber.put(t, "checkout", first)
	bronze.put(t, "checkout", second)
	m.agent(t, "amber", amberGateway, amber.source())
	m.agent(t, "bronze", bronzeGateway, bronze.source())
	m.answers(t, checkout, "A", amberGateway, bronzeGateway)
	m.answers(t, "_http._tcp."+checkout, "SRV", "0 1 8080 gw-1.amber.gw.mesh.internal.", "0 1 8080 gw-1.bronze.gw.mesh.internal.")
	m.answers(t, "checkout.default.amber.cluster.mesh.internal.", "A", amberGateway)
	m.answers(t, "checkout.default.bronze.cluster.mesh.internal.", "A", bronzeGateway)

	sick := first
	sick.bad = true
	amber.put(t, "checkout", sick)
	m.answers(t, checkout, "A", bronzeGateway)
	m.text(t, checkout, "cluster=amber", "healthy=0", "total=1")
	bronze.put(t, "checkout")
	m.answers(t, checkout, "A")
	amber.put(t, "checkout", first)
	m.answers(t, checkout, "A", amberGateway)
	m.audit(t)
}

// TestTwoReplicasAnswerTheSame starts a second global-dns after the fact: the
// first has lived through the history, the second has read the last message of
// each fact. Serial and answers are equal.
func TestTwoReplicasAnswerTheSame(t *testing.T) {
	together(t)
	m := newMesh(t)
	r := newFile(t)
	r.put(t, "checkout", first)
	m.agent(t, "amber", amberGateway, r.source())
	for n := range 20 {
		r.put(t, fmt.Sprintf("moving-%d", n%7), instance{id: "i", address: "10.0.0.1", port: 1000 + n})
		m.text(t, fmt.Sprintf("moving-%d.svc.mesh.internal.", n%7), "total=1")
	}
	second := m.replica(t)
	m.eventually(t, patienceOfTests, "both replicas are at one serial", func() error {
		var here, there struct{ Serial uint32 }
		if err := get("http://"+m.http+"/v1/status", &here); err != nil {
			return err
		}
		if err := get("http://"+second.http+"/v1/status", &there); err != nil {
			return err
		}
		if here.Serial != there.Serial {
			return fmt.Errorf("serials %d and %d", here.Serial, there.Serial)
		}
		return nil
	})
	var here, there any
	if err := get("http://"+m.http+"/v1/services", &here); err != nil {
		t.Fatal(err)
	}
	if err := get("http://"+second.http+"/v1/services", &there); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(here) != fmt.Sprint(there) {
		t.Errorf("the replicas differ:\n%v\n%v", here, there)
	}
	second.answers(t, checkout, "A", amberGateway)
}

// TestReloadKeepsTheEpoch changes gateways and export of a running agent: what
// differs is published within the epoch, and a bad file changes nothing.
func TestReloadKeepsTheEpoch(t *testing.T) {
	together(t)
	m := newMesh(t)
	r := newFile(t)
	r.put(t, "checkout", first)
	r.put(t, "internal-audit", second)
	m.agent(t, "amber", amberGateway, r.source())
	m.answers(t, "internal-audit.svc.mesh.internal.", "A", amberGateway)
	before := m.synced(t, "amber", 0)

	rewrite := func(gateway string, export map[string]any) {
		m.write(t, "amber.yaml", map[string]any{
			"cluster": "amber", "nats": map[string]any{"servers": []string{m.nats.URL}}, "source": r.source(), "http": m.agentHTTP["amber.yaml"],
			"gateways": map[string]any{"static": []any{map[string]any{"name": "gw-1", "addresses": []string{gateway}, "ports": map[string]int{"http": 8080}}}},
			"export":   export,
		})
	}
	rewrite("198.51.100.77", map[string]any{"exclude": []string{"*/internal-*"}, "rename": map[string]string{"default/check*": "shop/check*"}})
	m.answers(t, "checkout.shop.svc.mesh.internal.", "A", "198.51.100.77")
	m.answers(t, checkout, "A")
	m.answers(t, "internal-audit.svc.mesh.internal.", "A")

	rewrite("not an address", nil)
	rewrite("0.0.0.0", nil)
	m.answers(t, "checkout.shop.svc.mesh.internal.", "A", "198.51.100.77")
	rewrite(amberGateway, nil)
	m.answers(t, checkout, "A", amberGateway)
	if after := m.synced(t, "amber", 0); after.Epoch != before.Epoch {
		t.Errorf("a reload began epoch %d", after.Epoch)
	}
	m.audit(t)
}
