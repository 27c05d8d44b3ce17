package lookup

import (
	"iter"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"github.com/seamark-mesh/seamark/registry"
)

// Browsing (RFC 6763) goes from the zone to its namespaces, from there to the types
// of service, which are the names of gateways' ports, and from there to instances,
// each of which is a service with its SRV and TXT records:
//
//	b._dns-sd._udp, lb._dns-sd._udp            PTR <namespace>.svc (§11)
//	_services._dns-sd._udp.<namespace>.svc     PTR _<port>._tcp.<namespace>.svc (§9)
//	_<port>._tcp.<namespace>.svc               PTR <service>._<port>._tcp.<namespace>.svc (§4)
//	<service>._<port>._tcp.<namespace>.svc     SRV, TXT (§5, §6)
//
// All services that are known are listed, whether or not somebody serves them at the
// moment. A namespace with more than [registry.MaxListed] names can't be browsed:
// there is none of these names below it. A zone with more namespaces than that has no
// list of them.

const (
	udpLabel      = "_udp"
	browseLabel   = "_dns-sd"
	servicesLabel = "_services"
)

// isType reports whether a port's name can be the name of a type of service: at most
// 15 bytes, a letter among them, no two hyphens in a row (RFC 6335 §5.1; that it is
// a label otherwise is known).
func isType(port string) bool {
	return len(port) <= 15 && strings.ContainsFunc(port, func(c rune) bool { return 'a' <= c && c <= 'z' }) && !strings.Contains(port, "--")
}

// behind visits the clusters that know a service of a namespace that can be browsed,
// each once, until visit returns false. It looks at no more services than it must:
// mostly all clusters know one of the first.
func behind(v *registry.View, namespace string, visit func(*registry.ClusterState) bool) {
	names, _ := v.Listed(namespace)
	unseen := map[registry.ClusterID]*registry.ClusterState{}
	for _, c := range v.Clusters() {
		if c.Record != nil {
			unseen[c.ID] = c
		}
	}
	for _, name := range names {
		e, ok := v.Lookup(registry.Labels{Namespace: namespace, Name: name})
		if !ok {
			continue
		}
		for _, r := range e.Records {
			if c := unseen[r.Cluster]; c != nil {
				if delete(unseen, r.Cluster); !visit(c) {
					return
				}
			}
		}
		if len(unseen) == 0 {
			return
		}
	}
}

// types returns the types of service in a namespace, sorted; none when it can't be
// browsed.
func types(v *registry.View, namespace string) []string {
	var all []string
	behind(v, namespace, func(c *registry.ClusterState) bool {
		for n := range c.Record.Gateways {
			for port := range c.Record.Gateways[n].Ports {
				if isType(port) {
					all = append(all, port)
				}
			}
		}
		return true
	})
	return sortedOnce(all)
}

// hasTypes reports whether there is any type of service in a namespace.
func hasTypes(v *registry.View, namespace string) (found bool) {
	behind(v, namespace, func(c *registry.ClusterState) bool {
		found = slices.ContainsFunc(c.Record.Gateways, func(g registry.Gateway) bool {
			for port := range g.Ports {
				if isType(port) {
					return true
				}
			}
			return false
		})
		return !found
	})
	return found
}

// hasInstances reports whether there is a service of a type in a namespace.
func hasInstances(v *registry.View, namespace, port string) (found bool) {
	if !isType(port) || !slices.ContainsFunc(v.Clusters(), func(c *registry.ClusterState) bool { return hasPortNamed(c, port) }) {
		return false
	}
	behind(v, namespace, func(c *registry.ClusterState) bool {
		found = hasPortNamed(c, port)
		return !found
	})
	return found
}

func hasPortNamed(c *registry.ClusterState, port string) bool {
	return c.Record != nil && slices.ContainsFunc(c.Record.Gateways, func(g registry.Gateway) bool { return g.Ports[port] > 0 })
}

// hasType reports whether a gateway of the place has a port of this very name, which
// can be a type of service.
func (p place) hasType(v *registry.View, port string) bool {
	return isType(port) && p.anyGateway(v, func(g registry.Gateway) bool { return g.Ports[port] > 0 })
}

