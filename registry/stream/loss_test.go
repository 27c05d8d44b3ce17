package stream_test

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seamark-mesh/seamark/e2e/servers"
	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
	"github.com/seamark-mesh/seamark/registry/stream/streamtest"
)

// A server is killed while messages are written and read, several times: what was
// acknowledged is there once, and the tails have all of it.
func TestKilledServer(t *testing.T) {
	s := servers.NATS(t, servers.NATSConfig{})
	c := streamtest.ConnectTo(t, s.URL)
	streamtest.Create(t, c, 1)
	a, w := newAuthor("amber"), c.Writer("amber")
	fence := a.begin(t, w, 0)
	reader := streamtest.ConnectTo(t, s.URL)
	all := record(t, reader, stream.StartAt{Policy: stream.WholeHistory})
	latest := record(t, reader, stream.StartAt{})

	stop, written := make(chan struct{}), make(chan []*registry.Event, 1)
	go func() {
		var done []*registry.Event
		defer func() { written <- done }()
		for round := 0; ; round++ {
			select {
			case <-stop:
				return
			default:
			}
			events := a.services([]int{1, 3, 60}[round%3], "s")
			insist(t, func() error { _, err := w.Publish(t.Context(), events, fence); return err })
			done = append(done, events...)
		}
	}()
	for range 3 {
		time.Sleep(700 * time.Millisecond)
		if err := s.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := s.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(300 * time.Millisecond)
	close(stop)
	events := <-written
	end := lastSequence(t, c, stream.EventsStream)
	all.waitFor(t, 20*time.Second, end)
	latest.waitFor(t, 20*time.Second, end)
	all.wholeWithoutGap(t, end)
	if all.canonical() != latest.canonical() {
		t.Error("the two folds differ")
	}
	stored := map[string]int{}
	for _, m := range all.messages {
		stored[m.Event.ID]++
	}
	for _, e := range events {
		if stored[e.ID] != 1 {
			t.Errorf("%s is stored %d times", e.ID, stored[e.ID])
		}
	}
	t.Logf("%d events, %d messages", len(events), end)
}

// The leader of a replicated stream goes and comes back.
func TestLostLeader(t *testing.T) {
	cluster := streamtest.Cluster(t, 3)
	c := streamtest.Connect(t, cluster...)
	streamtest.Create(t, c, 3)
	a, w := newAuthor("amber"), c.Writer("amber")
	fence := a.begin(t, w, 0)
	r := record(t, streamtest.Connect(t, cluster...), stream.StartAt{Policy: stream.WholeHistory})
	var events []*registry.Event
	add := func(count int) {
		t.Helper()
		some := a.services(count, "s")
		insist(t, func() error { _, err := w.Publish(t.Context(), some, fence); return err })
		events = append(events, some...)
	}
	add(100)
	leader := leaderOf(t, c, cluster)
	leader.Shutdown()
	leader.WaitForShutdown()
	began := time.Now()
	add(1)
	t.Logf("written again after %v", time.Since(began).Round(time.Millisecond))
	add(100)
	end := uint64(len(events) + 1)
	r.waitFor(t, 30*time.Second, end)
	r.wholeWithoutGap(t, end)
	messages, err := w.Load(t.Context())
	if err != nil || len(messages) != 101 {
		t.Errorf("%d facts, %v; want 101", len(messages), err)
	}
	var newFence uint64
	next := a.successor().takeover()
	insist(t, func() error { newFence, err = c.Writer("amber").PutEpoch(t.Context(), next, fence); return err })
	if newFence <= fence {
		t.Errorf("fence %d after %d", newFence, fence)
	}
	if _, err := w.Publish(t.Context(), a.services(3, "stale"), fence); !errors.Is(err, registry.ErrFenced) {
		t.Errorf("a stale writer: %v", err)
	}
}

// leaderOf returns the server that leads the events' stream.
func leaderOf(t testing.TB, c *stream.Conn, cluster []*server.Server) *server.Server {
	t.Helper()
	js := streamtest.JetStream(t, c)
	s, err := js.Stream(t.Context(), stream.EventsStream)
	if err != nil {
		t.Fatal(err)
	}
	for _, server := range cluster {
		if server.Name() == s.CachedInfo().Cluster.Leader {
			return server
		}
	}
	t.Fatalf("no server is %s", s.CachedInfo().Cluster.Leader)
	return nil
}

// While the reader is cut off the stream becomes another one, in ways that no
// client library reports. It must not go on as if nothing had happened.
func TestStreamThatChangedUnseenEndsTheRead(t *testing.T) {
	for name, c := range map[string]struct {
		change func(t *testing.T, h *harbour)
		want   stream.Loss
	}{
		"made anew, shorter": {func(t *testing.T, h *harbour) {
			h.remake(t)
			h.write(t, 5)
		}, stream.Recreated},
		"made anew, longer": {func(t *testing.T, h *harbour) {
			h.remake(t)
			h.write(t, 300)
		}, stream.Recreated},
		"lost its end": {func(t *testing.T, h *harbour) { h.restore(t) }, stream.CutShort},
		"lost its end, written on": {func(t *testing.T, h *harbour) {
			h.restore(t)
			h.write(t, 300)
		}, stream.Replaced},
		"aged away": {func(t *testing.T, h *harbour) {
			h.write(t, 300)
			h.age(t)
		}, stream.Purged},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarbour(t)
			proxy := streamtest.NewProxy(t, h.server.ClientURL())
			r := record(t, streamtest.ConnectTo(t, proxy.URL()), stream.StartAt{})
			r.waitFor(t, 5*time.Second, lastSequence(t, h.conn, stream.EventsStream))
			r.waitCaughtUp(t)
			proxy.Cut()
			c.change(t, h)
			read := len(r.sequences())
			proxy.Heal()
			select {
			case <-r.ended:
			case <-time.After(15 * time.Second):
				t.Fatal("the read goes on")
			}
			if err := r.stop(); !errors.Is(err, stream.ErrStreamChanged) || stream.LossOf(err) != c.want {
				t.Errorf("Read() = %v (%s), want ErrStreamChanged for %s", err, stream.LossOf(err), c.want)
			}
			if n := len(r.sequences()); n != read {
				t.Errorf("%d messages of the changed stream were handed on", n-read)
			}
		})
	}
}

