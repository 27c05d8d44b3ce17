package lookup

import (
	"iter"
	"slices"

	"github.com/miekg/dns"

	"github.com/seamark-mesh/seamark/registry"
)

// Part names a piece of the zone whose records come and go together: those about
// one service, one cluster's gateways, one namespace, or the zone itself. No record
// belongs to two Parts. Parts are comparable; make them with [OfZone], [OfCluster],
// [OfNamespaces], [OfNamespace] and [OfService].
type Part struct {
	kind    partKind
	labels  registry.Labels
	cluster registry.ClusterID
}

type partKind int

const (
	partZone partKind = iota
	partCluster
	partNamespaces
	partNamespace
	partService
)

// OfZone is the part with the NS records and the name servers' addresses. The SOA
// is in no part: it differs in every View.
func OfZone() Part { return Part{kind: partZone} }

// OfCluster is the part with the names of a cluster's gateways.
func OfCluster(id registry.ClusterID) Part { return Part{kind: partCluster, cluster: id} }

// OfNamespaces is the part with the list of namespaces.
func OfNamespaces() Part { return Part{kind: partNamespaces} }

// OfNamespace is the part with the lists by which a namespace's services are browsed.
func OfNamespace(label string) Part {
	return Part{kind: partNamespace, labels: registry.Labels{Namespace: label}}
}

// OfService is the part with all names of the service that answers at these labels.
func OfService(l registry.Labels) Part { return Part{kind: partService, labels: l} }

// Zone yields every record of the zone but the SOA, each once, RRsets in one piece:
// all that [Answer] says to any question of class IN, but for ANY. It yields
// nothing when the View is not synced or has no zone record.
func Zone(v *registry.View) iter.Seq[dns.RR] {
	return func(yield func(dns.RR) bool) {
		for p := range Parts(v) {
			for rr := range p.Records(v) {
				if !yield(rr) {
					return
				}
			}
		}
	}
}

// Parts yields every part that has records in the View, each once, and perhaps some
// that have none. The order has no meaning.
func Parts(v *registry.View) iter.Seq[Part] {
	return func(yield func(Part) bool) {
		if !ready(v) || !yield(OfZone()) {
			return
		}
		for _, c := range v.Clusters() {
			if !yield(OfCluster(c.ID)) {
				return
			}
		}
		namespaces := map[string]bool{}
		for n := range v.Names() {
			if !yield(OfService(n.Labels)) {
				return
			}
			if at := n.Labels.Namespace; !namespaces[at] {
				namespaces[at] = true
				if !yield(OfNamespace(at)) {
					return
				}
			}
		}
		yield(OfNamespaces())
	}
}

// Changed yields every part whose records may differ between two Views, each once;
// change is the Delta between them. The zone of newer is that of older, where of
// these parts the older records are replaced by the newer ones. It costs nothing
// for what did not change, except that a cluster's record, and a namespace that
// becomes too large to be browsed or ceases to be, lead to all services behind them.
func Changed(older, newer *registry.View, change registry.Delta) iter.Seq[Part] {
	if change.All || !ready(older) || !ready(newer) || change.Zone && reshapes(older.Zone(), newer.Zone()) {
		return partsOfEither(older, newer)
	}
	c := changed{older: older, newer: newer, seen: map[Part]bool{}}
	c.collect(change)
	return slices.Values(c.parts)
}

// changed collects parts, each once.
type changed struct {
	older, newer *registry.View
	parts        []Part
	seen         map[Part]bool
	toggled      map[string]bool // namespaces that can be browsed in one of the Views only
}

func (c *changed) add(p Part) {
	if !c.seen[p] {
		c.seen[p] = true
		c.parts = append(c.parts, p)
	}
}

func (c *changed) collect(change registry.Delta) {
	if change.Zone {
		c.add(OfZone())
	}
	for _, id := range change.Clusters {
		c.add(OfCluster(id))
	}
	for _, l := range change.Names {
		c.add(OfService(l))
		c.namespace(l)
	}
	if len(change.Clusters) == 0 && len(c.toggled) == 0 {
		return
	}
	for n := range c.newer.Names() {
		behind := slices.ContainsFunc(n.Entries[0].Records, func(r *registry.Record) bool {
			_, found := slices.BinarySearch(change.Clusters, r.Cluster)
			return found
		})
		if behind {
			c.add(OfNamespace(n.Labels.Namespace))
		}
		if behind || c.toggled[n.Labels.Namespace] {
			c.add(OfService(n.Labels))
		}
	}
}

// namespace adds what a changed name means for the lists: something only when the
// service came or went, or other clusters know it.
func (c *changed) namespace(l registry.Labels) {
	was, before := c.older.Lookup(l)
	is, after := c.newer.Lookup(l)
	if before && after && slices.EqualFunc(was.Records, is.Records, func(a, b *registry.Record) bool { return a.Cluster == b.Cluster }) {
		return
	}
	c.add(OfNamespace(l.Namespace))
	_, could := c.older.Listed(l.Namespace)
	_, can := c.newer.Listed(l.Namespace)
	if could != can {
		if c.toggled == nil {
			c.toggled = map[string]bool{}
		}
		c.toggled[l.Namespace] = true
	}
	if could != can || !before || !after {
		c.add(OfNamespaces())
	}
}

// partsOfEither yields the parts of two Views.
func partsOfEither(older, newer *registry.View) iter.Seq[Part] {
	return func(yield func(Part) bool) {
		for p := range Parts(newer) {
			if !yield(p) {
				return
			}
		}
		for p := range Parts(older) {
			if (!ready(newer) || !p.within(newer)) && !yield(p) {
				return
			}
		}
	}
}

