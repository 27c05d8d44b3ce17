package chain

import (
	"cmp"
	"maps"
	"slices"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
)

// maxOwn bounds the faults of single messages that are kept of one writer.
const maxOwn = 100_000

// writer is what was seen of one writer.
type writer struct {
	told      WriterReport
	epochs    map[uint64]*epoch
	newest    uint64
	subjects  map[string]latest      // by epoch and revision
	links     map[stream.Link]uint64 // of _operator: where each message stands first
	disguised map[stream.Link]bool   // what altered messages claim to be, of all writers
	keys      map[string]bool
	own       []Fault // of single messages
	more      int     // of these, not kept
}

// latest is the last message of a subject.
type latest struct {
	epoch, revision uint64
	link            stream.Link
}

func newWriter(name registry.Writer, disguised map[stream.Link]bool) *writer {
	return &writer{
		told: WriterReport{Writer: name}, epochs: map[uint64]*epoch{}, subjects: map[string]latest{},
		links: map[stream.Link]uint64{}, disguised: disguised, keys: map[string]bool{},
	}
}

// add takes the next message of the writer, and returns what is wrong with it by itself.
func (w *writer) add(x *examined) *Fault {
	head := Head{Writer: w.told.Writer, Epoch: x.epoch, Revision: x.revision, Link: x.link, Sequence: x.sequence, Stored: x.stored}
	if w.told.Messages++; w.told.Messages == 1 {
		w.told.First = head
	}
	switch {
	case x.key != "":
		w.told.Signed++
		w.keys[x.key] = true
	default:
		w.told.Unsigned++
	}
	if x.bare {
		w.told.Unchained++
	}
	if w.told.Writer == registry.Operator {
		w.addOrder(x, head)
	} else {
		w.addToEpoch(x, head)
	}
	w.accept(x)
	return x.fault
}

// accept keeps what is wrong with a message.
func (w *writer) accept(x *examined) {
	if x.fault == nil {
		return
	}
	w.keep(*x.fault)
	if x.fault.Kind == Altered && len(w.disguised) < maxOwn {
		w.disguised[x.link] = true
	}
}

// addToEpoch places a message in its epoch.
func (w *writer) addToEpoch(x *examined, head Head) {
	if x.epoch == 0 || x.revision == 0 {
		if x.fault == nil {
			x.fail(Inserted, "it names no epoch or no revision")
		}
		return
	}
	e := w.epochs[x.epoch]
	if e == nil {
		e = newEpoch(x.epoch)
		w.epochs[x.epoch] = e
	}
	if repeats := e.add(x); repeats != nil {
		switch {
		case x.fault != nil && x.fault.Kind == Altered && !repeats.faulty:
			x.fail(Inserted, "it claims to be a message that stands there already")
			x.fault.Other = repeats.sequence
		case x.fault != nil:
		case w.subjects[x.subject].link != x.link || w.newest > x.epoch:
			x.fail(Inserted, "it is there already, and others were stored since that it would undo")
			x.fault.Other = repeats.sequence
		default:
			w.told.Repeated++
		}
		return
	}
	if x.fault != nil {
		return
	}
	if last := w.subjects[x.subject]; x.epoch > last.epoch || x.epoch == last.epoch && x.revision > last.revision {
		w.subjects[x.subject] = latest{x.epoch, x.revision, x.link}
	}
	if x.epoch >= w.newest {
		w.newest, w.told.Last = x.epoch, head
	}
}

// addOrder takes a message of the operator: it stands for itself.
func (w *writer) addOrder(x *examined, head Head) {
	if x.fault == nil {
		w.told.Last = head
	}
	if x.fills() {
		return
	}
	if at, known := w.links[x.link]; known && x.fault == nil {
		if w.subjects[x.subject].link == x.link {
			w.told.Repeated++
			return
		}
		x.fail(Inserted, "it is there already, and others were stored since that it would undo")
		x.fault.Other = at
		return
	}
	w.links[x.link], w.subjects[x.subject] = x.sequence, latest{link: x.link}
}

// keep notes a fault of one message; neighbours that lack the same become one.
func (w *writer) keep(f Fault) {
	if n := len(w.own); n > 0 && f.Kind != Altered && f.Epoch != 0 {
		before := &w.own[n-1]
		if before.Kind == f.Kind && before.Epoch == f.Epoch && before.Detail == f.Detail && f.Revision == max(before.Until, before.Revision)+1 && f.Other == 0 {
			before.Until, before.Last = f.Revision, f.Sequence
			return
		}
	}
	if len(w.own) < maxOwn {
		w.own = append(w.own, f)
	} else {
		w.more++
	}
}

// judged is a writer's history, put together.
type judged struct {
	told   WriterReport
	faults []Fault
	more   int
	trunks []*trunk // by epoch
}

