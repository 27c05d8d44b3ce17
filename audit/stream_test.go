package audit

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
	"github.com/seamark-mesh/seamark/registry/stream/streamtest"
)

// onStream stores a history in memory on a real stream, with the times that it then has.
func onStream(t *testing.T, from *tape) (History, *tape) {
	t.Helper()
	_, c := streamtest.Streams(t)
	for _, m := range from.all {
		if !stored(m.Subject) {
			continue // the stream takes no such subject
		}
		if err := c.NATS().PublishMsg(&nats.Msg{Subject: m.Subject, Header: nats.Header(m.Header), Data: m.Body}); err != nil {
			t.Fatal(err)
		}
	}
	h := OfStream(c)
	want := len(slices.DeleteFunc(slices.Clone(from.all), func(m registry.Stored) bool { return !stored(m.Subject) }))
	streamtest.Eventually(t, 30*time.Second, "all is stored", func() bool {
		span, err := h.Span(t.Context())
		return err == nil && span.Last == uint64(want)
	})
	copied := &tape{}
	for m, err := range h.Read(t.Context(), Range{}) {
		if err != nil {
			t.Fatal(err)
		}
		copied.all = append(copied.all, m)
	}
	return h, copied
}

func stored(subject string) bool {
	return subject != "mesh.v1.FOREIGN.thing" && subject != "mesh.v1.C0.svc.x"
}

// A real stream answers as the history in memory does.
func TestTheStreamIsAHistory(t *testing.T) {
	m := newMesh(1, 3)
	m.noise = true
	m.now = time.Now().Add(-time.Hour) // epochs may not be ahead of when they are stored
	m.start()
	m.hours(12, true)
	h, all := onStream(t, &m.tape)
	last := uint64(len(all.all))
	for _, to := range []uint64{1, 2, last / 3, last / 2, last - 1, last} {
		for _, few := range []uint64{0, fewMessages} {
			got, err := at(t.Context(), h, all.moment(to), few)
			if err != nil {
				t.Fatal(err)
			}
			mustEqualViews(t, "on the stream", got, all.foldAll(to))
		}
		key := m.key()
		fromStream, fromTape := originsAt(t, h, all.moment(to), key), originsAt(t, all, all.moment(to), key)
		if text(t, fromStream) != text(t, fromTape) {
			t.Errorf("#%d: %s comes from\n%s, in memory from\n%s", to, key, text(t, fromStream), text(t, fromTape))
		}
	}
	for _, q := range []Query{{}, {Service: m.key()}, {Cluster: "c1"}, {Kinds: []Kind{Note, Order}}, {Limit: 7, Newest: true}, {Since: When{Time: all.all[30].Time}}} {
		if got, want := text(t, logOf(t, h, q)), text(t, logOf(t, all, q)); got != want {
			t.Errorf("Log(%+v) gives\n%s, in memory\n%s", q, got, want)
		}
	}
	if b, err := bounds(t.Context(), h); err != nil || b.earliest.Sequence != 1 {
		t.Errorf("bounds is %+v, %v", b, err)
	}
}

func TestLogFollows(t *testing.T) {
	_, c := streamtest.Streams(t)
	h := OfStream(c)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	publish := func() {
		if err := c.NATS().Publish("mesh.v1.c0.svc.shop.orders", []byte("garbage")); err != nil {
			t.Error(err)
		}
	}
	publish()
	count := 0
	for e, err := range Log(ctx, h, Query{Service: registry.ServiceKey{Namespace: "shop", Name: "orders"}, Follow: true}) {
		if err != nil {
			if !errors.Is(err, context.Canceled) {
				t.Errorf("Log ends with %v", err)
			}
			break
		}
		if count++; e.Sequence != uint64(count) {
			t.Errorf("entry %d is #%d", count, e.Sequence)
		}
		if count == 3 {
			cancel()
			continue
		}
		publish()
	}
	if count != 3 {
		t.Errorf("%d entries, want 3", count)
	}
}

func TestWatchedTellsProgress(t *testing.T) {
	t.Parallel()
	m := newMesh(1, 2)
	m.start()
	m.hours(10, true)
	var told []Progress
	v, err := At(t.Context(), Watched(&m.tape, func(p Progress) { told = append(told, p) }), m.moment(20))
	if err != nil {
		t.Fatal(err)
	}
	if len(told) != 1 || told[0] != (Progress{Read: 20, Sequence: 20}) {
		t.Errorf("told was %v", told)
	}
	if !bytes.Equal(v.AppendCanonical(nil), m.foldAll(20).AppendCanonical(nil)) {
		t.Error("the View is another one when it is watched")
	}
}

// How long the stream keeps messages, and whether it has room for them, is the stream's own word.
func TestSpanTellsWhatTheStreamKeeps(t *testing.T) {
	_, c := streamtest.Streams(t)
	js := streamtest.JetStream(t, c)
	for range 3 {
		if _, err := c.NATS().Request("mesh.v1.amber.svc.default.checkout", make([]byte, 10_000), 20*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	for name, test := range map[string]struct {
		change func(*jetstream.StreamConfig)
		want   stream.Retention
	}{
		"as it was":         {func(*jetstream.StreamConfig) {}, stream.Retention{Age: 30 * 24 * time.Hour}},
		"for ever":          {func(s *jetstream.StreamConfig) { s.MaxAge = 0 }, stream.Retention{}},
		"less":              {func(s *jetstream.StreamConfig) { s.MaxAge = time.Hour }, stream.Retention{Age: time.Hour}},
		"room for more":     {func(s *jetstream.StreamConfig) { s.MaxAge, s.MaxBytes = 0, 1<<20 }, stream.Retention{}},
		"no more bytes":     {func(s *jetstream.StreamConfig) { s.MaxAge, s.MaxBytes = 0, 32_000 }, stream.Retention{Full: true}},
		"no more, by count": {func(s *jetstream.StreamConfig) { s.MaxAge, s.MaxMsgs = 0, 3 }, stream.Retention{Full: true}},
	} {
		s, err := js.Stream(t.Context(), stream.EventsStream)
		if err != nil {
			t.Fatal(err)
		}
		before := s.CachedInfo().Config
		changed := before
		test.change(&changed)
		if _, err := js.UpdateStream(t.Context(), changed); err != nil {
			t.Fatal(err)
		}
		if span, err := OfStream(c).Span(t.Context()); err != nil || span.Retention == nil || *span.Retention != test.want || span.Last != 3 {
			t.Errorf("%s: %+v, %+v, %v", name, span, span.Retention, err)
		}
		if _, err := js.UpdateStream(t.Context(), before); err != nil {
			t.Fatal(err)
		}
	}
}
