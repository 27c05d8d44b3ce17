package main

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
	"github.com/seamark-mesh/seamark/registry/stream/streamtest"
)

// Three servers hold the streams; the leaders step down every second for half a minute,
// then each server is stopped once and comes back. No answer is wrong meanwhile, and none
// is marked as stale for an election.
func TestStreamsOfThreeServersThatElectAllTheTime(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	cluster := streamtest.Cluster(t, 3)
	direct := streamtest.Connect(t, cluster...)
	streamtest.Create(t, direct, 3)
	n := startNode(t, cluster[0].ClientURL()+","+cluster[1].ClientURL()+","+cluster[2].ClientURL(), "")
	n.setTTL(t, direct)
	amber := newSource("web")
	startAgent(t, cluster[1], "amber", amber)
	streamtest.Eventually(t, 30*time.Second, "it is served", func() bool { return serves(n.store.View(), "amber", "web") })
	defer n.watch(t, map[string]registry.ClusterID{"web": "amber"})()
	js, err := jetstream.New(direct.NATS())
	if err != nil {
		t.Fatal(err)
	}
	before := n.store.View().Sequence()
	elections, marked, names := 0, 0, []string{"web"}
	add := func(name string) { // nothing is taken away, which the agent's brake would hold
		names = append(slices.Clone(names), name)
		amber.put(names...)
	}
	for began := time.Now(); time.Since(began) < 30*time.Second; time.Sleep(time.Second) {
		if _, err := direct.NATS().Request("$JS.API.STREAM.LEADER.STEPDOWN."+stream.EventsStream, nil, 2*time.Second); err == nil {
			elections++
		}
		if n.isCut() != "" {
			marked++
		}
		add(fmt.Sprint("during-", len(names)))
	}
	add("last")
	streamtest.Eventually(t, 60*time.Second, "all changes are known", func() bool {
		return !slices.ContainsFunc(names, func(name string) bool { return !serves(n.store.View(), "amber", name) })
	})
	if elections < 10 || marked > 0 {
		t.Errorf("%d elections, marked as stale in %d looks", elections, marked)
	}
	if _, err := js.Stream(t.Context(), stream.EventsStream); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d elections, sequence %d, then %d", elections, before, n.store.View().Sequence())
	for k := range cluster {
		stopped := streamtest.Stop(t, cluster[k])
		time.Sleep(2 * time.Second)
		add(fmt.Sprint("without-", k))
		if k != 1 { // the agent is connected there
			streamtest.Eventually(t, 60*time.Second, "a change is known while a server is away", func() bool {
				return serves(n.store.View(), "amber", names[len(names)-1])
			})
		}
		cluster[k] = streamtest.StartAgain(t, stopped)
		time.Sleep(time.Second)
	}
	streamtest.Eventually(t, 60*time.Second, "the last change is known", func() bool { return serves(n.store.View(), "amber", names[len(names)-1]) })
	fresh := startNode(t, cluster[0].ClientURL(), "")
	streamtest.Eventually(t, 60*time.Second, "a reader that begins now knows the same", func() bool {
		return bytes.Equal(fresh.store.View().AppendCanonical(nil), n.store.View().AppendCanonical(nil))
	})
}
