package stream

import (
	"context"
	"errors"
	"fmt"
	"net/textproto"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seamark-mesh/seamark/registry"
)

// History reads what [EventsStream] holds, as it was stored. Make one with
// [Conn.History]; its methods may be called by several goroutines. In one account it
// needs these permissions and no more, and changes nothing but consumers that the
// server forgets by itself:
//
//	publish    $JS.API.STREAM.INFO.MESH_EVENTS
//	           $JS.API.DIRECT.GET.MESH_EVENTS
//	           $JS.API.CONSUMER.CREATE.MESH_EVENTS.>
//	           $JS.API.CONSUMER.MSG.NEXT.MESH_EVENTS.>
//	subscribe  the inbox: _INBOX.> or <ConnectConfig.InboxPrefix>.>
type History struct {
	conn *Conn
	part uint64 // sequences that Latest reads at once
}

// History returns what reads the history.
func (c *Conn) History() *History { return &History{c, readTogether} }

// HistoryPermissions are the subjects to which whoever reads the history must be
// allowed to publish, beside being allowed to subscribe to its own inbox.
func HistoryPermissions() []string {
	return []string{
		"$JS.API.STREAM.INFO." + EventsStream, directGetSubject + EventsStream,
		"$JS.API.CONSUMER.CREATE." + EventsStream + ".>", nextSubject + EventsStream + ".>",
	}
}

// HistorySpan is what the stream holds: sequences, both ends included, and when those
// were stored. Last is First-1 when it is empty.
type HistorySpan struct {
	First, Last uint64
	Begin, End  time.Time
	Began       uint64 // the first sequence it ever had
	Retention   Retention
}

// Retention is how long a stream keeps its messages, as it is configured now.
type Retention struct {
	Age  time.Duration // 0: for ever
	Full bool          // its room is used up (max_bytes, max_msgs): the oldest go before their age
}

// clocksApart is how far the clocks of the stream and of its reader may be apart.
const clocksApart = time.Hour

// Holds reports whether a message that was stored at a time must still be there: the stream
// has room, and the message is younger than its age by more than clocks are apart (an hour,
// or a tenth of the age).
func (r Retention) Holds(stored, now time.Time) bool {
	return !r.Full && (r.Age == 0 || now.Sub(stored) < r.Age-min(clocksApart, r.Age/10))
}

// HistoryAge returns the age at which [EventsStream] drops its messages, as the
// stream is, not as a configuration wants it; 0: it keeps them.
func (c *Conn) HistoryAge(ctx context.Context) (time.Duration, error) {
	info, err := c.streamInfo(ctx, EventsStream)
	if err != nil {
		return 0, err
	}
	return info.Config.MaxAge, nil
}

// Span asks the stream's leader.
func (h *History) Span(ctx context.Context) (HistorySpan, error) {
	info, err := h.conn.streamInfo(ctx, EventsStream)
	if err != nil {
		return HistorySpan{}, err
	}
	s, c := info.State, info.Config
	full := c.MaxBytes > 0 && s.Bytes >= uint64(c.MaxBytes)/10*9 || c.MaxMsgs > 0 && s.Msgs >= uint64(c.MaxMsgs)
	return HistorySpan{
		First: max(s.FirstSeq, 1), Last: s.LastSeq, Begin: s.FirstTime.UTC(), End: s.LastTime.UTC(), Began: max(c.FirstSeq, 1),
		Retention: Retention{Age: c.MaxAge, Full: full},
	}, nil
}

// SequenceAt returns the sequence of the first message that was stored at t or later;
// one more than the last when there is none.
func (h *History) SequenceAt(ctx context.Context, t time.Time) (uint64, error) {
	span, err := h.Span(ctx)
	if err != nil {
		return 0, err
	}
	switch {
	case span.First > span.Last || t.After(span.End):
		return span.Last + 1, nil
	case !t.After(span.Begin):
		return span.First, nil
	}
	m, found, err := h.next(ctx, root+">", `"start_time":"`+t.UTC().Format(time.RFC3339Nano)+`"`)
	switch {
	case err != nil:
		return 0, fmt.Errorf("the message at %s: %w", t.UTC().Format(time.RFC3339), err)
	case !found: // the replica that answered lags: what it lacks is younger than all it has
		return 0, fmt.Errorf("the message at %s: %w", t.UTC().Format(time.RFC3339), errLags)
	}
	return m.sequence, nil
}

// next returns the first message on a filter from a place on.
func (h *History) next(ctx context.Context, filter, from string) (m storedMessage, found bool, err error) {
	return h.get(ctx, fmt.Sprintf(`{"next_by_subj":%q,%s}`, filter, from))
}

