package auditing

import (
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
	After   []string
	Why     []Why // after
}

// Bounds of an [Incident]: a report is to be read.
const (
	incidentEntries  = 2_000
	incidentServices = 200
)

// FindIncident reads the history within a window whose middle is a moment.
func FindIncident(ctx context.Context, h audit.History, around string, window time.Duration, now time.Time) (Incident, error) {
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
	touched := map[registry.ServiceKey]bool{}
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

func (i *Incident) take(e audit.Entry, touched map[registry.ServiceKey]bool) {
	if e.Kind == audit.Refresh {
		i.Repeated++
		return
	}
	if e.Service != nil {
		touched[*e.Service] = true
	}
	if len(i.Entries) == incidentEntries {
		i.More++
		return
	}
	i.Entries = append(i.Entries, e)
}

// compare asks for what stood and was answered before and after.
func (i *Incident) compare(ctx context.Context, h audit.History, from, to audit.Moment, touched map[registry.ServiceKey]bool) error {
	before, err := audit.At(ctx, h, from)
	if err != nil {
		return err
	}
	after, err := audit.At(ctx, h, to)
	if err != nil {
		return err
	}
	i.Before, i.After, i.Services = clusters(before), clusters(after), len(touched)
	keys := make([]registry.ServiceKey, 0, len(touched))
	for key := range touched {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, registry.ServiceKey.Compare)
	for _, key := range keys[:min(len(keys), incidentServices)] {
		t := Touched{Service: key}
		t.Before, _ = t.answers(before, from)
		t.After, t.Why = t.answers(after, to)
		i.Touched = append(i.Touched, t)
	}
	return nil
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
