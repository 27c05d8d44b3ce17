package registry

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// Message is one message of the stream as the fold takes it: what its subject and
// headers say, and its body as far as it could be read.
type Message struct {
	Fact     Fact
	Sequence uint64    // in the stream
	Stored   time.Time // by the stream's clock
	Epoch    uint64    // from the headers; 0 for writers without an epoch
	Revision uint64    // from the headers
	Event    *Event    // nil when Refused is set
	Digest   Digest    // of Event.Service, computed by [NewMessage]
	Refused  *Refusal  // why the body can't be used
}

// NewMessage joins a decoded body (or the reason why there is none) with what the
// subject and headers say, and refuses a body that speaks of something else. It
// does the costly part of the fold (the digest), so that it can run on all cores.
func NewMessage(fact Fact, sequence uint64, stored time.Time, epoch, revision uint64, event *Event, err *Refusal) Message {
	m := Message{Fact: fact, Sequence: sequence, Stored: stored, Epoch: epoch, Revision: revision}
	switch {
	case epoch > uint64(max(stored.Unix(), 0))+maxEpochAhead:
		m.Refused = refuse("epoch", "epoch %d is more than %d s ahead of the stream's clock", epoch, maxEpochAhead)
	case err != nil:
		m.Refused = err
	case event.Fact() != factOfBody(fact) || event.Kind != fact.Kind:
		m.Refused = refuse("foreign", "the subject says %s %s %s %s, the body something else", fact.Writer, fact.Kind, fact.Service, clip(fact.Name))
	case event.Epoch != epoch || event.Revision != revision:
		m.Refused = refuse("headers", "the headers say epoch %d revision %d, the body %d and %d", epoch, revision, event.Epoch, event.Revision)
	case fact.Kind == KindEpoch && (epoch == 0 || revision == 0):
		m.Refused = refuse("epoch", "an epoch record without an epoch or a revision")
	default:
		m.Event = event
		if event.Service != nil {
			m.Digest = event.Service.Digest()
		}
	}
	return m
}

// maxEpochAhead bounds how far an epoch may be ahead of the time at which the
// stream stored it, in seconds. Epochs are Unix seconds, so one beyond this could
// only lock out every honest successor.
const maxEpochAhead = 24 * 60 * 60

// factOfBody drops from a fact what a body does not repeat.
func factOfBody(f Fact) Fact {
	if f.Kind == KindState {
		f.Name = ""
	}
	return f
}

// Result is what became of a message.
type Result string

// The results of [Fold.Apply].
const (
	Applied     Result = "applied"     // it is now the state of its fact
	Duplicate   Result = "duplicate"   // this or a later message of its fact was applied before
	Passed      Result = "passed"      // it states nothing that shapes the zone
	Quarantined Result = "quarantined" // it can't be used: its fact keeps its last state
)

// Outcome tells what [Fold.Apply] did.
type Outcome struct {
	Result Result
	Reason string // for Quarantined: the refusal's reason
	Gap    bool   // a revision is missing before this one: load the writer's facts again
}

// Fold turns messages into Views. One goroutine owns it; the Views it hands out
// are immutable and may be shared. Make one with [NewFold].
type Fold struct {
	view       View
	names      *draft[Labels, *Name]
	clusters   map[ClusterID]*ClusterState
	dirty      map[ClusterID]bool
	shared     bool            // the namespaces map belongs to a View
	quarantine map[Fact]uint64 // latest unusable message of a fact
	facts      map[Fact]uint64 // latest message of facts that are no service
}

// NewFold returns an empty fold.
func NewFold() *Fold {
	return &Fold{
		view:       View{namespaces: map[namespaceKey]int{}},
		names:      draftOf(table[Labels, *Name]{}),
		clusters:   map[ClusterID]*ClusterState{},
		dirty:      map[ClusterID]bool{},
		quarantine: map[Fact]uint64{},
		facts:      map[Fact]uint64{},
	}
}

// Synced marks the fold as caught up with the stream: Views from now on say so.
func (f *Fold) Synced() { f.view.synced = true }

// View returns what was folded so far. It costs little when little changed.
func (f *Fold) View() *View {
	v := f.view
	v.names = f.names.freeze()
	v.clusters = maps.Clone(f.clusters)
	clear(f.dirty) // their states now belong to v
	f.shared = true
	return &v
}

