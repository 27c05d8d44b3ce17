package chain_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seamark-mesh/seamark/audit/chain"
	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
	"github.com/seamark-mesh/seamark/registry/stream/streamtest"
)

// agent publishes on a real stream, by package stream.
type agent struct {
	t        *testing.T
	end      *stream.Writer
	writer   registry.Writer
	epoch    uint64
	revision uint64
	fence    uint64
}

func (a *agent) event(kind registry.Kind) *registry.Event {
	a.revision++
	return &registry.Event{
		Schema: registry.Schema, ID: fmt.Sprintf("%s-%d-%d-%s", a.writer, a.epoch, a.revision, rand.Text()), Kind: kind, Writer: a.writer,
		Epoch: a.epoch, Revision: a.revision, Time: time.Now().UTC(), Agent: "test", Cause: registry.CauseChange,
	}
}

// takeOver begins an epoch, as another process.
func (a *agent) takeOver(c *stream.Conn) {
	a.t.Helper()
	a.end, a.revision = c.Writer(a.writer), 0
	a.epoch = max(a.epoch+1, uint64(time.Now().Unix()))
	e := a.event(registry.KindEpoch)
	e.Takeover = &registry.EpochRecord{Version: "test"}
	var err error
	if a.fence, err = a.end.PutEpoch(a.t.Context(), e, a.fence); err != nil {
		a.t.Fatal(err)
	}
	if _, err := a.end.Load(a.t.Context()); err != nil {
		a.t.Fatal(err)
	}
}

func (a *agent) publish(count, instances int) {
	a.t.Helper()
	var events []*registry.Event
	for n := range count {
		e := a.event(registry.KindService)
		s := registry.Service{Key: registry.ServiceKey{Namespace: "default", Name: fmt.Sprintf("s%d", n)}}
		for i := range instances {
			s.Instances = append(s.Instances, registry.Instance{ID: fmt.Sprint(i), Address: "10.0.0.1", Port: 80, Weight: 1, Health: registry.Passing, Version: rand.Text()})
		}
		state := registry.NewServiceState(s.Key, &s)
		e.Service = &state
		events = append(events, e)
	}
	if _, err := a.end.Publish(a.t.Context(), events, a.fence); err != nil {
		a.t.Fatal(err)
	}
}

// readAll reads what a stream holds, message by message.
func readAll(t *testing.T, js jetstream.JetStream) []registry.Stored {
	t.Helper()
	s, err := js.Stream(t.Context(), stream.EventsStream)
	if err != nil {
		t.Fatal(err)
	}
	var all []registry.Stored
	for n := s.CachedInfo().State.FirstSeq; n <= s.CachedInfo().State.LastSeq; n++ {
		m, err := s.GetMsg(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, registry.Stored{Sequence: n, Time: m.Time, Subject: m.Subject, Header: m.Header, Body: m.Data})
	}
	return all
}

// rewrite makes a stream of other messages, on a server of its own: who administers one
// can put such a stream in its place.
func rewrite(t *testing.T, messages []registry.Stored) []registry.Stored {
	t.Helper()
	_, c := streamtest.Streams(t)
	js := streamtest.JetStream(t, c)
	made, err := js.Stream(t.Context(), stream.EventsStream)
	if err != nil {
		t.Fatal(err)
	}
	config := made.CachedInfo().Config
	config.Duplicates = 100 * time.Millisecond
	if _, err := js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 60*time.Second)
	defer stop()
	for _, m := range messages {
		header := nats.Header{}
		for name, values := range m.Header {
			if !strings.HasPrefix(name, "Nats-") || name == nats.MsgIdHdr {
				header[name] = values
			}
		}
		for {
			ack, err := js.PublishMsg(ctx, &nats.Msg{Subject: m.Subject, Header: header, Data: m.Body})
			if err != nil {
				t.Fatal(err)
			}
			if !ack.Duplicate { // until the server has forgotten the first one
				break
			}
		}
	}
	return readAll(t, js)
}

