package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/api"
	"github.com/seamark-mesh/seamark/audit"
	"github.com/seamark-mesh/seamark/cmd/internal/auditing"
	"github.com/seamark-mesh/seamark/registry/stream"
	"github.com/seamark-mesh/seamark/registry/stream/streamtest"
)

// Every question by HTTP proved an aged history anew. What was proven is kept for as long
// as the stream is the same one, and no longer.
func TestAuditKeepsWhatWasProvenOfTheSameStream(t *testing.T) {
	_, conn := streamtest.Streams(t)
	note(t, conn, 0, 3)
	c := &connection{}
	c.reached.Store(conn)
	ask := func() *proven {
		t.Helper()
		if _, err := c.asker(t.Context()); err != nil {
			t.Fatal(err)
		}
		return c.remembered.latest.Load()
	}
	first := ask()
	note(t, conn, 3, 3)
	if again := ask(); again.Remembered != first.Remembered || again.span.Last != 6 {
		t.Errorf("up to #%d, the proofs of the first question are dropped: %v", again.span.Last, again.Remembered != first.Remembered)
	}

	other := ask()
	other.span.Last = 1000 // as if a copy of the stream had been put back since
	restored := ask()
	if restored.Remembered == first.Remembered {
		t.Error("a stream that has gone back keeps the proofs of what it was")
	}
	js := streamtest.JetStream(t, conn)
	if err := js.DeleteStream(t.Context(), stream.EventsStream); err != nil {
		t.Fatal(err)
	}
	streamtest.Create(t, conn, 1)
	note(t, conn, 6, 20)
	replaced := ask()
	if replaced.Remembered == restored.Remembered {
		t.Error("a stream that took the place of another one has its proofs")
	}
	second := streamtest.ConnectTo(t, conn.NATS().ConnectedUrl())
	c.reached.Store(second)
	if ask().Remembered == replaced.Remembered {
		t.Error("another connection has the proofs of the one before")
	}
}

// The future, and what is not written yet, are no faults of the server.
func TestAuditProblemsHaveTheirStatus(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		err    error
		status int
	}{
		"future":      {fmt.Errorf("at: %w", &audit.NotYetError{}), http.StatusBadRequest},
		"no zone":     {auditing.ErrNoZone, http.StatusBadRequest},
		"too early":   {&audit.TooEarlyError{}, http.StatusGone},
		"nobody knew": {auditing.ErrUnknown, http.StatusNotFound},
	} {
		var p *api.Problem
		if !errors.As(problem(test.err), &p) || p.Status != test.status {
			t.Errorf("%s is told as %v, want %d", name, p, test.status)
		}
	}
	if err := errors.New("the disk is full"); !errors.Is(problem(err), err) || errors.As(problem(err), new(*api.Problem)) {
		t.Errorf("any other error is told as %v", problem(err))
	}
}

// What the stream no longer holds was refused as too early by HTTP, although this same
// global-dns had archived it.
func TestQuestionsReachBackIntoTheArchive(t *testing.T) {
	_, c := streamtest.Streams(t)
	path := filepath.Join(t.TempDir(), "archive")
	asking := &connection{}
	asking.remembered.kept.path, asking.remembered.kept.logger = path, slog.New(slog.DiscardHandler)
	asking.reached.Store(c)
	logged := func() (first uint64, count int) {
		t.Helper()
		a, err := asking.asker(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for e, err := range a.Log(t.Context(), auditing.LogQuestion{}) {
			if err != nil {
				t.Fatal(err)
			}
			if count++; first == 0 {
				first = e.Sequence
			}
		}
		return first, count
	}
	note(t, c, 0, 30)
	if first, count := logged(); first != 1 || count != 30 { // there is no archive yet
		t.Errorf("%d entries from #%d", count, first)
	}
	a, _, stop := startArchive(t, path, c)
	streamtest.Eventually(t, time.Minute, "what is there is archived", reaches(a, 30))
	stop()
	js := streamtest.JetStream(t, c)
	s, err := js.Stream(t.Context(), stream.EventsStream)
	if err != nil {
		t.Fatal(err)
	}
	small := s.CachedInfo().Config
	small.MaxMsgs = 10 // as if the rest had aged out
	if _, err := js.UpdateStream(t.Context(), small); err != nil {
		t.Fatal(err)
	}
	note(t, c, 30, 5)
	if first, count := logged(); first != 1 || count != 35 {
		t.Errorf("%d entries from #%d, want 35 from #1", count, first)
	}
	joined := asking.remembered.latest.Load().joined
	if logged(); joined == nil || asking.remembered.latest.Load().joined != joined {
		t.Error("the archive is compared with the stream for every question")
	}
}
