package transfer

import (
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
	"pgregory.net/rapid"

	"github.com/seamark-mesh/seamark/dnsserver/lookup"
	"github.com/seamark-mesh/seamark/dnsserver/lookup/lookuptest"
	"github.com/seamark-mesh/seamark/registry"
)

// content is a zone as a client holds it: its records as text, the SOA aside.
type content map[string]bool

func contentOf(v *registry.View) content {
	c := content{}
	for rr := range lookup.Zone(v) {
		c[rr.String()] = true
	}
	return c
}

// apply does what a secondary does with a transfer (RFC 1995 §4), and returns the
// serial it has then. Anything that a strict one would refuse is an error.
func (c content) apply(had uint32, records iter.Seq[dns.RR]) (content, uint32, error) {
	all := slices.Collect(records)
	first, ok := all[0].(*dns.SOA)
	if !ok {
		return nil, 0, fmt.Errorf("begins with %v", all[0])
	}
	if len(all) == 1 {
		return c, had, nil
	}
	if last, ok := all[len(all)-1].(*dns.SOA); !ok || last.Serial != first.Serial {
		return nil, 0, fmt.Errorf("ends with %v", all[len(all)-1])
	}
	second, incremental := all[1].(*dns.SOA)
	if !incremental || len(all) == 2 {
		next := content{}
		for _, rr := range all[1 : len(all)-1] {
			if next[rr.String()] {
				return nil, 0, fmt.Errorf("twice: %v", rr)
			}
			next[rr.String()] = true
		}
		return next, first.Serial, nil
	}
	if second.Serial != had {
		return nil, 0, fmt.Errorf("a difference from %d for a client with %d", second.Serial, had)
	}
	next, adding := maps.Clone(c), false
	for _, rr := range all[2 : len(all)-1] {
		switch soa, ok := rr.(*dns.SOA); {
		case ok && !adding && soa.Serial == first.Serial:
			adding = true
		case ok:
			return nil, 0, fmt.Errorf("an SOA of %d within", soa.Serial)
		case adding && next[rr.String()]:
			return nil, 0, fmt.Errorf("added although it is there: %v", rr)
		case adding:
			next[rr.String()] = true
		case !next[rr.String()]:
			return nil, 0, fmt.Errorf("removed although it is not there: %v", rr)
		default:
			delete(next, rr.String())
		}
	}
	if !adding {
		return nil, 0, fmt.Errorf("no second half")
	}
	return next, first.Serial, nil
}

// drawWorld writes a random history of a zone.
func drawWorld(t *rapid.T) *lookuptest.World {
	w := &lookuptest.World{}
	w.Zone(lookuptest.Zone())
	clusters := []registry.ClusterID{"amber", "bronze"}
	for range rapid.IntRange(1, 40).Draw(t, "steps") {
		cluster := rapid.SampledFrom(clusters).Draw(t, "cluster")
		name := fmt.Sprintf("s%d", rapid.IntRange(0, 30).Draw(t, "name"))
		namespace := rapid.SampledFrom([]string{"shop", "default"}).Draw(t, "namespace")
		switch rapid.IntRange(0, 14).Draw(t, "step") {
		case 0:
			var gateways []registry.Gateway
			for n := range rapid.IntRange(0, 2).Draw(t, "gateways") {
				gateways = append(gateways, registry.Gateway{
					Name: fmt.Sprintf("gw-%d", n), Weight: 1, Ports: map[string]int{"http": rapid.IntRange(80, 82).Draw(t, "port")},
					Addresses: []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, byte(rapid.IntRange(1, 9).Draw(t, "address"))})},
				})
			}
			w.Cluster(cluster, gateways...)
		case 1:
			w.Service(cluster, namespace, name)
		case 2:
			w.Forget(cluster, namespace, name)
		case 3:
			z := lookuptest.Zone()
			z.TTL = rapid.IntRange(5, 6).Draw(t, "ttl")
			if rapid.Bool().Draw(t, "no name servers") {
				z.Nameservers = nil
			}
			w.Zone(z)
		case 4:
			w.State(cluster, rapid.SampledFrom([]registry.Liveness{
				registry.Up, registry.Unreachable, registry.Stale, registry.Down, registry.Gone,
			}).Draw(t, "state"), rapid.SampledFrom([][]string{nil, {"gw-0"}}).Draw(t, "failing")...)
		case 5:
			w.Order(registry.Order{
				Kind:   rapid.SampledFrom([]string{registry.OrderDrain, registry.OrderLeave}).Draw(t, "order"),
				Target: string(cluster), Force: rapid.Bool().Draw(t, "force"), Lifted: rapid.Bool().Draw(t, "lifted"),
			})
		case 6:
			w.Order(registry.Order{
				Kind: registry.OrderDrain, Force: rapid.Bool().Draw(t, "force"), Lifted: rapid.Bool().Draw(t, "lifted"),
				Target: rapid.SampledFrom([]string{"gw-0." + string(cluster), name + "." + namespace + "." + string(cluster)}).Draw(t, "target"),
			})
		default:
			health := rapid.SampledFrom([]registry.Health{registry.Passing, registry.Critical}).Draw(t, "health")
			w.Service(cluster, namespace, strings.ToUpper(name[:1])+name[1:], lookuptest.Instance("a", health, "1.0"))
		}
	}
	return w
}

