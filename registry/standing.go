package registry

import (
	"encoding/binary"
	"maps"
	"slices"
	"strings"
	"time"
)

// StandingState is a [StateRecord] that holds in a View.
type StandingState struct {
	StateRecord
	Sequence uint64    // of its message
	Stored   time.Time // by the stream's clock
}

// maxOrders bounds the drains and leaves that hold at once.
const maxOrders = 10_000

// standing is what the observer and the operator have said that holds now: a Fold's
// draft of what its Views show.
type standing struct {
	states map[ClusterID]*StandingState
	orders map[orderKey]*StandingOrder
}

func newStanding() standing {
	return standing{states: map[ClusterID]*StandingState{}, orders: map[orderKey]*StandingOrder{}}
}

// gone reports whether a cluster counts as never heard of.
func (s *standing) gone(id ClusterID) bool {
	state := s.states[id]
	return state != nil && state.State == Gone
}

// excess tells why a message of the observer or the operator can't be taken in: there
// are too many; nil when it can.
func (s *standing) excess(m Message, l limits) *Refusal {
	switch {
	case m.Event.State != nil && s.states[m.Event.State.Cluster] == nil && len(s.states) >= l.clusters:
		return refuse(ReasonTooMany, "the observer speaks of %d clusters already", len(s.states))
	case m.Event.Order != nil && m.Event.Order.holds() && s.orders[m.Event.Order.key()] == nil && len(s.orders) >= maxOrders:
		return refuse(ReasonTooMany, "%d drains and leaves hold already", len(s.orders))
	}
	return nil
}

// freeze shows a View what holds.
func (s *standing) freeze(v *View) {
	v.gone = nil
	for id, state := range s.states {
		if c := v.clusters[id]; c != nil && state.State == Gone {
			if v.gone == nil {
				v.gone = map[ClusterID]*ClusterState{}
			}
			v.gone[id] = c
			delete(v.clusters, id)
		}
	}
}

// setState makes a state hold; nil ends what held.
func (f *Fold) setState(id ClusterID, state *StandingState) {
	s := &f.standing
	before := s.states[id]
	wasGone := s.gone(id)
	if state != nil {
		s.states[id] = state
	} else {
		delete(s.states, id)
	}
	f.view.states = maps.Clone(s.states)
	if before != nil && state != nil && before.Equal(state.StateRecord) {
		return // a repetition
	}
	if c := f.clusters[id]; c != nil {
		f.changes.cluster(id)
		if s.gone(id) != wasGone {
			f.hide(f.cluster(id), !wasGone)
		}
	}
	f.past.add(undoKey{KindState, Labels{Name: string(id)}}, before, 1024)
}

// hide makes a cluster, with all that it knows, count as never heard of, or shows it
// again.
func (f *Fold) hide(c *ClusterState, gone bool) {
	before := clusterBefore{known: gone, record: c.Record}
	var records []*Record
	for _, n := range f.names.freeze().all() {
		for _, e := range n.Entries {
			if r := e.find(c.ID); r != nil && !r.forgotten {
				records = append(records, r)
			}
		}
	}
	for _, r := range records {
		f.replace(c, r.Service.Key, r, gone)
	}
	f.past.add(undoKey{KindCluster, Labels{Name: string(c.ID)}}, before, 1024)
}

// setOrder makes an order hold; nil ends what held.
func (f *Fold) setOrder(key orderKey, order *StandingOrder) {
	s := &f.standing
	before := s.orders[key]
	switch {
	case order == nil && before == nil:
		return
	case order == nil:
		delete(s.orders, key)
	default:
		s.orders[key] = order
	}
	f.view.orders = newOrders(s.orders)
	if before != nil && order != nil && before.Force == order.Force {
		return // who, why and until shape nothing
	}
	cluster, labels := key.touches()
	switch {
	case labels != (Labels{}):
		f.changes.name(labels)
	case f.clusters[cluster] != nil:
		f.changes.cluster(cluster)
	}
	f.past.add(undoKey{KindOrder, Labels{Namespace: key.kind, Name: key.target}}, orderBefore{key, before}, 1024)
}

// touches tells what an order takes out of the answers: a service in a cluster, or,
// without labels, a cluster or its gateway.
func (k orderKey) touches() (ClusterID, Labels) {
	if k.kind == OrderLeave {
		return ClusterID(k.target), Labels{}
	}
	cluster, _, labels, err := ParseDrainTarget(k.target)
	if err != nil { // checkOrder lets none of these through
		return "", Labels{}
	}
	return cluster, labels
}

// orderBefore is what stood at an order's place; nil when nothing did.
type orderBefore struct {
	key   orderKey
	order *StandingOrder
}

