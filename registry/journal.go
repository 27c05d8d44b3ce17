package registry

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"sort"
)

// Bounds of what a View remembers of the Views before it: the latest changes, as
// many as stay below both. What is beyond may stay in memory for a while, at most
// as much again.
const (
	MaxJournalEntries = 100_000
	MaxJournalBytes   = 32 << 20 // of the states that were replaced, estimated
)

// Since returns the View as it was at an earlier sequence of the stream, and what
// differs between it and v. It undoes, message by message, what was applied since;
// so it does not matter in which batches this reader published its Views, and the
// cost is in proportion to what changed.
//
// The earlier View tells what shapes the zone: its names with their entries and lists, which
// clusters are known with their records, and the zone record. Its counts, revisions
// and marks, and [View.HasNamespace], are those of v.
//
// The Delta is as between two Views of one Fold; it says All when more than
// [MaxChangedNames] names differ. A name in it may be the same again, when what
// changed was changed back.
//
// Ok is false when the journal does not reach back so far: it begins where the Fold
// was first synced, and is bounded. It is false, too, for a sequence after v's, and
// for one at which this reader lacked something (a message that it got late, a gap,
// a writer that turned out to be fenced), or dropped something ([Fold.Settle]): what
// it had there is not what the stream says.
func (v *View) Since(sequence uint64) (older *View, changed Delta, ok bool) {
	if sequence == v.sequence && v.synced {
		return v, Delta{Before: sequence, After: sequence}, true
	}
	if sequence > v.sequence || !v.past.reaches(sequence) {
		return nil, Delta{}, false
	}
	undone := v.past.entries[v.past.after(sequence):]
	old := *v
	old.sequence, old.delta, old.origin = sequence, Delta{}, nil
	old.past.entries = v.past.entries[:v.past.after(sequence)]
	names := draftOf(v.names)
	done := make(map[undoKey]struct{}, len(undone))
	changed = Delta{Before: sequence, After: v.sequence}
	for _, u := range undone { // of several changes of one fact, the earliest knows what stood
		if _, again := done[u.key]; again {
			continue
		}
		if len(done) == 0 {
			old.clusters = maps.Clone(v.clusters)
		}
		done[u.key] = struct{}{}
		switch before := u.before.(type) {
		case *Name:
			changed.Names = append(changed.Names, u.key.labels)
			if before == nil {
				names.delete(u.key.labels)
			} else {
				names.set(u.key.labels, before)
			}
		case clusterBefore:
			id := ClusterID(u.key.labels.Name)
			changed.Clusters = append(changed.Clusters, id)
			if !before.known {
				delete(old.clusters, id)
			} else if c := cmp.Or(old.clusters[id], v.gone[id]); c != nil {
				c := *c
				c.Record = before.record
				old.clusters[id] = &c
			}
		case *ZoneRecord:
			changed.Zone = true
			old.zone = before
		case *StandingState:
			old.undoState(ClusterID(u.key.labels.Name), before, &changed)
		case orderBefore:
			old.undoOrder(before, &changed)
		}
	}
	slices.SortFunc(changed.Names, Labels.Compare)
	changed.Names = slices.Compact(changed.Names)
	if len(changed.Names) > 0 {
		old.names = names.freeze()
		old.listed = v.relisted(&old, changed.Names)
	}
	slices.Sort(changed.Clusters)
	changed.Clusters = slices.Compact(changed.Clusters)
	if len(changed.Names) > MaxChangedNames {
		changed.All, changed.Zone, changed.Names, changed.Clusters = true, true, nil, nil
	}
	return &old, changed, true
}

// ChangesSince counts the changes that [View.Since] would undo, in next to no time; ok
// is false when the journal does not reach back so far.
func (v *View) ChangesSince(sequence uint64) (count int, ok bool) {
	if sequence > v.sequence || !v.past.reaches(sequence) {
		return 0, false
	}
	return len(v.past.entries) - v.past.after(sequence), true
}

// JournalDepth tells how many changes v remembers, and the earliest sequence that
// [View.Since] can go back to. With reach above [View.Sequence] there is none.
func (v *View) JournalDepth() (entries int, reach uint64) {
	if !v.past.begun {
		return 0, v.sequence + 1
	}
	return len(v.past.entries), v.past.reach
}

// Unsure reports whether v may lack messages up to its own sequence, which are being
// loaded. Views that have them may follow at the same sequence, so whoever remembers a
// zone by its serial must not take this one.
func (v *View) Unsure() bool {
	return slices.ContainsFunc(v.past.holes, func(h hole) bool { return h.to == math.MaxUint64 })
}

// undo says what stood before one message changed it.
type undo struct {
	sequence uint64
	key      undoKey
	before   any // *Name (nil: unknown), clusterBefore, *ZoneRecord, *StandingState (nil: none) or orderBefore
	bytes    int // estimated, of what only before still holds
}

