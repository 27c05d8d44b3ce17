package lookup

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/miekg/dns"

	"github.com/seamark-mesh/seamark/registry"
)

// How often a secondary asks when nobody tells it, how soon it tries again, and
// how long it answers from its copy without us (RFC 1035 §3.3.13), in seconds.
const (
	soaRefresh = 60
	soaRetry   = 15
	soaExpire  = 7 * 24 * 3600
)

// maxName is the longest name in presentation format, when it needs no escapes
// (255 bytes on the wire, RFC 1035 §2.3.4).
const maxName = 254

// records returns the RRset of one type at a place, and what belongs beside it.
func (p place) records(v *registry.View, owner string, qtype uint16) (answer, additional []dns.RR) {
	zone := v.Zone()
	switch qtype {
	case dns.TypeANY:
		return p.minimalAny(owner, lifetime(v, zone.TTL)), nil
	case dns.TypePTR:
		return p.pointers(v, owner), nil
	}
	switch p.kind {
	case apex:
		switch qtype {
		case dns.TypeSOA:
			return []dns.RR{soa(v, lifetime(v, zone.TTL))}, nil
		case dns.TypeNS:
			return nameservers(v)
		}
	case nameserver:
		return addressRecords(owner, lifetime(v, zone.TTL), qtype, p.server.Addresses), nil
	case reasons:
		if qtype == dns.TypeTXT {
			return p.reasons(v, owner), nil
		}
	case service, gateways:
		return p.entranceRecords(v, owner, qtype)
	}
	return nil, nil
}

// entranceRecords returns the RRset of one type at a service's or a gateway's name.
func (p place) entranceRecords(v *registry.View, owner string, qtype uint16) (answer, additional []dns.RR) {
	ttl := lifetime(v, v.Zone().TTL)
	if p.kind == service {
		ttl = lifetime(v, v.Zone().ServiceTTL(p.entry.Key))
	}
	if qtype == dns.TypeTXT {
		return p.texts(owner, ttl), nil
	}
	entrances := p.entrances(v)
	if p.kind == service && slices.ContainsFunc(entrances, kept) {
		ttl = lifetime(v, v.Zone().StaleServiceTTL(p.entry.Key))
	}
	switch qtype {
	case dns.TypeA, dns.TypeAAAA:
		if p.port == "" {
			return addressRecords(owner, ttl, qtype, addresses(entrances)), nil
		}
	case dns.TypeSRV:
		if p.port != "" && !p.https {
			return p.services(v, entrances, owner, ttl)
		}
	case dns.TypeSVCB:
		if p.port != "" && !p.https && !p.instance {
			return p.bindings(v, entrances, owner, ttl, qtype)
		}
	case dns.TypeHTTPS:
		if p.port == "" || p.https {
			return p.bindings(v, entrances, owner, ttl, qtype)
		}
	}
	return nil, nil
}

// minimalAny is the whole answer to ANY wherever there is any record at all: the
// smallest that RFC 8482 §4.2 offers, and the same for everyone.
func (p place) minimalAny(owner string, ttl uint32) []dns.RR {
	if p.kind == branch {
		return nil
	}
	return []dns.RR{&dns.HINFO{Hdr: header(owner, dns.TypeHINFO, ttl), Cpu: "RFC8482"}}
}

func header(owner string, rrtype uint16, ttl uint32) dns.RR_Header {
	return dns.RR_Header{Name: owner, Rrtype: rrtype, Class: dns.ClassINET, Ttl: ttl}
}

// soa is the zone's SOA. Its serial is the stream's sequence, so replicas agree.
func soa(v *registry.View, ttl uint32) dns.RR {
	zone := v.Zone()
	primary := zone.Name
	if len(zone.Nameservers) > 0 {
		primary = zone.Nameservers[0].Name
	}
	return &dns.SOA{
		Hdr: header(zone.Name, dns.TypeSOA, ttl),
		Ns:  primary, Mbox: zone.Contact,
		Serial: v.Serial(), Refresh: soaRefresh, Retry: soaRetry, Expire: soaExpire,
		Minttl: seconds(zone.NegativeTTL),
	}
}

