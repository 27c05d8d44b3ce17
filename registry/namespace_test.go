package registry

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestListed: at every moment the lists of a View are those of the names it knows, and
// the lists of the Views before it stay as they were.
func TestListed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l lister
		known := map[string]map[string]bool{}
		type seen struct {
			lists listed
			want  map[string][]string
		}
		var before []seen
		for range rapid.IntRange(1, 30).Draw(t, "views") {
			for range rapid.IntRange(0, 5).Draw(t, "changes") {
				at := Labels{Namespace: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "namespace"), Name: rapid.SampledFrom([]string{"x", "y", "z"}).Draw(t, "name")}
				if known[at.Namespace] == nil {
					known[at.Namespace] = map[string]bool{}
				}
				now := !known[at.Namespace][at.Name]
				if known[at.Namespace][at.Name] = now; !now {
					delete(known[at.Namespace], at.Name)
				}
				l.note(at, now)
			}
			want := map[string][]string{}
			for namespace, names := range known {
				if len(names) > 0 {
					want[namespace] = slices.Sorted(maps.Keys(names))
				}
			}
			before = append(before, seen{l.freeze(), want})
			for _, s := range before {
				v := View{listed: s.lists}
				for _, namespace := range []string{"a", "b", "never"} {
					if got, ok := v.Listed(namespace); ok != (s.want[namespace] != nil) || !slices.Equal(got, s.want[namespace]) {
						t.Fatalf("Listed(%s) = %v, %v; want %v", namespace, got, ok, s.want[namespace])
					}
				}
				if got, ok := v.Namespaces(); ok != (len(s.want) > 0) || !slices.Equal(got, slices.Sorted(maps.Keys(s.want))) {
					t.Fatalf("Namespaces() = %v, %v; want %v", got, ok, s.want)
				}
			}
		}
	})
}

// TestListedBounds: a list that is too long is none, until it fits again.
func TestListedBounds(t *testing.T) {
	var l lister
	var v View
	name := func(n int) string { return fmt.Sprintf("n-%04d", n) }
	for n := range MaxListed + 1 {
		l.note(Labels{Namespace: "one", Name: name(n)}, true)
		l.note(Labels{Namespace: name(n), Name: "x"}, true)
	}
	l.note(Labels{Namespace: name(MaxListed), Name: "x"}, false)
	v.listed = l.freeze()
	if names, ok := v.Listed("one"); ok {
		t.Errorf("%d names are listed", len(names))
	}
	if got := v.Unlisted(); got != 1 {
		t.Errorf("%d namespaces are not listed, want one", got)
	}
	if namespaces, ok := v.Namespaces(); ok { // "one" is one more
		t.Errorf("%d namespaces are listed", len(namespaces))
	}
	if _, ok := v.Listed(name(0)); !ok {
		t.Error("a small namespace is not listed among too many")
	}
	l.note(Labels{Namespace: "one", Name: name(7)}, false)
	l.note(Labels{Namespace: name(0), Name: "x"}, false)
	v.listed = l.freeze()
	if names, ok := v.Listed("one"); !ok || len(names) != MaxListed || slices.Contains(names, name(7)) || v.Unlisted() != 0 {
		t.Errorf("%d names, %v; want %d", len(names), ok, MaxListed)
	}
	if namespaces, ok := v.Namespaces(); !ok || len(namespaces) != MaxListed {
		t.Errorf("%d namespaces, %v; want %d", len(namespaces), ok, MaxListed)
	}
}

// TestFoldLists: the lists follow services that come, go and are forgotten, and names
// at which several services are known.
func TestFoldLists(t *testing.T) {
	f := NewFold()
	sequence := uint64(0)
	say := func(cluster ClusterID, key ServiceKey, forgotten bool) []string {
		t.Helper()
		sequence++
		state := NewServiceState(key, nil)
		state.Forgotten = forgotten
		event := Event{Kind: KindService, Writer: Writer(cluster), Epoch: 1, Revision: sequence, Service: &state}
		f.Apply(NewMessage(event.Fact(), sequence, event.Time, 1, sequence, &event, nil))
		names, _ := f.View().Listed("shop")
		return names
	}
	plain, other := ServiceKey{"shop", "a-b"}, ServiceKey{"shop", "a.b"} // one name in the zone
	for n, step := range []struct {
		cluster   ClusterID
		key       ServiceKey
		forgotten bool
		want      []string
	}{
		{"amber", plain, false, []string{"a-b"}},
		{"bronze", plain, false, []string{"a-b"}},
		{"amber", other, false, []string{"a-b"}},
		{"amber", ServiceKey{"shop", "c"}, false, []string{"a-b", "c"}},
		{"amber", plain, true, []string{"a-b", "c"}},
		{"bronze", plain, true, []string{"a-b", "c"}},
		{"amber", other, true, []string{"c"}},
		{"amber", ServiceKey{"shop", "c"}, true, nil},
		{"amber", ServiceKey{"shop", "c"}, false, []string{"c"}},
	} {
		if got := say(step.cluster, step.key, step.forgotten); !slices.Equal(got, step.want) {
			t.Errorf("step %d: listed are %v, want %v", n, got, step.want)
		}
	}
}

// TestRelisted: an earlier View has the lists of its own names, however far apart the
// two are.
func TestRelisted(t *testing.T) {
	view := func(sizes map[string]int, first int) *View {
		f := NewFold()
		for namespace, size := range sizes {
			for n := range size {
				key := ServiceKey{namespace, fmt.Sprintf("n-%04d", first+n)}
				state := NewServiceState(key, nil)
				event := Event{Kind: KindService, Writer: "amber", Epoch: 1, Revision: 1, Service: &state}
				f.Apply(NewMessage(event.Fact(), uint64(n+1), event.Time, 1, 1, &event, nil))
			}
		}
		return f.View()
	}
	worlds := []*View{
		view(nil, 0), view(map[string]int{"a": 3}, 0), view(map[string]int{"a": 3, "b": 2}, 1),
		view(map[string]int{"a": MaxListed}, 0), view(map[string]int{"a": MaxListed}, 1), view(map[string]int{"a": MaxListed + 1, "b": 1}, 0), view(map[string]int{"a": MaxListed + 2}, 5),
	}
	for i, v := range worlds {
		for j, other := range worlds {
			var names []Labels
			for _, w := range []*View{v, other} {
				for n := range w.Names() {
					if !slices.Contains(names, n.Labels) {
						names = append(names, n.Labels)
					}
				}
			}
			got := View{listed: v.relisted(other, names)}
			for _, namespace := range []string{"a", "b"} {
				g, gok := got.Listed(namespace)
				w, wok := other.Listed(namespace)
				if gok != wok || !slices.Equal(g, w) || got.Unlisted() != other.Unlisted() {
					t.Errorf("from %d to %d: %s has %d names (%v), want %d (%v)", i, j, namespace, len(g), gok, len(w), wok)
				}
			}
			g, gok := got.Namespaces()
			if w, wok := other.Namespaces(); gok != wok || !slices.Equal(g, w) {
				t.Errorf("from %d to %d: namespaces %v, want %v", i, j, g, w)
			}
		}
	}
}
