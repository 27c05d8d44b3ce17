package lookup

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/miekg/dns"

	"github.com/seamark-mesh/seamark/registry"
)

// Resolution is an answer for a person, with its reasons.
type Resolution struct {
	RCode   string   // NOERROR, NXDOMAIN …
	Answers []string // the answer section in presentation format (RFC 1035 §5.1), single spaces
	Why     []Why    // sorted by cluster; empty for names that no cluster stands behind
}

// Why tells for one cluster whether its gateways are among the answers.
type Why struct {
	Cluster registry.ClusterID
	In      bool
	Reason  string
}

// The reasons of a [Why] that depend on the question; the others are
// [registry.Candidate]'s.
const (
	ReasonOtherCluster = "the name asks for another cluster"
	ReasonNoAddress    = "no gateway of the cluster has an address of this type"
	ReasonNoPort       = "no gateway of the cluster has this port"
	ReasonNoPortAsked  = "SRV is answered at _port._tcp in front of the name"
	ReasonPortAsked    = "addresses are answered at the name without a port in front"
	ReasonSVCBPlace    = "SVCB is answered at _port._tcp in front of the name"
	ReasonHTTPSPlace   = "HTTPS is answered at the name itself, and at _number._https in front of it"
	ReasonNoHTTPS      = "no gateway of the cluster has a port named https"
)

// Resolve answers a name and a type as DNS does at this moment, and tells for
// every cluster that the View knows why it is in or out. A name without a dot at
// its end is taken as if it had one; an empty type is A. For types other than A,
// AAAA, SRV, SVCB and HTTPS, In tells whether the cluster would be answered with. The error
// says what is wrong with the name or the type.
func Resolve(v *registry.View, name, qtype string) (Resolution, error) {
	canonical, err := canonicalName(name)
	if err != nil {
		return Resolution{}, err
	}
	number, err := parseType(qtype)
	if err != nil {
		return Resolution{}, err
	}
	answer := Answer(v, Question{Name: canonical, Type: number, Class: dns.ClassINET})
	r := Resolution{RCode: dns.RcodeToString[answer.RCode], Answers: []string{}, Why: []Why{}}
	for _, rr := range answer.Answer {
		r.Answers = append(r.Answers, strings.ReplaceAll(rr.String(), "\t", " "))
	}
	if answer.Authoritative {
		r.Why = why(v, canonical, number)
	}
	return r, nil
}

// canonicalName brings a name that a person wrote to the form that a packet would
// have given.
func canonicalName(name string) (string, error) {
	if name == "" {
		return "", fmt.Errorf("the name is empty")
	}
	var wire [256]byte
	end, err := dns.PackDomainName(dns.Fqdn(name), wire[:], 0, nil, false)
	if err != nil || end > 255 {
		return "", fmt.Errorf("%.300q is no domain name", name)
	}
	canonical, _, err := dns.UnpackDomainName(wire[:end], 0)
	if err != nil {
		return "", fmt.Errorf("%.300q is no domain name", name)
	}
	return fold(canonical), nil
}

// parseType accepts mnemonics in both cases and TYPE123 (RFC 3597 §5).
func parseType(s string) (uint16, error) {
	if s == "" {
		return dns.TypeA, nil
	}
	upper := strings.ToUpper(s)
	if t, ok := dns.StringToType[upper]; ok {
		return t, nil
	}
	if digits, ok := strings.CutPrefix(upper, "TYPE"); ok {
		if n, err := strconv.ParseUint(digits, 10, 16); err == nil {
			return uint16(n), nil
		}
	}
	return 0, fmt.Errorf("%.64q is no record type: for example A, AAAA, SRV, TXT, TYPE65280", s)
}

func why(v *registry.View, name string, qtype uint16) []Why {
	head, _ := within(name, v.Zone().Name)
	p := find(v, name, head)
	if p.kind != service && p.kind != gateways && p.kind != absent {
		return []Why{}
	}
	entrances := p.entrances(v)
	all := make([]Why, 0, len(v.Clusters()))
	for _, c := range v.Clusters() {
		w := Why{Cluster: c.ID, Reason: registry.ReasonUnknownHere}
		n := slices.IndexFunc(entrances, func(e registry.Candidate) bool { return e.Cluster == c.ID })
		switch {
		case n >= 0:
			w.In, w.Reason = entrances[n].In, entrances[n].Reason
			if w.In {
				w.In, w.Reason = p.contributes(entrances[n], qtype)
			}
		case p.cluster != nil:
			w.Reason = ReasonOtherCluster
		}
		all = append(all, w)
	}
	return all
}

// contributes tells whether a cluster that is in has records of the type asked for.
func (p place) contributes(e registry.Candidate, qtype uint16) (in bool, reason string) {
	has := func(match func(registry.Gateway) bool) bool { return slices.ContainsFunc(e.Gateways, match) }
	address := func(match func(netip.Addr) bool) bool {
		return has(func(g registry.Gateway) bool { return slices.ContainsFunc(g.Addresses, match) })
	}
	switch qtype {
	case dns.TypeA, dns.TypeAAAA:
		match := netip.Addr.Is4
		if qtype == dns.TypeAAAA {
			match = netip.Addr.Is6
		}
		if p.port != "" {
			return false, ReasonPortAsked
		}
		if !address(match) {
			return false, ReasonNoAddress
		}
	case dns.TypeSRV, dns.TypeSVCB:
		switch {
		case (p.port == "" || p.https) && qtype == dns.TypeSRV:
			return false, ReasonNoPortAsked
		case p.port == "" || p.https:
			return false, ReasonSVCBPlace
		case !has(func(g registry.Gateway) bool { return portOf(g, p.port) > 0 }):
			return false, ReasonNoPort
		}
	case dns.TypeHTTPS:
		switch {
		case p.port != "" && !p.https:
			return false, ReasonHTTPSPlace
		case p.https && !has(func(g registry.Gateway) bool { return httpsPortOf(g, p.port) > 0 }):
			return false, ReasonNoPort
		case !p.https && !has(func(g registry.Gateway) bool { return g.Ports[httpsPort] > 0 }):
			return false, ReasonNoHTTPS
		}
	}
	return e.In, e.Reason
}
