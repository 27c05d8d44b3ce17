package audit

import (
	"slices"

	"github.com/seamark-mesh/seamark/registry"
)

func diffZone(old, new *registry.View) []Difference {
	if d, differs := between(Difference{What: "zone"}, zoneValues(old.Zone()), zoneValues(new.Zone())); differs {
		return []Difference{d}
	}
	return nil
}

func diffClusters(old, new *registry.View) (all []Difference) {
	records := func(v *registry.View) map[registry.ClusterID]*registry.ClusterState {
		m := map[registry.ClusterID]*registry.ClusterState{}
		for _, c := range v.Clusters() {
			m[c.ID] = c
		}
		return m
	}
	before, after := records(old), records(new)
	for id := range union(before, after) {
		was, is := before[id], after[id]
		all = append(all, diffCluster(id, was, is)...)
	}
	return all
}

func diffCluster(id registry.ClusterID, was, is *registry.ClusterState) (all []Difference) {
	var before, after *registry.ClusterRecord
	sequence := uint64(0)
	d := Difference{What: "cluster", Cluster: id}
	if was != nil {
		before = was.Record
	}
	if is != nil {
		after, sequence = is.Record, is.RecordSequence
	}
	d.Sequence = sequence
	switch fields := clusterValues(before).compare(clusterValues(after)); {
	case was == nil:
		d.Change, d.Fields = Added, fields
		if d.Sequence == 0 {
			d.Sequence = is.Sequence
		}
		all = append(all, d)
	case is == nil:
		d.Change, d.Fields = Removed, fields
		all = append(all, d)
	case len(fields) > 0:
		d.Change, d.Fields = Changed, fields
		all = append(all, d)
	}
	return append(all, diffGateways(id, before, after, sequence)...)
}

// diffGateways compares the gateways of two records of one cluster; either may be nil.
func diffGateways(id registry.ClusterID, before, after *registry.ClusterRecord, sequence uint64) (all []Difference) {
	gateways := func(r *registry.ClusterRecord) map[string]*registry.Gateway {
		m := map[string]*registry.Gateway{}
		if r != nil {
			for n := range r.Gateways {
				m[r.Gateways[n].Name] = &r.Gateways[n]
			}
		}
		return m
	}
	was, is := gateways(before), gateways(after)
	for name := range union(was, is) {
		d := Difference{What: "gateway", Cluster: id, Name: name, Sequence: sequence}
		if d, differs := between(d, gatewayValues(was[name]), gatewayValues(is[name])); differs {
			all = append(all, d)
		}
	}
	return all
}

func diffStates(old, new *registry.View) (all []Difference) {
	states := func(v *registry.View) map[registry.ClusterID]*registry.StandingState {
		m := map[registry.ClusterID]*registry.StandingState{}
		for _, s := range v.States() {
			m[s.Cluster] = s
		}
		return m
	}
	before, after := states(old), states(new)
	for id := range union(before, after) {
		d := Difference{What: "state", Cluster: id}
		var was, is *registry.StateRecord
		if s := before[id]; s != nil {
			was = &s.StateRecord
		}
		if s := after[id]; s != nil {
			is, d.Sequence = &s.StateRecord, s.Sequence
		}
		if d, differs := between(d, stateValues(was), stateValues(is)); differs {
			all = append(all, d)
		}
	}
	return all
}

func diffOrders(old, new *registry.View) (all []Difference) {
	orders := func(v *registry.View) map[string]*registry.StandingOrder {
		m := map[string]*registry.StandingOrder{}
		for _, o := range v.Orders() {
			m[o.Kind+" "+o.Target] = o
		}
		return m
	}
	before, after := orders(old), orders(new)
	for name := range union(before, after) {
		d := Difference{What: "order", Name: name}
		var was, is *registry.Order
		if o := before[name]; o != nil {
			was, d.Cluster = &o.Order, targetCluster(o.Order)
		}
		if o := after[name]; o != nil {
			is, d.Sequence, d.Cluster = &o.Order, o.Sequence, targetCluster(o.Order)
		}
		if d, differs := between(d, orderValues(was), orderValues(is)); differs {
			all = append(all, d)
		}
	}
	return all
}

// targetCluster is the cluster that an order is about.
func targetCluster(o registry.Order) registry.ClusterID {
	if cluster, _, _, err := registry.ParseDrainTarget(o.Target); err == nil {
		return cluster
	}
	return registry.ClusterID(o.Target)
}

// place is one service in one cluster.
type place struct {
	cluster registry.ClusterID
	key     registry.ServiceKey
}

func diffNames(old, new *registry.View) (all []Difference) {
	for name := range new.Names() {
		was, _ := old.Name(name.Labels)
		if was == name {
			continue
		}
		before := recordsOf(was)
		for at, is := range recordsOf(name) {
			if r := before[at]; r == nil || r.Digest != is.Digest {
				all = append(all, diffRecords(at, r, is)...)
			}
			delete(before, at)
		}
		for at, r := range before {
			all = append(all, diffRecords(at, r, nil)...)
		}
	}
	for name := range old.Names() {
		if _, known := new.Name(name.Labels); known {
			continue
		}
		for at, r := range recordsOf(name) {
			all = append(all, diffRecords(at, r, nil)...)
		}
	}
	return all
}

func recordsOf(n *registry.Name) map[place]*registry.Record {
	if n == nil {
		return nil
	}
	m := map[place]*registry.Record{}
	for _, e := range n.Known() {
		for _, r := range e.Records {
			m[place{r.Cluster, e.Key}] = r
		}
	}
	return m
}

// diffRecords tells what differs of one service in one cluster; either may be nil.
func diffRecords(at place, was, is *registry.Record) (all []Difference) {
	service := Difference{What: "service", Cluster: at.cluster, Service: &at.key}
	var before, after []registry.Instance
	if was != nil {
		before = was.Service.Instances
	}
	if is != nil {
		after, service.Sequence = is.Service.Instances, is.Sequence
	}
	switch {
	case was == nil:
		service.Change = Added
		all = append(all, service)
	case is == nil:
		service.Change = Removed
		all = append(all, service)
	}
	return append(all, diffInstances(service, before, after)...)
}

// diffInstances compares two lists that are sorted by id.
func diffInstances(of Difference, before, after []registry.Instance) (all []Difference) {
	for len(before) > 0 || len(after) > 0 {
		var was, is *registry.Instance
		if len(after) == 0 || len(before) > 0 && before[0].ID <= after[0].ID {
			was = &before[0]
		}
		if len(before) == 0 || len(after) > 0 && after[0].ID <= before[0].ID {
			is = &after[0]
		}
		d := Difference{What: "instance", Cluster: of.Cluster, Service: of.Service, Sequence: of.Sequence}
		if was != nil {
			d.Name, before = was.ID, before[1:]
		}
		if is != nil {
			d.Name, after = is.ID, after[1:]
		}
		if d, differs := between(d, instanceValues(was), instanceValues(is)); differs {
			all = append(all, d)
		}
	}
	return slices.Clip(all)
}

// union is the set of the keys of two maps.
func union[K comparable, V any](a, b map[K]V) map[K]struct{} {
	all := make(map[K]struct{}, max(len(a), len(b)))
	for k := range a {
		all[k] = struct{}{}
	}
	for k := range b {
		all[k] = struct{}{}
	}
	return all
}
