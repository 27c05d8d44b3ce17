package registry

import (
	"encoding/binary"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"
)

// View is the registry of all clusters as it is at one sequence of the stream:
// an immutable index that any number of readers share. The zero View is empty and
// not synced.
type View struct {
	sequence   uint64
	synced     bool
	zone       *ZoneRecord
	zoneAt     uint64
	clusters   map[ClusterID]*ClusterState
	names      table[Labels, *Name]
	namespaces map[namespaceKey]bool
	listed     listed
	conflicts  int
	services   int
	unknown    table[Labels, int]
	origin     *origin // of the Fold that made it; nil in the zero View
	version    uint64  // counts that Fold's Views
	delta      Delta
	past       past
	states     map[ClusterID]*StandingState
	orders     *orders                     // nil: none
	gone       map[ClusterID]*ClusterState // those that count as never heard of; nil: none
	observer   *ClusterState
	cut        *Cut // nil: it is current
	equal      bool // it shows nothing of what its reader alone doubts ([View.Current])
}

// namespaceKey is a namespace's label: in any cluster when cluster is "", else in
// that one.
type namespaceKey struct {
	cluster   ClusterID
	namespace string
}

// Name is a place in the zone and the services that are known there. Usually it
// is one; where several keys give the same labels, the first is the one that
// answers (exact spelling before others, then by key) and the rest are in conflict.
type Name struct {
	Labels  Labels
	Entries []*Entry
}

// Entry is one service as all clusters see it.
type Entry struct {
	Key     ServiceKey
	Records []*Record // sorted by cluster; forgotten ones are not among them
	hidden  []*Record // forgotten, or of a cluster that is gone: kept so that an older message can't bring them back
}

// Record is one service in one cluster, with its place in the stream.
type Record struct {
	Cluster   ClusterID
	Service   Service
	Total     int // instances; more than Service lists when Truncated
	Serving   int // instances that take traffic
	Truncated bool
	Epoch     uint64
	Revision  uint64
	Sequence  uint64
	Changed   Stamp
	Index     string
	Digest    Digest
	forgotten bool
}

// Tombstone reports whether the service is known there but has no instance.
func (r *Record) Tombstone() bool { return r.Total == 0 }

// ClusterState is what the stream says of one cluster as a whole.
type ClusterState struct {
	ID             ClusterID
	Record         *ClusterRecord // nil: it has not said
	RecordSequence uint64
	Epoch          uint64
	EpochSequence  uint64 // of the epoch's latest record
	Fences         []Fence
	Revision       uint64 // the highest seen within Epoch
	Sequence       uint64 // of its latest message
	Services       int    // known, tombstones included
	Instances      int
	Digest         Digest // of its services and its record
	Snapshot       *SnapshotMark
	SnapshotAt     Stamp
	Quarantined    int          // facts whose latest message can't be used
	Unusable       int          // of these, the ones that a resync publishes again: all but notes
	inherited      *inheritance // nil: all that is known comes from this stream
}

// Sequence returns the stream sequence of the last message that was taken in.
func (v *View) Sequence() uint64 { return v.sequence }

// Serial returns the zone's SOA serial: the sequence modulo 2^32 (RFC 1982).
func (v *View) Serial() uint32 { return uint32(v.sequence) }

// Synced reports whether the View has caught up with the stream once. Until then
// a name that is not in it may well exist.
func (v *View) Synced() bool { return v.synced }

// Zone returns the zone record; nil when none stands on the stream.
func (v *View) Zone() *ZoneRecord { return v.zone }

// Cluster returns the state of a cluster; nil when it was never heard of.
func (v *View) Cluster(id ClusterID) *ClusterState { return v.clusters[id] }

// Observer returns how far the observer has come as a writer: its epoch, revision and
// latest message; zero when it was never heard of.
func (v *View) Observer() ClusterState {
	if v.observer == nil {
		return ClusterState{}
	}
	return *v.observer
}

// Clusters returns all clusters, sorted by ID.
func (v *View) Clusters() []*ClusterState {
	return slices.SortedFunc(maps.Values(v.clusters), func(a, b *ClusterState) int {
		return strings.Compare(string(a.ID), string(b.ID))
	})
}

