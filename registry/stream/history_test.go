package stream_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
	"github.com/seamark-mesh/seamark/registry/stream/streamtest"
)

// readAll is what [stream.History.Read] gives.
func readAll(t *testing.T, h *stream.History, r stream.HistoryRange) (all []registry.Stored) {
	t.Helper()
	if err := h.Read(t.Context(), r, func(m registry.Stored) error { all = append(all, m); return nil }); err != nil {
		t.Fatalf("Read(%+v): %v", r, err)
	}
	return all
}

func latestOf(t *testing.T, h *stream.History, before uint64, filters ...string) (all []registry.Stored) {
	t.Helper()
	if err := h.Latest(t.Context(), before, filters, func(m registry.Stored) error { all = append(all, m); return nil }); err != nil {
		t.Fatalf("Latest(%d, %d filters): %v", before, len(filters), err)
	}
	return all
}

// same reports whether two messages are alike, to the header that is lacking or empty.
func same(a, b registry.Stored) bool {
	return a.Sequence == b.Sequence && a.Time.Equal(b.Time) && a.Subject == b.Subject && bytes.Equal(a.Body, b.Body) &&
		(a.Header == nil) == (b.Header == nil) && maps.EqualFunc(a.Header, b.Header, slices.Equal)
}

// scan is what Latest should give, by looking at every message.
func scan(all []registry.Stored, before uint64, wanted func(subject string) bool) []registry.Stored {
	last := map[string]registry.Stored{}
	for _, m := range all {
		if m.Sequence < before && wanted(m.Subject) {
			last[m.Subject] = m
		}
	}
	return slices.SortedFunc(maps.Values(last), func(a, b registry.Stored) int { return int(a.Sequence) - int(b.Sequence) })
}

// jumble stores messages of many subjects, some of them strange, and returns how many.
func jumble(t *testing.T, c *stream.Conn, count, subjects int) {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	for n := range count {
		m := nats.NewMsg(fmt.Sprintf("mesh.v1.c%d.svc.shop.s%d", random.IntN(3), random.IntN(min(subjects, 1+n))))
		switch random.IntN(20) {
		case 0:
			m.Subject = fmt.Sprintf("mesh.v1._operator.order.drain.c%d", random.IntN(3))
		case 1:
			m.Subject = fmt.Sprintf("mesh.v1.c%d.cluster", random.IntN(3))
		case 2:
			m.Header["Nats-Sequence"] = []string{"7", "8"} // the server's own come after these
			m.Header["nats-subject"] = []string{"forged"}
			m.Header["Status"] = []string{"404"}
		case 3:
			m.Header = nil
		}
		if m.Header != nil {
			m.Header["Seamark-Epoch"] = []string{fmt.Sprint(n)}
		}
		m.Data = []byte(strings.Repeat("x", random.IntN(200)))
		if err := c.NATS().PublishMsg(m); err != nil {
			t.Fatal(err)
		}
	}
	streamtest.Eventually(t, 30*time.Second, "all is stored", func() bool {
		state, err := c.State(t.Context())
		return err == nil && state.Last >= uint64(count)
	})
}

// Whatever way Latest takes (asking, reading backwards in large or small parts, asking
// for what is missing), it gives what a look at every message gives.
func TestLatestGivesTheLastMessageBeforeASequence(t *testing.T) {
	_, c := streamtest.Streams(t)
	const count = 6000
	jumble(t, c, count, 1500)
	h := c.History()
	all := readAll(t, h, stream.HistoryRange{})
	if len(all) != count {
		t.Fatalf("Read gives %d messages of %d", len(all), count)
	}
	some := []string{"mesh.v1.c1.svc.shop.s3", "mesh.v1.*.svc.shop.s0", "mesh.v1._operator.order.>", "mesh.v1.*.cluster", "mesh.v1.nobody.cluster"}
	var many []string
	for n := range 700 {
		many = append(many, fmt.Sprintf("mesh.v1.c%d.svc.shop.s%d", n%3, n))
	}
	tests := map[string][]string{"all": nil, "some": some, "one writer": {"mesh.v1.c2.>"}, "many": many, "services": {"mesh.v1.*.svc.*.*"}}
	for name, filters := range tests {
		for _, part := range []uint64{1 << 20, 900, 200} {
			for _, before := range []uint64{0, 2, 17, count / 2, count + 1, count + 1000} {
				want := scan(all, before, func(s string) bool {
					return len(filters) == 0 || slices.ContainsFunc(filters, func(f string) bool { return stream.Matches(f, s) })
				})
				got := latestOf(t, h.InParts(part), before, filters...)
				if len(got) != len(want) {
					t.Fatalf("%s in parts of %d: Latest(%d) gives %d messages, want %d", name, part, before, len(got), len(want))
				}
				for n := range got {
					if !same(got[n], want[n]) {
						t.Fatalf("%s in parts of %d: Latest(%d) gives\n%+v, want\n%+v", name, part, before, got[n], want[n])
					}
				}
			}
		}
	}
}

