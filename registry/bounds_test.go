package registry_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/seamark-mesh/seamark/registry"
)

// bounded returns a fold with small bounds, and a history of two clusters.
func bounded(clusters, facts, held int) (*registry.Fold, *stream) {
	f := registry.NewFold()
	f.Limit(clusters, facts, held)
	s := newStream("amber", "bronze")
	for _, a := range s.authors {
		s.takeover(a, began)
	}
	return f, s
}

func named(name string, instances ...registry.Instance) registry.ServiceState {
	return registry.NewServiceState(registry.ServiceKey{Namespace: "default", Name: name}, &registry.Service{Instances: instances})
}

// TestOneClusterCanNotTakeTheMemoryOfAll: a cluster could own any number of services.
func TestOneClusterCanNotTakeTheMemoryOfAll(t *testing.T) {
	t.Parallel()
	const limit = 100
	f, s := bounded(10, limit, 1<<20)
	amber, bronze := s.authors[0], s.authors[1]
	for n := range 3 * limit {
		s.service(amber, "change", named(fmt.Sprint("s-", n), shared...))
	}
	s.service(bronze, "change", named("s-299", shared...))
	s.service(amber, "change", named("s-0"))            // one that it has may change
	s.service(amber, "change", named("s-1", shared...)) // and be refreshed
	counts := map[registry.Result]int{}
	for _, m := range s.messages {
		out := f.Apply(m.decoded())
		counts[out.Result]++
		if out.Result == registry.Quarantined && out.Reason != registry.ReasonTooMany {
			t.Fatalf("%s: %s", m, out.Reason)
		}
	}
	v := f.View()
	c := v.Cluster("amber")
	if c.Services != limit || counts[registry.Quarantined] != 2*limit || v.Services() != limit+1 {
		t.Errorf("%d services of %d, %d messages are quarantined", c.Services, v.Services(), counts[registry.Quarantined])
	}
	if c.Quarantined != limit+1 { // a hundred by name, and the rest as one
		t.Errorf("%d facts are in quarantine, want %d", c.Quarantined, limit+1)
	}
	if e, ok := v.Lookup(registry.Labels{Namespace: "default", Name: "s-299"}); !ok || e.Record("bronze") == nil {
		t.Error("the other cluster lacks its service")
	}
	if e, ok := v.Lookup(registry.Labels{Namespace: "default", Name: "s-0"}); !ok || !e.Record("amber").Tombstone() {
		t.Error("a service that was known did not change")
	}
	forgotten := named("s-2")
	forgotten.Forgotten = true
	f.Apply(s.service(amber, "forgotten", forgotten).decoded())
	if out := f.Apply(s.service(amber, "change", named("s-250", shared...)).decoded()); out.Result != registry.Applied {
		t.Errorf("there is room again, and the result is %v", out)
	}
}

func TestInstancesOfAClusterAreBounded(t *testing.T) {
	t.Parallel()
	f, s := bounded(10, 100, 40_000)
	a := s.authors[0]
	big := func(version string) (all []registry.Instance) {
		for n := range 100 {
			all = append(all, instance(func(i *registry.Instance) { i.ID, i.Version = fmt.Sprint("i-", n), version }))
		}
		return all
	}
	var results []string
	apply := func(state registry.ServiceState) {
		out := f.Apply(s.service(a, "change", state).decoded())
		results = append(results, string(out.Result))
	}
	f.Apply(s.messages[0].decoded())
	for n := range 6 {
		apply(named(fmt.Sprint("s-", n), big("1")...))
	}
	apply(named("s-0")) // room for one
	apply(named("s-5", big("1")...))
	apply(named("s-5", big("2")...)) // as large as before
	apply(named("s-0", big("1")...))
	got := strings.Join(results, " ")
	if want := "applied applied applied quarantined quarantined quarantined applied applied applied quarantined"; got != want {
		t.Errorf("results\n%s, want\n%s", got, want)
	}
}

