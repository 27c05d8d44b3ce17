package stream_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
	"github.com/seamark-mesh/seamark/registry/stream/streamtest"
)

// The acknowledgement is lost, the connection with it; the same events again are
// stored once.
func TestLostAcknowledgement(t *testing.T) {
	for name, count := range map[string]int{"single": 1, "several": 5, "batch": 100} {
		t.Run(name, func(t *testing.T) {
			s, direct := streamtest.Streams(t)
			proxy := streamtest.NewProxy(t, s.ClientURL())
			c := streamtest.ConnectTo(t, proxy.URL())
			a, w := newAuthor("amber"), c.Writer("amber")
			fence := a.begin(t, w, 0)
			publish(t, w, fence, a.services(3, "warm")...) // the replicas are known from here on
			events := a.services(count, "s")
			before := lastSequence(t, direct, stream.EventsStream)

			proxy.HoldReplies()
			failed := make(chan error, 1)
			go func() {
				_, err := w.Publish(t.Context(), events, fence)
				failed <- err
			}()
			streamtest.Eventually(t, 5*time.Second, "the first message is stored", func() bool {
				return lastSequence(t, direct, stream.EventsStream) > before
			})
			proxy.Cut()
			began := time.Now()
			if err := <-failed; err == nil || is(err, registry.ErrFenced, registry.ErrConflict) {
				t.Fatalf("a publish without its acknowledgement: %v", err)
			}
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("the loss of the connection was noticed after %v", took)
			}
			proxy.Heal()
			insist(t, func() error { _, err := w.Publish(t.Context(), events, fence); return err })
			ids := storedIDs(t, direct)
			for n, e := range events {
				if got := ids[int(before)+n]; got != e.ID {
					t.Fatalf("message %d is %s, want %s", n, got, e.ID)
				}
			}
			if len(ids) != int(before)+count {
				t.Errorf("%d messages are stored, want %d", len(ids), int(before)+count)
			}
		})
	}
}

// insist repeats a call until it succeeds.
func insist(t testing.TB, call func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if err = call(); err == nil {
			return
		}
	}
	t.Fatalf("it never succeeded: %v", err)
}

func TestLostAcknowledgementOfEpochAndLease(t *testing.T) {
	s, direct := streamtest.Streams(t)
	proxy := streamtest.NewProxy(t, s.ClientURL())
	c := streamtest.ConnectTo(t, proxy.URL())
	a, w := newAuthor("amber"), c.Writer("amber")
	e := a.takeover()

	lose := func(name string, call func() error) {
		before := lastSequence(t, direct, name)
		proxy.HoldReplies()
		failed := make(chan error, 1)
		go func() { failed <- call() }()
		streamtest.Eventually(t, 5*time.Second, "it is stored", func() bool { return lastSequence(t, direct, name) > before })
		proxy.Cut()
		if err := <-failed; err == nil || is(err, registry.ErrConflict) {
			t.Fatalf("without its acknowledgement: %v", err)
		}
		proxy.Heal()
	}
	lose(stream.EventsStream, func() error { _, err := w.PutEpoch(t.Context(), e, 0); return err })
	insist(t, func() error {
		sequence, err := w.PutEpoch(t.Context(), e, 0)
		if err == nil && sequence != 1 {
			t.Errorf("the epoch is at %d, want 1", sequence)
		}
		return err
	})
	lose(stream.LeaseStream, func() error { _, err := w.PutLease(t.Context(), lease("amber", "one"), 0); return err })
	insist(t, func() error { _, err := w.PutLease(t.Context(), lease("amber", "one"), 0); return err })
	if n := lastSequence(t, direct, stream.EventsStream); n != 1 {
		t.Errorf("%d messages, want 1", n)
	}
}

