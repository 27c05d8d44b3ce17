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
		v := lookuptest.Draw(t, false).View()
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
		messages := lookuptest.Draw(t, false).Messages()
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

		checkChanged(t, older, newer, newer.Delta())
	})
}

// TestChangedSince: the same between a View and one that it went back to, whose zone is
// the one that stood then.
func TestChangedSince(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		messages := lookuptest.Draw(t, false).Messages()
		f := registry.NewFold()
		f.Synced()
		for _, m := range messages {
			f.Apply(m)
		}
		newer := f.View()
		back := rapid.IntRange(0, len(messages)-1).Draw(t, "back to")
		older, change, ok := newer.Since(messages[back].Sequence)
		if !ok {
			t.Fatalf("the journal does not reach back to %d", messages[back].Sequence)
		}
		want := slices.Sorted(maps.Keys(zoneLines(lookuptest.Fold(messages[:back+1]))))
		if d := cmp.Diff(want, slices.Sorted(maps.Keys(zoneLines(older)))); d != "" {
			t.Fatalf("going back gives another zone (-want +got):\n%s", d)
		}
		checkChanged(t, older, newer, change)
	})
}

func zoneLines(v *registry.View) map[string]bool {
	all := map[string]bool{}
	for rr := range lookup.Zone(v) {
		all[rr.String()] = true
	}
	return all
}

// checkChanged: the newer zone is the older one with the changed parts replaced.
func checkChanged(t interface{ Fatalf(string, ...any) }, older, newer *registry.View, change registry.Delta) {
	got := zoneLines(older)
	parts := map[lookup.Part]bool{}
	for p := range lookup.Changed(older, newer, change) {
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
	if d := cmp.Diff(slices.Sorted(maps.Keys(zoneLines(newer))), slices.Sorted(maps.Keys(got))); d != "" {
		t.Fatalf("the zone differs (-want +got):\n%s", d)
	}
}

// TestListIsMadeAsFarAsItIsSent: of a list that can't be sent as a whole only so much is
// made that it shows, the first ones.
func TestListIsMadeAsFarAsItIsSent(t *testing.T) {
	w := &lookuptest.World{}
	w.Zone(lookuptest.Zone())
	w.Cluster("amber", lookuptest.Gateway("gw", 1, 80, "203.0.113.1"))
	for n := range 200 {
		w.Service("amber", "shop", fmt.Sprintf("s-%04d", n), lookuptest.Instance("a", registry.Passing, ""))
		w.Service("amber", fmt.Sprintf("space-%d", n), "s", lookuptest.Instance("a", registry.Passing, ""))
	}
	v := w.View()
	for name, whole := range map[string]int{"_http._tcp.shop.svc.mesh.internal.": 200, "b._dns-sd._udp.mesh.internal.": 201, "_services._dns-sd._udp.shop.svc.mesh.internal.": 1} {
		all := ask(v, name, "PTR").Answer
		if len(all) != whole {
			t.Fatalf("%s: %d records, want %d", name, len(all), whole)
		}
		for most, want := range map[int]int{1: 1, 70: min(whole, 70), 200: min(whole, 200), 1000: whole} {
			r := lookup.Answer(v, lookup.Question{Name: name, Type: dns.TypePTR, Class: dns.ClassINET, Most: most})
			if len(r.Answer) != want || !slices.EqualFunc(r.Answer, all[:want], dns.IsDuplicate) {
				t.Errorf("%s: %d records of at most %d, want %d", name, len(r.Answer), most, want)
			}
		}
	}
}

// TestListTooLong: a namespace with too many names can't be browsed, and can be again
// when one leaves; its services are answered all the same.
func TestListTooLong(t *testing.T) {
	w := &lookuptest.World{}
	w.Zone(lookuptest.Zone())
	w.Cluster("amber", lookuptest.Gateway("gw", 1, 80, "203.0.113.1"))
	for n := range registry.MaxListed {
		w.Service("amber", "shop", fmt.Sprintf("s-%04d", n), lookuptest.Instance("a", registry.Passing, ""))
	}
	f := registry.NewFold()
	applied := 0
	view := func() *registry.View {
		for ; applied < len(w.Messages()); applied++ {
			f.Apply(w.Messages()[applied])
		}
		f.Synced()
		return f.View()
	}
	check := func(v *registry.View, listed int) {
		t.Helper()
		if got := len(ask(v, "_http._tcp.shop.svc.mesh.internal.", "PTR").Answer); got != listed {
			t.Errorf("%d services are listed, want %d", got, listed)
		}
		for name, want := range map[string]int{
			"b._dns-sd._udp.mesh.internal.": 1, "_services._dns-sd._udp.shop.svc.mesh.internal.": 1, "s-0007._http._tcp.shop.svc.mesh.internal.": 0,
		} {
			r := ask(v, name, "PTR")
			if listed == 0 && r.RCode != dns.RcodeNameError || listed > 0 && (r.RCode != dns.RcodeSuccess || len(r.Answer) != want) {
				t.Errorf("%s: got %s", name, transcript(r))
			}
		}
		if got := ask(v, "_http._tcp.s-0007.shop.svc.mesh.internal.", "SRV"); len(got.Answer) != 1 {
			t.Errorf("a service of the namespace: got %s", transcript(got))
		}
	}
	older := view()
	check(older, registry.MaxListed)
	w.Service("amber", "shop", "one-more", lookuptest.Instance("a", registry.Passing, ""))
	newer := view()
	check(newer, 0)
	checkChanged(t, older, newer, newer.Delta())
	back, change, ok := newer.Since(older.Sequence())
	if !ok {
		t.Fatal("the journal does not reach back")
	}
	check(back, registry.MaxListed)
	checkChanged(t, back, newer, change)
	w.Forget("amber", "shop", "s-0000")
	last := view()
	check(last, registry.MaxListed)
	checkChanged(t, newer, last, last.Delta())
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
	want := []lookup.Part{lookup.OfService(registry.Labels{Namespace: "shop", Name: "web"})}
	if !slices.Equal(got, want) {
		t.Errorf("a service's change: got %+v, want %+v", got, want)
	}
	older = newer
	w.Service("amber", "lab", "young", lookuptest.Instance("a", registry.Passing, ""))
	newer = apply()
	got = slices.Collect(lookup.Changed(older, newer, newer.Delta()))
	want = []lookup.Part{lookup.OfService(registry.Labels{Namespace: "lab", Name: "young"}), lookup.OfNamespace("lab"), lookup.OfNamespaces()}
	if !slices.Equal(got, want) {
		t.Errorf("a service that comes: got %+v, want %+v", got, want)
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