// reader is a replica, and what it has shown.
type reader struct {
	fold *registry.Fold
	then map[uint64][]*registry.View // by sequence
}

func (r *reader) take(m registry.Message) registry.Outcome {
	out := r.fold.Apply(m)
	r.show()
	return out
}

// show remembers the View that the fold gives, as secondaries get it.
func (r *reader) show() {
	v := r.fold.View().Current()
	r.then[v.Sequence()] = append(r.then[v.Sequence()], v)
}

// lose has the reader follow another stream, on which what a new world holds is
// published, and clusters say, some of them, that this is all they own.
func (r *reader) lose(t *rapid.T) {
	from := r.fold.View()
	r.fold = registry.Inherit(from)
	r.fold.Synced()
	r.show()
	sequence, revisions := from.Sequence(), map[registry.Writer]uint64{}
	take := func(m registry.Message) bool {
		sequence++
		m.Sequence = sequence
		if m.Fact.Writer != registry.Operator {
			revisions[m.Fact.Writer]++
			m.Epoch, m.Revision = 2, revisions[m.Fact.Writer]
		}
		return r.take(m).Complete
	}
	for _, m := range drawWorld(t).Messages() {
		take(m)
		id, own := m.Fact.Writer.Cluster()
		if !own || rapid.IntRange(0, 9).Draw(t, "that is all") > 0 {
			continue
		}
		e := &registry.Event{Kind: registry.KindSnapshot, Writer: m.Fact.Writer, Snapshot: &registry.SnapshotMark{}}
		if take(registry.Message{Fact: e.Fact(), Event: e}) {
			r.fold.Settle(id)
			r.show()
		}
	}
}

// TestIXFRMakesTheSameZoneAsAXFR: from every serial that a client may have, what it
// gets makes its zone the one that an AXFR gives, also where the stream was lost.
func TestIXFRMakesTheSameZoneAsAXFR(t *testing.T) {
	shapes := map[Shape]int{}
	rapid.Check(t, func(t *rapid.T) {
		messages := drawWorld(t).Messages()
		r := reader{registry.NewFold(), map[uint64][]*registry.View{}}
		r.fold.Synced()
		r.show()
		for n, m := range messages {
			r.take(m)
			r.then[m.Sequence] = append(r.then[m.Sequence], lookuptest.Fold(messages[:n+1])) // another replica's
		}
		if rapid.Bool().Draw(t, "the stream is lost") {
			r.lose(t)
		}
		v := r.fold.View().Current()
		whole, ok := ForAXFR(v)
		if !ok {
			t.Fatal("no zone")
		}
		want, serial, err := content(nil).apply(0, whole.Records())
		if err != nil || serial != v.Serial() || !maps.Equal(want, contentOf(v)) {
			t.Fatalf("AXFR: %d, %v", serial, err)
		}
		for s := uint32(1); s <= v.Serial()+2; s++ {
			p, ok := ForIXFR(v, s, 0)
			if !ok {
				t.Fatal("no plan")
			}
			shapes[p.Shape]++
			if s >= v.Serial() {
				if p.Shape != Current {
					t.Fatalf("serial %d of %d: %s", s, v.Serial(), p.Shape)
				}
				continue
			}
			for _, then := range r.then[uint64(s)] {
				got, serial, err := contentOf(then).apply(s, p.Records())
				if err != nil || serial != v.Serial() || !maps.Equal(got, want) {
					t.Fatalf("from %d to %d (%s): %v\nhave %v\nwant %v", s, v.Serial(), p.Shape, err, got, want)
				}
			}
		}
	})
	if shapes[Incremental] == 0 || shapes[Full] == 0 {
		t.Errorf("shapes %v: not all were met", shapes)
	}
}

