package observer_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seamark-mesh/seamark/liveness/observer"
	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
	"github.com/seamark-mesh/seamark/registry/stream/streamtest"
)

// TestTheObserversConfigurationIsTold on a real stream: once, before what is decided under
// it, and again when it is another one, by whichever observer.
func TestTheObserversConfigurationIsTold(t *testing.T) {
	server, conn := streamtest.Streams(t)
	agents(t, conn, clusters...)
	told := func(want ...registry.Note) func() bool {
		return func() bool {
			var notes []registry.Note
			for _, m := range historyOf(t, conn) {
				if n := m.Event.Note; m.Fact.Writer == registry.Observer && n != nil && n.Kind == registry.NoteConfiguration {
					notes = append(notes, *n)
				}
			}
			return cmp.Equal(want, notes)
		}
	}
	settings := func(revision, downAfter string) observer.Settings {
		s := observer.Settings{Lapse: quickLapse, DownAfter: time.Minute, ReportAge: 2 * time.Second}
		s.Configuration = registry.Configuration{Revision: revision, Fields: map[string]string{"observer.down_after": downAfter}}
		return s
	}
	a, b, c := settings("a", "5m"), settings("b", "1m"), settings("c", "2m")
	first := startNode(t, "one", streamtest.Connect(t, server))
	first.Reload(a)
	streamtest.Eventually(t, 5*time.Second, "the first one says it", told(a.Configuration.Note("", nil)))
	first.Reload(b)
	changed := []registry.Note{a.Configuration.Note("", nil), b.Configuration.Note("a", a.Configuration.Fields)}
	streamtest.Eventually(t, 5*time.Second, "it says what has changed", told(changed...))

	second := startNode(t, "two", streamtest.Connect(t, server))
	second.Reload(b)
	first.stop()
	streamtest.Eventually(t, 5*time.Second, "the second leads", leads(second))
	sleep(t.Context(), 500*time.Millisecond) // ten rounds
	if !told(changed...)() {
		t.Error("the second one repeats what is known")
	}
	third := startNode(t, "three", streamtest.Connect(t, server))
	third.Reload(c)
	second.stop()
	streamtest.Eventually(t, 10*time.Second, "the third one says that it has another", told(append(changed, c.Configuration.Note("b", nil))...))
	auditStream(t, conn)
}

// historyOf reads all that the stream holds and that can be used.
func historyOf(t *testing.T, conn *stream.Conn) (all []registry.Message) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	err := conn.Read(ctx, stream.StartAt{Policy: stream.WholeHistory}, func(b stream.Batch) error {
		for _, m := range b.Messages {
			if m.Event != nil {
				all = append(all, m)
			}
		}
		if b.CaughtUp {
			return context.Canceled
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	return all
}

// It is repeated in full before it ages out.
func TestTheObserversConfigurationIsRepeated(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		s := observer.DefaultSettings()
		s.Configuration = registry.Configuration{Revision: "a", Fields: map[string]string{"observer.lapse": "10s"}}
		w.start("one", observer.Timing{Refresh: time.Hour}, s) // a short day
		time.Sleep(90 * time.Minute)
		want := []registry.Note{s.Configuration.Note("", nil), s.Configuration.Note("", nil)}
		var notes []registry.Note
		for _, m := range w.history() {
			if n := m.Event.Note; n != nil && n.Kind == registry.NoteConfiguration {
				notes = append(notes, *n)
			}
		}
		if diff := cmp.Diff(want, notes); diff != "" {
			t.Error(diff)
		}
	})
}
