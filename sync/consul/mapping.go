package consul

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/hashicorp/consul/api"
	"github.com/seamark-mesh/seamark/registry"
)

// mark names one thing that a service's state is made of: an instance (node and
// id), a check (node, id and check true), or a node (id empty).
type mark struct {
	node, id string
	check    bool
}

// instance reports whether the mark is one of an instance.
func (m mark) instance() bool { return !m.check && m.id != "" }

// fact is what is known of a mark.
type fact struct {
	index  uint64 // ModifyIndex
	status string // of a check
}

// record is what is believed of one service. It is immutable.
type record struct {
	service registry.Service // no instances: nothing to say of it
	// marks holds everything that the service's last read showed, skipped and
	// refused instances included.
	marks    map[mark]fact
	index    uint64 // of that read
	filtered bool   // ACLs hid a part of it
}

// door is what is let through, of a catalog.
type door struct {
	skipServices, skipTags, kinds map[string]bool
}

func newDoor(config Config) door {
	d := door{skipServices: make(map[string]bool), skipTags: map[string]bool{ImportTag: true}, kinds: map[string]bool{"": true}}
	for _, name := range config.SkipServices {
		d.skipServices[fold(name)] = true
	}
	for _, tag := range config.SkipTags {
		d.skipTags[tag] = true
	}
	for _, kind := range config.Kinds {
		d.kinds[kind] = true
	}
	return d
}

// admits reports whether a service of that name is read at all. A name that is
// not valid is told with a refusal.
func (d door) admits(name string) (bool, *registry.Refusal) {
	if d.skipServices[name] {
		return false, nil
	}
	if _, err := registry.ParseServiceKey("", name); err != nil {
		refusal, _ := err.(*registry.Refusal)
		return false, refusal
	}
	return true, nil
}

// admitsInstance reports whether an instance is read: no proxy or gateway unless
// asked for, not imported from a peer or by Seamark, not on a unix socket.
func (d door) admitsInstance(s *wireService) bool {
	return d.kinds[s.Kind] && s.PeerName == "" && s.SocketPath == "" &&
		!slices.ContainsFunc(s.Tags, func(tag string) bool { return d.skipTags[tag] })
}

// mapService turns one service's entries into a record, and tells what it refused.
func (d door) mapService(name string, entries []wireEntry) (record, []*registry.Refusal) {
	r := record{marks: make(map[mark]fact, 4*len(entries))}
	instances := make([]registry.Instance, 0, len(entries))
	var refused []*registry.Refusal
	for n := range entries {
		e := &entries[n]
		if e.Node == nil || e.Service == nil {
			continue
		}
		r.marks[mark{node: e.Node.Node}] = fact{index: e.Node.ModifyIndex}
		r.marks[mark{node: e.Node.Node, id: e.Service.ID}] = fact{index: e.Service.ModifyIndex}
		for _, check := range e.Checks {
			r.marks[mark{node: e.Node.Node, id: check.CheckID, check: true}] = fact{index: check.ModifyIndex, status: check.Status}
		}
		if !d.admitsInstance(e.Service) {
			continue
		}
		instance, refusal := mapInstance(e)
		if refusal != nil {
			refused = append(refused, refusal)
		}
		instances = append(instances, instance)
	}
	service, more, ok := registry.CleanService(registry.DefaultNamespace, name, instances)
	if ok {
		r.service = service
	}
	return r, append(refused, more...)
}

// instanceID is unique within a Consul datacenter: ids are unique per node only.
func instanceID(node, id string) string {
	return strings.NewReplacer("%", "%25", "/", "%2F").Replace(node) + "/" + id
}

func mapInstance(e *wireEntry) (registry.Instance, *registry.Refusal) {
	i := registry.Instance{ID: instanceID(e.Node.Node, e.Service.ID), Health: mapHealth(e.Checks)}
	i.Address, i.Port = mapAddress(e.Node, e.Service)
	i.Weight = mapWeight(e.Service.Weights, i.Health)
	version, fromMeta := mapVersion(e.Service)
	var refusal *registry.Refusal
	if len(version) > registry.MaxVersion || !utf8.ValidString(version) || strings.ContainsFunc(version, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		refusal = &registry.Refusal{Reason: "version", Detail: fmt.Sprintf(
			"instance %q: its version has %d bytes or is not printable; %d are the most; it stands without", clip(i.ID), len(version), registry.MaxVersion)}
		version, fromMeta = "", false
	}
	i.Version, i.Meta = version, e.Service.Meta
	if fromMeta {
		i.Meta = maps.Clone(i.Meta)
		delete(i.Meta, metaVersion)
	}
	return i, refusal
}

