package registry

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Facts returns a message for each fact that the View was made of, sorted by
// sequence: folded with [Restore] they give the same View. They say what stands, not
// what changed, and share their contents with the View. Marks of complete
// publication are not among them. What was inherited from another stream ([Inherit])
// has the sequence 0, with an epoch's record that says how far each writer had come there.
func (v *View) Facts() []Message {
	facts := make([]Message, 0, v.services+4*len(v.clusters)+16)
	add := func(fact Fact, sequence, epoch, revision uint64, stored time.Time, e Event) {
		e.Schema, e.Kind, e.Writer, e.Cause, e.Time = Schema, fact.Kind, fact.Writer, CauseRefresh, stored
		e.Epoch, e.Revision = epoch, revision
		m := Message{Fact: fact, Sequence: sequence, Stored: stored, Epoch: epoch, Revision: revision, Event: &e}
		facts = append(facts, m)
	}
	writer := func(w Writer, c *ClusterState) {
		if c != nil && c.inherited != nil && c.inherited.epoch > 0 {
			add(Fact{Writer: w, Kind: KindEpoch}, 0, c.inherited.epoch, max(c.inherited.revision, 1), time.Time{}, Event{Takeover: &EpochRecord{}})
		}
		if c != nil && c.EpochSequence > 0 {
			add(Fact{Writer: w, Kind: KindEpoch}, c.EpochSequence, c.Epoch, max(c.Revision, 1), time.Time{}, Event{Takeover: &EpochRecord{Fences: c.Fences}})
		}
		if c != nil && c.Record != nil {
			add(Fact{Writer: w, Kind: KindCluster}, c.RecordSequence, c.Epoch, max(c.Revision, 1), time.Time{}, Event{Cluster: c.Record})
		}
	}
	writer(Observer, v.observer)
	for _, clusters := range []map[ClusterID]*ClusterState{v.clusters, v.gone} {
		for id, c := range clusters {
			writer(Writer(id), c)
		}
	}
	if v.zone != nil {
		add(Fact{Writer: Operator, Kind: KindZone}, v.zoneAt, 0, 0, time.Time{}, Event{Zone: v.zone})
	}
	for id, s := range v.states {
		add(Fact{Writer: Observer, Kind: KindState, Name: string(id)}, s.Sequence, v.Observer().Epoch, max(v.Observer().Revision, 1), s.Stored, Event{State: &s.StateRecord})
	}
	for _, o := range v.Orders() {
		order := o.Order
		add(Fact{Writer: Operator, Kind: KindOrder, Name: o.Kind + "." + o.Target}, o.Sequence, 0, 0, o.Stored, Event{Order: &order})
	}
	for _, n := range v.names.all() {
		for _, e := range n.Entries {
			for _, r := range slices.Concat(e.Records, e.hidden) {
				facts = append(facts, r.message(e.Key))
			}
		}
	}
	slices.SortFunc(facts, func(a, b Message) int {
		return cmp.Or(cmp.Compare(a.Sequence, b.Sequence), strings.Compare(string(a.Fact.Writer), string(b.Fact.Writer)), a.Fact.Service.Compare(b.Fact.Service))
	})
	return facts
}

// message states a record as it stands.
func (r *Record) message(key ServiceKey) Message {
	fact := Fact{Writer: Writer(r.Cluster), Kind: KindService, Service: key}
	return Message{
		Fact: fact, Sequence: r.Sequence, Stored: r.Changed.Time, Epoch: r.Epoch, Revision: r.Revision, Digest: r.Digest,
		Event: &Event{
			Schema: Schema, Kind: KindService, Writer: fact.Writer, Epoch: r.Epoch, Revision: r.Revision, Time: r.Changed.Time, Cause: CauseRefresh,
			Service: &ServiceState{
				Namespace: key.Namespace, Name: key.Name, Instances: r.Service.Instances, Total: r.Total, Serving: r.Serving,
				Truncated: r.Truncated, Forgotten: r.forgotten, Changed: r.Changed, Index: r.Index,
			},
		},
	}
}

// Restore returns a Fold that has come to a sequence by facts that stood there, as
// [View.Facts] gives them. It may go on from there, with the messages that follow.
// Those with the sequence 0 alone, and the sequence 0, give what was inherited.
func Restore(facts []Message, sequence uint64) *Fold {
	f := NewFold()
	if older := inheritedOf(facts); older != nil {
		f = Inherit(older)
		f.view.sequence, f.past.latest = 0, 0
	}
	for _, m := range facts {
		if m.Sequence > 0 {
			f.Apply(m)
		}
	}
	f.view.sequence = max(f.view.sequence, sequence)
	f.past.latest = f.view.sequence
	return f
}

// inheritedOf returns what was inherited as the View that it was; nil when nothing was.
func inheritedOf(facts []Message) *View {
	f, sequence := NewFold(), uint64(0)
	for _, epochs := range []bool{false, true} { // a later epoch's record would make void what stands behind it
		for _, m := range facts {
			if m.Sequence == 0 && (m.Fact.Kind == KindEpoch) == epochs {
				sequence++
				m.Sequence = sequence
				f.Apply(m)
			}
		}
	}
	if sequence == 0 {
		return nil
	}
	return f.View()
}
