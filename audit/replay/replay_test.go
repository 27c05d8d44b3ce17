package replay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seamark-mesh/seamark/dnsserver/ask"
	"github.com/seamark-mesh/seamark/registry"
)

// someHistory is that of two clusters, with a message that nobody can use in the middle.
func someHistory(tb testing.TB) memory {
	a := newAuthor(tb, "amber", "bronze")
	for n := range 20 {
		a.service("amber", "checkout", n%4)
		a.service("bronze", fmt.Sprintf("s%d", n%7), 1+n%3)
		if n == 9 {
			a.put(registry.Stored{Subject: "mesh.v1.amber.svc.default.checkout", Body: []byte("}{")})
		}
	}
	return a.all
}

// Wherever it begins and ends, it holds what a reader of the whole history held there.
func TestReplayEndsWhereTheHistoryWas(t *testing.T) {
	t.Parallel()
	h := someHistory(t)
	for _, reach := range [][2]uint64{{5, uint64(len(h))}, {1, 12}, {20, 40}, {30, 30}, {26, 27}, {27, 30}} {
		store := &registry.Store{}
		p, err := Run(t.Context(), Config{History: h, From: h.moment(reach[0]), To: h.moment(reach[1]), Store: store})
		if err != nil {
			t.Fatal(err)
		}
		have, want := store.View(), h.fold(reach[1])
		if !have.Synced() || have.Sequence() != want.Sequence() || !bytes.Equal(have.AppendCanonical(nil), want.AppendCanonical(nil)) {
			t.Errorf("from %d to %d it holds something else than the history (sequence %d, want %d)", reach[0], reach[1], have.Sequence(), want.Sequence())
		}
		if p.Phase != Over || p.Sequence != reach[1] || p.Events != int(reach[1]-reach[0]) || p.Done() != 1 {
			t.Errorf("from %d to %d it says %+v", reach[0], reach[1], p)
		}
	}
}

// What can't be used is counted, and the service keeps what stood before.
func TestReplayCountsWhatCantBeUsed(t *testing.T) {
	t.Parallel()
	h := someHistory(t)
	p, err := Run(t.Context(), Config{History: h, From: h.moment(10), To: h.moment(uint64(len(h)))})
	if err != nil || p.Unusable != 1 || p.FirstUnused == nil {
		t.Errorf("Run() = %+v, %v; want one that can't be used, and why", p, err)
	}
}

// Ten seconds of the history take one: each message is seen when it is due.
func TestReplayKeepsThePace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := someHistory(t)
		store := &registry.Store{}
		began := time.Now()
		seen := map[uint64]time.Duration{}
		var fractions []float64
		done := make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			defer close(done)
			for ctx.Err() == nil {
				changed := store.Changed()
				seen[store.View().Sequence()] = time.Since(began)
				select {
				case <-changed:
				case <-ctx.Done():
				}
			}
		}()
		last := h.moment(uint64(len(h)))
		last.Time = last.Time.Add(5 * time.Second)
		p, err := Run(t.Context(), Config{
			History: h, From: h.moment(10), To: last, Speed: 10, Store: store,
			Progress: func(p Progress) { fractions = append(fractions, p.Done()) },
		})
		if err != nil {
			t.Fatal(err)
		}
		took := time.Since(began)
		cancel()
		<-done
		for sequence := uint64(11); sequence <= uint64(len(h)); sequence++ {
			if want := time.Duration(sequence-10) * 100 * time.Millisecond; seen[sequence] != want {
				t.Errorf("sequence %d was seen after %v, want %v", sequence, seen[sequence], want)
			}
		}
		if want := last.Time.Sub(h.moment(10).Time) / 10; took != want || p.Took != want {
			t.Errorf("it took %v and says %v, want %v", took, p.Took, want)
		}
		if !slices.IsSorted(fractions) || fractions[0] != 0 || fractions[len(fractions)-1] != 1 || len(fractions) < 20 {
			t.Errorf("its progress is %v", fractions)
		}
	})
}

// A real client asks the past; the end of the context ends it, and is no error.
func TestReplayAnswersDNS(t *testing.T) {
	t.Parallel()
	a := newAuthor(t, "amber", "bronze")
	a.service("amber", "checkout", 1)
	a.service("bronze", "checkout", 1)
	a.service("amber", "checkout", 0)
	h := a.all
	for to, want := range map[int][]string{len(h) - 1: {"192.0.2.1", "192.0.2.2"}, len(h): {"192.0.2.2"}} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		var address netip.AddrPort
		over := make(chan struct{})
		result := make(chan error, 1)
		go func() {
			_, err := Run(ctx, Config{
				History: h, From: h.moment(3), To: h.moment(uint64(to)), Listen: "127.0.0.1:0", Stay: true,
				Listening: func(at netip.AddrPort) { address = at },
				Progress: func(p Progress) {
					if p.Phase == Over {
						close(over)
					}
				},
			})
			result <- err
		}()
		select {
		case <-over:
		case err := <-result:
			t.Fatal(err)
		}
		for { // what is published is answered from a few milliseconds later
			answer, err := ask.Ask(ctx, address.String(), "checkout.svc.mesh.internal", "A")
			if err != nil {
				t.Fatal(err)
			}
			slices.Sort(answer.Data)
			if slices.Equal(answer.Data, want) {
				break
			}
			if soa, err := ask.Ask(ctx, address.String(), "mesh.internal", "SOA"); err == nil && len(soa.Data) == 1 {
				t.Logf("%v while the serial is in %v", answer.Data, soa.Data)
			}
			time.Sleep(time.Millisecond)
		}
		cancel()
		if err := <-result; err != nil {
			t.Errorf("Run() = %v after its context has ended", err)
		}
	}
}

// Before its end is reached an interrupt is an error, and nothing stays behind.
func TestReplayIsInterrupted(t *testing.T) {
	t.Parallel()
	h := someHistory(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	p, err := Run(ctx, Config{
		History: h, From: h.moment(10), To: h.moment(40), Speed: 1, Listen: "127.0.0.1:0",
		Listening: func(netip.AddrPort) { cancel(enough) },
	})
	if !errors.Is(err, enough) || p.Phase == Over {
		t.Errorf("Run() = %+v, %v", p, err)
	}
	if _, err := Run(t.Context(), Config{History: h, From: h.moment(10), To: h.moment(40), Listen: "192.0.2.1:53"}); err == nil {
		t.Error("it listens at an address that this machine has not")
	}
	for name, wrong := range map[string]Config{
		"backwards": {History: h, From: h.moment(11), To: h.moment(10)},
		"speed":     {History: h, From: h.moment(10), To: h.moment(11), Speed: -1},
	} {
		if _, err := Run(t.Context(), wrong); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// A history that fails in the middle fails the replay.
func TestReplayTellsWhatFails(t *testing.T) {
	t.Parallel()
	h := someHistory(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("gone")
	cancel(gone)
	if _, err := Run(ctx, Config{History: h, From: h.moment(10), To: h.moment(40)}); !errors.Is(err, gone) {
		t.Errorf("Run() = %v", err)
	}
}
