package auditing

import (
	"context"
	"errors"
	"time"

	"github.com/seamark-mesh/seamark/audit"
	"github.com/seamark-mesh/seamark/registry"
)

// Incident is what happened around a moment.
type Incident struct {
	Around   time.Time
	From, To Moment
	Entries  []audit.Entry      // nearest to the moment; refreshes are not among them
	Counts   map[audit.Kind]int // of all, refreshes too
	More     int                // entries that were left out
	Before   []Cluster
	After    []Cluster
	Touched  []Touched
	Services int // touched, all of them
	Turned   int // of these, the ones whose answer became another one
}

// Touched is a service of which something was said, or whose answer became another one.
type Touched struct {
	Service registry.ServiceKey
	Before  []string
	Answers []Turn // within the window, each that differs from the one before it, nearest to the moment
	Turns   int    // all of them
	After   []string
	Why     []Why // after
}

// Turn is an answer that is another one than before.
type Turn struct {
	At        Moment
	Addresses []string // or one word about why there is none
}

// Bounds of an [Incident]: a report is to be read.
const (
	incidentEntries  = 2_000
	incidentServices = 200
	incidentTurns    = 40 // of one service
)

// FindIncident reads the history within a window whose middle is a moment.
func FindIncident(ctx context.Context, h audit.History, around string, window time.Duration, now time.Time) (Incident, error) {
	h = audit.Remember(h)
	d := Direct{History: h, Now: now}
	m, err := d.Moment(ctx, around)
	if err != nil {
		return Incident{}, err
	}
	out := Incident{Around: m.Time.UTC(), Counts: map[audit.Kind]int{}}
	span, err := h.Span(ctx)
	if err != nil {
		return out, err
	}
	begin, err := d.startOf(ctx, m.Time.Add(-window/2))
	if err != nil {
		return out, err
	}
	end := m.Time.Add(window / 2)
	to := audit.When{Time: end}
	if end.After(span.End) {
		to = audit.When{Sequence: span.Last}
	}
	last, err := audit.Resolve(ctx, h, to)
	if err != nil {
		return out, err
	}
	out.From, out.To = momentOf(begin), momentOf(last)
	before, err := audit.At(ctx, h, begin)
	if err != nil {
		return out, err
	}
	entries, answers := &nearest[audit.Entry]{most: incidentEntries, middle: m.Time, at: storedAt}, following(before, m.Time)
	for step, err := range audit.Live(ctx, h, before, last) {
		if err != nil {
			return out, err
		}
		answers.take(step)
		out.Counts[step.Entry.Kind]++
		if step.Entry.Kind != audit.Refresh {
			step.Entry.Event = nil // it is not shown, and may be large
			entries.add(step.Entry)
		}
	}
	out.Entries, out.More = entries.all(), entries.count-len(entries.all())
	out.Before, out.After = clusters(before), clusters(answers.view)
	out.Services, out.Turned = len(answers.touched), answers.turned()
	out.Touched = answers.shown(last)
	return out, nil
}

func storedAt(e audit.Entry) time.Time { return e.Stored }

// startOf resolves the beginning of a window; where the history begins later, that.
func (d Direct) startOf(ctx context.Context, t time.Time) (audit.Moment, error) {
	m, err := audit.Resolve(ctx, d.History, audit.When{Time: t})
	var early *audit.TooEarlyError
	if errors.As(err, &early) && early.Earliest.Sequence > 0 {
		return early.Earliest, nil
	}
	return m, err
}

// nearest keeps of things that come in the order of their times those nearest to a moment.
type nearest[T any] struct {
	most   int
	middle time.Time
	at     func(T) time.Time
	count  int // that came
	kept   []T // at most twice as many as are wanted: as many up to the moment as after it
	before int // of the kept, those up to the moment
}

func (n *nearest[T]) add(v T) {
	n.count++
	switch {
	case n.at(v).After(n.middle):
		if len(n.kept)-n.before < n.most {
			n.kept = append(n.kept, v)
		}
	case len(n.kept) == n.most:
		var none T
		n.kept[0] = none // it may be let go
		n.kept = append(n.kept[1:], v)
	default:
		n.kept = append(n.kept, v)
		n.before++
	}
}

// all returns what is nearest, in the order in which it came.
func (n *nearest[T]) all() []T {
	for len(n.kept) > n.most {
		if first, last := n.kept[0], n.kept[len(n.kept)-1]; n.middle.Sub(n.at(first)) > n.at(last).Sub(n.middle) {
			n.kept = n.kept[1:]
		} else {
			n.kept = n.kept[:len(n.kept)-1]
		}
	}
	return n.kept
}