// judge puts the writer's epochs together.
func (w *writer) judge(known gone) judged {
	j := judged{told: w.told, more: w.more}
	inserted := map[uint64]struct{}{}
	var hollow []uint64
	for _, number := range slices.Sorted(maps.Keys(w.epochs)) {
		e := w.epochs[number]
		t := e.assemble(w.told.Writer, w.disguised)
		maps.Copy(inserted, t.inserted)
		j.told.Repeated += uint64(t.repeated)
		j.told.Chained = j.told.Chained || e.chained
		if t.hollow() && len(w.epochs) > 1 {
			hollow = append(hollow, number)
			continue // perhaps an epoch that an altered header made
		}
		j.trunks = append(j.trunks, t)
	}
	for _, f := range w.own {
		if _, yes := inserted[f.Sequence]; yes && f.Kind == Altered {
			f.Kind, f.Detail = Inserted, f.Detail+"; another message has its place"
		}
		j.faults = append(j.faults, f)
	}
	j.trunks = w.joinEpochs(j.trunks, hollow, known)
	for _, t := range j.trunks {
		j.faults = append(j.faults, t.faults...)
	}
	if len(known) > 0 {
		j.forgive(known)
	}
	j.told.Epochs = len(j.trunks)
	if len(j.trunks) > 0 {
		first := j.trunks[0]
		j.told.AgedOut = first.from() > 1
	}
	j.told.Keys = slices.Sorted(maps.Keys(w.keys))
	for _, f := range j.faults {
		if j.told.ByKind == nil {
			j.told.ByKind = map[Kind]int{}
		}
		j.told.ByKind[f.Kind]++
	}
	slices.SortStableFunc(j.faults, bySequence)
	return j
}

// forgive takes back that messages are missing where all of them may have stood in a
// range that is known to be gone; and that they stand too late, where those were sent again.
func (j *judged) forgive(known gone) {
	j.faults = slices.DeleteFunc(j.faults, func(f Fault) bool {
		switch f.Kind {
		case Missing:
			return known.between(j.lastBefore(f.Epoch, f.Revision), f.Sequence) > max(f.Until, f.Revision)-f.Revision
		case Reordered:
			n := slices.IndexFunc(j.trunks, func(t *trunk) bool { return t.epoch.number == f.Epoch })
			return n >= 0 && j.trunks[n].sentAgain(f, known)
		}
		return false
	})
}

// lastBefore returns the sequence of the last message that was written before a revision of
// an epoch; 0: none is there.
func (j *judged) lastBefore(number, revision uint64) uint64 {
	for _, t := range slices.Backward(j.trunks) {
		if t.epoch.number > number {
			continue
		}
		for _, p := range slices.Backward(t.pieces) {
			switch {
			case t.epoch.number < number || p.until() < revision:
				return p.last().sequence
			case p.from < revision:
				return p.at(revision - 1).sequence
			}
		}
	}
	return 0
}

// sentAgain reports whether what stands behind messages that were written after it can have
// stood before them too, among what is known to be gone.
func (t *trunk) sentAgain(f Fault, known gone) bool {
	early := t.at(max(f.Until, f.Revision) + 1)
	revision := max(f.Until, f.Revision) + 1
	if early == nil || early.sequence > f.Sequence { // the others are fewer, and were told
		early, revision = t.at(f.Revision), f.Revision
	}
	if early == nil {
		return false
	}
	before, late := uint64(0), uint64(0)
	for _, p := range t.pieces {
		for n, e := range p.entries {
			switch {
			case p.from+uint64(n) >= revision:
			case e.sequence > early.sequence:
				late++
			default:
				before = max(before, e.sequence)
			}
		}
	}
	return late > 0 && known.between(before, early.sequence) >= late
}

// gone are ranges of sequences that are known to be gone, ascending.
type gone [][2]uint64

// between counts the sequences that are known to be gone between two messages.
func (g gone) between(before, behind uint64) (count uint64) {
	for _, k := range g {
		if k[0] > before && k[1] < behind {
			count += k[1] - k[0] + 1
		}
	}
	return count
}

func bySequence(a, b Fault) int { return cmp.Compare(a.Sequence, b.Sequence) }

// hollow reports whether every message of an epoch has a fault of its own.
func (t *trunk) hollow() bool {
	for _, p := range t.pieces {
		if slices.ContainsFunc(p.entries, func(e entry) bool { return !e.faulty }) {
			return false
		}
	}
	return true
}

// joinEpochs holds the epochs to what each says of those before it. It returns those that
// are the writer's history. Hollow are epochs of which every message is faulty, known the
// sequences that are known to be gone.
func (w *writer) joinEpochs(all []*trunk, hollow []uint64, known gone) []*trunk {
	var kept []*trunk
	var strays []*trunk // no part of the history, but their faults are
	for _, next := range all {
		if len(kept) == 0 {
			kept = append(kept, next)
			continue
		}
		before := kept[len(kept)-1]
		began := next.first().sequence
		late := 0
		for _, p := range before.pieces {
			late += p.after(began)
		}
		if late > 0 && (next.from() != 1 || next.size() < late) {
			next.faults = nil
			next.accuse(Inserted, next.from(), next.until(), began, next.last().sequence, "the epoch before it goes on behind it")
			strays = append(strays, next)
			continue
		}
		if next.from() != 1 && (next.from() != 2 || !w.disguised[next.pieces[0].previous]) {
			next.accuse(Missing, 1, next.from()-1, began, 0, "the beginning of its epoch is gone, though the epoch before it is there")
		}
		if late > 0 {
			before.behind(began, next.epoch)
		}
		w.checkJoin(kept, next)
		if !slices.ContainsFunc(hollow, func(n uint64) bool { return before.epoch.number < n && n < next.epoch.number }) {
			w.checkRecord(kept, next, known)
		}
		kept = append(kept, next)
	}
	for _, s := range strays {
		kept[0].faults = append(kept[0].faults, s.faults...)
	}
	return kept
}