// A real stream is rewritten in every way, by who may do everything with it.
func TestRewrittenStreamIsFoundOut(t *testing.T) {
	server, c := streamtest.Streams(t)
	key, other := signer(t), signer(t)
	a := &agent{t: t, writer: "amber"}
	begin := func(signed bool) {
		if c.SignWith(nil); signed {
			c.SignWith(key)
		}
	}
	begin(true)
	a.takeOver(c)
	a.publish(3, 2)
	a.publish(60, 2)
	a.publish(1, 12_000) // compressed, and cut
	a.takeOver(c)
	a.publish(4, 1)
	if err := c.OrderResync(t.Context(), "amber", "a test"); err != nil {
		t.Fatal(err)
	}
	a.publish(3, 1)

	admin := streamtest.Connect(t, server)
	js := streamtest.JetStream(t, admin)
	real := readAll(t, js)
	valid := chain.Key{Public: key.Public()}
	keys, err := chain.NewKeys(map[string][]chain.Key{"amber": {valid}, "_operator": {valid}})
	if err != nil {
		t.Fatal(err)
	}
	o := chain.Options{Keys: keys, Whole: true, ToEnd: true}
	whole := verify(real, o)
	if w, _ := whole.Of("amber"); !whole.Intact() || w.Signed != 73 || w.Epochs != 2 || len(real) != 74 {
		t.Fatalf("what was published, %d messages: %+v", len(real), whole)
	}
	checkpoint, err := chain.MakeCheckpoint(whole, time.Now(), other)
	if err != nil {
		t.Fatal(err)
	}

	at := func(n int, change func(m *registry.Stored)) []registry.Stored {
		out := slices.Clone(real)
		out[n] = clone(out[n])
		change(&out[n])
		return out
	}
	text := func(m *registry.Stored) { m.Body = []byte(strings.Replace(string(m.Body), "10.0.0.1", "10.6.6.6", 1)) }
	with := func(s *chain.Signer) func(m *registry.Stored) {
		return func(m *registry.Stored) {
			text(m)
			delete(m.Header, "Seamark-Signature")
			delete(m.Header, "Seamark-Key")
			sign(*m, s)
		}
	}
	twin := func(n int, s *chain.Signer) registry.Stored {
		m := clone(real[n])
		text(&m)
		m.Header[nats.MsgIdHdr] = []string{rand.Text()}
		sign(m, s)
		return m
	}
	for name, test := range map[string]struct {
		messages []registry.Stored
		want     chain.Kind
		sequence uint64 // of the fault
		verdict  chain.Verdict
	}{
		"nothing":                              {real, "", 0, chain.Met},
		"the beginning aged out":               {real[20:], "", 0, chain.Moved},
		"one is removed":                       {slices.Delete(slices.Clone(real), 10, 11), chain.Missing, 11, chain.Moved},
		"an order is changed":                  {at(70, func(m *registry.Stored) { m.Body = append(m.Body, ' ') }), chain.Altered, 71, chain.Met},
		"the end of an epoch is removed":       {slices.Delete(slices.Clone(real), 63, 65), chain.Missing, 64, chain.Moved},
		"the record of an epoch is removed":    {slices.Delete(slices.Clone(real), 65, 66), chain.Missing, 66, chain.Moved},
		"an address is changed":                {at(30, text), chain.Altered, 31, chain.Met},
		"it is compressed":                     {at(64, func(m *registry.Stored) { m.Header["Content-Encoding"] = []string{"identity"} }), chain.Altered, 65, chain.Met},
		"one is changed and signed by another": {at(30, with(other)), chain.UnknownKey, 31, chain.Met},
		"one is changed and not signed":        {at(30, with(nil)), chain.Unsigned, 31, chain.Met},
		"two are swapped":                      {slices.Concat(real[:30], []registry.Stored{real[31], real[30]}, real[32:]), chain.Reordered, 32, chain.Met},
		"one is moved":                         {slices.Concat(real[:30], real[31:40], real[30:31], real[40:]), chain.Reordered, 40, chain.Met},
		"an old one is repeated":               {slices.Concat(real, real[2:3]), chain.Inserted, 75, chain.Met},
		"an old order is repeated":             {slices.Concat(real, []registry.Stored{twin(70, key)}, real[70:71]), chain.Inserted, 76, chain.Met},
		"one is inserted":                      {slices.Insert(slices.Clone(real), 31, twin(20, other)), chain.UnknownKey, 32, chain.Moved},
		"another history follows, signed":      {slices.Insert(slices.Clone(real), 31, twin(30, key)), chain.Fork, 32, chain.Moved},
		"the end is cut off":                   {real[:73], "", 0, chain.Gone},
	} {
		t.Run(name, func(t *testing.T) {
			held := o
			held.Checkpoints = []chain.Checkpoint{checkpoint}
			r := verify(rewrite(t, test.messages), held)
			switch {
			case test.want == "" && len(r.Faults) > 0:
				t.Errorf("found %v, want nothing", r.Faults)
			case test.want != "" && (len(r.Faults) != 1 || r.Faults[0].Kind != test.want || r.Faults[0].Sequence != test.sequence):
				t.Errorf("found %v, want %s at #%d", r.Faults, test.want, test.sequence)
			}
			if len(r.Checkpoints) != 1 || r.Checkpoints[0].Verdict != test.verdict {
				t.Errorf("the checkpoint: %+v, want %s", r.Checkpoints, test.verdict)
			}
		})
	}
}