// undoKey names a fact as far as Views know it.
type undoKey struct {
	kind   Kind
	labels Labels // of a service; of a cluster only the Name, which is its ID; of an order kind and target
}

type clusterBefore struct {
	known  bool
	record *ClusterRecord
}

// past is what a View remembers: the changes in the order of the stream. The Fold
// appends to it and cuts it at its beginning; neither touches what Views hold.
type past struct {
	begun   bool
	reach   uint64 // the earliest sequence whose state is known
	holes   []hole // where it is not; in the order in which they were found
	entries []undo // their sequences never fall
}

// hole is a range of sequences, both ends included, whose states were not what the
// stream says.
type hole struct{ from, to uint64 }

// maxHoles bounds past.holes; the oldest is filled by forgetting what came before it.
const maxHoles = 64

func (p past) reaches(sequence uint64) bool {
	return p.begun && sequence >= p.reach &&
		!slices.ContainsFunc(p.holes, func(h hole) bool { return h.from <= sequence && sequence <= h.to })
}

// after returns the index of the first entry later than a sequence.
func (p past) after(sequence uint64) int {
	return sort.Search(len(p.entries), func(n int) bool { return p.entries[n].sequence > sequence })
}

// recorder writes the past while a Fold applies messages.
type recorder struct {
	past
	now    uint64 // the message that is being applied
	latest uint64 // of all that were applied, now included
	bytes  int
	unsure bool   // messages may be missing
	since  uint64 // the last sequence before that
}

// synced begins to remember, for what was read to catch up is not the stream's
// order; or ends what doubt began. The state at this very sequence may have been
// seen with something missing, so it does not count.
func (r *recorder) synced() {
	switch {
	case !r.begun:
		r.past, r.unsure = past{begun: true, reach: r.latest}, false
	case r.unsure:
		r.unsure = false
		r.hole(r.since+1, r.latest)
	}
}

// doubt notes that messages after a sequence may be missing, until synced is called.
func (r *recorder) doubt(since uint64) {
	if r.unsure {
		since = min(since, r.since)
	}
	r.unsure, r.since = true, since
}

// hole notes that states were not what the stream says.
func (r *recorder) hole(from, to uint64) {
	if !r.begun || to < r.reach {
		return
	}
	holes := make([]hole, 0, len(r.holes)+1) // Views hold the others
	for _, h := range r.holes {
		if h.from < from || h.to > to {
			holes = append(holes, h)
		}
	}
	holes = append(holes, hole{from, to})
	if len(holes) > maxHoles {
		r.reach = max(r.reach, holes[0].to+1)
		holes = holes[1:]
	}
	r.holes = holes
}

// freeze returns what a View may hold.
func (r *recorder) freeze() past {
	p := r.past
	if p.begun && r.unsure {
		p.holes = append(slices.Clip(p.holes), hole{r.since + 1, math.MaxUint64})
	}
	return p
}

func (r *recorder) add(key undoKey, before any, bytes int) {
	if !r.begun {
		return
	}
	if r.now < r.latest { // it came late: without it the states since then were not complete
		r.hole(r.now, r.latest)
	}
	r.entries = append(r.entries, undo{sequence: r.latest, key: key, before: before, bytes: bytes})
	r.bytes += bytes
	cut := 0
	for len(r.entries)-cut > MaxJournalEntries || r.bytes > MaxJournalBytes {
		r.bytes -= r.entries[cut].bytes
		r.reach = max(r.reach, r.entries[cut].sequence)
		cut++
	}
	r.entries = r.entries[cut:]
}

// Unsure says that messages after the current sequence may be missing from what is
// applied next, until [Fold.Synced] is called again: the reader has lost its place
// and reads the latest state of each fact anew. Views in between answer as others
// do; only [View.Since] does not go back to them. A gap (see [Outcome]) has the
// same effect by itself.
func (f *Fold) Unsure() { f.past.doubt(f.past.latest) }

func (f *Fold) recordName(labels Labels, before *Name, replaced *Record) {
	bytes := 256
	if replaced != nil {
		for i := range replaced.Service.Instances {
			n := &replaced.Service.Instances[i]
			bytes += 160 + len(n.ID) + len(n.Address) + len(n.Version) + 64*len(n.Meta)
			for _, value := range n.Meta {
				bytes += len(value)
			}
		}
	}
	f.past.add(undoKey{KindService, labels}, before, bytes)
}

func (f *Fold) recordCluster(id ClusterID, known bool, record *ClusterRecord) {
	bytes := 256
	if record != nil {
		bytes += 512 * len(record.Gateways)
	}
	known = known && !f.standing.gone(id)
	f.past.add(undoKey{KindCluster, Labels{Name: string(id)}}, clusterBefore{known: known, record: record}, bytes)
}

func (f *Fold) recordZone(before *ZoneRecord) {
	f.past.add(undoKey{kind: KindZone}, before, 1024)
}