// TestSerials is RFC 1982 around the points where 32 bits begin anew.
func TestSerials(t *testing.T) {
	const round = 1 << 32
	for _, tt := range []struct {
		sequence uint64
		serial   uint32
		at       uint64
		behind   bool
	}{
		{100, 100, 0, false},
		{100, 99, 99, true},
		{100, 101, 0, false},
		{100, 0, 0, true},
		{100, 1<<32 - 1, 0, true},               // another history's: by RFC 1982 it is older than ours
		{round + 5, 5, 0, false},                // the same
		{round + 5, 1<<32 - 1, round - 1, true}, // over the edge
		{round - 1, 0, 0, false},                // one ahead, over the edge
		{round - 1, 1<<32 - 2, round - 2, true}, //
		{3*round + 7, 6, 3*round + 6, true},     //
		{1<<31 + 10, 10, 10, true},              // half the circle: neither before nor after; the whole zone is right
		{1<<31 + 10, 11, 11, true},              //
		{1<<31 + 10, 9, 0, false},               // more than half the circle is ahead
		{3*round + 7, 1<<31 + 8, 2*round + 1<<31 + 8, true},
	} {
		if at, is := behind(tt.sequence, tt.serial); at != tt.at || is != tt.behind {
			t.Errorf("behind(%d, %d) = %d, %t; want %d, %t", tt.sequence, tt.serial, at, is, tt.at, tt.behind)
		}
	}
}

// TestSmallChangeOfALargeZone: what is sent is in proportion to the change.
func TestSmallChangeOfALargeZone(t *testing.T) {
	w := &lookuptest.World{}
	w.Zone(lookuptest.Zone())
	w.Cluster("amber", lookuptest.Gateway("gw", 1, 80, "192.0.2.1"))
	for n := range 200 {
		w.Service("amber", "shop", fmt.Sprint("s", n), lookuptest.Instance("a", registry.Passing, "1.0"))
	}
	f := registry.NewFold()
	for _, m := range w.Messages() {
		f.Apply(m)
	}
	f.Synced()
	before := f.View()
	w.Service("amber", "shop", "s7")
	all := w.Messages()
	f.Apply(all[len(all)-1])
	v := f.View()
	p, _ := ForIXFR(v, before.Serial(), 0)
	if count := len(slices.Collect(p.Records())); p.Shape != Incremental || count < 6 || count > 40 {
		t.Errorf("%s with %d records", p.Shape, count)
	}
	if p, _ := ForIXFR(v, before.Serial(), 1); p.Shape != Incremental {
		t.Errorf("one part of one: %s", p.Shape)
	}
	// All names change when the cluster's gateway does: the whole zone is shorter.
	w.Cluster("amber", lookuptest.Gateway("gw", 1, 80, "192.0.2.2"))
	all = w.Messages()
	f.Apply(all[len(all)-1])
	if p, _ := ForIXFR(f.View(), before.Serial(), 0); p.Shape != Full {
		t.Errorf("a change of everything: %s", p.Shape)
	}
	// A limit holds for parts and for what would be looked at to find them.
	for n := range 40 {
		w.Service("amber", "shop", "s8", lookuptest.Instance("a", registry.Passing, fmt.Sprint(n)))
	}
	for _, m := range w.Messages()[len(all):] {
		f.Apply(m)
	}
	now := f.View()
	for parts, want := range map[int]Shape{0: Incremental, 1: Full, 5: Incremental} {
		if p, _ := ForIXFR(now, now.Serial()-40, parts); p.Shape != want {
			t.Errorf("40 changes of one name, at most %d parts: %s, want %s", parts, p.Shape, want)
		}
	}
}

