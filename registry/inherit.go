package registry

// inheritance is what a Fold knows of a writer from another stream than the one it
// reads: one that was lost, cut short, or restored.
type inheritance struct {
	epoch    uint64 // how far that was known
	revision uint64
	settling bool // it has published all it owns on this stream, at a later epoch
}

// outdated reports whether a message is older than what is known from before.
func (i *inheritance) outdated(m Message) bool {
	if i == nil || i.settling {
		return false
	}
	return m.Epoch < i.epoch || m.Epoch == i.epoch && m.Revision <= i.revision
}

// Inherit returns a Fold for a stream that takes the place of the one that older was
// folded from. All that was known stands, and the sequence goes on from there: it is
// never lower than older's. What the new stream says of a writer counts as far as it
// is newer, by epoch and revision; what it says of the zone and of orders counts always.
//
// A cluster's part stands until its agent has published all it owns at a later epoch.
// [Outcome].Complete tells of that: then the last message of each of its facts is to be
// loaded and applied, and when the stream was followed up to the latest of them
// [Fold.Settle] drops what was not said again.
func Inherit(older *View) *Fold {
	f := NewFold()
	f.view.sequence, f.past.latest = older.sequence, older.sequence
	f.view.zone = older.zone
	for _, clusters := range []map[ClusterID]*ClusterState{older.clusters, older.gone} {
		for id, was := range clusters {
			c := f.cluster(id)
			from := inheritance{epoch: was.Epoch, revision: was.Revision}
			if was.inherited != nil { // it was not heard of since the loss before this one
				from.epoch, from.revision = max(from.epoch, was.inherited.epoch), max(from.revision, was.inherited.revision)
			}
			c.inherited = &from
			if was.Record != nil {
				c.Record, c.Digest = was.Record, was.Record.Digest()
			}
		}
	}
	if was := older.Observer(); was.Epoch > 0 {
		f.observing().inherited = &inheritance{epoch: was.Epoch, revision: was.Revision}
	}
	for id, s := range older.states {
		state := *s
		state.Sequence = 0
		f.setState(id, &state)
	}
	for _, o := range older.Orders() {
		order := *o
		order.Sequence = 0
		f.setOrder(order.key(), &order)
	}
	for _, n := range older.names.all() {
		for _, e := range n.Entries {
			for _, r := range e.Records {
				record := *r
				record.Sequence = 0
				f.replace(f.cluster(r.Cluster), e.Key, &record, false)
			}
			for _, r := range e.hidden {
				record := *r
				record.Sequence = 0
				f.replace(f.cluster(r.Cluster), e.Key, &record, true)
			}
		}
	}
	return f
}

// Inherited reports whether what is known of the cluster, or a part of it, comes from
// another stream than the one that is read: it has not published all it owns since.
func (c *ClusterState) Inherited() bool { return c.inherited != nil }

// InheritedEpoch returns the latest epoch that is known from another stream than the one
// that is read; 0 when nothing is. What an earlier one says is passed over, so whoever
// writes next begins above it.
func (c *ClusterState) InheritedEpoch() uint64 {
	if c.inherited == nil {
		return 0
	}
	return c.inherited.epoch
}

// Settle drops what is known of a cluster from another stream and was not said again
// on this one; see [Inherit]. That moves no sequence, so whoever has the zone of this
// one may have it with what is dropped: [View.Since] does not begin there.
func (f *Fold) Settle(id ClusterID) {
	known := f.clusters[id]
	if known == nil || known.inherited == nil || !known.inherited.settling {
		return
	}
	f.past.hole(f.past.latest, f.past.latest)
	c := f.cluster(id)
	c.inherited = nil
	f.changes.cluster(id)
	if s := f.standing.states[id]; s != nil && s.Sequence == 0 { // its agent lives, and who observes now may have nothing to say
		f.setState(id, nil)
	}
	if c.Record != nil && c.RecordSequence == 0 {
		c.Digest = c.Digest.XOR(c.Record.Digest())
		f.recordCluster(id, true, c.Record)
		c.Record = nil
	}
	var left []ServiceKey
	for _, n := range f.names.freeze().all() {
		for _, e := range n.Entries {
			fact := Fact{Writer: Writer(id), Kind: KindService, Service: e.Key}
			if r := e.find(id); r != nil && r.Sequence == 0 && f.quarantine[fact] == 0 { // else it was said again, and nobody can read what
				left = append(left, e.Key)
			}
		}
	}
	for _, key := range left {
		f.replace(c, key, nil, false)
	}
}
