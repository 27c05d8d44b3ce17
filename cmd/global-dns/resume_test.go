package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream/streamtest"
)

// never fails the test when the node shows a View before a sequence, until done holds.
func (n *node) never(t *testing.T, before uint64, done func(*registry.View) bool) {
	t.Helper()
	views := n.store.Watch()
	for v := n.store.View(); ; {
		if v.Synced() && v.Sequence() < before {
			_, cut := v.Cut()
			t.Fatalf("it answers with %d (stale: %v), and had answered with %d", v.Sequence(), cut, before)
		}
		if done(v) {
			return
		}
		next, _, err := views.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		v = next
	}
}

// TestARestartNeverAnswersWithAnOlderSerial: a global-dns that had been killed found a
// checkpoint of some seconds before, and answered as of then, with a serial lower than
// it had given already, although NATS was there.
func TestARestartNeverAnswersWithAnOlderSerial(t *testing.T) {
	path := filepath.Join(t.TempDir(), "checkpoint")
	s := streamtest.Start(t)
	direct := streamtest.Connect(t, s)
	n := startNode(t, s.ClientURL(), path)
	n.setTTL(t, direct)
	amber := newSource("web")
	startAgent(t, s, "amber", amber)
	streamtest.Eventually(t, 20*time.Second, "it is served", func() bool { return serves(n.store.View(), "amber", "web") })
	n.stop() // writes the last checkpoint
	if c, kept := n.kept.status(n.replica)(); !kept || c.Sequence != n.store.View().Sequence() || c.Age > 20*time.Second {
		t.Errorf("kept is %+v, %v; %d was shown", c, kept, n.store.View().Sequence())
	}
	older, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	n = startNode(t, s.ClientURL(), path)
	amber.put("web", "next")
	streamtest.Eventually(t, 20*time.Second, "the change is served", func() bool { return serves(n.store.View(), "amber", "next") })
	n.stop()
	served := n.store.View().Sequence()
	if err := os.WriteFile(path, older, 0o600); err != nil { // as if it had been killed
		t.Fatal(err)
	}
	amber.put("web", "next", "later")
	n = startNode(t, s.ClientURL(), path)
	n.never(t, served, func(v *registry.View) bool {
		_, cut := v.Cut()
		return !cut && serves(v, "amber", "later")
	})
}

// The same where the stream is made anew meanwhile: what a checkpoint holds is what the
// new stream must reach beyond, and what it knows of the operator's word stands, although
// nobody was shown either.
func TestAHeldCheckpointCountsWhereTheStreamIsLost(t *testing.T) {
	path := filepath.Join(t.TempDir(), "checkpoint")
	s := streamtest.Start(t)
	direct := streamtest.Connect(t, s)
	n := startNode(t, s.ClientURL(), path)
	n.setTTL(t, direct)
	bronze := startAgent(t, s, "bronze", newSource("old"))
	streamtest.Eventually(t, 20*time.Second, "it is served", func() bool { return serves(n.store.View(), "bronze", "old") })
	bronze()
	n.stop()
	served := n.store.View().Sequence()
	stopped := streamtest.Stop(t, s)
	if err := os.RemoveAll(stopped.Dir()); err != nil {
		t.Fatal(err)
	}
	s = streamtest.StartAgain(t, stopped)
	n = startNode(t, s.ClientURL(), path)
	n.never(t, served, func(v *registry.View) bool {
		_, cut := v.Cut()
		return v.Synced() && !cut
	})
	v := n.store.View()
	if v.Zone() == nil || v.Zone().TTL != 9 || !serves(v, "bronze", "old") || !v.Cluster("bronze").Inherited() {
		t.Errorf("zone %+v, bronze %+v", v.Zone(), v.Cluster("bronze"))
	}
	if state, err := streamtest.Connect(t, s).State(t.Context()); err != nil || state.First <= served {
		t.Errorf("the new stream is %+v, %v; %d was served", state, err, served)
	}
}

// A server that takes connections and says nothing is waited for for a short while only.
func TestACheckpointIsShownWhereNATSIsSilent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "checkpoint")
	s := streamtest.Start(t)
	direct := streamtest.Connect(t, s)
	proxy := streamtest.NewProxy(t, s.ClientURL())
	n := startNode(t, proxy.URL(), path)
	n.setTTL(t, direct)
	startAgent(t, s, "amber", newSource("web"))
	streamtest.Eventually(t, 20*time.Second, "it is served", func() bool { return serves(n.store.View(), "amber", "web") })
	n.stop()
	proxy.Hold()
	began := time.Now()
	n = startNode(t, proxy.URL(), path)
	streamtest.Eventually(t, 30*time.Second, "the checkpoint is shown", func() bool {
		return n.isCut() == "started from a checkpoint" && serves(n.store.View(), "amber", "web") && n.replica.Ready() == nil
	})
	t.Logf("shown after %v", time.Since(began).Round(time.Millisecond))
	proxy.Heal()
	streamtest.Eventually(t, 30*time.Second, "it is current", func() bool { return n.isCut() == "" && n.replica.Ready() == nil })
}