// TestSpellingsOfOneNameAreBounded: every service that meets others at a name copied
// the list of all of them.
func TestSpellingsOfOneNameAreBounded(t *testing.T) {
	t.Parallel()
	f, s := bounded(10, 10_000, 1<<30)
	spelling := func(n int) string {
		b := []byte("a-very-long-name")
		for bit := range 10 {
			if n>>bit&1 == 1 {
				b[bit+6] = []byte("A.VERY.LONG.NAME")[bit+6]
			}
		}
		return string(b)
	}
	refused := 0
	for _, a := range s.authors {
		for n := range 200 {
			if out := f.Apply(s.service(a, "change", named(spelling(n), shared...)).decoded()); out.Result == registry.Quarantined {
				refused++
			}
		}
	}
	if want := 2 * (200 - registry.MaxSpellings); refused != want {
		t.Errorf("%d are refused, want %d", refused, want)
	}
}

// TestFactsThatShapeNothingAreBounded: notes of ever new kinds, and garbage under ever
// new names, were remembered for good.
func TestFactsThatShapeNothingAreBounded(t *testing.T) {
	t.Parallel()
	const limit = 50
	f, s := bounded(10, limit, 1<<20)
	a := s.authors[0]
	apply := func() registry.Outcome { return f.Apply(s.messages[len(s.messages)-1].decoded()) }
	for n := range 3 * limit {
		e := a.own(registry.KindNote)
		e.Note = &registry.Note{Kind: fmt.Sprint("n-", n), Text: "x"}
		s.put("note", e)
		if out := apply(); out.Result != registry.Passed {
			t.Fatalf("note %d: %v", n, out)
		}
	}
	s.recordOf(a, registry.ClusterRecord{Cluster: a.cluster, Region: "new"})
	newest := s.messages[len(s.messages)-1].decoded()
	older := newest
	older.Sequence, older.Event = 1, &registry.Event{Cluster: &registry.ClusterRecord{Cluster: a.cluster, Region: "old"}}
	f.Apply(newest)
	if out := f.Apply(older); out.Result != registry.Duplicate || f.View().Cluster(a.cluster).Record.Region != "new" {
		t.Errorf("an older record of the cluster: %v", out)
	}
	for n := range 3 * limit {
		a.revision++
		fact := registry.Fact{Writer: "amber", Kind: registry.KindService, Service: registry.ServiceKey{Namespace: "default", Name: fmt.Sprint("g-", n)}}
		f.Apply(registry.Message{Fact: fact, Sequence: uint64(1000 + n), Epoch: a.epoch, Revision: a.revision, Refused: &registry.Refusal{Reason: "not-json"}})
	}
	if c := f.View().Cluster("amber"); c.Quarantined != limit+1 || c.Unusable != limit+1 {
		t.Errorf("%d in quarantine, %d unusable; want %d", c.Quarantined, c.Unusable, limit+1)
	}
	if notes, facts := f.Remembered(); notes > limit+2 || facts > limit {
		t.Errorf("%d facts and %d in quarantine are remembered, want %d of each", notes, facts, limit)
	}
}

func TestClustersAreBounded(t *testing.T) {
	t.Parallel()
	f := registry.NewFold()
	f.Limit(3, 100, 1<<20)
	for n := range 5 {
		w := registry.Writer(fmt.Sprint("c-", n))
		out := f.Apply(registry.Message{Fact: registry.Fact{Writer: w, Kind: registry.KindNote, Name: "x"}, Sequence: uint64(n + 1), Epoch: 1, Revision: 1, Event: &registry.Event{Note: &registry.Note{}}})
		if (out.Reason == registry.ReasonTooMany) != (n >= 3) {
			t.Errorf("cluster %d: %v", n, out)
		}
	}
	if v := f.View(); len(v.Clusters()) != 3 || v.Sequence() != 5 {
		t.Errorf("%d clusters at %d", len(v.Clusters()), v.Sequence())
	}
}
