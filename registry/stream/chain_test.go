package stream_test

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
	"github.com/seamark-mesh/seamark/registry/stream/streamtest"
)

// sealed is a stored message with what its headers say of the chain.
type sealed struct {
	*jetstream.RawStreamMsg
	seal     stream.Seal
	link     stream.Link // as it is
	revision string
}

// chainOf reads the whole history by a way of its own.
func chainOf(t testing.TB, c *stream.Conn) []sealed {
	t.Helper()
	js := streamtest.JetStream(t, c)
	s, err := js.Stream(t.Context(), stream.EventsStream)
	if err != nil {
		t.Fatal(err)
	}
	var all []sealed
	for sequence := s.CachedInfo().State.FirstSeq; sequence <= s.CachedInfo().State.LastSeq; sequence++ {
		m, err := s.GetMsg(t.Context(), sequence)
		if err != nil {
			t.Fatal(err)
		}
		seal, found, err := stream.ReadSeal(m.Header)
		if err != nil || !found {
			t.Fatalf("message %d on %s: seal found %v, %v", sequence, m.Subject, found, err)
		}
		one := sealed{RawStreamMsg: m, seal: seal, link: stream.LinkOf(m.Subject, m.Header, m.Data), revision: m.Header.Get("Seamark-Revision")}
		if one.link != seal.Link {
			t.Fatalf("message %d on %s says that it is %v, and is %v", sequence, m.Subject, seal.Link, one.link)
		}
		all = append(all, one)
	}
	return all
}

// follows fails unless each message names the one before it.
func follows(t testing.TB, all []sealed) {
	t.Helper()
	for n := 1; n < len(all); n++ {
		if all[n].seal.Previous != all[n-1].link {
			t.Errorf("message %d (revision %s) names %v, the one before it is %v", all[n].Sequence, all[n].revision, all[n].seal.Previous, all[n-1].link)
		}
	}
}

func TestChainJoinsSinglesBatchesNotesAndRefreshes(t *testing.T) {
	_, c := streamtest.Streams(t)
	a, w := newAuthor("amber"), c.Writer("amber")
	fence := a.begin(t, w, 0)
	publish(t, w, fence, a.service("one", 1))
	publish(t, w, fence, a.services(60, "batch")...) // more than batchAboveSingle
	publish(t, w, fence, a.services(5, "single")...)
	refresh := a.takeover()
	refresh.Cause = registry.CauseRefresh
	fence, err := w.PutEpoch(t.Context(), refresh, fence)
	if err != nil {
		t.Fatal(err)
	}
	publish(t, w, fence, a.service("large", 12_000)) // is compressed, and cut
	publish(t, w, fence, a.service("last", 1))
	all := chainOf(t, c)
	if want := 1 + 1 + 60 + 5 + 1 + 1 + 1; len(all) != want {
		t.Fatalf("%d messages are stored, want %d", len(all), want)
	}
	if all[0].seal.Previous != (stream.Link{}) || all[1].seal.Joins != nil {
		t.Errorf("the first epoch names something before it: %+v, %+v", all[0].seal, all[1].seal)
	}
	if all[68].Header.Get("Content-Encoding") != "gzip" {
		t.Error("the large service is not compressed: the test tests too little")
	}
	follows(t, all)
}

// What was stored although its acknowledgement was lost is sent again identically, and
// what comes after it follows the same message.
func TestChainHoldsWhenTheAcknowledgementIsLost(t *testing.T) {
	server, direct := streamtest.Streams(t)
	proxy := streamtest.NewProxy(t, server.ClientURL())
	c, err := stream.Connect(t.Context(), stream.ConnectConfig{Servers: []string{proxy.URL()}, Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	a, w := newAuthor("amber"), c.Writer("amber")
	fence := a.begin(t, w, 0)
	for _, count := range []int{1, 3, 60} {
		publish(t, w, fence, a.services(3, "before")...) // so that it has asked how many replicas there are
		events, had := a.services(count, fmt.Sprintf("unheard-%d", count)), lastSequence(t, direct, stream.EventsStream)
		proxy.HoldReplies()
		short, stop := context.WithCancel(t.Context())
		unheard := make(chan error, 1)
		go func() {
			_, err := w.Publish(short, events, fence)
			unheard <- err
		}()
		for deadline := time.Now().Add(20 * time.Second); lastSequence(t, direct, stream.EventsStream) == had; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("nothing is stored")
			}
		}
		stop()
		if err := <-unheard; err == nil {
			t.Fatal("Publish was acknowledged through a proxy that holds the replies")
		}
		proxy.Cut()
		proxy.Heal()
		insist(t, func() error { _, err := w.Publish(t.Context(), events, fence); return err })
	}
	publish(t, w, fence, a.service("after", 1))
	all := chainOf(t, direct)
	if want := 1 + 3 + 1 + 3 + 3 + 3 + 60 + 1; len(all) != want {
		t.Fatalf("%d messages are stored, want %d", len(all), want)
	}
	follows(t, all)
}