// nameservers returns the NS records, and the addresses of those in the zone.
func nameservers(v *registry.View) (answer, additional []dns.RR) {
	zone := v.Zone()
	ttl := lifetime(v, zone.TTL)
	for _, s := range zone.Nameservers {
		answer = append(answer, &dns.NS{Hdr: header(zone.Name, dns.TypeNS, ttl), Ns: s.Name})
		if _, inside := within(s.Name, zone.Name); inside {
			additional = append(additional, addressRecords(s.Name, ttl, dns.TypeA, s.Addresses)...)
			additional = append(additional, addressRecords(s.Name, ttl, dns.TypeAAAA, s.Addresses)...)
		}
	}
	return answer, additional
}

// addresses returns the addresses of all gateways that are answered, each once,
// by cluster, then gateway.
func addresses(entrances []registry.Candidate) []netip.Addr {
	count := 0
	for _, e := range entrances {
		if e.In {
			for n := range e.Gateways {
				count += len(e.Gateways[n].Addresses)
			}
		}
	}
	all := make([]netip.Addr, 0, count)
	for _, e := range entrances {
		if e.In {
			for n := range e.Gateways {
				all = append(all, e.Gateways[n].Addresses...)
			}
		}
	}
	return unique(all)
}

// unique drops repetitions in place: two gateways, or two clusters, may share an
// address, and an RRset never holds a record twice (RFC 2181 §5).
func unique(all []netip.Addr) []netip.Addr {
	const few = 32
	kept := all[:0]
	if len(all) <= few {
		for _, a := range all {
			if !slices.Contains(kept, a) {
				kept = append(kept, a)
			}
		}
		return kept
	}
	seen := make(map[netip.Addr]struct{}, len(all))
	for _, a := range all {
		if _, again := seen[a]; !again {
			seen[a] = struct{}{}
			kept = append(kept, a)
		}
	}
	return kept
}

// addressRecords returns the A or AAAA records among these addresses. Records and
// address bytes are each allocated in one piece.
func addressRecords(owner string, ttl uint32, qtype uint16, addresses []netip.Addr) []dns.RR {
	count := 0
	for _, a := range addresses {
		if a.Is4() == (qtype == dns.TypeA) {
			count++
		}
	}
	if count == 0 {
		return nil
	}
	records := make([]dns.RR, 0, count)
	switch qtype {
	case dns.TypeA:
		slab, bytes := make([]dns.A, 0, count), make([]byte, 0, 4*count)
		for _, a := range addresses {
			if a.Is4() {
				four := a.As4()
				bytes = append(bytes, four[:]...)
				slab = append(slab, dns.A{Hdr: header(owner, dns.TypeA, ttl), A: bytes[len(bytes)-4:]})
				records = append(records, &slab[len(slab)-1])
			}
		}
	case dns.TypeAAAA:
		slab, bytes := make([]dns.AAAA, 0, count), make([]byte, 0, 16*count)
		for _, a := range addresses {
			if a.Is6() {
				sixteen := a.As16()
				bytes = append(bytes, sixteen[:]...)
				slab = append(slab, dns.AAAA{Hdr: header(owner, dns.TypeAAAA, ttl), AAAA: bytes[len(bytes)-16:]})
				records = append(records, &slab[len(slab)-1])
			}
		}
	}
	return records
}

// services returns the SRV records (RFC 2782) of a port, and the addresses of
// their targets.
func (p place) services(v *registry.View, entrances []registry.Candidate, owner string, ttl uint32) (answer, additional []dns.RR) {
	return perGateway(v, entrances, func(g registry.Gateway, target string) dns.RR {
		port := portOf(g, p.port)
		if port == 0 {
			return nil
		}
		return &dns.SRV{
			Hdr:    header(owner, dns.TypeSRV, ttl),
			Weight: uint16(min(max(g.Weight, 0), registry.MaxWeight)), Port: uint16(port), Target: target,
		}
	})
}

