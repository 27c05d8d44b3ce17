package registry

import (
	"cmp"
	"slices"
)

// trail remembers, by epoch, what a writer's messages said so far. It answers two
// questions that the order of arrival must not decide: how far an epoch had
// counted before its record was read, and whether something was applied that a
// fence, read only now, makes void.
type trail struct {
	spans []span // ascending by epoch, at most maxSpans
}

type span struct {
	epoch    uint64
	revision uint64 // the highest seen
	applied  uint64 // the latest sequence that became a state
}

// maxSpans bounds a trail. Beyond it the two oldest epochs become one, which can
// only cause a needless look for void states.
const maxSpans = 2 * MaxFences

// at returns the span of an epoch for writing, valid until the next call.
func (t *trail) at(epoch uint64) *span {
	n, found := slices.BinarySearchFunc(t.spans, epoch, func(s span, epoch uint64) int { return cmp.Compare(s.epoch, epoch) })
	if !found {
		t.spans = slices.Insert(t.spans, n, span{epoch: epoch})
		if len(t.spans) > maxSpans {
			first, second := t.spans[0], &t.spans[1]
			second.epoch, second.applied = first.epoch, max(first.applied, second.applied)
			t.spans = slices.Delete(t.spans, 0, 1)
			n = max(n-1, 0)
		}
	}
	return &t.spans[n]
}

// crossed reports whether something may have been applied that is void behind one
// of the fences. It forgets it: the caller looks once.
func (t *trail) crossed(fences []Fence) (crossed bool) {
	for n := range t.spans {
		s := &t.spans[n]
		for _, f := range fences {
			if f.Epoch > s.epoch && s.applied > f.Sequence {
				s.applied, crossed = f.Sequence, true
			}
		}
	}
	return crossed
}

// count follows the writer's revisions and reports whether one is missing. Only an
// epoch's own record moves the epoch on.
func (c *ClusterState) count(m Message, t *trail) (gap bool) {
	if m.Refused != nil && m.Refused.Reason == ReasonEpoch {
		return false
	}
	s := t.at(m.Epoch)
	s.revision = max(s.revision, m.Revision)
	switch {
	case m.Refused == nil && m.Fact.Kind == KindEpoch && m.Epoch > c.Epoch:
		c.Epoch, c.Revision = m.Epoch, s.revision
		return m.Revision > 1
	case m.Epoch == c.Epoch && m.Revision > c.Revision:
		gap = m.Revision > c.Revision+1
		c.Revision = m.Revision
	}
	return gap
}

// fenced reports whether a later epoch had begun before a message was stored.
func (c *ClusterState) fenced(epoch, sequence uint64) bool {
	for _, f := range c.Fences {
		if f.Epoch > epoch && sequence > f.Sequence {
			return true
		}
	}
	return false
}

// mergeFences adds the fences that an epoch record names, and the record itself
// when it is the first of its epoch. One that stands behind a later epoch's makes
// nothing void that this does not, and is left out: sequences ascend with epochs.
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
	slices.SortFunc(fences, func(a, b Fence) int { return cmp.Compare(b.Epoch, a.Epoch) })
	ascending := fences[:0]
	for _, f := range fences {
		if n := len(ascending); n == 0 || f.Sequence < ascending[n-1].Sequence {
			ascending = append(ascending, f)
		}
	}
	ascending = ascending[:min(len(ascending), MaxFences)]
	slices.Reverse(ascending)
	return ascending
}

// fence takes in what an epoch record, first or repeated, says of epochs, and
// withdraws what was applied although it stands behind one of the fences. That
// happens to a reader that met the last message of each fact before the record.
func (f *Fold) fence(c *ClusterState, m Message, t *trail) {
	c.Fences = mergeFences(c.Fences, m)
	if !t.crossed(c.Fences) {
		return
	}
	for fact, at := range f.facts {
		if fact.Writer == m.Fact.Writer && c.fenced(at.epoch, at.sequence) {
			f.withdraw(c, fact)
			f.void(fact, at.sequence)
		}
	}
	if _, own := m.Fact.Writer.Cluster(); !own {
		return
	}
	var void []Record
	var keys []ServiceKey
	for _, name := range f.names.freeze().all() {
		for _, e := range name.Entries {
			if r := e.find(c.ID); r != nil && c.fenced(r.Epoch, r.Sequence) {
				void, keys = append(void, *r), append(keys, e.Key)
			}
		}
	}
	for n, key := range keys {
		f.replace(c, key, nil, false)
		f.void(Fact{Writer: m.Fact.Writer, Kind: KindService, Service: key}, void[n].Sequence)
	}
}

// withdraw takes back a state of the cluster that is no service.
func (f *Fold) withdraw(c *ClusterState, fact Fact) {
	f.forget(fact)
	switch fact.Kind {
	case KindCluster:
		c.Digest = c.Digest.XOR(c.Record.Digest())
		c.Record, c.RecordSequence = nil, 0
		f.changes.cluster(c.ID)
	case KindEpoch:
		c.EpochSequence = 0
	case KindSnapshot:
		c.Snapshot, c.SnapshotAt = nil, Stamp{}
	case KindState:
		f.setState(ClusterID(fact.Name), nil)
	}
}

// void notes that the state of a fact was taken back.
func (f *Fold) void(fact Fact, sequence uint64) {
	f.setQuarantine(fact, sequence)
	f.voided = append(f.voided, fact)
	f.past.hole(sequence, f.past.latest)
}

// Voided returns the facts whose state was taken back since the last call: an
// epoch's record, read late, shows that their latest message was stored by a
// writer that had lost its epoch. What stood before can be had by applying the
// earlier messages of these facts in order, as after [Quarantined]. A fold that
// reads the whole history in order never has any.
func (f *Fold) Voided() []Fact {
	voided := f.voided
	f.voided = nil
	return voided
}
