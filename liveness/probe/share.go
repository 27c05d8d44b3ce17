package probe

import (
	"cmp"
	"container/heap"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// line is where the attempts of one cluster wait, and how many of them are under way.
type line struct {
	cluster registry.ClusterID
	queue   schedule // gateways, by when they are due
	ready   []job    // further addresses of rounds that have begun
	busy    int      // attempts under way
	late    bool     // the last round began more than an interval too late

	within *lines // the heap that it stands in; nil: it has nothing to do
	place  int    // there
}

// due returns when the line's next attempt is due; ok is false when there is none.
func (l *line) due() (at time.Time, ok bool) {
	switch {
	case len(l.ready) > 0:
		return l.ready[0].gateway.began, true
	case len(l.queue) > 0:
		return l.queue[0].due, true
	}
	return time.Time{}, false
}

// lines is a heap of lines, see [heap.Interface].
type lines struct {
	all  []*line
	less func(a, b *line) bool
}

func (s *lines) Len() int           { return len(s.all) }
func (s *lines) Less(i, j int) bool { return s.less(s.all[i], s.all[j]) }

func (s *lines) Swap(i, j int) {
	s.all[i], s.all[j] = s.all[j], s.all[i]
	s.all[i].place, s.all[j].place = i, j
}

// Push implements [heap.Interface].
func (s *lines) Push(x any) {
	l := x.(*line)
	l.place, l.within = len(s.all), s
	s.all = append(s.all, l)
}

// Pop implements [heap.Interface].
func (s *lines) Pop() any {
	last := len(s.all) - 1
	l := s.all[last]
	s.all[last] = nil
	s.all = s.all[:last]
	l.within = nil
	return l
}

// share divides the workers among the clusters. A cluster may have as many attempts under
// way as there are workers free beside them: one whose gateways do not answer holds at most
// half of the workers, two of them a third each, and so on; there is always one for who has
// none. Among those that may, the cluster with the fewest goes first, then the one that has
// waited longest.
type share struct {
	workers int
	busy    int // attempts under way
	clients map[registry.ClusterID]*line
	waiting lines // whose first attempt is not due yet, by when it is
	due     lines // the others that have one, by whose turn it is
	late    int   // lines that are
}

func newShare(workers int) share {
	first := func(a, b *line) int {
		x, _ := a.due()
		y, _ := b.due()
		return x.Compare(y)
	}
	return share{
		workers: workers, clients: map[registry.ClusterID]*line{},
		waiting: lines{less: func(a, b *line) bool { return first(a, b) < 0 }},
		due:     lines{less: func(a, b *line) bool { return cmp.Or(cmp.Compare(a.busy, b.busy), first(a, b)) < 0 }},
	}
}

// of returns the line of a cluster.
func (s *share) of(cluster registry.ClusterID) *line {
	l := s.clients[cluster]
	if l == nil {
		l = &line{cluster: cluster}
		s.clients[cluster] = l
	}
	return l
}

// moved puts a line that has changed where it belongs.
func (s *share) moved(l *line, now time.Time) {
	if l.within != nil {
		heap.Remove(l.within, l.place)
	}
	switch at, ok := l.due(); {
	case !ok:
	case at.After(now):
		heap.Push(&s.waiting, l)
	default:
		heap.Push(&s.due, l)
	}
}

// next returns the line whose turn it is; nil when none may have a worker. Wait is then how
// long until that may change by itself.
func (s *share) next(now time.Time) (l *line, wait time.Duration) {
	wait = time.Hour
	for len(s.waiting.all) > 0 {
		first := s.waiting.all[0]
		at, _ := first.due()
		if wait = at.Sub(now); wait > 0 {
			break
		}
		wait = time.Hour
		s.moved(first, now)
	}
	if len(s.due.all) == 0 {
		return nil, wait
	}
	free := s.workers - s.busy
	if l = s.due.all[0]; l.busy < free || len(s.clients) == 1 && free > 0 {
		return l, 0
	}
	return nil, wait
}

// begun notes that an attempt of the line is under way.
func (s *share) begun(l *line) {
	l.busy++
	s.busy++
}

// ended notes that one is over.
func (s *share) ended(l *line, now time.Time) {
	l.busy--
	s.busy--
	s.moved(l, now)
	s.leave(l)
}

// leave forgets a line that has nothing to do.
func (s *share) leave(l *line) {
	if _, ok := l.due(); ok || l.busy > 0 || s.clients[l.cluster] != l {
		return
	}
	s.setLate(l, false)
	delete(s.clients, l.cluster)
}

// setLate notes whether a line is late. It reports whether that makes the first that is,
// or leaves none.
func (s *share) setLate(l *line, late bool) (turned bool) {
	if l.late == late {
		return false
	}
	l.late = late
	if late {
		s.late++
		return s.late == 1
	}
	s.late--
	return s.late == 0
}
