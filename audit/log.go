package audit

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
)

// Query says which entries are wanted. The zero Query is the whole history.
type Query struct {
	Cluster registry.ClusterID  // that it is about; "": any
	Service registry.ServiceKey // zero: any
	Kinds   []Kind              // none: all

	Since  When // the first; zero: the oldest there is
	Until  When // the last; zero: the newest there is when reading begins
	Follow bool // after the end, go on with what comes; Until must be zero
	Limit  int  // entries at most; 0: all
	Newest bool // with Limit: the last so many, not the first so many
}

// Log yields what the history says, in the order of the stream. It ends after the first
// error; what can't be understood is no error but an entry of the kind [Unreadable].
// Where the earlier state of what changed can be known, changes tell old values too.
//
// A Since or an Until before the history's beginning is a [*TooEarlyError] before the first
// entry, unless nothing ever stood before that.
func Log(ctx context.Context, h History, q Query) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		l, err := newLogging(ctx, h, q)
		if err == nil && q.Newest && q.Limit > 0 {
			err = l.newest(ctx, yield)
		} else if err == nil {
			err = l.read(ctx, l.Range, yield)
		}
		if err != nil && !errors.Is(err, errStop) {
			yield(Entry{}, err)
		}
	}
}

// logging is one log that is being read.
type logging struct {
	Query
	Range
	history History
	first   uint64  // of the history
	teller  *teller // nil until something is read
	subject string  // of the service that is asked for
	left    int     // entries that may still be yielded; negative: any number

	mostHeld int // bytes, while the newest are looked for
}

func newLogging(ctx context.Context, h History, q Query) (*logging, error) {
	l := &logging{Query: q, history: h, left: -1, mostHeld: mostHeld}
	if q.Limit > 0 {
		l.left = q.Limit
	}
	if q.Follow && (!q.Until.IsZero() || q.Newest && q.Limit > 0) {
		return nil, errors.New("what follows has no end: ask for it without until, and without the newest")
	}
	span, err := h.Span(ctx)
	if err != nil {
		return nil, err
	}
	l.first = span.First
	if l.From, err = l.since(ctx, span); err != nil {
		return nil, err
	}
	if l.To, err = l.until(ctx, span); err != nil {
		return nil, err
	}
	if l.Range.Follow = q.Follow; q.Follow {
		l.To = 0
	}
	return l, l.filter()
}

// since is the first sequence that is wanted.
func (l *logging) since(ctx context.Context, span Span) (uint64, error) {
	w := l.Since
	future := w.future()
	switch {
	case w.IsZero():
		return span.First, nil
	case w.Sequence > span.Last+1:
		return 0, &NotYetError{fmt.Sprintf("%s is not written yet: the latest message is #%d", w, span.Last)}
	case future != nil:
		return 0, future
	case !span.Empty() && !span.Whole() && span.starts(w):
		return 0, span.tooEarly(w, reasonLost)
	case w.Sequence > 0:
		return max(w.Sequence, span.First), nil
	}
	return l.history.SequenceAt(ctx, w.Time)
}

// until is the last sequence that is wanted; at least 1, for 0 stands for the end.
func (l *logging) until(ctx context.Context, span Span) (uint64, error) {
	w := l.Until
	switch {
	case w.IsZero():
		return max(span.Last, 1), nil
	case !span.Empty() && !span.Whole() && span.starts(w): // else that nothing was would be the answer
		return 0, span.tooEarly(w, reasonLost)
	case w.Sequence > 0:
		return w.Sequence, nil
	}
	if err := w.future(); err != nil {
		return 0, err
	}
	after, err := l.history.SequenceAt(ctx, w.Time.Add(1))
	return max(after, 2) - 1, err
}

// filter translates the query as far as subjects can say it; the rest is looked at
// entry by entry. The records of epochs are always among it: they tell what is void.
func (l *logging) filter() error {
	treeOfAny, err := treeOf(anyCluster)
	if err != nil {
		return err
	}
	root, _, _ := strings.Cut(treeOfAny, anyCluster+".")
	operator, observer := root+string(registry.Operator)+".", root+string(registry.Observer)+"."
	epochs, err := everyEpoch()
	if err != nil {
		return err
	}
	switch {
	case l.Service != (registry.ServiceKey{}):
		if l.subject, err = serviceSubject(l.Service, l.Cluster); err != nil {
			return err
		}
		l.Filter = []string{l.subject, epochs}
		labels := l.Service.Labels()
		if len(l.Kinds) == 0 || slices.Contains(l.Kinds, Order) {
			l.Filter = append(l.Filter, operator+"order.drain."+labels.Name+"."+labels.Namespace+".*")
		}
	case l.Cluster != "":
		tree, err := treeOf(registry.Writer(l.Cluster))
		if err != nil {
			return err
		}
		l.Filter = []string{tree, operator + "order.>", observer + "state." + string(l.Cluster), observer + string(registry.KindEpoch)}
	default:
		if l.Filter = filtersOf(l.Kinds, root, operator, observer); len(l.Filter) > 0 && !slices.Contains(l.Filter, epochs) {
			l.Filter = append(l.Filter, epochs)
		}
	}
	return nil
}

// filtersOf are the subjects at which some kinds stand; none for all.
func filtersOf(kinds []Kind, root, operator, observer string) (filters []string) {
	of := map[Kind]string{
		Order: operator + "order.>", State: observer + "state.*", Note: root + "*.note.*",
		Takeover: root + "*.epoch", Complete: root + "*.snapshot",
	}
	for _, k := range kinds {
		filter, known := of[k]
		if !known {
			return nil
		}
		filters = append(filters, filter)
	}
	slices.Sort(filters)
	return slices.Compact(filters)
}

