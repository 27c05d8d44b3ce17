package probe

import (
	"container/heap"
	"time"
)

// schedule orders gateways by when they are due. It is a [heap.Interface]; use push,
// pop and drop.
type schedule []*gateway

func (s schedule) Len() int           { return len(s) }
func (s schedule) Less(i, j int) bool { return s[i].due.Before(s[j].due) }

func (s schedule) Swap(i, j int) {
	s[i], s[j] = s[j], s[i]
	s[i].place, s[j].place = i, j
}

// Push implements [heap.Interface].
func (s *schedule) Push(x any) {
	g := x.(*gateway)
	g.place = len(*s)
	*s = append(*s, g)
}

// Pop implements [heap.Interface].
func (s *schedule) Pop() any {
	old := *s
	g := old[len(old)-1]
	old[len(old)-1] = nil
	*s = old[:len(old)-1]
	g.place = nowhere
	return g
}

// nowhere is the place of a gateway that is not in the schedule.
const nowhere = -1

func (s *schedule) push(g *gateway, due time.Time) {
	g.due = due
	heap.Push(s, g)
}

// pop takes out the first gateway that is due; nil when none is. Wait is then how long
// until the first is.
func (s *schedule) pop(now time.Time) (g *gateway, wait time.Duration) {
	if len(*s) == 0 {
		return nil, time.Hour
	}
	if wait := (*s)[0].due.Sub(now); wait > 0 {
		return nil, wait
	}
	return heap.Pop(s).(*gateway), 0
}

// drop takes a gateway out; nothing happens when it is not there.
func (s *schedule) drop(g *gateway) {
	if g.place != nowhere {
		heap.Remove(s, g.place)
	}
}

// first returns when a new gateway is probed for the first time: somewhere within one
// interval, so that thousands that come together are not probed together.
func first(now time.Time, interval time.Duration, random float64) time.Time {
	return now.Add(time.Duration(random * float64(interval)))
}

// next returns when a gateway is probed again whose last round began at a time: an
// interval later, give or take a tenth, and not in the past.
func next(began, now time.Time, interval time.Duration, random float64) time.Time {
	due := began.Add(time.Duration((0.9 + 0.2*random) * float64(interval)))
	if due.Before(now) {
		return now
	}
	return due
}
