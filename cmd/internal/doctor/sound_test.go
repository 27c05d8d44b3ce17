package doctor

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// now is the stream's clock in these tests, and this machine's.
var now = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// history folds events into a View; each is one message, a second after the one before
// and two hours ago.
type history struct {
	fold     *registry.Fold
	sequence uint64
	stored   time.Time
	epochs   map[registry.Writer]uint64
	revision map[registry.Writer]uint64
}

func newHistory() *history {
	return &history{
		fold: registry.NewFold(), stored: now.Add(-2 * time.Hour),
		epochs: map[registry.Writer]uint64{}, revision: map[registry.Writer]uint64{},
	}
}

func (h *history) publish(e registry.Event) {
	h.sequence++
	h.stored = h.stored.Add(time.Second)
	e.Schema, e.ID, e.Time, e.Cause = registry.Schema, fmt.Sprint(h.sequence), h.stored, registry.CauseChange
	if e.Writer != registry.Operator {
		if e.Kind == registry.KindEpoch {
			h.epochs[e.Writer], h.revision[e.Writer] = uint64(h.stored.Unix()), 0
		}
		h.revision[e.Writer]++
		e.Epoch, e.Revision = h.epochs[e.Writer], h.revision[e.Writer]
	}
	m := registry.NewMessage(e.Fact(), h.sequence, h.stored, e.Epoch, e.Revision, &e, nil)
	if out := h.fold.Apply(m); out.Result == registry.Quarantined && e.Kind != registry.KindNote {
		panic(fmt.Sprintf("event %d: %v", h.sequence, m.Refused))
	}
}

func (h *history) cluster(id registry.ClusterID, gateways ...registry.Gateway) {
	h.publish(registry.Event{Kind: registry.KindEpoch, Writer: registry.Writer(id), Takeover: &registry.EpochRecord{}})
	h.publish(registry.Event{Kind: registry.KindCluster, Writer: registry.Writer(id), Cluster: &registry.ClusterRecord{Cluster: id, Source: "file", Gateways: gateways}})
}

func (h *history) service(id registry.ClusterID, name string) {
	key, err := registry.ParseServiceKey("default", name)
	if err != nil {
		panic(err)
	}
	state := registry.NewServiceState(key, &registry.Service{Key: key, Instances: []registry.Instance{{ID: "one", Address: "10.0.0.1", Port: 80, Weight: 1, Health: registry.Passing}}})
	h.publish(registry.Event{Kind: registry.KindService, Writer: registry.Writer(id), Service: &state})
}

func (h *history) order(o registry.Order) {
	h.publish(registry.Event{Kind: registry.KindOrder, Writer: registry.Operator, Order: &o})
}

func (h *history) state(id registry.ClusterID, state registry.Liveness, reason string, failing ...string) {
	if h.epochs[registry.Observer] == 0 {
		h.publish(registry.Event{Kind: registry.KindEpoch, Writer: registry.Observer, Takeover: &registry.EpochRecord{}})
	}
	h.publish(registry.Event{Kind: registry.KindState, Writer: registry.Observer, State: &registry.StateRecord{Cluster: id, State: state, Since: h.stored, Reason: reason, Failing: failing}})
}

func (h *history) view() *registry.View {
	h.fold.Synced()
	return h.fold.View()
}

func gateway(name, address string, ports map[string]int) registry.Gateway {
	return registry.Gateway{Name: name, Addresses: []netip.Addr{netip.MustParseAddr(address)}, Ports: ports, Weight: 1}
}

var zoneRecord = registry.ZoneRecord{Name: "mesh.internal.", TTL: 5, NegativeTTL: 5, Contact: "hostmaster.mesh.internal."}

// harbours are two clusters with one service each, and one that both have.
func harbours() *history {
	h := newHistory()
	zone := zoneRecord
	h.publish(registry.Event{Kind: registry.KindZone, Writer: registry.Operator, Zone: &zone})
	h.cluster("amber", gateway("gw-1", "203.0.113.1", map[string]int{"http": 80}))
	h.cluster("bronze", gateway("gw-1", "203.0.113.2", map[string]int{"http": 80}), gateway("gw-2", "203.0.113.3", map[string]int{"http": 80}))
	for _, id := range []registry.ClusterID{"amber", "bronze"} {
		h.service(id, "checkout")
		h.service(id, "only-"+string(id))
	}
	return h
}

