package api

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// service is an entry of /v1/services.
type service struct {
	Namespace string          `json:"namespace"`
	Name      string          `json:"name"`
	Clusters  []serviceRecord `json:"clusters"` // that know it, sorted
	Conflicts []conflict      `json:"conflicts"`
}

// conflict is a port on which the gateways of a service's clusters do not agree.
type conflict struct {
	Port     string                       `json:"port"`     // its name
	Clusters map[registry.ClusterID][]int `json:"clusters"` // its numbers, ascending; none: no gateway there has it
	Detail   string                       `json:"detail"`
}

func describeConflicts(v *registry.View, e *registry.Entry) []conflict {
	out := []conflict{}
	for _, c := range v.PortConflicts(e) {
		out = append(out, conflict{Port: c.Port, Clusters: c.Clusters, Detail: c.String()})
	}
	return out
}

// serviceRecord is a service in one cluster.
type serviceRecord struct {
	Cluster   registry.ClusterID `json:"cluster"`
	Healthy   int                `json:"healthy"` // instances that take traffic
	Total     int                `json:"total"`
	Versions  []string           `json:"versions"` // of all instances, sorted
	Ports     []int              `json:"ports"`    // of all instances, ascending
	Epoch     uint64             `json:"epoch"`    // of the latest message
	Revision  uint64             `json:"revision"`
	Sequence  uint64             `json:"sequence"`
	ChangedAt time.Time          `json:"changed_at"` // the last real change, by its writer's clock
	Instances []instance         `json:"instances,omitzero"`
}

// instance has every field, also the empty ones.
type instance struct {
	ID      string            `json:"id"`
	Address string            `json:"address"`
	Port    int               `json:"port"`
	Weight  int               `json:"weight"`
	Health  registry.Health   `json:"health"`
	Version string            `json:"version"`
	Meta    map[string]string `json:"meta"`
}

func describeInstances(instances []registry.Instance) []instance {
	out := make([]instance, 0, len(instances))
	for _, i := range instances {
		if i.Meta == nil {
			i.Meta = map[string]string{}
		}
		out = append(out, instance(i))
	}
	return out
}

func (h *handler) services(w http.ResponseWriter, r *http.Request) {
	if !checkQuery(w, r, "namespace", "name", "cluster") {
		return
	}
	v, ok := h.synced(w)
	if !ok {
		return
	}
	query := r.URL.Query()
	entries := selectEntries(v, query.Get("namespace"), query.Get("name"), registry.ClusterID(query.Get("cluster")))
	// One entry at a time: with all services at once the answer would take more
	// memory than the registry.
	writeHeader(w, "application/json", http.StatusOK)
	out := bufio.NewWriterSize(w, 64<<10)
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	_, _ = fmt.Fprintf(out, `{"sequence":%d,"services":[`, v.Sequence())
	for n, e := range entries {
		if n > 0 {
			_ = out.WriteByte(',')
		}
		if err := encoder.Encode(describe(v, e, registry.ClusterID(query.Get("cluster")), false)); err != nil {
			return // the client has gone
		}
	}
	_, _ = out.WriteString("]}\n")
	_ = out.Flush()
}

// selectEntries returns the known services that match, sorted by key; an empty
// filter matches all.
func selectEntries(v *registry.View, namespace, name string, cluster registry.ClusterID) []*registry.Entry {
	var entries []*registry.Entry
	for n := range v.Names() {
		for _, e := range n.Entries {
			if len(e.Records) == 0 || namespace != "" && e.Key.Namespace != namespace || name != "" && e.Key.Name != name {
				continue
			}
			if cluster == "" || e.Record(cluster) != nil {
				entries = append(entries, e)
			}
		}
	}
	slices.SortFunc(entries, func(a, b *registry.Entry) int { return a.Key.Compare(b.Key) })
	return entries
}

func (h *handler) service(w http.ResponseWriter, r *http.Request) {
	if !checkQuery(w, r) {
		return
	}
	v, ok := h.synced(w)
	if !ok {
		return
	}
	key, err := registry.ParseServiceKey(r.PathValue("namespace"), r.PathValue("name"))
	if err != nil {
		writeProblem(w, http.StatusNotFound, err.Error())
		return
	}
	entry, ok := v.Service(key)
	if !ok {
		writeProblem(w, http.StatusNotFound, fmt.Sprintf("no cluster ever registered %s", key))
		return
	}
	writeJSON(w, describe(v, entry, "", true))
}

// describe shows a service, in one cluster or in all; what conflicts, it tells of all.
func describe(v *registry.View, e *registry.Entry, cluster registry.ClusterID, instances bool) service {
	s := service{Namespace: e.Key.Namespace, Name: e.Key.Name, Clusters: []serviceRecord{}, Conflicts: describeConflicts(v, e)}
	for _, r := range e.Records {
		if cluster != "" && r.Cluster != cluster {
			continue
		}
		record := serviceRecord{
			Cluster: r.Cluster, Healthy: r.Serving, Total: r.Total, Versions: []string{}, Ports: []int{},
			Epoch: r.Epoch, Revision: r.Revision, Sequence: r.Sequence, ChangedAt: r.Changed.Time.UTC(),
		}
		for n := range r.Service.Instances {
			i := &r.Service.Instances[n]
			if i.Version != "" {
				record.Versions = append(record.Versions, i.Version)
			}
			if i.Port != 0 {
				record.Ports = append(record.Ports, i.Port)
			}
		}
		slices.Sort(record.Ports)
		slices.SortFunc(record.Versions, strings.Compare)
		record.Ports, record.Versions = slices.Compact(record.Ports), slices.Compact(record.Versions)
		if instances {
			record.Instances = describeInstances(r.Service.Instances)
		}
		s.Clusters = append(s.Clusters, record)
	}
	return s
}
