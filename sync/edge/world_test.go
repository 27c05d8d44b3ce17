package edge_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/sync/edge"
)

const cluster registry.ClusterID = "amber"

// world is one cluster with its registry, the stream, and any number of agents.
type world struct {
	memory    *memory
	catalogue *catalogue
	settings  edge.Settings
	timing    edge.Timing
	brake     edge.BrakeRules
	refused   func(*registry.Refusal)
	ended     func(agent string) bool
	log       io.Writer // takes what agents log; nil: nobody does
	agents    []*agent
}

// agent is one process.
type agent struct {
	*edge.Agent
	name   string
	link   *link
	source *source
	cancel context.CancelFunc
	ended  chan struct{}
	dead   bool // killed, also while it still stands still
}

func newWorld(services ...registry.Service) *world {
	return &world{
		memory: newMemory(), catalogue: newCatalogue(services...),
		settings: edge.Settings{Region: "eu", Gateways: []registry.Gateway{
			{Name: "gw-1", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Ports: map[string]int{"http": 8080}, Weight: 1},
		}},
	}
}

// unbraked is a world in which nothing is held back: what is trusted is withdrawn at once.
func unbraked(services ...registry.Service) *world {
	w := newWorld(services...)
	w.brake.Off = true
	return w
}

// inWorld runs a test in a bubble of its own time, and ends all agents after it.
func inWorld(t *testing.T, w *world, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		defer func() {
			w.end()
			if report := w.audit(); report != "" {
				t.Error(report)
			}
		}()
		f(t, w)
	})
}

// prepare makes an agent that is not started.
func (w *world) prepare(name string) *agent {
	a := &agent{
		name: name, link: &link{memory: w.memory, writer: registry.Writer(cluster), holder: fmt.Sprint(name, len(w.agents))},
		source: newSource(w.catalogue), ended: make(chan struct{}),
	}
	logger := slog.New(slog.DiscardHandler)
	if w.log != nil {
		logger = slog.New(slog.NewTextHandler(w.log, nil))
	}
	if os.Getenv("EDGE_TEST_LOG") != "" {
		logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("agent", name)
	}
	config := edge.Config{Cluster: cluster, Agent: name, Version: "v0", Source: "test", Logger: logger, Refused: w.refused, Timing: w.timing, Brake: w.brake, Ended: w.ended}
	made, err := edge.New(config, w.settings, a.source, a.link)
	if err != nil {
		panic(err)
	}
	a.Agent = made
	w.agents = append(w.agents, a)
	return a
}

func (a *agent) run() *agent {
	ctx, cancel := context.WithCancel(context.Background())
	a.cancel = cancel
	go func() {
		defer close(a.ended)
		if err := a.Run(ctx); err != nil {
			a.link.memory.blame("Run returned %v", err)
		}
	}()
	return a
}

// start runs a new agent and lets it come to rest.
func (w *world) start(name string) *agent {
	a := w.prepare(name).run()
	settle()
	return a
}

// settle lets everything happen that needs no time, and a moment that does.
func settle() {
	synctest.Wait()
	time.Sleep(time.Millisecond)
	synctest.Wait()
}

// stop is SIGTERM. It returns how long the agent took.
func (a *agent) stop() time.Duration {
	began := time.Now()
	a.cancel()
	<-a.ended
	return time.Since(began)
}

// kill is SIGKILL: nothing that the agent still does has an effect.
func (a *agent) kill() {
	a.link.set(func(k *link) { k.cut = true })
	a.cancel()
}

// end ends all agents.
func (w *world) end() {
	for _, a := range w.agents {
		a.cancel()
	}
	for _, a := range w.agents {
		<-a.ended
	}
	time.Sleep(time.Second) // what was late arrives
	synctest.Wait()
}

// audit tells what is wrong with the stream's whole history; "" when nothing is.
func (w *world) audit() string {
	w.memory.mu.Lock()
	faults := slices.Clone(w.memory.faults)
	w.memory.mu.Unlock()
	if len(faults) > 0 {
		return faults[0]
	}
	return protocolFault(w.memory.history())
}