// harbour is a server whose stream can be tampered with.
type harbour struct {
	server *server.Server
	conn   *stream.Conn
	author *author
	copied string
	round  int
}

// newHarbour has written some, been copied, and written more.
func newHarbour(t *testing.T) *harbour {
	h := &harbour{author: newAuthor("amber")}
	h.server, h.conn = streamtest.Streams(t)
	h.write(t, 50)
	stopped := streamtest.Stop(t, h.server)
	h.copied = t.TempDir()
	if err := os.CopyFS(h.copied, os.DirFS(stopped.Dir())); err != nil {
		t.Fatal(err)
	}
	h.server = streamtest.StartAgain(t, stopped)
	h.await(t)
	h.write(t, 50)
	return h
}

func (h *harbour) await(t *testing.T) {
	t.Helper()
	streamtest.Eventually(t, 10*time.Second, "the connection is back", func() bool {
		_, err := h.conn.Now(t.Context())
		return h.conn.Connected() && (err == nil || errors.Is(err, jetstream.ErrStreamNotFound))
	})
}

func (h *harbour) write(t *testing.T, count int) {
	t.Helper()
	w := h.conn.Writer("amber")
	m, _, err := h.conn.Last(t.Context(), registry.Fact{Writer: "amber", Kind: registry.KindEpoch})
	if err != nil {
		t.Fatal(err)
	}
	h.author = h.author.successor()
	fence := h.author.begin(t, w, m.Sequence)
	h.round++
	publish(t, w, fence, h.author.services(count, fmt.Sprintf("r%d", h.round))...)
}

func (h *harbour) remake(t *testing.T) {
	t.Helper()
	js := streamtest.JetStream(t, h.conn)
	if err := js.DeleteStream(t.Context(), stream.EventsStream); err != nil {
		t.Fatal(err)
	}
	streamtest.Create(t, h.conn, 1)
}

// restore puts the copied store in the place of the present one.
func (h *harbour) restore(t *testing.T) {
	t.Helper()
	stopped := streamtest.Stop(t, h.server)
	if err := os.RemoveAll(stopped.Dir()); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(stopped.Dir(), os.DirFS(h.copied)); err != nil {
		t.Fatal(err)
	}
	h.server = streamtest.StartAgain(t, stopped)
	h.await(t)
}

// age deletes all but the last messages, as a short history does.
func (h *harbour) age(t *testing.T) {
	t.Helper()
	js := streamtest.JetStream(t, h.conn)
	s, err := js.Stream(t.Context(), stream.EventsStream)
	if err != nil {
		t.Fatal(err)
	}
	config := s.CachedInfo().Config
	config.MaxMsgs = 10
	if _, err := js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
}

// Many read, write and look at once over one connection that is cut again and again.
func TestManyAtOnceOverABadLine(t *testing.T) {
	s, direct := streamtest.Streams(t)
	proxy := streamtest.NewProxy(t, s.ClientURL())
	c := streamtest.ConnectTo(t, proxy.URL())
	var readers []*recording
	for range 3 {
		readers = append(readers, record(t, c, stream.StartAt{}))
	}
	for _, r := range readers {
		r.waitCaughtUp(t)
	}
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for _, cluster := range []registry.Writer{"amber", "bronze", "cobalt"} {
		wg.Go(func() {
			a, w := newAuthor(cluster), c.Writer(cluster)
			e := a.takeover()
			var fence uint64
			insist(t, func() (err error) { fence, err = w.PutEpoch(t.Context(), e, 0); return err })
			for round := 0; ; round++ {
				select {
				case <-stop:
					return
				default:
				}
				events := a.services([]int{1, 50, 2}[round%3], "s")
				insist(t, func() error { _, err := w.Publish(t.Context(), events, fence); return err })
				if round%10 == 0 {
					insist(t, func() error { _, err := w.Load(t.Context()); return err })
				}
			}
		})
	}
	for range 5 {
		time.Sleep(400 * time.Millisecond)
		proxy.Cut()
		time.Sleep(100 * time.Millisecond)
		proxy.Heal()
	}
	close(stop)
	wg.Wait()
	end := lastSequence(t, direct, stream.EventsStream)
	whole := record(t, direct, stream.StartAt{Policy: stream.WholeHistory})
	whole.waitFor(t, 20*time.Second, end)
	whole.wholeWithoutGap(t, end)
	seen := map[registry.Writer]uint64{}
	for _, m := range whole.messages {
		if m.Refused != nil {
			t.Fatalf("message %d: %v", m.Sequence, m.Refused)
		}
		if m.Revision != seen[m.Fact.Writer]+1 {
			t.Fatalf("%s: revision %d came after %d", m.Fact.Writer, m.Revision, seen[m.Fact.Writer])
		}
		seen[m.Fact.Writer] = m.Revision
	}
	for n, r := range readers {
		r.waitFor(t, 20*time.Second, end)
		if r.canonical() != whole.canonical() {
			t.Errorf("reader %d has another state than the history", n)
		}
	}
	t.Logf("%d messages", end)
}
