package observer_test

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// skew is what the stream's clock is ahead of everybody's: whoever compares the two
// is found out.
const skew = 3 * time.Hour

// world is a stream with agents, vantage points and observers around it.
type world struct {
	mu       sync.Mutex
	messages []registry.Message
	sequence uint64
	leases   map[registry.Writer]kept[registry.Lease]
	probes   map[string]kept[registry.ProbeReport]
	holders  map[registry.Writer]string
	changed  chan struct{}
	ids      map[string]uint64
	revision map[registry.Writer]uint64
	epoch    map[registry.Writer]uint64
	age      time.Duration
	streams  int // how often the stream was made anew

	cancel    context.CancelFunc
	ctx       context.Context
	wg        sync.WaitGroup
	observers []*process
	dead      map[registry.ClusterID]bool            // whose agent does not renew
	reach     map[registry.ClusterID]map[string]bool // what the vantage points see
	vantages  []string
	every     time.Duration // between two reports of a vantage point
	back      time.Duration // how far the stream's clock was set back
}

type kept[T any] struct {
	value    T
	sequence uint64
	stored   time.Time
}

var clusters = []registry.ClusterID{"amber", "bronze", "cobalt"}

// inWorld runs f in a bubble of its own time, with three clusters whose agents are
// well, and their two gateways each. It ends with what must always hold.
func inWorld(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		w := &world{
			leases: map[registry.Writer]kept[registry.Lease]{}, probes: map[string]kept[registry.ProbeReport]{},
			holders: map[registry.Writer]string{}, changed: make(chan struct{}), ids: map[string]uint64{},
			revision: map[registry.Writer]uint64{}, epoch: map[registry.Writer]uint64{}, age: 30 * 24 * time.Hour,
			ctx: ctx, cancel: cancel, dead: map[registry.ClusterID]bool{}, reach: map[registry.ClusterID]map[string]bool{},
			vantages: []string{"_dns-one"}, every: 5 * time.Second,
		}
		for n, c := range clusters {
			w.begin(c)
			w.reach[c] = map[string]bool{"gw-1": true, "gw-2": true}
			w.wg.Go(func() { w.renew(c, time.Duration(n)*700*time.Millisecond) })
		}
		w.wg.Go(w.probe)
		defer func() {
			for _, p := range w.observers {
				p.stop()
			}
			cancel()
			w.wg.Wait()
			if fault := w.audit(); fault != "" {
				t.Error(fault)
			}
		}()
		f(t, w)
	})
}

func (w *world) now() time.Time { return time.Now().Add(skew - w.back) }

// begin publishes what a cluster says of itself, and one service.
func (w *world) begin(c registry.ClusterID) {
	writer := registry.Writer(c)
	w.mu.Lock()
	w.epoch[writer] = uint64(w.now().Unix())
	w.mu.Unlock()
	w.publish(registry.Event{Kind: registry.KindEpoch, Writer: writer, Takeover: &registry.EpochRecord{}})
	gateway := func(name, address string) registry.Gateway {
		return registry.Gateway{Name: name, Addresses: []netip.Addr{netip.MustParseAddr(address)}, Ports: map[string]int{"http": 80}, Weight: 1}
	}
	w.publish(registry.Event{Kind: registry.KindCluster, Writer: writer, Cluster: &registry.ClusterRecord{
		Cluster: c, Gateways: []registry.Gateway{gateway("gw-1", "192.0.2.1"), gateway("gw-2", "192.0.2.2")},
	}})
	w.service(c, "web", true)
}

// recreate makes the stream anew, empty, with sequences above those of the one before;
// the agents publish everything again.
func (w *world) recreate() {
	w.mu.Lock()
	w.messages = nil
	clear(w.ids)
	clear(w.revision)
	w.streams++
	w.mu.Unlock()
	for _, c := range clusters {
		w.begin(c)
	}
}

// service publishes a service of a cluster, with an instance or as a tombstone.
func (w *world) service(c registry.ClusterID, name string, there bool) {
	count := 0
	if there {
		count = 1
	}
	w.instances(c, name, count)
}

