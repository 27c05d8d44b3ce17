package sim

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// site is one cluster: its registry, which holds the truth, and its gateways.
type site struct {
	world     *world
	id        registry.ClusterID
	truth     registry.Snapshot
	version   int                 // of the truth
	since     map[place]int       // the version from which on an instance has always been there
	begun     map[place]time.Time // when it was last seen to come
	ended     map[place]end       // when it was last seen to go
	changed   map[registry.ServiceKey]time.Time
	down      bool      // the registry can't be read
	lie       string    // what it says next instead of the truth: empty, half, old, back
	honest    time.Time // until when it says no other lie
	older     registry.Snapshot
	gateways  []registry.Gateway
	reached   map[string]bool
	disturbed time.Time // when something was last amiss with it
	unreached time.Time // when one of its gateways was last out of reach
}

// place names an instance.
type place struct {
	service  registry.ServiceKey
	instance string
}

type end struct {
	version int
	at      time.Time
}

func newSite(w *world, n int) *site {
	s := &site{
		world: w, id: registry.ClusterID(fmt.Sprintf("c%d", n)), since: map[place]int{}, begun: map[place]time.Time{}, ended: map[place]end{},
		changed: map[registry.ServiceKey]time.Time{}, reached: map[string]bool{},
	}
	for g := range 1 + w.rng.IntN(2) {
		name := fmt.Sprintf("gw-%d", g)
		s.gateways = append(s.gateways, registry.Gateway{
			Name: name, Addresses: []netip.Addr{netip.AddrFrom4([4]byte{192, 0, byte(n + 1), byte(g + 1)})}, Ports: map[string]int{"http": 80}, Weight: 1,
		})
		s.reached[name] = true
	}
	for n := range 2 + w.rng.IntN(3) {
		s.put(n, 1+w.rng.IntN(4))
	}
	if w.rng.IntN(2) == 0 { // enough that the brake has something to hold
		s.put(0, 11+w.rng.IntN(6))
	}
	return s
}

// serviceNames are those that may be registered.
const serviceNames = 5

func serviceKey(n int) registry.ServiceKey {
	return registry.ServiceKey{Namespace: "shop", Name: fmt.Sprintf("s%d", n)}
}

// put registers so many instances of a service.
func (s *site) put(n, instances int) {
	service := registry.Service{Key: serviceKey(n)}
	if was := s.truth.Service(service.Key); was != nil {
		service.Instances = slices.Clone(was.Instances[:min(instances, len(was.Instances))])
	}
	for i := len(service.Instances); i < instances; i++ {
		service.Instances = append(service.Instances, registry.Instance{
			ID: fmt.Sprintf("i%02d", i), Address: fmt.Sprintf("10.0.%d.%d", n, i+1), Port: 8080, Weight: 1, Health: registry.Passing,
		})
	}
	s.set(service)
}

// set replaces a service in the truth.
func (s *site) set(service registry.Service) {
	s.become(s.truth.With(fmt.Sprint(s.version+1), service))
}

func (s *site) remove(n int) {
	s.become(s.truth.Without(fmt.Sprint(s.version+1), serviceKey(n)))
}

// become makes a snapshot the truth.
func (s *site) become(next registry.Snapshot) {
	s.older = s.truth
	s.version++
	for _, c := range registry.Diff(s.truth, next) {
		s.changed[c.Key] = time.Now()
		there := map[string]bool{}
		if c.New != nil {
			for _, i := range c.New.Instances {
				there[i.ID] = true
				if p := (place{c.Key, i.ID}); s.since[p] == 0 {
					s.since[p], s.begun[p] = s.version, time.Now()
				}
			}
		}
		if c.Old != nil {
			for _, i := range c.Old.Instances {
				if p := (place{c.Key, i.ID}); !there[i.ID] {
					delete(s.since, p)
					s.ended[p] = end{s.version, time.Now()}
				}
			}
		}
	}
	s.truth = next
}

// reading is what the registry says when it is read now, and which version of the truth
// that is: 0 for a lie, which is told once. A registry that went back to what it held
// before, as from a snapshot, does so while it is watched, and then the watch reads the
// whole catalogue anew; one that is behind only answers so when it is read.
func (s *site) reading(watch bool) (said registry.Snapshot, version int) {
	lie := s.lie
	if watch && lie == "old" || !watch && lie == "back" {
		lie = ""
	} else {
		s.lie = ""
	}
	if lie != "" {
		s.honest = time.Now().Add(3 * time.Minute)
		s.disturbed = time.Now()
	}
	switch lie {
	case "empty":
		return registry.NewSnapshot("0"), 0
	case "half":
		var some []registry.Service
		for v := range s.truth.Services() {
			some = append(some, *v)
		}
		slices.SortFunc(some, func(a, b registry.Service) int { return a.Key.Compare(b.Key) })
		return registry.NewSnapshot(s.truth.Index(), some[:len(some)*2/5]...), 0
	case "old":
		return s.older, 0
	case "back":
		return s.older, s.version - 1
	}
	return s.truth, s.version
}

// source is a registry as one agent sees it.
type source struct {
	*link
	site      *site
	delivered int       // version of the truth that the watch has shown; 0: none
	honest    int       // likewise, never lowered by a lie; it goes back with the registry
	shown     time.Time // when the watch last showed the truth
}

func (s *source) Watch(ctx context.Context, emit func(registry.Snapshot)) error {
	s.world.turn.Lock()
	s.delivered = 0
	s.world.turn.Unlock()
	for {
		var said registry.Snapshot
		news := func() bool { return s.site.down || s.site.lie == "back" || s.delivered != s.site.version }
		err := s.wait(ctx, "watch", news, func() error {
			if s.site.down {
				return errRefused
			}
			if said, s.delivered = s.site.reading(true); s.delivered > 0 {
				s.honest, s.shown = s.delivered, time.Now()
			}
			return nil
		})
		if err != nil {
			return err
		}
		emit(said)
	}
}

func (s *source) Read(ctx context.Context) (registry.Snapshot, error) {
	var said registry.Snapshot
	err := s.call(ctx, "read", false, func() error {
		if s.site.down {
			return errRefused
		}
		said, _ = s.site.reading(false)
		return nil
	})
	if err != nil {
		return registry.Snapshot{}, err
	}
	return said, nil
}
