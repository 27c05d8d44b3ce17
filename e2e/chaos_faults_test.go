package e2e

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/registry/stream"
)

// experiment is one fault. Its hypothesis is always the same: see [steady].
type experiment struct {
	name      string
	injection string
	short     time.Duration // as lasts, in the short round; 0: not part of it
	lasts     time.Duration // from the injection until the fault is lifted
	limit     time.Duration // from lifting until all is as it should be
	held      disturbance   // what it may hold up
	inject    func(t *testing.T, c *chaos) (lift func())
}

// Who is held up, besides the replicas by their number.
const (
	none        = -1 // no replica
	theObserver = -2 // the replica that is the observer when the fault is injected
)

// experiments are all, in the order in which they are made.
func experiments() []experiment {
	everywhere := []string{"amber", "bronze", "cobalt"}
	held := func(replica int, judged bool, clusters ...string) disturbance {
		d := disturbance{clusters: clusters, replica: replica}
		if judged {
			d.judged = clusters
		}
		return d
	}
	return []experiment{
		{"agent killed, standby there", "kill -9 of the leading agent of amber, which stays away", 13 * time.Second, 14 * time.Second, 20 * time.Second, held(none, true, "amber"), killLeader("amber")},
		{"agent killed and restarted", "kill -9 of bronze's only agent, started again after 2 s", 0, 2 * time.Second, 30 * time.Second, held(none, true, "bronze"), killLeader("bronze")},
		{"agent away", "kill -9 of cobalt's only agent, started again after 20 s", 0, 20 * time.Second, 30 * time.Second, held(none, true, "cobalt"), killLeader("cobalt")},
		{"agent frozen, standby there", "SIGSTOP of the leading agent of amber, SIGCONT after 14 s", 0, 14 * time.Second, 20 * time.Second, held(none, true, "amber"), freezeAgent("amber")},
		{"global-dns killed", "kill -9 of the first replica, started again after 2 s", 2 * time.Second, 2 * time.Second, 20 * time.Second, held(0, false), killReplica(0)},
		{"global-dns frozen", "SIGSTOP of the second replica, SIGCONT after some seconds", 3 * time.Second, 6 * time.Second, 20 * time.Second, held(1, false), freezeReplica(1)},
		{"observer killed", "kill -9 of the replica that is the observer, started again after 14 s", 0, 14 * time.Second, 30 * time.Second, held(theObserver, false), killObserver},
		{"NATS node killed", "kill -9 of the server that leads the stream of events, started again after some seconds", 3 * time.Second, 5 * time.Second, 30 * time.Second, held(none, false, everywhere...), killNode},
		{"NATS node frozen", "SIGSTOP of the server that leads the stream of events, SIGCONT after 25 s", 0, 25 * time.Second, 40 * time.Second, held(none, false, everywhere...), freezeNode},
		{"NATS away", "kill -9 of all three servers, started again after 8 s", 0, 8 * time.Second, 60 * time.Second, held(none, false, everywhere...), killNATS},
		{"NATS away, global-dns killed", "kill -9 of all three servers, 8 s later of the first replica, which is started again at once; the servers after 4 s more", 0, 4 * time.Second, 60 * time.Second, held(0, false, everywhere...), killNATSAndReplica(0)},
		{"streams deleted", "both streams are deleted, with all that was published", 0, 5 * time.Second, 60 * time.Second, held(none, false, everywhere...), deleteStreams},
		{"agent cut off, outbound", "cobalt's packets to NATS are dropped, those from NATS arrive", 4 * time.Second, 8 * time.Second, 30 * time.Second, held(none, true, "cobalt"), cutCluster("cobalt", "OUTPUT", "--dport", 1)},
		{"agent cut off, inbound", "packets from NATS to cobalt are dropped, those to NATS arrive", 0, 15 * time.Second, 40 * time.Second, held(none, true, "cobalt"), cutCluster("cobalt", "INPUT", "--sport", 1)},
		{"agent loses packets", "20 % of cobalt's packets to NATS are dropped", 0, 15 * time.Second, 30 * time.Second, held(none, true, "cobalt"), cutCluster("cobalt", "OUTPUT", "--dport", 0.2)},
		{"agent's line slow", "what cobalt and NATS say to each other takes 300 ms each way", 0, 12 * time.Second, 30 * time.Second, held(none, true, "cobalt"), slowCluster("cobalt", 300*time.Millisecond)},
		{"global-dns cut off, outbound", "the second replica's packets to NATS are dropped, those from NATS arrive", 0, 15 * time.Second, 40 * time.Second, held(1, false), cutReplica(1, "OUTPUT", "--dport", 1)},
		{"global-dns cut off, inbound", "packets from NATS to the second replica are dropped", 0, 15 * time.Second, 40 * time.Second, held(1, false), cutReplica(1, "INPUT", "--sport", 1)},
		{"global-dns loses packets", "20 % of the packets from NATS to the second replica are dropped", 0, 15 * time.Second, 30 * time.Second, held(1, false), cutReplica(1, "INPUT", "--sport", 0.2)},
		{"global-dns' line slow", "what the second replica and NATS say to each other takes 300 ms each way", 0, 12 * time.Second, 30 * time.Second, held(1, false), slowReplica(1, 300*time.Millisecond)},
		{"NATS node's disk full", "the third server's disk is filled; after 12 s there is room, and it is restarted", 0, 12 * time.Second, 60 * time.Second, held(none, false, everywhere...), fillNode},
		{"checkpoint's disk full", "the second replica's disk for checkpoints is filled, and the replica killed with -9 and restarted", 0, 5 * time.Second, 30 * time.Second, held(1, false), fillCheckpoint(1)},
	}
}

