package stream_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
	"github.com/seamark-mesh/seamark/registry/stream/streamtest"
)

func TestEmptyStreamIsCaughtUp(t *testing.T) {
	c := connect(t, 1)
	r := record(t, c, stream.StartAt{})
	r.waitCaughtUp(t)
	if got := r.sequences(); len(got) != 0 {
		t.Errorf("messages of an empty stream: %v", got)
	}
	a, w := newAuthor("amber"), c.Writer("amber")
	fence := a.begin(t, w, 0)
	publish(t, w, fence, a.service("s", 1))
	r.waitFor(t, 5*time.Second, 2)
}

func TestCaughtUpComesWithTheLastMessage(t *testing.T) {
	c := connect(t, 1)
	a, w := newAuthor("amber"), c.Writer("amber")
	fence := a.begin(t, w, 0)
	for range 30 {
		publish(t, w, fence, a.services(100, "s")...)
	}
	for name, start := range map[string]stream.StartAt{
		"last per subject": {},
		"whole history":    {Policy: stream.WholeHistory},
		"from a sequence":  {Policy: stream.FromSequence, Sequence: 2901},
	} {
		t.Run(name, func(t *testing.T) {
			want := map[stream.Start]int{stream.LastPerSubject: 101, stream.WholeHistory: 3001, stream.FromSequence: 101}[start.Policy]
			seen := 0
			err := c.Read(t.Context(), start, func(b stream.Batch) error {
				seen += len(b.Messages)
				if b.CaughtUp != (seen == want) {
					t.Errorf("caught up = %v after %d of %d messages", b.CaughtUp, seen, want)
				}
				if b.CaughtUp {
					return errEnough
				}
				return nil
			})
			if !errors.Is(err, errEnough) || seen != want {
				t.Errorf("%d messages, want %d; %v", seen, want, err)
			}
		})
	}
}

// A reader that begins while others write without a pause has caught up soon, and
// with all that was stored before.
func TestCaughtUpWhileOthersWrite(t *testing.T) {
	writer, reader := connectTwice(t)
	a, w := newAuthor("amber"), writer.Writer("amber")
	fence := a.begin(t, w, 0)
	publish(t, w, fence, a.services(300, "s")...)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				publish(t, w, fence, a.services(100, "s")...)
			}
		}
	}()
	defer func() { close(stop); <-done }()
	for range 4 {
		fold := registry.NewFold()
		err := reader.Read(t.Context(), stream.StartAt{}, func(b stream.Batch) error {
			for _, m := range b.Messages {
				fold.Apply(m)
			}
			if b.CaughtUp {
				return errEnough
			}
			return nil
		})
		if n := fold.View().Services(); !errors.Is(err, errEnough) || n != 300 {
			t.Fatalf("caught up with %d of 300 services, %v", n, err)
		}
	}
}

var errEnough = errors.New("enough")

func TestReadUntil(t *testing.T) {
	c := connect(t, 1)
	a, w := newAuthor("amber"), c.Writer("amber")
	fence := a.begin(t, w, 0)
	publish(t, w, fence, a.services(200, "s")...)
	for _, until := range []uint64{1, 2, 100, 201, 500} {
		var last uint64
		err := c.Read(t.Context(), stream.StartAt{Policy: stream.WholeHistory, Until: until}, func(b stream.Batch) error {
			for _, m := range b.Messages {
				last = m.Sequence
			}
			return nil
		})
		if want := min(until, 201); err != nil || last != want {
			t.Errorf("until %d: read to %d, %v; want %d", until, last, err, want)
		}
	}
}

func TestReadWithoutStream(t *testing.T) {
	c := streamtest.Connect(t, streamtest.Start(t))
	err := c.Read(t.Context(), stream.StartAt{}, func(stream.Batch) error { return nil })
	if !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("Read() = %v, want ErrStreamNotFound", err)
	}
}

func TestReadEndsWithItsContext(t *testing.T) {
	c := connect(t, 1)
	ctx, cancel := context.WithCancelCause(t.Context())
	err := c.Read(ctx, stream.StartAt{}, func(stream.Batch) error { cancel(errEnough); return nil })
	if !errors.Is(err, errEnough) {
		t.Errorf("Read() = %v, want the context's cause", err)
	}
}

