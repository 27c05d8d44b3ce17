package chain

import (
	"cmp"
	"slices"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
)

// entry is one message in its place.
type entry struct {
	link     stream.Link
	sequence uint64
	bare     bool // no headers of a chain
	proven   bool // its signature is good
	faulty   bool // it has a fault of its own
	record   bool // of an epoch
}

// run is messages of one epoch with consecutive revisions, each naming the one before it,
// as they came. A history without a fault is one run in each epoch.
type run struct {
	from     uint64      // the revision of the first
	previous stream.Link // that the first one names; zero: none
	entries  []entry     // never empty; sequences ascend
}

func (r *run) last() *entry        { return &r.entries[len(r.entries)-1] }
func (r *run) until() uint64       { return r.from + uint64(len(r.entries)) - 1 }
func (r *run) at(n uint64) *entry  { return &r.entries[n-r.from] }
func (r *run) has(n uint64) bool   { return r.from <= n && n <= r.until() }
func (r *run) after(s uint64) int  { return len(r.entries) - r.index(s+1) } // entries behind a sequence
func (r *run) before(s uint64) int { return r.index(s) }                    // entries before a sequence

func (r *run) index(sequence uint64) int {
	n, _ := slices.BinarySearchFunc(r.entries, sequence, func(e entry, s uint64) int { return cmp.Compare(e.sequence, s) })
	return n
}

// epoch is all that one writer's epoch left in the history.
type epoch struct {
	number  uint64
	runs    []*run // in the order in which they began
	tails   map[stream.Link]*run
	current *run   // that was added to last
	highest uint64 // revision
	chained bool
	joins   *stream.Join // of its second message

	// again holds the sequences of messages that repeat the first one of a run: what
	// stands before them in the chain, and was stored late, was sent again with it.
	again map[stream.Link]bool
}

func newEpoch(number uint64) *epoch {
	return &epoch{number: number, tails: map[stream.Link]*run{}, again: map[stream.Link]bool{}}
}

// add puts a message behind the one that it names, or begins a run with it; or returns
// the message that it repeats.
func (e *epoch) add(x *examined) (repeats *entry) {
	if !x.bare {
		e.chained = true
	}
	if x.revision == 2 && x.joins != nil && x.fault == nil {
		e.joins = x.joins
	}
	one := entry{
		link: x.link, sequence: x.sequence, bare: x.bare, proven: x.key != "",
		faulty: x.fault != nil, record: x.fact.Kind == registry.KindEpoch,
	}
	r := e.current
	if x.revision <= e.highest || r == nil || !follows(r, x) {
		if known := e.find(x.revision, x.link); known != nil {
			return known
		}
		r = e.runBefore(x)
	}
	if r == nil {
		r = &run{from: x.revision, previous: x.previous}
		e.runs = append(e.runs, r)
	} else {
		delete(e.tails, r.last().link)
	}
	r.entries = append(r.entries, one)
	e.tails[one.link], e.current, e.highest = r, r, max(e.highest, x.revision)
	return nil
}

// follows reports whether a message is the next one of a run.
func follows(r *run, x *examined) bool {
	last := r.last()
	return r.until()+1 == x.revision && (last.link == x.previous && !x.bare || last.bare && x.bare)
}

// runBefore returns the run that a message goes on with; nil when there is none.
func (e *epoch) runBefore(x *examined) *run {
	if !x.bare {
		if r := e.tails[x.previous]; r != nil && follows(r, x) {
			return r
		}
		return nil
	}
	for _, r := range e.runs {
		if follows(r, x) {
			return r
		}
	}
	return nil
}

// find returns the message with a revision and link, if it is there.
func (e *epoch) find(revision uint64, l stream.Link) *entry {
	for _, r := range e.runs {
		if r.has(revision) && r.at(revision).link == l {
			if revision == r.from {
				e.again[l] = true
			}
			return r.at(revision)
		}
	}
	return nil
}
