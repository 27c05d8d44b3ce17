package registry_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/seamark-mesh/seamark/registry"
)

func TestCheckGatewayAddress(t *testing.T) {
	t.Parallel()
	allowed := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("0.0.0.0/0")}
	const (
		anyone  = "anyone" // may name it
		trusted = "trusted or allowed"
		nobody  = "nobody"
	)
	for address, who := range map[string]string{
		"192.0.2.1":              anyone,
		"10.0.0.1":               anyone,
		"100.64.0.1":             anyone,
		"2001:db8::1":            anyone,
		"fd00::1":                anyone,
		"::ffff:192.0.2.1":       anyone,
		"127.0.0.1":              trusted,
		"127.255.255.254":        trusted,
		"::ffff:127.0.0.1":       trusted,
		"169.254.0.1":            trusted,
		"169.254.169.254":        trusted,
		"::ffff:169.254.169.254": trusted,
		"100.100.100.200":        trusted,
		"fe80::1":                trusted,
		"0.0.0.0":                nobody,
		"::":                     nobody,
		"::ffff:0.0.0.0":         nobody,
		"224.0.0.1":              nobody,
		"239.255.255.255":        nobody,
		"255.255.255.255":        nobody,
		"ff02::1":                nobody,
		"::ffff:224.0.0.1":       nobody,
		"fe80::1%eth0":           nobody,
		"2001:db8::1%1":          nobody,
	} {
		a := netip.MustParseAddr(address)
		for name, got := range map[string]bool{
			anyone:    registry.CheckGatewayAddress(a, false, nil) == nil,
			"trusted": registry.CheckGatewayAddress(a, true, nil) == nil,
			"allowed": registry.CheckGatewayAddress(a, false, allowed) == nil,
		} {
			want := who == anyone || who == trusted && name != anyone
			if got != want {
				t.Errorf("%s, named by %s: accepted %v, want %v", address, name, got, want)
			}
		}
	}
	for _, trusted := range []bool{true, false} {
		if registry.CheckGatewayAddress(netip.Addr{}, trusted, nil) == nil {
			t.Error("no address at all is accepted")
		}
	}
}

// Only some of the clouds' metadata addresses were known, and none was recognised in the
// forms of IPv6 that a translator or a tunnel leads to.
func TestAddressesThatLeadInside(t *testing.T) {
	t.Parallel()
	everything := []netip.Prefix{netip.MustParsePrefix("::/0"), netip.MustParsePrefix("0.0.0.0/0")}
	for address, inside := range map[string]bool{
		"::1":                      true,
		"fd00:ec2::254":            true,
		"fd00:ec2::23":             true,
		"168.63.129.16":            true,
		"::ffff:168.63.129.16":     true,
		"192.0.0.192":              true,
		"fd20:ce::254":             true,
		"fd00:c1::a9fe:a9fe":       true,
		"fd00:42::42":              true,
		"64:ff9b::169.254.169.254": true,
		"64:ff9b::168.63.129.16":   true,
		"64:ff9b::127.0.0.1":       true,
		"64:ff9b::169.254.0.1":     true,
		"64:ff9b::0.0.0.0":         true,
		"64:ff9b::224.0.0.1":       true,
		"64:ff9b::192.0.2.1":       false,
		"64:ff9b::10.0.0.1":        false,
		"64:ff9b:1::a9fe:a9fe":     true,
		"64:ff9b:1:a9fe:a9:fe00::": true, // as RFC 6052 places it behind 48 bits
		"64:ff9b:1::192.0.2.1":     true, // where that one leads is not to be seen
		"64:ff9b:2::a9fe:a9fe":     false,
		"2002:a9fe:a9fe::1":        true,
		"2002:7f00:1::":            true,
		"2002:a83f:8110::1":        true,
		"2002:c000:201::1":         false,
		"::127.0.0.1":              true,
		"::169.254.169.254":        true,
		"::192.0.2.1":              false,
		"::ffff:0:169.254.169.254": true,
		"::ffff:0:192.0.2.1":       false,
		"168.63.129.17":            false,
		"192.0.0.191":              false,
		"fd00:ec2::1":              false,
		"2001:db8::a9fe:a9fe":      false,
	} {
		a := netip.MustParseAddr(address)
		if refused := registry.CheckGatewayAddress(a, false, nil) != nil; refused != inside {
			t.Errorf("%s, found in a registry: refused %v, want %v", address, refused, inside)
		}
		if err := registry.CheckGatewayAddress(a, true, nil); err != nil {
			t.Errorf("%s, written down by an operator: %v", address, err)
		}
		if err := registry.CheckGatewayAddress(a, false, everything); err != nil {
			t.Errorf("%s, found in a registry and allowed: %v", address, err)
		}
	}
}