// within reports whether [Parts] yields the part for a View that is ready.
func (p Part) within(v *registry.View) bool {
	switch p.kind {
	case partCluster:
		return v.Cluster(p.cluster) != nil
	case partService:
		_, known := v.Name(p.labels)
		return known
	case partNamespace:
		return v.HasNamespace(p.labels.Namespace, "")
	}
	return true
}

// ready reports whether the View says anything at all.
func ready(v *registry.View) bool { return v.Synced() && v.Zone() != nil }

// reshapes reports whether two zone records give other records than NS, SOA and the
// name servers' addresses.
func reshapes(a, b *registry.ZoneRecord) bool {
	return a.Name != b.Name || a.TTL != b.TTL || !slices.Equal(a.TTLByService, b.TTLByService) ||
		a.StaleTTL != b.StaleTTL || !slices.Equal(a.Withdraw, b.Withdraw)
}

// Records yields the part's records in the View, RRsets in one piece; none when
// there are none, or the View is not ready. The records belong to the caller.
func (p Part) Records(v *registry.View) iter.Seq[dns.RR] {
	return func(yield func(dns.RR) bool) {
		if !ready(v) {
			return
		}
		w := walk{view: v, zone: v.Zone(), yield: yield}
		switch p.kind {
		case partZone:
			w.servers()
		case partCluster:
			w.cluster(p.cluster)
		case partService:
			w.service(p.labels)
		case partNamespace:
			w.lists(p.labels.Namespace)
		case partNamespaces:
			for _, label := range []string{"b", "lb"} {
				w.sets(place{kind: domains}, label+"."+browseLabel+"."+udpLabel+"."+w.zone.Name, dns.TypePTR)
			}
		}
	}
}

// walk passes through the names of a part. Once yield has said false, nothing more
// is yielded.
type walk struct {
	view  *registry.View
	zone  *registry.ZoneRecord
	yield func(dns.RR) bool
	ended bool
}

// sets yields the RRsets of some types at a place. Names that are too long to be
// asked for are left out.
func (w *walk) sets(p place, owner string, types ...uint16) {
	if len(owner) > maxName {
		return
	}
	for _, t := range types {
		if w.ended {
			return
		}
		records, _ := p.records(w.view, owner, t)
		for _, rr := range records {
			if w.ended = !w.yield(rr); w.ended {
				return
			}
		}
	}
}

// names yields all that stands at a service or gateway name and in front of it.
func (w *walk) names(p place, owner string) {
	w.sets(p, owner, dns.TypeA, dns.TypeAAAA, dns.TypeTXT, dns.TypeHTTPS)
	for _, port := range p.portLabels(w.view) {
		p.port = port
		w.sets(p, "_"+port+"."+tcpLabel+"."+owner, dns.TypeSRV, dns.TypeTXT, dns.TypeSVCB)
	}
	p.https = true
	for _, port := range p.httpsPorts(w.view) {
		p.port = port
		w.sets(p, "_"+port+"."+httpsLabel+"."+owner, dns.TypeHTTPS, dns.TypeTXT)
	}
}

func (w *walk) servers() {
	w.sets(place{kind: apex}, w.zone.Name, dns.TypeNS)
	for n := range w.zone.Nameservers {
		s := &w.zone.Nameservers[n]
		if _, inside := within(s.Name, w.zone.Name); inside {
			w.sets(place{kind: nameserver, server: s}, s.Name, dns.TypeA, dns.TypeAAAA)
		}
	}
}

func (w *walk) cluster(id registry.ClusterID) {
	c := w.view.Cluster(id)
	if c == nil {
		return
	}
	p := place{kind: gateways, cluster: c}
	owner := string(id) + ".gw." + w.zone.Name
	w.names(p, owner)
	if c.Record == nil {
		return
	}
	for n := range c.Record.Gateways {
		p.gateway = c.Record.Gateways[n].Name
		w.names(p, p.gateway+"."+owner)
	}
}

func (w *walk) service(l registry.Labels) {
	e, known := w.view.Lookup(l)
	if !known {
		return
	}
	p := place{kind: service, entry: e}
	w.names(p, l.Name+"."+l.Namespace+".svc."+w.zone.Name)
	if l.Namespace == registry.DefaultNamespace {
		w.names(p, l.Name+".svc."+w.zone.Name)
	}
	for _, r := range e.Records {
		if p.cluster = w.view.Cluster(r.Cluster); p.cluster != nil {
			w.names(p, l.Name+"."+l.Namespace+"."+string(r.Cluster)+".cluster."+w.zone.Name)
		}
	}
	w.instances(place{kind: service, entry: e, instance: true}, l)
}

// instances yields what stands at a service's names as an instance of its types.
func (w *walk) instances(p place, l registry.Labels) {
	if _, ok := w.view.Listed(l.Namespace); !ok {
		return
	}
	for _, port := range p.portLabels(w.view) {
		if p.port = port; p.hasType(w.view, port) {
			w.sets(p, l.Name+"._"+port+"."+tcpLabel+"."+l.Namespace+".svc."+w.zone.Name, dns.TypeSRV, dns.TypeTXT)
		}
	}
}

// lists yields the lists of a namespace.
func (w *walk) lists(namespace string) {
	above := namespace + ".svc." + w.zone.Name
	w.sets(place{kind: serviceTypes, namespace: namespace}, servicesLabel+"."+browseLabel+"."+udpLabel+"."+above, dns.TypePTR)
	for _, port := range types(w.view, namespace) {
		w.sets(place{kind: instancesOf, namespace: namespace, port: port}, "_"+port+"."+tcpLabel+"."+above, dns.TypePTR)
	}
}
