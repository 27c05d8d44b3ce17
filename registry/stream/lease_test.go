package stream_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
	"github.com/seamark-mesh/seamark/registry/stream/streamtest"
)

func lease(w registry.Writer, agent string) registry.Lease {
	return registry.Lease{Schema: registry.Schema, Writer: w, Agent: agent, Phase: registry.PhaseSynced, Epoch: 7, Time: time.Now().UTC()}
}

func TestLease(t *testing.T) {
	c := connect(t, 1)
	w := c.Writer("amber")
	at, err := w.ReadLease(t.Context())
	if err != nil || at.Found || at.Sequence != 0 {
		t.Fatalf("no lease: %+v, %v", at, err)
	}
	sequence, err := w.PutLease(t.Context(), lease("amber", "one"), 0)
	if err != nil {
		t.Fatal(err)
	}
	at, err = w.ReadLease(t.Context())
	if err != nil || !at.Found || at.Sequence != sequence || at.Lease.Agent != "one" || at.Refused != nil || at.Age < 0 || at.Age > time.Second {
		t.Fatalf("lease: %+v, %v", at, err)
	}
	other := c.Writer("amber")
	if _, err := other.PutLease(t.Context(), lease("amber", "two"), 0); !is(err, registry.ErrConflict) {
		t.Errorf("a lease that stands is taken as if there were none: %v", err)
	}
	taken, err := other.PutLease(t.Context(), lease("amber", "two"), sequence)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.PutLease(t.Context(), lease("amber", "one"), sequence); !is(err, registry.ErrConflict) {
		t.Errorf("a lease that was lost is renewed: %v", err)
	}
	// What this Writer wrote without hearing of it is no conflict.
	renewed, err := other.PutLease(t.Context(), lease("amber", "two"), sequence)
	if err != nil || renewed <= taken {
		t.Errorf("an own write that was not heard of: %d, %v", renewed, err)
	}
}

func TestLeaseThatIsNotUnderstood(t *testing.T) {
	c := connect(t, 1)
	for name, body := range map[string]string{"garbage": "garbage", "another's": `{"schema":"seamark/1.0","writer":"bronze"}`} {
		t.Run(name, func(t *testing.T) {
			if _, err := c.NATS().Request(stream.LeaseSubject("amber"), []byte(body), 5*time.Second); err != nil {
				t.Fatal(err)
			}
			w := c.Writer("amber")
			at, err := w.ReadLease(t.Context())
			if err != nil || !at.Found || at.Refused == nil || at.Sequence == 0 {
				t.Errorf("lease: %+v, %v", at, err)
			}
			if _, err := w.PutLease(t.Context(), lease("amber", "one"), at.Sequence); err != nil {
				t.Errorf("it can't be replaced: %v", err)
			}
		})
	}
}

// Two contend for the lease many times: each time exactly one has it.
func TestLeaseHasOneHolder(t *testing.T) {
	for _, replicas := range []int{1, 3} {
		t.Run(fmt.Sprintf("%d replicas", replicas), func(t *testing.T) {
			c := connect(t, replicas)
			writers := []*stream.Writer{c.Writer("amber"), c.Writer("amber")}
			var expect uint64
			for round := range 100 {
				var wg sync.WaitGroup
				results, errs := make([]uint64, len(writers)), make([]error, len(writers))
				for n, w := range writers {
					wg.Go(func() {
						results[n], errs[n] = w.PutLease(t.Context(), lease("amber", fmt.Sprint(n)), expect)
						for attempt := 0; errs[n] != nil && !is(errs[n], registry.ErrConflict) && attempt < 20; attempt++ {
							time.Sleep(50 * time.Millisecond) // a stream that was just created may be without its leader
							results[n], errs[n] = w.PutLease(t.Context(), lease("amber", fmt.Sprint(n)), expect)
						}
					})
				}
				wg.Wait()
				if (results[0] == 0) == (results[1] == 0) {
					t.Fatalf("round %d: sequences %v, want exactly one: %v", round, results, errors.Join(errs...))
				}
				winner := 0
				if results[1] != 0 {
					winner = 1
				}
				streamtest.Eventually(t, 5*time.Second, "the winner's lease is seen", func() bool {
					at, err := writers[0].ReadLease(t.Context())
					return err == nil && at.Sequence == results[winner] && at.Lease.Agent == fmt.Sprint(winner)
				})
				expect = results[winner]
			}
		})
	}
}

func TestWatchLeases(t *testing.T) {
	c := connect(t, 1)
	amber, bronze := c.Writer("amber"), c.Writer("bronze")
	sequence, err := amber.PutLease(t.Context(), lease("amber", "one"), 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []*nats.Msg{
		{Subject: "mesh.v1.cobalt.lease", Data: []byte("garbage")},
		{Subject: "mesh.v1.UPPER.lease", Data: []byte("{}")},
		{Subject: "mesh.v1.dune.lease", Header: nats.Header{"Status": {"100"}}},
		{Subject: "mesh.v1.dune.probe.amber", Data: []byte("{}")},
	} {
		if _, err := c.NATS().RequestMsg(m, 5*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	got := make(chan registry.Lease, 10)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- c.WatchLeases(ctx, func(l registry.Lease, stored, received time.Time) {
			if received.Sub(stored).Abs() > 5*time.Second {
				t.Errorf("stored %v, received %v", stored, received)
			}
			got <- l
		})
	}()
	if l := <-got; l.Agent != "one" {
		t.Errorf("first lease: %+v", l)
	}
	if _, err := bronze.PutLease(t.Context(), lease("bronze", "two"), 0); err != nil {
		t.Fatal(err)
	}
	if l := <-got; l.Agent != "two" || l.Writer != "bronze" {
		t.Errorf("second lease: %+v", l)
	}
	if _, err := amber.PutLease(t.Context(), lease("amber", "three"), sequence); err != nil {
		t.Fatal(err)
	}
	if l := <-got; l.Agent != "three" {
		t.Errorf("third lease: %+v", l)
	}
	cancel()
	if err := <-done; !is(err, context.Canceled) {
		t.Errorf("WatchLeases() = %v", err)
	}
}
