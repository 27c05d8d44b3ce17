package nacos

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"github.com/seamark-mesh/seamark/registry"
)

// origin is where a service stands in Nacos.
type origin struct {
	unit *unit
	name string
}

// String names the service as an operator would: namespace, group, name.
func (o origin) String() string { return o.unit.String() + "/" + o.name }

// key returns the service's key in the mesh.
func (o origin) key() (registry.ServiceKey, error) {
	return registry.ParseServiceKey(o.unit.as, o.name+o.unit.suffix)
}

// before orders the services that meet under one key: the shorter suffix first,
// so that a name as it is registered goes before one that was made; then by
// namespace, group and name.
func (o origin) before(p origin) int {
	return cmp.Or(
		cmp.Compare(len(o.unit.suffix), len(p.unit.suffix)),
		cmp.Compare(o.unit.namespace, p.unit.namespace),
		cmp.Compare(o.unit.group, p.unit.group),
		cmp.Compare(o.name, p.name),
	)
}

// said is what a reading says of a service, in the words of the mesh.
type said struct {
	service   registry.Service // without instances when there is none, or its name is refused
	refused   []*registry.Refusal
	protected bool
	time      uint64
}

func (s *said) empty() bool { return len(s.service.Instances) == 0 }

// mapped translates a reading.
func (o origin) mapped(r reading) *said {
	instances, refused := r.instances()
	service, notes, _ := registry.CleanService(o.unit.as, o.name+o.unit.suffix, instances)
	return &said{service: service, refused: append(refused, notes...), protected: r.protected, time: r.time}
}

// catalog joins the services of all units into one snapshot. A service without
// an instance is no service. It is used by one goroutine.
type catalog struct {
	refused  func(*registry.Refusal)
	services map[origin]*catalogEntry
	claims   map[registry.ServiceKey][]origin // services with instances, the winner first
	touched  map[registry.ServiceKey]struct{} // since the last flush
	snapshot registry.Snapshot
	time     uint64 // the newest reading, the server's clock
}

type catalogEntry struct {
	service registry.Service    // without instances while there is none
	told    map[string]struct{} // refusals reported already
}

func newCatalog(refused func(*registry.Refusal)) *catalog {
	return &catalog{
		refused:  refused,
		services: make(map[origin]*catalogEntry),
		claims:   make(map[registry.ServiceKey][]origin),
		touched:  make(map[registry.ServiceKey]struct{}),
	}
}

// current returns what the catalog says of the service; nil when it has no
// instance.
func (c *catalog) current(o origin) *registry.Service {
	if e := c.services[o]; e != nil && len(e.service.Instances) > 0 {
		return &e.service
	}
	return nil
}

// put makes the catalog say this of the service.
func (c *catalog) put(o origin, is *said) {
	e := c.services[o]
	if e == nil {
		e = &catalogEntry{}
		c.services[o] = e
	}
	c.tell(e, o, is.refused)
	c.time = max(c.time, is.time)
	before := e.service
	if before.Equal(is.service) || len(before.Instances) == 0 && is.empty() {
		return
	}
	e.service = is.service
	switch {
	case len(before.Instances) == 0:
		c.claim(is.service.Key, o)
	case is.empty():
		c.unclaim(before.Key, o)
	}
	c.touched[cmp.Or(is.service.Key, before.Key)] = struct{}{}
}

// forget takes the service out of the catalog.
func (c *catalog) forget(o origin) {
	e := c.services[o]
	if e == nil {
		return
	}
	delete(c.services, o)
	if len(e.service.Instances) > 0 {
		c.unclaim(e.service.Key, o)
		c.touched[e.service.Key] = struct{}{}
	}
}

func (c *catalog) claim(k registry.ServiceKey, o origin) {
	claims := c.claims[k]
	at, _ := slices.BinarySearchFunc(claims, o, origin.before)
	claims = slices.Insert(claims, at, o)
	c.claims[k] = claims
	if len(claims) > 1 {
		c.refused(&registry.Refusal{Reason: "group-conflict", Detail: clip(fmt.Sprintf("%s and %s would both be %s: %[1]s is", claims[0], claims[1], k))})
	}
}

func (c *catalog) unclaim(k registry.ServiceKey, o origin) {
	c.claims[k] = slices.DeleteFunc(c.claims[k], func(p origin) bool { return p == o })
	if len(c.claims[k]) == 0 {
		delete(c.claims, k)
	}
}

// tellAtMost bounds what is reported, and remembered, of one service.
const tellAtMost = 32

// tell reports the refusals that were not reported for this service before.
func (c *catalog) tell(e *catalogEntry, o origin, refused []*registry.Refusal) {
	if len(refused) == 0 {
		e.told = nil
		return
	}
	told := make(map[string]struct{}, min(len(refused), tellAtMost))
	for _, r := range refused[:min(len(refused), tellAtMost)] {
		if _, before := e.told[r.Detail]; !before {
			c.refused(&registry.Refusal{Reason: r.Reason, Detail: clip(o.String()) + ": " + r.Detail})
		}
		told[r.Detail] = struct{}{}
	}
	e.told = told
}

// flush returns the snapshot, and whether it differs from the last one.
func (c *catalog) flush() (registry.Snapshot, bool) {
	if len(c.touched) == 0 {
		return c.snapshot, false
	}
	var set []registry.Service
	var gone []registry.ServiceKey
	for k := range c.touched {
		if claims := c.claims[k]; len(claims) > 0 {
			set = append(set, c.services[claims[0]].service)
		} else {
			gone = append(gone, k)
		}
	}
	clear(c.touched)
	before, index := c.snapshot, strconv.FormatUint(c.time, 10)
	if len(set) > 0 {
		c.snapshot = c.snapshot.With(index, set...)
	}
	if len(gone) > 0 {
		c.snapshot = c.snapshot.Without(index, gone...)
	}
	return c.snapshot, len(registry.Diff(before, c.snapshot)) > 0
}
