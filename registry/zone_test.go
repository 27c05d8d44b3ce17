package registry_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/seamark-mesh/seamark/registry"
)

func soundZone() registry.ZoneRecord {
	return registry.ZoneRecord{
		Name: "mesh.internal.", TTL: 5, NegativeTTL: 5, Contact: "hostmaster.mesh.internal.",
		TTLByService: []registry.ServiceTTL{{Pattern: "shop/*", TTL: 15}},
		Nameservers:  []registry.Nameserver{{Name: "ns1.mesh.internal.", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.53")}}},
	}
}

func TestCleanZoneNamesEveryFault(t *testing.T) {
	t.Parallel()
	server := func(name string, addresses ...string) []registry.Nameserver {
		n := registry.Nameserver{Name: name}
		for _, a := range addresses {
			n.Addresses = append(n.Addresses, netip.MustParseAddr(a))
		}
		return []registry.Nameserver{n}
	}
	for name, tt := range map[string]struct {
		change func(*registry.ZoneRecord)
		fields string // of the faults
	}{
		"sound":                    {func(*registry.ZoneRecord) {}, ""},
		"capitals":                 {func(z *registry.ZoneRecord) { z.Name = "Mesh.INTERNAL." }, ""},
		"no name server":           {func(z *registry.ZoneRecord) { z.Nameservers = nil }, ""},
		"one elsewhere":            {func(z *registry.ZoneRecord) { z.Nameservers = server("ns.example.org.") }, ""},
		"underscores":              {func(z *registry.ZoneRecord) { z.Name, z.Nameservers = "_mesh.internal.", nil }, ""},
		"no dot at the end":        {func(z *registry.ZoneRecord) { z.Name = "mesh.internal" }, "name"},
		"the root":                 {func(z *registry.ZoneRecord) { z.Name = "." }, "name"},
		"no name":                  {func(z *registry.ZoneRecord) { z.Name = "" }, "name"},
		"an empty label":           {func(z *registry.ZoneRecord) { z.Name = "mesh..internal." }, "name"},
		"a wildcard":               {func(z *registry.ZoneRecord) { z.Name = "*.internal." }, "name"},
		"a name with an escape":    {func(z *registry.ZoneRecord) { z.Name = "me\x1b[2Jsh." }, "name"},
		"a name of 64 KiB":         {func(z *registry.ZoneRecord) { z.Name = strings.Repeat("a.", 32_768) }, "name"},
		"a label of 64":            {func(z *registry.ZoneRecord) { z.Name = strings.Repeat("a", 64) + "." }, "name"},
		"a contact with @":         {func(z *registry.ZoneRecord) { z.Contact = "hostmaster@example.org" }, "contact"},
		"a TTL of 0":               {func(z *registry.ZoneRecord) { z.TTL = 0 }, "ttl"},
		"a TTL of -1":              {func(z *registry.ZoneRecord) { z.TTL = -1 }, "ttl"},
		"a TTL of 2^31":            {func(z *registry.ZoneRecord) { z.TTL = 1 << 31 }, "ttl"},
		"a TTL of an hour and 1 s": {func(z *registry.ZoneRecord) { z.NegativeTTL = 3601 }, "negative_ttl"},
		"everything":               {func(z *registry.ZoneRecord) { *z = registry.ZoneRecord{} }, "name contact ttl negative_ttl"},
		"a pattern's TTL":          {func(z *registry.ZoneRecord) { z.TTLByService[0].TTL = 0 }, "ttl_by_service.shop/*"},
		"a pattern that is none":   {func(z *registry.ZoneRecord) { z.TTLByService[0].Pattern = "shop" }, "ttl_by_service.shop"},
		"a pattern of 64 KiB": {func(z *registry.ZoneRecord) {
			z.TTLByService[0].Pattern = registry.Pattern(strings.Repeat("a", 65_536))
		}, "ttl_by_service." + strings.Repeat("a", 64)},
		"a pattern twice":           {func(z *registry.ZoneRecord) { z.TTLByService = append(z.TTLByService, z.TTLByService[0]) }, "ttl_by_service.shop/*"},
		"a thousand and 1 patterns": {func(z *registry.ZoneRecord) { z.TTLByService = patterns(1001) }, "ttl_by_service"},
		"a server without address":  {func(z *registry.ZoneRecord) { z.Nameservers = server("ns1.mesh.internal.") }, "nameservers"},
		"a server at the apex":      {func(z *registry.ZoneRecord) { z.Nameservers = server("mesh.internal.", "192.0.2.1") }, "nameservers"},
		"a server among services":   {func(z *registry.ZoneRecord) { z.Nameservers = server("ns.svc.mesh.internal.", "192.0.2.1") }, "nameservers"},
		"a server among gateways":   {func(z *registry.ZoneRecord) { z.Nameservers = server("gw.mesh.internal.", "192.0.2.1") }, "nameservers"},
		"a server that is no name":  {func(z *registry.ZoneRecord) { z.Nameservers = server("ns1", "192.0.2.1") }, "nameservers"},
		"a server on 0.0.0.0":       {func(z *registry.ZoneRecord) { z.Nameservers = server("ns1.mesh.internal.", "0.0.0.0") }, "nameservers"},
		"a server on multicast":     {func(z *registry.ZoneRecord) { z.Nameservers = server("ns1.mesh.internal.", "ff02::1") }, "nameservers"},
		"a server named twice":      {func(z *registry.ZoneRecord) { z.Nameservers = append(z.Nameservers, z.Nameservers[0]) }, "nameservers"},
		"14 servers":                {func(z *registry.ZoneRecord) { z.Nameservers = servers(14) }, "nameservers"},
		"17 addresses":              {func(z *registry.ZoneRecord) { z.Nameservers[0].Addresses = addresses(17) }, "nameservers"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			zone := soundZone()
			tt.change(&zone)
			clean, faults := registry.CleanZone(zone)
			var fields []string
			for _, f := range faults {
				fields = append(fields, f.Field)
				if f.Detail == "" || len(f.Detail)+len(f.Field) > 1024 || strings.ContainsAny(f.Detail, "\x1b\n") {
					t.Errorf("the fault in %s is told in %d bytes: %q", f.Field, len(f.Detail), f.Detail)
				}
			}
			if got := strings.Join(fields, " "); got != tt.fields {
				t.Errorf("faults in %q, want %q: %v", got, tt.fields, faults)
			}
			if len(faults) == 0 {
				again, faults := registry.CleanZone(clean)
				if len(faults) > 0 || !again.Equal(clean) {
					t.Errorf("cleaned again it is %+v, %v; want %+v", again, faults, clean)
				}
			}
		})
	}
}

func patterns(n int) []registry.ServiceTTL {
	var all []registry.ServiceTTL
	for i := range n {
		all = append(all, registry.ServiceTTL{Pattern: registry.Pattern(fmt.Sprintf("shop/%d", i)), TTL: 5})
	}
	return all
}

func servers(n int) []registry.Nameserver {
	var all []registry.Nameserver
	for i := range n {
		all = append(all, registry.Nameserver{Name: fmt.Sprintf("ns%d.example.org.", i)})
	}
	return all
}

func TestCleanZoneIsCanonical(t *testing.T) {
	t.Parallel()
	zone := soundZone()
	zone.Name = "MESH.internal."
	zone.TTLByService = []registry.ServiceTTL{{Pattern: "z/*", TTL: 2}, {Pattern: "a/*", TTL: 3}}
	zone.Nameservers = []registry.Nameserver{
		{Name: "NS2.example.org."},
		{Name: "ns1.mesh.internal.", Addresses: []netip.Addr{netip.MustParseAddr("::ffff:192.0.2.2"), netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")}},
	}
	clean, faults := registry.CleanZone(zone)
	got := fmt.Sprintf("%s %v %v %v", clean.Name, clean.TTLByService, clean.Nameservers, faults)
	if want := "mesh.internal. [{a/* 3} {z/* 2}] [{ns1.mesh.internal. [192.0.2.1 192.0.2.2]} {ns2.example.org. []}] []"; got != want {
		t.Errorf("CleanZone gives %s, want %s", got, want)
	}
	if zone.TTLByService[0].Pattern != "z/*" || zone.Nameservers[0].Name != "NS2.example.org." {
		t.Error("the given record has changed")
	}
}

func TestZoneEqualComparesEveryField(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*registry.ZoneRecord){
		"name":         func(z *registry.ZoneRecord) { z.Name = "x." },
		"ttl":          func(z *registry.ZoneRecord) { z.TTL++ },
		"negative ttl": func(z *registry.ZoneRecord) { z.NegativeTTL++ },
		"contact":      func(z *registry.ZoneRecord) { z.Contact = "x." },
		"by service":   func(z *registry.ZoneRecord) { z.TTLByService[0].TTL++ },
		"servers":      func(z *registry.ZoneRecord) { z.Nameservers = nil },
		"addresses":    func(z *registry.ZoneRecord) { z.Nameservers[0].Addresses = nil },
	} {
		changed := soundZone()
		change(&changed)
		if changed.Equal(soundZone()) {
			t.Errorf("%s: Equal does not compare it", name)
		}
		if a, b := viewWith(changed), viewWith(soundZone()); string(a.AppendCanonical(nil)) == string(b.AppendCanonical(nil)) {
			t.Errorf("%s: AppendCanonical does not cover it", name)
		}
	}
	if !soundZone().Equal(soundZone()) {
		t.Error("a zone record does not equal itself")
	}
}

func viewWith(z registry.ZoneRecord) *registry.View {
	f := registry.NewFold()
	fact := registry.Fact{Writer: registry.Operator, Kind: registry.KindZone}
	f.Apply(registry.Message{Fact: fact, Sequence: 1, Event: &registry.Event{Kind: registry.KindZone, Writer: registry.Operator, Zone: &z}})
	return f.View()
}

func TestServiceTTLTakesTheMostSpecificPattern(t *testing.T) {
	t.Parallel()
	zone, _ := registry.CleanZone(registry.ZoneRecord{TTL: 5, TTLByService: []registry.ServiceTTL{
		{Pattern: "*/*", TTL: 6}, {Pattern: "shop/*", TTL: 7}, {Pattern: "shop/cart", TTL: 8}, {Pattern: "*/cart", TTL: 9}, {Pattern: "a*/x", TTL: 10}, {Pattern: "*a/x", TTL: 11},
	}})
	for key, want := range map[registry.ServiceKey]int{
		{Namespace: "other", Name: "api"}: 6,
		{Namespace: "shop", Name: "api"}:  7,
		{Namespace: "shop", Name: "cart"}: 8,
		{Namespace: "x", Name: "cart"}:    9,
		{Namespace: "aa", Name: "x"}:      11, // equally specific: the lexically first
	} {
		if got := zone.ServiceTTL(key); got != want {
			t.Errorf("ServiceTTL(%v) = %d, want %d", key, got, want)
		}
	}
	if got := (registry.ZoneRecord{TTL: 5}).ServiceTTL(api); got != 5 {
		t.Errorf("without patterns the TTL is %d, want 5", got)
	}
}
