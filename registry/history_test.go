package registry_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/seamark-mesh/seamark/registry"
)

// began is when the streams of these tests begin, in Unix seconds; message N is
// stored N seconds later.
const began = 1_800_000_000

// message is one message of a stream, as bytes: what a reader gets.
type message struct {
	fact     registry.Fact
	sequence uint64
	epoch    uint64
	revision uint64
	body     []byte
	what     string // for a person who reads a failure
	cached   *registry.Message
}

// decoded passes the message through the same doors as a reader does.
func (m message) decoded() registry.Message {
	if m.cached != nil && m.cached.Sequence == m.sequence {
		return *m.cached
	}
	event, err := registry.Decode(m.body)
	var refused *registry.Refusal
	if err != nil && !errors.As(err, &refused) {
		panic(fmt.Sprintf("Decode returned %T, not a refusal", err))
	}
	return registry.NewMessage(m.fact, m.sequence, time.Unix(began+int64(m.sequence), 0), m.epoch, m.revision, event, refused)
}

func (m message) String() string {
	return fmt.Sprintf("%d: %s %s of %s, epoch %d revision %d", m.sequence, m.what, m.fact.Service, m.fact.Writer, m.epoch, m.revision)
}

// stream is a history that grows: honest writers, and others.
type stream struct {
	messages []message
	authors  []*author
	observer *author
}

// author is one cluster's agent, as far as it decides what stands on the stream.
type author struct {
	cluster  registry.ClusterID
	epoch    uint64
	revision uint64
	past     []uint64         // epochs that are over
	fences   []registry.Fence // of all epochs, this one's last
	states   map[registry.ServiceKey]registry.ServiceState
	record   *registry.ClusterRecord
}

func newStream(clusters ...registry.ClusterID) *stream {
	s := &stream{observer: &author{cluster: registry.ClusterID(registry.Observer)}}
	for _, c := range clusters {
		s.authors = append(s.authors, &author{cluster: c, states: map[registry.ServiceKey]registry.ServiceState{}})
	}
	return s
}

// put stores an event under the fact it states.
func (s *stream) put(what string, e registry.Event) *message {
	e.Schema, e.Cause = registry.Schema, registry.CauseChange
	e.Time = time.Unix(began+int64(len(s.messages)), 0).UTC()
	e.ID = fmt.Sprintf("%s-%d-%d", e.Writer, e.Epoch, e.Revision)
	body, err := registry.Encode(&e)
	if err != nil {
		panic(err)
	}
	s.messages = append(s.messages, message{
		fact: e.Fact(), sequence: uint64(len(s.messages)) + 1, epoch: e.Epoch, revision: e.Revision, body: body, what: what,
	})
	return s.remember()
}

// remember decodes the message that was stored last, once for all readers.
func (s *stream) remember() *message {
	m := &s.messages[len(s.messages)-1]
	decoded := m.decoded()
	m.cached = &decoded
	return m
}

// own begins an event of the author with its next revision.
func (a *author) own(kind registry.Kind) registry.Event {
	a.revision++
	return registry.Event{Kind: kind, Writer: registry.Writer(a.cluster), Epoch: a.epoch, Revision: a.revision}
}

// takeover begins an epoch.
func (s *stream) takeover(a *author, epoch uint64) {
	if a.epoch > 0 {
		a.past = append(a.past, a.epoch)
	}
	a.epoch, a.revision = epoch, 0
	e := a.own(registry.KindEpoch)
	e.Takeover = &registry.EpochRecord{Fences: lastFences(a.fences)}
	m := s.put("epoch", e)
	a.fences = append(a.fences, registry.Fence{Epoch: epoch, Sequence: m.sequence})
}

// repeatEpoch is the daily refresh: it names the epoch's own first sequence.
func (s *stream) repeatEpoch(a *author) {
	e := a.own(registry.KindEpoch)
	e.Takeover = &registry.EpochRecord{Fences: lastFences(a.fences)}
	s.put("epoch again", e)
}

func lastFences(fences []registry.Fence) []registry.Fence {
	return slices.Clone(fences[max(0, len(fences)-registry.MaxFences):])
}

