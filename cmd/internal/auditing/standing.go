package auditing

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seamark-mesh/seamark/audit"
	"github.com/seamark-mesh/seamark/registry"
)

// Standing is the answer to [Asker.At]. Lists are sorted.
type Standing struct {
	At       Moment    `json:"at"`
	Zone     string    `json:"zone"` // "" while none stood
	Clusters []Cluster `json:"clusters"`
	Services []Service `json:"services"`

	Unused *Unused `json:"unused,omitempty"`

	// More counts services that were left out of Services because the answer is bounded.
	More int `json:"more,omitempty"`
}

// Cluster is how a cluster stood.
type Cluster struct {
	Cluster   registry.ClusterID `json:"cluster"`
	State     registry.Liveness  `json:"state"`
	Since     *time.Time         `json:"since"` // null: the observer had said nothing
	Reason    string             `json:"reason"`
	Failing   []string           `json:"failing"` // gateways that could not be reached
	Epoch     uint64             `json:"epoch"`
	Revision  uint64             `json:"revision"`
	Services  int                `json:"services"`
	Instances int                `json:"instances"`
	Gateways  []registry.Gateway `json:"gateways"`
	Orders    []Order            `json:"orders"`
}

// Order is a drain or a leave that held.
type Order struct {
	Kind     string    `json:"kind"`
	Target   string    `json:"target"`
	By       string    `json:"by"`
	Reason   string    `json:"reason"`
	Since    time.Time `json:"since"`
	Sequence uint64    `json:"sequence"`
}

// Service is how a service stood in all clusters that knew it.
type Service struct {
	Namespace string          `json:"namespace"`
	Name      string          `json:"name"`
	Clusters  []ServiceRecord `json:"clusters"`
}

// ServiceRecord is how a service stood in one cluster, and whether that was answered with.
type ServiceRecord struct {
	Cluster   registry.ClusterID  `json:"cluster"`
	In        bool                `json:"in"`
	Reason    string              `json:"reason"`
	Healthy   int                 `json:"healthy"`
	Total     int                 `json:"total"`
	Epoch     uint64              `json:"epoch"`
	Revision  uint64              `json:"revision"`
	Sequence  uint64              `json:"sequence"`
	ChangedAt time.Time           `json:"changed_at"`
	Redacted  int                 `json:"redacted,omitempty"`  // metadata pairs that its agent withheld
	Instances []registry.Instance `json:"instances,omitempty"` // where one service was asked for
}

// standing describes what stood: all of it, or one service, which must be known.
func standing(stood audit.Stood, m audit.Moment, key registry.ServiceKey) (Standing, error) {
	v := stood.View
	s := Standing{At: momentOf(m), Clusters: clusters(v), Services: []Service{}, Unused: unusedOf(stood.Unused)}
	if zone := v.Zone(); zone != nil {
		s.Zone = zone.Name
	}
	if key != (registry.ServiceKey{}) {
		e, known := v.Service(key)
		if !known {
			return s, fmt.Errorf("%s at %s: %w", key, s.At, ErrUnknown)
		}
		s.Services = append(s.Services, service(stood, e, true))
		return s, nil
	}
	for _, name := range v.SortedNames() {
		for _, e := range name.Known() {
			s.Services = append(s.Services, service(stood, e, false))
		}
	}
	slices.SortStableFunc(s.Services, func(a, b Service) int {
		return registry.ServiceKey{Namespace: a.Namespace, Name: a.Name}.Compare(registry.ServiceKey{Namespace: b.Namespace, Name: b.Name})
	})
	return s, nil
}

// Bound leaves at most limit services in the answer.
func (s *Standing) Bound(limit int) {
	if len(s.Services) > limit {
		s.Services, s.More = s.Services[:limit], len(s.Services)-limit
	}
}

func service(stood audit.Stood, e *registry.Entry, instances bool) Service {
	s := Service{Namespace: e.Key.Namespace, Name: e.Key.Name, Clusters: []ServiceRecord{}}
	for _, c := range stood.View.Decide(e) {
		r := c.Record
		record := ServiceRecord{
			Cluster: c.Cluster, In: c.In, Reason: c.Reason, Healthy: r.Serving, Total: r.Total,
			Epoch: r.Epoch, Revision: r.Revision, Sequence: r.Sequence, ChangedAt: r.Changed.Time.UTC(),
			Redacted: stood.Redacted(c.Cluster, e.Key),
		}
		if instances {
			record.Instances = r.Service.Instances
		}
		s.Clusters = append(s.Clusters, record)
	}
	return s
}

func clusters(v *registry.View) []Cluster {
	orders := map[registry.ClusterID][]Order{}
	for _, o := range v.Orders() {
		if cluster, _, _, err := registry.ParseDrainTarget(o.Target); err == nil {
			orders[cluster] = append(orders[cluster], Order{Kind: o.Kind, Target: o.Target, By: o.By, Reason: o.Reason, Since: o.Stored.UTC(), Sequence: o.Sequence})
		}
	}
	all := []Cluster{}
	add := func(id registry.ClusterID, state *registry.StandingState) *Cluster {
		c := Cluster{Cluster: id, State: registry.Up, Failing: []string{}, Gateways: []registry.Gateway{}, Orders: append([]Order{}, orders[id]...)}
		if state != nil {
			since := state.Since.UTC()
			c.State, c.Since, c.Reason = state.State, &since, state.Reason
			c.Failing = append(c.Failing, state.Failing...)
		}
		all = append(all, c)
		return &all[len(all)-1]
	}
	for _, known := range v.Clusters() {
		c := add(known.ID, v.State(known.ID))
		c.Epoch, c.Revision, c.Services, c.Instances = known.Epoch, known.Revision, known.Services, known.Instances
		if known.Record != nil {
			c.Gateways = append(c.Gateways, known.Record.Gateways...)
		}
	}
	for _, state := range v.States() {
		if v.Cluster(state.Cluster) == nil { // gone: nothing else of it counts
			add(state.Cluster, state)
		}
	}
	slices.SortFunc(all, func(a, b Cluster) int { return strings.Compare(string(a.Cluster), string(b.Cluster)) })
	return all
}