// Apply takes in one message. Messages come in the order of their sequences;
// older ones may come again at any time and change nothing, or fill in what was
// missed. The message is kept: do not change it afterwards.
func (f *Fold) Apply(m Message) Outcome {
	f.view.sequence = max(f.view.sequence, m.Sequence)
	cluster, own := m.Fact.Writer.Cluster()
	if !own {
		return f.applyShared(m)
	}
	c := f.cluster(cluster)
	out := Outcome{Gap: c.count(m)}
	c.Sequence = max(c.Sequence, m.Sequence)
	if m.Refused == nil && c.fenced(m) {
		m.Refused = refuse("fenced", "epoch %d was over when sequence %d was stored", m.Epoch, m.Sequence)
	}
	if m.Refused != nil {
		f.setQuarantine(m)
		out.Result, out.Reason = Quarantined, m.Refused.Reason
		return out
	}
	switch m.Fact.Kind {
	case KindService:
		out.Result = f.applyService(c, m)
	case KindCluster, KindEpoch, KindSnapshot:
		out.Result = f.applyOwn(c, m)
	default:
		out.Result = Passed
	}
	if out.Result == Applied {
		f.endQuarantine(m)
	}
	return out
}

// count follows the writer's revisions and reports whether one is missing. Only an
// epoch's own record moves the epoch on.
func (c *ClusterState) count(m Message) (gap bool) {
	switch {
	case m.Refused == nil && m.Fact.Kind == KindEpoch && m.Epoch > c.Epoch:
		c.Epoch, c.Revision = m.Epoch, m.Revision
		return m.Revision > 1
	case m.Epoch == c.Epoch && m.Revision > c.Revision:
		gap = m.Revision > c.Revision+1
		c.Revision = m.Revision
	}
	return gap
}

// fenced reports whether a later epoch had begun before m was stored.
func (c *ClusterState) fenced(m Message) bool {
	for _, f := range c.Fences {
		if f.Epoch > m.Epoch && m.Sequence > f.Sequence {
			return true
		}
	}
	return false
}

// applyShared takes in what belongs to no cluster: the zone record for now.
func (f *Fold) applyShared(m Message) Outcome {
	switch {
	case m.Refused != nil:
		f.setQuarantine(m)
		return Outcome{Result: Quarantined, Reason: m.Refused.Reason}
	case m.Fact.Kind != KindZone || m.Fact.Writer != Operator:
		return Outcome{Result: Passed}
	case m.Sequence <= f.view.zoneAt:
		return Outcome{Result: Duplicate}
	}
	f.view.zone, f.view.zoneAt = m.Event.Zone, m.Sequence
	f.facts[m.Fact] = m.Sequence
	f.endQuarantine(m)
	return Outcome{Result: Applied}
}

func (f *Fold) applyOwn(c *ClusterState, m Message) Result {
	if m.Sequence <= f.facts[m.Fact] {
		return Duplicate
	}
	f.facts[m.Fact] = m.Sequence
	switch m.Fact.Kind {
	case KindCluster:
		if c.Record != nil {
			c.Digest = c.Digest.XOR(c.Record.Digest())
		}
		c.Record, c.RecordSequence = m.Event.Cluster, m.Sequence
		c.Digest = c.Digest.XOR(c.Record.Digest())
	case KindEpoch:
		c.Fences = mergeFences(c.Fences, m)
		c.EpochSequence = m.Sequence
	case KindSnapshot:
		c.Snapshot = m.Event.Snapshot
		c.SnapshotAt = Stamp{Epoch: m.Epoch, Revision: m.Revision, Time: m.Event.Time}
	}
	return Applied
}

// mergeFences adds the fences that an epoch record names, and the record itself
// when it is the first of its epoch.
func mergeFences(known []Fence, m Message) []Fence {
	at := map[uint64]uint64{m.Epoch: m.Sequence}
	for _, list := range [][]Fence{known, m.Event.Takeover.Fences} {
		for _, f := range list {
			if s, ok := at[f.Epoch]; !ok || f.Sequence < s {
				at[f.Epoch] = f.Sequence
			}
		}
	}
	fences := make([]Fence, 0, len(at))
	for epoch, sequence := range at {
		fences = append(fences, Fence{Epoch: epoch, Sequence: sequence})
	}
	slices.SortFunc(fences, func(a, b Fence) int { return int(min(max(int64(a.Epoch-b.Epoch), -1), 1)) })
	return fences[max(0, len(fences)-MaxFences):]
}