func TestReadEndsWithItsConnection(t *testing.T) {
	writer, reader := connectTwice(t)
	r := record(t, reader, stream.StartAt{})
	r.waitCaughtUp(t)
	newAuthor("amber").begin(t, writer.Writer("amber"), 0)
	r.waitFor(t, 5*time.Second, 1)
	reader.Close()
	select {
	case <-r.ended:
		if err := r.stop(); !errors.Is(err, nats.ErrConnectionClosed) {
			t.Errorf("Read() = %v", err)
		}
	case <-time.After(15 * time.Second):
		t.Error("the read goes on without a connection")
	}
}

// Both ways of reading fold to the same View, also while a writer goes on.
func TestBothBootstrapsAreEqual(t *testing.T) {
	c := connect(t, 1)
	for _, cluster := range []registry.Writer{"amber", "bronze", "cobalt"} {
		a, w := newAuthor(cluster), c.Writer(cluster)
		fence := a.begin(t, w, 0)
		for range 5 {
			publish(t, w, fence, a.services(60, "s")...)
			tombstone := a.service("s-7", 0)
			publish(t, w, fence, tombstone)
		}
	}
	a, w := newAuthor("dune"), c.Writer("dune")
	fence := a.begin(t, w, 0)
	latest := record(t, c, stream.StartAt{})
	for range 3 {
		publish(t, w, fence, a.services(60, "s")...)
	}
	whole := record(t, c, stream.StartAt{Policy: stream.WholeHistory})
	for range 3 {
		publish(t, w, fence, a.services(60, "s")...)
	}
	end := lastSequence(t, c, stream.EventsStream)
	latest.waitFor(t, 10*time.Second, end)
	whole.waitFor(t, 10*time.Second, end)
	if latest.canonical() != whole.canonical() {
		t.Error("the two folds differ")
	}
	whole.wholeWithoutGap(t, end)
	if n := latest.fold.View().Services(); n != 60 {
		t.Errorf("%d services, want 60", n)
	}
}

