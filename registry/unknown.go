package registry

// unknowns are the facts whose state a reader still looks for, behind a message that
// can't be used, and the names they belong to. The zero unknowns are none.
type unknowns struct {
	facts map[Fact]struct{}
	names *draft[Labels, int] // how many of the facts belong to a name; nil: none ever
	stale bool                // Views have not been told
}

// Missing says that the state of a fact is still to be looked for, or no longer. It
// counts only for services. Views made from now on say it of the name: what they give
// there may lack something. Saying it twice changes nothing.
func (f *Fold) Missing(fact Fact, missing bool) {
	if _, own := fact.Writer.Cluster(); !own || fact.Kind != KindService {
		return
	}
	u := &f.unknown
	if _, was := u.facts[fact]; was == missing {
		return
	}
	if u.names == nil {
		u.facts, u.names = map[Fact]struct{}{}, draftOf(table[Labels, int]{})
	}
	labels, step := fact.Service.Labels(), 1
	if missing {
		u.facts[fact] = struct{}{}
	} else {
		delete(u.facts, fact)
		step = -1
	}
	u.count(labels, step)
	u.count(namespaceOf(labels), step)
	u.stale = true
	f.changes.name(labels)
}

// namespaceOf stands for all names of a namespace: no name is empty.
func namespaceOf(l Labels) Labels { return Labels{Namespace: l.Namespace} }

func (u *unknowns) count(labels Labels, step int) {
	count, _ := u.names.get(labels)
	if count += step; count > 0 {
		u.names.set(labels, count)
	} else {
		u.names.delete(labels)
	}
}

// freeze gives the names to the Views that come.
func (u *unknowns) freeze(v *View) {
	if u.stale {
		v.unknown, u.stale = u.names.freeze(), false
	}
}

// Unknown reports whether a cluster may know a service at these labels although the
// View does not say so, or may know another state of it: the last message about it
// can't be used, and what stood before was not found yet. It is no reason to doubt
// the other clusters' records; but where nothing else is known at the name, nobody
// can say that it does not exist.
func (v *View) Unknown(l Labels) bool {
	_, unknown := v.unknown.get(l)
	return unknown
}

// UnknownNamespace reports whether [View.Unknown] is true of any name in a namespace
// with this label.
func (v *View) UnknownNamespace(label string) bool { return v.Unknown(Labels{Namespace: label}) }

// AnyUnknown reports whether [View.Unknown] is true of any name.
func (v *View) AnyUnknown() bool { return v.unknown.len > 0 }
