package audit

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// holed is a tape of which a range is not there. It tells so only once it was read, if
// late: as damage shows.
type holed struct {
	*tape
	hole  [2]uint64
	late  bool
	shown bool
}

// Span implements [History].
func (h *holed) Span(ctx context.Context) (Span, error) {
	span, err := h.tape.Span(ctx)
	if !h.late || h.shown {
		span.Holes = [][2]uint64{h.hole}
	}
	return span, err
}

func (h *holed) without(messages iter.Seq2[registry.Stored, error]) iter.Seq2[registry.Stored, error] {
	return func(yield func(registry.Stored, error) bool) {
		for m, err := range messages {
			if h.hole[0] <= m.Sequence && m.Sequence <= h.hole[1] {
				h.shown = true
				continue
			}
			if !yield(m, err) {
				return
			}
		}
	}
}

// Read implements [History].
func (h *holed) Read(ctx context.Context, r Range) iter.Seq2[registry.Stored, error] {
	return h.without(h.tape.Read(ctx, r))
}

// Latest implements [History].
func (h *holed) Latest(ctx context.Context, before uint64, filters ...string) iter.Seq2[registry.Stored, error] {
	rest := &tape{}
	for _, m := range h.all {
		if m.Sequence < h.hole[0] || m.Sequence > h.hole[1] {
			rest.all = append(rest.all, m)
		} else if m.Sequence < before {
			h.shown = true
		}
	}
	return rest.Latest(ctx, before, filters...)
}

// A history with a hole was answered from as if nothing had stood in it: what ended there
// was a ghost from then on.
func TestAtBehindAHoleIsExactOrRefused(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			m := newMesh(seed, 3)
			m.noise = seed%2 == 0
			m.start()
			m.hours(8*24, true)
			h := &holed{tape: &m.tape, late: seed >= 2}
			h.hole[0] = uint64(len(m.all) / 4)
			h.hole[1] = h.hole[0] + uint64(len(m.all)/10)
			answered, refused := 0, 0
			for n := range 12 {
				to := h.hole[0] - 10 + m.Uint64N(uint64(len(m.all))-h.hole[0]+10)
				switch n {
				case 0:
					to = h.hole[0] + 1
				case 1:
					to = uint64(len(m.all))
				case 2:
					to = h.hole[1] + 1
				case 3:
					to = h.hole[0] - 1
				}
				h.shown = false
				got, err := At(t.Context(), h, m.moment(to))
				if early, ok := errors.AsType[*TooEarlyError](err); ok {
					if to < h.hole[0] || to == uint64(len(m.all)) {
						t.Fatalf("#%d is refused with the hole %v: %v", to, h.hole, early)
					}
					refused++
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				if to >= h.hole[0] && to <= h.hole[1] {
					t.Fatalf("#%d is answered in the hole %v", to, h.hole)
				}
				answered++
				mustEqualViews(t, fmt.Sprintf("seed %d, #%d, hole %v", seed, to, h.hole), got, m.foldAll(to))
				m.serviceToo(t, Remember(h), to)
			}
			if answered == 0 || refused == 0 {
				t.Errorf("%d answered, %d refused", answered, refused)
			}
			h.shown = true
			b, err := bounds(t.Context(), h)
			if err != nil || b.earliest.Sequence <= h.hole[1] {
				t.Errorf("bounds %+v, %v with the hole %v", b, err, h.hole)
			}
			in, err := Resolve(t.Context(), h, When{Time: m.all[h.hole[0]+2].Time.Add(time.Nanosecond)})
			if err != nil || in.Sequence != h.hole[1] {
				t.Errorf("a time in the hole %v is #%d, %v", h.hole, in.Sequence, err)
			}
		})
	}
}

type limited struct{ *tape }

// Span implements [History].
func (l limited) Span(ctx context.Context) (Span, error) {
	span, err := l.tape.Span(ctx)
	span.Filtered = true
	return span, err
}

// An export of some subjects was taken for a history in which nothing else stood.
func TestAtOfSomeSubjectsIsRefused(t *testing.T) {
	t.Parallel()
	m := newMesh(1, 2)
	m.start()
	m.hour(true)
	_, err := At(t.Context(), limited{&m.tape}, m.moment(uint64(len(m.all))))
	if _, ok := errors.AsType[*TooEarlyError](err); !ok {
		t.Errorf("the error is %v", err)
	}
}
