package stream

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/seamark-mesh/seamark/registry"
)

// binding is what a Writer knows of the chain that it writes: as much as the identical
// events, given again, need to become the identical messages. The mutex is held while the
// stream is asked at the beginning of an epoch: one message is in flight anyway.
type binding struct {
	mu    sync.Mutex
	epoch uint64
	from  uint64 // the revision of the first of links
	links []Link // of consecutive revisions: what was sent last, and the one before it

	record string   // the id of the epoch's first record
	before Link     // the epoch record before that; zero: none
	tail   standing // what stood before the fence
	joins  *Join    // nil: nothing
	joined bool     // joins is known
}

// standing is the last message before an epoch's record that is no epoch record itself.
type standing struct {
	fence   uint64 // 0: not known
	message registry.Message
	found   bool
}

// previous returns the link of the revision before one; zero when it is not known.
func (b *binding) previous(epoch, revision uint64) Link {
	if n := revision - 1 - b.from; epoch == b.epoch && revision > b.from && n < uint64(len(b.links)) {
		return b.links[n]
	}
	return Link{}
}

// tie notes the link of a revision.
func (b *binding) tie(epoch, revision uint64, l Link) {
	switch n := revision - b.from; {
	case epoch != b.epoch || revision < b.from || n > uint64(len(b.links)):
		b.epoch, b.from, b.links = epoch, revision, append(b.links[:0], l)
	case n == uint64(len(b.links)):
		b.links = append(b.links, l)
	default:
		b.links[n] = l
	}
}

// forget drops what nobody asks for again once a revision is sent.
func (b *binding) forget(epoch, revision uint64) {
	if epoch == b.epoch && revision > b.from+1 {
		n := min(revision-1-b.from, uint64(len(b.links)))
		b.links, b.from = slices.Delete(b.links, 0, int(n)), b.from+n
	}
}

// bind makes messages the next ones of the chain.
func (w *Writer) bind(ctx context.Context, events []*registry.Event, messages []*nats.Msg, fence uint64) error {
	b := &w.chain
	b.mu.Lock()
	defer b.mu.Unlock()
	for n, e := range events {
		if n == 0 {
			b.forget(e.Epoch, e.Revision)
		}
		var joins *Join
		if e.Revision == 2 {
			var err error
			if joins, err = w.joinsAt(ctx, e.Epoch, fence); err != nil {
				return err
			}
		}
		link, err := w.conn.seal(messages[n], b.previous(e.Epoch, e.Revision), joins)
		if err != nil {
			return err
		}
		b.tie(e.Epoch, e.Revision, link)
	}
	return nil
}

// bindEpoch is bind for an epoch's record that is to follow the one at expect. The first
// one of an epoch names that record: the server stores it behind no other.
func (w *Writer) bindEpoch(ctx context.Context, e *registry.Event, m *nats.Msg, expect uint64) error {
	if e.Revision != 1 {
		return w.bind(ctx, []*registry.Event{e}, []*nats.Msg{m}, expect)
	}
	b := &w.chain
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.record != e.ID { // given again, the one before is no longer the last
		before := Link{}
		if expect != 0 && expect != AnySequence {
			var err error
			if before, _, err = w.linkAt(ctx, m.Subject, expect); err != nil {
				return err
			}
		}
		b.record, b.before, b.tail, b.joins, b.joined = e.ID, before, standing{}, nil, false
	}
	link, err := w.conn.seal(m, b.before, nil)
	if err != nil {
		return err
	}
	b.epoch, b.from, b.links = e.Epoch, 1, append(b.links[:0], link)
	return nil
}

// joinsAt returns what the epoch with this fence joins. Nothing was stored by the epochs
// before it after the fence, so it is the same whenever it is asked for.
func (w *Writer) joinsAt(ctx context.Context, epoch, fence uint64) (*Join, error) {
	b := &w.chain
	if b.joined && b.epoch == epoch {
		return b.joins, nil
	}
	if b.tail.fence != fence {
		all, err := w.conn.loadTree(ctx, w.writer, fence)
		if err != nil {
			return nil, err
		}
		b.tail = tailBefore(all, epoch, fence)
	}
	var joins *Join
	if t := b.tail; t.found {
		subject, err := Subject(t.message.Fact)
		if err != nil {
			return nil, err
		}
		link, found, err := w.linkAt(ctx, subject, t.message.Sequence)
		if err != nil {
			return nil, err
		}
		if found { // else somebody wrote there whom no fence holds back
			joins = &Join{Epoch: t.message.Epoch, Revision: t.message.Revision, Link: link}
		}
	}
	b.joins, b.joined = joins, true
	return joins, nil
}

// linkAt returns the link of the last message of a subject, if it has this sequence. A
// replica that lags is given a little time; where the stream has lost the message there
// is none, and it is for others to say so.
func (w *Writer) linkAt(ctx context.Context, subject string, sequence uint64) (l Link, found bool, err error) {
	for range readBackTries {
		m, _, err := w.conn.lastOn(ctx, EventsStream, subject)
		switch {
		case err != nil || m.sequence > sequence:
			return Link{}, false, err
		case m.sequence == sequence:
			return LinkOf(m.subject, m.header, m.data), true, nil
		}
		if err := wait(ctx, readBackPause); err != nil {
			return Link{}, false, err
		}
	}
	return Link{}, false, nil
}

// tailBefore finds the last message of the epochs before a fence among the last ones of
// each fact. By epoch and revision, not by sequence: after messages were sent again an
// earlier one may stand behind the last.
func tailBefore(all []registry.Message, epoch, fence uint64) standing {
	t := standing{fence: fence}
	for _, m := range all {
		if m.Sequence >= fence || m.Fact.Kind == registry.KindEpoch || m.Epoch == 0 || m.Epoch >= epoch {
			continue
		}
		if cmp.Or(cmp.Compare(m.Epoch, t.message.Epoch), cmp.Compare(m.Revision, t.message.Revision)) > 0 {
			m.Event = nil
			t.message, t.found = m, true
		}
	}
	return t
}

// remember keeps of what was loaded what the chain needs.
func (w *Writer) remember(all []registry.Message) {
	b := &w.chain
	b.mu.Lock()
	defer b.mu.Unlock()
	known := w.last.Load()
	if known == nil || b.joined || len(b.links) != 1 || b.from != 1 || known.id != b.record {
		return // no epoch has just begun
	}
	b.tail = tailBefore(all, b.epoch, known.sequence)
}