// instances yields the services of a type in a namespace, sorted.
func instances(v *registry.View, namespace, port string) iter.Seq[string] {
	return func(yield func(string) bool) {
		names, _ := v.Listed(namespace)
		for _, name := range names {
			e, ok := v.Lookup(registry.Labels{Namespace: namespace, Name: name})
			if ok && (place{kind: service, entry: e}).hasType(v, port) && !yield(name) {
				return
			}
		}
	}
}

// browsable returns the namespaces that the zone lists.
func browsable(v *registry.View) []string {
	namespaces, _ := v.Namespaces()
	return slices.DeleteFunc(slices.Clone(namespaces), func(n string) bool {
		_, ok := v.Listed(n)
		return !ok
	})
}

// findDomains finds the names below _udp at the top of the zone.
func findDomains(v *registry.View, labels []string) place {
	p := place{kind: branch}
	switch strings.Join(labels, ".") {
	case udpLabel, browseLabel + "." + udpLabel:
	case "b." + browseLabel + "." + udpLabel, "lb." + browseLabel + "." + udpLabel:
		p.kind = domains
	default:
		return place{}
	}
	if len(browsable(v)) == 0 {
		return place{}
	}
	return p
}

// findBrowsed finds the names by which a namespace is browsed and that are nothing
// else; labels are those above svc.
func findBrowsed(v *registry.View, labels []string) place {
	namespace := labels[len(labels)-1]
	if _, ok := v.Listed(namespace); !ok {
		return place{}
	}
	p := place{kind: branch, namespace: namespace}
	switch above := labels[:len(labels)-1]; {
	case slices.Equal(above, []string{servicesLabel, browseLabel, udpLabel}):
		p.kind = serviceTypes
	case slices.Equal(above, []string{browseLabel, udpLabel}), slices.Equal(above, []string{udpLabel}), slices.Equal(above, []string{tcpLabel}):
	case len(above) == 2 && above[1] == tcpLabel:
		port, ok := strings.CutPrefix(above[0], "_")
		p.kind, p.port = instancesOf, port
		if !ok || !hasInstances(v, namespace, port) {
			return place{}
		}
		return p
	case len(above) == 3 && above[2] == tcpLabel:
		return findInstance(v, registry.Labels{Namespace: namespace, Name: above[0]}, above[1])
	default:
		return place{}
	}
	if !hasTypes(v, namespace) {
		return place{}
	}
	return p
}

// findInstance finds <service>._<port>._tcp.<namespace>, the namespace being one that
// can be browsed.
func findInstance(v *registry.View, l registry.Labels, label string) place {
	port, ok := strings.CutPrefix(label, "_")
	e, known := v.Lookup(l)
	p := place{kind: service, entry: e, port: port, instance: true}
	if !ok || !known || !p.hasType(v, port) {
		return place{}
	}
	return p
}

// pointers returns the PTR records at a place, and no more than p.most of them.
func (p place) pointers(v *registry.View, owner string) []dns.RR {
	zone := v.Zone()
	var labels iter.Seq[string] // in front of the name that stands behind all of them
	behind := "." + p.namespace + ".svc." + zone.Name
	switch {
	case p.kind == domains:
		labels, behind = slices.Values(browsable(v)), ".svc."+zone.Name
	case p.kind == serviceTypes:
		labels, behind = slices.Values(types(v, p.namespace)), "."+tcpLabel+behind
	case p.namespace != "":
		labels, behind = instances(v, p.namespace, p.port), "._"+p.port+"."+tcpLabel+behind
	default:
		return nil
	}
	var all []dns.RR
	for label := range labels {
		if p.kind == serviceTypes {
			label = "_" + label
		}
		if target := label + behind; len(target) <= maxName {
			all = append(all, &dns.PTR{Hdr: header(owner, dns.TypePTR, lifetime(v, zone.TTL)), Ptr: target})
		}
		if len(all) == p.most && p.most > 0 {
			break
		}
	}
	return all
}
