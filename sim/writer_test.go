package sim

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// writer is the writing end of the stream for one writer over one link: what
// edge.Agent and observer.Observer call Log.
type writer struct {
	*link
	writer registry.Writer
	skew   time.Duration              // of this process's clock from the world's, at what it writes and reads
	first  func(e *registry.Event)    // is told of an event that is sent for the first time
	sent   map[string]*registry.Event // by id

	acknowledged kept // the last message that was; only the scheduler
}

func newWriter(k *link, w registry.Writer, first func(*registry.Event)) *writer {
	return &writer{link: k, writer: w, first: first, sent: map[string]*registry.Event{}}
}

func (k *writer) ReadLease(ctx context.Context) (registry.LeaseAt, error) {
	var at registry.LeaseAt
	err := k.call(ctx, "read lease", false, func() error {
		if l, found := k.world.stream.leases[k.writer]; found {
			at = registry.LeaseAt{Found: true, Lease: l.Lease, Sequence: l.sequence, Age: max(0, k.world.stream.now().Sub(l.stored))}
			at.Lease.Time = at.Lease.Time.Add(-k.skew)
		}
		return nil
	})
	if err != nil {
		return registry.LeaseAt{}, err
	}
	return at, nil
}

func (k *writer) PutLease(ctx context.Context, l registry.Lease, expect uint64) (uint64, error) {
	l.Time = l.Time.Add(k.skew)
	body, err := registry.EncodeLease(l)
	if err != nil {
		return 0, err
	}
	var sequence uint64
	err = k.call(ctx, "put lease", true, func() error {
		s := k.world.stream
		stands := s.leases[k.writer]
		if stands.sequence != expect && stands.holder != k.link {
			return registry.ErrConflict
		}
		decoded, err := registry.DecodeLease(body)
		if err != nil {
			return err
		}
		s.lives++
		s.leased = s.lives
		s.leases[k.writer] = lease{decoded, s.lives, s.now(), k.link}
		sequence = s.lives
		return nil
	})
	if err != nil {
		return 0, err
	}
	return sequence, nil
}

func (k *writer) Now(ctx context.Context) (time.Time, error) {
	var now time.Time
	err := k.call(ctx, "now", false, func() error { now = k.world.stream.now(); return nil })
	if err != nil {
		return time.Time{}, err
	}
	return now, nil
}

func (k *writer) Last(ctx context.Context, f registry.Fact) (registry.Message, bool, error) {
	var m registry.Message
	err := k.call(ctx, "last", false, func() error { m = k.world.stream.lastOn(f).Message; return nil })
	if err != nil {
		return registry.Message{}, false, err
	}
	return k.inward(m), m.Sequence > 0, nil
}

func (k *writer) Load(ctx context.Context) ([]registry.Message, error) {
	var messages []registry.Message
	err := k.call(ctx, "load", false, func() error { messages = k.world.stream.lastPerFact(k.writer); return nil })
	if err != nil {
		return nil, err
	}
	for n, m := range messages {
		messages[n] = k.inward(m)
	}
	return messages, nil
}

func (k *writer) PutEpoch(ctx context.Context, e *registry.Event, expect uint64) (uint64, error) {
	m := encode(k.outward(e))
	k.noteFirst(e)
	var sequence uint64
	err := k.call(ctx, "put epoch", true, func() error {
		stored, err := k.world.stream.put(k.link, []kept{m}, epochFact(k.writer), expect)
		if err == nil {
			sequence = stored[0]
			return nil
		}
		if last := k.world.stream.lastOn(epochFact(k.writer)); last.id == e.ID {
			sequence = last.Sequence
			return nil
		}
		return registry.ErrConflict
	})
	if err != nil {
		return 0, err
	}
	return sequence, nil
}

// outward puts the times that this process took from its own clock as that clock shows them.
func (k *writer) outward(e *registry.Event) *registry.Event { return shifted(e, k.skew) }

// inward is the inverse, for what is read back.
func (k *writer) inward(m registry.Message) registry.Message {
	if m.Event != nil {
		m.Event = shifted(m.Event, -k.skew)
	}
	return m
}

func shifted(e *registry.Event, by time.Duration) *registry.Event {
	if by == 0 {
		return e
	}
	out := *e
	out.Time = e.Time.Add(by)
	if e.Service != nil {
		state := *e.Service
		if !state.Seen.IsZero() {
			state.Seen = state.Seen.Add(by)
		}
		state.Changed.Time = state.Changed.Time.Add(by)
		out.Service = &state
	}
	return &out
}

// noteFirst holds a writer to sending nothing else under an id that it has used.
func (k *writer) noteFirst(e *registry.Event) {
	k.world.turn.Lock()
	defer k.world.turn.Unlock()
	if _, known := k.sent[e.ID]; !known {
		k.sent[e.ID] = e
		if k.first != nil {
			k.first(e)
		}
	}
}

// batchFrom is how many events go out as an atomic batch.
const batchFrom = 5

func (k *writer) Publish(ctx context.Context, events []*registry.Event, fence uint64) ([]*registry.Event, error) {
	messages := make([]kept, len(events))
	for n, e := range events {
		messages[n] = encode(k.outward(e))
	}
	size := 1
	if len(messages) >= batchFrom {
		size = len(messages)
	}
	for _, e := range events {
		k.noteFirst(e)
	}
	for some := range slices.Chunk(messages, size) {
		err := k.call(ctx, "publish", true, func() error {
			_, err := k.world.stream.put(k.link, some, epochFact(k.writer), fence)
			if errors.Is(err, errHasID) { // those that are stored are acknowledged as duplicates, as the real writer does
				for n := range some {
					if _, err = k.world.stream.put(k.link, some[n:n+1], epochFact(k.writer), fence); err != nil {
						break
					}
				}
			}
			if errors.Is(err, errWrongLast) {
				return registry.ErrFenced
			}
			if err == nil {
				k.acknowledged = k.world.stream.lastOn(some[len(some)-1].Fact)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return nil, nil
}

func (k *writer) WatchOrders(ctx context.Context, f func(registry.Message)) error {
	cluster, _ := k.writer.Cluster()
	s, next, told := k.world.stream, uint64(1), false
	for {
		var found []registry.Message
		err := k.wait(ctx, "orders", func() bool {
			for n := max(next, s.first); n <= s.end(); n++ {
				if orderedTo(s.at(n).Message, cluster) {
					return true
				}
			}
			next = s.end() + 1
			return !told
		}, func() error {
			for n := max(next, s.first); n <= s.end(); n++ {
				if m := s.at(n).Message; orderedTo(m, cluster) && (next > 1 || s.last[m.Fact] == n) {
					found = append(found, m)
				}
			}
			next = s.end() + 1
			return nil
		})
		if err != nil {
			return err
		}
		for _, m := range found {
			f(m)
		}
		if !told {
			told = true
			f(registry.Message{})
		}
	}
}
