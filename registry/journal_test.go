package registry_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/seamark-mesh/seamark/registry"
)

// shape writes all of a View that shapes the zone's records, and no stamps.
func shape(v *registry.View) string {
	var b strings.Builder
	if z := v.Zone(); z != nil {
		fmt.Fprintf(&b, "zone %+v\n", *z)
	}
	for _, c := range v.Clusters() {
		fmt.Fprintf(&b, "cluster %s", c.ID)
		if c.Record != nil {
			fmt.Fprintf(&b, " %v", c.Record.Digest())
		}
		fmt.Fprintln(&b)
	}
	for _, n := range v.SortedNames() {
		for _, e := range n.Entries {
			if len(e.Records) == 0 {
				continue
			}
			fmt.Fprintf(&b, "%v %v:", n.Labels, e.Key)
			for _, r := range e.Records {
				fmt.Fprintf(&b, " %s %v", r.Cluster, r.Digest)
			}
			b.WriteString(decisions(v, e))
			fmt.Fprintln(&b)
		}
	}
	return b.String()
}

// decisions writes what is decided of a service: in all, and in each cluster by itself.
func decisions(v *registry.View, e *registry.Entry) string {
	var b strings.Builder
	for _, c := range v.Decide(e) {
		alone, _ := v.DecideIn(e, c.Cluster)
		for _, c := range []registry.Candidate{c, alone} {
			fmt.Fprintf(&b, " %s %t %t %q", c.Cluster, c.In, c.Kept, c.Reason)
			for _, g := range c.Gateways {
				b.WriteString(" " + g.Name)
			}
		}
	}
	return b.String()
}

// shapesOf returns what the stream says at each of its sequences.
func shapesOf(history []message) []string {
	r := newReader(history)
	all := []string{shape(r.fold.View())}
	for _, m := range history {
		r.fold.Apply(m.decoded())
		r.repair()
		all = append(all, shape(r.fold.View()))
	}
	return all
}

// checkJournal holds every earlier View that v knows against a fold that stopped there.
func checkJournal(t *rapid.T, history []message, wants []string, v *registry.View, mustReach uint64) (reached int) {
	for s := uint64(0); s <= uint64(len(history))+1; s++ {
		older, changed, ok := v.Since(s)
		if count, known := v.ChangesSince(s); known != ok && s != v.Sequence() || known && count < len(changed.Names) {
			t.Fatalf("%d changes (%t) since %d, but %v (%t)", count, known, s, changed, ok)
		}
		if !ok {
			if s >= mustReach && s <= v.Sequence() {
				t.Fatalf("sequence %d is not reached from %d", s, v.Sequence())
			}
			continue
		}
		if s > v.Sequence() {
			t.Fatalf("sequence %d is after %d", s, v.Sequence())
		}
		reached++
		if got, want := shape(older), wants[s]; got != want || older.Sequence() != s {
			for _, m := range history {
				t.Log(m)
			}
			t.Fatalf("back from %d to %d:\n%s\nbut the stream says\n%s", v.Sequence(), s, got, want)
		}
		checkNamed(t, older, v, changed)
	}
	return reached
}

// checkNamed: names that the Delta does not have are the same entries in both Views.
func checkNamed(t *rapid.T, older, newer *registry.View, changed registry.Delta) {
	named := map[registry.Labels]bool{}
	for _, l := range changed.Names {
		named[l] = true
	}
	for _, pair := range [][2]*registry.View{{older, newer}, {newer, older}} {
		for n := range pair[0].Names() {
			for _, e := range n.Entries {
				other, _ := pair[1].Service(e.Key)
				if !named[n.Labels] && len(e.Records) > 0 && (other == nil || len(other.Records) != len(e.Records)) {
					t.Fatalf("%v differs and is not named", n.Labels)
				}
			}
		}
	}
	if !changed.Zone && older.Zone() != newer.Zone() && !older.Zone().Equal(*newer.Zone()) {
		t.Fatal("the zone record differs and is not named")
	}
}

