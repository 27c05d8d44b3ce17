package edge

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/election"
)

// Source is a registry as its adapter shows it.
type Source interface {
	// Watch emits the whole catalogue as soon as it was read in full and again
	// after each change. It blocks until ctx ends, or until the registry can't be
	// read or trusted; it never emits a part of a catalogue and never tries again:
	// the Agent does. Emit does not block; Watch calls it from one goroutine at a time.
	Watch(ctx context.Context, emit func(registry.Snapshot)) error
	// Read reads the whole catalogue once more, consistently, without the watch's
	// state. It may run beside Watch.
	Read(ctx context.Context) (registry.Snapshot, error)
}

// Log is the writer's end of the stream, for one writer. Every call is bounded in
// time; an error that is neither [registry.ErrConflict] nor [registry.ErrFenced]
// leaves open whether the call took effect, and the same call may be made again.
// Publish and PutLease are called by one goroutine each.
type Log interface {
	// ReadLease returns the writer's lease as it stands.
	ReadLease(ctx context.Context) (registry.LeaseAt, error)
	// PutLease replaces the lease whose message has the sequence expect (0: none
	// stands) and returns the new sequence, or ErrConflict when somebody else wrote
	// one. What this Log wrote without hearing of it is replaced too.
	PutLease(ctx context.Context, l registry.Lease, expect uint64) (sequence uint64, err error)
	// Now returns the stream's clock.
	Now(ctx context.Context) (time.Time, error)
	// Last returns the last message of a fact.
	Last(ctx context.Context, fact registry.Fact) (m registry.Message, found bool, err error)
	// Load returns the last message of each fact of this writer, in stream order.
	Load(ctx context.Context) ([]registry.Message, error)
	// PutEpoch stores an epoch record after the one whose sequence is expect (0: none
	// stands), or returns ErrConflict. The same event given again after an error
	// returns the sequence it was stored with.
	PutEpoch(ctx context.Context, e *registry.Event, expect uint64) (sequence uint64, err error)
	// Publish stores events in their order, each only if the epoch record with the
	// sequence fence is still the latest, else it returns ErrFenced. After any other
	// error the identical events are given again: what was stored is not stored twice.
	// Stored is what was stored where it differs (instances cut to the server's
	// limit), by index; nil entries are as given.
	Publish(ctx context.Context, events []*registry.Event, fence uint64) (stored []*registry.Event, err error)
	// WatchOrders calls f for the last order of each kind to this writer's cluster, as they
	// stand, then with the zero Message, also when none stands, and then for each new order,
	// until ctx ends or they can't be followed. Calls do not overlap.
	WatchOrders(ctx context.Context, f func(registry.Message)) error
}

// Receipts is what a [Log] may do besides: without it an agent notices that the stream
// has lost what it had acknowledged only when its epoch's record is among that.
type Receipts interface {
	// Stands reports whether the last message that was acknowledged still stands where it
	// was stored, or has aged out. A replica of the stream that lags may say no.
	Stands(ctx context.Context) (bool, error)
}

// Config is what an Agent needs to know for its whole life.
type Config struct {
	Cluster registry.ClusterID
	Agent   string // who: host and process, unique among the agents of the mesh
	Version string // of the software
	Source  string // kind of registry, as people see it: consul, nacos, file
	Logger  *slog.Logger
	Refused func(*registry.Refusal) // is told of everything the policy or the door refuses; may be called from any goroutine
	Timing  Timing                  // zero fields mean the defaults
	Ended   func(agent string) bool // whether the agent of this name has ended for certain, so that its lease is not waited for; nil: nobody knows. It must not block
	Brake   BrakeRules              // likewise
}

// Timing holds the agent's periods. The defaults are the protocol's.
type Timing struct {
	Renew   time.Duration // between renewals of the lease; 2 s
	Lapse   time.Duration // without renewal until a standby takes over; 10 s
	Compare time.Duration // between comparisons with the registry; 1 min
	Refresh time.Duration // until a record is published again; 24 h
	Forget  time.Duration // until a tombstone is forgotten; 7 d
	Retry   time.Duration // the longest pause between two attempts; 10 s
	Steady  bool          // pauses without chance, so that a simulation can be replayed; never for real agents, which would all come back at once
}