// Messages that no agent of ours would send: each is handed on as refused, and
// what comes after them is read.
func TestHostileMessagesDoNotStopTheTail(t *testing.T) {
	c := connect(t, 1)
	a, w := newAuthor("amber"), c.Writer("amber")
	fence := a.begin(t, w, 0)
	live := record(t, c, stream.StartAt{})
	live.waitFor(t, 5*time.Second, 1)
	good := a.service("good", 1)
	publish(t, w, fence, good)
	subject := "mesh.v1.amber.svc.default.bad"
	of := func(pairs ...string) nats.Header {
		h := nats.Header{}
		for n := 0; n < len(pairs); n += 2 {
			h[pairs[n]] = append(h[pairs[n]], pairs[n+1])
		}
		return h
	}
	body, err := registry.Encode(good)
	if err != nil {
		t.Fatal(err)
	}
	epoch, revision := fmt.Sprint(good.Epoch), fmt.Sprint(good.Revision)
	hostile := map[string]*nats.Msg{
		"garbage":                 {Subject: subject, Data: []byte("\x00\xff{garbage")},
		"empty":                   {Subject: subject},
		"not our kind":            {Subject: subject, Data: []byte(`{"schema":"seamark/1.0","kind":"service"}`)},
		"another major version":   {Subject: subject, Data: []byte(`{"schema":"seamark/9.0"}`)},
		"deep":                    {Subject: subject, Data: []byte(strings.Repeat("[", 20_000))},
		"zip bomb":                {Subject: subject, Header: of("Content-Encoding", "gzip"), Data: zipped(t, make([]byte, 8<<20))},
		"broken zip":              {Subject: subject, Header: of("Content-Encoding", "gzip"), Data: []byte("\x1f\x8b\x08garbage")},
		"unknown encoding":        {Subject: subject, Header: of("Content-Encoding", "br"), Data: body},
		"another's subject":       {Subject: "mesh.v1.bronze.svc.default.good", Header: of("Seamark-Epoch", epoch, "Seamark-Revision", revision), Data: body},
		"another service":         {Subject: subject, Header: of("Seamark-Epoch", epoch, "Seamark-Revision", revision), Data: body},
		"headers of another":      {Subject: "mesh.v1.amber.svc.default.good", Header: of("Seamark-Epoch", "1", "Seamark-Revision", "1"), Data: body},
		"epoch is no number":      {Subject: subject, Header: of("Seamark-Epoch", "-1"), Data: body},
		"epoch twice":             {Subject: subject, Header: of("Seamark-Epoch", "1", "Seamark-Epoch", "2"), Data: body},
		"epoch far ahead":         {Subject: "mesh.v1.bronze.epoch", Header: of("Seamark-Epoch", "99999999999999", "Seamark-Revision", "1"), Data: body},
		"huge header":             {Subject: subject, Header: of("Seamark-Epoch", strings.Repeat("9", 60_000)), Data: body},
		"many headers":            {Subject: subject, Header: manyHeaders(), Data: body},
		"foreign subject":         {Subject: "mesh.v1.AMBER.svc.default.x", Data: body},
		"second encoding":         {Subject: "mesh.v1.amber.svc.default.=67ood", Data: body},
		"broken encoding":         {Subject: "mesh.v1.amber.svc.default.x=4", Data: body},
		"status of the server":    {Subject: subject, Header: of("Status", "409", "Description", "Consumer Deleted")},
		"heartbeat of the server": {Subject: subject, Header: of("Status", "100")},
		"end of a request":        {Subject: subject, Header: of("Status", "408", "Nats-Pending-Messages", "99999")},
	}
	before := lastSequence(t, c, stream.EventsStream)
	for name, m := range hostile {
		if _, err := c.NATS().RequestMsg(m, 5*time.Second); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	if n := lastSequence(t, c, stream.EventsStream) - before; n != uint64(len(hostile)) {
		t.Fatalf("%d of %d hostile messages are stored", n, len(hostile))
	}
	publish(t, w, fence, a.service("after", 1))
	end := lastSequence(t, c, stream.EventsStream)
	live.waitFor(t, 10*time.Second, end)
	late := record(t, c, stream.StartAt{Policy: stream.WholeHistory})
	late.waitFor(t, 10*time.Second, end)
	late.wholeWithoutGap(t, end)
	for _, r := range []*recording{live, late} {
		for _, m := range r.messages {
			if refused := m.Refused != nil; refused != (m.Sequence > before && m.Sequence < end) {
				t.Errorf("message %d: refused = %v (%v)", m.Sequence, refused, m.Refused)
			}
			if (m.Refused == nil) == (m.Event == nil) {
				t.Errorf("message %d has event %v and refusal %v", m.Sequence, m.Event, m.Refused)
			}
		}
		if v := r.fold.View(); v.Services() != 2 {
			t.Errorf("%d services, want 2", v.Services())
		}
	}
}

func manyHeaders() nats.Header {
	h := nats.Header{}
	for n := range 2_000 {
		h[fmt.Sprintf("X-%d", n)] = []string{"x"}
	}
	return h
}

func TestLoadFactAndLoadWriter(t *testing.T) {
	c := connect(t, 1)
	a, w := newAuthor("amber"), c.Writer("amber")
	fence := a.begin(t, w, 0)
	for range 20 {
		publish(t, w, fence, a.service("one", 1), a.service("two", 1))
	}
	fact := a.service("one", 1).Fact()
	for _, before := range []uint64{0, 1, 2, 3, 20, 41, 1000} {
		messages, err := c.LoadFact(t.Context(), fact, before)
		if err != nil {
			t.Fatal(err)
		}
		want := uint64(0) // "one" stands at every even sequence from 2 to 40
		if before > 2 {
			want = min(before-1, 40) &^ 1
		}
		switch {
		case want == 0 && len(messages) > 0, want > 0 && len(messages) != 1:
			t.Errorf("before %d: %d messages", before, len(messages))
		case want > 0 && (messages[0].Sequence != want || messages[0].Fact != fact || messages[0].Refused != nil):
			t.Errorf("before %d: %d %v %v, want %d", before, messages[0].Sequence, messages[0].Fact, messages[0].Refused, want)
		}
	}
	tree, err := c.LoadWriter(t.Context(), "amber")
	if err != nil || len(tree) != 3 {
		t.Errorf("%d facts, %v; want 3", len(tree), err)
	}
}

func TestOrders(t *testing.T) {
	c := connect(t, 1)
	for n := range 3 {
		if err := c.OrderResync(t.Context(), "amber", fmt.Sprint("before the watch ", n)); err != nil {
			t.Fatal(err)
		}
	}
	decision := registry.Order{Kind: registry.OrderBrake, Target: "amber", By: "ada", Decision: registry.Approve, Held: "x"}
	if _, err := c.PutOrder(t.Context(), decision, "test", registry.CauseChange, stream.AnySequence); err != nil {
		t.Fatal(err)
	}
	got := make(chan registry.Message, 10)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	go func() { done <- c.Writer("amber").WatchOrders(ctx, func(m registry.Message) { got <- m }) }()
	expect := func(kind, reason string) {
		t.Helper()
		select {
		case m := <-got:
			if m.Refused != nil || m.Event.Order.Target != "amber" || m.Event.Order.Reason != reason || m.Event.Order.Kind != kind {
				t.Errorf("order: %+v %v, want %s %q", m.Event, m.Refused, kind, reason)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("no order %s %q comes", kind, reason)
		}
	}
	expect(registry.OrderResync, "before the watch 2") // what stands is told first: nobody misses a decision
	expect(registry.OrderBrake, "")
	toldAll := func(got <-chan registry.Message) {
		t.Helper()
		select {
		case m := <-got:
			if m.Sequence != 0 || m.Event != nil || m.Refused != nil {
				t.Errorf("%+v comes before it is said that all was told", m)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("nobody says that what stood was told")
		}
	}
	toldAll(got)
	nothing := make(chan registry.Message, 10)
	go func() { done <- c.Writer("copper").WatchOrders(ctx, func(m registry.Message) { nothing <- m }) }()
	toldAll(nothing)
	if err := c.OrderResync(t.Context(), "bronze", "not for amber"); err != nil {
		t.Fatal(err)
	}
	if err := c.OrderResync(t.Context(), "amber", "it differs"); err != nil {
		t.Fatal(err)
	}
	expect(registry.OrderResync, "it differs")
	cancel()
	for range cap(done) {
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("WatchOrders() = %v", err)
		}
	}
	if n := len(got) + len(nothing); n > 0 {
		t.Errorf("%d messages too many", n)
	}
}

func TestPutAndLast(t *testing.T) {
	c := connect(t, 1)
	zone := func() *registry.Event {
		return &registry.Event{
			Schema: registry.Schema, ID: fmt.Sprintf("_operator-zone-%d", time.Now().UnixNano()), Kind: registry.KindZone, Writer: registry.Operator,
			Time: time.Now().UTC(), Agent: "somebody", Cause: registry.CauseChange,
			Zone: &registry.ZoneRecord{Name: "mesh.internal.", TTL: 5, NegativeTTL: 5, Contact: "hostmaster.mesh.internal."},
		}
	}
	e := zone()
	if _, found, err := c.Last(t.Context(), e.Fact()); err != nil || found {
		t.Fatalf("Last() of nothing: %v, %v", found, err)
	}
	sequence, err := c.Put(t.Context(), e, 0)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := c.Put(t.Context(), e, 0); err != nil || again != sequence {
		t.Errorf("the same again: %d, %v; want %d", again, err, sequence)
	}
	if _, err := c.Put(t.Context(), zone(), 0); !errors.Is(err, registry.ErrConflict) {
		t.Errorf("another on nothing: %v, want ErrConflict", err)
	}
	if _, err := c.Put(t.Context(), zone(), stream.AnySequence); err != nil {
		t.Errorf("whatever stands there: %v", err)
	}
	m, found, err := c.Last(t.Context(), e.Fact())
	if err != nil || !found || m.Refused != nil || m.Event.Zone.Name != "mesh.internal." || m.Sequence != sequence+1 {
		t.Errorf("Last() = %+v, %v, %v", m, found, err)
	}
}