// mapHealth returns the worst of all checks, the node's and the service's own.
// Maintenance mode is a critical check. Without checks an instance is passing, as
// Consul itself has it; a status that is not known is critical.
func mapHealth(checks []wireCheck) registry.Health {
	health := registry.Passing
	for _, check := range checks {
		switch check.Status {
		case api.HealthPassing:
		case api.HealthWarning:
			health = registry.Warning
		default:
			return registry.Critical
		}
	}
	return health
}

// mapAddress returns where an instance can be reached from other clusters: its
// own WAN address, its own address, its node's WAN address, its node's address.
func mapAddress(n *wireNode, s *wireService) (string, int) {
	for _, tag := range []string{"wan", "wan_ipv4", "wan_ipv6"} {
		if a := s.TaggedAddresses[tag]; a.Address != "" {
			if a.Port > 0 {
				return a.Address, a.Port
			}
			return a.Address, s.Port
		}
	}
	if s.Address != "" {
		return s.Address, s.Port
	}
	for _, tag := range []string{"wan", "wan_ipv4", "wan_ipv6"} {
		if a := n.TaggedAddresses[tag]; a != "" {
			return a, s.Port
		}
	}
	return n.Address, s.Port
}

// mapWeight returns the weight for the health. A critical instance keeps the one
// that it has while it is passing: health alone takes it out of the answers, so
// that a flip changes one field and not two.
func mapWeight(w *wireWeights, h registry.Health) int {
	switch {
	case w == nil || w.Passing == 0 && w.Warning == 0: // from before weights
		return 1
	case h == registry.Warning:
		return w.Warning
	}
	return w.Passing
}

const metaVersion = "version"

// mapVersion returns the metadata "version", or else what follows the first tag
// "version=".
func mapVersion(s *wireService) (version string, fromMeta bool) {
	if v := s.Meta[metaVersion]; v != "" {
		return v, true
	}
	for _, tag := range s.Tags {
		if v, ok := strings.CutPrefix(tag, metaVersion+"="); ok {
			return v, false
		}
	}
	return "", false
}

// missing returns the instances that before shows and after does not.
func missing(before, after record) []mark {
	var gone []mark
	for m := range before.marks {
		if !m.instance() {
			continue
		}
		if _, there := after.marks[m]; !there {
			gone = append(gone, m)
		}
	}
	return gone
}

// keep returns after, in which the instances in doubt stand as before has them.
func keep(before, after record, doubted []mark) record {
	if len(doubted) == 0 {
		return after
	}
	kept := record{marks: maps.Clone(after.marks), index: after.index, filtered: after.filtered}
	if kept.marks == nil {
		kept.marks = make(map[mark]fact)
	}
	ids := make(map[string]bool, len(doubted))
	for _, m := range doubted {
		kept.marks[m] = before.marks[m]
		ids[instanceID(m.node, m.id)] = true
	}
	instances := slices.Clone(after.service.Instances)
	for _, i := range before.service.Instances {
		if ids[i.ID] {
			instances = append(instances, i)
		}
	}
	key := before.service.Key
	if key.Name == "" {
		key = after.service.Key
	}
	kept.service, _, _ = registry.CleanService(key.Namespace, key.Name, instances)
	return kept
}

// expectation is what a hint says that a read must show. A read that does not is
// repeated: it came from a server that lags.
type expectation struct {
	mark  mark
	index uint64
	past  bool // the mark is gone, or newer than index; else it is at least as new
}

func (x expectation) met(r record) bool {
	at, there := r.marks[x.mark]
	if x.past {
		return !there || at.index > x.index
	}
	return r.index >= x.index || there && at.index >= x.index
}