// perGateway returns a record for each gateway that is answered, by cluster and
// name, and the addresses of their targets. A gateway for which there is no record
// (nil) is left out, and one whose own name is longer than a name can be.
func perGateway(v *registry.View, entrances []registry.Candidate, record func(g registry.Gateway, target string) dns.RR) (answer, additional []dns.RR) {
	zone := v.Zone()
	ttl := lifetime(v, zone.TTL)
	for _, e := range entrances {
		if !e.In {
			continue
		}
		for _, g := range e.Gateways {
			target := g.Name + "." + string(e.Cluster) + ".gw." + zone.Name
			if len(target) > maxName {
				continue
			}
			rr := record(g, target)
			if rr == nil {
				continue
			}
			answer = append(answer, rr)
			additional = append(additional, addressRecords(target, ttl, dns.TypeA, g.Addresses)...)
			additional = append(additional, addressRecords(target, ttl, dns.TypeAAAA, g.Addresses)...)
		}
	}
	return answer, additional
}

// texts returns the TXT records that every service and gateway name owns: one per
// cluster that knows it, whether or not that cluster is answered with.
func (p place) texts(owner string, ttl uint32) []dns.RR {
	text := func(strings ...string) dns.RR {
		return &dns.TXT{Hdr: header(owner, dns.TypeTXT, ttl), Txt: strings}
	}
	if p.kind == gateways {
		return []dns.RR{text(gatewayStrings(p.cluster, p.gateway)...)}
	}
	records := make([]dns.RR, 0, len(p.entry.Records))
	for _, r := range p.entry.Records {
		if p.cluster == nil || p.cluster.ID == r.Cluster {
			records = append(records, text(recordStrings(r)...))
		}
	}
	return records
}

func recordStrings(r *registry.Record) []string {
	strings := []string{
		"cluster=" + string(r.Cluster),
		"healthy=" + strconv.Itoa(r.Serving),
		"total=" + strconv.Itoa(r.Total),
	}
	if versions := versions(r); len(versions) > 0 {
		strings = append(strings, list("versions=", versions))
	}
	return strings
}

func gatewayStrings(c *registry.ClusterState, gateway string) []string {
	strings := []string{"cluster=" + string(c.ID)}
	if gateway != "" {
		return append(strings, "gateway="+gateway)
	}
	count := 0
	if r := c.Record; r != nil {
		count = len(r.Gateways)
		if r.Region != "" {
			strings = append(strings, "region="+escape(r.Region))
		}
		if r.Zone != "" {
			strings = append(strings, "zone="+escape(r.Zone))
		}
	}
	return append(strings, "gateways="+strconv.Itoa(count))
}

// versions returns the versions of a record's instances, sorted, each once.
func versions(r *registry.Record) []string {
	var versions []string
	for n := range r.Service.Instances {
		if version := r.Service.Instances[n].Version; version != "" && (len(versions) == 0 || versions[len(versions)-1] != version) {
			versions = append(versions, version)
		}
	}
	slices.Sort(versions)
	return slices.Compact(versions)
}

// list joins values behind a key into one character-string of at most 255 bytes
// (RFC 1035 §3.3). What does not fit is counted: "versions=1.0,1.1,+7".
func list(key string, values []string) string {
	const room = 255
	size, fit := len(key)-1, 0
	for n, value := range values {
		size += 1 + len(value)
		rest := ""
		if more := len(values) - n - 1; more > 0 {
			rest = ",+" + strconv.Itoa(more)
		}
		if size+len(rest) <= room {
			fit = n + 1
		}
	}
	joined := escape(strings.Join(values[:fit], ","))
	switch more := len(values) - fit; {
	case more == 0:
		return key + joined
	case fit == 0:
		return key + "+" + strconv.Itoa(more)
	default:
		return key + joined + ",+" + strconv.Itoa(more)
	}
}

// escape protects the one byte that means something in the strings of a dns.TXT.
func escape(s string) string { return strings.ReplaceAll(s, `\`, `\\`) }
