package registry

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// MaxChangedNames bounds [Delta].Names. Where more names changed at once, as when
// a replica catches up, it is cheaper to compare all.
const MaxChangedNames = 10_000

// Delta tells what may differ between two Views, the older one before and the
// newer one after it. It costs nothing for what did not change. It is immutable
// and shared: read its slices, never write to them. The zero Delta says that
// nothing differs.
//
// The [View] of each [Fold.View] knows what changed since the View that the same
// Fold made before it: [View.Delta]. Whoever holds a View a and gets a View b
// later may rely on b.Delta() only if b.Follows(a); else some Views in between were
// missed (or the Fold is another one), and all must be compared. [Store.Watch]
// does that: it joins the Deltas of the Views that its reader was too slow for.
//
// What shapes the zone and is not named is the same in both Views: which names and
// namespaces are known (a namespace comes and goes with a name in Names), what
// [View.Lookup], [View.Decide] and [View.Cluster].Record give. What moves with
// every message (the sequence, a cluster's revisions, counts and marks, the stamps
// of a record that was only refreshed) is not reported.
type Delta struct {
	All      bool        // anything may differ: Zone is set, Names and Clusters are empty
	Names    []Labels    // whose entries differ: new ones and those that are gone among them. Sorted, each once, at most MaxChangedNames
	Clusters []ClusterID // that were not known before, or whose record differs. Sorted, each once
	Zone     bool        // the zone record differs
	Synced   bool        // the newer View is synced, the older one was not

	Before uint64 // the older View's stream sequence; 0 when there was none
	After  uint64 // the newer View's stream sequence; equal to Before when only what had been missed was filled in
}

// None reports whether the two Views give the same zone but for the serial.
func (c Delta) None() bool {
	return !c.All && len(c.Names) == 0 && len(c.Clusters) == 0 && !c.Zone && !c.Synced
}

// Then joins c with the change that came next.
func (c Delta) Then(next Delta) Delta {
	joined := Delta{
		All: c.All || next.All, Zone: c.Zone || next.Zone, Synced: c.Synced || next.Synced,
		Before: c.Before, After: next.After,
	}
	if !joined.All {
		joined.Names = union(c.Names, next.Names, Labels.Compare)
		joined.Clusters = union(c.Clusters, next.Clusters, cmp.Compare)
		joined.All = len(joined.Names) > MaxChangedNames
	}
	if joined.All {
		joined.Names, joined.Clusters, joined.Zone = nil, nil, true
	}
	return joined
}

// union joins two sorted lists without duplicates; it may return one of them.
func union[T comparable](a, b []T, compare func(a, b T) int) []T {
	if len(a) == 0 {
		return b
	}
	if len(b) == 0 {
		return a
	}
	all := slices.Concat(a, b)
	slices.SortFunc(all, compare)
	return slices.Compact(all)
}

// Compare orders labels by namespace, then name, bytewise.
func (l Labels) Compare(o Labels) int {
	if c := strings.Compare(l.Namespace, o.Namespace); c != 0 {
		return c
	}
	return strings.Compare(l.Name, o.Name)
}

// Delta returns what changed since the View that the same Fold made before this
// one; everything in its first.
func (v *View) Delta() Delta { return v.delta }

// Follows reports whether v is the View that one Fold made directly after older, so
// that [View.Delta] tells all that differs between the two.
func (v *View) Follows(older *View) bool {
	return v.origin != nil && v.origin == older.origin && v.version == older.version+1
}

// origin tells the Views of one Fold from those of another, by its address.
type origin struct{ _ byte }

// changes gathers what a Fold changes between two Views.
type changes struct {
	names    map[Labels]struct{}
	clusters map[ClusterID]struct{}
	all      bool
	zone     bool
	before   uint64
	synced   bool // as the View before said
}

// firstChanges are those of a Fold that has made no View yet.
func firstChanges() changes {
	return changes{all: true, names: map[Labels]struct{}{}, clusters: map[ClusterID]struct{}{}}
}

func (c *changes) name(l Labels) {
	if c.all {
		return
	}
	c.names[l] = struct{}{}
	if len(c.names) > MaxChangedNames {
		c.all = true
	}
}

func (c *changes) cluster(id ClusterID) {
	if !c.all {
		c.clusters[id] = struct{}{}
	}
}

// freeze returns what was gathered, for the next View, and begins anew.
func (c *changes) freeze(next *View) Delta {
	made := Delta{All: c.all, Zone: c.all || c.zone, Synced: next.synced && !c.synced, Before: c.before, After: next.sequence}
	if !c.all {
		made.Names = slices.SortedFunc(maps.Keys(c.names), Labels.Compare)
		made.Clusters = slices.Sorted(maps.Keys(c.clusters))
	}
	if len(c.names) > 1000 { // clearing costs what the map once held
		c.names = map[Labels]struct{}{}
	}
	clear(c.names)
	clear(c.clusters)
	c.all, c.zone, c.before, c.synced = false, false, next.sequence, next.synced
	return made
}
