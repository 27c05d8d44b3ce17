package sim

import (
	"fmt"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// fault lets something go wrong, or right again.
func (w *world) fault() {
	switch r := w.rng.IntN(100); {
	case r < 12:
		w.noise = []int{0, 0, 5, 20, 50}[w.rng.IntN(5)]
		w.note("", "requests that go wrong, percent", "", uint64(w.noise))
	case r < 32:
		w.partition(w.anyLink())
	case r < 44:
		w.rejoin(w.anyLink())
	case r < 54:
		k := w.anyLink()
		k.broken = 1 + w.rng.IntN(3)
		w.note(k.name, "consumers break off", "", uint64(k.broken))
	case r < 70:
		w.upset(w.agents[w.rng.IntN(len(w.agents))])
	case r < 77:
		r := w.readers[w.rng.IntN(len(w.readers))]
		if r.running() {
			w.note(r.name, "killed", "", 0)
			r.kill()
		} else {
			w.note(r.name, "started", "", 0)
			r.start()
		}
	case r < 86:
		w.mislead(w.sites[w.rng.IntN(len(w.sites))])
	case r < 88:
		w.turnClock()
	case r < 90:
		w.zombie(w.sites[w.rng.IntN(len(w.sites))])
	case r < 93:
		w.command()
	case r < 95:
		w.attack()
	case r < 96 && w.losable:
		w.lose()
	default:
		w.heal()
	}
}

// anyLink draws one way of a process.
func (w *world) anyLink() *link {
	n := w.rng.IntN(2*len(w.agents) + len(w.readers))
	switch {
	case n < len(w.agents):
		return w.agents[n].log.link
	case n < 2*len(w.agents):
		return w.agents[n-len(w.agents)].source.link
	}
	return w.readers[n-2*len(w.agents)].tail.link
}

// partition cuts a link.
func (w *world) partition(k *link) {
	k.cut = true
	k.refuse, k.oneWay = false, false
	switch w.rng.IntN(4) {
	case 0:
		k.refuse = true
	case 1:
		k.oneWay = true
	}
	w.note(k.name, "cut off", fmt.Sprintf("refuse=%v one way=%v", k.refuse, k.oneWay), 0)
}

// rejoin ends that. Consumers may have to begin anew.
func (w *world) rejoin(k *link) {
	if k.cut {
		k.cut, k.refuse, k.oneWay = false, false, false
		k.broken = w.rng.IntN(3)
		w.note(k.name, "joined again", "", uint64(k.broken))
	}
}

// upset kills, stops or starts an agent.
func (w *world) upset(a *agent) {
	switch {
	case a.stops:
	case !a.running():
		w.startAgent(a)
	case w.rng.IntN(3) == 0:
		w.note(a.name, "stopped", "", 0)
		a.stop()
	default:
		w.note(a.name, "killed", "", 0)
		a.kill()
	}
}

// startAgent runs an agent, which may take itself for the one before.
func (w *world) startAgent(a *agent) {
	name := a.name
	if w.rng.IntN(2) == 0 {
		name = fmt.Sprint(a.name, ".", a.starts)
	}
	w.note(a.name, "started as", name, 0)
	a.start(name)
}

// mislead lets a registry fail or lie, or its gateways be out of reach.
func (w *world) mislead(s *site) {
	switch w.rng.IntN(4) {
	case 0:
		s.down = !s.down
		w.note(string(s.id), "the registry is down", fmt.Sprint(s.down), 0)
	case 1, 2:
		if time.Now().After(s.honest) {
			s.lie = []string{"empty", "half", "old", "back"}[w.rng.IntN(4)]
			w.note(string(s.id), "the registry lies", s.lie, 0)
		}
	default:
		g := s.gateways[w.rng.IntN(len(s.gateways))].Name
		s.reached[g] = !s.reached[g]
		w.note(string(s.id), "reached "+g, fmt.Sprint(s.reached[g]), 0)
	}
}

// heal ends all faults.
func (w *world) heal() {
	w.note("", "all is healed", "", 0)
	w.noise = 0
	for _, a := range w.agents {
		w.rejoin(a.log.link)
		w.rejoin(a.source.link)
		if !a.running() {
			w.startAgent(a)
		}
	}
	for _, r := range w.readers {
		w.rejoin(r.tail.link)
		if !r.running() {
			r.start()
		}
	}
	for _, s := range w.sites {
		s.down, s.lie = false, ""
		for g := range s.reached {
			s.reached[g] = true
		}
	}
	w.remains()
	w.setRight()
	for _, o := range w.check.view.Orders() {
		w.order(nil, registry.Order{Kind: o.Kind, Target: o.Target, By: "the simulation", Reason: "healed", Lifted: true}, registry.CauseChange)
	}
	for len(w.late) > 0 {
		w.arriveLate(0)
	}
}
