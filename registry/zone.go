package registry

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
)

// Bounds of times to live, in seconds. A name that moves within milliseconds must
// not be pinned for decades by a number in a record (CVE-2025-58063).
const (
	MinTTL = 1
	MaxTTL = 3600
)

// Bounds of what every answer is held against or carries.
const (
	maxServiceTTLs = 1000
	maxNameservers = 13
)

// ZoneRecord holds the settings that shape the zone. It stands on the stream, so
// all replicas have the same one.
type ZoneRecord struct {
	Name         string       `json:"name"`         // lower-case, fully qualified: "mesh.internal."
	TTL          int          `json:"ttl"`          // seconds, MinTTL to MaxTTL
	NegativeTTL  int          `json:"negative_ttl"` // seconds, MinTTL to MaxTTL
	TTLByService []ServiceTTL `json:"ttl_by_service,omitempty"`
	Nameservers  []Nameserver `json:"nameservers,omitempty"`
	Contact      string       `json:"contact"` // the SOA's RNAME as a domain name

	// StaleTTL is the TTL, in seconds, of answers that may no longer hold; 0 stands for
	// DefaultStaleTTL. It never lengthens a TTL.
	StaleTTL int `json:"stale_ttl,omitempty"`
	// Withdraw are the services that are answered with nothing when all clusters that
	// could serve them are bad by liveness. All others are then answered with what was
	// known last (fail-static).
	Withdraw []Pattern `json:"withdraw,omitempty"`
}

// DefaultStaleTTL is the TTL of answers that may no longer hold, in seconds.
const DefaultStaleTTL = 2

// ServiceTTL gives the services that match a pattern a TTL of their own, in
// seconds. Of several patterns that match, the most specific stands: the one
// with the most characters that are not "*", then the lexically first.
type ServiceTTL struct {
	Pattern Pattern `json:"pattern"`
	TTL     int     `json:"ttl"`
}

// Nameserver is one of the zone's own name servers.
type Nameserver struct {
	Name      string       `json:"name"` // fully qualified
	Addresses []netip.Addr `json:"addresses,omitempty"`
}

// Equal compares every field.
func (z ZoneRecord) Equal(o ZoneRecord) bool {
	return z.Name == o.Name && z.TTL == o.TTL && z.NegativeTTL == o.NegativeTTL && z.Contact == o.Contact &&
		slices.Equal(z.TTLByService, o.TTLByService) && z.StaleTTL == o.StaleTTL && slices.Equal(z.Withdraw, o.Withdraw) &&
		slices.EqualFunc(z.Nameservers, o.Nameservers, func(a, b Nameserver) bool {
			return a.Name == b.Name && slices.Equal(a.Addresses, b.Addresses)
		})
}

// appendCanonical appends every field, each with its length.
func (z *ZoneRecord) appendCanonical(b []byte) []byte {
	text := func(s string) { b = append(binary.AppendUvarint(b, uint64(len(s))), s...) }
	number := func(n int) { b = binary.AppendVarint(b, int64(n)) }
	text(z.Name)
	number(z.TTL)
	number(z.NegativeTTL)
	number(len(z.TTLByService))
	for _, s := range z.TTLByService {
		text(string(s.Pattern))
		number(s.TTL)
	}
	number(len(z.Nameservers))
	for _, n := range z.Nameservers {
		text(n.Name)
		number(len(n.Addresses))
		for _, a := range n.Addresses {
			text(a.String())
		}
	}
	text(z.Contact)
	number(z.StaleTTL)
	number(len(z.Withdraw))
	for _, p := range z.Withdraw {
		text(string(p))
	}
	return b
}

// ServiceTTL returns the TTL in seconds for the answers about a service.
func (z ZoneRecord) ServiceTTL(k ServiceKey) int {
	ttl, best := z.TTL, -1
	for _, s := range z.TTLByService { // sorted by pattern: ties go to the lexically first
		if n := s.Pattern.specificity(); n > best && s.Pattern.Match(k) {
			ttl, best = s.TTL, n
		}
	}
	return ttl
}

// StaleServiceTTL returns the TTL in seconds for answers about a service that may no
// longer hold.
func (z ZoneRecord) StaleServiceTTL(k ServiceKey) int {
	stale := z.StaleTTL
	if stale == 0 {
		stale = DefaultStaleTTL
	}
	return min(z.ServiceTTL(k), stale)
}

// Withdraws reports whether a service is answered with nothing when all clusters
// that could serve it are bad by liveness.
func (z ZoneRecord) Withdraws(k ServiceKey) bool {
	return slices.ContainsFunc(z.Withdraw, func(p Pattern) bool { return p.Match(k) })
}

