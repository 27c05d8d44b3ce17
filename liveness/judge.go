package liveness

import (
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// Lease is what is made of the lease of a cluster's agent.
type Lease uint8

// The values of [Lease].
const (
	LeaseUnknown Lease = iota // not watched for a full lapse yet
	LeaseFresh                // renewed within the lapse
	LeaseLapsed               // not renewed for a full lapse, whatever its last word was; or there is none
)

// Reach is what is made of the verdicts about a cluster's gateways.
type Reach uint8

// The values of [Reach].
const (
	ReachUnknown Reach = iota // the first reports are still awaited
	ReachUntold               // nobody tells, or nothing is to be probed: the lease alone decides
	Reached                   // not all gateways fail
	NotReached                // all gateways fail
)

// Table is the table of the design: what the two signals say of a cluster by
// themselves. Ok is false while one of them is unknown.
//
//	lease    gateways              says
//	fresh    reached or untold     up
//	fresh    not reached           unreachable
//	lapsed   reached or untold     stale
//	lapsed   not reached           down
func Table(lease Lease, reach Reach) (says registry.Liveness, ok bool) {
	switch {
	case lease == LeaseUnknown || reach == ReachUnknown:
		return "", false
	case lease == LeaseFresh && reach != NotReached:
		return registry.Up, true
	case lease == LeaseFresh:
		return registry.Unreachable, true
	case reach != NotReached:
		return registry.Stale, true
	}
	return registry.Down, true
}

// Signals are what is known of a cluster at one moment.
type Signals struct {
	Lease  Lease
	Reach  Reach
	Held   time.Duration // for how long [Table] has said what it says now
	Silent time.Duration // since the lease was renewed, by the stream's clock
}

// Rules are the hold times.
type Rules struct {
	DownAfter time.Duration // for how long both signals must be bad
	Failback  time.Duration // for how long both must be good again
	GoneAfter time.Duration // silence after which a cluster no longer counts; 0: none is long enough
}

// Judge returns what shall be said next of a cluster of which present is said now.
// It follows [Table] with these exceptions:
//
//   - While a signal is unknown nothing changes.
//   - Until both have been bad for DownAfter, a cluster stays what it was; one that
//     was up becomes unreachable, for that is certain.
//   - It is up again only when both have been good for Failback.
//   - One that is not up and has been silent for GoneAfter is gone, until its lease
//     is fresh.
func Judge(present registry.Liveness, s Signals, r Rules) registry.Liveness {
	says, ok := Table(s.Lease, s.Reach)
	switch {
	case !ok:
		return present
	case s.Lease == LeaseLapsed && present == registry.Gone:
		return present
	case s.Lease == LeaseLapsed && present != registry.Up && r.GoneAfter > 0 && s.Silent >= r.GoneAfter:
		return registry.Gone
	case says == registry.Up && s.Held < r.Failback:
		return present
	case says == registry.Down && s.Held < r.DownAfter && present == registry.Up:
		return registry.Unreachable
	case says == registry.Down && s.Held < r.DownAfter:
		return present
	}
	return says
}

// Reason is a sentence for a person about why a state follows from the signals.
func Reason(state registry.Liveness, s Signals) string {
	const (
		silent  = "its agent is silent"
		fresh   = "its agent's lease is fresh"
		blocked = "none of its gateways can be reached"
	)
	switch {
	case state == registry.Gone:
		return silent + " for half of the history's age: it counts as never heard of"
	case state == registry.Down:
		return silent + " and " + blocked + ", both for the hold time"
	case s.Reach == NotReached && s.Lease == LeaseLapsed:
		return blocked + " and " + silent + ": it is down when that lasts"
	case s.Reach == NotReached:
		return fresh + ", but " + blocked
	case s.Lease == LeaseLapsed && s.Reach == ReachUntold:
		return silent + "; nobody tells of its gateways"
	case s.Lease == LeaseLapsed:
		return silent + ", but its gateways are reached"
	case s.Reach == ReachUntold:
		return fresh + "; nobody tells of its gateways"
	}
	return fresh + " and its gateways are reached"
}

// Better reports whether a state is nearer to up than another.
func Better(state, than registry.Liveness) bool { return rank(state) < rank(than) }

func rank(l registry.Liveness) int {
	switch l {
	case registry.Up:
		return 0
	case registry.Stale:
		return 1
	case registry.Unreachable:
		return 2
	case registry.Down:
		return 3
	}
	return 4
}
