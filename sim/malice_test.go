package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// mallory is a cluster whose credentials are in the wrong hands. It has no agent.
const mallory registry.ClusterID = "mallory"

func (w *world) hostile(id registry.ClusterID) bool { return id == mallory }

func (w *world) anyHostile() bool { return w.attacks > 0 }

// attack stores what nobody should: on mallory's subjects, for that is all that its
// credentials allow, but with whatever body.
func (w *world) attack() {
	w.attacks++
	writer := registry.Writer(mallory)
	epoch := uint64(w.stream.now().Unix()) - 1000 + uint64(w.rng.IntN(2000))
	revision := 1 + uint64(w.rng.IntN(100))
	fact := registry.Fact{Writer: writer, Kind: registry.KindService, Service: serviceKey(w.rng.IntN(serviceNames))}
	k := kept{Message: registry.Message{Fact: fact, Epoch: epoch, Revision: revision}, id: fmt.Sprint("mallory-", w.attacks)}
	e := &registry.Event{
		Schema: registry.Schema, ID: k.id, Kind: registry.KindService, Writer: writer, Epoch: epoch, Revision: revision,
		Time: time.Now().UTC(), Agent: "mallory", Cause: registry.CauseChange,
	}
	victim := w.sites[w.rng.IntN(len(w.sites))]
	how := ""
	switch w.rng.IntN(8) {
	case 0:
		how, k.body = "garbage", []byte("{\"schema\":\"seamark/1.0\",")
	case 1:
		how = "what another cluster said"
		k.body = []byte("{}")
		if all := w.stream.all; len(all) > 0 {
			theirs := all[w.rng.IntN(len(all))]
			k.body, k.Epoch, k.Revision = theirs.body, theirs.Epoch, theirs.Revision
		}
	case 2:
		how = "a service of another cluster"
		state := registry.NewServiceState(fact.Service, nil)
		e.Writer, e.Service = registry.Writer(victim.id), &state
	case 3:
		how = "an epoch record"
		fact.Kind, fact.Service = registry.KindEpoch, registry.ServiceKey{}
		e.Kind, e.Takeover = registry.KindEpoch, &registry.EpochRecord{Fences: []registry.Fence{{Epoch: 1, Sequence: 1}, {Epoch: epoch - 1, Sequence: 3}}}
	case 4:
		how = "an epoch record of another cluster"
		fact.Kind, fact.Service = registry.KindEpoch, registry.ServiceKey{}
		e.Kind, e.Takeover, e.Writer = registry.KindEpoch, &registry.EpochRecord{Fences: []registry.Fence{{Epoch: epoch + 5000, Sequence: 1}}}, registry.Writer(victim.id)
	case 5:
		how = "the record of another cluster"
		fact.Kind, fact.Service = registry.KindCluster, registry.ServiceKey{}
		e.Kind, e.Cluster = registry.KindCluster, &registry.ClusterRecord{Cluster: victim.id, Gateways: slices.Clone(victim.gateways)}
	case 6:
		how = "an epoch far ahead"
		k.Epoch += 10_000_000
		e.Epoch = k.Epoch
		state := registry.NewServiceState(fact.Service, &registry.Service{Key: fact.Service})
		e.Service = &state
	default:
		how = "a service of its own"
		state := registry.NewServiceState(fact.Service, victim.truth.Service(fact.Service))
		e.Service = &state
	}
	k.Fact = fact
	if k.body == nil {
		body, err := registry.Encode(e)
		if err != nil {
			body = []byte("null")
		}
		k.body = body
	}
	w.regressed = w.regressed || fact.Kind == registry.KindEpoch && k.Epoch < w.stream.lastOn(fact).Epoch
	w.note(string(mallory), "publishes", how, 0)
	w.stream.store(nil, k)
	if w.rng.IntN(3) == 0 {
		l := registry.Lease{
			Schema: registry.Schema, Writer: writer, Agent: "mallory", Phase: registry.PhaseSynced, Epoch: epoch, Revision: revision,
			Keys: w.rng.IntN(5), Time: time.Now().UTC(),
		}
		w.stream.lives++
		w.stream.leased = w.stream.lives
		w.stream.leases[writer] = lease{l, w.stream.lives, w.stream.now(), nil}
	}
}

