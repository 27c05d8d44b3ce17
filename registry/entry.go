package registry

import "slices"

// with returns the next version of a name, in which one entry is replaced; one
// without any record is left out. The receiver may be nil.
func (n *Name) with(labels Labels, next *Entry) *Name {
	name := &Name{Labels: labels, Entries: make([]*Entry, 0, 1)}
	if n != nil {
		for _, e := range n.Entries {
			if e.Key != next.Key {
				name.Entries = append(name.Entries, e)
			}
		}
	}
	if len(next.Records)+len(next.hidden) > 0 {
		name.Entries = append(name.Entries, next)
	}
	if len(name.Entries) > 1 {
		slices.SortFunc(name.Entries, func(a, b *Entry) int { return compareEntries(labels, a, b) })
	}
	return name
}

// compareEntries puts known before forgotten, the exact spelling first, then by key.
func compareEntries(l Labels, a, b *Entry) int {
	class := func(e *Entry) int {
		switch {
		case len(e.Records) == 0:
			return 2
		case e.Key.Name == l.Name && e.Key.Namespace == l.Namespace:
			return 0
		}
		return 1
	}
	if d := class(a) - class(b); d != 0 {
		return d
	}
	return a.Key.Compare(b.Key)
}

// entry returns the entry with this key, or an empty one; the receiver may be nil.
func (n *Name) entry(key ServiceKey) *Entry {
	if n != nil {
		for _, e := range n.Entries {
			if e.Key == key {
				return e
			}
		}
	}
	return &Entry{Key: key}
}

// known counts the entries that are not forgotten; they come first. The receiver
// may be nil.
func (n *Name) known() int {
	if n == nil {
		return 0
	}
	count := 0
	for _, e := range n.Entries {
		if len(e.Records) > 0 {
			count++
		}
	}
	return count
}

// find returns the latest that a cluster said of the service, forgotten or not;
// nil when it has said nothing.
func (e *Entry) find(cluster ClusterID) *Record {
	if r := findRecord(e.Records, cluster); r != nil {
		return r
	}
	return findRecord(e.hidden, cluster)
}

func findRecord(records []*Record, cluster ClusterID) *Record {
	for _, r := range records {
		if r.Cluster == cluster {
			return r
		}
	}
	return nil
}

// without returns a copy that lacks the cluster's record, with room for one more.
func without(records []*Record, cluster ClusterID) []*Record {
	if len(records) == 0 {
		return nil
	}
	kept := make([]*Record, 0, len(records)+1)
	for _, r := range records {
		if r.Cluster != cluster {
			kept = append(kept, r)
		}
	}
	return kept
}