// An epoch's first record names the record before it, and its second message the last
// other message that stood before: nothing can be cut from an epoch's end unseen.
func TestChainJoinsTheEpochBefore(t *testing.T) {
	for _, reads := range []bool{true, false} { // the agent reads back, the observer does not
		t.Run(fmt.Sprintf("reads back %v", reads), func(t *testing.T) {
			_, c := streamtest.Streams(t)
			old, w := newAuthor("amber"), c.Writer("amber")
			fence := old.begin(t, w, 0)
			publish(t, w, fence, old.services(3, "svc")...)
			late := old.service("late", 1) // made, and never stored

			lone := old.successor() // takes over and ends at once
			second := c.Writer("amber")
			fence2 := lone.begin(t, second, fence)
			if _, err := w.Publish(t.Context(), []*registry.Event{late}, fence); !errors.Is(err, registry.ErrFenced) {
				t.Fatalf("the old epoch is not fenced: %v", err)
			}

			next, third := lone.successor(), c.Writer("amber")
			fence3 := next.begin(t, third, fence2)
			if reads {
				if _, err := third.Load(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			publish(t, third, fence3, next.service("svc-0", 2))
			publish(t, third, fence3, next.service("svc-1", 2))

			all := chainOf(t, c)
			if len(all) != 1+3+1+1+2 {
				t.Fatalf("%d messages are stored", len(all))
			}
			if all[4].seal.Previous != all[0].link || all[5].seal.Previous != all[4].link {
				t.Errorf("the epoch records name %v and %v, want the records before them", all[4].seal.Previous, all[5].seal.Previous)
			}
			want := stream.Join{Epoch: old.epoch, Revision: 4, Link: all[3].link}
			if got := all[6].seal.Joins; got == nil || *got != want {
				t.Errorf("the third epoch joins %v, want %v", got, want)
			}
			if all[7].seal.Joins != nil {
				t.Errorf("the message after it joins %v", all[7].seal.Joins)
			}
			follows(t, all[5:])
		})
	}
}

// seed signs with a key that is made for the test.
type seed struct{ private ed25519.PrivateKey }

func (s seed) Public() string                        { return "UTEST" }
func (s seed) Sign(statement []byte) ([]byte, error) { return ed25519.Sign(s.private, statement), nil }

func TestEveryMessageIsSignedByItself(t *testing.T) {
	_, c := streamtest.Streams(t)
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	c.SignWith(seed{private})
	a, w := newAuthor("amber"), c.Writer("amber")
	fence := a.begin(t, w, 0)
	publish(t, w, fence, a.services(3, "single")...)
	publish(t, w, fence, a.services(60, "batch")...)
	if err := c.OrderResync(t.Context(), "amber", "a test"); err != nil {
		t.Fatal(err)
	}
	all := chainOf(t, c)
	if len(all) != 1+3+60+1 {
		t.Fatalf("%d messages are stored", len(all))
	}
	for _, m := range all {
		if m.seal.Key != "UTEST" || !ed25519.Verify(public, stream.Statement(m.link), m.seal.Signature) {
			t.Errorf("message %d on %s: key %q, the signature does not fit", m.Sequence, m.Subject, m.seal.Key)
		}
	}
	c.SignWith(nil)
	publish(t, w, fence, a.service("unsigned", 1))
	if last := chainOf(t, c)[len(all)]; last.seal.Signature != nil || last.seal.Previous != all[len(all)-2].link {
		t.Errorf("after signing has ended: %+v", last.seal)
	}
}

// Whatever is changed in a message that readers look at changes its link.
func TestLinkCoversTheMessage(t *testing.T) {
	header := func(change func(h map[string][]string)) map[string][]string {
		h := map[string][]string{
			"Nats-Msg-Id": {"amber-1-2-x"}, "Seamark-Epoch": {"1"}, "Seamark-Revision": {"2"}, "Content-Type": {"application/json"},
			stream.HeaderPrevious: {"p"}, stream.HeaderChain: {"c"},
		}
		if change != nil {
			change(h)
		}
		return h
	}
	set := func(name string, values ...string) map[string][]string {
		return header(func(h map[string][]string) { h[name] = values })
	}
	const subject = "mesh.v1.amber.svc.default.x"
	is := stream.LinkOf(subject, header(nil), []byte("body"))
	for name, other := range map[string]stream.Link{
		"subject":          stream.LinkOf("mesh.v1.amber.svc.default.y", header(nil), []byte("body")),
		"body":             stream.LinkOf(subject, header(nil), []byte("Body")),
		"a longer body":    stream.LinkOf(subject, header(nil), []byte("body ")),
		"id":               stream.LinkOf(subject, set("Nats-Msg-Id", "amber-1-2-y"), []byte("body")),
		"epoch":            stream.LinkOf(subject, set("Seamark-Epoch", "2"), []byte("body")),
		"revision":         stream.LinkOf(subject, set("Seamark-Revision", "3"), []byte("body")),
		"what is before":   stream.LinkOf(subject, set(stream.HeaderPrevious, "q"), []byte("body")),
		"a join":           stream.LinkOf(subject, set(stream.HeaderJoins, "1.2.x"), []byte("body")),
		"content encoding": stream.LinkOf(subject, set("Content-Encoding", "gzip"), []byte("body")),
		"a second value":   stream.LinkOf(subject, set("Seamark-Epoch", "1", "1"), []byte("body")),
		"a new header":     stream.LinkOf(subject, set("ce-type", "x"), []byte("body")),
	} {
		if other == is {
			t.Errorf("%s: the link is the same", name)
		}
	}
	for name, same := range map[string]map[string][]string{
		"the claim":            set(stream.HeaderChain, "d"),
		"the signature":        set(stream.HeaderSignature, "s"),
		"the server's":         set("Nats-Sequence", "7"),
		"the fence":            set("Nats-Expected-Last-Subject-Sequence", "7"),
		"its place in a batch": set("Nats-Batch-Sequence", "7"),
	} {
		if stream.LinkOf(subject, same, []byte("body")) != is {
			t.Errorf("%s: the link is another", name)
		}
	}
}

func TestReadSealRefusesWhatIsNotWellFormed(t *testing.T) {
	link := stream.LinkOf("x", nil, nil).String()
	signature := base64.RawURLEncoding.EncodeToString(make([]byte, 64))
	good := map[string][]string{
		stream.HeaderChain: {link}, stream.HeaderPrevious: {link}, stream.HeaderJoins: {"1.2." + link}, stream.HeaderKey: {"U"}, stream.HeaderSignature: {signature},
	}
	if s, found, err := stream.ReadSeal(good); err != nil || !found || s.Joins == nil || s.Joins.String() != "1.2."+link || len(s.Signature) != 64 {
		t.Fatalf("a good seal: %+v, %v, %v", s, found, err)
	}
	if _, found, err := stream.ReadSeal(map[string][]string{"Seamark-Epoch": {"1"}}); found || err != nil {
		t.Errorf("no seal: found %v, %v", found, err)
	}
	for name, value := range map[string][]string{
		stream.HeaderChain: {link + "A"}, stream.HeaderPrevious: {"…"}, stream.HeaderJoins: {"1.2"}, stream.HeaderKey: nil, stream.HeaderSignature: {"?"},
	} {
		bad := maps.Clone(good)
		bad[name] = value
		if _, found, err := stream.ReadSeal(bad); !found || err == nil {
			t.Errorf("%s as %q: found %v, %v", name, value, found, err)
		}
		bad[name] = append([]string{good[name][0]}, good[name]...)
		if _, _, err := stream.ReadSeal(bad); err == nil {
			t.Errorf("%s twice is taken", name)
		}
	}
	if _, err := stream.ParseLink(link[:42] + "/"); err == nil {
		t.Error("a link in another alphabet is taken")
	}
}
