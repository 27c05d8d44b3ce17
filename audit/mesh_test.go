package audit

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// began is when the histories of these tests begin.
var began = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

// mesh plays agents, an observer and operators that keep the protocol, hour after hour,
// and strangers who do not.
type mesh struct {
	tape
	*rand.Rand
	now      time.Time
	agents   []*agent
	observer *agent
	zoneAt   time.Time
	orders   map[string]*standingOrder
	states   map[registry.ClusterID]*standingStateAt
	noise    bool // messages that can't be used, and writers that have lost their epoch
}

type standingOrder struct {
	order registry.Order
	since time.Time
	at    time.Time
}

type standingStateAt struct {
	state registry.StateRecord
	at    time.Time
}

type agent struct {
	writer   registry.Writer
	epoch    uint64
	revision uint64
	fences   []registry.Fence
	past     []uint64
	epochAt  time.Time
	digest   registry.Digest
	services map[registry.ServiceKey]*belief
	record   *registry.ClusterRecord
	recordAt time.Time
	dead     bool
}

type belief struct {
	state registry.ServiceState
	at    time.Time // published
	gone  time.Time // since when there is no instance
}

func newMesh(seed uint64, clusters int) *mesh {
	m := &mesh{
		Rand: rand.New(rand.NewPCG(seed, 7)), now: began, orders: map[string]*standingOrder{},
		states: map[registry.ClusterID]*standingStateAt{}, observer: &agent{writer: registry.Observer},
	}
	for n := range clusters {
		m.agents = append(m.agents, &agent{writer: registry.Writer(fmt.Sprintf("c%d", n)), services: map[registry.ServiceKey]*belief{}})
	}
	return m
}

func (m *mesh) own(a *agent, e registry.Event) uint64 {
	a.revision++
	e.Writer, e.Epoch, e.Revision = a.writer, a.epoch, a.revision
	m.now = m.now.Add(time.Millisecond)
	return m.put(m.now, e)
}

func (m *mesh) takeover(a *agent) {
	if a.epoch > 0 {
		a.past = append(a.past, a.epoch)
	}
	a.epoch, a.revision = max(a.epoch+1, uint64(m.now.Unix())), 0
	sequence := m.own(a, registry.Event{Kind: registry.KindEpoch, Takeover: &registry.EpochRecord{Fences: slices.Clone(a.fences)}})
	a.fences = append(a.fences, registry.Fence{Epoch: a.epoch, Sequence: sequence})
	a.fences = a.fences[max(0, len(a.fences)-registry.MaxFences):]
	a.epochAt = m.now
}

func (m *mesh) mark(a *agent, cause registry.Cause) {
	m.own(a, registry.Event{Kind: registry.KindSnapshot, Cause: cause, Snapshot: &registry.SnapshotMark{Keys: len(a.services), Digest: a.digest}})
}

func (m *mesh) publish(a *agent, cause registry.Cause, state registry.ServiceState) {
	key := state.Key()
	b := a.services[key]
	if b == nil {
		b = &belief{}
	} else {
		a.digest = a.digest.XOR(b.state.Digest())
	}
	if cause != registry.CauseRefresh {
		state.Changed = registry.Stamp{Epoch: a.epoch, Revision: a.revision + 1, Time: m.now}
		if state.Total == 0 && b.gone.IsZero() {
			b.gone = m.now
		}
	}
	if state.Total > 0 {
		b.gone = time.Time{}
	}
	m.own(a, registry.Event{Kind: registry.KindService, Cause: cause, Service: &state})
	state.Changes = nil
	b.state, b.at = state, m.now
	if state.Forgotten {
		delete(a.services, key)
		return
	}
	a.services[key] = b
	a.digest = a.digest.XOR(state.Digest())
}

// service is the next state of a service.
func (m *mesh) service(a *agent, key registry.ServiceKey) registry.ServiceState {
	var instances []registry.Instance
	for n := range m.IntN(4) {
		instances = append(instances, registry.Instance{
			ID: fmt.Sprintf("%s-%d", key.Name, n), Address: fmt.Sprintf("10.0.%d.%d", m.IntN(3), n), Port: 8080, Weight: m.IntN(2),
			Health: []registry.Health{registry.Passing, registry.Critical}[m.IntN(2)], Version: fmt.Sprint("v", m.IntN(3)),
		})
	}
	s := registry.Service{Key: key, Instances: instances}
	state := registry.NewServiceState(key, &s)
	var was *registry.Service
	if b := a.services[key]; b != nil {
		was = &registry.Service{Key: key, Instances: b.state.Instances}
	}
	state.Changes = registry.Compare(was, &s)
	return state
}