// A replica that missed nothing goes back to every sequence since it was synced,
// in whatever batches it published; and finds what the stream said there.
func TestJournalGoesBackToEverySequence(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		history := drawStream(t).messages
		wants := shapesOf(history)
		synced := rapid.IntRange(0, len(history)).Draw(t, "synced at")
		r := newReader(history)
		for n, m := range history {
			if n == synced {
				r.fold.Synced()
			}
			r.fold.Apply(m.decoded())
			r.repair()
			if rapid.IntRange(0, 4).Draw(t, "publish") == 0 {
				checkJournal(t, history, wants, r.fold.View(), maxReach(r.fold.View(), synced, n))
			}
		}
		if synced == len(history) {
			r.fold.Synced()
		}
		checkJournal(t, history, wants, r.fold.View(), uint64(synced))
	})
}

func maxReach(v *registry.View, synced, applied int) uint64 {
	if applied < synced {
		return v.Sequence() + 1
	}
	return uint64(synced)
}

// A replica that began with the last message of each fact, lost some and filled
// them in: what it claims to know of the past is what the stream said.
func TestJournalNeverClaimsWhatWasNotSo(t *testing.T) {
	t.Parallel()
	reached := 0
	rapid.Check(t, func(t *rapid.T) {
		history := drawStream(t).messages
		wants := shapesOf(history)
		split := rapid.IntRange(0, len(history)).Draw(t, "split")
		r := newReader(history)
		for _, m := range lastPerSubject(history[:split]) {
			r.take(m)
		}
		if split > 0 {
			mustEqual(t, "at the split", history[:split], r.fold.View(), at(history[:split]))
		}
		r.fold.Synced()
		for n := split; n < len(history); n++ {
			if rapid.IntRange(0, 9).Draw(t, "loses its place") > 0 {
				r.take(history[n])
			} else {
				r.fold.Unsure()
				n = rapid.IntRange(n, len(history)-1).Draw(t, "up to")
				for _, m := range lastPerSubject(history[:n+1]) {
					r.take(m)
				}
				checkJournal(t, history, wants, r.fold.View(), math.MaxUint64)
				r.fold.Synced()
			}
			reached += checkJournal(t, history, wants, r.fold.View(), math.MaxUint64)
		}
	})
	if reached == 0 {
		t.Error("no history went back at all")
	}
}

// The journal is bounded: it forgets the oldest changes, and says so.
func TestJournalIsBounded(t *testing.T) {
	f := registry.NewFold()
	s := newStream("amber")
	a := s.authors[0]
	s.takeover(a, began)
	f.Apply(s.messages[0].decoded())
	f.Synced()
	state := func(n int) registry.ServiceState {
		service, _, _ := registry.CleanService("shop", fmt.Sprint("s", n%10), []registry.Instance{{ID: "a", Address: "10.0.0.1", Port: 1 + n%60000, Weight: 1, Health: registry.Passing}})
		return registry.NewServiceState(service.Key, &service)
	}
	const extra = 50
	for n := range registry.MaxJournalEntries + extra {
		st := state(n)
		f.Apply(registry.NewMessage(registry.Fact{Writer: "amber", Kind: registry.KindService, Service: st.Key()}, uint64(n+2), time.Unix(began, 0), began, uint64(n+2),
			&registry.Event{Kind: registry.KindService, Writer: "amber", Epoch: began, Revision: uint64(n + 2), Service: &st}, nil))
	}
	v := f.View()
	entries, reach := v.JournalDepth()
	if entries > registry.MaxJournalEntries || entries < 50_000 {
		t.Errorf("%d entries", entries)
	}
	if _, _, ok := v.Since(reach - 1); ok {
		t.Error("it goes back further than it says")
	}
	older, changed, ok := v.Since(reach)
	if !ok || len(changed.Names) != 10 || older.Sequence() != reach {
		t.Errorf("back to %d: %v, %v", reach, changed, ok)
	}
}

