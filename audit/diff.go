package audit

import "github.com/seamark-mesh/seamark/registry"

// Difference is one thing that is not the same: a service as such, one of its instances,
// a cluster, a gateway, the zone, a state or an order.
type Difference struct {
	What     string               `json:"what"`   // service, instance, cluster, gateway, zone, state, order
	Change   string               `json:"change"` // added, removed, changed
	Cluster  registry.ClusterID   `json:"cluster,omitempty"`
	Service  *registry.ServiceKey `json:"service,omitempty"`
	Name     string               `json:"name,omitempty"` // an instance's id, a gateway's name, an order's kind and target
	Fields   []FieldChange        `json:"fields,omitempty"`
	Sequence uint64               `json:"sequence,omitempty"` // of [Diff]: the latest message about it in the newer View
}

// The values of [Difference].Change.
const (
	Added   = "added"
	Removed = "removed"
	Changed = "changed"
)

// FieldChange is one field. Values are as a person reads them.
type FieldChange struct {
	Field string `json:"field"`
	Old   string `json:"old"`
	New   string `json:"new"`

	// Unknown says that the values are not known: only that the field changed.
	Unknown bool `json:"unknown,omitempty"`
}

// Diff returns what differs between two Views, sorted by what, cluster, service and
// name. Repetitions differ in nothing.
func Diff(old, new *registry.View) []Difference { return nil }
