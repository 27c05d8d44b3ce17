package lookup

import (
	"slices"
	"strconv"

	"github.com/miekg/dns"

	"github.com/seamark-mesh/seamark/registry"
)

// Likeness is a service or a cluster's gateways, looked at so that what is answered
// does not depend on the name that was asked: whoever is answered alike may share
// one Likeness. It belongs to the View it was made for.
type Likeness struct {
	view  *registry.View
	place place
}

// OfEntry returns what is answered at the names of a service, in all clusters; or in
// one, when cluster is not empty. That cluster must have a record of it.
func OfEntry(v *registry.View, e *registry.Entry, cluster registry.ClusterID) Likeness {
	p := place{kind: service, entry: e}
	if cluster != "" {
		p.cluster = v.Cluster(cluster)
	}
	return Likeness{v, p}
}

// OfGateways returns what is answered at the names of a cluster's gateways: all of
// them, or one, when gateway is not empty. The cluster must be known, and have it.
func OfGateways(v *registry.View, cluster registry.ClusterID, gateway string) Likeness {
	return Likeness{v, place{kind: gateways, cluster: v.Cluster(cluster), gateway: gateway}}
}

// Records returns what [Answer] says to one type; with a port, at _port._tcp in front
// of the name. The owner of the records in answer is the one given.
func (l Likeness) Records(port, owner string, qtype uint16) (answer, additional []dns.RR) {
	p := l.place
	p.port = port
	return p.records(l.view, owner, qtype)
}

// Doubt returns what is to be said with an answer that is kept because no cluster that
// is up can serve; nil when one can.
func (l Likeness) Doubt() *ExtendedError { return l.place.doubt(l.view, dns.TypeA) }

// Ports returns what may stand as <port> in _<port>._tcp in front of the name: the
// names and the numbers of the gateways' ports, sorted, each once.
func (l Likeness) Ports() []string {
	var ports []string
	l.place.anyGateway(l.view, func(g registry.Gateway) bool {
		for name, number := range g.Ports {
			ports = append(ports, name, strconv.Itoa(number))
		}
		return false // on to the next one
	})
	slices.Sort(ports)
	return slices.Compact(ports)
}

// Negative returns the SOA that stands in the authority section of every negative
// answer. The View must be synced and have a zone record.
func Negative(v *registry.View) dns.RR { return negative(v, dns.RcodeSuccess).Authority[0] }
