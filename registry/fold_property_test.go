package registry_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/seamark-mesh/seamark/registry"
)

// Design §9.4: however a reader came to sequence N, it holds the same View.
func TestEveryWayOfReadingFoldsToTheSameView(t *testing.T) {
	t.Parallel()
	ways := map[string]func(*rapid.T, []message) *reader{
		"bootstrap and tail": bootstrapAndTail,
		"redelivery":         redelivery,
		"reload of a gap":    reload,
		"bootstrap, repeated": func(t *rapid.T, history []message) *reader {
			r := bootstrapAndTail(t, history)
			for _, m := range lastPerSubject(history) {
				r.take(m)
			}
			return r
		},
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				history := drawStream(t).messages
				got, want := way(t, history), plain(history)
				mustEqual(t, name, history, got.fold.View(), want.fold.View())
			})
		})
	}
}

// bootstrapAndTail reads the last message per subject of a part of the history,
// then the rest, with or without overlap.
func bootstrapAndTail(t *rapid.T, history []message) *reader {
	split := rapid.IntRange(0, len(history)).Draw(t, "split")
	overlap := rapid.IntRange(0, split).Draw(t, "overlap")
	r := newReader(history)
	for _, m := range lastPerSubject(history[:split]) {
		r.take(m)
	}
	mustEqual(t, "at the split", history[:split], r.fold.View(), at(history[:split]))
	for _, m := range history[split-overlap:] {
		r.take(m)
	}
	return r
}

func at(history []message) *registry.View { return plain(history).fold.View() }

// redelivery reads the whole history while older messages come again.
func redelivery(t *rapid.T, history []message) *reader {
	r := newReader(history)
	for n, m := range history {
		r.take(m)
		for range rapid.IntRange(0, 3).Draw(t, "again") {
			r.take(history[rapid.IntRange(0, n).Draw(t, "which")])
		}
	}
	return r
}

// reload loses messages, then reads the last message of every subject, as after a gap.
func reload(t *rapid.T, history []message) *reader {
	r := newReader(history)
	for _, m := range history {
		if rapid.Bool().Draw(t, "arrives") {
			r.take(m)
		}
	}
	for _, m := range lastPerSubject(history) {
		r.take(m)
	}
	return r
}

// At any moment the counts and digests that the fold keeps in passing equal those
// counted from nothing.
func TestCountsEqualARecount(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		history := drawStream(t).messages
		r := newReader(history)
		for _, m := range history {
			r.take(m)
			checkCounts(t, r.fold.View())
		}
	})
}

type place struct {
	cluster   registry.ClusterID
	namespace string
}

func checkCounts(t *rapid.T, v *registry.View) {
	services, conflicts := 0, 0
	namespaces := map[place]bool{}
	perCluster := map[registry.ClusterID]*registry.ClusterState{}
	for _, c := range v.Clusters() {
		perCluster[c.ID] = &registry.ClusterState{}
		if c.Record != nil {
			perCluster[c.ID].Digest = c.Record.Digest()
		}
	}
	for n := range v.Names() {
		known := n.Entries[:1+len(n.Conflicting())]
		if len(known) > 1 {
			conflicts++
		}
		for _, e := range known {
			services++
			for _, r := range e.Records {
				c := perCluster[r.Cluster]
				c.Services++
				c.Instances += r.Total
				state := registry.NewServiceState(e.Key, &r.Service)
				c.Digest = c.Digest.XOR(state.Digest())
				namespaces[place{r.Cluster, n.Labels.Namespace}] = true
				namespaces[place{"", n.Labels.Namespace}] = true
			}
		}
	}
	if v.Services() != services || v.Conflicts() != conflicts {
		t.Fatalf("Services() = %d, Conflicts() = %d; counted %d and %d", v.Services(), v.Conflicts(), services, conflicts)
	}
	for _, c := range v.Clusters() {
		want := perCluster[c.ID]
		if c.Services != want.Services || c.Instances != want.Instances {
			t.Fatalf("%s has %d services and %d instances; counted %d and %d", c.ID, c.Services, c.Instances, want.Services, want.Instances)
		}
		if c.Digest != want.Digest {
			t.Fatalf("%s has digest %v; computed from nothing %v", c.ID, c.Digest, want.Digest)
		}
	}
	for _, cluster := range []registry.ClusterID{"", "amber", "bronze", "cobalt"} {
		for _, namespace := range []string{"default", "shop", "other"} {
			if got, want := v.HasNamespace(namespace, cluster), namespaces[place{cluster, namespace}]; got != want {
				t.Fatalf("HasNamespace(%q, %q) = %v, want %v", namespace, cluster, got, want)
			}
		}
	}
}

// A View that was handed out stays what it was while the fold goes on.
func TestViewsNeverChange(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		history := drawStream(t).messages
		r := newReader(history)
		var views []*registry.View
		var before []seen
		for n, m := range history {
			r.take(m)
			if n%5 == 0 {
				views = append(views, r.fold.View())
				before = append(before, visible(r.fold.View()))
			}
		}
		for n, v := range views {
			if diff := cmpSeen(visible(v), before[n]); diff != "" {
				t.Fatalf("the View at sequence %d changed later (-before +after)\n%s", v.Sequence(), diff)
			}
		}
	})
}

// Which of several services answers at a name does not depend on who came first.
func TestConflictsAreSettledByName(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := newStream("amber", "bronze")
		for _, a := range s.authors {
			s.takeover(a, began)
		}
		meeting := []registry.ServiceKey{
			{Namespace: "shop", Name: "cart-v1"},
			{Namespace: "shop", Name: "cart.v1"},
			{Namespace: "shop", Name: "cart_v1"},
			{Namespace: "SHOP", Name: "cart-v1"},
			{Namespace: "Shop", Name: "Cart.V1"},
		}
		here := rapid.SliceOfNDistinct(rapid.SampledFrom(meeting), 1, len(meeting), rapid.ID).Draw(t, "keys")
		for _, key := range here {
			s.service(s.authors[rapid.IntRange(0, 1).Draw(t, "author")], "change", registry.NewServiceState(key, nil))
		}
		v := at(s.messages)
		got, ok := v.Lookup(registry.Labels{Namespace: "shop", Name: "cart-v1"})
		if !ok {
			t.Fatal("nothing answers")
		}
		slices.SortFunc(here, registry.ServiceKey.Compare)
		want := here[0]
		if slices.Contains(here, meeting[0]) {
			want = meeting[0]
		}
		if got.Key != want {
			t.Fatalf("%v answers, want %v", got.Key, want)
		}
		for n := range v.Names() {
			if len(n.Conflicting()) != len(here)-1 {
				t.Fatalf("%d services are in conflict, want %d", len(n.Conflicting()), len(here)-1)
			}
		}
		for _, key := range here {
			if e, ok := v.Service(key); !ok || e.Key != key {
				t.Fatalf("Service(%v) finds %v, %v", key, e, ok)
			}
		}
	})
}
