package edge_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// fault is what happens to one request on its way to the stream and back.
type fault int

const (
	works      fault = iota
	fails            // an error, and nothing took effect
	ackLost          // an error, and it took effect
	late             // an error, and it takes effect a little later
	slow             // takes 3 s
	unanswered       // no answer until the call's own bound of 5 s; nothing took effect
)

var errLink = errors.New("link: no answer")

// link is one agent's connection to the stream: an edge.Log that misbehaves on demand.
type link struct {
	memory *memory
	writer registry.Writer
	holder string

	mu     sync.Mutex
	down   bool                                // nothing gets through
	cut    bool                                // for ever, and at once: the process was killed
	next   func(request string, try int) fault // nil: all works
	frozen chan struct{}                       // the process stands still until it is closed
	tries  int
	sends  []send
	last   kept // acknowledged

	deaf <-chan struct{}         // no order arrives until it is closed; nil: all do
	lags bool                    // orders arrive only some seconds after nothing was down any more
	deny error                   // orders can't be followed; nil: they can
	hush context.CancelCauseFunc // ends the watch of orders
}

// send is one request that was to store events.
type send struct {
	at       time.Time
	request  string
	ids      []string
	revision uint64 // of the first
}

const callBound = 5 * time.Second

func (k *link) set(change func(*link)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	change(k)
}

// requests returns what was sent to be stored, leases left out.
func (k *link) requests() []send {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.sends)
}

