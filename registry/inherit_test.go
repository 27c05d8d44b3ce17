package registry_test

import (
	"bytes"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/seamark-mesh/seamark/registry"
)

// A View can be written down as facts and read again: what is restored is the same,
// and goes on as if nothing had been between.
func TestFactsRestoreTheView(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		history := drawStream(t).messages
		split := rapid.IntRange(0, len(history)).Draw(t, "split")
		before := plain(history[:split])
		v := before.fold.View()
		facts := throughTheDoor(t, v.Facts())
		restored := &reader{fold: registry.Restore(facts, v.Sequence()), history: history}
		same := func(what string, a, b *registry.View) {
			if !bytes.Equal(a.AppendCanonical(nil), b.AppendCanonical(nil)) {
				t.Fatalf("%s: %s\nand\n%s", what, shape(a), shape(b))
			}
		}
		same("restored", restored.fold.View(), v)
		for _, m := range history[split:] {
			restored.take(m)
			before.take(m)
		}
		same("and gone on", restored.fold.View(), before.fold.View())
	})
}

// throughTheDoor passes facts through the doors that a file passes.
func throughTheDoor(t *rapid.T, facts []registry.Message) (passed []registry.Message) {
	for _, m := range facts {
		body, err := registry.Encode(m.Event)
		if err != nil {
			t.Fatal(err)
		}
		e, err := registry.Decode(body)
		if err != nil {
			t.Fatalf("%s can't be read again: %v", body, err)
		}
		again := registry.NewMessage(m.Fact, m.Sequence, m.Stored, m.Epoch, m.Revision, e, nil)
		if again.Refused != nil && again.Refused.Reason == registry.ReasonEpoch {
			again = m // its time is not the one at which it was stored
		}
		if again.Refused != nil {
			t.Fatalf("%+v is refused: %v", m.Fact, again.Refused)
		}
		passed = append(passed, again)
	}
	return passed
}

// TestFactsRestoreWhatWasInherited: a reader that stops and starts again while it waits
// for agents to publish what was lost goes on waiting, and ends like one that did not.
func TestFactsRestoreWhatWasInherited(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := drawHonest(t)
		next, _ := lose(t, s)
		history := lastPerSubject(next.messages)
		split := rapid.IntRange(0, len(history)).Draw(t, "stops at")
		fold := registry.Inherit(at(s.messages))
		fold.Synced()
		r := &successor{fold: fold, history: next.messages, settleAt: map[registry.ClusterID]uint64{}}
		for _, m := range history[:split] {
			r.take(m)
		}
		if len(r.settleAt) > 0 { // no checkpoint is written then
			return
		}
		v := fold.View()
		facts := throughTheDoor(t, v.Facts())
		same := func(what string, a, b *registry.View) {
			if !bytes.Equal(a.AppendCanonical(nil), b.AppendCanonical(nil)) {
				t.Fatalf("%s: %s\nand\n%s", what, shape(a), shape(b))
			}
			for _, c := range a.Clusters() {
				if c.Inherited() != b.Cluster(c.ID).Inherited() {
					t.Fatalf("%s: %s is inherited in one of the two", what, c.ID)
				}
			}
		}
		same("restored", registry.Restore(facts, v.Sequence()).View(), v)
		inherited := slices.DeleteFunc(slices.Clone(facts), func(m registry.Message) bool { return m.Sequence > 0 })
		again := &successor{fold: registry.Restore(inherited, 0), history: next.messages, settleAt: map[registry.ClusterID]uint64{}}
		for _, m := range history { // from the start of the same stream
			again.take(m)
		}
		for _, m := range history[split:] {
			r.take(m)
		}
		end := fold.View()
		if again.fold.View().Sequence() < end.Sequence() && len(history) > 0 && history[len(history)-1].sequence >= end.Sequence() {
			t.Fatal("it is behind")
		}
		same("and gone on", registry.Restore(throughTheDoor(t, again.fold.View().Facts()), end.Sequence()).View(), end)
	})
}

// lose makes another stream of a history: cut short, or anew, and what the agents and
// others publish on it when they notice.
func lose(t *rapid.T, s *stream) (next *stream, truth map[registry.ClusterID]map[registry.ServiceKey]registry.ServiceState) {
	cut := 0
	if rapid.Bool().Draw(t, "cut short, not anew") {
		cut = rapid.IntRange(0, len(s.messages)).Draw(t, "cut at")
	}
	next = &stream{messages: slices.Clone(s.messages[:cut]), observer: s.observer}
	truth = map[registry.ClusterID]map[registry.ServiceKey]registry.ServiceState{}
	for _, a := range s.authors {
		if a.epoch == 0 || rapid.IntRange(0, 3).Draw(t, "agent is dead") == 0 {
			continue
		}
		believed := at(next.messages)
		a.fences = slices.DeleteFunc(slices.Clone(a.fences), func(f registry.Fence) bool { return f.Sequence > uint64(cut) })
		next.takeover(a, a.epoch+1)
		next.recordOf(a, drawRecord(t, a.cluster))
		truth[a.cluster] = map[registry.ServiceKey]registry.ServiceState{}
		for _, key := range keys {
			state := registry.NewServiceState(key, nil)
			if is, ok := a.states[key]; ok && !is.Forgotten && rapid.IntRange(0, 3).Draw(t, "changed meanwhile") > 0 {
				state = is
			} else if rapid.Bool().Draw(t, "new") {
				service := drawService(t)
				service.Key = key
				state = registry.NewServiceState(key, &service)
			} else if !ok {
				continue
			}
			truth[a.cluster][key] = state
			if e, ok := believed.Service(key); ok && e.Record(a.cluster) != nil && e.Record(a.cluster).Digest == state.Digest() {
				continue // the agent publishes what differs
			}
			next.service(a, "anew", state)
		}
		mark(t, next, a)
		if rapid.Bool().Draw(t, "goes on") {
			next.service(a, "later", later(truth[a.cluster], keys[0]))
		}
	}
	return next, truth
}

