package sim

import (
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// stream is the simulated JetStream: the history with its conditions and its window of
// message ids, and the latest leases and reports. Only the scheduler touches it.
type stream struct {
	world        *world
	created      time.Time
	offset       time.Duration // of its clock from the world's
	drift        float64       // of its clock, per second
	shown        time.Time     // the latest that its clock had come to when it was last turned
	first        uint64        // sequence of messages[0]
	all          []kept
	last         map[registry.Fact]uint64
	ids          map[string]stored
	lives        uint64 // the last sequence of leases and reports
	leased, told uint64 // … of the last lease, and of the last report
	leases       map[registry.Writer]lease
	reports      map[string]report
}

// kept is one message as it is stored.
type kept struct {
	registry.Message
	id   string
	body []byte
	from *link // who stored it
}

type stored struct {
	sequence uint64
	at       time.Time
}

type lease struct {
	registry.Lease
	sequence uint64
	stored   time.Time
	holder   *link
}

type report struct {
	registry.ProbeReport
	sequence uint64
	stored   time.Time
}

const dedupeWindow = 2 * time.Minute

func newStream(w *world) *stream {
	return &stream{
		world: w, created: time.Now(), first: 1, last: map[registry.Fact]uint64{}, ids: map[string]stored{},
		leases: map[registry.Writer]lease{}, reports: map[string]report{},
	}
}

// now is the stream's clock.
func (s *stream) now() time.Time {
	return time.Now().Add(s.offset + time.Duration(s.drift*float64(time.Since(s.world.began)))).UTC()
}

// end is the sequence of the last message.
func (s *stream) end() uint64 { return s.first + uint64(len(s.all)) - 1 }

func (s *stream) at(sequence uint64) kept { return s.all[sequence-s.first] }

// lastOn returns the last message of a fact; its sequence is 0 when there is none.
func (s *stream) lastOn(f registry.Fact) kept {
	if at := s.last[f]; at >= s.first {
		return s.at(at)
	}
	return kept{}
}

var (
	errWrongLast = errors.New("wrong last sequence")
	errHasID     = errors.New("batch message id exists")
)

// put stores messages all together or not at all, if the last message of on has the
// sequence expect. The condition is checked before ids are looked for, as the server does.
func (s *stream) put(from *link, messages []kept, on registry.Fact, expect uint64) ([]uint64, error) {
	if s.last[on] != expect {
		return nil, errWrongLast
	}
	out := make([]uint64, len(messages))
	for n, k := range messages {
		if known, ok := s.ids[k.id]; ok && time.Since(known.at) < dedupeWindow {
			if len(messages) > 1 {
				return nil, errHasID
			}
			out[n] = known.sequence
			continue
		}
		out[n] = s.store(from, k)
	}
	return out, nil
}

// store appends a message, by way of its encoding.
func (s *stream) store(from *link, k kept) uint64 {
	e, err := registry.Decode(k.body)
	refused, _ := errors.AsType[*registry.Refusal](err)
	k.Message = registry.NewMessage(k.Fact, s.end()+1, s.now(), k.Epoch, k.Revision, e, refused)
	k.from = from
	s.all = append(s.all, k)
	s.last[k.Fact] = k.Sequence
	s.ids[k.id] = stored{k.Sequence, time.Now()}
	s.world.noteStored(k)
	s.world.check.stored(k)
	return k.Sequence
}

// lastPerFact returns the last message of each fact, in stream order; of all writers
// when w is "".
func (s *stream) lastPerFact(w registry.Writer) []registry.Message {
	var out []registry.Message
	for _, k := range s.all {
		if (w == "" || k.Fact.Writer == w) && s.last[k.Fact] == k.Sequence {
			out = append(out, k.Message)
		}
	}
	return out
}

// since returns the messages from a sequence on.
func (s *stream) since(sequence uint64) []registry.Message {
	var out []registry.Message
	for n := max(sequence, s.first); n <= s.end(); n++ {
		out = append(out, s.at(n).Message)
	}
	return out
}

// leasesAfter returns the leases that are newer than a place, in order.
func (s *stream) leasesAfter(sequence uint64) []lease {
	return slices.SortedFunc(func(yield func(lease) bool) {
		for _, l := range s.leases {
			if l.sequence > sequence && !yield(l) {
				return
			}
		}
	}, func(a, b lease) int { return int(a.sequence) - int(b.sequence) })
}

func (s *stream) reportsAfter(sequence uint64) []report {
	fresh := slices.DeleteFunc(slices.Collect(maps.Values(s.reports)), func(r report) bool { return r.sequence <= sequence })
	slices.SortFunc(fresh, func(a, b report) int { return int(a.sequence) - int(b.sequence) })
	return fresh
}

// orderedTo tells whether a message is an order to a cluster's agent.
func orderedTo(m registry.Message, cluster registry.ClusterID) bool {
	return m.Fact.Kind == registry.KindOrder && m.Event != nil && m.Event.Order != nil && m.Event.Order.Target == string(cluster)
}

func encode(e *registry.Event) kept {
	body, err := registry.Encode(e)
	if err != nil {
		panic(err)
	}
	return kept{Message: registry.Message{Fact: e.Fact(), Epoch: e.Epoch, Revision: e.Revision}, id: e.ID, body: body}
}

func epochFact(w registry.Writer) registry.Fact {
	return registry.Fact{Writer: w, Kind: registry.KindEpoch}
}