// withView makes the facts those of another history: leases, readers and DNS agree with it.
func (f *Facts) withView(h *history) {
	v := h.view()
	f.View = View{View: v}
	f.Streams.Events.Last, f.Streams.After = v.Sequence(), v.Sequence()
	f.Signs.Leases = map[registry.Writer]Lease{
		registry.Observer: {Lease: registry.Lease{Writer: registry.Observer, Agent: "global-dns@one/7", Phase: registry.PhaseSynced}, Stored: now.Add(-time.Second), Ahead: []time.Duration{-time.Millisecond, -2 * time.Millisecond}},
	}
	f.Signs.Reports = nil
	digests := map[registry.ClusterID]Content{}
	for _, c := range v.Clusters() {
		f.Signs.Leases[registry.Writer(c.ID)] = Lease{
			Lease: registry.Lease{
				Writer: registry.Writer(c.ID), Agent: "edge-sync@" + string(c.ID) + "/1", Phase: registry.PhaseSynced, Source: "file",
				Epoch: c.Epoch, Revision: c.Revision, Digest: c.Digest,
			},
			Stored: now.Add(-time.Second), Ahead: []time.Duration{-time.Millisecond, -2 * time.Millisecond, -time.Millisecond},
		}
		digests[c.ID] = Content{Epoch: c.Epoch, Revision: c.Revision, Digest: c.Digest}
		for _, vantage := range []string{"_dns-one", "_dns-two", string(c.ID)} {
			f.Signs.Reports = append(f.Signs.Reports, report(vantage, c))
		}
	}
	f.Readers = nil
	for _, url := range []string{"http://one:8080", "http://two:8080"} {
		r := Reader{URL: url, Ready: true, Sequence: v.Sequence(), Digests: digests, Seen: []*registry.View{v, v}, Metrics: map[string]float64{}, Clock: Interval{-time.Millisecond, time.Millisecond}}
		r.Status.Zone, r.Status.Version, r.Status.Sequence = "mesh.internal.", "1.2.3", v.Sequence()
		r.Status.Observer.Leading, r.Status.Observer.Holder = url == "http://one:8080", "global-dns@one/7"
		f.Readers = append(f.Readers, r)
	}
	f.DNS = nil
	for _, address := range []string{"192.0.2.53:53", "192.0.2.54:53"} {
		soa := Answer{RCode: "NOERROR", Data: []string{"ns1.mesh.internal. …"}, Serial: v.Serial(), Took: time.Millisecond}
		f.DNS = append(f.DNS, NameServer{
			Address: address, SOA: map[string]Answer{"udp": soa, "tcp": soa}, Transfer: "refused",
			Name: "checkout.default.svc.mesh.internal.", Type: "A", Want: []string{"203.0.113.1", "203.0.113.2", "203.0.113.3"},
			Service: Answer{RCode: "NOERROR", Data: []string{"203.0.113.1", "203.0.113.2", "203.0.113.3"}},
		})
	}
}

func report(vantage string, c *registry.ClusterState) ProbeReport {
	r := ProbeReport{Stored: now.Add(-2 * time.Second), Ahead: []time.Duration{-2 * time.Millisecond, -time.Millisecond}}
	r.Vantage, r.Cluster, r.Every = vantage, c.ID, 10
	for _, g := range c.Record.Gateways {
		r.Gateways = append(r.Gateways, registry.GatewayReport{Name: g.Name, Reached: true, Latency: &registry.Latency{Count: 10, Min: 1, Mean: 2, P99: 5}})
	}
	return r
}

// sound are the facts of a mesh with nothing wrong.
func sound() *Facts {
	f := &Facts{Local: now, Transfers: "refused"}
	f.NATS = Server{URL: "nats://n1:4222", Version: "2.15.2", RoundTrip: time.Millisecond, Clock: Interval{-time.Millisecond, time.Millisecond}}
	f.Account = Account{Bytes: 1 << 20, MostBytes: 1 << 40, Streams: 2, Consumers: 9, MostStreams: -1, MostConsumer: -1}
	f.Rights = Rights{User: "operator", Limited: true, PublishAllow: []string{"mesh.v1._operator.>", "$JS.API.>"}}
	peers := []Peer{{Name: "n2", Current: true}, {Name: "n3", Current: true}}
	f.Streams = Streams{
		Now: now,
		Events: Stream{
			Name: "MESH_EVENTS", Created: now.Add(-48 * time.Hour), Replicas: 3, MaxAge: 720 * time.Hour, MaxBytes: 10 << 30, Leader: "n1", Peers: peers,
			Messages: 1000, Bytes: 1 << 20, First: 1, FirstTime: now.Add(-48 * time.Hour), LastTime: now, Recent: 20, Span: time.Hour,
		},
		Lease: Stream{Name: "MESH_LEASE", Replicas: 3, MaxBytes: -1, Leader: "n1", Peers: peers, Messages: 10, Bytes: 1000},
	}
	f.Credentials = File{Path: "operator.creds", User: "operator", Expires: now.Add(365 * 24 * time.Hour)}
	f.Certs = []Certificate{{Where: "n1:4222", Subject: "CN=n1", Until: now.Add(90 * 24 * time.Hour)}}
	zone := zoneRecord
	f.Configs = []Config{{Path: "global-dns.yaml", Daemon: "global-dns", Zone: &zone}, {Path: "edge-sync.yaml", Daemon: "edge-sync"}}
	f.Agents = []Agent{{URL: "http://a:8081", Cluster: "amber", Role: "leader"}, {URL: "http://b:8081", Cluster: "amber", Role: "standby"}}
	f.withView(harbours())
	for n := range f.Readers {
		f.Readers[n].Metrics[checkpointAge], f.Readers[n].Metrics[viewCutOff] = 3, 0
	}
	return f
}

func TestASoundMeshIsHealthy(t *testing.T) {
	r := Judge(sound(), nil)
	said := map[string]bool{}
	for _, f := range r.Findings {
		said[string(f.Category)+"/"+f.Check] = true
		if f.Status != Healthy || f.Description == "" {
			t.Errorf("%+v", f)
		}
	}
	for _, c := range checks() {
		if name := string(c.category) + "/" + c.name; !said[name] {
			t.Errorf("the check %s says nothing of a sound mesh", name)
		}
	}
	if r.Status != Healthy || len(r.NotAsked) != 0 {
		t.Errorf("the report is %s, and left out %q", r.Status, r.NotAsked)
	}
}