// zombie stores a message of an epoch that is over, as if no condition had been given
// with it: what the server lets nobody do, and the fold must not believe.
func (w *world) zombie(s *site) {
	writer := registry.Writer(s.id)
	last := w.stream.lastOn(epochFact(writer))
	var old []kept
	for _, k := range w.stream.all {
		if k.Fact.Writer == writer && k.Fact.Kind == registry.KindService && k.Epoch < last.Epoch && k.Refused == nil {
			old = append(old, k)
		}
	}
	if len(old) == 0 {
		return
	}
	k := old[w.rng.IntN(len(old))]
	k.id = fmt.Sprint("zombie-", w.stream.end())
	if w.rng.IntN(3) == 0 {
		k.body = []byte("{\"schema\":\"seamark/9.0\"}")
	}
	w.note(string(s.id), "a zombie writes", k.Fact.Service.Name, 0)
	w.stream.store(nil, k)
	s.disturbed = time.Now()
}

// command is an operator's order.
func (w *world) command() {
	s := w.sites[w.rng.IntN(len(w.sites))]
	o := registry.Order{Target: string(s.id), By: "an operator", Reason: "a simulation"}
	switch w.rng.IntN(7) {
	case 0:
		o.Kind = registry.OrderResync
	case 1:
		o.Kind, o.For = registry.OrderDrain, 1+w.rng.IntN(100)
	case 2:
		o.Kind, o.For, o.Force = registry.OrderDrain, 1+w.rng.IntN(100), true
	case 3:
		o.Kind, o.For = registry.OrderDrain, 1+w.rng.IntN(100)
		o.Target = registry.DrainTarget(s.id, "", serviceKey(w.rng.IntN(serviceNames)).Labels())
	case 4:
		o.Kind = registry.OrderLeave
	default:
		note := w.stream.lastOn(registry.Fact{Writer: registry.Writer(s.id), Kind: registry.KindNote, Name: registry.NoteBrake})
		if note.Event == nil {
			return
		}
		told, err := registry.ParseBrake(*note.Event.Note)
		if err != nil || !told.State.Open() {
			return
		}
		o.Kind, o.Held, o.Decision = registry.OrderBrake, told.ID, []string{registry.Approve, registry.Reject}[w.rng.IntN(2)]
	}
	w.note("operator", "orders "+o.Kind+" "+o.Decision, o.Target, 0)
	w.order(nil, o, registry.CauseChange)
}

// turnClock sets the stream's clock forward or back, or lets it go wrong slowly: for an
// agent that is the same as its own clock doing the opposite.
func (w *world) turnClock() {
	by := time.Duration(w.rng.IntN(1200)-600) * time.Second
	if w.rng.IntN(3) == 0 {
		w.stream.turn(0, (w.rng.Float64()-0.5)/500)
		w.note("", "the stream's clock drifts", fmt.Sprintf("%.4f", w.stream.drift), 0)
		return
	}
	w.stream.turn(by, w.stream.drift)
	w.note("", "the stream's clock jumps by", by.String(), 0)
}

// turn changes the clock.
func (s *stream) turn(by time.Duration, drift float64) {
	now := s.now()
	if now.After(s.shown) {
		s.shown = now
	}
	s.drift = drift
	s.offset = 0
	s.offset = now.Sub(s.now()) + by
}

// skew draws how wrong an agent's own clock is.
func (w *world) skew() time.Duration {
	switch w.rng.IntN(3) {
	case 0:
		return time.Duration(w.rng.IntN(1200)-600) * time.Second
	case 1:
		return time.Duration(w.rng.IntN(2000)-1000) * time.Millisecond
	}
	return 0
}