// Lookup returns the service that answers at these labels; ok is false when none
// was ever registered there, which is not the same as having no instances.
func (v *View) Lookup(l Labels) (e *Entry, ok bool) {
	n, ok := v.names.get(l)
	if !ok || len(n.Entries) == 0 || len(n.Entries[0].Records) == 0 {
		return nil, false
	}
	return n.Entries[0], true
}

// Service returns one service by its key; ok is false when it was never registered.
func (v *View) Service(k ServiceKey) (e *Entry, ok bool) {
	n, ok := v.names.get(k.Labels())
	if !ok {
		return nil, false
	}
	for _, e := range n.Entries {
		if e.Key == k && len(e.Records) > 0 {
			return e, true
		}
	}
	return nil, false
}

// Name returns all that is known at these labels, those in conflict too; ok is
// false when no service is known there.
func (v *View) Name(l Labels) (n *Name, ok bool) {
	n, ok = v.names.get(l)
	return n, ok && n.known() > 0
}

// Known returns the services that are known here; the first one answers.
func (n *Name) Known() []*Entry { return n.Entries[:n.known()] }

// Names yields every name at which a service is known. The order has no meaning, but
// it is the same for all Views within one process: a name keeps its place among
// the others while they come and go.
func (v *View) Names() iter.Seq[*Name] {
	return func(yield func(*Name) bool) {
		for _, n := range v.names.all() {
			if n.known() > 0 && !yield(n) {
				return
			}
		}
	}
}

// SortedNames returns every name at which a service is known, sorted by labels. It
// costs a sort of all: use [View.Names] where any order will do.
func (v *View) SortedNames() []*Name {
	names := make([]*Name, 0, v.names.len)
	for n := range v.Names() {
		names = append(names, n)
	}
	slices.SortFunc(names, func(a, b *Name) int { return a.Labels.Compare(b.Labels) })
	return names
}

// HasNamespace reports whether any service is known in a namespace with this
// label; with a cluster, whether any is known there in that cluster.
func (v *View) HasNamespace(label string, cluster ClusterID) bool {
	return v.namespaces[namespaceKey{cluster, label}]
}

// Services counts the services that are known, each once.
func (v *View) Services() int { return v.services }

// Conflicts counts the names where more than one service is known.
func (v *View) Conflicts() int { return v.conflicts }

// Record returns what one cluster says; nil when it does not know the service.
func (e *Entry) Record(cluster ClusterID) *Record {
	return findRecord(e.Records, cluster)
}

// Conflicting returns the services that are known here but do not answer.
func (n *Name) Conflicting() []*Entry {
	if count := n.known(); count > 1 {
		return n.Entries[1:count]
	}
	return nil
}

// AppendCanonical appends all that shapes the zone, in one order and encoding, so
// that two Views of the same sequence can be compared byte for byte.
func (v *View) AppendCanonical(b []byte) []byte {
	text := func(s string) { b = append(binary.AppendUvarint(b, uint64(len(s))), s...) }
	number := func(n uint64) { b = binary.AppendUvarint(b, n) }
	stamp := func(s Stamp) {
		number(s.Epoch)
		number(s.Revision)
		text(s.Time.UTC().Format(time.RFC3339Nano))
	}
	number(v.sequence)
	number(v.zoneAt)
	if v.zone != nil {
		b = v.zone.appendCanonical(b)
	}
	for _, c := range v.Clusters() {
		text(string(c.ID))
		b = append(b, c.Digest[:]...)
		for _, n := range []uint64{c.RecordSequence, c.Epoch, c.EpochSequence, uint64(c.Services), uint64(c.Instances)} {
			number(n)
		}
	}
	b = v.appendStanding(b)
	for _, n := range v.SortedNames() {
		for _, e := range n.Entries[:n.known()] {
			text(e.Key.Namespace)
			text(e.Key.Name)
			for _, r := range e.Records {
				text(string(r.Cluster))
				b = append(b, r.Digest[:]...)
				number(r.Epoch)
				number(r.Revision)
				number(r.Sequence)
				stamp(r.Changed)
			}
		}
	}
	return b
}