func gateway(change func(*registry.Gateway)) registry.Gateway {
	g := registry.Gateway{Name: "gw-1", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Ports: map[string]int{"http": 80}, Weight: 1}
	if change != nil {
		change(&g)
	}
	return g
}

func addresses(n int) []netip.Addr {
	var all []netip.Addr
	for i := range n {
		all = append(all, netip.AddrFrom4([4]byte{192, 0, 2, byte(n - i)}))
	}
	return all
}

func portList(n int) map[string]int {
	ports := map[string]int{}
	for i := range n {
		ports[fmt.Sprint("p", i)] = 1 + i
	}
	return ports
}

func TestCleanGatewaysRefusesByReason(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(*registry.Gateway)
		reason string
		stands bool
	}{
		"sound":                      {nil, "", true},
		"no port":                    {func(g *registry.Gateway) { g.Ports = nil }, "", true},
		"weight 0":                   {func(g *registry.Gateway) { g.Weight = 0 }, "", true},
		"one address of two":         {func(g *registry.Gateway) { g.Addresses = append(g.Addresses, netip.MustParseAddr("127.0.0.1")) }, "gateway-address", true},
		"17 addresses":               {func(g *registry.Gateway) { g.Addresses = addresses(17) }, "gateway-address", true},
		"no address":                 {func(g *registry.Gateway) { g.Addresses = nil }, "gateway-address", false},
		"an invalid address":         {func(g *registry.Gateway) { g.Addresses = []netip.Addr{{}} }, "gateway-address", false},
		"a cloud's metadata address": {func(g *registry.Gateway) { g.Addresses = []netip.Addr{netip.MustParseAddr("169.254.169.254")} }, "gateway-address", false},
		"the same, mapped":           {func(g *registry.Gateway) { g.Addresses = []netip.Addr{netip.MustParseAddr("::ffff:169.254.169.254")} }, "gateway-address", false},
		"no name":                    {func(g *registry.Gateway) { g.Name = "" }, "gateway-name", false},
		"a name with a dot":          {func(g *registry.Gateway) { g.Name = "gw.1" }, "gateway-name", false},
		"a name in capitals":         {func(g *registry.Gateway) { g.Name = "GW" }, "gateway-name", false},
		"a name of 64 bytes":         {func(g *registry.Gateway) { g.Name = strings.Repeat("x", 64) }, "gateway-name", false},
		"weight -1":                  {func(g *registry.Gateway) { g.Weight = -1 }, "gateway-weight", false},
		"weight 65536":               {func(g *registry.Gateway) { g.Weight = 65536 }, "gateway-weight", false},
		"port 0":                     {func(g *registry.Gateway) { g.Ports = map[string]int{"http": 0} }, "gateway-port", false},
		"port 65536":                 {func(g *registry.Gateway) { g.Ports = map[string]int{"http": 65536} }, "gateway-port", false},
		"a port's name with a dot":   {func(g *registry.Gateway) { g.Ports = map[string]int{"h.p": 80} }, "gateway-port", false},
		"a port's name of 63 bytes":  {func(g *registry.Gateway) { g.Ports = map[string]int{strings.Repeat("x", 63): 80} }, "gateway-port", false},
		"33 ports":                   {func(g *registry.Gateway) { g.Ports = portList(33) }, "gateway-port", false},
		"the other's name":           {func(g *registry.Gateway) { g.Name = "gw-0" }, "gateway-duplicate", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hostile := gateway(tt.change)
			healthy := gateway(func(g *registry.Gateway) { g.Name = "gw-0" })
			clean, refused := registry.CleanGateways([]registry.Gateway{hostile, healthy}, false, nil)
			if !slices.ContainsFunc(clean, healthy.Equal) {
				t.Errorf("the healthy gateway is not among %+v", clean)
			}
			if stands := slices.ContainsFunc(clean, func(g registry.Gateway) bool { return g.Name == hostile.Name }); stands != tt.stands {
				t.Errorf("it stands: %v, want %v", stands, tt.stands)
			}
			if (tt.reason == "") != (len(refused) == 0) {
				t.Errorf("refused %v, want %q", refused, tt.reason)
			}
			for _, r := range refused {
				mustRefuse(t, r, tt.reason)
			}
		})
	}
}