func (s *stream) service(a *author, what string, state registry.ServiceState) *message {
	e := a.own(registry.KindService)
	state.Changed = registry.Stamp{Epoch: e.Epoch, Revision: e.Revision, Time: time.Unix(began+int64(len(s.messages)), 0).UTC()}
	e.Service = &state
	a.states[state.Key()] = state
	return s.put(what, e)
}

func (s *stream) recordOf(a *author, record registry.ClusterRecord) {
	e := a.own(registry.KindCluster)
	e.Cluster = &record
	a.record = &record
	s.put("cluster", e)
}

// keys are few, so that they meet: several of them give the same labels.
var keys = []registry.ServiceKey{
	{Namespace: "default", Name: "api"},
	{Namespace: "default", Name: "API"},
	{Namespace: "default", Name: "web"},
	{Namespace: "shop", Name: "cart.v1"},
	{Namespace: "shop", Name: "cart-v1"},
	{Namespace: "shop", Name: "cart_v1"},
	{Namespace: "Shop", Name: "cart:v1"},
	{Namespace: "shop", Name: strings.Repeat("long", 20)},
}

func drawService(t *rapid.T) registry.Service {
	key := rapid.SampledFrom(keys).Draw(t, "key")
	service, refused, ok := registry.CleanService(key.Namespace, key.Name, rapid.SliceOfN(instances(), 0, 4).Draw(t, "instances"))
	for _, r := range refused {
		if r.Reason != "instance-duplicate" {
			t.Fatalf("CleanService refused a valid instance: %v", r)
		}
	}
	if !ok {
		t.Fatalf("CleanService refused the key %v", key)
	}
	return service
}

func instances() *rapid.Generator[registry.Instance] {
	return rapid.Custom(func(t *rapid.T) registry.Instance {
		i := registry.Instance{
			ID:      rapid.SampledFrom([]string{"a", "b", "c", "node-1:8080", "ü"}).Draw(t, "id"),
			Address: rapid.SampledFrom([]string{"10.0.0.1", "10.0.0.2", "2001:db8::1", "db.example"}).Draw(t, "address"),
			Port:    rapid.SampledFrom([]int{0, 80, 8080, 65535}).Draw(t, "port"),
			Weight:  rapid.SampledFrom([]int{0, 1, 1, 10}).Draw(t, "weight"),
			Health:  rapid.SampledFrom([]registry.Health{registry.Passing, registry.Passing, registry.Warning, registry.Critical, registry.Unknown}).Draw(t, "health"),
			Version: rapid.SampledFrom([]string{"", "1.0", "2.0"}).Draw(t, "version"),
		}
		if rapid.Bool().Draw(t, "has meta") {
			i.Meta = rapid.MapOfN(rapid.SampledFrom([]string{"k", "l", "<&>"}), rapid.StringN(0, 3, 20), 1, 2).Draw(t, "meta")
		}
		return i
	})
}

func drawRecord(t *rapid.T, cluster registry.ClusterID) registry.ClusterRecord {
	addresses := []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("2001:db8::2")}
	gateways := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) registry.Gateway {
		return registry.Gateway{
			Name:      rapid.SampledFrom([]string{"gw-1", "gw-2", "gw-3"}).Draw(t, "gateway"),
			Addresses: rapid.SliceOfN(rapid.SampledFrom(addresses), 1, 3).Draw(t, "addresses"),
			Ports:     map[string]int{"http": rapid.SampledFrom([]int{80, 8080}).Draw(t, "gateway port")},
			Weight:    rapid.IntRange(0, 2).Draw(t, "gateway weight"),
		}
	}), 0, 3).Draw(t, "gateways")
	clean, _ := registry.CleanGateways(gateways, true, nil)
	return registry.ClusterRecord{
		Cluster: cluster, Source: "file", Region: rapid.SampledFrom([]string{"", "eu", "us"}).Draw(t, "region"), Gateways: clean,
	}
}