// CleanZone validates a zone record and brings it into canonical order. It
// returns every fault, each naming its field by the path in the configuration.
func CleanZone(z ZoneRecord) (ZoneRecord, []Fault) {
	var faults []Fault
	add := func(field, format string, args ...any) {
		faults = append(faults, Fault{Field: field, Detail: refuse("", format, args...).Detail})
	}
	z.Name, z.Contact = strings.ToLower(z.Name), strings.ToLower(z.Contact)
	if err := checkDomain(z.Name); err != nil {
		add("name", "%v; for example mesh.internal.", err)
	}
	if err := checkDomain(z.Contact); err != nil {
		add("contact", "%v; write hostmaster@example.org as hostmaster.example.org.", err)
	}
	ttl := func(field string, seconds int) {
		if seconds < MinTTL || seconds > MaxTTL {
			add(field, "%d s is not within %d s and %d s", seconds, MinTTL, MaxTTL)
		}
	}
	ttl("ttl", z.TTL)
	ttl("negative_ttl", z.NegativeTTL)
	z.TTLByService = slices.Clone(z.TTLByService)
	slices.SortFunc(z.TTLByService, func(a, b ServiceTTL) int { return strings.Compare(string(a.Pattern), string(b.Pattern)) })
	if len(z.TTLByService) > maxServiceTTLs {
		add("ttl_by_service", "%d patterns, more than %d", len(z.TTLByService), maxServiceTTLs)
	}
	for n, s := range z.TTLByService {
		field := "ttl_by_service." + clip(string(s.Pattern))
		if n > 0 && s.Pattern == z.TTLByService[n-1].Pattern {
			add(field, "the pattern is given twice")
		}
		if _, err := ParsePattern(string(s.Pattern)); err != nil {
			add(field, "%v", err)
		}
		ttl(field, s.TTL)
	}
	if z.StaleTTL != 0 {
		ttl("stale_ttl", z.StaleTTL)
	}
	z.Withdraw = slices.Clone(z.Withdraw)
	slices.Sort(z.Withdraw)
	z.Withdraw = slices.Compact(z.Withdraw)
	if len(z.Withdraw) > maxServiceTTLs {
		add("withdraw", "%d patterns, more than %d", len(z.Withdraw), maxServiceTTLs)
	}
	for _, p := range z.Withdraw {
		if _, err := ParsePattern(string(p)); err != nil {
			add("withdraw", "%v", err)
		}
	}
	z.Nameservers = cleanNameservers(z, add)
	return z, faults
}

// cleanNameservers validates the zone's own name servers and sorts them by name.
func cleanNameservers(z ZoneRecord, add func(field, format string, args ...any)) []Nameserver {
	servers := slices.Clone(z.Nameservers)
	if len(servers) > maxNameservers {
		add("nameservers", "%d name servers, more than %d", len(servers), maxNameservers)
	}
	for n := range servers {
		server := &servers[n]
		server.Name = strings.ToLower(server.Name)
		if err := checkDomain(server.Name); err != nil {
			add("nameservers", "%v; for example ns1.mesh.internal.", err)
			continue
		}
		server.Addresses = slices.Clone(server.Addresses)
		for i, a := range server.Addresses {
			server.Addresses[i] = a.Unmap()
		}
		slices.SortFunc(server.Addresses, netip.Addr.Compare)
		server.Addresses = slices.Compact(server.Addresses)
		if len(server.Addresses) > MaxGatewayAddresses {
			add("nameservers", "%s has %d addresses, more than %d", server.Name, len(server.Addresses), MaxGatewayAddresses)
		}
		inside, labels := withinZone(server.Name, z.Name)
		if inside && len(server.Addresses) == 0 {
			add("nameservers", "%s lies in the zone and needs an address", server.Name)
		}
		if inside && (len(labels) == 0 || slices.Contains(reservedLabels, labels[len(labels)-1])) {
			add("nameservers", "%s is a name that the zone needs for itself; choose for example ns1.%s", server.Name, z.Name)
		}
		for _, a := range server.Addresses {
			if err := CheckGatewayAddress(a, true, nil); err != nil {
				add("nameservers", "%s: %v", server.Name, err)
			}
		}
	}
	slices.SortFunc(servers, func(a, b Nameserver) int { return strings.Compare(a.Name, b.Name) })
	for n := 1; n < len(servers); n++ {
		if servers[n].Name == servers[n-1].Name {
			add("nameservers", "%s is named twice", servers[n].Name)
		}
	}
	return servers
}

// Fault is one thing wrong with a configuration or record.
type Fault struct {
	Field  string // path, dots between parts
	Detail string // what is wrong and what would be right
}

// reservedLabels are the zone's own branches.
var reservedLabels = []string{"svc", "cluster", "gw", "_dns-sd", "_udp", "_tcp"}

// withinZone returns the labels of name above the zone, leftmost first.
func withinZone(name, zone string) (inside bool, labels []string) {
	if name == zone {
		return true, nil
	}
	head, ok := strings.CutSuffix(name, "."+zone)
	if !ok {
		return false, nil
	}
	return true, strings.Split(head, ".")
}

// checkDomain accepts a lower-case, fully qualified name of at most 200 bytes (so
// that services fit in front of it) whose labels are letters, digits, hyphens and
// underscores.
func checkDomain(s string) error {
	head, qualified := strings.CutSuffix(s, ".")
	if !qualified || head == "" || len(s) > 200 {
		return refuse("domain", "%q is no fully qualified domain name of at most 200 bytes, with a dot at its end", clip(s))
	}
	for label := range strings.SplitSeq(head, ".") {
		if plain := strings.ReplaceAll(label, "_", "a"); !isLabel(plain) {
			return refuse("domain", "%q: %q is not a label of a-z, 0-9, - and _", clip(s), clip(label))
		}
	}
	return nil
}
