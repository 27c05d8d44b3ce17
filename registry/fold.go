package registry

import (
	"maps"
	"slices"
	"strings"
)

// Fold turns messages into Views. One goroutine owns it; the Views it hands out
// are immutable and may be shared. Make one with [NewFold].
type Fold struct {
	view       View
	names      *draft[Labels, *Name]
	clusters   map[ClusterID]*ClusterState
	dirty      map[ClusterID]bool // their states are not part of a View yet
	shared     bool               // view.namespaces belongs to a View
	namespaces map[namespaceKey]int
	trails     map[ClusterID]*trail
	facts      map[Fact]position // the latest message of facts that are no service
	quarantine map[Fact]uint64   // the sequence of a fact's latest message, when it can't be used
	voided     []Fact
	changes    changes // since the last View
	lister     lister
	past       recorder
	unknown    unknowns
	limits     limits
	held       map[Writer]*holding
	observer   *ClusterState // of the observer as a writer: its epochs; it is in no View's clusters
	standing   standing
}

// position is where the message that states a fact stands.
type position struct {
	epoch    uint64
	sequence uint64
}

// NewFold returns an empty fold.
func NewFold() *Fold {
	return &Fold{
		view:       View{namespaces: map[namespaceKey]bool{}, origin: &origin{}},
		changes:    firstChanges(),
		namespaces: map[namespaceKey]int{},
		names:      draftOf(table[Labels, *Name]{}),
		clusters:   map[ClusterID]*ClusterState{},
		dirty:      map[ClusterID]bool{},
		trails:     map[ClusterID]*trail{},
		facts:      map[Fact]position{},
		quarantine: map[Fact]uint64{},
		limits:     limits{clusters: MaxClusters, facts: MaxFacts, held: MaxHeld},
		held:       map[Writer]*holding{},
		observer:   &ClusterState{},
		standing:   newStanding(),
	}
}

// Synced marks the fold as caught up with the stream: Views from now on say so, and
// remember what stood before ([View.Since]). It is called again when what was
// missed, after a gap or [Fold.Unsure], has been read.
func (f *Fold) Synced() {
	f.view.synced = true
	f.past.synced()
}

// View returns what was folded so far. It costs little when little changed. What
// changed since the View before is told by [View.Delta].
func (f *Fold) View() *View {
	f.view.version++
	f.unknown.freeze(&f.view)
	v := f.view
	v.delta = f.changes.freeze(&v)
	v.past = f.past.freeze()
	v.names = f.names.freeze()
	v.listed = f.lister.freeze()
	v.clusters = maps.Clone(f.clusters)
	f.standing.freeze(&v)
	v.observer = f.observer
	clear(f.dirty) // their states now belong to v
	f.shared = true
	return &v
}

// Apply takes in one message. Messages come in the order of their sequences;
// older ones may come again at any time and change nothing, or fill in what was
// missed. The message is kept: do not change it afterwards.
//
// The fact of a message that is [Quarantined] keeps the state it has. A reader
// that has not seen the earlier messages of that fact looks back: it applies them
// in order. The same goes for what [Fold.Voided] returns.
func (f *Fold) Apply(m Message) Outcome {
	f.view.sequence = max(f.view.sequence, m.Sequence)
	f.past.now, f.past.latest = m.Sequence, f.view.sequence
	if !f.admits(m.Fact.Writer) {
		return Outcome{Result: Quarantined, Reason: ReasonTooMany}
	}
	var out Outcome
	var c *ClusterState
	var t *trail
	id, own := m.Fact.Writer.Cluster()
	if own || m.Fact.Writer == Observer {
		if c, t = f.observing(), f.trail(id); own {
			c = f.cluster(id)
		}
		if out.Gap = c.count(m, t); out.Gap && own {
			f.past.doubt(c.Sequence)
		}
		c.Sequence = max(c.Sequence, m.Sequence)
		if m.Refused == nil && c.fenced(m.Epoch, m.Sequence) {
			m.Refused = refuse("fenced", "epoch %d was over when sequence %d was stored", m.Epoch, m.Sequence)
		}
	}
	if m.Refused == nil && c != nil && c.inherited.outdated(m) && m.Fact.Kind != KindEpoch {
		return Outcome{Result: Passed, Gap: out.Gap}
	}
	if m.Refused == nil {
		if c != nil && m.Fact.Kind == KindEpoch {
			f.fence(c, m, t)
		}
		if own && m.Fact.Kind == KindService {
			out.Result, m.Refused = f.applyService(c, m)
		} else {
			out.Result, m.Refused = f.applyOther(c, m)
		}
	}
	if m.Refused != nil {
		f.setQuarantine(m.Fact, m.Sequence)
		out.Result, out.Reason = Quarantined, m.Refused.Reason
		return out
	}
	out.Complete = own && m.Fact.Kind == KindSnapshot && c.inherited != nil && c.inherited.settling
	if out.Result != Duplicate {
		f.endQuarantine(m.Fact, m.Sequence)
		if t != nil {
			s := t.at(m.Epoch)
			s.applied = max(s.applied, m.Sequence)
		}
	}
	return out
}