// A tail goes on over a cut connection, a black hole and a restart of the server,
// with no gap and nothing twice.
func TestTailGoesOn(t *testing.T) {
	s, direct := streamtest.Streams(t)
	proxy := streamtest.NewProxy(t, s.ClientURL())
	reader := streamtest.ConnectTo(t, proxy.URL())
	a, w := newAuthor("amber"), direct.Writer("amber")
	fence := a.begin(t, w, 0)
	all := record(t, reader, stream.StartAt{Policy: stream.WholeHistory})
	latest := record(t, reader, stream.StartAt{})
	add := func() uint64 {
		insist(t, func() error { _, err := w.Publish(t.Context(), a.services(60, "s"), fence); return err })
		return lastSequence(t, direct, stream.EventsStream)
	}
	both := func(within time.Duration, sequence uint64) {
		t.Helper()
		began := time.Now()
		all.waitFor(t, within, sequence)
		latest.waitFor(t, within, sequence)
		t.Logf("all there after %v", time.Since(began).Round(time.Millisecond))
	}
	both(5*time.Second, add())

	t.Log("connection cut for 3 s")
	proxy.Cut()
	end := add()
	time.Sleep(3 * time.Second)
	proxy.Heal()
	both(5*time.Second, end)
	both(5*time.Second, add())

	t.Log("black hole until the pings notice")
	proxy.Hold()
	end = add()
	streamtest.Eventually(t, 15*time.Second, "the reader notices", func() bool { return !reader.Connected() })
	proxy.Heal()
	both(10*time.Second, end)

	t.Log("server restarted")
	stopped := streamtest.Stop(t, s)
	time.Sleep(500 * time.Millisecond)
	streamtest.StartAgain(t, stopped)
	end = add()
	both(15*time.Second, end)
	all.wholeWithoutGap(t, end)
	if all.canonical() != latest.canonical() {
		t.Error("the two folds differ")
	}
	latest.mu.Lock()
	defer latest.mu.Unlock()
	for n := 1; n < len(latest.messages); n++ {
		if latest.messages[n].Sequence <= latest.messages[n-1].Sequence {
			t.Fatalf("sequence %d came after %d", latest.messages[n].Sequence, latest.messages[n-1].Sequence)
		}
	}
}

// A stream that was deleted and made again is noticed although the connection
// never broke.
func TestStreamMadeAnewEndsTheRead(t *testing.T) {
	_, c := streamtest.Streams(t)
	a, w := newAuthor("amber"), c.Writer("amber")
	fence := a.begin(t, w, 0)
	publish(t, w, fence, a.services(20, "s")...)
	r := record(t, c, stream.StartAt{})
	r.waitFor(t, 5*time.Second, 21)
	js := streamtest.JetStream(t, c)
	if err := js.DeleteStream(t.Context(), stream.EventsStream); err != nil {
		t.Fatal(err)
	}
	streamtest.Create(t, c, 1)
	done := make(chan error, 1)
	go func() {
		streamtest.Eventually(t, 20*time.Second, "the read ends", func() bool { return readEnded(r) != nil })
		done <- readEnded(r)
	}()
	if err := <-done; !errors.Is(err, stream.ErrStreamChanged) {
		t.Errorf("Read() = %v, want ErrStreamChanged", err)
	}
}

// readEnded returns the error of a read that has ended by itself.
func readEnded(r *recording) error {
	select {
	case <-r.ended:
		return r.stop()
	default:
		return nil
	}
}

func TestWatchesSurviveANewStream(t *testing.T) {
	_, c := streamtest.Streams(t)
	ctx, cancel := context.WithCancel(t.Context())
	got, done := make(chan string, 10), make(chan error, 1)
	go func() {
		done <- c.WatchLeases(ctx, func(l registry.Lease, _, _ time.Time) { got <- l.Agent })
	}()
	w := c.Writer("amber")
	if _, err := w.PutLease(t.Context(), lease("amber", "before"), 0); err != nil {
		t.Fatal(err)
	}
	if agent := <-got; agent != "before" {
		t.Fatalf("lease of %s", agent)
	}
	js := streamtest.JetStream(t, c)
	if err := js.DeleteStream(t.Context(), stream.LeaseStream); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond) // the watch finds none
	streamtest.Create(t, c, 1)
	insist(t, func() error { _, err := w.PutLease(t.Context(), lease("amber", "after"), 0); return err })
	select {
	case agent := <-got:
		if agent != "after" {
			t.Errorf("lease of %s", agent)
		}
	case <-time.After(15 * time.Second):
		t.Error("the lease in the new stream is not seen")
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("WatchLeases() = %v", err)
	}
}
