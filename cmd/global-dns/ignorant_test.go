package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seamark-mesh/seamark/registry/stream"
	"github.com/seamark-mesh/seamark/registry/stream/streamtest"
)

// said reports whether the node's log has a text by now.
func (n *node) said(text string) bool {
	n.guard.mu.Lock()
	defer n.guard.mu.Unlock()
	return strings.Contains(n.log.String(), text)
}

// TestAReplicaThatKnowsNothingMakesNoLostStreamAnew: a replica without a checkpoint that
// started in the very seconds in which the stream was lost made it anew from 1, and those
// that knew better had to fill it up by as many notes as there had been messages.
func TestAReplicaThatKnowsNothingMakesNoLostStreamAnew(t *testing.T) {
	s := streamtest.Start(t)
	direct := streamtest.Connect(t, s)
	proxy := streamtest.NewProxy(t, s.ClientURL())
	knows := startNode(t, proxy.URL(), "")
	knows.setTTL(t, direct)
	startAgent(t, s, "amber", newSource("web"))
	streamtest.Eventually(t, 20*time.Second, "it is served", func() bool { return serves(knows.store.View(), "amber", "web") })
	served := knows.store.View().Sequence()
	proxy.Cut()
	js := streamtest.JetStream(t, direct)
	if err := js.DeleteStream(t.Context(), stream.EventsStream); err != nil {
		t.Fatal(err)
	}
	ignorant := startNode(t, s.ClientURL(), "")
	streamtest.Eventually(t, 20*time.Second, "it leaves the stream to others", func() bool { return ignorant.said("leaving it to others") })
	if state, err := direct.State(t.Context()); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Fatalf("the stream was made: %+v, %v", state, err)
	}
	proxy.Heal()
	streamtest.Eventually(t, 60*time.Second, "both are current and equal", func() bool {
		a, b := knows.store.View(), ignorant.store.View()
		return knows.isCut() == "" && ignorant.replica.Ready() == nil && serves(b, "amber", "web") && !a.Cluster("amber").Inherited() &&
			bytes.Equal(a.AppendCanonical(nil), b.AppendCanonical(nil))
	})
	if z := ignorant.store.View().Zone(); z.TTL != 9 {
		t.Errorf("the zone record is %+v", z)
	}
	if state, err := direct.State(t.Context()); err != nil || state.Began < served+sequenceHeadroom {
		t.Errorf("the stream is %+v, %v; %d was served", state, err, served)
	}
}

// Where nobody knows better it is made all the same, far from the sequences of before.
func TestALostStreamThatNobodyKnowsIsMadeAnew(t *testing.T) {
	s := streamtest.Start(t)
	direct := streamtest.Connect(t, s)
	streamtest.Create(t, direct, 1)
	js := streamtest.JetStream(t, direct)
	if err := js.DeleteStream(t.Context(), stream.EventsStream); err != nil {
		t.Fatal(err)
	}
	n := startNode(t, s.ClientURL(), "")
	streamtest.Eventually(t, 60*time.Second, "it is ready", func() bool { return n.replica.Ready() == nil })
	if state, err := direct.State(t.Context()); err != nil || state.Began != sequenceHeadroom {
		t.Errorf("%+v, %v", state, err)
	}
}
