package lookup

import (
	"net"
	"strconv"
	"strings"

	"github.com/miekg/dns"

	"github.com/seamark-mesh/seamark/registry"
)

// Service bindings (RFC 9460) stand at three kinds of names:
//
//	_<port>._tcp.<name>     SVCB: what SRV says there, and more: ALPN and the addresses
//	<name>                  HTTPS: where a gateway has a port named "https"
//	_<number>._https.<name> HTTPS: for URLs with that port (§2.3), where a gateway has
//	                        it under the name "https" or one that begins with "https-"
//
// There is one record per gateway, all of priority 1 (§2.4.1: clients take them in
// any order; weights are SRV's alone). None is an alias (§2.4.2): every name that we
// answer for has what it needs itself. HTTPS stands nowhere else, because a client
// that sees it goes to no plain http any more (§9.5).

const (
	httpsPort     = "https"
	httpsPrefix   = "https-"
	httpsStandard = 443 // asked for without a port in front of the name (§9.1)
)

// alpnOf tells which protocol a port speaks, where its name leaves no doubt: the
// names are those that ALPN has for what runs within TLS or QUIC, and "https", of
// which RFC 9460 §9 says that http/1.1 is spoken there. A port named "http" has
// no TLS and so no ALPN. In order of preference.
var alpnOf = []struct{ port, alpn string }{
	{"h3", "h3"}, {"h2", "h2"}, {httpsPort, "http/1.1"}, {"doq", "doq"}, {"dot", "dot"},
}

// isHTTPS reports whether a port of this name is one for https URLs.
func isHTTPS(port string) bool { return port == httpsPort || strings.HasPrefix(port, httpsPrefix) }

// httpsPortOf returns the port that a gateway has for https URLs with this port;
// 0 when it has none.
func httpsPortOf(g registry.Gateway, port string) int {
	for name, number := range g.Ports {
		if isHTTPS(name) && number != httpsStandard && strconv.Itoa(number) == port {
			return number
		}
	}
	return 0
}

// httpsPorts adds the <number> of all names _<number>._https in front of a place.
func (p place) httpsPorts(v *registry.View) []string {
	var labels []string
	p.anyGateway(v, func(g registry.Gateway) bool {
		for name, number := range g.Ports {
			if isHTTPS(name) && number != httpsStandard {
				labels = append(labels, strconv.Itoa(number))
			}
		}
		return false // on to the next one
	})
	return sortedOnce(labels)
}

// bindings returns the SVCB or HTTPS records at a place.
func (p place) bindings(v *registry.View, entrances []registry.Candidate, owner string, ttl uint32, qtype uint16) (answer, additional []dns.RR) {
	return perGateway(v, entrances, func(g registry.Gateway, target string) dns.RR {
		number, known := 0, ""
		switch {
		case qtype == dns.TypeSVCB:
			number = portOf(g, p.port)
		case p.https:
			number, known = httpsPortOf(g, p.port), httpsPort
		default:
			number, known = g.Ports[httpsPort], httpsPort
		}
		if number == 0 {
			return nil
		}
		binding := dns.SVCB{
			Hdr: header(owner, qtype, ttl), Priority: 1, Target: target,
			Value: parameters(g, number, known),
		}
		if qtype == dns.TypeHTTPS {
			return &dns.HTTPS{SVCB: binding}
		}
		return &binding
	})
}

// parameters returns the parameters of a gateway's port, by ascending key (§2.2).
// The protocol that the type of the record implies (§7.1.2) is not said again.
func parameters(g registry.Gateway, number int, implied string) []dns.SVCBKeyValue {
	var all []dns.SVCBKeyValue
	var protocols []string
	for _, p := range alpnOf {
		if p.port != implied && g.Ports[p.port] == number {
			protocols = append(protocols, p.alpn)
		}
	}
	if len(protocols) > 0 {
		all = append(all, &dns.SVCBAlpn{Alpn: protocols})
	}
	all = append(all, &dns.SVCBPort{Port: uint16(number)})
	var four, six []net.IP
	for _, a := range g.Addresses {
		if a.Is4() {
			four = append(four, a.AsSlice())
		} else {
			six = append(six, a.AsSlice())
		}
	}
	if len(four) > 0 {
		all = append(all, &dns.SVCBIPv4Hint{Hint: four})
	}
	if len(six) > 0 {
		all = append(all, &dns.SVCBIPv6Hint{Hint: six})
	}
	return all
}
