package compile

import (
	"encoding/binary"
	"slices"

	"github.com/miekg/dns"

	"github.com/seamark-mesh/seamark/dnsserver/lookup"
	"github.com/seamark-mesh/seamark/registry"
)

// The types that are compiled.
const (
	typeA = iota
	typeAAAA
	typeSRV
	typeSVCB
	typeHTTPS
	types
)

var compiled = [types]uint16{typeA: dns.TypeA, typeAAAA: dns.TypeAAAA, typeSRV: dns.TypeSRV, typeSVCB: dns.TypeSVCB, typeHTTPS: dns.TypeHTTPS}

// indexOf returns where a type stands in answers; types when it is not compiled.
func indexOf(qtype uint16) int {
	switch qtype {
	case dns.TypeA:
		return typeA
	case dns.TypeAAAA:
		return typeAAAA
	case dns.TypeSRV:
		return typeSRV
	case dns.TypeSVCB:
		return typeSVCB
	case dns.TypeHTTPS:
		return typeHTTPS
	}
	return types
}

// answers is what one name says to each type; nil is NODATA.
type answers [types]*body

// set is all that is said at a name and at _port._tcp in front of it. It is immutable.
type set struct {
	answers
	ports    []port // sorted by label
	size     int    // in bytes
	complete bool   // left to the complete path
}

type port struct {
	label string
	answers
}

func (s *set) port(label []byte) *port {
	for n := range s.ports {
		if s.ports[n].label == string(label) {
			return &s.ports[n]
		}
	}
	return nil
}

// compileSet compiles what is said of a likeness.
func compileSet(l lookup.Likeness) *set {
	s := &set{}
	s.answers = s.compile(l, "")
	for _, label := range l.Ports() {
		s.ports = append(s.ports, port{label, s.compile(l, label)})
	}
	return s
}

func (s *set) compile(l lookup.Likeness, port string) (all answers) {
	for n, qtype := range compiled {
		answer, additional := l.Records(port, owner, qtype)
		if all[n] = encode(answer, additional); all[n] != nil {
			all[n].doubt = encodeDoubt(l.Doubt())
		}
		if all[n] != nil {
			s.size += len(all[n].wire)
		}
	}
	return all
}

// member is what a set has to know of a service in one cluster.
type member struct {
	cluster registry.ClusterID
	serving bool
	drained drained
}

// drained tells whether a service is drained by itself in a cluster; what concerns the
// whole cluster is no matter of one set.
type drained byte

const (
	notDrained   drained = 'o'
	isDrained    drained = 'd'
	forceDrained drained = 'f'
)

func drainedIn(v *registry.View, cluster registry.ClusterID, l registry.Labels) drained {
	switch o := v.DrainedService(cluster, l); {
	case o == nil:
		return notDrained
	case o.Force:
		return forceDrained
	}
	return isDrained
}

// recipe tells how to compile a set anew when a cluster has changed.
type recipe struct {
	gateway string // of gateways: one gateway's name, "" for all
	service bool
	key     registry.ServiceKey // one of the services
	members []member            // of gateways: the cluster
	terms   terms               // the service's
}

// terms are what the zone record says of a service: up to a thousand patterns twice, so
// they are asked for once per name and not per set.
type terms struct {
	ttl    int  // seconds
	policy byte // what follows when all clusters are in doubt
}

func termsOf(zone *registry.ZoneRecord, key registry.ServiceKey) terms {
	t := terms{ttl: zone.ServiceTTL(key), policy: '='}
	if zone.Withdraws(key) {
		t.policy = '-'
	}
	return t
}

// recipeOf returns what the answers for a service depend on; for its name in one
// cluster, when cluster is not empty.
func recipeOf(v *registry.View, e *registry.Entry, cluster registry.ClusterID, t terms) recipe {
	r := recipe{service: true, key: e.Key, terms: t}
	for _, record := range e.Records {
		if cluster == "" || record.Cluster == cluster {
			r.members = append(r.members, member{record.Cluster, serves(record), drainedIn(v, record.Cluster, e.Key.Labels())})
		}
	}
	return r
}

// serves reports whether a service has an instance in a cluster that takes traffic.
func serves(r *registry.Record) bool { return r.Serving > 0 && !r.Tombstone() }

// appendKey appends what is equal for all services that are answered alike.
func (r *recipe) appendKey(b []byte) []byte {
	if !r.service {
		b = append(b, 'g')
		b = append(b, r.gateway...)
		b = append(b, '.')
		return append(b, r.members[0].cluster...)
	}
	b = append(b, 's')
	b = binary.BigEndian.AppendUint32(b, uint32(r.terms.ttl))
	b = append(b, r.terms.policy)
	for _, m := range r.members {
		state := byte('-')
		if m.serving {
			state = '+'
		}
		b = append(append(b, state, byte(m.drained)), m.cluster...)
	}
	return b
}

func (r *recipe) has(cluster registry.ClusterID) bool {
	return slices.ContainsFunc(r.members, func(m member) bool { return m.cluster == cluster })
}

// likeness returns what a set is compiled from: of a service, one that stands for all
// that share the set. It is drained as they are, whatever has become of its own drains.
func (r *recipe) likeness(v *registry.View) lookup.Likeness {
	if !r.service {
		return lookup.OfGateways(v, r.members[0].cluster, r.gateway)
	}
	e := &registry.Entry{Key: r.key}
	drains := map[registry.ClusterID]bool{}
	for _, m := range r.members {
		if m.drained != notDrained {
			drains[m.cluster] = m.drained == forceDrained
		}
		record := &registry.Record{Cluster: m.cluster, Service: registry.Service{Key: r.key}, Total: 1}
		if m.serving {
			record.Serving = 1
		}
		e.Records = append(e.Records, record)
	}
	return lookup.OfEntry(v.SupposeDrained(r.key.Labels(), drains), e, "")
}
