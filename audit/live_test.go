package audit

import (
	"errors"
	"fmt"
	"testing"
)

// The registry after each message is the fold of all up to it, whatever else is stored; and
// what differs from the one before it is in its Delta.
func TestLiveIsTheFoldAfterEachMessage(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		m := newMesh(seed, 3)
		m.noise = true
		m.start()
		m.hours(30, true)
		last := uint64(len(m.all))
		from := 1 + m.Uint64N(last/2)
		before, err := At(t.Context(), &m.tape, m.moment(from))
		if err != nil {
			t.Fatal(err)
		}
		next, was := from+1, before
		for step, err := range Live(t.Context(), &m.tape, before, m.moment(last)) {
			if err != nil {
				t.Fatal(err)
			}
			if step.Entry.Sequence != next {
				t.Fatalf("seed %d: #%d comes after #%d", seed, step.Entry.Sequence, next-1)
			}
			want := m.foldAll(next)
			if step.Entry.Kind == Unreadable {
				want = m.foldAll(was.Sequence())
			} else if step.View.Sequence() == next {
				mustEqualViews(t, fmt.Sprintf("seed %d, #%d", seed, next), step.View, want)
			}
			if differs := len(Diff(was, want)) > 0; differs && (step.View == was || next > from+1 && step.View.Delta().None()) {
				t.Errorf("seed %d, #%d: it changes %s, and no View tells", seed, next, text(t, Diff(was, want)))
			}
			next, was = next+1, step.View
		}
		if next != last+1 {
			t.Errorf("seed %d: it ends before #%d, want behind #%d", seed, next, last)
		}
	}
}

// What stood before is known from the View, so that changes tell old values.
func TestLiveTellsOldValues(t *testing.T) {
	t.Parallel()
	m, _ := overtaken()
	before, err := At(t.Context(), &m.tape, m.moment(4))
	if err != nil {
		t.Fatal(err)
	}
	told := map[uint64]Entry{}
	for step, err := range Live(t.Context(), &m.tape, before, m.moment(10)) {
		if err != nil {
			t.Fatal(err)
		}
		told[step.Entry.Sequence] = step.Entry
	}
	for n := uint64(5); n <= 8; n++ {
		if e := told[n]; e.Kind != Unreadable || e.Unusable.Reason != reasonFenced {
			t.Errorf("#%d is told as %s", n, text(t, e))
		}
	}
	for n, old := range map[uint64]string{9: "80", 10: "192.0.2.1"} {
		if e := told[n]; len(e.Changes) != 1 || e.Changes[0].Fields[0].Old != old {
			t.Errorf("#%d is told as %s, want from %s", n, text(t, e), old)
		}
	}
}

func TestLiveRefusesAHole(t *testing.T) {
	t.Parallel()
	m, _ := overtaken()
	before, err := At(t.Context(), &m.tape, m.moment(4))
	if err != nil {
		t.Fatal(err)
	}
	var last error
	for _, err := range Live(t.Context(), &holed{tape: &m.tape, hole: [2]uint64{6, 7}, late: true}, before, m.moment(10)) {
		last = err
	}
	if early, ok := errors.AsType[*TooEarlyError](last); !ok || early.Reason == "" {
		t.Errorf("a hole in between gives %v", last)
	}
}
