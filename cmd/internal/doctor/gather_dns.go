package doctor

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/seamark-mesh/seamark/dnsserver/ask"
	"github.com/seamark-mesh/seamark/registry"
)

// nameServers asks the DNS servers, when it is known of which zone.
func (g *gathering) nameServers(ctx context.Context) []NameServer {
	wait(ctx, g.viewKnown)
	zone, v := "mesh.internal.", g.stream.view()
	addresses := g.options.DNS
	if record := v.Zone(); record != nil {
		zone = record.Name
		for _, n := range record.Nameservers {
			for _, a := range n.Addresses {
				switch {
				case len(g.options.DNS) > 0:
				case a.IsLoopback(): // on this machine, where global-dns listens by default
					addresses = append(addresses, netip.AddrPortFrom(a, defaultPort).String())
				default:
					addresses = append(addresses, netip.AddrPortFrom(a, 53).String())
				}
			}
		}
	} else if len(g.options.Servers) > 0 {
		client, done := newClient()
		defer done()
		var s ReaderStatus
		if fetchJSON(ctx, client, g.options.Servers[0], "/v1/status", &s) == nil && s.Zone != "" {
			zone = s.Zone
		}
	}
	if len(addresses) == 0 {
		addresses = []string{DefaultDNS}
	}
	servers := make([]NameServer, len(addresses))
	var wg sync.WaitGroup
	for n, address := range addresses {
		wg.Go(func() { servers[n] = g.nameServer(ctx, address, zone) })
	}
	wg.Wait()
	return servers
}

func (g *gathering) nameServer(ctx context.Context, address, zone string) NameServer {
	s := NameServer{Address: address, SOA: map[string]Answer{}}
	if _, _, err := net.SplitHostPort(address); err != nil {
		s.Address = net.JoinHostPort(address, "53")
	}
	var wg sync.WaitGroup
	var udp, tcp Answer
	wg.Go(func() { udp = g.soa(ctx, "udp", s.Address, zone) })
	wg.Go(func() { tcp = g.soa(ctx, "tcp", s.Address, zone) })
	wg.Wait()
	s.SOA["udp"], s.SOA["tcp"] = udp, tcp
	if udp.Err != nil && tcp.Err != nil {
		return s // there is nobody
	}
	if g.options.Transfers != "" {
		wg.Go(func() {
			given, err := ask.Transfer(ctx, s.Address, zone)
			s.TransferErr = err
			if s.Transfer = "refused"; given {
				s.Transfer = "allowed"
			}
		})
	}
	g.service(ctx, &s, zone)
	wg.Wait()
	return s
}

// service asks for a service that must be answered, again when what it has is just changing.
func (g *gathering) service(ctx context.Context, s *NameServer, zone string) {
	for range 3 {
		s.Name, s.Type, s.Want = known(g.stream.view(), zone)
		if s.Name == "" {
			return
		}
		s.Service = asAnswer(ask.Ask(ctx, s.Address, s.Name, s.Type))
		if len(s.Service.Data) > 0 && !slices.ContainsFunc(s.Service.Data, func(a string) bool { return !slices.Contains(s.Want, a) }) {
			return
		}
		if s.Service.Err != nil || !pause(ctx, catchUp/6) {
			return
		}
	}
}

// soa asks for the zone's SOA, and gives the server a few seconds to come as far as the
// stream was.
func (g *gathering) soa(ctx context.Context, protocol, address, zone string) Answer {
	until := time.Now().Add(catchUp)
	for {
		a := asAnswer(ask.Over(ctx, protocol, address, zone, "SOA"))
		if len(a.Data) == 1 {
			if fields := strings.Fields(a.Data[0]); len(fields) > 2 {
				serial, _ := strconv.ParseUint(fields[2], 10, 32) // ask gives a number here
				a.Serial = uint32(serial)
			}
		}
		behind := a.Err == nil && int32(uint32(g.facts.Streams.Events.Last)-a.Serial) > 0
		if !behind || time.Now().After(until) || !pause(ctx, 200*time.Millisecond) {
			return a
		}
	}
}

func asAnswer(a ask.Answer, err error) Answer {
	return Answer{Err: err, RCode: a.RCode, Data: a.Data, Extended: a.Extended, Took: a.Took}
}

// known chooses a service that must be answered with an address, and says with which.
func known(v *registry.View, zone string) (name, rrtype string, want []string) {
	for n := range v.Names() {
		entry := n.Entries[0]
		for _, rrtype := range []string{"A", "AAAA"} {
			var want []string
			for _, c := range v.Decide(entry) {
				for _, gateway := range c.Gateways {
					for _, a := range gateway.Addresses {
						if c.In && a.Is4() == (rrtype == "A") {
							want = append(want, a.String())
						}
					}
				}
			}
			if len(want) > 0 {
				slices.Sort(want)
				return fmt.Sprintf("%s.%s.svc.%s", n.Labels.Name, n.Labels.Namespace, zone), rrtype, slices.Compact(want)
			}
		}
	}
	return "", "", nil
}