func (m *mesh) setRecord(a *agent, cause registry.Cause, r *registry.ClusterRecord) {
	if a.record != nil {
		a.digest = a.digest.XOR(a.record.Digest())
	}
	a.record, a.recordAt = r, m.now
	a.digest = a.digest.XOR(r.Digest())
	m.own(a, registry.Event{Kind: registry.KindCluster, Cause: cause, Cluster: r})
}

func (m *mesh) newRecord(a *agent) *registry.ClusterRecord {
	id, _ := a.writer.Cluster()
	r := &registry.ClusterRecord{Cluster: id, Source: "file", Gateways: []registry.Gateway{}}
	for n := range m.IntN(3) {
		r.Gateways = append(r.Gateways, registry.Gateway{
			Name: fmt.Sprintf("gw-%d", n), Addresses: []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, byte(m.IntN(5))})},
			Ports: map[string]int{"http": 80}, Weight: 1,
		})
	}
	return r
}

// key is one of a few services; the spellings of some meet.
func (m *mesh) key() registry.ServiceKey {
	keys := []registry.ServiceKey{
		{Namespace: "shop", Name: "orders"},
		{Namespace: "shop", Name: "cart.v1"},
		{Namespace: "shop", Name: "cart-v1"},
		{Namespace: "default", Name: "web"},
		{Namespace: "default", Name: "API"},
		{Namespace: "ops", Name: "mail"},
	}
	return keys[m.IntN(len(keys))]
}

// start is what every writer does first.
func (m *mesh) start() {
	m.zone(registry.CauseSeed)
	m.takeover(m.observer)
	for _, a := range m.agents {
		m.resume(a)
	}
}

func (m *mesh) resume(a *agent) {
	a.dead = false
	m.takeover(a)
	if a.record == nil {
		m.setRecord(a, registry.CauseChange, m.newRecord(a))
	}
	m.publish(a, registry.CauseResync, m.service(a, m.key()))
	m.mark(a, registry.CauseResync)
}

func (m *mesh) zone(cause registry.Cause) {
	m.now, m.zoneAt = m.now.Add(time.Millisecond), m.now
	m.put(m.now, registry.Event{Kind: registry.KindZone, Writer: registry.Operator, Cause: cause, Zone: &registry.ZoneRecord{
		Name: "mesh.internal.", TTL: 5, NegativeTTL: 5, Contact: "hostmaster.mesh.internal.",
	}})
}

// hours lets so many hours pass.
func (m *mesh) hours(count int, observed bool) {
	for range count {
		m.hour(observed)
	}
}

// hour passes: what is due is repeated, and a few things happen.
func (m *mesh) hour(observed bool) {
	m.now = m.now.Truncate(time.Hour).Add(time.Hour)
	if observed {
		m.observe()
	}
	for _, a := range m.agents {
		if a.dead {
			continue
		}
		m.repeat(a)
		for range m.IntN(3) {
			m.publish(a, registry.CauseChange, m.service(a, m.key()))
		}
		switch m.IntN(40) {
		case 0:
			m.setRecord(a, registry.CauseChange, m.newRecord(a))
		case 1:
			m.resume(a)
		case 2:
			m.own(a, registry.Event{Kind: registry.KindNote, Note: &registry.Note{Kind: "quarantine", Text: "a test"}})
		}
		if m.noise && m.IntN(4) == 0 {
			m.disturb(a)
		}
	}
	if observed && m.IntN(6) == 0 {
		m.order(registry.CauseChange, registry.Order{
			Kind: registry.OrderDrain, Target: []string{"c0", "gw-0.c0", "orders.shop.c1", "c1"}[m.IntN(4)], By: "a person", Reason: "a test", Lifted: m.IntN(2) == 0,
		})
	}
}

