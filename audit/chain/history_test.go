package chain_test

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/seamark-mesh/seamark/audit/chain"
	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
	"github.com/seamark-mesh/seamark/registry/stream/streamtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// history is what a stream would hold. It is written by the rules of docs/protocol.md,
// not by package stream, so that the two are held against each other.
type history struct {
	messages []registry.Stored
	clock    time.Time
}

func newHistory() *history { return &history{clock: time.Unix(1_800_000_000, 0)} }

func (h *history) store(m registry.Stored) registry.Stored {
	h.clock = h.clock.Add(time.Second)
	m.Sequence, m.Time = uint64(len(h.messages))+1, h.clock
	h.messages = append(h.messages, m)
	return m
}

// author writes as one writer.
type author struct {
	history  *history
	writer   string
	epoch    uint64
	revision uint64
	previous stream.Link
	record   stream.Link   // the last epoch record
	last     *stream.Join  // the last message that is no epoch record
	joins    *stream.Join  // that, when the epoch began
	signer   *chain.Signer // nil: it does not sign
	filling  int           // bytes that its messages have more than they need
	bare     bool          // it is of a version without a chain
}

func signer(t testing.TB) *chain.Signer {
	seed, _ := streamtest.UserKey(t)
	s, err := chain.ParseSigner(seed)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func sign(m registry.Stored, s *chain.Signer) {
	link := stream.LinkOf(m.Subject, m.Header, m.Body)
	m.Header["Seamark-Chain"] = []string{link.String()}
	if s == nil {
		return
	}
	signature, _ := s.Sign(stream.Statement(link))
	m.Header["Seamark-Key"] = []string{s.Public()}
	m.Header["Seamark-Signature"] = []string{base64.RawURLEncoding.EncodeToString(signature)}
}

// message makes the next message, which is not stored yet.
func (a *author) message(subject string) registry.Stored {
	a.revision++
	body := fmt.Appendf(nil, `{"id":%q,"filling":%q}`, rand.Text(), strings.Repeat("x", a.filling))
	m := registry.Stored{Subject: "mesh.v1." + a.writer + "." + subject, Body: body, Header: map[string][]string{
		"Nats-Msg-Id": {rand.Text()}, "Seamark-Epoch": {strconv.FormatUint(a.epoch, 10)},
		"Seamark-Revision": {strconv.FormatUint(a.revision, 10)}, "ce-type": {"seamark"},
	}}
	if a.bare {
		a.previous = stream.LinkOf(m.Subject, m.Header, m.Body)
		return m
	}
	if a.previous != (stream.Link{}) {
		m.Header["Seamark-Previous"] = []string{a.previous.String()}
	}
	if a.revision == 2 && a.joins != nil {
		m.Header["Seamark-Joins"] = []string{fmt.Sprintf("%d.%d.%s", a.joins.Epoch, a.joins.Revision, a.joins.Link)}
	}
	sign(m, a.signer)
	a.previous = stream.LinkOf(m.Subject, m.Header, m.Body)
	return m
}

// begin takes over.
func (a *author) begin() {
	a.epoch++
	a.revision, a.previous, a.joins = 0, a.record, a.last
	a.history.store(a.message("epoch"))
	a.record = a.previous
}

// refresh publishes the epoch's record again.
func (a *author) refresh() {
	a.history.store(a.message("epoch"))
	a.record = a.previous
}

// publish stores one message.
func (a *author) publish(subject string) registry.Stored { return a.history.store(a.make(subject)) }

// make is message of what is no epoch record.
func (a *author) make(subject string) registry.Stored {
	m := a.message(subject)
	a.last = &stream.Join{Epoch: a.epoch, Revision: a.revision, Link: a.previous}
	return m
}

// subject is that of one of the author's facts.
func (a *author) subject(n int) string {
	if a.writer == "_observer" {
		return "state.c" + strconv.Itoa(n)
	}
	return service(n)
}

func service(n int) string { return "svc.default.s" + strconv.Itoa(n) }

// verify adds a history, and gives it sequences if it has none.
func verify(messages []registry.Stored, o chain.Options) chain.Report {
	v := chain.New(o)
	for _, m := range messages {
		v.Add(m)
	}
	return v.Report()
}

func sequence(messages []registry.Stored) iter.Seq2[registry.Stored, error] {
	return func(yield func(registry.Stored, error) bool) {
		for _, m := range messages {
			if !yield(m, nil) {
				return
			}
		}
	}
}

// renumber gives a changed history the sequences of a stream that was made anew.
func renumber(messages []registry.Stored) []registry.Stored {
	out := slices.Clone(messages)
	first := uint64(1)
	if len(out) > 0 {
		first = max(out[0].Sequence, 1)
	}
	for n := range out {
		out[n].Sequence = first + uint64(n)
	}
	return out
}

func clone(m registry.Stored) registry.Stored {
	header := map[string][]string{}
	for k, v := range m.Header {
		header[k] = slices.Clone(v)
	}
	m.Header, m.Body = header, slices.Clone(m.Body)
	return m
}

// keysOf allows these authors' keys.
func keysOf(t testing.TB, authors ...*author) *chain.Keys {
	t.Helper()
	writers := map[string][]chain.Key{}
	for _, a := range authors {
		if a.signer != nil {
			writers[a.writer] = append(writers[a.writer], chain.Key{Public: a.signer.Public()})
		}
	}
	keys, err := chain.NewKeys(writers)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// kinds lists the kinds of the faults, sorted.
func kinds(r chain.Report) []chain.Kind {
	all := map[chain.Kind]bool{}
	for _, f := range r.Faults {
		all[f.Kind] = true
	}
	return slices.Sorted(maps.Keys(all))
}
