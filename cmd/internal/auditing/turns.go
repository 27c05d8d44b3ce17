package auditing

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/seamark-mesh/seamark/audit"
	"github.com/seamark-mesh/seamark/registry"
)

// follower finds out what became of the answers, step by step. A service is touched when
// something was said of it, or when its answer became another one: by what was said of a
// cluster, by an order, by the zone.
type follower struct {
	middle  time.Time
	before  *registry.View
	view    *registry.View
	touched map[registry.ServiceKey]*story
}

// story is what became of one service's answer.
type story struct {
	before, now []string
	turns       nearest[Turn]
}

func following(before *registry.View, middle time.Time) *follower {
	return &follower{middle: middle, before: before, view: before, touched: map[registry.ServiceKey]*story{}}
}

// take looks at what a step has changed, and at nothing else.
func (f *follower) take(step audit.Step) {
	was := f.view
	f.view = step.View
	e := &step.Entry
	if e.Service != nil && e.Kind != audit.Refresh && e.Kind != audit.Unreadable {
		f.storyOf(*e.Service)
	}
	if was == step.View {
		return
	}
	at := Moment{Sequence: e.Sequence, Time: e.Stored.UTC()}
	changed := step.View.Delta()
	if !step.View.Follows(was) { // the first one
		changed = registry.Delta{All: true}
	}
	for labels := range f.affected(changed, was, step.View) {
		f.look(labels, was, step.View, at)
	}
}

// affected is the labels of all services whose answers a change may make others.
func (f *follower) affected(changed registry.Delta, was, is *registry.View) map[registry.Labels]struct{} {
	labels := map[registry.Labels]struct{}{}
	for _, l := range changed.Names {
		labels[l] = struct{}{}
	}
	if !changed.All && !changed.Zone && len(changed.Clusters) == 0 {
		return labels
	}
	all := changed.All || changed.Zone
	for _, v := range []*registry.View{was, is} {
		for name := range v.Names() {
			if all || slices.ContainsFunc(changed.Clusters, func(id registry.ClusterID) bool { return name.Entries[0].Record(id) != nil }) {
				labels[name.Labels] = struct{}{}
			}
		}
	}
	return labels
}

// look compares what was and is answered at labels.
func (f *follower) look(labels registry.Labels, was, is *registry.View, at Moment) {
	var keys []registry.ServiceKey
	for _, v := range []*registry.View{was, is} {
		if name, known := v.Name(labels); known {
			for _, e := range name.Known() {
				if !slices.Contains(keys, e.Key) {
					keys = append(keys, e.Key)
				}
			}
		}
	}
	now := addresses(is, labels)
	if slices.Equal(addresses(was, labels), now) {
		return
	}
	for _, key := range keys {
		s := f.storyOf(key)
		s.now = now
		s.turns.add(Turn{at, now})
	}
}

func (f *follower) storyOf(key registry.ServiceKey) *story {
	s := f.touched[key]
	if s == nil {
		// Nothing has become of it so far: it is answered with as at the beginning.
		before := addresses(f.before, key.Labels())
		s = &story{before: before, now: before, turns: nearest[Turn]{most: incidentTurns, middle: f.middle, at: func(t Turn) time.Time { return t.At.Time }}}
		f.touched[key] = s
	}
	return s
}

// turned counts the services whose answer became another one.
func (f *follower) turned() (count int) {
	for _, s := range f.touched {
		if s.turns.count > 0 {
			count++
		}
	}
	return count
}

// shown returns the services that are told, sorted: those whose answer became another one
// before the others.
func (f *follower) shown(last audit.Moment) []Touched {
	keys := slices.SortedFunc(maps.Keys(f.touched), func(a, b registry.ServiceKey) int {
		return cmp.Or(cmp.Compare(min(f.touched[b].turns.count, 1), min(f.touched[a].turns.count, 1)), a.Compare(b))
	})
	keys = keys[:min(len(keys), incidentServices)]
	slices.SortFunc(keys, registry.ServiceKey.Compare)
	all := make([]Touched, 0, len(keys))
	for _, key := range keys {
		s := f.touched[key]
		t := Touched{Service: key, Before: s.before, Answers: s.turns.all(), Turns: s.turns.count, After: s.now}
		if zone := f.view.Zone(); zone != nil {
			labels := key.Labels()
			if r, err := resolve(f.view, last, labels.Name+"."+labels.Namespace+".svc."+zone.Name, "A"); err == nil {
				t.Why = r.Why
			}
		}
		all = append(all, t)
	}
	return all
}

// addresses is what is answered at labels: the addresses of gateways, of both kinds, or one
// word about why there are none.
func addresses(v *registry.View, labels registry.Labels) []string {
	if v.Zone() == nil {
		return []string{"no zone"}
	}
	e, known := v.Lookup(labels)
	if !known {
		return []string{"NXDOMAIN"}
	}
	var all []string
	for _, c := range v.Decide(e) {
		for _, g := range c.Gateways {
			for _, a := range g.Addresses {
				all = append(all, a.String())
			}
		}
	}
	if len(all) == 0 {
		return []string{"known, without an address"}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