// drawStream makes a history in which everything happens that may: several
// clusters, takeovers, refreshes, marks, notes, orders, bodies that can't be
// read, and messages of writers that have lost their epoch.
func drawStream(t *rapid.T) *stream {
	s := newStream("amber", "bronze", "cobalt")
	steps := rapid.IntRange(5, 120).Draw(t, "steps")
	for range steps {
		a := s.authors[rapid.IntRange(0, len(s.authors)-1).Draw(t, "cluster")]
		if a.epoch == 0 {
			s.takeover(a, began)
			continue
		}
		script[rapid.IntRange(0, len(script)-1).Draw(t, "step")](t, s, a)
	}
	return s
}

// script holds the steps of a history; what is more frequent stands more often.
var script = []func(t *rapid.T, s *stream, a *author){
	change, change, change, change, change, change, tombstone, tombstone, forget, forget, forget, refresh, refresh, refreshEpoch,
	observe, observe, observe, observe, observerEpoch, rogueState, drain, drain, drain, leave,
	cluster, cluster, mark, note, note, order, zone, unreadable, unreadable, unreadable, rogue, rogue, rogue, rogueRecord, poison, newEpoch, newEpoch,
}

func change(t *rapid.T, s *stream, a *author) {
	service := drawService(t)
	s.service(a, "change", registry.NewServiceState(service.Key, &service))
}

func tombstone(t *rapid.T, s *stream, a *author) {
	s.service(a, "tombstone", registry.NewServiceState(rapid.SampledFrom(keys).Draw(t, "key"), nil))
}

func forget(t *rapid.T, s *stream, a *author) {
	state := registry.NewServiceState(rapid.SampledFrom(keys).Draw(t, "key"), nil)
	state.Forgotten = true
	s.service(a, "forgotten", state)
}

func refresh(t *rapid.T, s *stream, a *author) {
	key := rapid.SampledFrom(keys).Draw(t, "key")
	state, ok := a.states[key]
	if !ok {
		state = registry.NewServiceState(key, nil)
	}
	e := a.own(registry.KindService)
	e.Service = &state
	s.put("refresh", e)
	a.states[key] = state
}

func refreshEpoch(_ *rapid.T, s *stream, a *author) { s.repeatEpoch(a) }

func newEpoch(t *rapid.T, s *stream, a *author) {
	now := began + uint64(len(s.messages))
	ahead := rapid.SampledFrom([]uint64{0, 1, 86_000}).Draw(t, "clock ahead")
	s.takeover(a, max(a.epoch+1, min(now+ahead, now+86_000)))
}

func cluster(t *rapid.T, s *stream, a *author) { s.recordOf(a, drawRecord(t, a.cluster)) }

func mark(_ *rapid.T, s *stream, a *author) {
	e := a.own(registry.KindSnapshot)
	e.Snapshot = &registry.SnapshotMark{Keys: len(a.states)}
	s.put("snapshot", e)
}

func note(_ *rapid.T, s *stream, a *author) {
	e := a.own(registry.KindNote)
	e.Note = &registry.Note{Kind: "quarantine", Text: "a note"}
	s.put("note", e)
}

func order(_ *rapid.T, s *stream, a *author) {
	s.put("order", registry.Event{Kind: registry.KindOrder, Writer: registry.Operator, Order: &registry.Order{
		Kind: registry.OrderResync, Target: string(a.cluster), By: "a person", Reason: "a test",
	}})
}

// observe is a transition of any cluster, also of one that nobody has heard of.
func observe(t *rapid.T, s *stream, a *author) {
	if s.observer.epoch == 0 {
		s.takeover(s.observer, began)
	}
	e := s.observer.own(registry.KindState)
	e.State = drawState(t, a.cluster)
	s.put("state", e)
}

func drawState(t *rapid.T, cluster registry.ClusterID) *registry.StateRecord {
	return &registry.StateRecord{
		Cluster: rapid.SampledFrom([]registry.ClusterID{cluster, cluster, cluster, "nowhere"}).Draw(t, "of"),
		State:   rapid.SampledFrom([]registry.Liveness{registry.Up, registry.Unreachable, registry.Stale, registry.Down, registry.Gone}).Draw(t, "state"),
		Since:   time.Unix(began+rapid.Int64Range(0, 3).Draw(t, "since"), 0).UTC(),
		Reason:  "a test",
		Failing: rapid.SampledFrom([][]string{nil, nil, {"gw-1"}, {"gw-1", "gw-2"}}).Draw(t, "failing"),
	}
}