// What is filled in late shows that Views before it were not what the stream says;
// those before the loss were.
func TestJournalLeavesOutWhatWasIncomplete(t *testing.T) {
	for name, mend := range map[string]func(f *registry.Fold, s *stream){
		"filled in":           func(f *registry.Fold, s *stream) { f.Apply(s.messages[2].decoded()); f.Synced() },
		"superseded, then in": func(f *registry.Fold, s *stream) { f.Synced(); f.Apply(s.messages[2].decoded()) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStream("amber")
			a := s.authors[0]
			s.takeover(a, began)
			for _, name := range []string{"one", "two", "three", "four", "five"} {
				s.service(a, "change", registry.NewServiceState(registry.ServiceKey{Namespace: "shop", Name: name}, nil))
			}
			f := registry.NewFold()
			f.Apply(s.messages[0].decoded())
			f.Synced()
			f.Apply(s.messages[1].decoded())
			if out := f.Apply(s.messages[3].decoded()); !out.Gap { // the third is missed
				t.Fatalf("%+v", out)
			}
			if _, _, ok := f.View().Since(2); !ok {
				t.Error("no way back to before the loss")
			}
			if _, _, ok := f.View().Since(3); ok {
				t.Error("back to where the third message is missing, before anything mends it")
			}
			mend(f, s)
			f.Apply(s.messages[4].decoded())
			f.Apply(s.messages[5].decoded())
			v := f.View()
			for sequence, want := range map[uint64]bool{0: false, 1: true, 2: true, 3: false, 4: false, 5: true, 6: true, 7: false} {
				_, changed, ok := v.Since(sequence)
				if ok != want {
					t.Errorf("back to %d: %t, want %t", sequence, ok, want)
				}
				if ok && len(changed.Names) != 6-int(sequence) {
					t.Errorf("back to %d: %v", sequence, changed.Names)
				}
			}
		})
	}
}

// A message that comes late, without any gap that told of it, was missing before.
func TestJournalLeavesOutWhatALateMessageChanged(t *testing.T) {
	s := newStream("amber")
	for ttl := 1; ttl <= 3; ttl++ {
		s.put("zone", registry.Event{Kind: registry.KindZone, Writer: registry.Operator, Zone: &registry.ZoneRecord{
			Name: "mesh.internal.", TTL: ttl, NegativeTTL: 5, Contact: "hostmaster.mesh.internal.",
		}})
	}
	s.takeover(s.authors[0], began)
	s.takeover(s.authors[0], began+1)
	f := registry.NewFold()
	f.Apply(s.messages[0].decoded())
	f.Synced()
	f.Apply(s.messages[1].decoded())
	f.Apply(s.messages[4].decoded())
	f.Apply(s.messages[2].decoded())
	v := f.View()
	for sequence, want := range map[uint64]bool{1: true, 2: true, 3: false, 4: false} {
		if _, _, ok := v.Since(sequence); ok != want {
			t.Errorf("back to %d: %t, want %t", sequence, ok, want)
		}
	}
}

// What a writer said after its epoch was over was never so.
func TestJournalLeavesOutWhatAFenceTookBack(t *testing.T) {
	s := newStream("amber")
	a := s.authors[0]
	s.takeover(a, began)
	s.takeover(a, began+1)
	state := registry.NewServiceState(registry.ServiceKey{Namespace: "shop", Name: "rogue"}, nil)
	s.put("rogue", registry.Event{Kind: registry.KindService, Writer: "amber", Epoch: began, Revision: 2, Service: &state})
	s.repeatEpoch(a)
	f := registry.NewFold()
	f.Apply(s.messages[0].decoded())
	f.Synced()
	f.Apply(s.messages[2].decoded()) // the second, which ended the epoch, is missed
	f.Apply(s.messages[3].decoded())
	if len(f.Voided()) != 1 {
		t.Fatal("nothing was taken back")
	}
	f.Synced()
	v := f.View()
	if _, _, ok := v.Since(3); ok {
		t.Error("back to a state that was void")
	}
	if _, _, ok := v.Since(1); !ok {
		t.Error("no way back to before it")
	}
}

func BenchmarkSince(b *testing.B) {
	f := registry.NewFold()
	const services = 100_000
	apply := func(n, port int) {
		service, _, _ := registry.CleanService("shop", fmt.Sprint("s", n%services), []registry.Instance{{ID: "a", Address: "10.0.0.1", Port: port, Weight: 1, Health: registry.Passing}})
		st := registry.NewServiceState(service.Key, &service)
		f.Apply(registry.NewMessage(registry.Fact{Writer: "amber", Kind: registry.KindService, Service: st.Key()}, uint64(n+1), time.Unix(began, 0), began, uint64(n+1),
			&registry.Event{Kind: registry.KindService, Writer: "amber", Epoch: began, Revision: uint64(n + 1), Service: &st}, nil))
	}
	for n := range services {
		apply(n, 1)
	}
	f.Synced()
	for n := range 1000 {
		apply(services+n, 2)
	}
	v := f.View()
	for _, back := range []uint64{1, 10, 1000} {
		b.Run(fmt.Sprint(back), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, ok := v.Since(v.Sequence() - back); !ok {
					b.Fatal("no way back")
				}
			}
		})
	}
}
