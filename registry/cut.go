package registry

import "time"

// Cut says since when, and why, a reader can't know whether its View still holds: it
// is cut off from the stream, or began from a checkpoint. It is no part of the zone:
// other readers at the same sequence may hold the same View without it.
type Cut struct {
	Since  time.Time // the last moment at which the View was known to be current
	Reason string    // a few words
}

// CutOff returns the View marked as cut off. Nothing else changes: what is known stands.
// No [Delta] tells of the mark; whoever shows it looks at each View.
func (v *View) CutOff(c Cut) *View {
	marked := *v
	marked.cut = &c
	return &marked
}

// Current returns the View without that mark, and with what is known of clusters from
// another stream ([ClusterState.Inherited]) decided on as if this one had said it: for
// what must be the same on all readers.
func (v *View) Current() *View {
	plain := *v
	plain.cut, plain.equal = nil, true
	return &plain
}

// Cut tells since when the View may no longer hold; ok is false when it does.
func (v *View) Cut() (c Cut, ok bool) {
	if v.cut == nil {
		return Cut{}, false
	}
	return *v.cut, true
}