func TestCleanGatewaysBoundsAndSorts(t *testing.T) {
	t.Parallel()
	var many []registry.Gateway
	for n := range registry.MaxGateways + 3 {
		many = append(many, gateway(func(g *registry.Gateway) { g.Name = fmt.Sprintf("gw-%05d", registry.MaxGateways+3-n) }))
	}
	clean, refused := registry.CleanGateways(many, true, nil)
	if len(clean) != registry.MaxGateways || clean[0].Name != "gw-00001" || len(refused) != 1 {
		t.Errorf("%d gateways stand, the first is %s; refused %v", len(clean), clean[0].Name, refused)
	}
	mixed := gateway(func(g *registry.Gateway) {
		g.Addresses = []netip.Addr{netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("::ffff:192.0.2.2"), netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")}
	})
	clean, _ = registry.CleanGateways([]registry.Gateway{mixed}, false, nil)
	if got := fmt.Sprint(clean[0].Addresses); got != "[192.0.2.1 192.0.2.2 2001:db8::1]" {
		t.Errorf("the addresses are %s: they must be unmapped, sorted and each once", got)
	}
}

// Readers accept what the door lets in, and the order in which it is given is nothing.
func TestCleanGatewaysIsTheSameForAnyOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		given := drawGateways(t)
		clean, refused := registry.CleanGateways(given, false, nil)
		for _, r := range refused {
			checkReason(t, r)
		}
		other, _ := registry.CleanGateways(rapid.Permutation(given).Draw(t, "another order"), false, nil)
		if !slices.EqualFunc(clean, other, registry.Gateway.Equal) {
			t.Fatalf("in another order %+v, not %+v", other, clean)
		}
		record := registry.ClusterRecord{Cluster: "amber", Gateways: clean}
		text, err := registry.Encode(&registry.Event{Schema: registry.Schema, Kind: registry.KindCluster, Writer: "amber", Cluster: &record})
		if err != nil {
			t.Fatal(err)
		}
		event, err := registry.Decode(text)
		if err != nil || !event.Cluster.Equal(record) || event.Cluster.Digest() != record.Digest() {
			t.Fatalf("readers see %+v, %v; want %+v", event, err, record)
		}
	})
}

func drawGateways(t *rapid.T) []registry.Gateway {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) registry.Gateway {
		return registry.Gateway{
			Name:      rapid.SampledFrom([]string{"gw-1", "gw-2", "GW", ""}).Draw(t, "name"),
			Addresses: rapid.SliceOfN(rapid.SampledFrom([]netip.Addr{{}, netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("::ffff:192.0.2.1"), netip.MustParseAddr("::1"), netip.MustParseAddr("2001:db8::1")}), 0, 3).Draw(t, "addresses"),
			Ports:     rapid.MapOfN(rapid.SampledFrom([]string{"http", "grpc", "x.y"}), rapid.SampledFrom([]int{0, 80, 8080}), 0, 2).Draw(t, "ports"),
			Weight:    rapid.IntRange(-1, 2).Draw(t, "weight"),
		}
	}), 0, 5).Draw(t, "gateways")
}
