package lookup

import (
	"slices"
	"strings"

	"github.com/seamark-mesh/seamark/registry"
)

// mayExist reports whether nobody can say that an absent name does not exist, head
// being its part above the zone: the last message about its service can't be used, and
// what stood before was not found yet. NXDOMAIN would be believed, and cached.
func mayExist(v *registry.View, head string) bool {
	if !v.AnyUnknown() {
		return false
	}
	labels := strings.Split(head, ".")
	slices.Reverse(labels) // from the top
	switch {
	case labels[0] == "svc" && len(labels) > 1:
		short := registry.Labels{Namespace: registry.DefaultNamespace, Name: labels[1]}
		if len(labels) == 2 {
			return v.Unknown(short) || v.UnknownNamespace(labels[1])
		}
		return v.Unknown(registry.Labels{Namespace: labels[1], Name: labels[2]}) || v.Unknown(short) || browsed(labels[2:]) && v.UnknownNamespace(labels[1])
	case labels[0] == "cluster" && len(labels) > 1:
		switch {
		case v.Cluster(registry.ClusterID(labels[1])) == nil:
			return false
		case len(labels) == 2:
			return true
		case len(labels) == 3:
			return v.UnknownNamespace(labels[2])
		}
		return v.Unknown(registry.Labels{Namespace: labels[2], Name: labels[3]})
	}
	return false
}

// mayBeService reports whether a name that is a branch, head being its part above the
// zone, may be a service as well: <name>.svc is a namespace, and what a cluster says of the
// service of that name in the default namespace is still looked for. NODATA would say that
// the service has no address.
func mayBeService(v *registry.View, head string) bool {
	if !v.AnyUnknown() {
		return false
	}
	label, short := strings.CutSuffix(head, ".svc")
	return short && !strings.Contains(label, ".") && v.Unknown(registry.Labels{Namespace: registry.DefaultNamespace, Name: label})
}

// browsed reports whether labels in front of a namespace's lead to its lists.
func browsed(labels []string) bool { return strings.HasPrefix(labels[0], "_") }
