package replica_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// spool is a stream as a reader sees it, which misbehaves on demand.
type spool struct {
	mu       sync.Mutex
	messages []kept
	changed  chan struct{} // closed and replaced at every change
	leases   map[registry.Writer]leaseAt
	written  []registry.Writer // leases in the order they came

	broken      error                // ends Follow and WatchLeases, and the next ones at once
	hide        map[uint64]bool      // sequences that Follow leaves out
	held        bool                 // Follow does not reach the end
	loadErr     error                // of LoadWriter
	factErr     error                // of LoadFact
	loadTakes   time.Duration        // how long LoadWriter takes
	factTakes   time.Duration        // how long LoadFact takes
	loads       []registry.Writer    // what LoadWriter was asked for
	facts       []registry.Fact      // what LoadFact was asked for
	orders      []registry.ClusterID // resyncs that were ordered
	follows     int
	aheadOfTail time.Duration // how much later Follow delivers than the messages are stored
}

// kept is one message as it is stored.
type kept struct {
	fact            registry.Fact
	sequence        uint64
	stored          time.Time
	epoch, revision uint64
	body            []byte
}

type leaseAt struct {
	lease  registry.Lease
	stored time.Time
}

func newTape() *spool {
	return &spool{changed: make(chan struct{}), leases: map[registry.Writer]leaseAt{}, hide: map[uint64]bool{}}
}

func (k kept) message() registry.Message {
	e, err := registry.Decode(k.body)
	var refused *registry.Refusal
	errors.As(err, &refused)
	return registry.NewMessage(k.fact, k.sequence, k.stored, k.epoch, k.revision, e, refused)
}

// set changes how the tape behaves, and wakes whoever waits.
func (t *spool) set(change func(*spool)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change(t)
	close(t.changed)
	t.changed = make(chan struct{})
}

// did is what a reader asked a spool for.
type did struct {
	loads  []registry.Writer
	facts  []registry.Fact
	orders []registry.ClusterID
}

func (t *spool) did() did {
	t.mu.Lock()
	defer t.mu.Unlock()
	return did{slices.Clone(t.loads), slices.Clone(t.facts), slices.Clone(t.orders)}
}

// store appends a message and returns its sequence.
func (t *spool) store(k kept) (sequence uint64) {
	t.set(func(t *spool) {
		k.sequence, k.stored = uint64(len(t.messages)+1), time.Now()
		t.messages = append(t.messages, k)
		sequence = k.sequence
	})
	return sequence
}

// last returns the last message of each fact that keep selects, in stream order.
func last(all []kept, keep func(kept) bool) (out []registry.Message) {
	at := map[registry.Fact]uint64{}
	for _, k := range all {
		if keep(k) {
			at[k.fact] = k.sequence
		}
	}
	for _, k := range all {
		if at[k.fact] == k.sequence {
			out = append(out, k.message())
		}
	}
	return out
}

// Follow is the stream's.
func (t *spool) Follow(ctx context.Context, f func([]registry.Message, bool) error) error {
	t.mu.Lock()
	t.follows++
	shown := func(k kept) bool { return !t.hide[k.sequence] }
	batch, next, err := last(t.messages, shown), len(t.messages), t.broken
	t.mu.Unlock()
	if err != nil {
		return err
	}
	for some := range slices.Chunk(batch, 3) { // the end comes with the next batch
		if err := f(some, false); err != nil {
			return err
		}
	}
	caughtUp := false
	for {
		t.mu.Lock()
		changed, late, err := t.changed, t.aheadOfTail, t.broken
		batch = nil
		for ; next < len(t.messages); next++ {
			if shown(t.messages[next]) {
				batch = append(batch, t.messages[next].message())
			}
		}
		held := t.held
		t.mu.Unlock()
		if err != nil {
			return err
		}
		if !held && !caughtUp {
			caughtUp = true
			if err := f(nil, true); err != nil {
				return err
			}
		}
		if len(batch) > 0 {
			if err := sleep(ctx, late); err != nil {
				return err
			}
			if err := f(batch, caughtUp); err != nil {
				return err
			}
			continue
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-changed:
		}
	}
}

// LoadWriter is the stream's.
func (t *spool) LoadWriter(ctx context.Context, w registry.Writer) ([]registry.Message, error) {
	t.mu.Lock()
	t.loads = append(t.loads, w)
	takes, err := t.loadTakes, t.loadErr
	t.mu.Unlock()
	if err := sleep(ctx, takes); err != nil {
		return nil, err
	}
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return last(t.messages, func(k kept) bool { return k.fact.Writer == w }), nil
}

// LoadFact is the stream's.
func (t *spool) LoadFact(ctx context.Context, f registry.Fact, before uint64) (out []registry.Message, err error) {
	t.mu.Lock()
	t.facts = append(t.facts, f)
	takes, err := t.factTakes, t.factErr
	for _, k := range t.messages {
		if k.fact == f && k.sequence < before {
			if m := k.message(); m.Refused == nil {
				out = append(out, m)
			}
		}
	}
	t.mu.Unlock()
	if err := errors.Join(sleep(ctx, takes), err); err != nil {
		return nil, err
	}
	if f.Kind != registry.KindEpoch {
		out = out[max(0, len(out)-1):]
	}
	return out, nil
}