func observerEpoch(t *rapid.T, s *stream, _ *author) {
	if s.observer.epoch > 0 {
		newEpoch(t, s, s.observer)
	}
}

// rogueState is a transition by an observer that has lost its epoch, stored all the same.
func rogueState(t *rapid.T, s *stream, a *author) {
	if len(s.observer.past) == 0 {
		return
	}
	s.put("rogue state", registry.Event{
		Kind: registry.KindState, Writer: registry.Observer, State: drawState(t, a.cluster),
		Epoch: rapid.SampledFrom(s.observer.past).Draw(t, "old epoch"), Revision: rapid.Uint64Range(1, 1000).Draw(t, "old revision"),
	})
}

func drain(t *rapid.T, s *stream, a *author) {
	labels := registry.Labels{}
	gateway := rapid.SampledFrom([]string{"", "", "gw-1", "gw-2"}).Draw(t, "gateway")
	if gateway == "" && rapid.Bool().Draw(t, "of a service") {
		labels = rapid.SampledFrom(keys).Draw(t, "key").Labels()
	}
	s.put("drain", registry.Event{Kind: registry.KindOrder, Writer: registry.Operator, Order: &registry.Order{
		Kind: registry.OrderDrain, Target: registry.DrainTarget(a.cluster, gateway, labels), By: "a person", Reason: "a test",
		For: rapid.IntRange(0, 2).Draw(t, "for"), Force: rapid.Bool().Draw(t, "force"), Lifted: rapid.Bool().Draw(t, "lifted"),
	}})
}

func leave(t *rapid.T, s *stream, a *author) {
	s.put("leave", registry.Event{Kind: registry.KindOrder, Writer: registry.Operator, Order: &registry.Order{
		Kind: registry.OrderLeave, Target: string(a.cluster), By: "a person", Reason: "a test", Lifted: rapid.Bool().Draw(t, "lifted"),
	}})
}

func zone(t *rapid.T, s *stream, _ *author) {
	s.put("zone", registry.Event{Kind: registry.KindZone, Writer: registry.Operator, Zone: &registry.ZoneRecord{
		Name: "mesh.internal.", TTL: rapid.IntRange(1, 9).Draw(t, "ttl"), NegativeTTL: 5, Contact: "hostmaster.mesh.internal.",
		Withdraw: rapid.SampledFrom([][]registry.Pattern{nil, {"shop/*"}}).Draw(t, "withdraw"),
	}})
}

// unreadable repeats the subject of an earlier message with a body that is no use.
func unreadable(t *rapid.T, s *stream, a *author) {
	m := s.messages[rapid.IntRange(0, len(s.messages)-1).Draw(t, "subject of")]
	switch m.fact.Writer {
	case registry.Writer(a.cluster):
		a.revision++
		m.epoch, m.revision = a.epoch, a.revision
	case registry.Operator:
		m.revision = 1
	case registry.Observer:
		s.observer.revision++
		m.epoch, m.revision = s.observer.epoch, s.observer.revision
	default:
		return
	}
	switch rapid.IntRange(0, 2).Draw(t, "fault") {
	case 0:
		m.body = []byte(`{"schema":"seamark/1.0","kind":`)
	case 1:
		m.body = []byte(`{"schema":"seamark/9.0"}`)
	default: // the body is sound, but the headers are not its own
	}
	m.what = "unreadable " + m.what
	m.sequence = uint64(len(s.messages)) + 1
	s.messages = append(s.messages, m)
	s.remember()
}

