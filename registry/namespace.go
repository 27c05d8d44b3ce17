package registry

import (
	"maps"
	"slices"
)

// MaxListed bounds the names of one namespace that [View.Listed] tells, and the
// namespaces that [View.Namespaces] tells. A list that is longer serves nobody who
// reads it, and would cost with every name that comes and goes.
const MaxListed = 1000

// Listed returns the labels of the names that are known in a namespace, sorted; ok is
// false when there are none, or more than [MaxListed]. The slice is shared: read it
// only.
func (v *View) Listed(namespace string) (names []string, ok bool) {
	s, _ := v.listed.spaces.get(namespace)
	return s.names, s.names != nil
}

// Namespaces returns the labels of the namespaces in which a name is known, sorted; ok
// is false when there are none, or more than [MaxListed]. Those with too many names
// are among them. The slice is shared: read it only.
func (v *View) Namespaces() (labels []string, ok bool) {
	return v.listed.namespaces, len(v.listed.namespaces) > 0
}

// Unlisted counts the namespaces that have more than [MaxListed] names.
func (v *View) Unlisted() int { return v.listed.long }

// listed is what a View knows of namespaces as lists.
type listed struct {
	spaces     table[string, space] // by label, those with a known name
	namespaces []string
	long       int // spaces with too many names
}

// space is one namespace.
type space struct {
	count int      // of its names
	names []string // sorted; nil when there are more than MaxListed
}

// with returns the lists in which some namespaces are others.
func (l listed) with(changed map[string]space) listed {
	d, count := draftOf(l.spaces), l.spaces.len
	same := true // the namespaces
	for namespace, s := range changed {
		before, was := d.get(namespace)
		l.long += beyond(s.count, MaxListed) - beyond(before.count, MaxListed)
		if s.count > 0 {
			d.set(namespace, s)
		} else {
			d.delete(namespace)
		}
		same = same && was == (s.count > 0)
	}
	l.spaces = d.freeze()
	switch {
	case same && count <= MaxListed:
	case l.spaces.len > MaxListed:
		l.namespaces = nil
	default:
		l.namespaces = make([]string, 0, l.spaces.len)
		for namespace := range l.spaces.all() {
			l.namespaces = append(l.namespaces, namespace)
		}
		slices.Sort(l.namespaces)
	}
	return l
}

// relisted returns the lists of another View, of which all names but these are those of v.
func (v *View) relisted(other *View, names []Labels) listed {
	changed, moved := map[string]space{}, map[string]map[string]bool{}
	for _, at := range names {
		_, was := v.Name(at)
		_, is := other.Name(at)
		if was == is {
			continue
		}
		s, begun := changed[at.Namespace]
		if !begun {
			s, _ = v.listed.spaces.get(at.Namespace)
			moved[at.Namespace] = map[string]bool{}
		}
		moved[at.Namespace][at.Name] = is
		if is {
			s.count++
		} else {
			s.count--
		}
		changed[at.Namespace] = s
	}
	for namespace, s := range changed {
		was := s.names
		if s.names = nil; s.count > 0 && s.count <= MaxListed {
			s.names = make([]string, 0, s.count)
			if was == nil { // there were none, or too many
				for n := range other.Names() {
					if n.Labels.Namespace == namespace {
						s.names = append(s.names, n.Labels.Name)
					}
				}
			} else {
				for _, name := range was {
					if _, moves := moved[namespace][name]; !moves {
						s.names = append(s.names, name)
					}
				}
				for name, is := range moved[namespace] {
					if is {
						s.names = append(s.names, name)
					}
				}
			}
			slices.Sort(s.names)
		}
		changed[namespace] = s
	}
	if len(changed) == 0 {
		return v.listed
	}
	return v.listed.with(changed)
}

// lister keeps the lists of a Fold. The zero lister is ready; one goroutine owns it.
type lister struct {
	members map[string]map[string]struct{} // namespace → names
	stale   map[string]struct{}            // namespaces whose members changed since the last View
	current listed
}

// note takes in that a name is known or not, where it was not so before.
func (l *lister) note(labels Labels, known bool) {
	if l.members == nil {
		l.members, l.stale = map[string]map[string]struct{}{}, map[string]struct{}{}
	}
	members := l.members[labels.Namespace]
	switch {
	case known && members == nil:
		l.members[labels.Namespace] = map[string]struct{}{labels.Name: {}}
	case known:
		members[labels.Name] = struct{}{}
	default:
		if delete(members, labels.Name); len(members) == 0 {
			delete(l.members, labels.Namespace)
		}
	}
	l.stale[labels.Namespace] = struct{}{}
}

// freeze returns the lists for the next View. It costs what changed: a list is made
// anew when a name came to it or left it.
func (l *lister) freeze() listed {
	if len(l.stale) == 0 {
		return l.current
	}
	changed := make(map[string]space, len(l.stale))
	for namespace := range l.stale {
		s := space{count: len(l.members[namespace])}
		if s.count > 0 && s.count <= MaxListed {
			s.names = slices.Sorted(maps.Keys(l.members[namespace]))
		}
		changed[namespace] = s
	}
	l.current = l.current.with(changed)
	if len(l.stale) > MaxListed { // clearing costs what the map once held
		l.stale = map[string]struct{}{}
	}
	clear(l.stale)
	return l.current
}
