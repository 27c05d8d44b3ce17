package stream_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
	"github.com/seamark-mesh/seamark/registry/stream/streamtest"
)

func (h *harbour) delete(t *testing.T) {
	t.Helper()
	js := streamtest.JetStream(t, h.conn)
	if err := js.DeleteStream(t.Context(), stream.EventsStream); err != nil {
		t.Fatal(err)
	}
}

// Nothing is written, and no connection is lost: only the look every two seconds can tell.
func TestADeletedStreamEndsTheReadWithoutTraffic(t *testing.T) {
	h := newHarbour(t)
	r := record(t, h.conn, stream.StartAt{})
	r.waitCaughtUp(t)
	began := time.Now()
	h.delete(t)
	select {
	case <-r.ended:
	case <-time.After(10 * time.Second):
		t.Fatal("the read goes on")
	}
	err := r.stop()
	if !errors.Is(err, stream.ErrStreamChanged) || stream.LossOf(err) != stream.Deleted {
		t.Errorf("Read() = %v", err)
	}
	t.Logf("noticed after %v", time.Since(began).Round(time.Millisecond))
}

func TestAStreamIsMadeWithAFirstSequence(t *testing.T) {
	h := newHarbour(t)
	end := lastSequence(t, h.conn, stream.EventsStream)
	h.delete(t)
	var wg sync.WaitGroup
	for n := range 3 { // all replicas race, the first wins
		c := streamtest.Connect(t, h.server)
		wg.Go(func() {
			if _, _, err := c.CreateStreams(t.Context(), stream.Settings{First: end + 1000 + uint64(n)}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	state, err := h.conn.State(t.Context())
	if err != nil || state.First <= end || state.Last != state.First-1 {
		t.Fatalf("%+v, %v: it should begin beyond %d and be empty", state, err, end)
	}
	r := record(t, h.conn, stream.StartAt{})
	r.waitCaughtUp(t)
	h.write(t, 5)
	r.waitFor(t, 5*time.Second, state.First+5)
	if got := r.sequences()[0]; got != state.First {
		t.Errorf("the first message has sequence %d, want %d", got, state.First)
	}
	applied, err := h.conn.ApplyStreams(t.Context(), stream.Settings{})
	if err != nil {
		t.Errorf("an operator can't change it any more: %v (%v)", err, applied)
	}
	again, err := h.conn.State(t.Context())
	if err != nil || again.First != state.First || again.Last < state.First+5 {
		t.Errorf("%+v after it was changed, %v", again, err)
	}
}

func TestAStreamIsFilledUpBySeveralAtOnce(t *testing.T) {
	h := newHarbour(t)
	end := lastSequence(t, h.conn, stream.EventsStream)
	r := record(t, h.conn, stream.StartAt{})
	r.waitCaughtUp(t)
	const to = 20_000
	var wg sync.WaitGroup
	for range 3 {
		c := streamtest.Connect(t, h.server)
		wg.Go(func() {
			if n, err := c.FillUp(t.Context(), to, "test"); n == 0 || err != nil {
				t.Errorf("%d were stored, %v", n, err)
			}
		})
	}
	wg.Wait()
	state, err := h.conn.State(t.Context())
	if err != nil || state.Last < to || state.Last > to+20_000 {
		t.Fatalf("%+v, %v; it ended at %d", state, err, end)
	}
	r.waitFor(t, 20*time.Second, state.Last)
	for _, m := range r.messages[len(r.messages)-1000:] {
		if m.Refused != nil || m.Fact.Kind != registry.KindNote || m.Fact.Writer != registry.Operator {
			t.Fatalf("%+v: %v", m.Fact, m.Refused)
		}
	}
	if n, err := h.conn.FillUp(t.Context(), to, "test"); n != 0 || err != nil {
		t.Errorf("%d more, %v", n, err)
	}
	if _, err := h.conn.FillUp(t.Context(), state.Last+stream.MaxFill+1, "test"); !errors.Is(err, stream.ErrTooFar) {
		t.Errorf("beyond the bound: %v", err)
	}
}

// A writer asks whether what it was promised to be stored is still there.
func TestAWriterSeesThatWhatWasAcknowledgedIsLost(t *testing.T) {
	for name, c := range map[string]struct {
		change func(t *testing.T, h *harbour)
		stands bool
	}{
		"nothing happened": {func(*testing.T, *harbour) {}, true},
		"others went on": {func(t *testing.T, h *harbour) {
			insist(t, func() error { return h.conn.OrderResync(t.Context(), "amber", "test") })
		}, true},
		"lost its end": {func(t *testing.T, h *harbour) { h.restore(t) }, false},
		"lost its end, and others went on": {func(t *testing.T, h *harbour) {
			h.restore(t)
			if _, err := h.conn.FillUp(t.Context(), 500, "test"); err != nil {
				t.Fatal(err)
			}
		}, false},
		"made anew":               {func(t *testing.T, h *harbour) { h.remake(t) }, false},
		"made anew, begins later": {func(t *testing.T, h *harbour) { h.delete(t); first(t, h, 5000) }, false},
	} {
		for _, count := range []int{3, 60} { // singly, and in a batch
			t.Run(name, func(t *testing.T) {
				h := newHarbour(t)
				w := h.conn.Writer("bronze")
				if stands, err := w.Stands(t.Context()); !stands || err != nil {
					t.Fatalf("of a writer that wrote nothing: %v, %v", stands, err)
				}
				a := newAuthor("bronze")
				fence := a.begin(t, w, 0)
				publish(t, w, fence, a.services(count, "s")...)
				if stands, err := w.Stands(t.Context()); !stands || err != nil {
					t.Fatalf("right after it was acknowledged: %v, %v", stands, err)
				}
				c.change(t, h)
				stands, err := w.Stands(t.Context())
				if stands != c.stands || err != nil {
					t.Errorf("Stands() = %v, %v; want %v", stands, err, c.stands)
				}
			})
		}
	}
	t.Run("aged away", func(t *testing.T) {
		h := newHarbour(t)
		w := h.conn.Writer("bronze")
		newAuthor("bronze").begin(t, w, 0)
		h.write(t, 50)
		h.age(t)
		if stands, err := w.Stands(t.Context()); !stands || err != nil {
			t.Errorf("Stands() = %v, %v", stands, err)
		}
	})
}

// first makes the stream begin with a sequence.
func first(t *testing.T, h *harbour, sequence uint64) {
	t.Helper()
	if _, _, err := h.conn.CreateStreams(t.Context(), stream.Settings{First: sequence}); err != nil {
		t.Fatal(err)
	}
}

func TestContactTellsWhatIsHeard(t *testing.T) {
	h := newHarbour(t)
	proxy := streamtest.NewProxy(t, h.server.ClientURL())
	c := streamtest.ConnectTo(t, proxy.URL())
	if got := c.Contact(); !got.Connected || !got.Heard.IsZero() {
		t.Errorf("before anything was read: %+v", got)
	}
	done := make(chan error, 1)
	go func() { done <- c.Follow(t.Context(), func([]registry.Message, bool) error { return nil }) }()
	streamtest.Eventually(t, 10*time.Second, "all is read, and its first sequence known", func() bool {
		got := c.Contact()
		return !got.Current.IsZero() && got.First == 1
	})
	before := c.Contact().Current
	streamtest.Eventually(t, 10*time.Second, "it is heard of without traffic", func() bool { return c.Contact().Current.After(before) })
	proxy.Cut()
	streamtest.Eventually(t, 10*time.Second, "the loss is known", func() bool { return !c.Contact().Connected })
	cut := time.Now()
	time.Sleep(2500 * time.Millisecond)
	if got := c.Contact(); got.Heard.After(cut) || got.Current.After(cut) {
		t.Errorf("heard of while cut off: %+v", got)
	}
	proxy.Heal()
	streamtest.Eventually(t, 10*time.Second, "it is back", func() bool { return c.Contact().Connected && c.Contact().Current.After(cut) })
	h.delete(t)
	select {
	case err := <-done:
		if !strings.Contains(err.Error(), "not there any more") {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the read goes on")
	}
}
