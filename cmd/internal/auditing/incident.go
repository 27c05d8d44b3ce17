package auditing

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/seamark-mesh/seamark/audit"
	"github.com/seamark-mesh/seamark/registry"
)

// Incident is what happened around a moment.
type Incident struct {
	Around   time.Time
	From, To Moment
	Entries  []audit.Entry // refreshes are not among them
	More     int           // entries that were left out
	Repeated int           // refreshes
	Before   []Cluster
	After    []Cluster
	Touched  []Touched
	Services int // touched, all of them
}

// Touched is a service of which something was said.
type Touched struct {
	Service registry.ServiceKey
	Name    string // in the zone
	Before  []string
	Answers []Turn // within the window, each that differs from the one before it
	Why     []Why  // after
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
	incidentTurns    = 40 // moments at which a service's answer is looked at
)

// FindIncident reads the history within a window whose middle is a moment.
func FindIncident(ctx context.Context, h audit.History, around string, window time.Duration, now time.Time) (Incident, error) {
	h = audit.Remember(h)
	d := Direct{History: h, Now: now}
	m, err := d.Moment(ctx, around)
	if err != nil {
		return Incident{}, err
	}
	out := Incident{Around: m.Time.UTC()}
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
	touched := &touching{services: map[registry.ServiceKey][]audit.Moment{}}
	query := audit.Query{Since: audit.When{Sequence: begin.Sequence + 1}, Until: audit.When{Sequence: last.Sequence}}
	if begin.Sequence < last.Sequence {
		for e, err := range audit.Log(ctx, h, query) {
			if err != nil {
				return out, err
			}
			out.take(e, touched)
		}
	}
	return out, out.compare(ctx, h, begin, last, touched)
}

// startOf resolves the beginning of a window; where the history begins later, that.
func (d Direct) startOf(ctx context.Context, t time.Time) (audit.Moment, error) {
	m, err := audit.Resolve(ctx, d.History, audit.When{Time: t})
	var early *audit.TooEarlyError
	if errors.As(err, &early) && early.Earliest.Sequence > 0 {
		return early.Earliest, nil
	}
	return m, err
}

func (i *Incident) take(e audit.Entry, touched *touching) {
	if e.Kind == audit.Refresh {
		i.Repeated++
		return
	}
	touched.note(e)
	if len(i.Entries) == incidentEntries {
		i.More++
		return
	}
	i.Entries = append(i.Entries, e)
}

// compare asks for what stood and was answered before and after.
func (i *Incident) compare(ctx context.Context, h audit.History, from, to audit.Moment, touched *touching) error {
	before, err := audit.At(ctx, h, from)
	if err != nil {
		return err
	}
	after, err := audit.At(ctx, h, to)
	if err != nil {
		return err
	}
	i.Before, i.After, i.Services = clusters(before), clusters(after), len(touched.services)
	keys := make([]registry.ServiceKey, 0, len(touched.services))
	for key := range touched.services {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, registry.ServiceKey.Compare)
	for _, key := range keys[:min(len(keys), incidentServices)] {
		t := Touched{Service: key}
		t.Before, _ = t.answers(before, from)
		said := t.Before
		for _, m := range touched.moments(key) {
			v, err := audit.ServiceAt(ctx, h, m, key)
			if err != nil {
				return err
			}
			if now, _ := t.answers(v, m); !slices.Equal(now, said) {
				said = now
				t.Answers = append(t.Answers, Turn{momentOf(m), now})
			}
		}
		now, why := t.answers(after, to)
		if t.Why = why; !slices.Equal(now, said) {
			t.Answers = append(t.Answers, Turn{momentOf(to), now})
		}
		i.Touched = append(i.Touched, t)
	}
	return nil
}

// touching is at which moments answers may have become others.
type touching struct {
	services map[registry.ServiceKey][]audit.Moment // by what was said of them
	all      []audit.Moment                         // by what was said of clusters, or the zone
}

func (t *touching) note(e audit.Entry) {
	m := audit.Moment{Sequence: e.Sequence, Time: e.Stored}
	switch {
	case e.Service != nil && len(t.services[*e.Service]) < incidentTurns:
		t.services[*e.Service] = append(t.services[*e.Service], m)
	case e.Kind == audit.State || e.Kind == audit.Order || e.Fact == string(registry.KindCluster) || e.Fact == string(registry.KindZone):
		if len(t.all) < incidentTurns {
			t.all = append(t.all, m)
		}
	}
}

// moments returns when a service's answer is looked at, in order.
func (t *touching) moments(key registry.ServiceKey) []audit.Moment {
	moments := append(slices.Clone(t.services[key]), t.all...)
	slices.SortFunc(moments, func(a, b audit.Moment) int { return cmp.Compare(a.Sequence, b.Sequence) })
	return slices.Compact(moments)
}

// answers asks a View for the addresses of a service.
func (t *Touched) answers(v *registry.View, m audit.Moment) ([]string, []Why) {
	zone := v.Zone()
	if zone == nil {
		return []string{"no zone"}, nil
	}
	labels := t.Service.Labels()
	t.Name = fmt.Sprintf("%s.%s.svc.%s", labels.Name, labels.Namespace, zone.Name)
	r, err := resolve(v, m, t.Name, "A")
	if err != nil {
		return []string{err.Error()}, nil
	}
	if len(r.Answers) == 0 {
		code := r.RCode
		if code == "NOERROR" {
			code = "known, without an address"
		}
		return []string{code}, r.Why
	}
	addresses := make([]string, len(r.Answers))
	for n, record := range r.Answers {
		addresses[n] = lastField(record)
	}
	slices.Sort(addresses)
	return addresses, r.Why
}
