package zoneconfig

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/seamark-mesh/seamark/cmd/internal/config"
	"github.com/seamark-mesh/seamark/registry"
)

// Zone is the section as it is written.
type Zone struct {
	Name         string                    `yaml:"name" default:"mesh.internal." help:"name of the zone"`
	TTL          config.Seconds            `yaml:"ttl" default:"5s" help:"time to live of answers, whole seconds"`
	NegativeTTL  config.Seconds            `yaml:"negative_ttl" default:"5s" help:"time to live of negative answers, whole seconds"`
	TTLByService map[string]config.Seconds `yaml:"ttl_by_service" help:"time to live by pattern of services: shop/*=15s"`
	StaleTTL     config.Seconds            `yaml:"stale_ttl" default:"2s" help:"time to live of answers that may no longer hold, whole seconds"`
	Withdraw     []string                  `yaml:"withdraw" help:"patterns of services that are answered with nothing when no cluster that is up can serve; all others with what was known last"`
	Nameservers  []nameserver              `yaml:"nameservers"`
	Contact      string                    `yaml:"contact" help:"mail address of who is responsible, as a domain name; hostmaster.<zone> when empty"`
}

type nameserver struct {
	Name      string       `yaml:"name"`
	Addresses []netip.Addr `yaml:"addresses"`
}

// Load reads the zone section of the global-dns configuration at path; its other
// sections are not looked at.
func Load(path string) (registry.ZoneRecord, []config.Fault) {
	var d struct {
		Zone       Zone `yaml:"zone"`
		NATS       any  `yaml:"nats"`
		DNS        any  `yaml:"dns"`
		Probes     any  `yaml:"probes"`
		Observer   any  `yaml:"observer"`
		Checkpoint any  `yaml:"checkpoint"`

		ReadyWhenStale any `yaml:"ready_when_stale"`
		MaxStale       any `yaml:"max_stale"`
		ShutdownDelay  any `yaml:"shutdown_delay"`
		Streams        any `yaml:"streams"`
		Archive        any `yaml:"archive"`
		Signing        any `yaml:"signing"`
		Verify         any `yaml:"verify"`
		HTTP           any `yaml:"http"`
	}
	r := config.Load(&d, path, nil, pflag.NewFlagSet("", pflag.ContinueOnError))
	z := d.Zone.Record(r)
	return z, r.Faults()
}

// Record makes the zone record, and tells what is wrong where it was written.
func (z Zone) Record(r *config.Report) registry.ZoneRecord {
	byDefault := z.Contact == ""
	if byDefault {
		z.Contact = "hostmaster." + z.Name
	}
	record := registry.ZoneRecord{
		Name: qualified(z.Name), TTL: int(z.TTL), NegativeTTL: int(z.NegativeTTL), Contact: qualified(z.Contact),
	}
	if record.StaleTTL = int(z.StaleTTL); record.StaleTTL == registry.DefaultStaleTTL {
		record.StaleTTL = 0 // as in records of those who do not know the setting
	}
	for _, pattern := range z.Withdraw {
		record.Withdraw = append(record.Withdraw, registry.Pattern(pattern))
	}
	for _, pattern := range slices.Sorted(maps.Keys(z.TTLByService)) {
		record.TTLByService = append(record.TTLByService, registry.ServiceTTL{Pattern: registry.Pattern(pattern), TTL: int(z.TTLByService[pattern])})
	}
	_, faults := registry.CleanZone(record)
	add := func(field string, faults []registry.Fault) {
		for _, f := range faults {
			if f.Field == "contact" && byDefault {
				f.Field = "name" // of which it was made
			}
			r.Add(field+f.Field, "%s", f.Detail)
		}
	}
	add("zone.", faults)
	wrong := len(faults) > 0
	for i, n := range z.Nameservers {
		server := registry.Nameserver{Name: qualified(n.Name), Addresses: n.Addresses}
		record.Nameservers = append(record.Nameservers, server)
		alone := record
		alone.Nameservers = []registry.Nameserver{server}
		_, faults := registry.CleanZone(alone)
		for _, f := range faults {
			if f.Field == "nameservers" {
				wrong = true
				r.Add(fmt.Sprintf("zone.nameservers[%d]", i), "%s", f.Detail)
			}
		}
	}
	record, faults = registry.CleanZone(record)
	if !wrong { // each is well by itself: what is wrong between them
		add("zone.", faults)
	}
	return record
}

// qualified adds the dot at the end that everyone forgets.
func qualified(name string) string {
	if name == "" || strings.HasSuffix(name, ".") {
		return name
	}
	return name + "."
}