// call lets one request through, or not.
func (k *link) call(ctx context.Context, request string, effect func() error) error {
	k.mu.Lock()
	k.tries++
	down, cut, f := k.down, k.cut, works
	if k.next != nil {
		f = k.next(request, k.tries)
	}
	frozen := k.frozen
	k.mu.Unlock()
	if frozen != nil {
		<-frozen
	}
	switch {
	case cut:
		f = fails
	case down:
		f = unanswered
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	switch f {
	case fails:
		return errLink
	case late:
		if writes := []string{"lease", "epoch", "publish"}; slices.Contains(writes, request) {
			time.AfterFunc(700*time.Millisecond, func() { _ = effect() }) // its caller is gone, and must not look at what it leaves behind
		}
		return errLink
	case ackLost:
		if err := effect(); err != nil {
			return err
		}
		return errLink
	case unanswered:
		return errors.Join(errLink, sleep(ctx, callBound))
	case slow:
		if err := sleep(ctx, 3*time.Second); err != nil {
			return err
		}
	}
	return effect()
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

func (k *link) ReadLease(ctx context.Context) (at registry.LeaseAt, err error) {
	err = k.call(ctx, "read lease", func() error {
		k.memory.mu.Lock()
		defer k.memory.mu.Unlock()
		if l := k.memory.lease; l.body != nil {
			at = registry.LeaseAt{Found: true, Sequence: l.sequence, Age: time.Since(l.stored)}
			at.Lease, at.Refused = registry.DecodeLease(l.body)
		}
		return nil
	})
	return at, err
}

func (k *link) PutLease(ctx context.Context, l registry.Lease, expect uint64) (uint64, error) {
	body, err := registry.EncodeLease(l)
	if err != nil {
		return 0, err
	}
	var sequence uint64
	err = k.call(ctx, "lease", func() error {
		m := k.memory
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.lease.body == nil && expect == 0 || m.lease.sequence == expect || m.lease.id == k.holder {
			m.last++
			m.lease = kept{sequence: m.last, stored: time.Now(), id: k.holder, body: body}
			sequence = m.last
			return nil
		}
		return registry.ErrConflict
	})
	if err != nil {
		return 0, err
	}
	return sequence, nil
}

func (k *link) Now(ctx context.Context) (now time.Time, err error) {
	err = k.call(ctx, "now", func() error { now = time.Now(); return nil })
	return now, err
}

func (k *link) Last(ctx context.Context, f registry.Fact) (m registry.Message, found bool, err error) {
	err = k.call(ctx, "last", func() error {
		k.memory.mu.Lock()
		defer k.memory.mu.Unlock()
		if last := k.memory.lastOn(f); last.sequence > 0 {
			m, found = last.message(), true
		}
		return nil
	})
	return m, found, err
}

func (k *link) Load(ctx context.Context) (messages []registry.Message, err error) {
	err = k.call(ctx, "load", func() error {
		messages = nil
		for _, l := range k.memory.lastPerFact(k.writer) {
			messages = append(messages, l.message())
		}
		return nil
	})
	return messages, err
}

func (k *link) epochFact() registry.Fact {
	return registry.Fact{Writer: k.writer, Kind: registry.KindEpoch}
}

func (k *link) PutEpoch(ctx context.Context, e *registry.Event, expect uint64) (uint64, error) {
	m, err := encode(e)
	if err != nil {
		return 0, err
	}
	k.memory.attempt(m)
	k.note("epoch", []*registry.Event{e})
	var sequence uint64
	err = k.call(ctx, "epoch", func() error {
		stored, err := k.memory.put([]kept{m}, k.epochFact(), expect)
		if err == nil {
			sequence = stored[0].sequence
			k.set(func(k *link) { k.last = stored[0] })
			return nil
		}
		k.memory.mu.Lock()
		defer k.memory.mu.Unlock()
		if last := k.memory.lastOn(k.epochFact()); last.id == e.ID {
			sequence = last.sequence
			return nil
		}
		return registry.ErrConflict
	})
	if err != nil {
		return 0, err
	}
	return sequence, nil
}

// Publish stores few events one by one, so that an error may come between two of
// them, and many all together.
func (k *link) Publish(ctx context.Context, events []*registry.Event, fence uint64) (stored []*registry.Event, err error) {
	if len(events) == 0 || len(events) > 200 {
		k.memory.blame("a batch of %d events", len(events))
	}
	messages := make([]kept, len(events))
	for n, e := range events {
		as, err := registry.Truncate(e, k.memory.limit)
		if err != nil {
			return nil, err
		}
		if as != e {
			stored = append(stored, make([]*registry.Event, len(events)-len(stored))...)
			stored[n] = as
		}
		if messages[n], err = encode(as); err != nil {
			return nil, err
		}
		k.memory.attempt(messages[n])
	}
	k.note("publish", events)
	for _, some := range chunks(messages) {
		err := k.call(ctx, "publish", func() error {
			stored, err := k.memory.put(some, k.epochFact(), fence)
			if err == nil {
				k.set(func(k *link) { k.last = stored[len(stored)-1] })
			}
			if errors.Is(err, errHasID) { // as the writer does: those that are stored are acknowledged as duplicates
				for n := range some {
					if _, err = k.memory.put(some[n:n+1], k.epochFact(), fence); err != nil {
						break
					}
				}
			}
			if errors.Is(err, errWrongLast) {
				return registry.ErrFenced
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return stored, nil
}

func chunks(messages []kept) [][]kept {
	if len(messages) > 40 {
		return [][]kept{messages}
	}
	return slices.Collect(slices.Chunk(messages, 1))
}

func (k *link) note(request string, events []*registry.Event) {
	s := send{at: time.Now(), request: request}
	for _, e := range events {
		s.ids = append(s.ids, e.ID)
		s.revision = events[0].Revision
	}
	k.set(func(k *link) { k.sends = append(k.sends, s) })
}

// Stands implements Receipts.
func (k *link) Stands(ctx context.Context) (stands bool, err error) {
	k.mu.Lock()
	last := k.last
	k.mu.Unlock()
	err = k.call(ctx, "stands", func() error {
		k.memory.mu.Lock()
		defer k.memory.mu.Unlock()
		stands = last.id == "" || len(k.memory.messages) > 0 && k.memory.messages[0].sequence > last.sequence ||
			slices.ContainsFunc(k.memory.messages, func(m kept) bool { return m.sequence == last.sequence && m.id == last.id })
		return nil
	})
	return stands, err
}

func (k *link) WatchOrders(ctx context.Context, f func(registry.Message)) error {
	cluster, _ := k.writer.Cluster()
	ctx, hush := context.WithCancelCause(ctx)
	defer hush(nil)
	k.mu.Lock()
	k.hush = hush
	deaf, deny := k.deaf, k.deny
	k.mu.Unlock()
	if deny != nil {
		return errors.Join(deny, sleep(ctx, callBound))
	}
	if deaf != nil {
		select {
		case <-deaf:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	first := true
	return k.memory.waitForOrders(ctx, cluster, func(m registry.Message) {
		k.await(ctx, first)
		if first = first && m.Sequence != 0; ctx.Err() == nil {
			f(m)
		}
	})
}

// await waits until nothing is down; a watch that stood meanwhile goes on some seconds later.
func (k *link) await(ctx context.Context, fresh bool) {
	for waited := false; ctx.Err() == nil; waited = true {
		k.mu.Lock()
		down, lags := k.down, k.lags
		k.mu.Unlock()
		switch {
		case !lags:
			return
		case !down:
			if waited && !fresh {
				_ = sleep(ctx, 5*time.Second)
			}
			return
		}
		_ = sleep(ctx, 100*time.Millisecond)
	}
}
