package edge_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// memory is a stream with the semantics that the agent relies on, as measured on a
// real server: compare-and-set and fences that are checked for each message, or for
// a whole batch, before anything is stored; message ids that are stored once within
// a window; sequences that only grow. It keeps every message, as bytes.
type memory struct {
	mu       sync.Mutex
	messages []kept
	last     uint64                   // sequence given out last
	ids      map[string]kept          // by message id, within the dedupe window
	lease    kept                     // its holder is in id; body nil: none
	orders   map[chan<- kept]struct{} // who waits for orders
	limit    int                      // bytes of a body, above which instances are cut

	sent   map[string][]byte // every id that was ever sent, stored or not
	faults []string          // what no agent may do
}

// kept is one message as it is stored.
type kept struct {
	fact            registry.Fact
	sequence        uint64
	stored          time.Time
	epoch, revision uint64
	id              string
	body            []byte
}

const dedupeWindow = 2 * time.Minute

func newMemory() *memory {
	return &memory{ids: map[string]kept{}, orders: map[chan<- kept]struct{}{}, limit: registry.MaxBody, sent: map[string][]byte{}}
}

// message passes a stored message through the doors that every reader uses.
func (k kept) message() registry.Message {
	e, err := registry.Decode(k.body)
	var refused *registry.Refusal
	errors.As(err, &refused)
	return registry.NewMessage(k.fact, k.sequence, k.stored, k.epoch, k.revision, e, refused)
}

var errWrongLast = errors.New("wrong last sequence")

// lastOn returns the last message of a fact. The caller holds mu.
func (m *memory) lastOn(f registry.Fact) kept {
	for n := len(m.messages) - 1; n >= 0; n-- {
		if m.messages[n].fact == f {
			return m.messages[n]
		}
	}
	return kept{}
}

// put stores messages all together or not at all, if the last message of on has
// the sequence expect. The condition is checked before duplicates are looked for.
func (m *memory) put(messages []kept, on registry.Fact, expect uint64) ([]kept, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.lastOn(on).sequence != expect {
		return nil, errWrongLast
	}
	out := make([]kept, len(messages))
	for n, k := range messages {
		if known, ok := m.ids[k.id]; ok && time.Since(known.stored) < dedupeWindow {
			if len(messages) > 1 {
				return nil, errHasID
			}
			out[n] = known
			continue
		}
		out[n] = m.store(k)
	}
	return out, nil
}

var errHasID = errors.New("batch message id exists")

// store appends a message. The caller holds mu.
func (m *memory) store(k kept) kept {
	m.last++
	k.sequence, k.stored = m.last, time.Now()
	m.messages = append(m.messages, k)
	m.ids[k.id] = k
	if k.fact.Kind == registry.KindOrder {
		for c := range m.orders {
			select {
			case c <- k:
			default:
			}
		}
	}
	return k
}

// attempt notes what an agent sends, and that it never sends other bytes under an
// id that it has used.
func (m *memory) attempt(k kept) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if was, known := m.sent[k.id]; known && !bytes.Equal(was, k.body) {
		m.faults = append(m.faults, fmt.Sprintf("%s was sent with two contents:\n%s\n%s", k.id, was, k.body))
	}
	m.sent[k.id] = k.body
}

// blame notes what no agent may do.
func (m *memory) blame(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults = append(m.faults, fmt.Sprintf(format, args...))
}

// history returns every message, oldest first.
func (m *memory) history() []kept {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.messages)
}

// lastPerFact returns the last message of each fact of a writer ("": all), in
// stream order.
func (m *memory) lastPerFact(w registry.Writer) []kept {
	all := m.history()
	last := map[registry.Fact]uint64{}
	for _, k := range all {
		last[k.fact] = k.sequence
	}
	return slices.DeleteFunc(all, func(k kept) bool { return last[k.fact] != k.sequence || w != "" && k.fact.Writer != w })
}

// standingLease returns the lease as any reader sees it; ok is false for none.
func (m *memory) standingLease() (l registry.Lease, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.lease.body == nil {
		return l, false
	}
	l, err := registry.DecodeLease(m.lease.body)
	if err != nil {
		m.faults = append(m.faults, fmt.Sprintf("a lease that can't be read: %v: %s", err, m.lease.body))
	}
	return l, err == nil
}

// forge stores a message as it is, whatever it says and whoever's it is.
func (m *memory) forge(k kept) uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.store(k).sequence
}

// recreate drops everything, as when somebody deletes the streams and makes them
// anew: sequences begin again at first.
func (m *memory) recreate(first uint64, leaseToo bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.messages, m.last = nil, first-1
	clear(m.ids)
	if leaseToo {
		m.lease = kept{}
	}
}

// cut drops the last messages, as a power failure does, or a backup that is restored.
func (m *memory) cut(count int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range m.messages[len(m.messages)-count:] {
		delete(m.ids, k.id)
	}
	m.messages = m.messages[:len(m.messages)-count]
	m.last -= uint64(count)
}

// forget puts notes in the place of all messages of a fact, so that the fact is
// lost and no revision is missing.
func (m *memory) forget(f registry.Fact) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for n, k := range m.messages {
		if k.fact == f {
			e := k.message().Event
			e.Kind, e.Service, e.Cluster, e.Note = registry.KindNote, nil, nil, &registry.Note{Kind: "lost", Text: "by the test"}
			note, err := encode(e)
			if err != nil {
				panic(err)
			}
			note.sequence, note.stored = k.sequence, k.stored
			m.messages[n] = note
		}
	}
}

// age drops what is older than the retention, as the server does.
func (m *memory) age(retention time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.messages = slices.DeleteFunc(m.messages, func(k kept) bool { return time.Since(k.stored) > retention })
}

// order stores an order to resync.
func (m *memory) order(cluster registry.ClusterID, by string) {
	m.ask(registry.Order{Kind: registry.OrderResync, Target: string(cluster), By: by, Reason: "a test"})
}

// ask stores an order.
func (m *memory) ask(o registry.Order) {
	e := &registry.Event{
		Schema: registry.Schema, ID: "_operator-" + o.By + time.Now().String(), Kind: registry.KindOrder, Writer: registry.Operator,
		Time: time.Now().UTC(), Agent: o.By, Cause: registry.CauseChange, Order: &o,
	}
	k, err := encode(e)
	if err != nil {
		panic(err)
	}
	m.forge(k)
}

func encode(e *registry.Event) (kept, error) {
	body, err := registry.Encode(e)
	return kept{fact: e.Fact(), epoch: e.Epoch, revision: e.Revision, id: e.ID, body: body}, err
}

// waitForOrders calls f for the orders to a cluster that stand, with the zero message,
// and for every later one until ctx ends.
func (m *memory) waitForOrders(ctx context.Context, cluster registry.ClusterID, f func(registry.Message)) error {
	c := make(chan kept, 64)
	m.mu.Lock()
	m.orders[c] = struct{}{}
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		delete(m.orders, c)
		m.mu.Unlock()
	}()
	hand := func(k kept) {
		if o := k.message(); o.Event != nil && o.Event.Order != nil && o.Event.Order.Target == string(cluster) {
			f(o)
		}
	}
	for _, k := range m.lastPerFact(registry.Operator) {
		hand(k)
	}
	f(registry.Message{})
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case k := <-c:
			hand(k)
		}
	}
}
