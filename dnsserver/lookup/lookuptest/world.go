package lookuptest

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// Zone is the zone record that tests use.
func Zone() registry.ZoneRecord {
	return registry.ZoneRecord{
		Name: "mesh.internal.", TTL: 5, NegativeTTL: 3,
		TTLByService: []registry.ServiceTTL{{Pattern: "shop/*", TTL: 15}},
		Nameservers: []registry.Nameserver{
			{Name: "a.dns.mesh.internal.", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.53"), netip.MustParseAddr("2001:db8::53")}},
			{Name: "ns.example.net."},
		},
		Contact: "hostmaster.mesh.internal.",
	}
}

// World is a stream that is being written. The zero World is empty; one
// goroutine uses it.
type World struct {
	messages  []registry.Message
	revisions map[registry.Writer]uint64
}

// Zone publishes the zone record.
func (w *World) Zone(z registry.ZoneRecord) {
	clean, faults := registry.CleanZone(z)
	if len(faults) > 0 {
		panic(fmt.Sprint("lookuptest: zone record: ", faults))
	}
	w.publish(registry.Event{Kind: registry.KindZone, Writer: registry.Operator, Zone: &clean})
}

// Cluster publishes a cluster's record.
func (w *World) Cluster(id registry.ClusterID, gateways ...registry.Gateway) {
	clean, refused := registry.CleanGateways(gateways, true, nil)
	if len(refused) > 0 {
		panic(fmt.Sprint("lookuptest: gateways: ", refused[0]))
	}
	w.publish(registry.Event{Kind: registry.KindCluster, Writer: registry.Writer(id), Cluster: &registry.ClusterRecord{
		Cluster: id, Source: "file", Region: "eu", Zone: "eu-1", Gateways: clean,
	}})
}

// Service publishes a service of a cluster; without instances, its tombstone.
func (w *World) Service(cluster registry.ClusterID, namespace, name string, instances ...registry.Instance) {
	service, refused, ok := registry.CleanService(namespace, name, instances)
	if !ok || len(refused) > 0 {
		panic(fmt.Sprint("lookuptest: service: ", refused[0]))
	}
	state := registry.NewServiceState(service.Key, &service)
	w.state(cluster, state)
}

// Forget publishes that a service counts as never registered.
func (w *World) Forget(cluster registry.ClusterID, namespace, name string) {
	key, err := registry.ParseServiceKey(namespace, name)
	if err != nil {
		panic(err)
	}
	state := registry.NewServiceState(key, nil)
	state.Forgotten = true
	w.state(cluster, state)
}

// State publishes what the observer holds of a cluster.
func (w *World) State(cluster registry.ClusterID, state registry.Liveness, failing ...string) {
	w.publish(registry.Event{Kind: registry.KindState, Writer: registry.Observer, State: &registry.StateRecord{
		Cluster: cluster, State: state, Since: w.now(), Reason: "a test", Failing: failing,
	}})
}

// Order publishes a drain or a leave.
func (w *World) Order(o registry.Order) {
	w.publish(registry.Event{Kind: registry.KindOrder, Writer: registry.Operator, Order: &o})
}

func (w *World) state(cluster registry.ClusterID, state registry.ServiceState) {
	state.Changed = registry.Stamp{Epoch: 1, Revision: uint64(len(w.messages)), Time: w.now()}
	w.publish(registry.Event{Kind: registry.KindService, Writer: registry.Writer(cluster), Service: &state})
}

// Messages returns the whole history.
func (w *World) Messages() []registry.Message { return slices.Clone(w.messages) }

// LastPerSubject returns of each fact the last message, in the stream's order.
func (w *World) LastPerSubject() []registry.Message {
	last := map[registry.Fact]uint64{}
	for _, m := range w.messages {
		last[m.Fact] = m.Sequence
	}
	return slices.DeleteFunc(w.Messages(), func(m registry.Message) bool { return last[m.Fact] != m.Sequence })
}

// View folds the whole history into a synced View.
func (w *World) View() *registry.View { return Fold(w.messages) }

// Fold folds messages into a synced View.
func Fold(messages []registry.Message) *registry.View {
	f := registry.NewFold()
	for _, m := range messages {
		f.Apply(m)
	}
	f.Synced()
	return f.View()
}

func (w *World) publish(e registry.Event) {
	if w.revisions == nil {
		w.revisions = map[registry.Writer]uint64{}
	}
	if e.Writer != registry.Operator {
		if w.revisions[e.Writer] == 0 && e.Kind != registry.KindEpoch {
			w.publish(registry.Event{Kind: registry.KindEpoch, Writer: e.Writer, Takeover: &registry.EpochRecord{}})
		}
		w.revisions[e.Writer]++
		e.Epoch, e.Revision = 1, w.revisions[e.Writer]
	}
	sequence := uint64(len(w.messages) + 1)
	e.Schema, e.ID, e.Time, e.Cause = registry.Schema, fmt.Sprint(sequence), w.now(), registry.CauseChange
	body, err := registry.Encode(&e)
	if err != nil {
		panic(err)
	}
	decoded, err := registry.Decode(body)
	if err != nil {
		panic(err)
	}
	m := registry.NewMessage(e.Fact(), sequence, e.Time, e.Epoch, e.Revision, decoded, nil)
	if m.Refused != nil {
		panic(m.Refused)
	}
	w.messages = append(w.messages, m)
}

// now is a time that depends on the position in the stream alone.
func (w *World) now() time.Time {
	return time.Date(2026, 1, 2, 3, 4, len(w.messages), 0, time.UTC)
}

// Gateway makes a gateway with a port "http"; addresses are IP literals.
func Gateway(name string, weight int, http int, addresses ...string) registry.Gateway {
	g := registry.Gateway{Name: name, Weight: weight, Ports: map[string]int{"http": http}}
	for _, a := range addresses {
		g.Addresses = append(g.Addresses, netip.MustParseAddr(a))
	}
	return g
}

// Instance makes an instance that has weight 1.
func Instance(id string, health registry.Health, version string) registry.Instance {
	return registry.Instance{ID: id, Address: "10.0.0.1", Port: 8000, Weight: 1, Health: health, Version: version}
}

// Harbours is the world that most tests use: three clusters, amber with two
// gateways, bronze with one that speaks IPv4 only, cobalt without any, and
// services in every state.
func Harbours() *World {
	w := &World{}
	w.Zone(Zone())
	west := Gateway("west", 10, 8080, "203.0.113.11", "2001:db8:a::11")
	west.Ports["https"] = 8443
	w.Cluster("amber", west, Gateway("east", 30, 8080, "203.0.113.10", "2001:db8:a::10"))
	w.Cluster("bronze", Gateway("front", 5, 9090, "198.51.100.20"))
	w.Cluster("cobalt")
	w.Service("amber", "shop", "web", Instance("web-1", registry.Passing, "1.2.0"), Instance("web-2", registry.Warning, "1.3.0"), Instance("web-3", registry.Critical, "1.3.0"))
	w.Service("bronze", "shop", "web", Instance("web-1", registry.Passing, "1.2.0"))
	w.Service("cobalt", "shop", "web", Instance("web-1", registry.Passing, ""))
	w.Service("amber", "shop", "cart", Instance("cart-1", registry.Critical, "2.0"))
	w.Service("bronze", "shop", "cart")
	w.Service("amber", "", "login", Instance("login-1", registry.Passing, ""))
	w.Service("bronze", "default", "shop", Instance("shop-1", registry.Passing, ""))
	w.Service("cobalt", "lab", "alone", Instance("alone-1", registry.Passing, ""))
	w.Service("amber", "lab", "Big.Name", Instance("big-1", registry.Passing, ""))
	w.Service("amber", "lab", "old", Instance("old-1", registry.Passing, ""))
	w.Forget("amber", "lab", "old")
	w.Service("amber", "attic", "old")
	w.Forget("amber", "attic", "old")
	return w
}