// protocolFault holds a history to the writer's protocol: epochs that only grow,
// revisions that count from 1 without a gap, nothing of an epoch after the next
// one's record, and no revision with two contents.
func protocolFault(history []kept) string {
	var epoch, revision uint64
	bodies := map[uint64][]byte{}
	for _, k := range history {
		if w, own := k.fact.Writer.Cluster(); !own || w != cluster {
			continue
		}
		if k.fact.Kind == registry.KindEpoch && k.epoch != epoch {
			if k.epoch < epoch {
				return fmt.Sprintf("epoch %d begins after %d (sequence %d)", k.epoch, epoch, k.sequence)
			}
			epoch, revision = k.epoch, 0
			clear(bodies)
		}
		if m := k.message(); m.Refused != nil {
			return fmt.Sprintf("sequence %d can't be read: %v", k.sequence, m.Refused)
		}
		was, known := bodies[k.revision]
		switch {
		case k.epoch != epoch:
			return fmt.Sprintf("sequence %d is of epoch %d, in epoch %d", k.sequence, k.epoch, epoch)
		case known && !bytes.Equal(was, k.body):
			return fmt.Sprintf("epoch %d revision %d has two contents:\n%s\n%s", epoch, k.revision, was, k.body)
		case !known && k.revision != revision+1:
			return fmt.Sprintf("epoch %d: revision %d follows %d (sequence %d)", epoch, k.revision, revision, k.sequence)
		case !known:
			revision, bodies[k.revision] = k.revision, k.body
		}
	}
	return ""
}

func fold(messages []kept) *registry.View {
	f := registry.NewFold()
	for _, k := range messages {
		f.Apply(k.message())
	}
	f.Synced()
	return f.View()
}

// view is what any reader sees.
func (w *world) view() *registry.View { return fold(w.memory.lastPerFact("")) }

// published returns the services with instances that readers see of the cluster.
func (w *world) published() registry.Snapshot {
	var all []registry.Service
	for name := range w.view().Names() {
		for _, e := range name.Entries {
			if r := e.Record(cluster); r != nil && !r.Tombstone() {
				all = append(all, r.Service)
			}
		}
	}
	return registry.NewSnapshot("", all...)
}

// difference tells how what readers see differs from what they should see; ""
// when it does not. Both ways of reading, and the lease, must agree.
func (w *world) difference(want registry.Snapshot) string {
	last, whole := w.view(), fold(w.memory.history())
	if !bytes.Equal(last.AppendCanonical(nil), whole.AppendCanonical(nil)) {
		return "the last message of each fact and the whole history give different views"
	}
	if changes := registry.Diff(w.published(), populated(want)); len(changes) > 0 {
		return fmt.Sprintf("%d services differ from the registry; of the first, %s, it differs in %+v",
			len(changes), changes[0].Key, *registry.Compare(changes[0].Old, changes[0].New))
	}
	l, ok := w.memory.standingLease()
	c := last.Cluster(cluster)
	switch {
	case !ok || c == nil:
		return "there is no lease, or nothing of the cluster"
	case l.Phase != registry.PhaseSynced && l.Phase != registry.PhaseStopped:
		return fmt.Sprintf("the phase is %s (%s)", l.Phase, l.Detail)
	}
	type point struct {
		Epoch, Revision uint64
		Keys            int
		Digest          registry.Digest
	}
	return cmp.Diff(point{c.Epoch, c.Revision, c.Services, c.Digest}, point{l.Epoch, l.Revision, l.Keys, l.Digest})
}

// populated leaves out services without instances.
func populated(s registry.Snapshot) registry.Snapshot {
	var all []registry.Service
	for v := range s.Services() {
		if len(v.Instances) > 0 {
			all = append(all, *v)
		}
	}
	return registry.NewSnapshot("", all...)
}

// mustEqual fails the test when, with the next renewal of the lease, the stream is
// not what the registry says.
func (w *world) mustEqual(t *testing.T, want registry.Snapshot) {
	t.Helper()
	time.Sleep(2100 * time.Millisecond)
	synctest.Wait()
	if d := w.difference(want); d != "" {
		t.Error(d)
	}
}

// epochs returns the epochs that were begun, oldest first.
func (w *world) epochs() []uint64 {
	var epochs []uint64
	for _, k := range w.memory.history() {
		if k.fact.Kind == registry.KindEpoch && !slices.Contains(epochs, k.epoch) {
			epochs = append(epochs, k.epoch)
		}
	}
	return epochs
}

// since returns the messages of the cluster's services and record after a sequence.
func (w *world) since(sequence uint64) []registry.Message {
	var out []registry.Message
	for _, k := range w.memory.history() {
		if k.sequence > sequence && (k.fact.Kind == registry.KindService || k.fact.Kind == registry.KindCluster) {
			out = append(out, k.message())
		}
	}
	return out
}

// sequence returns the stream's last sequence.
func (w *world) sequence() uint64 {
	w.memory.mu.Lock()
	defer w.memory.mu.Unlock()
	return w.memory.last
}
