package auditing

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/seamark-mesh/seamark/audit"
	"github.com/seamark-mesh/seamark/dnsserver/lookup"
	"github.com/seamark-mesh/seamark/registry"
)

// Resolution is the answer to [Asker.Resolve].
type Resolution struct {
	At      Moment   `json:"at"`
	Past    bool     `json:"past"` // always: it is what would have been answered then
	Serial  uint32   `json:"serial"`
	Name    string   `json:"name"`
	Type    string   `json:"type"`
	RCode   string   `json:"rcode"`
	Answers []string `json:"answers"`
	Why     []Why    `json:"why"`
	Unused  *Unused  `json:"unused,omitempty"`
}

// Why tells for one cluster whether it was among the answers.
type Why struct {
	Cluster  registry.ClusterID `json:"cluster"`
	In       bool               `json:"in"`
	Reason   string             `json:"reason"`
	Sequence uint64             `json:"sequence,omitempty"` // of what the cluster last said of the service
	State    registry.Liveness  `json:"state"`
	Order    string             `json:"order,omitempty"` // what an operator had ordered of it
}

// ErrNoZone says that nobody could answer anything at the moment.
var ErrNoZone = errors.New("no zone record stood at that moment: nobody answered anything yet; ask for a later one")

// Resolve implements [Asker]. Every cluster's part is what the same decision gives that
// DNS makes, on the View of the moment.
func (d Direct) Resolve(ctx context.Context, at, name, rrtype string) (Resolution, error) {
	if _, err := lookup.Resolve(&registry.View{}, name, rrtype); err != nil {
		return Resolution{}, question(err)
	}
	m, err := d.Moment(ctx, at)
	if err != nil {
		return Resolution{}, err
	}
	stood, err := d.answering(ctx, m, name)
	if err != nil {
		return Resolution{}, err
	}
	out, err := resolve(stood.View, m, name, rrtype)
	out.Unused = unusedOf(stood.Unused)
	return out, err
}

func resolve(v *registry.View, m audit.Moment, name, rrtype string) (Resolution, error) {
	if v.Zone() == nil {
		return Resolution{}, ErrNoZone
	}
	r, err := lookup.Resolve(v, name, rrtype)
	if err != nil {
		return Resolution{}, question(err)
	}
	if rrtype == "" {
		rrtype = "A"
	}
	out := Resolution{
		At: momentOf(m), Past: true, Serial: v.Serial(), Name: name, Type: strings.ToUpper(rrtype), RCode: r.RCode,
		Answers: r.Answers, Why: make([]Why, 0, len(r.Why)),
	}
	var candidates []registry.Candidate
	if labels, ok := serviceOf(name); ok {
		if e, known := v.Lookup(labels); known {
			candidates = v.Decide(e)
		}
	}
	for _, w := range r.Why {
		why := Why{Cluster: w.Cluster, In: w.In, Reason: w.Reason, State: registry.Up}
		if s := v.State(w.Cluster); s != nil {
			why.State = s.State
		}
		if n := slices.IndexFunc(candidates, func(c registry.Candidate) bool { return c.Cluster == w.Cluster }); n >= 0 {
			why.Sequence = candidates[n].Record.Sequence
			if o := candidates[n].Order; o != nil {
				why.Order = o.Kind + " of " + o.Target + " by " + o.By
			}
		}
		out.Why = append(out.Why, why)
	}
	return out, nil
}

// answering returns what answers a name as the whole registry did: of the name's
// service alone where that is certain to be the one that answers, else of everything.
// It is certain when a service is known whose names are spelled like the labels: of several
// that meet at the same labels, that one answers.
func (d Direct) answering(ctx context.Context, m audit.Moment, name string) (audit.Stood, error) {
	labels, ok := serviceOf(name)
	if ok {
		key := registry.ServiceKey(labels)
		stood, err := audit.StoodAt(ctx, d.History, m, key)
		if err != nil {
			return stood, err
		}
		v := stood.View
		if _, known := v.Service(key); known && v.Zone() != nil && isServiceName(name, labels, v.Zone().Name) {
			return stood, nil
		}
	}
	return audit.StoodAt(ctx, d.History, m, registry.ServiceKey{})
}

// serviceOf reads the labels of a service from a name like [_port._tcp.]name[.namespace].svc.zone
// or [_port._tcp.]name.namespace.cluster.cluster.zone, without knowing the zone.
func serviceOf(name string) (l registry.Labels, ok bool) {
	parts := strings.Split(strings.ToLower(strings.TrimSuffix(name, ".")), ".")
	for len(parts) > 0 && strings.HasPrefix(parts[0], "_") {
		parts = parts[1:]
	}
	switch {
	case len(parts) > 2 && parts[1] == "svc":
		return registry.Labels{Namespace: registry.DefaultNamespace, Name: parts[0]}, true
	case len(parts) > 3 && parts[2] == "svc", len(parts) > 4 && parts[3] == "cluster":
		return registry.Labels{Namespace: parts[1], Name: parts[0]}, true
	}
	return l, false
}

// isServiceName reports whether, in this zone, a name is one of the service's.
func isServiceName(name string, l registry.Labels, zone string) bool {
	name, zone = strings.ToLower(strings.TrimSuffix(name, ".")), strings.ToLower(strings.TrimSuffix(zone, "."))
	for strings.HasPrefix(name, "_") {
		_, name, _ = strings.Cut(name, ".")
	}
	switch name {
	case l.Name + "." + l.Namespace + ".svc." + zone:
		return true
	case l.Name + ".svc." + zone:
		return l.Namespace == registry.DefaultNamespace
	}
	rest, ok := strings.CutPrefix(name, l.Name+"."+l.Namespace+".")
	cluster, ok2 := strings.CutSuffix(rest, ".cluster."+zone)
	return ok && ok2 && !strings.Contains(cluster, ".")
}
