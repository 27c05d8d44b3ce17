package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/checkpoint"
	"github.com/seamark-mesh/seamark/registry/stream"
	"github.com/seamark-mesh/seamark/registry/stream/streamtest"
	"github.com/seamark-mesh/seamark/sync/edge"
)

// zoneTTL is what node.watch expects of the zone record.
func (n *node) setTTL(t *testing.T, c *stream.Conn) {
	t.Helper()
	streamtest.Eventually(t, 20*time.Second, "a zone record stands", func() bool { return n.replica.Ready() == nil })
	zone := *n.store.View().Zone()
	zone.TTL = 9
	last, _, err := c.Last(t.Context(), registry.Fact{Writer: registry.Operator, Kind: registry.KindZone})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Put(t.Context(), zoneEvent(zone), last.Sequence); err != nil {
		t.Fatal(err)
	}
	streamtest.Eventually(t, 20*time.Second, "it is read", func() bool { return n.store.View().Zone().TTL == 9 })
}

func zoneEvent(z registry.ZoneRecord) *registry.Event {
	return &registry.Event{
		Schema: registry.Schema, ID: fmt.Sprint("zone-", time.Now().UnixNano()), Kind: registry.KindZone, Writer: registry.Operator,
		Time: time.Now().UTC(), Agent: "operator", Cause: registry.CauseChange, Zone: &z,
	}
}

func (n *node) isCut() (reason string) {
	c, cut := n.store.View().Cut()
	if !cut {
		return ""
	}
	return c.Reason
}

// A reader that is cut off changes nothing but the mark, and nothing is missing when
// it is back: neither after a connection that is closed nor after one that is silent.
func TestCutOffAndBack(t *testing.T) {
	for name, cut := range map[string]func(*streamtest.Proxy){"closed": (*streamtest.Proxy).Cut, "silent": (*streamtest.Proxy).Hold} {
		t.Run(name, func(t *testing.T) {
			s := streamtest.Start(t)
			direct := streamtest.Connect(t, s)
			proxy := streamtest.NewProxy(t, s.ClientURL())
			n, near := startNode(t, proxy.URL(), ""), startNode(t, s.ClientURL(), "")
			n.setTTL(t, direct)
			amber := newSource("web")
			startAgent(t, s, "amber", amber)
			streamtest.Eventually(t, 20*time.Second, "it is served", func() bool { return serves(n.store.View(), "amber", "web") })
			defer n.watch(t, map[string]registry.ClusterID{"web": "amber"})()
			before := time.Now()
			cut(proxy)
			streamtest.Eventually(t, 20*time.Second, "it is marked", func() bool { return n.isCut() != "" })
			c, _ := n.store.View().Cut()
			t.Logf("marked after %v: %s, since %v before", time.Since(before).Round(time.Millisecond), c.Reason, before.Sub(c.Since).Round(time.Millisecond))
			if c.Since.After(before.Add(time.Second)) || before.Sub(c.Since) > 5*time.Second {
				t.Errorf("it is said to be stale since %v, cut off at %v", c.Since, before)
			}
			if err := n.replica.Ready(); err != nil {
				t.Errorf("it is not ready: %v", err)
			}
			if got := readyText(n.store)(); !strings.Contains(got, "stale for") || !strings.Contains(got, c.Reason) {
				t.Errorf("/readyz says %q", got)
			}
			amber.put("web", "missed")
			streamtest.Eventually(t, 20*time.Second, "the other one has it", func() bool { return serves(near.store.View(), "amber", "missed") })
			if serves(n.store.View(), "amber", "missed") {
				t.Fatal("it is not cut off")
			}
			proxy.Heal()
			streamtest.Eventually(t, 30*time.Second, "it is current again", func() bool { return n.isCut() == "" && serves(n.store.View(), "amber", "missed") })
			streamtest.Eventually(t, 10*time.Second, "both are equal", func() bool {
				return bytes.Equal(n.store.View().AppendCanonical(nil), near.store.View().AppendCanonical(nil))
			})
		})
	}
}

