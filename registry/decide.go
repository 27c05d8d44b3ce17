package registry

import (
	"slices"
	"time"
)

// Candidate is one cluster that knows a service, and whether it is answered with.
type Candidate struct {
	Cluster  ClusterID
	In       bool
	Reason   string    // for a person; the same for the same situation
	Gateways []Gateway // of the cluster, those that are answered with; set when In
	Record   *Record

	State Liveness       // as the observer holds it
	Since time.Time      // when that began; zero when the observer has said nothing
	Kept  bool           // In only because no better cluster can serve, or from another stream: the answer may no longer hold
	Order *StandingOrder // the drain or leave that bears on it; nil: none
}

// The reasons of a [Candidate].
const (
	ReasonServing     = "serving"
	ReasonTombstone   = "no instance is registered"
	ReasonNotServing  = "no instance is passing or warning with a weight above 0"
	ReasonNoGateway   = "the cluster has no gateway"
	ReasonUnknownHere = "the cluster does not know the service"
	ReasonLeft        = "the cluster has left"
	ReasonDrained     = "drained"
	ReasonLastDrained = "serving although drained: no other cluster can"
	ReasonInherited   = "serving as it was known before the stream was lost"
)

// What liveness adds: why a cluster is in doubt, and what follows.
var doubts = map[Liveness]string{
	Stale:       "its agent is silent",
	Unreachable: "its gateways can't be reached",
	Down:        "its agent is silent and its gateways can't be reached",
}

// Ends of the reasons of clusters that are in doubt.
const (
	reasonKept      = ": serving, for no better cluster can"
	reasonReplaced  = ": a better cluster serves"
	reasonWithdrawn = ": the service's policy is to withdraw"
)

// preference orders the clusters that could serve; those of the best one there is do.
type preference int

const (
	preferUp preference = iota
	preferStale
	preferDrained // with an order that must not empty a service, and can be reached
	preferUnreachable
	preferDown
	preferDrainedInDoubt
	preferNever
)

// Decide tells for every cluster that knows the service whether it is answered with.
// A cluster can serve when it has an instance that takes traffic, and a gateway;
// what its registry says is always obeyed. Of those that can, the ones in doubt (see
// [Liveness]) or drained serve only while no better one can, so that what nobody can
// be sure of never empties a service; the zone record says where it may
// ([ZoneRecord.Withdraws]). The result is sorted by cluster. It is the one place
// where that is decided.
func (v *View) Decide(e *Entry) []Candidate {
	candidates, preferences := make([]Candidate, len(e.Records)), make([]preference, len(e.Records))
	best := preferNever
	for n, r := range e.Records {
		candidates[n], preferences[n] = v.candidate(e.Key, r)
		best = min(best, preferences[n])
	}
	for n := range candidates {
		candidates[n].settle(preferences[n], best)
	}
	return candidates
}

// DecideIn is [View.Decide] for one cluster by itself, as if no other knew the
// service; ok is false when it does not know it.
func (v *View) DecideIn(e *Entry, id ClusterID) (c Candidate, ok bool) {
	r := e.Record(id)
	if r == nil {
		return Candidate{}, false
	}
	c, preference := v.candidate(e.Key, r)
	c.settle(preference, preference)
	return c, true
}

// candidate tells what speaks for a cluster by itself.
func (v *View) candidate(key ServiceKey, r *Record) (Candidate, preference) {
	c := Candidate{Cluster: r.Cluster, Record: r, State: Up}
	if s := v.states[r.Cluster]; s != nil {
		c.State, c.Since = s.State, s.Since
	}
	cluster := v.clusters[r.Cluster]
	switch {
	case r.Tombstone():
		c.Reason = ReasonTombstone
		return c, preferNever
	case r.Serving == 0:
		c.Reason = ReasonNotServing
		return c, preferNever
	case cluster == nil || cluster.Record == nil || len(cluster.Record.Gateways) == 0:
		c.Reason = ReasonNoGateway
		return c, preferNever
	}
	if c.Order = v.Left(r.Cluster); c.Order != nil {
		c.Reason = ReasonLeft
		return c, preferNever
	}
	var reached bool
	c.Kept = cluster.Inherited() && !v.equal
	c.Gateways, reached = v.gateways(cluster.Record, &c)
	c.Order = c.Order.or(v.Drained(r.Cluster, key.Labels()))
	switch {
	case c.Order != nil && c.Order.Force:
		c.Reason = ReasonDrained
		return c, preferNever
	case c.State == Up && !reached:
		c.State = Unreachable
	}
	switch drained := c.Order != nil; {
	case c.State != Up && v.zone != nil && v.zone.Withdraws(key):
		c.Reason = doubts[c.State] + reasonWithdrawn
		return c, preferNever
	case drained && (c.State == Up || c.State == Stale):
		return c, preferDrained
	case drained:
		return c, preferDrainedInDoubt
	}
	return c, preferenceOf[c.State]
}

// preferenceOf is that of clusters which nobody has drained.
var preferenceOf = map[Liveness]preference{Up: preferUp, Stale: preferStale, Unreachable: preferUnreachable, Down: preferDown, Gone: preferNever}

// or returns the order that bears on a candidate: one that is forced first.
func (o *StandingOrder) or(other *StandingOrder) *StandingOrder {
	if o == nil || other != nil && other.Force {
		return other
	}
	return o
}

// gateways returns those of a cluster that are to be answered with: neither drained
// nor out of reach, while it has such. With all drained the candidate is.
func (v *View) gateways(r *ClusterRecord, c *Candidate) (usable []Gateway, reached bool) {
	state := v.states[r.Cluster]
	failing := func(g Gateway) bool {
		if state == nil {
			return false
		}
		_, found := slices.BinarySearch(state.Failing, g.Name)
		return found
	}
	drained := func(g Gateway) bool { return v.DrainedGateway(r.Cluster, g.Name) != nil }
	forced := func(g Gateway) bool { return v.DrainedGateway(r.Cluster, g.Name).Force }
	open := r.Gateways
	if v.orders != nil && len(v.orders.gateways) > 0 && slices.ContainsFunc(open, drained) {
		open = slices.DeleteFunc(slices.Clone(open), drained)
		if len(open) == 0 { // none is left but those that may be answered with for want of others
			if open = slices.DeleteFunc(slices.Clone(r.Gateways), forced); len(open) == 0 {
				open = r.Gateways
			}
			c.Order = v.DrainedGateway(r.Cluster, open[0].Name)
		}
	}
	if !slices.ContainsFunc(open, failing) {
		return open, true
	}
	usable = slices.DeleteFunc(slices.Clone(open), failing)
	if len(usable) == 0 {
		return open, false
	}
	return usable, true
}

// settle decides, given the best preference of all.
func (c *Candidate) settle(own, best preference) {
	c.In = own == best && own != preferNever
	c.Kept = c.In && (c.Kept || c.State != Up)
	switch {
	case own == preferNever: // said already
	case own == preferUp && c.Kept:
		c.Reason = ReasonInherited
	case own == preferUp:
		c.Reason = ReasonServing
	case c.Order != nil && c.In:
		c.Reason = ReasonLastDrained
	case c.Order != nil:
		c.Reason = ReasonDrained
	case c.In:
		c.Reason = doubts[c.State] + reasonKept
	default:
		c.Reason = doubts[c.State] + reasonReplaced
	}
	if !c.In {
		c.Gateways = nil
	}
}
