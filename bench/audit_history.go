package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
)

// repeated is the share of the events, in percent, that say again what stands: as many
// days pass as it takes, one for each time that everything is said.
const repeated = 45

// past makes a history of many events, always the same: agents of three clusters that
// publish changes and, day by day, everything again; an observer, and operators. What
// it does not make is time: all is stored within minutes.
type past struct {
	conn     *nats.Conn
	random   *rand.Rand
	services int // each is in every cluster
	days     int
	writers  [servingClusters]*pastWriter
	observer *pastWriter
	count    int
	bytes    int
	told     func(count int)
}

type pastWriter struct {
	writer   registry.Writer
	epoch    uint64
	revision uint64
	fences   []registry.Fence
	versions []uint16 // of each service
	digest   registry.Digest
	states   []registry.Digest
	link     stream.Link // of its last message
}

// makePast publishes the history, and returns how many messages it has.
func makePast(ctx context.Context, conn *stream.Conn, services, events int, told func(count int)) (p *past, err error) {
	p = &past{conn: conn.NATS(), random: rand.New(rand.NewPCG(42, 42)), services: services, told: told}
	p.days = max(events*repeated/100/(servingClusters*services), 1)
	epoch := uint64(time.Now().Unix())
	for c := range p.writers {
		p.writers[c] = &pastWriter{
			writer: registry.Writer(fmt.Sprintf("cluster-%d", c)), epoch: epoch,
			versions: make([]uint16, services), states: make([]registry.Digest, services),
		}
	}
	p.observer = &pastWriter{writer: registry.Observer, epoch: epoch}
	if err := p.begin(); err != nil {
		return nil, err
	}
	changes := max(events-p.count-(p.days-1)*servingClusters*services, 0) / p.days
	for day := range p.days {
		if err := p.day(ctx, day, changes); err != nil {
			return nil, err
		}
	}
	return p, p.settle(ctx, conn)
}

// begin is what every writer says first.
func (p *past) begin() error {
	if err := p.facts(registry.CauseChange); err != nil {
		return err
	}
	for _, w := range p.writers {
		for n := range p.services {
			if err := p.service(w, n, registry.CauseResync); err != nil {
				return err
			}
		}
		if err := p.mark(w); err != nil {
			return err
		}
	}
	return nil
}

// facts are those that are no service: the zone, epochs and clusters.
func (p *past) facts(cause registry.Cause) error {
	zone := &registry.ZoneRecord{Name: "mesh.internal.", TTL: 5, NegativeTTL: 5, Contact: "hostmaster.mesh.internal."}
	if _, err := p.put(registry.Operator, stream.Link{}, registry.Event{Kind: registry.KindZone, Cause: cause, Zone: zone}); err != nil {
		return err
	}
	for _, w := range append(p.writers[:], p.observer) {
		if w.revision == 0 {
			w.fences = []registry.Fence{{Epoch: w.epoch, Sequence: uint64(p.count + 1)}}
		}
		if err := p.own(w, registry.Event{Kind: registry.KindEpoch, Cause: cause, Takeover: &registry.EpochRecord{Fences: w.fences[:min(len(w.fences), int(w.revision))]}}); err != nil {
			return err
		}
	}
	for c, w := range p.writers {
		id, _ := w.writer.Cluster()
		record := &registry.ClusterRecord{Cluster: id, Source: "file", Gateways: []registry.Gateway{{
			Name: "gw", Addresses: []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, byte(c + 1)})}, Ports: map[string]int{"http": 80}, Weight: 1,
		}}}
		if cause != registry.CauseRefresh {
			w.digest = w.digest.XOR(record.Digest())
		}
		if err := p.own(w, registry.Event{Kind: registry.KindCluster, Cause: cause, Cluster: record}); err != nil {
			return err
		}
	}
	return nil
}

// day publishes changes, and between them everything once more (but for the first day).
func (p *past) day(ctx context.Context, day, changes int) error {
	repeats := servingClusters * p.services
	if day == 0 {
		repeats = 0
	}
	done := 0
	if day > 0 {
		if err := p.facts(registry.CauseRefresh); err != nil {
			return err
		}
	}
	for n := range changes + repeats {
		if n%10_000 == 0 {
			p.told(p.count)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
		}
		var err error
		if done*(changes+repeats) < repeats*n { // evenly among the changes
			err = p.service(p.writers[done%servingClusters], done/servingClusters, registry.CauseRefresh)
			done++
		} else {
			w, service := p.writers[p.random.IntN(servingClusters)], p.random.IntN(p.services)
			w.versions[service]++
			err = p.service(w, service, registry.CauseChange)
		}
		if err == nil && n%(1+(changes+repeats)/10) == 0 {
			err = p.standing(n%2 == 0)
		}
		if err != nil {
			return err
		}
	}
	for _, w := range p.writers {
		if err := p.mark(w); err != nil {
			return err
		}
	}
	return nil
}