// applyOther takes in what is no service. The cluster is nil for the operator, and
// one without an ID for the observer.
func (f *Fold) applyOther(c *ClusterState, m Message) (Result, *Refusal) {
	if m.Sequence <= f.facts[m.Fact].sequence {
		return Duplicate, nil
	}
	if refused := f.standing.excess(m, f.limits); refused != nil {
		return Quarantined, refused
	}
	if f.mayNote(m.Fact) {
		f.facts[m.Fact] = position{epoch: m.Epoch, sequence: m.Sequence}
	}
	switch {
	case c != nil && m.Fact.Kind == KindCluster:
		var was Digest
		before := c.Record
		if before != nil {
			was = before.Digest()
		}
		c.Record, c.RecordSequence = m.Event.Cluster, m.Sequence
		digest := c.Record.Digest()
		c.Digest = c.Digest.XOR(was).XOR(digest)
		if before == nil || !before.Equal(*c.Record) {
			f.changes.cluster(c.ID)
			f.recordCluster(c.ID, true, before)
		}
	case c != nil && m.Fact.Kind == KindEpoch:
		c.EpochSequence = m.Sequence
	case c != nil && m.Fact.Kind == KindSnapshot:
		c.Snapshot = m.Event.Snapshot
		c.SnapshotAt = Stamp{Epoch: m.Epoch, Revision: m.Revision, Time: m.Event.Time}
		if i := c.inherited; i != nil && m.Epoch > i.epoch {
			settling := *i
			settling.settling = true
			c.inherited = &settling
		}
	case m.Fact.Writer == Operator && m.Fact.Kind == KindZone:
		if f.view.zone == nil || !f.view.zone.Equal(*m.Event.Zone) {
			f.changes.zone = true
			f.recordZone(f.view.zone)
		}
		f.view.zone, f.view.zoneAt = m.Event.Zone, m.Sequence
	case m.Fact.Writer == Observer && m.Fact.Kind == KindState:
		f.setState(m.Event.State.Cluster, &StandingState{StateRecord: *m.Event.State, Sequence: m.Sequence, Stored: m.Stored})
	case m.Fact.Writer == Operator && m.Fact.Kind == KindOrder:
		f.setOrder(m.Event.Order.key(), m.Event.Order.standing(m))
	default:
		return Passed, nil
	}
	return Applied, nil
}

// applyService puts one service's record in its place, unless there is no room.
func (f *Fold) applyService(c *ClusterState, m Message) (Result, *Refusal) {
	state := m.Event.Service
	key := m.Fact.Service
	name, _ := f.names.get(key.Labels())
	was := name.entry(key).find(c.ID)
	if was != nil && m.Sequence <= was.Sequence {
		return Duplicate, nil
	}
	if refused := f.excess(c, name, was, state); refused != nil {
		return Quarantined, refused
	}
	f.replace(c, key, &Record{
		Cluster: c.ID, Service: Service{Key: key, Instances: state.Instances},
		Total: state.Total, Serving: state.Serving, Truncated: state.Truncated,
		Epoch: m.Epoch, Revision: m.Revision, Sequence: m.Sequence,
		Changed: state.Changed, Index: state.Index, Digest: m.Digest, forgotten: state.Forgotten,
	}, state.Forgotten || f.standing.gone(c.ID))
	return Applied, nil
}