// NATS is away when global-dns starts: it answers from its checkpoint, and goes on from
// the stream when that is back, or is another one.
func TestStartFromACheckpoint(t *testing.T) {
	for name, between := range map[string]func(t *testing.T, directory string){
		"the stream is the same": func(*testing.T, string) {},
		"the stream is lost as well": func(t *testing.T, directory string) {
			if err := os.RemoveAll(directory); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "checkpoint")
			s := streamtest.Start(t)
			direct := streamtest.Connect(t, s)
			url := s.ClientURL()
			n := startNode(t, url, path)
			n.setTTL(t, direct)
			amber, bronze := newSource("web"), newSource("old")
			dies := startAgent(t, s, "bronze", bronze)
			diesToo := startAgent(t, s, "amber", amber)
			streamtest.Eventually(t, 20*time.Second, "all is served", func() bool {
				return serves(n.store.View(), "amber", "web") && serves(n.store.View(), "bronze", "old")
			})
			dies()
			n.stop() // writes the last checkpoint
			diesToo()
			last := n.store.View()
			stopped := streamtest.Stop(t, s)
			between(t, stopped.Dir())

			began := time.Now()
			n = startNode(t, url, path)
			streamtest.Eventually(t, 20*time.Second, "it answers, for NATS can't be reached", func() bool { return n.store.View().Synced() })
			v := n.store.View()
			if got := n.isCut(); got != "started from a checkpoint" || n.replica.Ready() != nil {
				t.Fatalf("marked %q, ready: %v", got, n.replica.Ready())
			}
			if !bytes.Equal(v.AppendCanonical(nil), last.AppendCanonical(nil)) {
				t.Error("it knows something else than when it stopped")
			}
			t.Logf("answers %v after its start", time.Since(began).Round(time.Millisecond))
			defer n.watch(t, map[string]registry.ClusterID{"web": "amber", "old": "bronze"})()
			time.Sleep(time.Second)
			s = streamtest.StartAgain(t, stopped)
			streamtest.Eventually(t, 30*time.Second, "it is current", func() bool { return n.isCut() == "" })
			startAgent(t, s, "amber", amber)
			amber.put("web", "next")
			streamtest.Eventually(t, 30*time.Second, "it goes on", func() bool {
				v := n.store.View()
				return serves(v, "amber", "next") && !v.Cluster("amber").Inherited()
			})
			lost := strings.Contains(name, "lost")
			if got := n.store.View().Cluster("bronze").Inherited(); got != lost {
				t.Errorf("the cluster whose agent is dead is inherited: %v", got)
			}
			if !lost {
				return
			}
			// A dead cluster outlives another restart.
			n.stop()
			again := startNode(t, url, path)
			streamtest.Eventually(t, 20*time.Second, "it answers", func() bool { return again.store.View().Synced() })
			defer again.watch(t, map[string]registry.ClusterID{"web": "amber", "old": "bronze"})()
			streamtest.Eventually(t, 30*time.Second, "it is current", func() bool { return again.isCut() == "" })
			if c := again.store.View().Cluster("bronze"); c == nil || !c.Inherited() {
				t.Errorf("after a restart: %+v", c)
			}
		})
	}
}