// behind judges the messages of an epoch that stand behind the beginning of the next one.
func (t *trunk) behind(began uint64, next *epoch) {
	for _, p := range t.pieces {
		n := p.after(began)
		if n == 0 {
			continue
		}
		from := p.until() - uint64(n) + 1
		kind, detail := Inserted, "a later epoch had begun, and had ended this one before it"
		if next.joins == nil || next.joins.Epoch != t.epoch.number || p.until() <= next.joins.Revision {
			kind, detail = Reordered, "it stands behind the beginning of a later epoch"
		}
		t.accuse(kind, from, p.until(), p.at(from).sequence, p.last().sequence, detail)
	}
}

// checkJoin holds the end of an epoch to what the second message of a later one says of it.
func (w *writer) checkJoin(before []*trunk, next *trunk) {
	j := next.epoch.joins
	if j == nil {
		return
	}
	began := next.first().sequence
	n, found := slices.BinarySearchFunc(before, j.Epoch, func(t *trunk, e uint64) int { return cmp.Compare(t.epoch.number, e) })
	switch {
	case !found && n == 0: // aged out
		return
	case !found:
		next.faults = append(next.faults, Fault{
			Kind: Missing, Writer: w.told.Writer, Epoch: j.Epoch, Revision: 1, Until: j.Revision, Sequence: began, Detail: "an epoch is gone that a later one names",
		})
		next.lacks = true
		return
	}
	t := before[n]
	e := t.at(j.Revision)
	switch {
	case e == nil && j.Revision > t.until():
		if j.Revision != t.until()+1 || !w.disguised[j.Link] {
			t.accuse(Missing, t.until()+1, j.Revision, began, 0, "the end of its epoch is gone: the epoch after it names this revision")
		}
		return
	case e == nil:
		return
	case e.link != j.Link && !t.suspect(e):
		second := next.at(2)
		if e.proven && second != nil && second.proven {
			t.blame(Fork, j.Revision, e, "the epoch after it names another message with this revision")
		} else {
			t.blame(Altered, j.Revision, e, "the epoch after it names another message with this revision")
		}
	}
	if from := t.lastBut(j.Revision, began); from > j.Revision {
		t.accuse(Inserted, from, 0, t.at(from).sequence, 0, "the epoch after it names the message before it as the last one")
	}
}

// lastBut returns the revision of the last message that is no epoch record and stands
// before a sequence; 0 when there is none behind a revision.
func (t *trunk) lastBut(revision, sequence uint64) uint64 {
	for _, p := range slices.Backward(t.pieces) {
		for n, e := range slices.Backward(p.entries) {
			at := p.from + uint64(n)
			if at <= revision {
				return 0
			}
			if !e.record && e.sequence < sequence && !t.suspect(&p.entries[n]) {
				return at
			}
		}
	}
	return 0
}

// checkRecord holds the epoch record before an epoch to what its first one says of it.
func (w *writer) checkRecord(before []*trunk, next *trunk, known gone) {
	names := next.pieces[0].previous
	if next.from() != 1 || names == (stream.Link{}) || next.suspect(next.first()) || w.disguised[names] || next.lacks {
		return
	}
	for _, t := range slices.Backward(before) {
		if t.lacks {
			return // it may be among what is missing
		}
		revision, e := t.lastRecord()
		switch {
		case e == nil && t.from() == 1:
			continue
		case e == nil || e.link == names || t.suspect(e): // aged out, or as it should be
		case known.between(e.sequence, next.first().sequence) > 0: // the one that it names stood there
		case e.proven || revision < t.until():
			next.accuse(Missing, 0, 0, next.first().sequence, 0, "it names an epoch record before it that is gone")
			next.faults[len(next.faults)-1].Epoch = t.epoch.number
			next.faults[len(next.faults)-1].Revision = t.until() + 1
		default:
			t.blame(Altered, revision, e, "the epoch record after it follows another one")
		}
		return
	}
}

// lastRecord returns the last epoch record of an epoch; nil when there is none.
func (t *trunk) lastRecord() (uint64, *entry) {
	for _, p := range slices.Backward(t.pieces) {
		for n, e := range slices.Backward(p.entries) {
			if e.record {
				return p.from + uint64(n), &p.entries[n]
			}
		}
	}
	return 0, nil
}