// standing is a drain that begins or ends, or a cluster whose liveness turns.
func (p *past) standing(begins bool) error {
	order := &registry.Order{Kind: registry.OrderDrain, Target: fmt.Sprintf("gw.cluster-%d", p.random.IntN(servingClusters)), By: "bench", Reason: "bench", Lifted: !begins}
	if _, err := p.put(registry.Operator, stream.Link{}, registry.Event{Kind: registry.KindOrder, Order: order}); err != nil {
		return err
	}
	state := &registry.StateRecord{Cluster: registry.ClusterID(fmt.Sprintf("cluster-%d", p.random.IntN(servingClusters))), State: registry.Up, Since: time.Now(), Reason: "bench"}
	if begins {
		state.State = registry.Stale
	}
	return p.own(p.observer, registry.Event{Kind: registry.KindState, State: state})
}

func pastKey(n int) registry.ServiceKey {
	return registry.ServiceKey{Namespace: fmt.Sprintf("team-%d", n%100), Name: fmt.Sprintf("service-%05d", n)}
}

// service publishes what stands of a service.
func (p *past) service(w *pastWriter, n int, cause registry.Cause) error {
	key, version := pastKey(n), w.versions[n]
	s := registry.Service{Key: key}
	for i := range 2 {
		health := registry.Passing
		if i == 0 && version%2 == 1 {
			health = registry.Critical
		}
		s.Instances = append(s.Instances, registry.Instance{
			ID: fmt.Sprintf("%s-%d", key.Name, i), Address: fmt.Sprintf("10.%d.%d.%d", n/65536, n/256%256, n%256), Port: 8080 + i, Weight: 1,
			Health: health, Version: "1." + strconv.Itoa(int(version/2)), Meta: map[string]string{"zone": "eu-1"},
		})
	}
	state := registry.NewServiceState(key, &s)
	state.Changed = registry.Stamp{Epoch: w.epoch, Revision: w.revision + 1, Time: time.Now()}
	if cause == registry.CauseChange {
		state.Changes = &registry.Changes{Changed: []registry.InstanceChange{{ID: s.Instances[0].ID, Fields: []string{"health"}}}}
	}
	w.digest = w.digest.XOR(w.states[n])
	w.states[n] = state.Digest()
	w.digest = w.digest.XOR(w.states[n])
	return p.own(w, registry.Event{Kind: registry.KindService, Cause: cause, Service: &state})
}

func (p *past) mark(w *pastWriter) error {
	return p.own(w, registry.Event{Kind: registry.KindSnapshot, Cause: registry.CauseRefresh, Snapshot: &registry.SnapshotMark{Keys: p.services, Digest: w.digest}})
}

func (p *past) own(w *pastWriter, e registry.Event) (err error) {
	w.revision++
	e.Epoch, e.Revision = w.epoch, w.revision
	w.link, err = p.put(w.writer, w.link, e)
	return err
}

// put publishes one message, in the form that agents give it but for what recognises
// one that is sent again, and signatures: there are none. It returns the message's link.
func (p *past) put(w registry.Writer, previous stream.Link, e registry.Event) (link stream.Link, err error) {
	e.Schema, e.Writer, e.Time, e.Agent = registry.Schema, w, time.Now().UTC(), "bench"
	if e.Cause == "" {
		e.Cause = registry.CauseChange
	}
	e.ID = fmt.Sprintf("%s-%d-%d-bench", w, e.Epoch, e.Revision)
	subject, err := stream.Subject(e.Fact())
	if err != nil {
		return link, err
	}
	body, err := registry.Encode(&e)
	if err != nil {
		return link, err
	}
	m := &nats.Msg{Subject: subject, Data: body, Header: nats.Header{
		"Content-Type": {"application/json"}, "ce-specversion": {"1.0"}, "ce-id": {e.ID}, "ce-type": {"seamark." + string(e.Kind) + ".v1"},
		"ce-source": {"/seamark/" + string(w)}, "ce-time": {e.Time.Format(time.RFC3339Nano)},
	}}
	if e.Epoch > 0 {
		m.Header["Seamark-Epoch"] = []string{strconv.FormatUint(e.Epoch, 10)}
		m.Header["Seamark-Revision"] = []string{strconv.FormatUint(e.Revision, 10)}
	}
	if previous != (stream.Link{}) {
		m.Header[stream.HeaderPrevious] = []string{previous.String()}
	}
	link = stream.LinkOf(m.Subject, m.Header, m.Data)
	m.Header[stream.HeaderChain] = []string{link.String()}
	p.count++
	p.bytes += m.Size()
	return link, p.conn.PublishMsg(m)
}

// settle waits until all is stored.
func (p *past) settle(ctx context.Context, conn *stream.Conn) error {
	for {
		state, err := conn.State(ctx)
		if err != nil {
			return err
		}
		if state.Last >= uint64(p.count) {
			return nil
		}
		if !pause(ctx, 100*time.Millisecond) {
			return fmt.Errorf("%d of %d events are stored: %w", state.Last, p.count, context.Cause(ctx))
		}
	}
}
