package chain

import (
	"cmp"
	"slices"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
)

// trunk is what an epoch's messages tell when they are put together: its history, and
// what does not fit into it.
type trunk struct {
	writer   registry.Writer
	epoch    *epoch
	pieces   []*run // of the history, by revision
	faults   []Fault
	blamed   map[*entry]bool     // a fault names it
	inserted map[uint64]struct{} // sequences of messages with faults of their own that have no place
	repeated int
	lacks    bool // messages are missing
}

func (t *trunk) from() uint64  { return t.pieces[0].from }
func (t *trunk) until() uint64 { return t.pieces[len(t.pieces)-1].until() }
func (t *trunk) first() *entry { return &t.pieces[0].entries[0] }
func (t *trunk) last() *entry  { return t.pieces[len(t.pieces)-1].last() }

// at returns the message with a revision; nil when it has none.
func (t *trunk) at(revision uint64) *entry {
	for _, p := range t.pieces {
		if p.has(revision) {
			return p.at(revision)
		}
	}
	return nil
}

// size counts the messages.
func (t *trunk) size() (n int) {
	for _, p := range t.pieces {
		n += len(p.entries)
	}
	return n
}

// suspect reports whether a message is known to be wrong, or can't be judged.
func (t *trunk) suspect(e *entry) bool { return e.faulty || e.bare && t.epoch.chained || t.blamed[e] }

// accuse adds a fault about a range of revisions. Sequence and last are where it begins and ends.
func (t *trunk) accuse(k Kind, from, until, sequence, last uint64, detail string) {
	f := Fault{Kind: k, Writer: t.writer, Epoch: t.epoch.number, Revision: from, Sequence: sequence, Detail: detail}
	if until > from {
		f.Until = until
	}
	if last > sequence {
		f.Last = last
	}
	t.faults = append(t.faults, f)
	t.lacks = t.lacks || k == Missing
}

// blame is accuse of one message that stands there.
func (t *trunk) blame(k Kind, revision uint64, e *entry, detail string) {
	t.blamed[e] = true
	t.accuse(k, revision, revision, e.sequence, 0, detail)
}

// assemble puts an epoch together. Disguised are the links of messages that stand
// elsewhere, because what says where they belong was altered.
func (e *epoch) assemble(w registry.Writer, disguised map[stream.Link]bool) *trunk {
	t := &trunk{writer: w, epoch: e, pieces: e.runs[:1:1], blamed: map[*entry]bool{}, inserted: map[uint64]struct{}{}}
	if len(e.runs) > 1 {
		used := map[*run]bool{e.runs[0]: true}
		byRevision := slices.Clone(e.runs)
		slices.SortStableFunc(byRevision, func(a, b *run) int {
			return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(len(b.entries), len(a.entries)))
		})
		byPrevious := map[stream.Link][]*run{}
		for _, r := range byRevision {
			byPrevious[r.previous] = append(byPrevious[r.previous], r)
		}
		for {
			next := t.linked(byPrevious, used)
			if next == nil {
				if next = t.further(byRevision, used); next == nil {
					break
				}
				t.gap(next, byRevision, disguised)
			} else {
				t.order(next)
			}
			used[next] = true
			t.pieces = append(t.pieces, next)
		}
		for _, r := range e.runs {
			if !used[r] {
				t.left(r)
			}
		}
	}
	if e.chained {
		for _, p := range t.pieces {
			if p.entries[0].bare && !p.entries[0].faulty {
				t.accuse(Altered, p.from, p.until(), p.entries[0].sequence, p.last().sequence, "its digest is gone, though others of its epoch have one")
			}
		}
	}
	return t
}

// linked returns the longest run that follows the last message.
func (t *trunk) linked(byPrevious map[stream.Link][]*run, used map[*run]bool) (next *run) {
	last := t.last()
	if last.bare {
		return nil
	}
	for _, r := range byPrevious[last.link] {
		if !used[r] && r.from == t.until()+1 && !r.entries[0].bare && (next == nil || len(r.entries) > len(next.entries)) {
			next = r
		}
	}
	return next
}

