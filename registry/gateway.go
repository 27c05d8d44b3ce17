package registry

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// Bounds of a cluster's record.
const (
	MaxGateways         = 1000 // per cluster
	MaxGatewayAddresses = 16   // per gateway
	MaxGatewayPorts     = 32   // per gateway
	MaxClusterLabels    = 64
)

// Gateway is one entrance of a cluster. Its addresses are what Seamark answers,
// so they are IP literals; nothing is ever resolved on the way.
type Gateway struct {
	Name      string         `json:"name"`      // one DNS label
	Addresses []netip.Addr   `json:"addresses"` // sorted, each once, at least one
	Ports     map[string]int `json:"ports,omitempty"`
	Weight    int            `json:"weight"` // 0 to MaxWeight, for SRV (RFC 2782)
	Probe     *Probe         `json:"probe,omitempty"`
}

// ClusterRecord is what a cluster says of itself.
type ClusterRecord struct {
	Cluster  ClusterID         `json:"cluster"`
	Source   string            `json:"source,omitempty"` // kind of registry: consul, nacos, file
	Region   string            `json:"region,omitempty"`
	Zone     string            `json:"zone,omitempty"`
	Labels   map[string]string `json:"labels,omitempty"`
	Gateways []Gateway         `json:"gateways"` // sorted by name, each name once
}

// Equal compares every field.
func (r ClusterRecord) Equal(o ClusterRecord) bool {
	return r.Cluster == o.Cluster && r.Source == o.Source && r.Region == o.Region && r.Zone == o.Zone &&
		maps.Equal(r.Labels, o.Labels) && slices.EqualFunc(r.Gateways, o.Gateways, Gateway.Equal)
}

// Equal compares every field.
func (g Gateway) Equal(o Gateway) bool {
	return g.Name == o.Name && g.Weight == o.Weight && slices.Equal(g.Addresses, o.Addresses) && maps.Equal(g.Ports, o.Ports) &&
		(g.Probe == o.Probe || g.Probe != nil && o.Probe != nil && *g.Probe == *o.Probe)
}

// CleanGateways is the door for gateways. Trusted are those that an operator wrote
// down: they may be any unicast address. Others (found in a registry) may not be
// loopback, link-local or a cloud's metadata address, nor one of IPv6 that is
// translated to such, unless allowed contains them. It returns the valid gateways sorted by name, and what it refused. Which
// of two with one name stands does not depend on the order in which they are given.
func CleanGateways(gateways []Gateway, trusted bool, allowed []netip.Prefix) (clean []Gateway, refused []*Refusal) {
	for _, g := range gateways {
		g, notes, ok := cleanGateway(g, trusted, allowed)
		refused = append(refused, notes...)
		if ok {
			clean = append(clean, g)
		}
	}
	slices.SortFunc(clean, compareGateways)
	clean = slices.CompactFunc(clean, func(a, b Gateway) bool {
		if a.Name == b.Name {
			refused = append(refused, refuse("gateway-duplicate", "two gateways are named %q: the one with the lower address stands", a.Name))
			return true
		}
		return false
	})
	if len(clean) > MaxGateways {
		refused = append(refused, refuse("gateways-too-many", "%d gateways, more than %d: the first by name are kept", len(clean), MaxGateways))
		clean = clean[:MaxGateways:MaxGateways]
	}
	return clean, refused
}

func compareGateways(a, b Gateway) int {
	if c := strings.Compare(a.Name, b.Name); c != 0 {
		return c
	}
	if c := slices.CompareFunc(a.Addresses, b.Addresses, netip.Addr.Compare); c != 0 {
		return c
	}
	if c := cmp.Compare(a.Weight, b.Weight); c != 0 {
		return c
	}
	portsA, portsB := slices.Sorted(maps.Keys(a.Ports)), slices.Sorted(maps.Keys(b.Ports))
	if c := slices.Compare(portsA, portsB); c != 0 {
		return c
	}
	for _, name := range portsA {
		if c := cmp.Compare(a.Ports[name], b.Ports[name]); c != 0 {
			return c
		}
	}
	return 0
}

func cleanGateway(g Gateway, trusted bool, allowed []netip.Prefix) (Gateway, []*Refusal, bool) {
	if !isLabel(g.Name) {
		return g, []*Refusal{refuse("gateway-name", "gateway name %q is not a DNS label of a-z, 0-9 and inner hyphens", clip(g.Name))}, false
	}
	if g.Weight < 0 || g.Weight > MaxWeight {
		return g, []*Refusal{refuse("gateway-weight", "gateway %s: weight %d is not within 0 to %d", g.Name, g.Weight, MaxWeight)}, false
	}
	if err := cmp.Or(checkPorts(g), checkProbe(g)); err != nil {
		return g, []*Refusal{err}, false
	}
	var refused []*Refusal
	var addresses []netip.Addr
	for _, a := range g.Addresses {
		a = a.Unmap()
		if err := CheckGatewayAddress(a, trusted, allowed); err != nil {
			refused = append(refused, refuse("gateway-address", "gateway %s: %v", g.Name, err))
			continue
		}
		addresses = append(addresses, a)
	}
	slices.SortFunc(addresses, netip.Addr.Compare)
	addresses = slices.Compact(addresses)
	if len(addresses) > MaxGatewayAddresses {
		refused = append(refused, refuse("gateway-address", "gateway %s has %d addresses, more than %d: the first are kept", g.Name, len(addresses), MaxGatewayAddresses))
		addresses = addresses[:MaxGatewayAddresses]
	}
	if len(addresses) == 0 {
		return g, append(refused, refuse("gateway-address", "gateway %s has no usable address", g.Name)), false
	}
	g.Addresses = addresses
	return g, refused, true
}

