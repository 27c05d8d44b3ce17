package lookup

import (
	"slices"
	"strconv"
	"strings"

	"github.com/seamark-mesh/seamark/registry"
)

// kind says what a name in the zone stands for.
type kind int

const (
	absent       kind = iota // no such name
	branch                   // nothing but names below it
	apex                     // the zone's own name
	nameserver               // one of the zone's name servers
	service                  // a service, in all clusters or in one
	gateways                 // a cluster's gateways, or one of them
	domains                  // the list of namespaces
	serviceTypes             // the list of a namespace's types of service
	instancesOf              // the list of services of a type, and nothing else
	reasons                  // why a service is answered as it is
)

// place is what a name in the zone stands for.
type place struct {
	kind    kind
	server  *registry.Nameserver   // of a nameserver
	entry   *registry.Entry        // of a service
	cluster *registry.ClusterState // of a service in one cluster, of gateways
	gateway string                 // one gateway's name; "": all of the cluster
	port    string                 // in front of the name, by name or number; "": none
	https   bool                   // the port stands in _number._https, not in _port._tcp

	namespace string // of a list: whose; also where a service's port has the same name as a type
	instance  bool   // of a service: it is looked at as an instance of the type that is its port
	most      int    // of a list: how many records it need have; 0: all
}

// The labels in front of which a port stands.
const (
	tcpLabel   = "_tcp"
	httpsLabel = "_https"
)

// maxLabels is one more than the longest name has above the zone, which is
// _port._tcp.service.namespace.cluster.cluster; name servers aside.
const maxLabels = 7