func (t Timing) withDefaults() Timing {
	set := func(d *time.Duration, value time.Duration) {
		if *d <= 0 {
			*d = value
		}
	}
	set(&t.Renew, 2*time.Second)
	set(&t.Lapse, 10*time.Second)
	set(&t.Compare, time.Minute)
	set(&t.Refresh, 24*time.Hour)
	set(&t.Forget, 7*24*time.Hour)
	set(&t.Retry, 10*time.Second)
	return t
}

// backoff returns the pauses between attempts.
func (t Timing) backoff() *backoff.ExponentialBackOff { return election.NewBackoff(t.Retry, t.Steady) }

// Settings may change while the agent runs, see [Agent.Reload].
type Settings struct {
	Region, Zone string
	Labels       map[string]string
	Gateways     []registry.Gateway // written down by the operator; cleaned
	FromService  *GatewayService    // gateways found in the registry; may be nil
	Allow        []netip.Prefix     // what the registry may name beyond public and private addresses
	Export       ExportPolicy

	// Configuration is what the history is told of the whole configuration that these
	// are from; the zero one is not told.
	Configuration registry.Configuration
}

// GatewayService names the service whose serving instances are the cluster's
// gateways, under PortName. Probe says how each of them is probed; nil: the default.
type GatewayService struct {
	Key      registry.ServiceKey
	PortName string // one DNS label
	Probe    *registry.Probe
}

// gatewayService returns the service that the gateways are read from; nil when
// there is none.
func (s Settings) gatewayService(snapshot registry.Snapshot) *registry.Service {
	if s.FromService == nil {
		return nil
	}
	return snapshot.Service(s.FromService.Key)
}

// record returns what the cluster says of itself.
func (s Settings) record(cluster registry.ClusterID, source string, snapshot registry.Snapshot) (registry.ClusterRecord, []*registry.Refusal) {
	gateways, refused := registry.CleanGateways(s.Gateways, true, nil)
	if s.FromService != nil {
		found, notes := s.FromService.gateways(snapshot, s.Allow)
		refused = append(refused, notes...)
		for _, g := range found {
			if !slices.ContainsFunc(gateways, func(o registry.Gateway) bool { return o.Name == g.Name }) {
				gateways = append(gateways, g)
			}
		}
		slices.SortFunc(gateways, func(a, b registry.Gateway) int { return compareText(a.Name, b.Name) })
	}
	if gateways == nil {
		gateways = []registry.Gateway{}
	}
	return registry.ClusterRecord{
		Cluster: cluster, Source: source, Region: s.Region, Zone: s.Zone,
		Labels: maps.Clone(s.Labels), Gateways: gateways,
	}, refused
}

// unreadable tells why no reader of the stream would accept a record; nil when
// they would. What it refuses would stand between readers and later records.
func unreadable(record registry.ClusterRecord) *registry.Refusal {
	body, err := registry.Encode(&registry.Event{
		Schema: registry.Schema, Kind: registry.KindCluster, Writer: registry.Writer(record.Cluster), Cluster: &record,
	})
	if err == nil {
		_, err = registry.Decode(body)
	}
	if refusal, ok := errors.AsType[*registry.Refusal](err); ok {
		return refusal
	}
	return nil
}

// gateways makes one gateway of every serving instance whose address is an IP
// address; its name is the instance id as a label.
func (g GatewayService) gateways(snapshot registry.Snapshot, allow []netip.Prefix) ([]registry.Gateway, []*registry.Refusal) {
	service := snapshot.Service(g.Key)
	if service == nil {
		return nil, nil
	}
	var found []registry.Gateway
	var refused []*registry.Refusal
	for _, i := range service.Instances {
		if !i.Serves() {
			continue
		}
		address, err := netip.ParseAddr(i.Address)
		if err != nil {
			refused = append(refused, &registry.Refusal{Reason: "gateway-address", Detail: "gateway instance " + i.ID + ": its address " + i.Address + " is no IP address, and nothing is resolved"})
			continue
		}
		gateway := registry.Gateway{Name: registry.Label(i.ID), Addresses: []netip.Addr{address}, Weight: i.Weight, Probe: g.Probe}
		if i.Port > 0 {
			gateway.Ports = map[string]int{g.PortName: i.Port}
		}
		found = append(found, gateway)
	}
	clean, notes := registry.CleanGateways(found, false, allow)
	return clean, append(refused, notes...)
}