func checkPorts(g Gateway) *Refusal {
	if len(g.Ports) > MaxGatewayPorts {
		return refuse("gateway-port", "gateway %s has %d ports, more than %d", g.Name, len(g.Ports), MaxGatewayPorts)
	}
	for name, port := range g.Ports {
		if !isLabel(name) || len(name) > maxLabel-1 { // "_name" must fit a label
			return refuse("gateway-port", "gateway %s: port name %q is not a DNS label of at most 62 bytes", g.Name, clip(name))
		}
		if port < 1 || port > 65535 {
			return refuse("gateway-port", "gateway %s: port %s is %d, not within 1 to 65535", g.Name, name, port)
		}
	}
	return nil
}

// metadataAddresses are where clouds answer questions about a machine, with
// credentials among the answers. Those within 169.254.0.0/16 are link-local anyway.
var metadataAddresses = []netip.Addr{
	netip.MustParseAddr("169.254.169.254"), netip.MustParseAddr("fd00:ec2::254"), netip.MustParseAddr("fd00:ec2::23"), // AWS
	netip.MustParseAddr("168.63.129.16"),                                          // Azure
	netip.MustParseAddr("fd20:ce::254"),                                           // Google
	netip.MustParseAddr("192.0.0.192"), netip.MustParseAddr("fd00:c1::a9fe:a9fe"), // Oracle
	netip.MustParseAddr("100.100.100.200"), // Alibaba
	netip.MustParseAddr("fd00:42::42"),     // Scaleway
}

// embeddings are the networks of IPv6 whose addresses hold one of IPv4, to which a
// translator or a tunnel leads, and where in the address it stands.
var embeddings = []struct {
	within netip.Prefix
	at     int
}{
	{netip.MustParsePrefix("::/96"), 12},           // IPv4-compatible (RFC 4291 §2.5.5.1)
	{netip.MustParsePrefix("::ffff:0:0:0/96"), 12}, // IPv4-translated (RFC 2765)
	{netip.MustParsePrefix("64:ff9b::/96"), 12},    // NAT64 (RFC 6052)
	{netip.MustParsePrefix("2002::/16"), 2},        // 6to4 (RFC 3056)
}

// localTranslation is for NAT64 within a network (RFC 8215): where in an address that
// of IPv4 stands is for its operator to say.
var localTranslation = netip.MustParsePrefix("64:ff9b:1::/48")

// embedded returns the address of IPv4 that one of IPv6 leads to, if it does.
func embedded(a netip.Addr) (inner netip.Addr, ok bool) {
	for _, e := range embeddings {
		if e.within.Contains(a) {
			all := a.As16()
			return netip.AddrFrom4([4]byte(all[e.at : e.at+4])), true
		}
	}
	return netip.Addr{}, false
}

// isForbidden reports whether an address leads to this machine, its link, or what a
// cloud tells about it.
func isForbidden(a netip.Addr) bool {
	if inner, ok := embedded(a); ok && (inner.IsUnspecified() || inner.IsMulticast() || isForbidden(inner)) {
		return true
	}
	return a.IsLoopback() || a.IsLinkLocalUnicast() || slices.Contains(metadataAddresses, a) || localTranslation.Contains(a)
}

// CheckGatewayAddress tells why an address can't be a gateway's; nil when it can.
// See [CleanGateways] for trusted and allowed.
func CheckGatewayAddress(a netip.Addr, trusted bool, allowed []netip.Prefix) error {
	a = a.Unmap()
	switch {
	case !a.IsValid() || a.IsUnspecified():
		return fmt.Errorf("%v is no address to reach", a)
	case a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return fmt.Errorf("%v is a multicast or broadcast address", a)
	case a.Zone() != "":
		return fmt.Errorf("%v has a zone, which means nothing to others", a)
	case trusted || slices.ContainsFunc(allowed, func(p netip.Prefix) bool { return p.Contains(a) }):
		return nil
	case isForbidden(a):
		return fmt.Errorf("%v is a loopback, link-local or metadata address, or leads to one; a registry may name it only when gateways.allow covers it", a)
	}
	return nil
}

// checkClusterRecord validates a record that came from the stream.
func checkClusterRecord(r *ClusterRecord) *Refusal {
	if _, err := ParseClusterID(string(r.Cluster)); err != nil {
		return err.(*Refusal)
	}
	if len(r.Labels) > MaxClusterLabels {
		return refuse("cluster-labels", "%d labels, more than %d", len(r.Labels), MaxClusterLabels)
	}
	if err := checkMeta(r.Labels); err != nil {
		return err
	}
	for _, s := range []string{r.Source, r.Region, r.Zone} {
		if len(s) > maxLabel || !printable(s) {
			return refuse("cluster-text", "%q is longer than %d bytes or not printable", clip(s), maxLabel)
		}
	}
	clean, refused := CleanGateways(r.Gateways, true, nil)
	if len(refused) > 0 {
		return refused[0]
	}
	r.Gateways = clean
	return nil
}