// TestPartsThatAreNotKnown: a zone in which something may be missing is not given as a
// whole; what changed in it is.
func TestPartsThatAreNotKnown(t *testing.T) {
	w := lookuptest.Harbours()
	f := registry.NewFold()
	for _, m := range w.Messages() {
		f.Apply(m)
	}
	f.Synced()
	missing := registry.Fact{Writer: "amber", Kind: registry.KindService, Service: registry.ServiceKey{Namespace: "shop", Name: "lost"}}
	f.Missing(missing, true)
	before := f.View()
	w.Service("amber", "shop", "web")
	f.Apply(w.Messages()[len(w.Messages())-1])
	v := f.View()
	if _, ok := ForAXFR(v); ok {
		t.Error("an AXFR")
	}
	if p, ok := ForIXFR(v, 1, 0); ok {
		t.Errorf("an IXFR from afar: %s", p.Shape)
	}
	if p, ok := ForIXFR(v, before.Serial(), 0); !ok || p.Shape != Incremental {
		t.Errorf("an IXFR: %t, %s", ok, p.Shape)
	}
	if p, ok := ForIXFR(v, v.Serial(), 0); !ok || p.Shape != Current {
		t.Errorf("nothing newer: %t, %s", ok, p.Shape)
	}
	f.Missing(missing, false)
	if _, ok := ForAXFR(f.View()); !ok {
		t.Error("no AXFR although all is known")
	}
}

// TestNoZone: a replica that has not caught up gives nothing.
func TestNoZone(t *testing.T) {
	if _, ok := ForAXFR(&registry.View{}); ok {
		t.Error("an AXFR of nothing")
	}
	if _, ok := ForIXFR(&registry.View{}, 1, 0); ok {
		t.Error("an IXFR of nothing")
	}
}

// TestSerialOfAnotherHistory: whoever has a serial that was never ours takes all.
func TestSerialOfAnotherHistory(t *testing.T) {
	f := registry.NewFold()
	f.Synced() // the journal reaches back to the stream's beginning
	for _, m := range lookuptest.Harbours().Messages() {
		f.Apply(m)
	}
	for _, serial := range []uint32{0, 1<<32 - 1, 1<<32 - 1000} {
		if p, ok := ForIXFR(f.View(), serial, 0); !ok || p.Shape != Full {
			t.Errorf("from %d: %t, %s", serial, ok, p.Shape)
		}
	}
}

// TestNoTransferWithinAGap: what a gap left out may come without another serial, so
// nobody gets the zone before it is there.
func TestNoTransferWithinAGap(t *testing.T) {
	w := lookuptest.Harbours()
	f := registry.NewFold()
	for _, m := range w.Messages() {
		f.Apply(m)
	}
	f.Synced()
	before := f.View()
	w.Service("amber", "late", "one", lookuptest.Instance("a", registry.Passing, ""))
	w.Service("amber", "late", "two", lookuptest.Instance("a", registry.Passing, ""))
	all := w.Messages()
	if out := f.Apply(all[len(all)-1]); !out.Gap {
		t.Fatal("no gap")
	}
	within := f.View()
	if p, ok := ForAXFR(within); ok {
		t.Errorf("AXFR: %s of a zone that is not whole", p.Shape)
	}
	for _, parts := range []int{0, 16} {
		if p, ok := ForIXFR(within, before.Serial(), parts); ok {
			t.Errorf("IXFR: %s to a zone that is not whole", p.Shape)
		}
	}
	f.Apply(all[len(all)-2])
	f.Synced()
	after := f.View()
	if after.Serial() != within.Serial() {
		t.Fatal("another serial")
	}
	if p, ok := ForAXFR(after); !ok || p.Shape != Full {
		t.Errorf("AXFR afterwards: %s, %v", p.Shape, ok)
	}
	if p, ok := ForIXFR(after, before.Serial(), 0); !ok || p.Shape != Incremental {
		t.Errorf("IXFR afterwards: %s, %v", p.Shape, ok)
	}
}

