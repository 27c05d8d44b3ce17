package registry

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Order is what a person, or a reader that found a difference, asks of a target.
// There is one subject per kind and target, so the latest order stands.
type Order struct {
	Kind   string `json:"kind"`   // one DNS label: resync, drain, leave, brake …
	Target string `json:"target"` // one or more DNS labels joined by dots
	By     string `json:"by"`
	Reason string `json:"reason"`

	// Since is when it was first stored, where this is a repetition; else zero.
	Since time.Time `json:"since,omitzero"`

	// Of a drain.
	For      int  `json:"for,omitempty"`      // seconds from when it was stored; 0: until somebody ends it
	Failback int  `json:"failback,omitempty"` // seconds that it still stands after its end
	Force    bool `json:"force,omitempty"`    // it stands although no other cluster can serve

	// Ending says that a drain's end was asked for: it is lifted when its failback is over.
	Ending bool `json:"ending,omitempty"`
	// Lifted ends a drain, or a leave: what it said no longer holds.
	Lifted bool `json:"lifted,omitempty"`

	// Of a brake: what was decided of which held change.
	Decision string `json:"decision,omitempty"` // Approve or Reject
	Held     string `json:"held,omitempty"`     // the ID of the held change
}

// The kinds of [Order] that this version knows.
const (
	// OrderResync asks the agent of the cluster that is its target to compare all it
	// has published with its registry, at once.
	OrderResync = "resync"
	// OrderDrain takes its target out of the answers for a time: <cluster>,
	// <gateway>.<cluster> or <name>.<namespace>.<cluster>, the last two as labels.
	OrderDrain = "drain"
	// OrderLeave takes the cluster that is its target out of the answers for good.
	OrderLeave = "leave"
	// OrderBrake decides about a change that the agent of its target holds back.
	OrderBrake = "brake"
)

// What can be decided of a change that is held back.
const (
	Approve = "approve"
	Reject  = "reject"
)

// Bounds of an [Order], in seconds.
const (
	MaxDrain    = 30 * 24 * 60 * 60
	MaxFailback = 60 * 60
)

// StandingOrder is a drain or a leave that holds in a View.
type StandingOrder struct {
	Order
	Sequence uint64    // of its message
	Stored   time.Time // when it began to hold, by the stream's clock
}

// Ends returns when a drain is to be lifted, by the stream's clock; ok is false when
// only somebody's word ends it.
func (o StandingOrder) Ends() (at time.Time, ok bool) {
	failback := time.Duration(o.Failback) * time.Second
	switch {
	case o.Ending:
		return o.Stored.Add(failback), true
	case o.For > 0:
		return o.Stored.Add(time.Duration(o.For)*time.Second + failback), true
	}
	return time.Time{}, false
}

// DrainTarget returns the target of a drain: of a cluster; with a gateway's name, of
// that gateway; with labels, of that service there.
func DrainTarget(cluster ClusterID, gateway string, service Labels) string {
	switch {
	case gateway != "":
		return gateway + "." + string(cluster)
	case service != (Labels{}):
		return service.Name + "." + service.Namespace + "." + string(cluster)
	}
	return string(cluster)
}

// ParseDrainTarget is the inverse of [DrainTarget].
func ParseDrainTarget(target string) (cluster ClusterID, gateway string, service Labels, err error) {
	labels := strings.Split(target, ".")
	if len(labels) > 3 || slices.ContainsFunc(labels, func(s string) bool { return !isLabel(s) }) {
		return "", "", Labels{}, refuse("order", "%q is no target of a drain: <cluster>, <gateway>.<cluster> or <name>.<namespace>.<cluster>", clip(target))
	}
	cluster = ClusterID(labels[len(labels)-1])
	switch len(labels) {
	case 2:
		gateway = labels[0]
	case 3:
		service = Labels{Name: labels[0], Namespace: labels[1]}
	}
	return cluster, gateway, service, nil
}

func checkOrder(o *Order) *Refusal {
	labels := append(strings.Split(o.Target, "."), o.Kind)
	if slices.ContainsFunc(labels, func(s string) bool { return !isLabel(s) }) || len(o.Target) > 512 {
		return refuse("order", "order %q for %q: kind and target must be DNS labels", clip(o.Kind), clip(o.Target))
	}
	if !isText(o.By) || len(o.Reason) > 4096 || !printable(o.Reason) || !isText(o.Held) {
		return refuse("order", "an order's author, reason or subject is too long or not printable")
	}
	if o.For < 0 || o.For > MaxDrain || o.Failback < 0 || o.Failback > MaxFailback {
		return refuse("order", "an order for %d s with a failback of %d s: at most %d and %d are possible", o.For, o.Failback, MaxDrain, MaxFailback)
	}
	switch o.Kind {
	case OrderDrain:
		if _, _, _, err := ParseDrainTarget(o.Target); err != nil {
			return err.(*Refusal)
		}
	case OrderLeave, OrderBrake, OrderResync:
		if !isLabel(o.Target) {
			return refuse("order", "the target of %s is a cluster, not %q", o.Kind, clip(o.Target))
		}
	}
	if o.Kind == OrderBrake && o.Decision != Approve && o.Decision != Reject {
		return refuse("order", "a decision is %s or %s, not %q", Approve, Reject, clip(o.Decision))
	}
	return nil
}

// holds reports whether an order takes something out of the answers.
func (o *Order) holds() bool {
	return (o.Kind == OrderDrain || o.Kind == OrderLeave) && !o.Lifted
}

// key names an order among those that hold.
func (o *Order) key() orderKey { return orderKey{o.Kind, o.Target} }

// standing returns what a View keeps of an order; nil when it does not hold.
func (o *Order) standing(m Message) *StandingOrder {
	if !o.holds() {
		return nil
	}
	at := m.Stored
	if !o.Since.IsZero() && o.Since.Before(at) {
		at = o.Since
	}
	return &StandingOrder{Order: *o, Sequence: m.Sequence, Stored: at}
}

type orderKey struct{ kind, target string }

func (k orderKey) compare(o orderKey) int {
	return cmp.Or(strings.Compare(k.kind, o.kind), strings.Compare(k.target, o.target))
}
