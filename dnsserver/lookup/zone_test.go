package lookup_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	"pgregory.net/rapid"

	"github.com/seamark-mesh/seamark/dnsserver/lookup"
	"github.com/seamark-mesh/seamark/dnsserver/lookup/lookuptest"
	"github.com/seamark-mesh/seamark/registry"
)

// set names an RRset.
type set struct {
	name  string
	rtype uint16
}

// zoneSets returns the zone as RRsets, in the order of their records. It fails when
// an RRset does not come in one piece or a record comes twice.
func zoneSets(t *rapid.T, v *registry.View) map[set][]string {
	sets, seen := map[set][]string{}, map[string]bool{}
	last := set{}
	for rr := range lookup.Zone(v) {
		s := set{rr.Header().Name, rr.Header().Rrtype}
		if s != last && sets[s] != nil {
			t.Fatalf("the zone has %v in two pieces", s)
		}
		if seen[rr.String()] {
			t.Fatalf("the zone has %s twice", rr)
		}
		last, seen[rr.String()] = s, true
		sets[s] = append(sets[s], rr.String())
	}
	return sets
}

func lines(records []dns.RR) []string {
	var all []string
	for _, rr := range records {
		all = append(all, rr.String())
	}
	return all
}

// TestZoneIsWhatIsAnswered: each RRset of the zone is what is answered for its name
// and type, and every answer is in the zone.
func TestZoneIsWhatIsAnswered(t *testing.T) {
	names := universe()
	rapid.Check(t, func(t *rapid.T) {
		v := drawWorld(t).View()
		zone := zoneSets(t, v)
		for s, want := range zone {
			if got := lines(ask(v, s.name, dns.TypeToString[s.rtype]).Answer); !slices.Equal(got, want) {
				t.Fatalf("%v: the answer is\n%s\nin the zone stands\n%s", s, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
		for s := range zone { // names that are not in the universe are walked too
			names = append(names, s.name)
		}
		slices.Sort(names)
		names = slices.Compact(names)
		for _, name := range names {
			for _, qtype := range allTypes {
				if qtype == "ANY" || qtype == "SOA" {
					continue
				}
				for _, rr := range ask(v, name, qtype).Answer {
					if s := (set{name, rr.Header().Rrtype}); !slices.Contains(zone[s], rr.String()) {
						t.Fatalf("the zone lacks %s", rr)
					}
				}
			}
		}
	})
}

// TestChangedParts: of two Views in a row, the newer zone is the older one with the
// changed parts replaced.
func TestChangedParts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		messages := drawWorld(t).Messages()
		from := rapid.IntRange(0, len(messages)).Draw(t, "older")
		f := registry.NewFold()
		for _, m := range messages[:from] {
			f.Apply(m)
		}
		if rapid.Bool().Draw(t, "older is synced") {
			f.Synced()
		}
		older := f.View()
		for _, m := range messages[from:] {
			f.Apply(m)
		}
		f.Synced()
		newer := f.View()

		got, want := map[string]bool{}, map[string]bool{}
		for rr := range lookup.Zone(older) {
			got[rr.String()] = true
		}
		parts := map[lookup.Part]bool{}
		for p := range lookup.Changed(older, newer, newer.Delta()) {
			if parts[p] {
				t.Fatalf("%+v comes twice", p)
			}
			parts[p] = true
			for rr := range p.Records(older) {
				delete(got, rr.String())
			}
		}
		for p := range parts {
			for rr := range p.Records(newer) {
				got[rr.String()] = true
			}
		}
		for rr := range lookup.Zone(newer) {
			want[rr.String()] = true
		}
		if d := cmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got))); d != "" {
			t.Fatalf("the zone differs (-want +got):\n%s", d)
		}
	})
}

// TestChangedCostsWhatChanged: one service's change is one part, whatever else
// there is.
func TestChangedCostsWhatChanged(t *testing.T) {
	w := lookuptest.Harbours()
	f := registry.NewFold()
	apply := func() *registry.View {
		for _, m := range w.Messages() {
			f.Apply(m)
		}
		f.Synced()
		return f.View()
	}
	older := apply()
	w.Service("bronze", "shop", "web")
	newer := apply()
	got := slices.Collect(lookup.Changed(older, newer, newer.Delta()))
	if want := []lookup.Part{lookup.OfService(registry.Labels{Namespace: "shop", Name: "web"})}; !slices.Equal(got, want) {
		t.Errorf("a service's change: got %+v, want %+v", got, want)
	}
	older = newer
	z := lookuptest.Zone()
	z.Nameservers = z.Nameservers[:1]
	w.Zone(z)
	newer = apply()
	if got := slices.Collect(lookup.Changed(older, newer, newer.Delta())); !slices.Equal(got, []lookup.Part{lookup.OfZone()}) {
		t.Errorf("one name server less: got %+v", got)
	}
}

// TestZoneStops: whoever has seen enough of the zone can stop anywhere.
func TestZoneStops(t *testing.T) {
	v := lookuptest.Harbours().View()
	all := slices.Collect(lookup.Zone(v))
	if len(all) < 100 {
		t.Fatalf("the zone has %d records", len(all))
	}
	for n := range all {
		count := 0
		for rr := range lookup.Zone(v) {
			if rr.Header().Name != all[count].Header().Name {
				t.Fatalf("record %d is another one", count)
			}
			if count++; count > n {
				break
			}
		}
	}
	for range lookup.Zone(&registry.View{}) {
		t.Fatal("a View that is not synced has a zone")
	}
}

func BenchmarkZone(b *testing.B) {
	w := &lookuptest.World{}
	w.Zone(lookuptest.Zone())
	for c := range 3 {
		id := registry.ClusterID(fmt.Sprint("c", c))
		w.Cluster(id, lookuptest.Gateway("gw", 1, 80, "203.0.113.1"))
		for s := range 1000 {
			w.Service(id, "shop", fmt.Sprint("s-", s), lookuptest.Instance("a", registry.Passing, "1"))
		}
	}
	v := w.View()
	b.ReportAllocs()
	for b.Loop() {
		count := 0
		for range lookup.Zone(v) {
			count++
		}
		b.ReportMetric(float64(count)/1000, "records/service")
	}
}