// rogue is a service of a writer that has lost its epoch, stored all the same.
func rogue(t *rapid.T, s *stream, a *author) {
	if len(a.past) == 0 {
		return
	}
	service := drawService(t)
	state := registry.NewServiceState(service.Key, &service)
	state.Forgotten = len(state.Instances) == 0 && rapid.Bool().Draw(t, "forgotten")
	s.put("rogue service", registry.Event{
		Kind: registry.KindService, Writer: registry.Writer(a.cluster), Service: &state,
		Epoch: rapid.SampledFrom(a.past).Draw(t, "old epoch"), Revision: rapid.Uint64Range(1, 1000).Draw(t, "old revision"),
	})
}

func rogueRecord(t *rapid.T, s *stream, a *author) {
	if len(a.past) == 0 {
		return
	}
	e := registry.Event{
		Writer: registry.Writer(a.cluster),
		Epoch:  rapid.SampledFrom(a.past).Draw(t, "old epoch"), Revision: rapid.Uint64Range(1, 1000).Draw(t, "old revision"),
	}
	if rapid.Bool().Draw(t, "cluster record") {
		record := drawRecord(t, a.cluster)
		e.Kind, e.Cluster = registry.KindCluster, &record
	} else {
		e.Kind, e.Snapshot = registry.KindSnapshot, &registry.SnapshotMark{Keys: 99}
	}
	s.put("rogue "+string(e.Kind), e)
}

// poison claims an epoch from the future.
func poison(t *rapid.T, s *stream, a *author) {
	epoch := rapid.SampledFrom([]uint64{1<<64 - 1, 1 << 63, began + 30*86_400}).Draw(t, "epoch")
	if rapid.Bool().Draw(t, "takes over") {
		s.put("poisoned epoch", registry.Event{
			Kind: registry.KindEpoch, Writer: registry.Writer(a.cluster), Epoch: epoch, Revision: 1, Takeover: &registry.EpochRecord{},
		})
		return
	}
	service := drawService(t)
	state := registry.NewServiceState(service.Key, &service)
	s.put("poisoned service", registry.Event{
		Kind: registry.KindService, Writer: registry.Writer(a.cluster), Epoch: epoch, Revision: 1<<64 - 1, Service: &state,
	})
}

// reader folds messages as package replica does: when the latest message of a
// fact is of no use, it looks back at that subject's earlier ones.
type reader struct {
	fold    *registry.Fold
	history []message
}

func newReader(history []message) *reader {
	return &reader{fold: registry.NewFold(), history: history}
}

func (r *reader) take(m message) registry.Outcome {
	out := r.fold.Apply(m.decoded())
	if out.Result == registry.Quarantined {
		r.lookBack(m.fact, m.sequence)
	}
	r.repair()
	return out
}

// repair looks back for facts whose state turned out to be void.
func (r *reader) repair() {
	for facts := r.fold.Voided(); len(facts) > 0; facts = r.fold.Voided() {
		for _, f := range facts {
			r.lookBack(f, uint64(len(r.history)))
		}
	}
}

// lookBack applies the messages of one subject up to a sequence, in order. It may
// only look at what the reader has passed already.
func (r *reader) lookBack(fact registry.Fact, upTo uint64) {
	upTo = min(upTo, r.fold.View().Sequence())
	for _, m := range r.history {
		if m.sequence < upTo && m.fact == fact {
			r.fold.Apply(m.decoded())
		}
	}
}

// plain folds a history from its first message to its last. It has seen all that
// came before, so it need not look back when a message is of no use.
func plain(history []message) *reader {
	r := newReader(history)
	for _, m := range history {
		r.fold.Apply(m.decoded())
		r.repair()
	}
	return r
}

// lastPerSubject returns the latest message of each fact, in the stream's order.
func lastPerSubject(history []message) []message {
	latest := map[registry.Fact]uint64{}
	for _, m := range history {
		latest[m.fact] = m.sequence
	}
	return slices.DeleteFunc(slices.Clone(history), func(m message) bool { return latest[m.fact] != m.sequence })
}

// mustEqual fails when two Views of one sequence differ, and says in what.
func mustEqual(t rapid.TB, what string, history []message, got, want *registry.View) {
	t.Helper()
	if diff := difference(got, want); diff != "" {
		for _, m := range history {
			t.Log(m)
		}
		t.Fatalf("%s: %s", what, diff)
	}
}
