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
	labels := fact.Service.Labels()
	count, _ := u.names.get(labels)
	if missing {
		u.facts[fact] = struct{}{}
		count++
	} else {
		delete(u.facts, fact)
		count--
	}
	if count > 0 {
		u.names.set(labels, count)
	} else {
		u.names.delete(labels)
	}
	u.stale = true
	f.changes.name(labels)
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

// UnknownNames counts the names for which [View.Unknown] is true.
func (v *View) UnknownNames() int { return v.unknown.len }