// instances publishes a service of a cluster with so many instances; none: as a tombstone.
func (w *world) instances(c registry.ClusterID, name string, count int) {
	key := registry.ServiceKey{Namespace: "shop", Name: name}
	var s *registry.Service
	if count > 0 {
		s = &registry.Service{Key: key}
	}
	for n := range count {
		s.Instances = append(s.Instances, registry.Instance{ID: fmt.Sprint(name, "-", n), Address: "10.0.0.1", Port: 80, Weight: 1, Health: registry.Passing})
	}
	state := registry.NewServiceState(key, s)
	w.publish(registry.Event{Kind: registry.KindService, Writer: registry.Writer(c), Service: &state})
}

// publish stores an event of a cluster or the operator, as it is.
func (w *world) publish(e registry.Event) uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	e.Schema, e.Time, e.Cause = registry.Schema, time.Now().UTC(), registry.CauseChange
	e.ID = fmt.Sprintf("%s-%d", e.Writer, w.sequence)
	if e.Writer != registry.Operator {
		w.revision[e.Writer]++
		e.Epoch, e.Revision = w.epoch[e.Writer], w.revision[e.Writer]
	}
	return w.store(&e)
}

// store appends an event by way of its encoding. The caller holds mu.
func (w *world) store(e *registry.Event) uint64 {
	body, err := registry.Encode(e)
	if err != nil {
		panic(err)
	}
	decoded, err := registry.Decode(body)
	if err != nil {
		panic(fmt.Sprintf("%v: %s", err, body))
	}
	w.sequence++
	m := registry.NewMessage(e.Fact(), w.sequence, w.now(), e.Epoch, e.Revision, decoded, nil)
	if m.Refused != nil {
		panic(m.Refused)
	}
	w.messages = append(w.messages, m)
	w.ids[e.ID] = w.sequence
	w.tell()
	return w.sequence
}

func (w *world) tell() {
	close(w.changed)
	w.changed = make(chan struct{})
}

// last returns the last message of a fact. The caller holds mu.
func (w *world) last(f registry.Fact) (registry.Message, bool) {
	for n := len(w.messages) - 1; n >= 0; n-- {
		if w.messages[n].Fact == f {
			return w.messages[n], true
		}
	}
	return registry.Message{}, false
}

func (w *world) putLease(l registry.Lease) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sequence++
	w.leases[l.Writer] = kept[registry.Lease]{l, w.sequence, w.now()}
	w.tell()
}

// renew is a cluster's agent, as far as its lease goes.
func (w *world) renew(c registry.ClusterID, phase time.Duration) {
	sleep(w.ctx, phase)
	for sleep(w.ctx, 2*time.Second) {
		w.mu.Lock()
		dead, epoch, revision := w.dead[c], w.epoch[registry.Writer(c)], w.revision[registry.Writer(c)]
		w.mu.Unlock()
		if !dead {
			w.putLease(registry.Lease{
				Schema: registry.Schema, Writer: registry.Writer(c), Agent: "agent@" + string(c), Phase: registry.PhaseSynced,
				Epoch: epoch, Revision: revision, Time: time.Now(),
			})
		}
	}
}

// probe are the vantage points.
func (w *world) probe() {
	for {
		w.mu.Lock()
		every := w.every
		w.mu.Unlock()
		if !sleep(w.ctx, every) {
			return
		}
		w.mu.Lock()
		for _, v := range w.vantages {
			for _, c := range clusters {
				r := registry.ProbeReport{Schema: registry.Schema, Vantage: v, Cluster: c, Time: time.Now(), Every: every.Seconds()}
				for _, name := range slices.Sorted(maps.Keys(w.reach[c])) {
					r.Gateways = append(r.Gateways, registry.GatewayReport{Name: name, Reached: w.reach[c][name]})
				}
				w.sequence++
				w.probes[v+"/"+string(c)] = kept[registry.ProbeReport]{r, w.sequence, w.now()}
			}
		}
		w.tell()
		w.mu.Unlock()
	}
}

