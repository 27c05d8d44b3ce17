package audit

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
)

var errForged = errors.New("nobody signed it")

// forge takes a cluster over as no agent of it does, and says something of it.
func (m *mesh) forge() {
	a := m.agents[m.IntN(len(m.agents))]
	m.now = m.now.Add(time.Second)
	forger := &agent{writer: a.writer, epoch: uint64(m.now.Unix()), services: map[registry.ServiceKey]*belief{}}
	from := len(m.all)
	if m.IntN(2) == 0 { // else it pretends to be the agent that leads
		m.own(forger, registry.Event{Kind: registry.KindEpoch, Takeover: &registry.EpochRecord{Fences: slices.Clone(a.fences)}})
	} else {
		forger.epoch, forger.revision = a.epoch, a.revision
	}
	m.publish(forger, registry.CauseChange, m.service(forger, m.key()))
	for n := range m.all[from:] {
		m.all[from+n].Header["Forged"] = []string{"yes"}
	}
}

func forged(s registry.Stored) error {
	if s.Header["Forged"] != nil {
		return errForged
	}
	return nil
}

// Answers about the past counted what readers with verify.policy: refuse had refused. With
// the same check they are the fold of what those believe, byte for byte.
func TestWhatIsRefusedDoesNotCountInThePast(t *testing.T) {
	t.Parallel()
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			m := newMesh(seed, 3)
			m.noise = seed%2 == 0
			m.start()
			for range 40 {
				m.hour(true)
				m.forge()
			}
			h := Checked(&m.tape, forged)
			believed := func(to uint64) *registry.View {
				f, d := registry.NewFold(), stream.NewStoredDecoder()
				for _, s := range m.all[:to] {
					s.Refused = forged(s)
					f.Apply(d.Decode(s))
				}
				f.Synced()
				return f.View()
			}
			differ := false
			for range 15 {
				to := 1 + m.Uint64N(uint64(len(m.all)))
				want := believed(to)
				for name, few := range map[string]uint64{"read whole": fewMessages, "read the latest": 0} {
					got, err := at(t.Context(), h, m.moment(to), few)
					if err != nil {
						t.Fatal(err)
					}
					mustEqualViews(t, fmt.Sprintf("seed %d, #%d, %s", seed, to, name), got, want)
				}
				differ = differ || string(want.AppendCanonical(nil)) != string(m.foldAll(to).AppendCanonical(nil))
				key := m.key()
				part, err := ServiceAt(t.Context(), h, m.moment(to), key)
				if err != nil {
					t.Fatal(err)
				}
				is, known := want.Service(key)
				had, knownToo := part.Service(key)
				if known != knownToo || known && fmt.Sprint(recordsText(had)) != fmt.Sprint(recordsText(is)) {
					t.Fatalf("%v at #%d is %v, want %v", key, to, had, is)
				}
			}
			if !differ {
				t.Error("what is refused makes no difference: nothing was tried")
			}
		})
	}
}

// The log tells what was refused, and why; who follows does not wait for more messages.
func TestTheLogTellsWhatIsRefused(t *testing.T) {
	t.Parallel()
	m := newMesh(2, 1)
	m.start()
	last := uint64(len(m.all))
	h := Checked(&m.tape, func(s registry.Stored) error {
		if s.Sequence == last {
			return errForged
		}
		return nil
	})
	for _, follow := range []bool{false, true} {
		next, stop := iter.Pull2(Log(t.Context(), h, Query{Since: When{Sequence: last}, Follow: follow}))
		e, err, ok := next()
		if !ok || err != nil || e.Kind != Unreadable || e.Unusable.Reason != "signature" || e.Unusable.Detail != errForged.Error() {
			t.Errorf("following %v: %+v, %v", follow, e, err)
		}
		stop()
	}
}
