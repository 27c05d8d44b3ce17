package stream_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
	"github.com/seamark-mesh/seamark/registry/stream/streamtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// author makes the events of one epoch of a cluster's agent.
type author struct {
	writer   registry.Writer
	epoch    uint64
	revision uint64
}

func newAuthor(w registry.Writer) *author {
	return &author{writer: w, epoch: uint64(time.Now().Unix())}
}

// successor begins the next epoch.
func (a *author) successor() *author { return &author{writer: a.writer, epoch: a.epoch + 1} }

func (a *author) event(kind registry.Kind) *registry.Event {
	a.revision++
	return &registry.Event{
		Schema: registry.Schema, ID: fmt.Sprintf("%s-%d-%d-%s", a.writer, a.epoch, a.revision, rand.Text()),
		Kind: kind, Writer: a.writer, Epoch: a.epoch, Revision: a.revision,
		Time: time.Now().UTC(), Agent: "test", Cause: registry.CauseChange,
	}
}

func (a *author) takeover() *registry.Event {
	e := a.event(registry.KindEpoch)
	e.Takeover = &registry.EpochRecord{Version: "test"}
	return e
}

func (a *author) service(name string, instances int) *registry.Event {
	e := a.event(registry.KindService)
	s := registry.Service{Key: registry.ServiceKey{Namespace: "default", Name: name}}
	for n := range instances {
		s.Instances = append(s.Instances, registry.Instance{
			ID: fmt.Sprintf("%s-%05d", name, n), Address: fmt.Sprintf("10.%d.%d.%d", n>>16&255, n>>8&255, n&255), Port: 8080, Weight: 1,
			Health: registry.Passing, Version: "1.2.3", Meta: map[string]string{"rack": fmt.Sprintf("r%d", n%7), "salt": rand.Text()},
		})
	}
	state := registry.NewServiceState(s.Key, &s)
	state.Changed = registry.Stamp{Epoch: e.Epoch, Revision: e.Revision, Time: e.Time}
	state.Seen = e.Time
	e.Service = &state
	return e
}

func (a *author) services(count int, prefix string) []*registry.Event {
	events := make([]*registry.Event, count)
	for n := range events {
		events[n] = a.service(fmt.Sprintf("%s-%d", prefix, n), 2)
	}
	return events
}

// begin stores the epoch's record and returns its fence.
func (a *author) begin(t testing.TB, w *stream.Writer, expect uint64) (fence uint64) {
	t.Helper()
	e := a.takeover()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		fence, err := w.PutEpoch(t.Context(), e, expect)
		switch {
		case err == nil:
			return fence
		case !errors.Is(err, nats.ErrNoResponders) || time.Now().After(deadline): // a new cluster's interest spreads slowly
			t.Fatalf("PutEpoch: %v", err)
		}
	}
}

func publish(t testing.TB, w *stream.Writer, fence uint64, events ...*registry.Event) {
	t.Helper()
	if _, err := w.Publish(t.Context(), events, fence); err != nil {
		t.Fatalf("Publish of %d events: %v", len(events), err)
	}
}

// storedIDs returns the message ids of the whole history, in order, by a way of its own.
func storedIDs(t testing.TB, c *stream.Conn) []string {
	t.Helper()
	var ids []string
	js := streamtest.JetStream(t, c)
	s, err := js.Stream(t.Context(), stream.EventsStream)
	if err != nil {
		t.Fatal(err)
	}
	for sequence := uint64(1); sequence <= s.CachedInfo().State.LastSeq; sequence++ {
		m, err := s.GetMsg(t.Context(), sequence)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, m.Header.Get(nats.MsgIdHdr))
	}
	return ids
}

func lastSequence(t testing.TB, c *stream.Conn, name string) uint64 {
	t.Helper()
	js := streamtest.JetStream(t, c)
	s, err := js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().State.LastSeq
}

// recording is a read that runs beside the test.
type recording struct {
	mu       sync.Mutex
	messages []registry.Message
	caughtUp int // batches that said so
	batches  int
	fold     *registry.Fold

	ended chan struct{} // closed when the read has returned
	stop  func() error  // ends the read and returns its error
}

// record begins to read.
func record(t testing.TB, c *stream.Conn, start stream.StartAt) *recording {
	t.Helper()
	r := &recording{fold: registry.NewFold(), ended: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		defer close(r.ended)
		done <- c.Read(ctx, start, func(b stream.Batch) error {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.batches++
			r.messages = append(r.messages, b.Messages...)
			for _, m := range b.Messages {
				r.fold.Apply(m)
			}
			if b.CaughtUp {
				r.caughtUp++
			}
			return nil
		})
	}()
	r.stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() { r.stop() }) //nolint:errcheck
	return r
}

func (r *recording) sequences() []uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	var s []uint64
	for _, m := range r.messages {
		s = append(s, m.Sequence)
	}
	return s
}

func (r *recording) canonical() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return string(r.fold.View().AppendCanonical(nil))
}

func (r *recording) waitFor(t testing.TB, within time.Duration, sequence uint64) {
	t.Helper()
	streamtest.Eventually(t, within, fmt.Sprintf("message %d is read", sequence), func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.messages) > 0 && r.messages[len(r.messages)-1].Sequence >= sequence
	})
}

func (r *recording) waitCaughtUp(t testing.TB) {
	t.Helper()
	streamtest.Eventually(t, 10*time.Second, "the read has caught up", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.caughtUp > 0
	})
}

// wholeWithoutGap fails unless the sequences are 1 to last, each once, in order.
func (r *recording) wholeWithoutGap(t testing.TB, last uint64) {
	t.Helper()
	got := r.sequences()
	if uint64(len(got)) != last {
		t.Errorf("%d messages were read, want %d", len(got), last)
	}
	for n, s := range got {
		if s != uint64(n+1) {
			t.Fatalf("message %d of the read has sequence %d", n+1, s)
		}
	}
}

func is(err error, targets ...error) bool {
	for _, target := range targets {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}
