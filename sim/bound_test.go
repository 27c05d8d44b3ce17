package sim

import (
	"fmt"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// Bounds of what may take how long.
const (
	inTimeAfter = 110 * time.Second // of calm, until what is shown is what is true
	changeAfter = 20 * time.Second  // then, of a change
	impatience  = time.Second       // of an operation that is not served
)

// disturb notes since when all is well with what.
func (w *world) disturb() {
	now := time.Now()
	all := w.noise > 0 || len(w.late) > 0
	for _, o := range w.pending {
		all = all || now.Sub(o.at) > impatience && !o.waits
	}
	if all {
		w.calmSince = now
	}
	for _, r := range w.readers {
		if all || !r.running() || r.stops || r.tail.cut || r.tail.broken > 0 {
			r.disturbed = now
		}
	}
	for _, s := range w.sites {
		leads := false
		for _, a := range w.agents {
			if a.site != s {
				continue
			}
			leads = leads || a.running() && !a.stops
			if a.running() && (a.log.cut || a.source.cut || a.log.broken > 0 || a.source.broken > 0) || a.stops || a.holds(now) {
				s.disturbed = now
			}
		}
		for _, g := range s.gateways {
			if !s.reached[g.Name] {
				s.unreached = now
			}
		}
		if all || !leads || s.down || w.losses > 0 && w.stream.now().Before(w.stream.shown) {
			s.disturbed = now
		}
	}
}

// holds reports whether the agent's brake holds something. It asks seldom.
func (a *agent) holds(now time.Time) bool {
	if served := a.log.served + a.source.served; served != a.asked || now.Sub(a.askedAt) > 2*time.Second {
		a.asked, a.askedAt = served, now
		a.braked = a.real.Status().Brake.State != ""
	}
	return a.braked
}

// inTime holds what readers show to what is true, where nothing has been amiss for long.
func (c *checker) inTime() {
	for _, r := range c.world.readers {
		if time.Since(r.disturbed) < inTimeAfter || !r.running() {
			continue
		}
		v := r.store.View()
		if !v.Synced() {
			c.fail(convergence, "%s is not synced after %v of calm", r.name, inTimeAfter)
		}
		for _, s := range c.world.sites {
			if time.Since(s.disturbed) < inTimeAfter {
				continue
			}
			if i, fault := s.differs(v, changeAfter); fault != "" {
				c.fail(i, "%s: %s", r.name, fault)
			}
		}
	}
}

// differs tells how what a View says of a site differs from the truth, but for what has
// changed lately; "" when it does not.
func (s *site) differs(v *registry.View, lately time.Duration) (invariant, string) {
	for n := range serviceNames {
		key := serviceKey(n)
		if at, ever := s.changed[key]; ever && time.Since(at) < lately {
			continue
		}
		true_ := s.truth.Service(key)
		var shown *registry.Service
		if e, known := v.Service(key); known {
			if r := e.Record(s.id); r != nil {
				shown = &r.Service
			}
		}
		switch changes := registry.Compare(shown, true_); {
		case changes == nil:
		case len(changes.Removed) > 0:
			return noGhost, fmt.Sprintf("%v of %s in %s are gone and still shown", changes.Removed, key, s.id)
		case len(changes.Added) > 0:
			return noLoss, fmt.Sprintf("%v of %s in %s are there and not shown", changes.Added, key, s.id)
		default:
			return convergence, fmt.Sprintf("%+v of %s in %s have changed", changes.Changed, key, s.id)
		}
	}
	return 0, ""
}