// applyService puts one service's record in its place.
func (f *Fold) applyService(c *ClusterState, m Message) Result {
	state := m.Event.Service
	key := state.Key()
	labels := key.Labels()
	name, _ := f.names.get(labels)
	entry := name.entry(key)
	if m.Sequence <= f.sequence(m.Fact) {
		return Duplicate
	}
	shown := findRecord(entry.Records, c.ID)
	record := &Record{
		Cluster: c.ID, Service: Service{Key: key, Instances: state.Instances},
		Total: state.Total, Serving: state.Serving, Truncated: state.Truncated,
		Epoch: m.Epoch, Revision: m.Revision, Sequence: m.Sequence,
		Changed: state.Changed, Index: state.Index, Digest: m.Digest,
	}
	next := &Entry{Key: key, Records: without(entry.Records, c.ID), hidden: without(entry.hidden, c.ID)}
	if state.Forgotten {
		next.hidden = append(next.hidden, record)
	} else {
		next.Records = append(next.Records, record)
		slices.SortFunc(next.Records, func(a, b *Record) int { return strings.Compare(string(a.Cluster), string(b.Cluster)) })
	}
	f.account(c, labels.Namespace, shown, record, state.Forgotten)
	f.replaceEntry(labels, name, entry, next)
	return Applied
}

// account keeps the cluster's counts and digest.
func (f *Fold) account(c *ClusterState, namespace string, old, new *Record, forgotten bool) {
	step := func(by int) {
		f.writableNamespaces()[namespaceKey{c.ID, namespace}] += by
		c.Services += by
	}
	if old != nil {
		c.Instances -= old.Total
		c.Digest = c.Digest.XOR(old.Digest)
		if forgotten {
			step(-1)
		}
	}
	if !forgotten {
		c.Instances += new.Total
		c.Digest = c.Digest.XOR(new.Digest)
		if old == nil {
			step(1)
		}
	}
}

// replaceEntry makes the next version of a name, with the service that answers first.
func (f *Fold) replaceEntry(labels Labels, old *Name, was, next *Entry) {
	before, known := 0, 0
	name := &Name{Labels: labels, Entries: make([]*Entry, 0, 1)}
	if old != nil {
		before = old.known()
		for _, e := range old.Entries {
			if e.Key != next.Key {
				name.Entries = append(name.Entries, e)
			}
		}
	}
	name.Entries = append(name.Entries, next)
	if len(name.Entries) > 1 {
		slices.SortFunc(name.Entries, func(a, b *Entry) int { return compareEntries(labels, a, b) })
	}
	known = name.known()
	f.names.set(labels, name)
	f.view.services += known - before
	f.view.conflicts += conflict(known) - conflict(before)
	if step := conflictFree(known) - conflictFree(before); step != 0 {
		f.writableNamespaces()[namespaceKey{"", labels.Namespace}] += step
	}
}

func conflict(known int) int     { return min(max(known-1, 0), 1) }
func conflictFree(known int) int { return min(known, 1) }

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

func without(records []*Record, cluster ClusterID) []*Record {
	kept := make([]*Record, 0, len(records)+1)
	for _, r := range records {
		if r.Cluster != cluster {
			kept = append(kept, r)
		}
	}
	return kept
}

func (f *Fold) writableNamespaces() map[namespaceKey]int {
	if f.shared {
		f.view.namespaces = maps.Clone(f.view.namespaces)
		f.shared = false
	}
	return f.view.namespaces
}

// cluster returns the state of a cluster for writing.
func (f *Fold) cluster(id ClusterID) *ClusterState {
	c := f.clusters[id]
	switch {
	case c == nil:
		c = &ClusterState{ID: id}
	case f.dirty[id]:
		return c
	default:
		next := *c
		c = &next
	}
	f.clusters[id], f.dirty[id] = c, true
	return c
}

// setQuarantine remembers that the latest message of a fact can't be used.
func (f *Fold) setQuarantine(m Message) {
	if m.Sequence <= f.quarantine[m.Fact] || m.Sequence <= f.sequence(m.Fact) {
		return
	}
	if _, known := f.quarantine[m.Fact]; !known {
		f.countQuarantine(m.Fact, 1)
	}
	f.quarantine[m.Fact] = m.Sequence
}

// sequence returns where the applied state of a fact stands in the stream; 0 when
// none was applied.
func (f *Fold) sequence(fact Fact) uint64 {
	if fact.Kind != KindService {
		return f.facts[fact]
	}
	name, _ := f.names.get(fact.Service.Labels())
	entry, cluster := name.entry(fact.Service), ClusterID(fact.Writer)
	if r := findRecord(entry.Records, cluster); r != nil {
		return r.Sequence
	}
	if r := findRecord(entry.hidden, cluster); r != nil {
		return r.Sequence
	}
	return 0
}

func (f *Fold) endQuarantine(m Message) {
	if at, known := f.quarantine[m.Fact]; known && m.Sequence > at {
		delete(f.quarantine, m.Fact)
		f.countQuarantine(m.Fact, -1)
	}
}

func (f *Fold) countQuarantine(fact Fact, by int) {
	if id, ok := fact.Writer.Cluster(); ok {
		f.cluster(id).Quarantined += by
	}
}
