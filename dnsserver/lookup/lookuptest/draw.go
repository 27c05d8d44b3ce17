package lookuptest

import (
	"fmt"
	"net/netip"

	"pgregory.net/rapid"

	"github.com/seamark-mesh/seamark/registry"
)

// What drawn worlds consist of: few names, so that they meet, some of which differ only
// in spelling, or are a namespace's, a service's and a cluster's at once.
var (
	Clusters   = []registry.ClusterID{"amber", "bronze", "web"}
	Namespaces = []string{"default", "shop", "Shop", "web"}
	Names      = []string{"web", "WEB", "a.b", "a-b", "shop"}
)

// Draw draws a history of up to 40 events: services that come, change, go and are
// forgotten, gateways "gw-0" to "gw-2" with a port http (80 or 8080) or https (443 or
// 8443), the zone record, what the observer says of clusters, drains and leaves, in any
// order. With moves the zone changes its name, too, to example.org.
func Draw(t *rapid.T, moves bool) *World {
	w := &World{}
	w.Zone(Zone())
	for range rapid.IntRange(0, 40).Draw(t, "events") {
		cluster := rapid.SampledFrom(Clusters).Draw(t, "cluster")
		namespace, name := rapid.SampledFrom(Namespaces).Draw(t, "namespace"), rapid.SampledFrom(Names).Draw(t, "name")
		switch rapid.IntRange(0, 15).Draw(t, "what") {
		case 0:
			w.Zone(drawZone(t, moves))
		case 1, 2:
			w.Cluster(cluster, drawGateways(t)...)
		case 3:
			w.Forget(cluster, namespace, name)
		case 4, 5:
			w.State(cluster, rapid.SampledFrom([]registry.Liveness{
				registry.Up, registry.Unreachable, registry.Stale, registry.Down, registry.Gone,
			}).Draw(t, "state"), rapid.SampledFrom([][]string{nil, nil, {"gw-0"}, {"gw-0", "gw-1", "gw-2"}}).Draw(t, "failing")...)
		case 6, 7:
			w.Order(drawOrder(t, cluster, registry.ServiceKey{Namespace: namespace, Name: name}.Labels()))
		default:
			w.Service(cluster, namespace, name, drawInstances(t)...)
		}
	}
	return w
}

func drawZone(t *rapid.T, moves bool) registry.ZoneRecord {
	z := Zone()
	z.TTL = rapid.SampledFrom([]int{z.TTL, z.TTL, 1, 9, 30}).Draw(t, "ttl")
	z.Withdraw = rapid.SampledFrom([][]registry.Pattern{nil, {"shop/*"}}).Draw(t, "withdraw")
	z.StaleTTL = rapid.IntRange(0, 4).Draw(t, "stale ttl")
	if rapid.Bool().Draw(t, "no name servers") {
		z.Nameservers = nil
	}
	if moves && rapid.Bool().Draw(t, "elsewhere") {
		z.Name, z.Nameservers, z.Contact = "example.org.", nil, "root.example.com."
	}
	return z
}

// drawOrder drains a cluster, a gateway or a service, lets a cluster leave, or ends
// any of these.
func drawOrder(t *rapid.T, cluster registry.ClusterID, labels registry.Labels) registry.Order {
	o := registry.Order{Kind: registry.OrderDrain, Force: rapid.Bool().Draw(t, "force"), Lifted: rapid.Bool().Draw(t, "lifted")}
	switch rapid.IntRange(0, 5).Draw(t, "order") {
	case 0:
		o.Kind, o.Target = registry.OrderLeave, string(cluster)
	case 1:
		o.Target = registry.DrainTarget(cluster, "", registry.Labels{})
	case 2:
		o.Target = registry.DrainTarget(cluster, "gw-0", registry.Labels{})
	default:
		o.Target = registry.DrainTarget(cluster, "", labels)
	}
	return o
}

func drawGateways(t *rapid.T) []registry.Gateway {
	var gateways []registry.Gateway
	for n := range rapid.IntRange(0, 3).Draw(t, "gateways") {
		g := registry.Gateway{Name: fmt.Sprint("gw-", n), Weight: n, Ports: map[string]int{}}
		for _, a := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"203.0.113.1", "203.0.113.2", "2001:db8::1"}), 1, 3, rapid.ID).Draw(t, "addresses") {
			g.Addresses = append(g.Addresses, netip.MustParseAddr(a))
		}
		if rapid.Bool().Draw(t, "http") {
			g.Ports["http"] = rapid.SampledFrom([]int{80, 8080}).Draw(t, "port")
		}
		if rapid.Bool().Draw(t, "https") {
			g.Ports["https"] = rapid.SampledFrom([]int{443, 8443}).Draw(t, "https port")
		}
		gateways = append(gateways, g)
	}
	return gateways
}

func drawInstances(t *rapid.T) []registry.Instance {
	var instances []registry.Instance
	for n := range rapid.IntRange(0, 3).Draw(t, "instances") {
		health := rapid.SampledFrom([]registry.Health{registry.Passing, registry.Warning, registry.Critical, registry.Unknown}).Draw(t, "health")
		instances = append(instances, Instance(fmt.Sprint("i", n), health, rapid.SampledFrom([]string{"", "1", "2"}).Draw(t, "version")))
	}
	return instances
}