// further returns the run that stands next, with whatever lies between.
func (t *trunk) further(byRevision []*run, used map[*run]bool) *run {
	until, last := t.until(), t.last().sequence
	n, _ := slices.BinarySearchFunc(byRevision, until+1, func(r *run, revision uint64) int { return cmp.Compare(r.from, revision) })
	for _, r := range byRevision[n:] {
		if !used[r] && r.entries[0].sequence > last {
			return r
		}
	}
	return nil
}

// gap says what is wrong between the last message and the next run, which does not name it.
func (t *trunk) gap(next *run, byRevision []*run, disguised map[stream.Link]bool) {
	last, first := t.last(), &next.entries[0]
	revision := t.until() + 1
	switch {
	case next.from > revision:
		if next.from != revision+1 || !disguised[next.previous] {
			t.accuse(Missing, revision, next.from-1, first.sequence, 0, "the message before this one is not the one with the revision before")
		}
	case t.suspect(last) || first.faulty || first.bare:
	case next.previous == (stream.Link{}):
		t.blame(Altered, next.from, first, "it names no message before it")
	case last.proven && first.proven:
		t.blamed[first] = true
		t.accuse(Fork, next.from, 0, first.sequence, 0, "it is signed, and so is the message before it, and it follows another one")
		t.faults[len(t.faults)-1].Other = last.sequence
	case first.proven:
		t.blame(Altered, revision-1, last, "the message after it followed another one")
	case last.proven || len(next.entries) == 1 && brokenBehind(next, byRevision):
		t.blame(Altered, next.from, first, "it does not follow the message before it")
	default:
		t.blame(Altered, revision-1, last, "the message after it followed another one")
	}
}

// brokenBehind reports whether what stands behind a single message does not follow it either.
func brokenBehind(single *run, byRevision []*run) bool {
	return slices.ContainsFunc(byRevision, func(r *run) bool {
		return r.from == single.from+1 && !r.entries[0].bare && r.previous != single.entries[0].link && r.entries[0].sequence > single.entries[0].sequence
	})
}

// order says what stands in the wrong place when a run that comes next was stored before
// what it follows: the fewer messages.
func (t *trunk) order(next *run) {
	piece := t.pieces[len(t.pieces)-1]
	if next.entries[0].sequence > piece.last().sequence {
		return
	}
	late, early := piece.after(next.entries[0].sequence), next.before(piece.last().sequence)
	if late <= early {
		from := piece.until() - uint64(late) + 1
		t.accuse(Reordered, from, piece.until(), piece.at(from).sequence, piece.last().sequence, "it stands behind messages that were written after it")
		return
	}
	until := next.from + uint64(early) - 1
	t.accuse(Reordered, next.from, until, next.entries[0].sequence, next.at(until).sequence, "it stands before messages that were written before it")
}

// left judges a run that has no place in the history.
func (t *trunk) left(r *run) {
	first, last := &r.entries[0], r.last()
	before := (*entry)(nil)
	if r.from > 0 {
		before = t.at(r.from - 1)
	}
	there := t.at(r.from)
	switch start := t.pieces[0]; {
	case r.until()+1 == start.from && (last.link == start.previous && !last.bare || last.bare && start.entries[0].bare):
		if t.epoch.again[start.entries[0].link] { // what had aged out was sent again, with what follows it
			t.repeated += len(r.entries)
			return
		}
		t.accuse(Reordered, r.from, r.until(), first.sequence, last.sequence, "it stands behind messages that were written after it")
		return
	case first.faulty:
		if there != nil {
			for _, e := range r.entries {
				t.inserted[e.sequence] = struct{}{}
			}
		}
		return
	case !first.bare && (first.proven || before != nil && !before.bare && before.link == r.previous):
		t.accuse(Fork, r.from, r.until(), first.sequence, last.sequence, "another message with this revision follows the same one")
	default:
		t.accuse(Inserted, r.from, r.until(), first.sequence, last.sequence, "it follows no message of its epoch")
	}
	if there != nil {
		t.faults[len(t.faults)-1].Other = there.sequence
	}
}
