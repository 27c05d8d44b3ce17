package sim

import (
	"fmt"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// look is called whenever everything rests.
func (w *world) look() {
	if !w.whole {
		return
	}
	w.disturb()
	for _, r := range w.readers {
		r.meet()
	}
	w.check.looked()
	for _, a := range w.agents {
		a.over()
	}
}

// step is one decision of the scheduler.
func (w *world) step(n int) {
	w.trace.step = n
	switch r := w.rng.IntN(100); {
	case r < 42:
		if able := w.servable(); len(able) > 0 {
			w.serve(able[w.rng.IntN(len(able))], w.fate())
			return
		}
		w.run(w.between(10*time.Millisecond, time.Second))
	case r < 45:
		if len(w.late) > 0 {
			w.arriveLate(w.rng.IntN(len(w.late)))
			return
		}
		w.change()
	case r < 62:
		w.change()
		w.tick()
	case r < 72:
		w.fault()
		w.tick()
	case r < 80:
		w.pass(w.between(time.Millisecond, 3*time.Second))
	case r < 99:
		w.run(w.between(50*time.Millisecond, 6*time.Second))
	case w.rng.IntN(3) > 0:
		w.run(w.between(10*time.Second, 90*time.Second))
	default:
		w.heal()
		w.run(150 * time.Second)
	}
}

// between draws a time, short ones more often.
func (w *world) between(least, most time.Duration) time.Duration {
	f := w.rng.Float64()
	return least + time.Duration(f*f*f*float64(most-least))
}

// fate draws what becomes of an operation.
func (w *world) fate() fate {
	if w.rng.IntN(100) >= w.noise {
		return served
	}
	return []fate{failed, hung, ackLost, ackHung, answered}[w.rng.IntN(5)]
}

// arriveLate lets a request take effect that nobody waits for any more.
func (w *world) arriveLate(n int) {
	o := w.late[n]
	w.late = append(w.late[:n:n], w.late[n+1:]...)
	w.noteOperation(o, "arrived late")
	_ = o.effect()
	w.tick()
}

// pass lets time pass in which nothing is served.
func (w *world) pass(d time.Duration) {
	w.note("", "nothing is served for", d.String(), 0)
	w.sleep(d)
	w.settle()
}

// run lets the world go on for a time: everything is served as it comes.
func (w *world) run(d time.Duration) {
	w.note("", "all goes on for", d.String(), 0)
	end := time.Now().Add(d)
	for count := 0; time.Now().Before(end); {
		if w.check.failed() {
			return
		}
		able := w.servable()
		if len(able) > 0 {
			f := w.fate()
			if able[0].waits && f != served {
				f = served
			}
			w.serve(able[0], f)
			if count++; count > 200*int(d/time.Second+1) {
				w.check.fail(flow, "%d operations in %v: something goes round and round, the last was %s of %s", count, d, able[0].kind, able[0].link.name)
				return
			}
			continue
		}
		timer := time.NewTimer(time.Until(end))
		w.rest(func() {
			select {
			case <-w.poke:
			case <-timer.C:
			}
		})
		timer.Stop()
		w.settle()
	}
}

// change lets something become true of a registry.
func (w *world) change() {
	s := w.sites[w.rng.IntN(len(w.sites))]
	n := w.rng.IntN(serviceNames)
	switch r := w.rng.IntN(20); {
	case r < 8:
		count := 1 + w.rng.IntN(5)
		w.note(string(s.id), fmt.Sprintf("registers s%d with", n), "instances", uint64(count))
		s.put(n, count)
	case r < 10:
		count := 10 + w.rng.IntN(8)
		w.note(string(s.id), fmt.Sprintf("registers s%d with", n), "instances", uint64(count))
		s.put(n, count)
	case r < 12:
		w.note(string(s.id), fmt.Sprintf("deregisters s%d", n), "", 0)
		s.remove(n)
	case r < 19:
		if was := s.truth.Service(serviceKey(n)); was != nil && len(was.Instances) > 0 {
			next := registry.Service{Key: was.Key, Instances: append([]registry.Instance(nil), was.Instances...)}
			i := &next.Instances[w.rng.IntN(len(next.Instances))]
			i.Health = []registry.Health{registry.Passing, registry.Warning, registry.Critical}[w.rng.IntN(3)]
			w.note(string(s.id), fmt.Sprintf("s%d %s is", n, i.ID), string(i.Health), 0)
			s.set(next)
		}
	default:
		w.note(string(s.id), "loses everything", "", 0)
		s.become(registry.NewSnapshot(fmt.Sprint(s.version + 1)))
	}
}
