package api

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// cluster is an entry of /v1/clusters. Phase and LeaseAge are null while no lease
// was seen.
type cluster struct {
	Cluster   registry.ClusterID `json:"cluster"`
	Source    string             `json:"source"`
	Phase     *registry.Phase    `json:"phase"`
	Region    string             `json:"region"`
	Zone      string             `json:"zone"`
	Labels    map[string]string  `json:"labels"`
	Epoch     uint64             `json:"epoch"`
	Revision  uint64             `json:"revision"`
	Sequence  uint64             `json:"sequence"` // of its latest message
	Digest    registry.Digest    `json:"digest"`
	Services  int                `json:"services"` // tombstones included
	Instances int                `json:"instances"`
	LeaseAge  *float64           `json:"lease_age_seconds"`
	Gateways  []gateway          `json:"gateways"`

	State    registry.Liveness  `json:"state"`    // as the observer holds it; up while it has said nothing
	Since    *time.Time         `json:"since"`    // when that began; null while it has said nothing, as are the next two
	Reason   *string            `json:"reason"`   // a sentence
	Evidence *registry.Evidence `json:"evidence"` // what the observer saw
	Failing  []string           `json:"failing"`  // gateways that can't be reached
	Orders   []order            `json:"orders"`   // drains and leaves of the cluster and what is in it

	// Inherited: what is known of it, or some of that, is from before the stream was lost.
	// Its agent has not published everything anew since.
	Inherited bool `json:"inherited"`
}

// order is a drain or a leave that holds.
type order struct {
	Kind   string     `json:"kind"`
	Target string     `json:"target"` // the cluster, <gateway>.<cluster> or <name>.<namespace>.<cluster>
	By     string     `json:"by"`
	Reason string     `json:"reason"`
	Since  time.Time  `json:"since"`
	Until  *time.Time `json:"until"` // null: until somebody ends it
	Ending bool       `json:"ending"`
	Force  bool       `json:"force"`
}

type gateway struct {
	Name      string         `json:"name"`
	Addresses []netip.Addr   `json:"addresses"`
	Ports     map[string]int `json:"ports"`
	Weight    int            `json:"weight"`
}

func (h *handler) clusters(w http.ResponseWriter, r *http.Request) {
	if !checkQuery(w, r) {
		return
	}
	v, ok := h.synced(w)
	if !ok {
		return
	}
	body := struct {
		Clusters []cluster `json:"clusters"`
	}{Clusters: []cluster{}}
	orders := ordersOf(v)
	for _, c := range v.Clusters() {
		entry := h.cluster(c)
		entry.stands(v.State(c.ID), orders[c.ID])
		body.Clusters = append(body.Clusters, entry)
	}
	for _, s := range v.States() {
		if v.Cluster(s.Cluster) == nil { // gone: nothing else of it counts
			entry := h.cluster(&registry.ClusterState{ID: s.Cluster})
			entry.stands(s, orders[s.Cluster])
			body.Clusters = append(body.Clusters, entry)
		}
	}
	slices.SortFunc(body.Clusters, func(a, b cluster) int { return strings.Compare(string(a.Cluster), string(b.Cluster)) })
	writeJSON(w, body)
}

// ordersOf returns what holds, by cluster.
func ordersOf(v *registry.View) map[registry.ClusterID][]order {
	all := map[registry.ClusterID][]order{}
	for _, o := range v.Orders() {
		cluster, _, _, err := registry.ParseDrainTarget(o.Target) // a leave's target is a cluster, too
		if err != nil {
			continue
		}
		entry := order{Kind: o.Kind, Target: o.Target, By: o.By, Reason: o.Reason, Since: o.Stored.UTC(), Ending: o.Ending, Force: o.Force}
		if until, known := o.Ends(); known {
			until = until.UTC()
			entry.Until = &until
		}
		all[cluster] = append(all[cluster], entry)
	}
	return all
}

// stands adds what the observer and the operator have said.
func (c *cluster) stands(s *registry.StandingState, orders []order) {
	c.State, c.Failing, c.Orders = registry.Up, []string{}, append([]order{}, orders...)
	if s == nil {
		return
	}
	since := s.Since.UTC()
	c.State, c.Since, c.Reason, c.Evidence = s.State, &since, &s.Reason, s.Evidence
	c.Failing = append(c.Failing, s.Failing...)
}

func (h *handler) cluster(c *registry.ClusterState) cluster {
	out := cluster{
		Cluster: c.ID, Epoch: c.Epoch, Revision: c.Revision, Sequence: c.Sequence, Digest: c.Digest,
		Services: c.Services, Instances: c.Instances,
		Labels: map[string]string{}, Gateways: []gateway{}, Inherited: c.Inherited(),
	}
	if lease, age, ok := h.config.Leases.Lease(c.ID); ok {
		seconds := age.Seconds()
		out.Phase, out.LeaseAge, out.Source = &lease.Phase, &seconds, lease.Source
	}
	if c.Record == nil {
		return out
	}
	out.Region, out.Zone = c.Record.Region, c.Record.Zone
	if c.Record.Source != "" {
		out.Source = c.Record.Source
	}
	if c.Record.Labels != nil {
		out.Labels = c.Record.Labels
	}
	for _, g := range c.Record.Gateways {
		entry := gateway{Name: g.Name, Addresses: g.Addresses, Ports: g.Ports, Weight: g.Weight}
		if entry.Ports == nil {
			entry.Ports = map[string]int{}
		}
		out.Gateways = append(out.Gateways, entry)
	}
	return out
}