// get is one direct get.
func (h *History) get(ctx context.Context, query string) (m storedMessage, found bool, err error) {
	return h.conn.directGet(ctx, &nats.Msg{Subject: directGetSubject + EventsStream, Data: []byte(query)})
}

// errEnough ends a read that has all it wanted.
var errEnough = errors.New("enough was read")

// HistoryRange says what [History.Read] reads.
type HistoryRange struct {
	From, To uint64   // sequences, both included; To 0: what the stream holds now
	Filter   []string // subjects, wildcards allowed; none: all
	Follow   bool     // go on with what comes; To is 0
}

// Read calls f for the messages of a range, in the order of the stream, on the caller's
// goroutine; f owns what it is given. It ends with f's error, or as [Conn.Read] does.
func (h *History) Read(ctx context.Context, r HistoryRange, f func(registry.Stored) error) error {
	span, err := h.Span(ctx)
	if err != nil {
		return err
	}
	from, to := max(r.From, span.First), r.To
	if to == 0 || to > span.Last {
		to = span.Last
	}
	if !r.Follow && from > to {
		return nil
	}
	if !r.Follow && len(r.Filter) > 0 { // the end of a replica that lags would pass for the end
		if _, _, err := h.settled(ctx, to+1); err != nil {
			return err
		}
	}
	config := tailConfig{stream: EventsStream, filters: r.Filter, policy: FromSequence, sequence: from}
	if !r.Follow {
		config.atLeast = to
		if len(r.Filter) > 0 {
			config.atLeast = 0 // the last message may be none of ours
		}
	}
	err = h.conn.follow(ctx, config, func(i item) error {
		if i.sequence > 0 && (r.Follow || i.sequence <= to) {
			if err := f(i.asStored()); err != nil {
				return err
			}
		}
		if !r.Follow && (i.atEnd || i.sequence >= to) {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

func (i item) asStored() registry.Stored {
	return registry.Stored{Sequence: i.sequence, Time: i.stored, Subject: i.subject, Header: i.header, Body: i.data}
}

// asStored takes away what the server has added: the last value of each of its headers.
func (m storedMessage) asStored() registry.Stored {
	for _, name := range []string{
		jetstream.StreamHeader, jetstream.SubjectHeader, jetstream.SequenceHeader, jetstream.TimeStampHeaer, headerPending, headerLast,
	} {
		if _, exact := m.header[name]; !exact {
			name = textproto.CanonicalMIMEHeaderKey(name)
		}
		if values := m.header[name]; len(values) > 1 {
			m.header[name] = values[:len(values)-1]
		} else {
			delete(m.header, name)
		}
	}
	header := map[string][]string(m.header)
	if len(header) == 0 {
		header = nil
	}
	return registry.Stored{Sequence: m.sequence, Time: m.stored.UTC(), Subject: m.subject, Header: header, Body: m.data}
}

// Latest calls f for the last message before a sequence of each subject that one of the
// filters matches (none: all subjects), in the order of their sequences.
func (h *History) Latest(ctx context.Context, before uint64, filters []string, f func(registry.Stored) error) error {
	info, before, err := h.settled(ctx, before)
	if err != nil || before <= info.State.FirstSeq || info.State.Msgs == 0 {
		return err
	}
	l := &latest{history: h, first: info.State.FirstSeq, before: before, found: map[string]registry.Stored{}}
	if err := l.find(ctx, filters); err != nil {
		return fmt.Errorf("the last messages before %d: %w", before, err)
	}
	all := make([]registry.Stored, 0, len(l.found))
	for _, m := range l.found {
		all = append(all, m)
	}
	l.found = nil
	slices.SortFunc(all, func(a, b registry.Stored) int { return int(int64(a.Sequence) - int64(b.Sequence)) })
	for n := range all {
		if err := f(all[n]); err != nil {
			return err
		}
		all[n] = registry.Stored{} // it may be let go
	}
	return nil
}

// settled waits a little until every replica that may answer has all that stands before
// a sequence: what a replica lacks it would pass over in silence. It returns the
// sequence, at most one more than the last.
func (h *History) settled(ctx context.Context, before uint64) (*jetstream.StreamInfo, uint64, error) {
	for range readBackTries {
		info, err := h.conn.streamInfo(ctx, EventsStream)
		if err != nil {
			return nil, 0, err
		}
		before = min(before, info.State.LastSeq+1)
		if info.Cluster == nil || !slices.ContainsFunc(info.Cluster.Replicas, func(r *jetstream.PeerInfo) bool {
			return !r.Offline && before+r.Lag > info.State.LastSeq+1
		}) {
			return info, before, nil
		}
		if err := wait(ctx, readBackPause); err != nil {
			return nil, 0, err
		}
	}
	return nil, 0, fmt.Errorf("the last messages before %d: %w", before, errLags)
}
