package audit

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

func mustEqualViews(t *testing.T, what string, got, want *registry.View) {
	t.Helper()
	if !bytes.Equal(got.AppendCanonical(nil), want.AppendCanonical(nil)) {
		t.Fatalf("%s: the View is another one than the fold of the whole history:\n%+v", what, Diff(want, got))
	}
	if !got.Synced() {
		t.Fatalf("%s: the View is not synced", what)
	}
}

// Design §9.9: the state at a moment is the fold of all that was stored up to it, also
// where the history holds garbage and messages of writers that have lost their epoch.
func TestAtIsTheFoldOfTheWholeHistory(t *testing.T) {
	t.Parallel()
	for seed := range uint64(5) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			m := newMesh(seed, 3)
			m.noise = true
			m.start()
			m.hours(60, true)
			for range 20 {
				to := 1 + m.Uint64N(uint64(len(m.all)))
				for name, few := range map[string]uint64{"read whole": fewMessages, "read the latest": 0} {
					got, err := at(t.Context(), &m.tape, m.moment(to), few)
					if err != nil {
						t.Fatal(err)
					}
					mustEqualViews(t, fmt.Sprintf("seed %d, #%d, %s", seed, to, name), got, m.foldAll(to))
				}
			}
		})
	}
}

// A history without its beginning gives the same answers as the whole one, or none; and
// it gives some.
func TestAtAfterTheBeginningHasAgedOutIsExactOrRefused(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			m := newMesh(seed, 3)
			m.noise = seed%2 == 0
			m.start()
			for hour := range 10 * 24 {
				switch {
				case hour == 100 && seed%4 == 1:
					m.agents[2].dead = true
				case hour == 180 && seed%8 == 1:
					m.resume(m.agents[2])
				case hour == 150 && seed%3 == 0:
					late := &agent{writer: "late", services: map[registry.ServiceKey]*belief{}}
					m.agents = append(m.agents, late)
					m.resume(late)
				}
				m.hour(true)
			}
			answered, refused := 0, 0
			for range 3 {
				m.lost = 1 + m.IntN(len(m.all)/2)
				b, err := bounds(t.Context(), &m.tape)
				if err != nil {
					t.Fatal(err)
				}
				for n := range 6 {
					to := uint64(m.lost) + 1 + m.Uint64N(uint64(len(m.all)-m.lost))
					switch {
					case b.earliest.Sequence == 0:
					case n == 0:
						to = b.earliest.Sequence
					case n == 1:
						to = uint64(len(m.all))
					}
					got, err := At(t.Context(), &m.tape, m.moment(to))
					if early, ok := errors.AsType[*TooEarlyError](err); ok {
						refused++
						if b.earliest.Sequence > 0 && to >= b.earliest.Sequence {
							t.Fatalf("seed %d, lost %d: #%d is refused although it is possible from #%d on: %v", seed, m.lost, to, b.earliest.Sequence, early)
						}
						continue
					}
					if err != nil {
						t.Fatal(err)
					}
					answered++
					mustEqualViews(t, fmt.Sprintf("seed %d, #%d without %d", seed, to, m.lost), got, m.foldAll(to))
					m.serviceToo(t, &m.tape, to)
				}
				if first := m.all[m.lost].Time; b.earliest.Sequence == 0 && m.now.Sub(first) > 5*24*time.Hour && !m.agents[2].dead {
					t.Errorf("seed %d, lost %d: nothing can be answered, %s", seed, m.lost, b.reason)
				}
			}
			if answered == 0 || refused == 0 {
				t.Errorf("seed %d: %d answered and %d refused: this shows nothing", seed, answered, refused)
			}
		})
	}
}

// serviceToo holds ServiceAt to what the whole fold says of the service.
func (m *mesh) serviceToo(t *testing.T, h History, to uint64) {
	t.Helper()
	whole, key := m.foldAll(to), m.key()
	v, err := ServiceAt(t.Context(), h, m.moment(to), key)
	if err != nil {
		t.Fatal(err)
	}
	want, known := whole.Service(key)
	got, knownToo := v.Service(key)
	if known != knownToo || known && fmt.Sprint(recordsText(got)) != fmt.Sprint(recordsText(want)) {
		t.Fatalf("#%d: %s is %v (%v), want %v (%v)", to, key, recordsText(got), knownToo, recordsText(want), known)
	}
	if !known {
		return
	}
	is, should := v.Decide(got), whole.Decide(want)
	for n := range should {
		if is[n].In != should[n].In || is[n].Reason != should[n].Reason || is[n].State != should[n].State || len(is[n].Gateways) != len(should[n].Gateways) {
			t.Fatalf("#%d: %s is decided otherwise: %+v, want %+v", to, key, is[n], should[n])
		}
	}
}