// replace makes the next version of a name, in which the record (nil: none) is
// what the cluster says of the service.
func (f *Fold) replace(c *ClusterState, key ServiceKey, record *Record, forgotten bool) {
	labels := key.Labels()
	old, _ := f.names.get(labels)
	entry := old.entry(key)
	next := &Entry{Key: key, Records: without(entry.Records, c.ID), hidden: without(entry.hidden, c.ID)}
	var shown *Record
	h := f.holding(Writer(c.ID))
	if len(next.hidden) < len(entry.hidden) {
		h.hidden--
	}
	switch {
	case record == nil:
	case forgotten && h.hidden >= f.limits.facts: // an older message could bring it back, if one came
	case forgotten:
		h.hidden++
		next.hidden = append(next.hidden, record)
	default:
		shown = record
		next.Records = append(next.Records, record)
		slices.SortFunc(next.Records, func(a, b *Record) int { return strings.Compare(string(a.Cluster), string(b.Cluster)) })
	}
	was := entry.Record(c.ID)
	if was != nil {
		h.bytes -= footprint(was.Service.Instances)
	}
	if shown != nil {
		h.bytes += footprint(shown.Service.Instances)
	}
	if was == nil && shown != nil || was != nil && (shown == nil || was.Digest != shown.Digest) {
		f.changes.name(labels)
		f.recordName(labels, old, was)
	}
	f.account(c, labels.Namespace, was, shown)

	name := old.with(labels, next)
	before, known := old.known(), name.known()
	if len(name.Entries) > 0 {
		f.names.set(labels, name)
	} else {
		f.names.delete(labels)
	}
	if (known > 0) != (before > 0) {
		f.lister.note(labels, known > 0)
	}
	f.view.services += known - before
	f.view.conflicts += beyond(known, 1) - beyond(before, 1)
	f.addNamespace(namespaceKey{"", labels.Namespace}, beyond(known, 0)-beyond(before, 0))
}

// beyond returns 1 when n is more than limit, else 0.
func beyond(n, limit int) int {
	if n > limit {
		return 1
	}
	return 0
}

// account keeps the cluster's counts and digest, when what is known of one of its
// services changes. Nil is a service that it does not know.
func (f *Fold) account(c *ClusterState, namespace string, old, new *Record) {
	step := 0
	if old != nil {
		c.Instances -= old.Total
		c.Digest = c.Digest.XOR(old.Digest)
		step--
	}
	if new != nil {
		c.Instances += new.Total
		c.Digest = c.Digest.XOR(new.Digest)
		step++
	}
	c.Services += step
	f.addNamespace(namespaceKey{c.ID, namespace}, step)
}

// addNamespace counts the known services of a namespace. Views need only to know
// whether there is any, so their map changes with the first and the last.
func (f *Fold) addNamespace(key namespaceKey, step int) {
	before, after := f.namespaces[key], f.namespaces[key]+step
	switch {
	case step == 0:
		return
	case after == 0:
		delete(f.namespaces, key)
	default:
		f.namespaces[key] = after
	}
	if (before > 0) == (after > 0) {
		return
	}
	if f.shared {
		f.view.namespaces = maps.Clone(f.view.namespaces)
		f.shared = false
	}
	if after > 0 {
		f.view.namespaces[key] = true
	} else {
		delete(f.view.namespaces, key)
	}
}

// observing returns the observer's own state for writing.
func (f *Fold) observing() *ClusterState {
	next := *f.observer
	f.observer = &next
	return f.observer
}

// cluster returns the state of a cluster for writing.
func (f *Fold) cluster(id ClusterID) *ClusterState {
	c := f.clusters[id]
	switch {
	case c == nil:
		c = &ClusterState{ID: id}
		f.changes.cluster(id)
		f.recordCluster(id, false, nil)
	case f.dirty[id]:
		return c
	default:
		next := *c
		c = &next
	}
	f.clusters[id], f.dirty[id] = c, true
	return c
}

func (f *Fold) trail(id ClusterID) *trail {
	t := f.trails[id]
	if t == nil {
		t = &trail{}
		f.trails[id] = t
	}
	return t
}

// sequence returns where the applied state of a fact stands in the stream; 0 when
// none was applied.
func (f *Fold) sequence(fact Fact) uint64 {
	id, own := fact.Writer.Cluster()
	if fact.Kind != KindService || !own {
		return f.facts[fact].sequence
	}
	name, _ := f.names.get(fact.Service.Labels())
	if r := name.entry(fact.Service).find(id); r != nil {
		return r.Sequence
	}
	return 0
}