// WatchLeases is the stream's.
func (t *spool) WatchLeases(ctx context.Context, f func(l registry.Lease, stored, received time.Time)) error {
	t.mu.Lock()
	initial, next := maps.Clone(t.leases), len(t.written)
	err := t.broken
	t.mu.Unlock()
	if err != nil {
		return err
	}
	for _, l := range initial {
		f(l.lease, l.stored, time.Now())
	}
	for {
		t.mu.Lock()
		changed, err := t.changed, t.broken
		var come []leaseAt
		for ; next < len(t.written); next++ {
			come = append(come, t.leases[t.written[next]])
		}
		t.mu.Unlock()
		if err != nil {
			return err
		}
		for _, l := range come {
			f(l.lease, l.stored, time.Now())
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-changed:
		}
	}
}

// OrderResync is the stream's.
func (t *spool) OrderResync(ctx context.Context, cluster registry.ClusterID, _ string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.orders = append(t.orders, cluster)
	return ctx.Err()
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// author is one cluster's agent, as far as it writes on a tape.
type author struct {
	tape     *spool
	cluster  registry.ClusterID
	epoch    uint64
	revision uint64
	states   map[registry.ServiceKey]registry.Digest
	record   registry.Digest
	fences   []registry.Fence
}

func (t *spool) author(cluster registry.ClusterID) *author {
	a := &author{tape: t, cluster: cluster, states: map[registry.ServiceKey]registry.Digest{}}
	a.begin()
	record := registry.ClusterRecord{Cluster: cluster, Gateways: []registry.Gateway{}}
	a.record = record.Digest()
	a.write(func(e *registry.Event) { e.Kind, e.Cluster = registry.KindCluster, &record })
	return a
}

// begin begins an epoch.
func (a *author) begin() {
	a.epoch, a.revision = uint64(time.Now().Unix())+uint64(len(a.fences)), 0
	fences := slices.Clone(a.fences)
	at := a.write(func(e *registry.Event) {
		e.Kind, e.Takeover = registry.KindEpoch, &registry.EpochRecord{Fences: fences}
	})
	a.fences = append(a.fences, registry.Fence{Epoch: a.epoch, Sequence: at})
}

func (a *author) write(fill func(*registry.Event)) uint64 {
	a.revision++
	e := &registry.Event{
		Schema: registry.Schema, ID: fmt.Sprintf("%s-%d-%d", a.cluster, a.epoch, a.revision), Writer: registry.Writer(a.cluster),
		Epoch: a.epoch, Revision: a.revision, Time: time.Now().UTC(), Cause: registry.CauseChange,
	}
	fill(e)
	body, err := registry.Encode(e)
	if err != nil {
		panic(err)
	}
	return a.tape.store(kept{fact: e.Fact(), epoch: e.Epoch, revision: e.Revision, body: body})
}

// put publishes a service with so many instances.
func (a *author) put(name string, instances int) uint64 {
	k := registry.ServiceKey{Namespace: "default", Name: name}
	s := registry.Service{Key: k}
	for n := range instances {
		s.Instances = append(s.Instances, registry.Instance{ID: fmt.Sprintf("%s-%03d", name, n), Address: "10.0.0.1", Port: 80, Weight: 1, Health: registry.Passing})
	}
	state := registry.NewServiceState(k, &s)
	state.Seen = time.Now().UTC()
	a.states[k] = state.Digest()
	return a.write(func(e *registry.Event) { e.Kind, e.Service = registry.KindService, &state })
}

// garbage publishes something about a fact that nobody can read.
func (a *author) garbage(f registry.Fact) uint64 {
	a.revision++
	f.Writer = registry.Writer(a.cluster)
	return a.tape.store(kept{fact: f, epoch: a.epoch, revision: a.revision, body: []byte(`{"schema":"seamark/2.0"}`)})
}

func serviceFact(name string) registry.Fact {
	return registry.Fact{Kind: registry.KindService, Service: registry.ServiceKey{Namespace: "default", Name: name}}
}

// lease writes the lease; other changes what it says.
func (a *author) lease(other ...func(*registry.Lease)) {
	l := registry.Lease{
		Schema: registry.Schema, Writer: registry.Writer(a.cluster), Agent: "agent", Phase: registry.PhaseSynced,
		Epoch: a.epoch, Revision: a.revision, Keys: len(a.states), Digest: a.record, Time: time.Now().UTC(),
	}
	for _, d := range a.states {
		l.Digest = l.Digest.XOR(d)
	}
	for _, change := range other {
		change(&l)
	}
	a.tape.set(func(t *spool) {
		t.leases[l.Writer] = leaseAt{l, time.Now()}
		t.written = append(t.written, l.Writer)
	})
}

// zone stores a zone record.
func (t *spool) zone() {
	t.store(zoneKept())
}
