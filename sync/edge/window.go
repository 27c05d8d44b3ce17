package edge

import (
	"slices"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// tally counts services that have an instance, and the instances of all.
type tally struct{ services, instances int }

// add counts a service, or with by = -1 takes it out again.
func (t *tally) add(s *registry.Service, by int) {
	if n := size(s); n > 0 {
		t.services += by
		t.instances += by * n
	}
}

func (t tally) plus(o tally) tally { return tally{t.services + o.services, t.instances + o.instances} }

func (t tally) most(o tally) tally {
	return tally{max(t.services, o.services), max(t.instances, o.instances)}
}

func size(s *registry.Service) int {
	if s == nil {
		return 0
	}
	return len(s.Instances)
}

// loss is a service that has fewer instances than it had.
type loss struct {
	base   *registry.Service // as it was last known
	said   *registry.Service // the registry's word now; nil: gone
	held   int               // instances of base that the registry lacks
	digest registry.Digest   // of their ids
}

func newLoss(base, said *registry.Service) *loss {
	l := &loss{base: base, said: said}
	ids := registry.Service{Key: base.Key}
	for _, i := range l.lacking() {
		ids.Instances = append(ids.Instances, registry.Instance{ID: i.ID})
	}
	state := registry.NewServiceState(base.Key, &ids)
	l.held, l.digest = len(ids.Instances), state.Digest()
	return l
}

// lacking returns the instances of base that the registry lacks, in order.
func (l *loss) lacking() []registry.Instance {
	listed := make(map[string]bool, size(l.said))
	if l.said != nil {
		for _, i := range l.said.Instances {
			listed[i.ID] = true
		}
	}
	var lacking []registry.Instance
	for _, i := range l.base.Instances {
		if !listed[i.ID] {
			lacking = append(lacking, i)
		}
	}
	return lacking
}

// stands returns the service with what the registry lists, as it is, and what it lacks, as it was.
func (l *loss) stands() *registry.Service {
	s := registry.Service{Key: l.base.Key, Instances: l.lacking()}
	if l.said != nil {
		s.Instances = append(s.Instances, l.said.Instances...)
	}
	slices.SortFunc(s.Instances, func(a, b registry.Instance) int { return compareText(a.ID, b.ID) })
	return &s
}

// tallyOf counts what was lost: services that have nothing left, and instances for
// which no other came.
func tallyOf(losses map[registry.ServiceKey]*loss) (t tally) {
	for _, l := range losses {
		if size(l.said) == 0 {
			t.services++
		}
		t.instances += size(l.base) - size(l.said)
	}
	return t
}

// window remembers what services were like before they lost instances, for as long
// as that counts. Within a sixth of that time only the first state of a service is
// kept, so that one that goes up and down all the time takes no more room.
type window struct {
	length   time.Duration
	services map[registry.ServiceKey][]earlier
	peaks    []peak
	pruned   time.Time
}

// earlier is a service before it lost instances.
type earlier struct {
	at      time.Time
	service *registry.Service
}

// peak is the most that the registry listed from a moment on.
type peak struct {
	at    time.Time
	tally tally
}

func newWindow(length time.Duration) window {
	return window{length: length, services: map[registry.ServiceKey][]earlier{}}
}

// step is the time within which one state is kept.
func (w *window) step() time.Duration { return w.length / 6 }

// sample notes what the registry lists before a change.
func (w *window) sample(now time.Time, listed tally) {
	if n := len(w.peaks); n == 0 || now.Sub(w.peaks[n-1].at) >= w.step() {
		w.peaks = append(w.peaks, peak{now, listed})
	} else {
		w.peaks[n-1].tally = w.peaks[n-1].tally.most(listed)
	}
	if now.Sub(w.pruned) < w.step() {
		return
	}
	w.pruned = now
	for now.Sub(w.peaks[0].at) > w.length {
		w.peaks = w.peaks[1:]
	}
	for k, all := range w.services {
		if all = w.recent(now, all); len(all) == 0 {
			delete(w.services, k)
		} else {
			w.services[k] = all
		}
	}
}

// fell notes that a service had more before.
func (w *window) fell(now time.Time, k registry.ServiceKey, before *registry.Service) {
	all := w.services[k]
	if n := len(all); n == 0 || now.Sub(all[n-1].at) >= w.step() {
		w.services[k] = append(all, earlier{now, before})
	}
}

func (w *window) recent(now time.Time, all []earlier) []earlier {
	for len(all) > 0 && now.Sub(all[0].at) > w.length {
		all = all[1:]
	}
	return all
}

// losses returns what the services have lost within the window, given what the
// registry says of them now.
func (w *window) losses(now time.Time, said func(registry.ServiceKey) *registry.Service) map[registry.ServiceKey]*loss {
	losses := map[registry.ServiceKey]*loss{}
	for k, all := range w.services {
		all = w.recent(now, all)
		if len(all) == 0 {
			continue
		}
		if s := said(k); size(s) < size(all[0].service) {
			losses[k] = newLoss(all[0].service, s)
		}
	}
	return losses
}

// base returns the most that the registry listed before a change within the window.
func (w *window) base(now time.Time) (base tally) {
	for _, p := range w.peaks {
		if now.Sub(p.at) <= w.length {
			base = base.most(p.tally)
		}
	}
	return base
}

// clear makes the window begin anew.
func (w *window) clear() {
	clear(w.services)
	w.peaks = nil
}