// Whatever befalls the connections of a replica that probes and observes, and of an agent,
// nothing is left behind, here and on the server.
func TestAHundredReconnectsLeaveNothingBehind(t *testing.T) {
	s := streamtest.Start(t)
	direct := streamtest.Connect(t, s)
	proxy := streamtest.NewProxy(t, s.ClientURL())
	n := startNodeWith(t, proxy.URL(), "", "probes: {vantage: near, interval: 1s, timeout: 500ms, allow: [127.0.0.0/8]}\n")
	n.setTTL(t, direct)
	agent, err := stream.Connect(t.Context(), stream.ConnectConfig{Servers: []string{proxy.URL()}, Name: "agent"})
	if err != nil {
		t.Fatal(err)
	}
	startAgentOn(t, agent, "amber", edge.Settings{Gateways: []registry.Gateway{gatewayHere(t)}}, newSource("web"))
	streamtest.Eventually(t, 20*time.Second, "it is served", func() bool { return serves(n.store.View(), "amber", "web") })
	streamtest.Eventually(t, 20*time.Second, "an observer leads", func() bool { return n.store.View().Observer().Epoch > 0 })
	probed, seen := context.WithTimeout(t.Context(), 20*time.Second)
	defer seen()
	_ = direct.WatchProbes(probed, func(r registry.ProbeReport, _, _ time.Time) {
		if r.Vantage == registry.VantagePrefix+"near" && len(r.Gateways) == 1 && r.Gateways[0].Reached {
			seen()
		}
	})
	if errors.Is(probed.Err(), context.DeadlineExceeded) {
		t.Fatal("nobody reports that the gateway is reached")
	}
	defer n.watch(t, map[string]registry.ClusterID{"web": "amber"})()
	count := func() (goroutines, connections, consumers int) {
		varz, err := s.Jsz(&server.JSzOptions{Streams: true})
		if err != nil {
			t.Fatal(err)
		}
		return runtime.NumGoroutine(), s.NumClients(), varz.Consumers
	}
	time.Sleep(time.Second)
	goroutines, connections, consumers := count()
	for range 100 {
		proxy.Cut()
		streamtest.Eventually(t, 10*time.Second, "both losses are noticed", func() bool { return s.NumClients() < connections-1 })
		proxy.Heal()
		streamtest.Eventually(t, 10*time.Second, "it is back", func() bool { return s.NumClients() >= connections })
	}
	time.Sleep(time.Second)
	_, _, most := count()
	t.Logf("%d consumers, %d after 100 reconnects, before the server forgets those that nobody asks", consumers, most)
	streamtest.Eventually(t, 60*time.Second, "all is as it was", func() bool {
		g, c, k := count()
		return g <= goroutines+5 && c <= connections && k <= consumers+1
	})
}

// gatewayHere is a gateway that accepts connections until the test ends.
func gatewayHere(t *testing.T) registry.Gateway {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close() //nolint:errcheck // that it was accepted is all that a probe wants
		}
	})
	t.Cleanup(func() {
		l.Close() //nolint:errcheck // it was only listening
		wg.Wait()
	})
	at := l.Addr().(*net.TCPAddr).AddrPort()
	return registry.Gateway{Name: "gw-1", Addresses: []netip.Addr{at.Addr()}, Ports: map[string]int{"http": int(at.Port())}, Weight: 1}
}

func TestACheckpointThatCanNotBeUsed(t *testing.T) {
	s := streamtest.Start(t)
	for name, content := range map[string][]byte{"garbage": []byte("garbage"), "empty": {}, "a later version": append([]byte("SEAMARK\x00\x00\x09"), make([]byte, 100)...)} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "checkpoint")
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			n := startNode(t, s.ClientURL(), path)
			streamtest.Eventually(t, 20*time.Second, "it is ready from the stream", func() bool { return n.replica.Ready() == nil && n.isCut() == "" })
			streamtest.Eventually(t, 20*time.Second, "a good one is written", func() bool {
				_, fault, err := checkpoint.Open(path, "mesh.internal.").Read()
				return fault == nil && err == nil
			})
			n.stop()
			if !strings.Contains(n.log.String(), "no checkpoint can be used") {
				t.Errorf("it is not said:\n%s", n.log)
			}
		})
	}
	t.Run("of another zone", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "checkpoint")
		if _, err := checkpoint.Open(path, "other.internal.").Write(checkpoint.Checkpoint{}); err != nil {
			t.Fatal(err)
		}
		if _, _, err := checkpoint.Open(path, "mesh.internal.").Read(); !errors.Is(err, checkpoint.ErrZone) {
			t.Errorf("%v", err)
		}
	})
}

// A replica that knows nothing does not give a stream that was made in another's place
// the zone record of its configuration, as long as one that knows better may be there.
func TestANewReplicaLeavesTheZoneToOthers(t *testing.T) {
	s := streamtest.Start(t)
	direct := streamtest.Connect(t, s)
	if _, _, err := direct.CreateStreams(t.Context(), stream.Settings{First: 1_000_000}); err != nil {
		t.Fatal(err)
	}
	n := startNode(t, s.ClientURL(), "")
	time.Sleep(2 * time.Second)
	zone := registry.ZoneRecord{Name: "mesh.internal.", TTL: 9, NegativeTTL: 5, Contact: "hostmaster.mesh.internal."}
	if _, err := direct.Put(t.Context(), zoneEvent(zone), 0); err != nil {
		t.Fatalf("a record stands already: %v", err)
	}
	streamtest.Eventually(t, 10*time.Second, "it has it", func() bool { return n.replica.Ready() == nil && n.store.View().Zone().TTL == 9 })
}