func freeze(t *testing.T, d *daemon) (lift func()) {
	t.Helper()
	process := d.command.Process
	if err := process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := process.Signal(syscall.SIGCONT); err != nil {
			t.Error(err)
		}
	}
}

func killLeader(cluster string) func(*testing.T, *chaos) func() {
	return func(t *testing.T, c *chaos) func() {
		agent := c.leadingAgent(t, cluster)
		agent.kill()
		return func() { agent.start(t) }
	}
}

func freezeAgent(cluster string) func(*testing.T, *chaos) func() {
	return func(t *testing.T, c *chaos) func() { return freeze(t, c.leadingAgent(t, cluster)) }
}

func killReplica(n int) func(*testing.T, *chaos) func() {
	return func(t *testing.T, c *chaos) func() {
		c.replicas[n].daemon.kill()
		return func() { c.replicas[n].daemon.start(t) }
	}
}

func freezeReplica(n int) func(*testing.T, *chaos) func() {
	return func(t *testing.T, c *chaos) func() { return freeze(t, c.replicas[n].daemon) }
}

// killObserver kills the replica that [chaos.try] has found to be the observer.
func killObserver(t *testing.T, c *chaos) func() { return killReplica(c.observer)(t, c) }

// leadingReplica returns which replica is the observer.
func (c *chaos) leadingReplica(t *testing.T) int {
	t.Helper()
	leading := none
	c.eventually(t, 30*time.Second, "a replica is the observer", func() error {
		for n, r := range c.replicas {
			var s observerStatus
			if err := get("http://"+r.http+"/v1/status", &s); err == nil && s.Observer.Leading {
				leading = n
				return nil
			}
		}
		return fmt.Errorf("none is")
	})
	return leading
}

func killNode(t *testing.T, c *chaos) func() {
	node := c.leadingNode(t, stream.EventsStream)
	return endNodes(t, node)
}

func killNATS(t *testing.T, c *chaos) func() { return endNodes(t, c.nodes...) }

// killNATSAndReplica kills a replica that nobody but its checkpoint can tell anything.
func killNATSAndReplica(n int) func(*testing.T, *chaos) func() {
	return func(t *testing.T, c *chaos) func() {
		lift := killNATS(t, c)
		pause(t.Context(), 8*time.Second) // a checkpoint is written every 5 s
		killReplica(n)(t, c)()
		return lift
	}
}

// deleteStreams loses everything that NATS knows.
func deleteStreams(t *testing.T, c *chaos) func() {
	c.forgot.Store(true)
	for _, name := range []string{stream.EventsStream, stream.LeaseStream} {
		if err := c.js.DeleteStream(t.Context(), name); err != nil {
			t.Error(err)
		}
	}
	return func() {}
}

// endNodes kills servers; lifting starts them again.
func endNodes(t *testing.T, nodes ...*node3) func() {
	t.Helper()
	for _, n := range nodes {
		if err := n.Kill(); err != nil {
			t.Error(err)
		}
	}
	return func() {
		for _, n := range nodes {
			if err := n.Start(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
}

func freezeNode(t *testing.T, c *chaos) func() {
	node := c.leadingNode(t, stream.EventsStream)
	if err := node.Pause(); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := node.Resume(); err != nil {
			t.Error(err)
		}
	}
}

// cut drops a share of the packets of a host to or from all NATS servers.
func (c *chaos) cut(t *testing.T, host *namespace, chain, side string, share float64) func() {
	t.Helper()
	for _, n := range c.nodes {
		line := fmt.Sprintf("-A %s -p tcp %s %d", chain, side, n.port)
		if share < 1 {
			line += fmt.Sprintf(" -m statistic --mode random --probability %g", share)
		}
		mustRun(t, append([]string{"ip", "netns", "exec", host.name, "iptables", "-w"}, strings.Fields(line+" -j DROP")...)...)
	}
	return func() { mustRun(t, "ip", "netns", "exec", host.name, "iptables", "-w", "-F", chain) }
}

func cutCluster(cluster, chain, side string, share float64) func(*testing.T, *chaos) func() {
	return func(t *testing.T, c *chaos) func() { return c.cut(t, c.cluster3(cluster).host, chain, side, share) }
}

func cutReplica(n int, chain, side string, share float64) func(*testing.T, *chaos) func() {
	return func(t *testing.T, c *chaos) func() { return c.cut(t, c.replicas[n].host, chain, side, share) }
}

// fillNode fills the disk of one NATS server. A server whose disk was full has turned
// its streams off until it is restarted, which is what its operator does.
func fillNode(t *testing.T, c *chaos) func() {
	node := c.nodes[2]
	ballast, err := fill(node.store)
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(ballast); err != nil {
			t.Error(err)
		}
		if err := node.Kill(); err != nil {
			t.Error(err)
		}
		if err := node.Start(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// fillCheckpoint fills the disk on which a replica keeps what it knows, and kills it.
func fillCheckpoint(n int) func(*testing.T, *chaos) func() {
	return func(t *testing.T, c *chaos) func() {
		r := c.replicas[n]
		ballast, err := fill(r.checkpoint)
		if err != nil {
			t.Fatal(err)
		}
		r.daemon.kill()
		r.daemon.start(t)
		return func() {
			if err := os.Remove(ballast); err != nil {
				t.Error(err)
			}
		}
	}
}