// fold makes ASCII letters lower-case and nothing else (RFC 4343).
func fold(name string) string {
	for n := range len(name) {
		if c := name[n]; 'A' <= c && c <= 'Z' {
			b := []byte(name)
			for ; n < len(b); n++ {
				if c := b[n]; 'A' <= c && c <= 'Z' {
					b[n] = c + 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return name
}

// within returns what stands above the zone in a folded name, without the dot
// between them; inside is false when the name does not end in the zone's labels.
func within(name, zone string) (head string, inside bool) {
	if name == zone {
		return "", true
	}
	head, ok := strings.CutSuffix(name, zone)
	if !ok || !strings.HasSuffix(head, ".") {
		return "", false
	}
	head = head[:len(head)-1]
	escapes := len(head) - len(strings.TrimRight(head, `\`))
	return head, escapes%2 == 0 // an escaped dot is part of a label
}

// find tells what a folded name stands for, head being its part above the zone.
func find(v *registry.View, name, head string) place {
	if head == "" {
		return place{kind: apex}
	}
	if strings.Contains(head, `\`) {
		return place{} // no name of ours needs an escape, nor does any stand below one that does
	}
	var labels [maxLabels]string
	count := 0
	for rest, more := head, true; more && count < maxLabels; count++ {
		labels[count], rest, more = strings.Cut(rest, ".")
	}
	top := head[strings.LastIndexByte(head, '.')+1:]
	switch {
	case top == udpLabel && count < maxLabels:
		return findDomains(v, labels[:count])
	case top != "svc" && top != "cluster" && top != "gw":
		return findNameserver(v, name)
	case count == maxLabels:
		return place{}
	}
	if labels[0] == whyLabel && count > 1 {
		return findReasons(v, top, labels[1:count-1])
	}
	p := findPorts(v, top, labels[:count-1])
	if top == "svc" && count > 2 && (p.kind == absent || p.port != "" && !p.https) {
		if b := findBrowsed(v, labels[:count-1]); p.kind == absent {
			return b
		} else if b.kind == instancesOf {
			p.namespace = b.namespace
		}
	}
	return p
}

// findPorts finds the names with a port in front and those without; above are the
// labels in front of top.
func findPorts(v *registry.View, top string, above []string) place {
	switch {
	case len(above) > 1 && (above[1] == tcpLabel || above[1] == httpsLabel):
		port, ok := strings.CutPrefix(above[0], "_")
		p := findBase(v, top, above[2:])
		p.https = above[1] == httpsLabel
		if p.port = port; !ok || !p.hasPort(v) {
			return place{}
		}
		return p
	case len(above) > 0 && (above[0] == tcpLabel || above[0] == httpsLabel):
		p := findBase(v, top, above[1:])
		if p.https = above[0] == httpsLabel; p.hasPorts(v) {
			return place{kind: branch}
		}
		return place{}
	}
	return findBase(v, top, above)
}

// findBase finds a name that has no port in front. Labels are those above top.
func findBase(v *registry.View, top string, labels []string) place {
	if len(labels) == 0 {
		return place{kind: branch}
	}
	switch top {
	case "svc":
		return findService(v, labels)
	case "cluster":
		return findPinned(v, labels)
	default:
		return findGateways(v, labels)
	}
}

// findService finds <service>.<namespace> and <service>; the latter may also be a
// namespace, with services below it.
func findService(v *registry.View, labels []string) place {
	switch len(labels) {
	case 1:
		if e, ok := v.Lookup(registry.Labels{Namespace: registry.DefaultNamespace, Name: labels[0]}); ok {
			return place{kind: service, entry: e}
		}
		if v.HasNamespace(labels[0], "") {
			return place{kind: branch}
		}
	case 2:
		if e, ok := v.Lookup(registry.Labels{Namespace: labels[1], Name: labels[0]}); ok {
			return place{kind: service, entry: e}
		}
	}
	return place{}
}

// findPinned finds <service>.<namespace>.<cluster> and the branches above it.
func findPinned(v *registry.View, labels []string) place {
	cluster := v.Cluster(registry.ClusterID(labels[len(labels)-1]))
	if cluster == nil {
		return place{}
	}
	switch len(labels) {
	case 1:
		if cluster.Services > 0 {
			return place{kind: branch}
		}
	case 2:
		if v.HasNamespace(labels[0], cluster.ID) {
			return place{kind: branch}
		}
	case 3:
		e, ok := v.Lookup(registry.Labels{Namespace: labels[1], Name: labels[0]})
		if ok && e.Record(cluster.ID) != nil {
			return place{kind: service, entry: e, cluster: cluster}
		}
	}
	return place{}
}

// findGateways finds <cluster> and <gateway>.<cluster>.
func findGateways(v *registry.View, labels []string) place {
	cluster := v.Cluster(registry.ClusterID(labels[len(labels)-1]))
	if cluster == nil {
		return place{}
	}
	p := place{kind: gateways, cluster: cluster}
	switch len(labels) {
	case 1:
		return p
	case 2:
		p.gateway = labels[0]
		if p.anyGateway(v, func(registry.Gateway) bool { return true }) {
			return p
		}
	}
	return place{}
}

// findNameserver finds the zone's own name servers and the branches that lead to them.
func findNameserver(v *registry.View, name string) place {
	found := place{}
	servers := v.Zone().Nameservers
	for n := range servers {
		if servers[n].Name == name {
			return place{kind: nameserver, server: &servers[n]}
		}
		if head, ok := strings.CutSuffix(servers[n].Name, name); ok && strings.HasSuffix(head, ".") {
			found = place{kind: branch}
		}
	}
	return found
}

// entrances returns the clusters that a service or gateway name is about, each
// with the gateways that are answered there. They are sorted by cluster; those
// that are not answered with are there too, with the reason.
func (p place) entrances(v *registry.View) []registry.Candidate {
	switch {
	case p.kind == service && p.cluster == nil:
		return v.Decide(p.entry)
	case p.kind == service:
		c, _ := v.DecideIn(p.entry, p.cluster.ID)
		return []registry.Candidate{c}
	case p.kind != gateways:
		return nil
	}
	c := registry.Candidate{Cluster: p.cluster.ID, Reason: registry.ReasonNoGateway}
	if p.cluster.Record != nil {
		c.Gateways = p.cluster.Record.Gateways
	}
	if p.gateway != "" {
		n := slices.IndexFunc(c.Gateways, func(g registry.Gateway) bool { return g.Name == p.gateway })
		c.Gateways = c.Gateways[n : n+1]
	}
	if len(c.Gateways) > 0 {
		c.In, c.Reason = true, registry.ReasonServing
	}
	return []registry.Candidate{c}
}

// hasPorts reports whether any port can stand in front of the place.
func (p place) hasPorts(v *registry.View) bool {
	return p.anyGateway(v, func(g registry.Gateway) bool {
		if !p.https {
			return len(g.Ports) > 0
		}
		for name, number := range g.Ports {
			if isHTTPS(name) && number != httpsStandard {
				return true
			}
		}
		return false
	})
}

// hasPort reports whether a gateway there has the port. It does not ask whether
// the gateway is answered with at the moment: a name does not cease to exist
// because the service behind it fails.
func (p place) hasPort(v *registry.View) bool {
	return p.anyGateway(v, func(g registry.Gateway) bool {
		if p.https {
			return httpsPortOf(g, p.port) > 0
		}
		return portOf(g, p.port) > 0
	})
}

func (p place) anyGateway(v *registry.View, match func(registry.Gateway) bool) bool {
	switch p.kind {
	case gateways:
		return p.cluster.Record != nil && slices.ContainsFunc(p.cluster.Record.Gateways, func(g registry.Gateway) bool {
			return (p.gateway == "" || g.Name == p.gateway) && match(g)
		})
	case service:
		for _, r := range p.entry.Records {
			c := v.Cluster(r.Cluster)
			if p.cluster != nil && p.cluster != c || c == nil || c.Record == nil {
				continue
			}
			if slices.ContainsFunc(c.Record.Gateways, match) {
				return true
			}
		}
	}
	return false
}

// portLabels returns what may stand as <port> in _<port>._tcp in front of the place:
// the names and the numbers of the gateways' ports, sorted, each once.
func (p place) portLabels(v *registry.View) []string {
	var labels []string
	p.anyGateway(v, func(g registry.Gateway) bool {
		for name, number := range g.Ports {
			labels = append(labels, name, strconv.Itoa(number))
		}
		return false // on to the next one
	})
	return sortedOnce(labels)
}

func sortedOnce(labels []string) []string {
	slices.Sort(labels)
	return slices.Compact(labels)
}

// portOf returns the port that a gateway has under this name, or else under this
// number; 0 when it has none.
func portOf(g registry.Gateway, port string) int {
	if number, ok := g.Ports[port]; ok {
		return number
	}
	number, err := strconv.Atoi(port)
	if err != nil || strconv.Itoa(number) != port {
		return 0
	}
	for _, have := range g.Ports {
		if have == number {
			return number
		}
	}
	return 0
}
