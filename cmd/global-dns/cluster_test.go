package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
	"github.com/seamark-mesh/seamark/registry/stream/streamtest"
)

// Three servers hold the streams; for a minute their leader is told every second to step
// down, whether the election before is over or not, then each server is stopped once and
// comes back. No answer is wrong meanwhile, and none is marked as stale for an election.
func TestStreamsOfThreeServersThatElectAllTheTime(t *testing.T) {
	t.Parallel() // it waits for most of its time
	cluster := streamtest.Cluster(t, 3)
	direct := streamtest.Connect(t, cluster...)
	streamtest.Create(t, direct, 3)
	n := startNode(t, cluster[0].ClientURL()+","+cluster[1].ClientURL()+","+cluster[2].ClientURL(), "")
	n.setTTL(t, direct)
	amber := newSource("web")
	startAgent(t, cluster[1], "amber", amber)
	streamtest.Eventually(t, 30*time.Second, "it is served", func() bool { return serves(n.store.View(), "amber", "web") })
	defer n.watch(t, map[string]registry.ClusterID{"web": "amber"})()
	js := streamtest.JetStream(t, direct)
	before := n.store.View().Sequence()
	names := []string{"web"}
	add := func(name string) { // nothing is taken away, which the agent's brake would hold
		names = append(slices.Clone(names), name)
		amber.put(names...)
	}
	known := func() bool { return serves(n.store.View(), "amber", names[len(names)-1]) }
	const orders = 60
	elections, began := 0, time.Now()
	every := time.NewTicker(time.Second)
	defer every.Stop()
	for k := range orders {
		add(fmt.Sprint("during-", k))
		reply, err := direct.NATS().Request("$JS.API.STREAM.LEADER.STEPDOWN."+stream.EventsStream, nil, 900*time.Millisecond)
		var said struct{ Success bool }
		if err == nil && json.Unmarshal(reply.Data, &said) == nil && said.Success {
			elections++
		}
		for second := false; !second; {
			if reason := n.isCut(); reason != "" {
				t.Fatalf("after %d elections it is marked as stale: %s", elections, reason)
			}
			select {
			case <-every.C:
				second = true
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	if elections < orders/2 {
		t.Errorf("only %d of %d times did the leader step down", elections, orders)
	}
	streamtest.Eventually(t, 60*time.Second, "all changes are known after the elections", known)
	for _, name := range names {
		if !serves(n.store.View(), "amber", name) {
			t.Errorf("%s is not served", name)
		}
	}
	t.Logf("%d elections in %v, sequence %d, then %d", elections, time.Since(began).Round(time.Millisecond), before, n.store.View().Sequence())
	for k := range cluster {
		stopped := streamtest.Stop(t, cluster[k])
		streamtest.Eventually(t, 60*time.Second, "the two that are left have leaders", func() bool { return current(t, js, 1) })
		add(fmt.Sprint("without-", k))
		if k != 1 { // the agent is connected there
			streamtest.Eventually(t, 60*time.Second, "a change is known while a server is away", known)
		}
		cluster[k] = streamtest.StartAgain(t, stopped)
		if k < 2 { // the third is found by nobody: streamtest starts a server again with a route to itself, and its peers had one to it only until they were stopped
			streamtest.Eventually(t, 60*time.Second, "it holds the streams again", func() bool { return current(t, js, 2) })
		}
	}
	streamtest.Eventually(t, 60*time.Second, "the last change is known", known)
	fresh := startNode(t, cluster[0].ClientURL(), "")
	streamtest.Eventually(t, 60*time.Second, "a reader that begins now knows the same", func() bool {
		return bytes.Equal(fresh.store.View().AppendCanonical(nil), n.store.View().AppendCanonical(nil))
	})
}

// current reports whether both streams have a leader, and as many others that hold all.
func current(t *testing.T, js jetstream.JetStream, others int) bool {
	t.Helper()
	for _, name := range []string{stream.EventsStream, stream.LeaseStream} {
		s, err := js.Stream(t.Context(), name)
		if err != nil || s.CachedInfo().Cluster == nil || s.CachedInfo().Cluster.Leader == "" {
			return false
		}
		holding := 0
		for _, r := range s.CachedInfo().Cluster.Replicas {
			if r.Current && !r.Offline {
				holding++
			}
		}
		if holding < others {
			return false
		}
	}
	return true
}