// wants reports whether an entry is asked for.
func (l *logging) wants(e *Entry) bool {
	if l.subject != "" && e.Fact == string(registry.KindEpoch) {
		return false
	}
	return (l.Cluster == "" || e.Cluster == l.Cluster) && (len(l.Kinds) == 0 || slices.Contains(l.Kinds, e.Kind))
}

// read yields the entries of a range.
func (l *logging) read(ctx context.Context, r Range, yield func(Entry, error) bool) error {
	if !r.Follow && r.From > r.To {
		return nil
	}
	teller, err := l.tellerFrom(ctx, r.From)
	if err != nil {
		return err
	}
	l.teller = teller
	for s, err := range l.history.Read(ctx, r) {
		if err != nil {
			return err
		}
		if l.left == 0 {
			return nil
		}
		if err := l.recall(ctx, s); err != nil {
			return err
		}
		e := l.teller.tell(s)
		if !l.wants(&e) {
			continue
		}
		if !yield(e, nil) {
			return errStop
		}
		if l.left > 0 {
			if l.left--; l.left == 0 {
				return nil
			}
		}
	}
	return nil
}

// recall looks up what stood before the first message of a service that is asked for.
func (l *logging) recall(ctx context.Context, s registry.Stored) error {
	if l.subject == "" || s.Sequence <= l.first {
		return nil
	}
	fact, err := stream.ParseSubject(s.Subject)
	if err != nil || fact.Kind != registry.KindService {
		return nil //nolint:nilerr // what can't be understood is told as an entry
	}
	if _, known := l.teller.before[fact]; known {
		return nil
	}
	none, err := l.teller.recall(ctx, l.history, s.Subject, s.Sequence)
	if err == nil && none && l.wholeBefore() {
		l.teller.before[fact] = &registry.Event{Service: &registry.ServiceState{}}
	}
	return err
}

// tellerFrom returns a teller for what is read from a sequence on.
func (l *logging) tellerFrom(ctx context.Context, sequence uint64) (*teller, error) {
	if sequence <= l.first {
		return newTeller(newFencing(registry.NewFold())), nil
	}
	f, err := fencesBefore(ctx, l.history, sequence)
	return newTeller(f), err
}

// wholeBefore reports whether what is not found before a message never was.
func (l *logging) wholeBefore() bool { return l.first <= 1 }

// firstLook is how many sequences are looked through for the newest entries to begin with.
const firstLook = 20_000

// mostHeld bounds the bytes of the messages that are held while the newest entries are
// looked for. Where those are larger, they are read a second time.
const mostHeld = 32 << 20

// newest yields the last entries of the range, as many as are asked for.
func (l *logging) newest(ctx context.Context, yield func(Entry, error) bool) error {
	kept := holding{most: l.mostHeld}
	to := l.To
	for size := uint64(firstLook); len(kept.sequences) < l.left && to >= l.From && to > 0; size *= 4 {
		from := l.From
		if to-l.From >= size {
			from = to - size + 1
		}
		part := holding{most: l.mostHeld - kept.bytes, over: kept.over}
		look, err := l.tellerFrom(ctx, from)
		if err != nil {
			return err
		}
		for s, err := range l.history.Read(ctx, Range{From: from, To: to, Filter: l.Filter}) {
			if err != nil {
				return err
			}
			e := look.tell(s)
			if e.Unusable != nil && e.Unusable.Reason == reasonFenced { // what made it void may not be held
				s.Refused = &registry.Refusal{Reason: e.Unusable.Reason, Detail: e.Unusable.Detail}
			}
			if l.wants(&e) {
				part.add(s, l.left)
			}
		}
		if l.teller == nil { // what it knows of epochs goes to the end, and so for all before it
			l.teller = newTeller(look.fencing)
		}
		kept.before(part)
		kept.cut(l.left)
		to = from - 1
	}
	if kept.over {
		return l.read(ctx, Range{From: kept.sequences[0], To: l.To, Filter: l.Filter}, yield)
	}
	for _, s := range kept.messages {
		if err := l.recall(ctx, s); err != nil {
			return err
		}
		if !yield(l.teller.tell(s), nil) {
			return errStop
		}
	}
	return nil
}

// holding is messages that may be wanted, ascending.
type holding struct {
	most      int // bytes that may be held
	sequences []uint64
	messages  []registry.Stored // of the sequences; none once they became too large
	bytes     int               // of the messages
	over      bool              // they became too large
}

// add appends a message; only the last limit ones are kept.
func (h *holding) add(s registry.Stored, limit int) {
	h.sequences = append(h.sequences, s.Sequence)
	if !h.over {
		h.messages = append(h.messages, s)
		h.bytes += heldBytes(s)
	}
	h.cut(limit)
}

// cut keeps the last limit messages, and none of them when they are too large.
func (h *holding) cut(limit int) {
	for len(h.sequences) > limit {
		h.sequences = h.sequences[1:]
		if !h.over {
			h.bytes -= heldBytes(h.messages[0])
			h.messages[0] = registry.Stored{} // it may be let go
			h.messages = h.messages[1:]
		}
	}
	if h.over = h.over || h.bytes > h.most; h.over {
		h.messages, h.bytes = nil, 0
	}
}

// before puts other messages before those that are held.
func (h *holding) before(other holding) {
	h.sequences = append(other.sequences, h.sequences...)
	h.messages = append(other.messages, h.messages...)
	h.bytes += other.bytes
	h.over = h.over || other.over
}

// heldBytes is about how much memory a message takes.
func heldBytes(s registry.Stored) int {
	bytes := len(s.Subject) + len(s.Body) + 64
	for name, values := range s.Header {
		for _, v := range values {
			bytes += len(name) + len(v) + 64
		}
	}
	return bytes
}
