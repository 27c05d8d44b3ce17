package registry

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// PortConflict is a gateway port on which the clusters of one service do not
// agree: they have different numbers for it, or some have none. A client that
// takes addresses from A or AAAA records and adds a port of its own reaches only
// some of them; SRV records (RFC 2782) tell each gateway's own port, and leave out
// the clusters that have none. It is immutable.
type PortConflict struct {
	Port     string              // its name
	Clusters map[ClusterID][]int // its numbers in each cluster, ascending; none: no gateway there has it
}

// PortConflicts returns where the gateways of the clusters that have instances of
// a service disagree, sorted by the port's name; nil when they agree. Clusters
// without a gateway have no say. Whether the instances are healthy does not count:
// a conflict is told before a failover meets it.
func (v *View) PortConflicts(e *Entry) []PortConflict {
	var clusters []*ClusterState
	for _, r := range e.Records {
		c := v.Cluster(r.Cluster)
		if !r.Tombstone() && c != nil && c.Record != nil && len(c.Record.Gateways) > 0 {
			clusters = append(clusters, c)
		}
	}
	names := map[string]bool{}
	for _, c := range clusters {
		for _, g := range c.Record.Gateways {
			for name := range g.Ports {
				names[name] = true
			}
		}
	}
	var conflicts []PortConflict
	for _, name := range slices.Sorted(maps.Keys(names)) {
		c := PortConflict{Port: name, Clusters: make(map[ClusterID][]int, len(clusters))}
		all := map[int]bool{}
		lacking := false
		for _, cluster := range clusters {
			numbers := gatewayPorts(cluster.Record.Gateways, name)
			c.Clusters[cluster.ID] = numbers
			lacking = lacking || len(numbers) == 0
			for _, n := range numbers {
				all[n] = true
			}
		}
		if lacking || len(all) > 1 {
			conflicts = append(conflicts, c)
		}
	}
	return conflicts
}

// gatewayPorts returns the numbers that gateways have for a port, ascending, each once.
func gatewayPorts(gateways []Gateway, name string) []int {
	numbers := []int{}
	for _, g := range gateways {
		if n, ok := g.Ports[name]; ok {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return slices.Compact(numbers)
}

// String says it for a person: "gateway port grpc is 50051 in amber, 9090 in
// bronze, and missing in cobalt".
func (c PortConflict) String() string {
	var is, missing []string
	for _, cluster := range slices.Sorted(maps.Keys(c.Clusters)) {
		numbers := c.Clusters[cluster]
		if len(numbers) == 0 {
			missing = append(missing, string(cluster))
			continue
		}
		text := strings.Trim(strings.ReplaceAll(fmt.Sprint(numbers), " ", " and "), "[]")
		is = append(is, text+" in "+string(cluster))
	}
	text := "gateway port " + c.Port + " is " + strings.Join(is, ", ")
	if len(missing) > 0 {
		text += ", and missing in " + strings.Join(missing, ", ")
	}
	return text
}