// repeat publishes again what is a day old.
func (m *mesh) repeat(a *agent) {
	old := func(at time.Time) bool { return m.now.Sub(at) >= 24*time.Hour }
	if old(a.epochAt) {
		m.own(a, registry.Event{Kind: registry.KindEpoch, Cause: registry.CauseRefresh, Takeover: &registry.EpochRecord{Fences: slices.Clone(a.fences)}})
		a.epochAt = m.now
		m.mark(a, registry.CauseRefresh)
	}
	if old(a.recordAt) {
		m.setRecord(a, registry.CauseRefresh, a.record)
	}
	keys := make([]registry.ServiceKey, 0, len(a.services))
	for key := range a.services {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, registry.ServiceKey.Compare)
	for _, key := range keys {
		b := a.services[key]
		if !old(b.at) {
			continue
		}
		state, cause := b.state, registry.CauseRefresh
		if !b.gone.IsZero() && m.now.Sub(b.gone) > 7*24*time.Hour {
			state.Forgotten, cause = true, registry.CauseChange
		}
		m.publish(a, cause, state)
	}
}

func (m *mesh) observe() {
	o := m.observer
	old := func(at time.Time) bool { return m.now.Sub(at) >= 24*time.Hour }
	if m.IntN(60) == 0 {
		m.takeover(o)
	} else if old(o.epochAt) {
		m.own(o, registry.Event{Kind: registry.KindEpoch, Cause: registry.CauseRefresh, Takeover: &registry.EpochRecord{Fences: slices.Clone(o.fences)}})
		o.epochAt = m.now
	}
	for _, a := range m.agents {
		id, _ := a.writer.Cluster()
		if a.epoch == 0 {
			continue
		}
		s := m.states[id]
		switch want := a.liveness(); {
		case s == nil && want == registry.Up:
		case s == nil || s.state.State != want:
			m.states[id] = &standingStateAt{state: registry.StateRecord{Cluster: id, State: want, Since: m.now, Reason: "a test"}, at: m.now}
			record := m.states[id].state
			m.own(o, registry.Event{Kind: registry.KindState, State: &record})
		case old(s.at):
			record := s.state
			s.at = m.now
			m.own(o, registry.Event{Kind: registry.KindState, Cause: registry.CauseRefresh, State: &record})
		}
	}
	for _, target := range []string{"c0", "gw-0.c0", "orders.shop.c1", "c1"} {
		if s := m.orders[target]; s != nil && old(s.at) {
			repeated := s.order
			repeated.Since = s.since
			m.order(registry.CauseRefresh, repeated)
		}
	}
	if old(m.zoneAt) {
		m.zone(registry.CauseRefresh)
	}
}

func (a *agent) liveness() registry.Liveness {
	if a.dead {
		return registry.Stale
	}
	return registry.Up
}

func (m *mesh) order(cause registry.Cause, o registry.Order) {
	m.now = m.now.Add(time.Millisecond)
	m.put(m.now, registry.Event{Kind: registry.KindOrder, Writer: registry.Operator, Cause: cause, Order: &o})
	was := m.orders[o.Target]
	switch {
	case o.Lifted:
		delete(m.orders, o.Target)
	case cause == registry.CauseRefresh:
		was.at = m.now
	default:
		m.orders[o.Target] = &standingOrder{o, m.now, m.now}
	}
}

// disturb stores what nobody can use.
func (m *mesh) disturb(a *agent) {
	m.now = m.now.Add(time.Millisecond)
	subject := "mesh.v1." + string(a.writer) + ".svc.shop.orders"
	switch m.IntN(4) {
	case 0:
		m.raw(m.now, subject, nil, []byte("not JSON"))
	case 1:
		m.raw(m.now, "mesh.v1."+string(a.writer)+".cluster", nil, []byte("{}"))
	case 2:
		m.raw(m.now, "mesh.v1.C0.svc.x", nil, []byte("no subject of ours"))
	case 3:
		if len(a.past) > 0 { // an agent that has lost its epoch, and writes all the same
			state := m.service(a, registry.ServiceKey{Namespace: "shop", Name: "orders"})
			m.put(m.now, registry.Event{Kind: registry.KindService, Writer: a.writer, Epoch: a.past[m.IntN(len(a.past))], Revision: 9999, Service: &state})
		}
	}
}