// TestInheritanceIsNotTransferred: what is known from a stream that was lost is answered
// with a short TTL until its agent has published it anew. A secondary that took the zone
// meanwhile kept that TTL, for nothing on the stream said when it ended.
func TestInheritanceIsNotTransferred(t *testing.T) {
	w := &lookuptest.World{}
	w.Zone(lookuptest.Zone())
	w.Cluster("amber", lookuptest.Gateway("gw", 1, 80, "192.0.2.1"))
	w.Service("amber", "shop", "web", lookuptest.Instance("a", registry.Passing, "1.0"))
	f := registry.Inherit(w.View())
	f.Synced()
	inherited := f.View()
	if asked := lookup.Answer(inherited, lookup.Question{Name: "web.shop.svc.mesh.internal.", Type: dns.TypeA, Class: dns.ClassINET}); asked.Answer[0].Header().Ttl != 2 {
		t.Fatalf("answered with %v", asked.Answer)
	}
	had := contentOf(inherited.Current())
	if before := contentOf(w.View()); !maps.Equal(had, before) {
		t.Errorf("transferred are\n%v\nnot\n%v", had, before)
	}
	sequence := inherited.Sequence()
	mark := &registry.Event{Kind: registry.KindSnapshot, Writer: "amber", Snapshot: &registry.SnapshotMark{}}
	for n, m := range append(w.Messages()[1:], registry.Message{Fact: mark.Fact(), Event: mark}) {
		sequence++
		m.Sequence, m.Epoch, m.Revision = sequence, 2, uint64(n+1)
		f.Apply(m)
	}
	f.Settle("amber")
	v := f.View().Current()
	if v.Cluster("amber").Inherited() {
		t.Fatal("not settled")
	}
	p, ok := ForIXFR(v, inherited.Serial(), 0)
	if got, serial, err := had.apply(inherited.Serial(), p.Records()); !ok || err != nil || serial != v.Serial() || !maps.Equal(got, contentOf(v)) {
		t.Errorf("%s: %v\nhave %v\nwant %v", p.Shape, err, got, contentOf(v))
	}
}

// TestSettlingIsNotPassedOver: what settling drops goes without another serial, so a
// secondary that had the zone just before must not be told that nothing has changed.
func TestSettlingIsNotPassedOver(t *testing.T) {
	w := &lookuptest.World{}
	w.Zone(lookuptest.Zone())
	w.Cluster("amber", lookuptest.Gateway("gw", 1, 80, "192.0.2.1"))
	kept := w.Messages()
	w.Service("amber", "shop", "lost", lookuptest.Instance("a", registry.Passing, "1.0"))
	f := registry.Inherit(w.View())
	f.Synced()
	sequence := f.View().Sequence()
	apply := func(m registry.Message, revision uint64) *registry.View {
		sequence++
		m.Sequence, m.Epoch, m.Revision = sequence, 2, revision
		f.Apply(m)
		return f.View().Current()
	}
	for n, m := range kept[1:] {
		apply(m, uint64(n+1))
	}
	mark := &registry.Event{Kind: registry.KindSnapshot, Writer: "amber", Snapshot: &registry.SnapshotMark{}}
	before := apply(registry.Message{Fact: mark.Fact(), Event: mark}, uint64(len(kept)))
	f.Settle("amber")
	if settled := f.View(); settled.Serial() != before.Serial() || maps.Equal(contentOf(settled), contentOf(before)) {
		t.Fatal("nothing was dropped at the same serial")
	}
	v := apply(registry.Message{Fact: mark.Fact(), Event: mark}, uint64(len(kept)+1))
	p, ok := ForIXFR(v, before.Serial(), 0)
	if got, _, err := contentOf(before).apply(before.Serial(), p.Records()); !ok || err != nil || !maps.Equal(got, contentOf(v)) {
		t.Errorf("%s: %v\nhave %v\nwant %v", p.Shape, err, got, contentOf(v))
	}
}
