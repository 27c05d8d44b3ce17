package api

import (
	"net/http"
	"net/netip"

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
	for _, c := range v.Clusters() {
		body.Clusters = append(body.Clusters, h.cluster(c))
	}
	writeJSON(w, body)
}

func (h *handler) cluster(c *registry.ClusterState) cluster {
	out := cluster{
		Cluster: c.ID, Epoch: c.Epoch, Revision: c.Revision, Sequence: c.Sequence, Digest: c.Digest,
		Services: c.Services, Instances: c.Instances,
		Labels: map[string]string{}, Gateways: []gateway{},
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