// successor reads a stream that took another's place, as package replica does.
type successor struct {
	fold     *registry.Fold
	history  []message
	settleAt map[registry.ClusterID]uint64
}

func (r *successor) take(m message) {
	out := r.fold.Apply(m.decoded())
	if id, own := m.fact.Writer.Cluster(); own && out.Complete {
		for _, again := range lastPerSubject(r.history) { // what comes later comes by itself
			if again.fact.Writer != m.fact.Writer {
				continue
			}
			if again.sequence <= m.sequence {
				r.fold.Apply(again.decoded())
			}
			r.settleAt[id] = again.sequence
		}
	}
	for id, at := range r.settleAt {
		if m.sequence >= at {
			r.fold.Settle(id)
			delete(r.settleAt, id)
		}
	}
}

// TestAnotherStreamTakesNothingAway: design §5.5. What is served before and after the
// loss is served all the time, nothing comes back that was gone, and in the end each
// cluster whose agent lives is what the new stream says of it.
func TestAnotherStreamTakesNothingAway(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := drawHonest(t)
		older := at(s.messages)
		next, truth := lose(t, s)
		f := registry.Inherit(older)
		f.Synced()
		r := &successor{fold: f, history: next.messages, settleAt: map[registry.ClusterID]uint64{}}
		check := func(v *registry.View) {
			if v.Sequence() < older.Sequence() {
				t.Fatalf("the sequence went back from %d to %d", older.Sequence(), v.Sequence())
			}
			for n := range older.Names() {
				for _, e := range n.Known() {
					for _, was := range e.Records {
						will, alive := truth[was.Cluster][e.Key]
						is, ok := v.Service(e.Key)
						if stays := !alive && truth[was.Cluster] == nil || alive && will.Serving > 0; stays && was.Serving > 0 && (!ok || is.Record(was.Cluster) == nil || is.Record(was.Cluster).Serving == 0) {
							t.Fatalf("%s of %s served before, and is not served at %d", e.Key, was.Cluster, v.Sequence())
						}
					}
				}
			}
		}
		check(f.View())
		for _, m := range lastPerSubject(next.messages) {
			r.take(m)
			check(f.View())
		}
		got, want := f.View(), at(next.messages)
		for id := range truth {
			if got.Cluster(id).Inherited() {
				t.Fatalf("%s has published everything and counts as inherited", id)
			}
			if g, w := got.Cluster(id).Digest, want.Cluster(id).Digest; g != w {
				for _, m := range next.messages {
					t.Log(m)
				}
				t.Fatalf("%s has digest %v, the stream says %v", id, g, w)
			}
		}
		for _, c := range older.Clusters() {
			if truth[c.ID] == nil && got.Cluster(c.ID).Digest != c.Digest {
				t.Fatalf("%s, whose agent is dead, has changed", c.ID)
			}
		}
	})
}

// drawHonest is a history without rogues and poison, of clusters alone.
func drawHonest(t *rapid.T) *stream {
	s := newStream("amber", "bronze", "cobalt")
	steps := []func(*rapid.T, *stream, *author){change, change, change, tombstone, forget, refresh, cluster, mark, newEpoch}
	for range rapid.IntRange(5, 60).Draw(t, "steps") {
		a := s.authors[rapid.IntRange(0, len(s.authors)-1).Draw(t, "cluster")]
		if a.epoch == 0 {
			s.takeover(a, began)
			continue
		}
		steps[rapid.IntRange(0, len(steps)-1).Draw(t, "step")](t, s, a)
	}
	return s
}

// later returns what a cluster says of a service once more.
func later(truth map[registry.ServiceKey]registry.ServiceState, key registry.ServiceKey) registry.ServiceState {
	if state, ok := truth[key]; ok {
		return state
	}
	truth[key] = registry.NewServiceState(key, nil)
	return truth[key]
}

// TestSettlingEndsWhatWasSaidOfTheCluster: on the new stream nobody may ever say that a
// cluster is up, for that is where all begin; replicas that knew it as stale went on
// to, and the others did not.
func TestSettlingEndsWhatWasSaidOfTheCluster(t *testing.T) {
	t.Parallel()
	history := newStream()
	situation{serving: true, state: registry.Stale}.tell(history, "amber")
	older := at(history.messages)
	next := newStream()
	a := &author{cluster: "amber", states: map[registry.ServiceKey]registry.ServiceState{}}
	next.takeover(a, began+1)
	next.service(a, "anew", registry.NewServiceState(keys[0], nil))
	mark(nil, next, a)
	f := registry.Inherit(older)
	f.Synced()
	if s := f.View().State("amber"); s == nil || s.State != registry.Stale {
		t.Fatalf("before: %+v", s)
	}
	r := &successor{fold: f, history: next.messages, settleAt: map[registry.ClusterID]uint64{}}
	for _, m := range next.messages {
		r.take(m)
	}
	if s := f.View().State("amber"); s != nil {
		t.Errorf("amber has published everything anew and is still said to be %s", s.State)
	}
}
