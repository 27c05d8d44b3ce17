package audit

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// How a history without its beginning can still be exact.
//
// Every writer publishes all it owns again once a day, and then a mark: so many services,
// with this digest. Where the fold of a part of the history comes to the same count and
// digest at the mark, the part holds all that this cluster had there, and from then on
// too: whatever came later is in it. So a part of two days mostly proves itself, and it
// does not matter what is gone.
//
// The observer's states, and the orders and the zone of the operator, have no mark. They
// are repeated once a day by the observer in office (the zone by every reader). A part in
// which one observer was in office a day after its beginning holds them all.

const (
	repeatEvery = 24 * time.Hour   // writers publish what is older again
	repeatTime  = 10 * time.Minute // and may take so long for it
	proofSpan   = repeatEvery + 2*time.Hour
)

// witness looks at a part of a history, in order, and finds out from where on the fold
// of that part is exact.
type witness struct {
	f        *folding
	begin    time.Time // of the part; zero until its first message
	clusters map[registry.ClusterID]*testimony
	offices  map[uint64]time.Time // the observer's first message of each epoch
	observed uint64               // from this sequence on states, orders and the zone are complete; 0: not known
	partial  bool                 // it is shown the messages of some writers only
}

// testimony is what a part says of its own completeness about one cluster.
type testimony struct {
	proven uint64 // from this sequence on; 0: not yet
	marks  int    // that the fold did not come to
}

func newWitness(f *folding) *witness {
	return &witness{f: f, clusters: map[registry.ClusterID]*testimony{}, offices: map[uint64]time.Time{}}
}

// take applies the next message. It reports whether it may have proven something.
func (w *witness) take(m registry.Message) (proved bool) {
	if w.begin.IsZero() {
		w.begin = m.Stored
	}
	out := w.f.take(m)
	if m.Fact.Writer == registry.Observer && m.Refused == nil && out.Result != registry.Quarantined {
		return w.observe(m)
	}
	id, own := m.Fact.Writer.Cluster()
	if !own {
		return false
	}
	t := w.clusters[id]
	if t == nil {
		t = &testimony{}
		w.clusters[id] = t
		if !w.partial && begins(m) && w.f.fold.View().State(id) == nil {
			t.proven = m.Sequence
			return true
		}
	}
	if t.proven > 0 || m.Fact.Kind != registry.KindSnapshot || out.Result != registry.Applied {
		return false
	}
	c := w.f.fold.View().Cluster(id)
	mark := m.Event.Snapshot
	if c == nil || c.EpochSequence == 0 || c.Services != mark.Keys || c.Digest != mark.Digest {
		t.marks++
		return false
	}
	t.proven = m.Sequence
	return true
}

// begins reports whether a message is the very first one of its writer.
func begins(m registry.Message) bool {
	return m.Refused == nil && m.Fact.Kind == registry.KindEpoch && m.Revision == 1 &&
		m.Event.Cause == registry.CauseChange && len(m.Event.Takeover.Fences) == 0
}

// observe takes a message of the observer. Whoever was in office for a while has by now
// repeated all that is a day old.
func (w *witness) observe(m registry.Message) bool {
	since, known := w.offices[m.Epoch]
	if !known {
		w.offices[m.Epoch], since = m.Stored, m.Stored
	}
	if w.observed > 0 || m.Stored.Sub(since) < repeatTime || m.Stored.Sub(w.begin) < repeatEvery+repeatTime {
		return false
	}
	w.observed = m.Sequence
	return true
}

// missing returns the clusters that are not proven, of those that have a part in the
// View. One that is gone has none, as long as the observer says so.
func (w *witness) missing() (ids []registry.ClusterID) {
	v := w.f.fold.View()
	known := map[registry.ClusterID]bool{}
	for id := range w.clusters {
		known[id] = true
	}
	for _, s := range v.States() {
		known[s.Cluster] = true
	}
	for id := range known {
		if s := v.State(id); s != nil && s.State == registry.Gone {
			continue
		}
		if t := w.clusters[id]; t == nil || t.proven == 0 {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// complete reports whether the fold is exact now.
func (w *witness) complete() bool { return w.observed > 0 && len(w.missing()) == 0 }

// read takes in a part of the history.
func (w *witness) read(ctx context.Context, h History, r Range) error {
	for message, err := range decode(ctx, func(ctx context.Context) iter.Seq2[registry.Stored, error] { return h.Read(ctx, r) }) {
		if err != nil {
			return fmt.Errorf("the registry at #%d: %w", w.f.to, err)
		}
		w.take(message)
	}
	return nil
}
