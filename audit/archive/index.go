package archive

import (
	"encoding/binary"
	"maps"
	"slices"
	"sort"
	"strings"

	"github.com/seamark-mesh/seamark/audit"
)

// place is where a block stands, and what it holds.
type place struct {
	offset          int64 // in the file; less than 0: it can't be read
	size            int64
	first, last     uint64
	least, greatest int64
	count           uint32
}

// index tells where in a file the messages are. It is never changed once it is made.
type index struct {
	places   []place
	subjects []string // sorted
	postings [][]byte // of each subject, the sequences of its messages: uvarint steps
	begin    int64    // time of the first message
	end      int64    // of the last
	count    uint64
	raw      int64 // bytes of what the blocks hold
	gaps     []Gap // between the messages
	size     int64 // roughly the bytes of memory it takes
}

// indexer makes an index of blocks as they come.
type indexer struct {
	index
	lists map[string]*posting
	spot  entry // the last message; sequence 0: there is none, or what follows it is unknown
}

type posting struct {
	last  uint64
	steps []byte
}

// maxGaps bounds the gaps that are listed of one segment. Further ones widen the last.
const maxGaps = 1000

func newIndexer() *indexer { return &indexer{lists: map[string]*posting{}} }

// torn tells that blocks before the next one can't be read: what lies between is no
// gap but a place without an offset; in a file that is written, a gap for this reason.
func (x *indexer) torn(next head, written bool) {
	before := x.spot
	if before.sequence == 0 || next.first <= before.sequence+1 {
		return
	}
	if written {
		x.gaps = addGap(x.gaps, Gap{First: before.sequence + 1, Last: next.first - 1, Before: moment(before.time), After: moment(next.least), Damaged: true})
	} else {
		x.places = append(x.places, place{offset: -1, first: before.sequence + 1, last: next.first - 1, least: before.time, greatest: max(before.time, next.least)})
	}
	x.spot.sequence = 0
}

// add takes one block in.
func (x *indexer) add(h head, m meta, offset int64) {
	x.places = append(x.places, place{offset: offset, size: h.size(), first: h.first, last: h.last, least: h.least, greatest: h.greatest, count: h.count})
	for _, e := range m.entries {
		if x.count == 0 {
			x.begin = e.time
		}
		if before := x.spot.sequence; before != 0 && e.sequence > before+1 {
			x.gaps = addGap(x.gaps, Gap{First: before + 1, Last: e.sequence - 1, Before: moment(x.spot.time), After: moment(e.time)})
		}
		x.spot, x.end = e, e.time
		x.count++
		subject := m.subjects[e.subject]
		p := x.lists[subject]
		if p == nil {
			p = &posting{}
			x.lists[strings.Clone(subject)] = p
		}
		p.steps = binary.AppendUvarint(p.steps, e.sequence-p.last)
		p.last = e.sequence
	}
	x.raw += int64(h.dataRaw) + int64(h.metaRaw)
}

// addGap lists a gap; where there are too many already the last one is widened.
func addGap(gaps []Gap, g Gap) []Gap {
	if len(gaps) < maxGaps {
		return append(gaps, g)
	}
	gaps = slices.Clone(gaps)
	last := &gaps[len(gaps)-1]
	last.Last, last.After = g.Last, g.After
	return gaps
}

// done returns the index so far. More blocks may be added afterwards.
func (x *indexer) done() *index {
	out := x.index
	out.places, out.gaps = slices.Clone(x.places), slices.Clone(x.gaps)
	out.subjects = slices.Sorted(maps.Keys(x.lists))
	out.postings = make([][]byte, len(out.subjects))
	for n, subject := range out.subjects {
		p := x.lists[subject].steps
		out.postings[n] = slices.Clip(p)
	}
	out.weigh()
	return &out
}

func (x *index) weigh() {
	x.size = int64(len(x.places)*64 + len(x.gaps)*80)
	for n, subject := range x.subjects {
		x.size += int64(len(subject)+len(x.postings[n])) + 40
	}
}