func TestReadGivesARangeWithFilters(t *testing.T) {
	_, c := streamtest.Streams(t)
	const count = 3000
	jumble(t, c, count, 100)
	h := c.History()
	all := readAll(t, h, stream.HistoryRange{})
	for _, filters := range [][]string{nil, {"mesh.v1.c1.svc.shop.s3"}, {"mesh.v1.*.cluster", "mesh.v1._operator.>"}, {"mesh.v1.nobody.cluster"}} {
		for _, r := range [][2]uint64{{0, 0}, {1, 1}, {5, 5}, {100, 2000}, {2990, 0}, {2990, 9999}, {3000, 3000}, {3001, 0}, {4000, 5000}, {9, 3}} {
			var want []uint64
			for _, m := range all {
				if m.Sequence >= r[0] && (r[1] == 0 || m.Sequence <= r[1]) &&
					(len(filters) == 0 || slices.ContainsFunc(filters, func(f string) bool { return stream.Matches(f, m.Subject) })) {
					want = append(want, m.Sequence)
				}
			}
			var got []uint64
			for _, m := range readAll(t, h, stream.HistoryRange{From: r[0], To: r[1], Filter: filters}) {
				got = append(got, m.Sequence)
			}
			if !slices.Equal(got, want) {
				t.Errorf("Read %v of %v gives %d messages, want %d", r, filters, len(got), len(want))
			}
		}
	}
}

func TestReadFollows(t *testing.T) {
	_, c := streamtest.Streams(t)
	jumble(t, c, 50, 10)
	ctx, cancel := context.WithCancel(t.Context())
	var got []uint64
	err := c.History().Read(ctx, stream.HistoryRange{From: 40, Follow: true}, func(m registry.Stored) error {
		got = append(got, m.Sequence)
		if m.Sequence == 50 {
			for range 5 {
				if err := c.NATS().Publish("mesh.v1.c1.cluster", []byte("later")); err != nil {
					return err
				}
			}
		}
		if m.Sequence == 55 {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) || len(got) != 16 || got[0] != 40 || got[15] != 55 {
		t.Errorf("following gave %v and %v, want 40 to 55 and context.Canceled", got, err)
	}
}

func TestSequenceAtATime(t *testing.T) {
	_, c := streamtest.Streams(t)
	h := c.History()
	at := func(when time.Time) uint64 {
		t.Helper()
		sequence, err := h.SequenceAt(t.Context(), when)
		if err != nil {
			t.Fatal(err)
		}
		return sequence
	}
	if got := at(time.Now()); got != 1 {
		t.Errorf("SequenceAt of an empty stream is %d, want 1", got)
	}
	jumble(t, c, 500, 10)
	all := readAll(t, h, stream.HistoryRange{})
	for _, m := range all {
		for _, when := range []time.Time{m.Time, m.Time.Add(1), m.Time.Add(-1)} {
			want := uint64(len(all) + 1)
			for _, o := range slices.Backward(all) {
				if !o.Time.Before(when) {
					want = o.Sequence
				}
			}
			if got := at(when); got != want {
				t.Fatalf("SequenceAt(%v) is %d, want %d", when, got, want)
			}
		}
	}
	if got := at(time.Now().Add(time.Hour)); got != 501 {
		t.Errorf("SequenceAt of the future is %d, want 501", got)
	}
	if got := at(time.Time{}.Add(time.Hour)); got != 1 {
		t.Errorf("SequenceAt of long ago is %d, want 1", got)
	}
}

// Who may do no more than the documented list can read all of the history.
func TestHistoryNeedsNoMoreThanItsPermissions(t *testing.T) {
	s := streamtest.StartWith(t, func(o *server.Options) {
		o.Users = []*server.User{
			{Username: "admin", Password: "admin"},
			{Username: "auditor", Password: "auditor", Permissions: &server.Permissions{
				Publish:   &server.SubjectPermission{Allow: stream.HistoryPermissions()},
				Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX_auditor.>"}},
			}},
		}
	})
	at := func(name string) string { return "nats://" + name + ":" + name + "@" + s.ClientURL()[len("nats://"):] }
	admin := streamtest.ConnectTo(t, at("admin"))
	streamtest.Create(t, admin, 1)
	jumble(t, admin, 2000, 300)
	c, err := stream.Connect(t.Context(), stream.ConnectConfig{Servers: []string{at("auditor")}, InboxPrefix: "_INBOX_auditor", Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	h := c.History()
	if all := readAll(t, h, stream.HistoryRange{Filter: []string{"mesh.v1.*.cluster", "mesh.v1._operator.>"}}); len(all) == 0 {
		t.Error("nothing is read with filters")
	}
	all := readAll(t, h, stream.HistoryRange{})
	if got := latestOf(t, h.InParts(100), 1500); len(got) == 0 || len(all) != 2000 {
		t.Errorf("%d of all and %d of the latest are read", len(all), len(got))
	}
	if got := latestOf(t, h, 1500, "mesh.v1.*.cluster"); len(got) != 3 {
		t.Errorf("%d of the latest of 3 are read", len(got))
	}
	if sequence, err := h.SequenceAt(t.Context(), all[700].Time); err != nil || sequence > 701 || sequence < 1 {
		t.Errorf("SequenceAt gives %d, %v", sequence, err)
	}
	if err := c.NATS().Publish("mesh.v1.c1.cluster", []byte("no")); err != nil {
		t.Fatal(err)
	}
	if span, err := h.Span(t.Context()); err != nil || span.Last != 2000 || span.First != 1 || span.Began != 1 {
		t.Errorf("Span is %+v, %v: an auditor has written", span, err)
	}
}

func TestLatestOnReplicas(t *testing.T) {
	servers := streamtest.Cluster(t, 3)
	c := streamtest.Connect(t, servers...)
	streamtest.Create(t, c, 3)
	jumble(t, c, 1000, 100)
	h := c.History()
	all := readAll(t, h, stream.HistoryRange{})
	for range 20 {
		before := all[len(all)-1].Sequence + 1
		if got, want := latestOf(t, h, before, "mesh.v1.*.svc.shop.s3"), scan(all, before, func(s string) bool { return strings.HasSuffix(s, ".s3") }); !slices.EqualFunc(got, want, same) {
			t.Fatalf("Latest gives %d messages, want %d", len(got), len(want))
		}
	}
}