func (w *world) set(change func(*world)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(w)
}

func (w *world) kill(c registry.ClusterID)   { w.set(func(w *world) { w.dead[c] = true }) }
func (w *world) revive(c registry.ClusterID) { w.set(func(w *world) { w.dead[c] = false }) }

func (w *world) gateways(c registry.ClusterID, first, second bool) {
	w.set(func(w *world) { w.reach[c] = map[string]bool{"gw-1": first, "gw-2": second} })
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// history returns all messages.
func (w *world) history() []registry.Message {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.messages)
}

func fold(messages []registry.Message) *registry.View {
	f := registry.NewFold()
	for _, m := range messages {
		f.Apply(m)
	}
	f.Synced()
	return f.View()
}

func (w *world) view() *registry.View { return fold(w.history()) }

// state returns what is said of a cluster.
func (w *world) state(c registry.ClusterID) registry.Liveness {
	if s := w.view().State(c); s != nil {
		return s.State
	}
	return registry.Up
}

// said returns what the observers published, in short.
func (w *world) said() []string {
	var said []string
	for _, m := range w.history() {
		if m.Fact.Writer == registry.Observer && m.Event.Cause == registry.CauseChange {
			switch {
			case m.Event.State != nil:
				s := m.Event.State
				said = append(said, strings.TrimSuffix(fmt.Sprintf("%s %s %s", s.Cluster, s.State, strings.Join(s.Failing, ",")), " "))
			case m.Event.Note != nil:
				said = append(said, m.Event.Note.Kind+" "+m.Event.Note.Data["kind"])
			}
		}
	}
	return said
}

// audit tells what must never be, of the whole history; "" when all is well.
func (w *world) audit() string {
	history := w.history()
	last := map[registry.Fact]uint64{}
	for _, m := range history {
		last[m.Fact] = m.Sequence
	}
	latest := slices.DeleteFunc(slices.Clone(history), func(m registry.Message) bool { return last[m.Fact] != m.Sequence })
	if !bytes.Equal(fold(history).AppendCanonical(nil), fold(latest).AppendCanonical(nil)) {
		return "the last message of each fact and the whole history give different views"
	}
	var epoch, revision uint64
	stands := map[registry.ClusterID]registry.StateRecord{}
	for _, m := range history {
		if m.Fact.Writer != registry.Observer {
			continue
		}
		if m.Epoch != epoch {
			if m.Fact.Kind != registry.KindEpoch || m.Epoch < epoch {
				return fmt.Sprintf("sequence %d is of epoch %d, in epoch %d", m.Sequence, m.Epoch, epoch)
			}
			epoch, revision = m.Epoch, 0
		}
		if revision++; m.Revision != revision {
			return fmt.Sprintf("epoch %d: revision %d follows %d", epoch, m.Revision, revision-1)
		}
		s := m.Event.State
		if s == nil {
			continue
		}
		was, known := stands[s.Cluster]
		if !known {
			was.State = registry.Up
		}
		same := was.State == s.State && slices.Equal(was.Failing, s.Failing)
		if same != (m.Event.Cause == registry.CauseRefresh) || same && !was.Equal(*s) {
			return fmt.Sprintf("sequence %d (%s) says %+v, and %+v stands", m.Sequence, m.Event.Cause, *s, was)
		}
		if s.Reason == "" || s.Evidence == nil || s.Since.IsZero() || s.Since.Sub(m.Stored) > 0 {
			return fmt.Sprintf("sequence %d gives no reason, evidence or moment: %+v", m.Sequence, *s)
		}
		stands[s.Cluster] = *s
	}
	return ""
}

// within waits until it holds, and returns how long that took.
func within(t *testing.T, most time.Duration, what string, holds func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for !holds() {
		if time.Since(began) > most {
			t.Fatalf("not within %v: %s", most, what)
		}
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
	}
	return time.Since(began)
}