func recordsText(e *registry.Entry) (all []string) {
	if e == nil {
		return nil
	}
	for _, r := range e.Records {
		all = append(all, fmt.Sprintf("%s %d/%d #%d %s", r.Cluster, r.Epoch, r.Revision, r.Sequence, r.Digest))
	}
	return all
}

// Without an observer nobody repeats orders and states: where the beginning is lost,
// nobody can know what stood.
func TestAtWithoutAnObserverIsRefused(t *testing.T) {
	t.Parallel()
	m := newMesh(3, 2)
	m.start()
	m.hours(6*24, false)
	m.lost = 20
	_, err := At(t.Context(), &m.tape, m.moment(uint64(len(m.all))))
	if early, ok := errors.AsType[*TooEarlyError](err); !ok || early.Earliest.Sequence != 0 {
		t.Fatalf("At is %v, want a refusal without an earliest moment", err)
	}
	m.lost = 0
	if _, err := At(t.Context(), &m.tape, m.moment(uint64(len(m.all)))); err != nil {
		t.Errorf("At of the whole history: %v", err)
	}
}

// An agent that says it has published more than is there proves nothing.
func TestAMarkThatDoesNotMatchProvesNothing(t *testing.T) {
	t.Parallel()
	m := newMesh(5, 1)
	m.start()
	a := m.agents[0]
	m.publish(a, registry.CauseChange, m.service(a, registry.ServiceKey{Namespace: "shop", Name: "rare"}))
	m.lost = len(m.all)
	delete(a.services, registry.ServiceKey{Namespace: "shop", Name: "rare"}) // it is never repeated, but its digest counts
	m.hours(5*24, true)
	if _, err := At(t.Context(), &m.tape, m.moment(uint64(len(m.all)))); err == nil {
		t.Error("a service that nobody repeated is missing, and nobody says so")
	}
}

func TestServiceAtRemembersWhatWasProven(t *testing.T) {
	t.Parallel()
	m := newMesh(4, 2)
	m.start()
	m.hours(6*24, true)
	m.lost = 30
	counted := &counting{tape: &m.tape}
	h := Remember(counted)
	proof := 0
	for n := range 3 {
		if _, err := ServiceAt(t.Context(), h, m.moment(uint64(len(m.all)-5+n)), m.key()); err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			proof = counted.reads
		}
	}
	if proof == 0 || counted.reads != proof {
		t.Errorf("the history was read %d times for the first question, and %d times in all", proof, counted.reads)
	}
	m.lost = len(m.all) - 50
	if _, err := ServiceAt(t.Context(), h, m.moment(uint64(len(m.all))), m.key()); err == nil {
		t.Error("what was proven counts although it is lost")
	}
}

// However it is read, what could not be used is the same: the latest message of a fact.
func TestStoodTellsWhatCouldNotBeUsed(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		m := newMesh(seed, 3)
		m.noise = true
		m.start()
		m.hours(60, true)
		seen := false
		for range 20 {
			to := 1 + m.Uint64N(uint64(len(m.all)))
			var told [2]string
			for n, few := range []uint64{fewMessages, 0} {
				f, err := foldingAt(t.Context(), &m.tape, m.moment(to), registry.ServiceKey{}, few)
				if err != nil {
					t.Fatal(err)
				}
				stood := f.stood()
				told[n] = fmt.Sprint(stood.Unused)
				for _, u := range stood.Unused {
					seen = true
					for _, s := range m.all[u.Sequence:to] {
						if s.Subject == m.all[u.Sequence-1].Subject {
							t.Errorf("seed %d, #%d: #%d stands behind #%d, which can't be used", seed, to, s.Sequence, u.Sequence)
						}
					}
				}
			}
			if told[0] != told[1] {
				t.Errorf("seed %d, #%d: read whole %s, by the latest %s", seed, to, told[0], told[1])
			}
		}
		if !seen {
			t.Errorf("seed %d: all could be used: this test shows nothing", seed)
		}
	}
}

// A cluster that has been silent for days said all that stands of it long ago, and what could
// not be used of it too.
func TestStoodTellsWhatASilentClusterSaidLast(t *testing.T) {
	t.Parallel()
	m := newMesh(3, 3)
	m.start()
	m.hours(30, true)
	m.lost = len(m.all)
	m.hours(30, true)
	bad := m.raw(m.now, "mesh.v1.c2.svc.shop.orders", nil, []byte("not JSON"))
	m.agents[2].dead = true
	m.hours(108, true)
	stood, err := StoodAt(t.Context(), &m.tape, m.moment(uint64(len(m.all))), registry.ServiceKey{})
	if err != nil || len(stood.Unused) != 1 || stood.Unused[0].Sequence != bad || stood.Unused[0].Reason != "not-json" {
		t.Errorf("of no use are %+v, %v; want #%d", stood.Unused, err, bad)
	}
}
