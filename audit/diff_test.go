package audit

import (
	"fmt"
	"slices"
	"testing"

	"github.com/seamark-mesh/seamark/registry"
)

func TestDiff(t *testing.T) {
	t.Parallel()
	m, _ := small()
	lines := func(old, new uint64) (all []string) {
		before, after := &registry.View{}, m.foldAll(new)
		if old > 0 {
			before = m.foldAll(old)
		}
		for _, d := range Diff(before, after) {
			line := fmt.Sprintf("%s %s %s", d.Change, d.What, d.Name)
			for _, f := range d.Fields {
				line += fmt.Sprintf(" %s:%s→%s", f.Field, f.Old, f.New)
			}
			all = append(all, fmt.Sprintf("%s #%d", line, d.Sequence))
		}
		return all
	}
	tests := []struct {
		old, new uint64
		want     []string
	}{
		{4, 4, nil},
		{6, 7, nil}, // a repetition
		{7, 8, nil}, // garbage
		{4, 6, []string{"changed instance b health:passing→critical version:1→2 #6"}},
		{8, 9, []string{"added order drain orders.shop.c0 by:→ann reason:→works #9"}},
		{9, 8, []string{"removed order drain orders.shop.c0 by:ann→ reason:works→ #0"}},
		{10, 11, []string{"changed gateway gw addresses:192.0.2.1→192.0.2.2 #11"}},
		{11, 12, []string{"removed instance a address:10.0.0.1→ port:80→ weight:1→ health:passing→ #12"}},
		{0, 3, []string{
			"added cluster  source:→file #2", "added gateway gw addresses:→192.0.2.1 ports:→http=80 weight:→1 #2",
			"added service  #3", "added instance a address:→10.0.0.1 port:→80 weight:→1 health:→passing #3",
		}},
	}
	for _, tt := range tests {
		if got := lines(tt.old, tt.new); !slices.Equal(got, tt.want) {
			t.Errorf("Diff(#%d, #%d) is\n%q, want\n%q", tt.old, tt.new, got, tt.want)
		}
	}
}

// Whatever two moments: what Diff tells of services is what differs between their records.
func TestDiffOfRandomHistories(t *testing.T) {
	t.Parallel()
	m := newMesh(9, 3)
	m.start()
	m.hours(48, true)
	for range 30 {
		a, b := m.foldAll(1+m.Uint64N(uint64(len(m.all)))), m.foldAll(1+m.Uint64N(uint64(len(m.all))))
		touched := map[place]bool{}
		for _, d := range Diff(a, b) {
			if d.Service != nil {
				touched[place{d.Cluster, *d.Service}] = true
			}
		}
		before, after := map[place]registry.Digest{}, map[place]registry.Digest{}
		for v, into := range map[*registry.View]map[place]registry.Digest{a: before, b: after} {
			for n := range v.Names() {
				for at, r := range recordsOf(n) {
					into[at] = r.Digest
				}
			}
		}
		for at := range union(before, after) {
			if (before[at] != after[at]) != touched[at] {
				t.Fatalf("%v: differs %v, told %v", at, before[at] != after[at], touched[at])
			}
		}
		if len(Diff(a, a)) != 0 {
			t.Fatal("a View differs from itself")
		}
	}
}