// undoState gives an older View the state that held then.
func (v *View) undoState(id ClusterID, before *StandingState, changed *Delta) {
	v.states = maps.Clone(v.states)
	if before != nil {
		v.states[id] = before
	} else {
		delete(v.states, id)
	}
	changed.Clusters = append(changed.Clusters, id)
}

// undoOrder gives an older View the order that held then.
func (v *View) undoOrder(before orderBefore, changed *Delta) {
	all := map[orderKey]*StandingOrder{}
	if v.orders != nil {
		all = maps.Clone(v.orders.all)
	}
	if before.order != nil {
		all[before.key] = before.order
	} else {
		delete(all, before.key)
	}
	v.orders = newOrders(all)
	if cluster, labels := before.key.touches(); labels != (Labels{}) {
		changed.Names = append(changed.Names, labels)
	} else {
		changed.Clusters = append(changed.Clusters, cluster)
	}
}

// orders are those that hold, for looking them up. It is immutable.
type orders struct {
	all      map[orderKey]*StandingOrder
	clusters map[ClusterID]*StandingOrder
	gateways map[gatewayAt]*StandingOrder
	services map[serviceAt]*StandingOrder
	left     map[ClusterID]*StandingOrder
}

type gatewayAt struct {
	cluster ClusterID
	gateway string
}

type serviceAt struct {
	cluster ClusterID
	labels  Labels
}

func newOrders(all map[orderKey]*StandingOrder) *orders {
	o := &orders{
		all: maps.Clone(all), clusters: map[ClusterID]*StandingOrder{}, gateways: map[gatewayAt]*StandingOrder{},
		services: map[serviceAt]*StandingOrder{}, left: map[ClusterID]*StandingOrder{},
	}
	for key, order := range o.all {
		cluster, gateway, labels, _ := ParseDrainTarget(key.target)
		switch {
		case key.kind == OrderLeave:
			o.left[ClusterID(key.target)] = order
		case gateway != "":
			o.gateways[gatewayAt{cluster, gateway}] = order
		case labels != (Labels{}):
			o.services[serviceAt{cluster, labels}] = order
		default:
			o.clusters[cluster] = order
		}
	}
	return o
}

// State returns what the observer has said of a cluster; nil when it has said
// nothing, which counts as [Up].
func (v *View) State(id ClusterID) *StandingState { return v.states[id] }

// States returns all that the observer has said, sorted by cluster.
func (v *View) States() []*StandingState {
	return slices.SortedFunc(maps.Values(v.states), func(a, b *StandingState) int {
		return strings.Compare(string(a.Cluster), string(b.Cluster))
	})
}

// Orders returns the drains and leaves that hold, sorted by kind and target.
func (v *View) Orders() []*StandingOrder {
	if v.orders == nil {
		return nil
	}
	return slices.SortedFunc(maps.Values(v.orders.all), func(a, b *StandingOrder) int { return a.key().compare(b.key()) })
}

// Left returns the order by which a cluster has left; nil when it has not.
func (v *View) Left(id ClusterID) *StandingOrder {
	if v.orders == nil {
		return nil
	}
	return v.orders.left[id]
}

// Drained returns the drain that takes a service of a cluster out of the answers: one by
// force first, then the cluster's own before the service's; nil when there is none.
func (v *View) Drained(id ClusterID, labels Labels) *StandingOrder {
	if v.orders == nil {
		return nil
	}
	return v.orders.clusters[id].or(v.orders.services[serviceAt{id, labels}])
}

// DrainedService returns the drain of one service in a cluster, whether or not the
// whole cluster is drained; nil when there is none.
func (v *View) DrainedService(id ClusterID, labels Labels) *StandingOrder {
	if v.orders == nil {
		return nil
	}
	return v.orders.services[serviceAt{id, labels}]
}

// DrainedGateway returns the drain of a gateway; nil when there is none.
func (v *View) DrainedGateway(id ClusterID, gateway string) *StandingOrder {
	if v.orders == nil {
		return nil
	}
	return v.orders.gateways[gatewayAt{id, gateway}]
}

// appendStanding appends what holds, in canonical form.
func (v *View) appendStanding(b []byte) []byte {
	text := func(s string) { b = append(binary.AppendUvarint(b, uint64(len(s))), s...) }
	for _, s := range v.States() {
		text("state")
		text(string(s.Cluster))
		text(string(s.State))
		text(s.Since.UTC().Format(time.RFC3339Nano))
		text(strings.Join(s.Failing, ","))
		b = binary.AppendUvarint(b, s.Sequence)
	}
	for _, o := range v.Orders() {
		text("order")
		text(o.Kind)
		text(o.Target)
		text(o.Stored.UTC().Format(time.RFC3339Nano))
		b = binary.AppendUvarint(b, o.Sequence)
	}
	return b
}