// pack writes the places and postings.
func (x *index) pack() []byte {
	out := binary.AppendUvarint(nil, uint64(len(x.places)))
	var before place
	for _, p := range x.places {
		out = binary.AppendVarint(out, p.offset-before.offset)
		out = binary.AppendUvarint(out, uint64(p.size))
		out = binary.AppendUvarint(out, p.first-before.last)
		out = binary.AppendUvarint(out, p.last-p.first)
		out = binary.AppendVarint(out, p.least-before.greatest)
		out = binary.AppendUvarint(out, uint64(p.greatest-p.least))
		out = binary.AppendUvarint(out, uint64(p.count))
		before = p
	}
	out = binary.AppendUvarint(out, uint64(len(x.subjects)))
	last := ""
	for n, subject := range x.subjects {
		shared := 0
		for shared < min(len(last), len(subject)) && last[shared] == subject[shared] {
			shared++
		}
		out = binary.AppendUvarint(out, uint64(shared))
		out = appendText(out, subject[shared:])
		out = binary.AppendUvarint(out, uint64(len(x.postings[n])))
		out = append(out, x.postings[n]...)
		last = subject
	}
	return out
}

// parseIndex reads what pack wrote; end is where the blocks end in the file.
func parseIndex(raw []byte, end int64) (*index, error) {
	in := &cursor{rest: raw}
	x := &index{}
	var before place
	number := in.uvarint()
	for n := uint64(0); n < number && !in.failed; n++ {
		p := place{offset: before.offset + in.varint(), size: int64(in.uvarint())}
		p.first = before.last + in.uvarint()
		p.last = p.first + in.uvarint()
		p.least = before.greatest + in.varint()
		p.greatest = p.least + int64(in.uvarint())
		p.count = uint32(in.uvarint())
		if p.offset < 0 || p.size < int64(headSize) || p.size > end || p.offset > end-p.size || p.first <= before.last || p.last < p.first || p.greatest < p.least {
			return nil, damaged("the index has impossible numbers")
		}
		x.places = append(x.places, p)
		before = p
	}
	number = in.uvarint()
	var names []byte
	var ends []int
	begin := 0
	for n := uint64(0); n < number && !in.failed; n++ {
		shared := in.uvarint()
		if shared > uint64(len(names)-begin) {
			return nil, damaged("the index's subjects can't be read")
		}
		next := len(names)
		names = append(names, names[begin:begin+int(shared)]...)
		names = append(names, in.text()...)
		begin = next
		if len(names) > maxBlockRaw {
			return nil, damaged("the index's subjects are too long")
		}
		ends = append(ends, len(names))
		x.postings = append(x.postings, in.text())
	}
	if in.failed || len(in.rest) > 0 {
		return nil, damaged("the index is cut off")
	}
	all, begin := string(names), 0
	for _, end := range ends {
		x.subjects = append(x.subjects, all[begin:end])
		begin = end
	}
	if !slices.IsSorted(x.subjects) {
		return nil, damaged("the index's subjects are not sorted")
	}
	x.weigh()
	return x, nil
}

// chosen calls each with the number of every subject that a filter matches.
func (x *index) chosen(f audit.Filter, each func(n int)) {
	if literals, plain := f.Literals(); plain {
		for _, subject := range literals {
			if n, found := slices.BinarySearch(x.subjects, subject); found {
				each(n)
			}
		}
		return
	}
	for n, subject := range x.subjects {
		if f.Match(subject) {
			each(n)
		}
	}
}

// sequences calls each with the sequences of one subject, ascending, until it returns false.
func (x *index) sequences(n int, each func(sequence uint64) bool) {
	sequence := uint64(0)
	for rest := x.postings[n]; len(rest) > 0; {
		step, length := binary.Uvarint(rest)
		if length <= 0 {
			return
		}
		rest = rest[length:]
		if sequence += step; !each(sequence) {
			return
		}
	}
}

// at returns the number of the place that holds a sequence, or the first one behind it.
func (x *index) at(sequence uint64) int {
	return sort.Search(len(x.places), func(n int) bool { return x.places[n].last >= sequence })
}

// wanted returns which places may hold messages that match, between two sequences. What
// can't be read may hold any.
func (x *index) wanted(f audit.Filter, from, to uint64) []bool {
	out := make([]bool, len(x.places))
	low := x.at(from)
	if f.All() {
		for n := low; n < len(out) && x.places[n].first <= to; n++ {
			out[n] = true
		}
		return out
	}
	for n := low; n < len(out) && x.places[n].first <= to; n++ {
		out[n] = x.places[n].offset < 0
	}
	x.chosen(f, func(subject int) {
		n := low
		x.sequences(subject, func(sequence uint64) bool {
			if sequence > to {
				return false
			}
			for n < len(x.places) && x.places[n].last < sequence {
				n++
			}
			if sequence >= from && n < len(out) && sequence >= x.places[n].first {
				out[n] = true
			}
			return true
		})
	})
	return out
}