// Without signatures one who may write everything can write another history that is whole
// in itself; a checkpoint that he can't reach tells.
func TestCheckpointShowsWhatWasWrittenAnew(t *testing.T) {
	h, all := authors(t, false)
	a := all[0]
	a.begin()
	for n := range 20 {
		a.publish(service(n % 5))
	}
	key := signer(t)
	c, err := chain.MakeCheckpoint(verify(h.messages, chain.Options{Whole: true}), time.Now(), key)
	if err != nil {
		t.Fatal(err)
	}
	text, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	kept, err := chain.ParseCheckpoint(text, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		a.publish(service(1))
	}
	forged := slices.Clone(h.messages)
	for n := 7; n < len(forged); n++ { // everything behind it has to be made anew
		m := clone(forged[n])
		if n == 7 {
			m.Body = []byte(`{"forged":true}`)
		}
		before := forged[n-1]
		m.Header["Seamark-Previous"] = []string{stream.LinkOf(before.Subject, before.Header, before.Body).String()}
		sign(m, nil)
		forged[n] = m
	}
	o := chain.Options{Whole: true, ToEnd: true}
	if r := verify(forged, o); !r.Intact() {
		t.Fatalf("the forged history shows by itself, the test tests nothing: %v", r.Faults)
	}
	o.Checkpoints = []chain.Checkpoint{kept}
	if r := verify(h.messages, o); !r.Intact() || r.Checkpoints[0].Verdict != chain.Met {
		t.Errorf("the true history: %v %+v", r.Faults, r.Checkpoints)
	}
	if r := verify(forged, o); r.Intact() || r.Checkpoints[0].Verdict != chain.Rewritten {
		t.Errorf("the forged history: %+v", r.Checkpoints)
	}
	if r := verify(h.messages[23:], o); !r.Intact() || r.Checkpoints[0].Verdict != chain.TooOld {
		t.Errorf("aged out: %+v", r.Checkpoints)
	}

	for name, change := range map[string]func(s string) string{
		"a sequence":   func(s string) string { return strings.Replace(s, `"sequence": 21`, `"sequence": 22`, 1) },
		"a digest":     func(s string) string { return strings.Replace(s, `"link": "`, `"link": "A`, 1) },
		"the time":     func(s string) string { return strings.Replace(s, `"made": "2`, `"made": "3`, 1) },
		"another key":  func(s string) string { return strings.Replace(s, key.Public(), signer(t).Public(), 1) },
		"a new field":  func(s string) string { return strings.Replace(s, "{", `{"x": 1,`, 1) },
		"what follows": func(s string) string { return s + "{}" },
	} {
		changed := change(string(text))
		if _, err := chain.ParseCheckpoint([]byte(changed), ""); err == nil || changed == string(text) {
			t.Errorf("%s was changed: the checkpoint is taken (%v)", name, changed == string(text))
		}
	}
	if _, err := chain.ParseCheckpoint(text, signer(t).Public()); err == nil {
		t.Error("a checkpoint of somebody else is taken")
	}
}
