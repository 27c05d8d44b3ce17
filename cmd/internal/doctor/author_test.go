package doctor

import (
	"crypto/rand"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/replica"
	"github.com/seamark-mesh/seamark/registry/stream"
)

// author writes on a real stream as an agent or the observer does.
type author struct {
	t        *testing.T
	conn     *stream.Conn
	writer   registry.Writer
	epoch    uint64
	revision uint64
	fence    uint64
	fences   []registry.Fence
	lease    uint64
	folded   registry.Digest
}

func newAuthor(t *testing.T, conn *stream.Conn, w registry.Writer) *author {
	a := &author{t: t, conn: conn, writer: w}
	a.takeover(string(w) + "@one/1")
	return a
}

func (a *author) event(kind registry.Kind) *registry.Event {
	a.revision++
	return &registry.Event{
		Schema: registry.Schema, ID: fmt.Sprintf("%s-%d-%d-%s", a.writer, a.epoch, a.revision, rand.Text()),
		Kind: kind, Writer: a.writer, Epoch: a.epoch, Revision: a.revision, Time: time.Now().UTC(), Agent: "test", Cause: registry.CauseChange,
	}
}

// takeover begins the next epoch by an agent.
func (a *author) takeover(agent string) {
	a.t.Helper()
	a.epoch, a.revision = max(a.epoch+1, uint64(time.Now().Unix())), 0
	e := a.event(registry.KindEpoch)
	e.Agent, e.Takeover = agent, &registry.EpochRecord{Version: "test", Fences: a.fences}
	fence, err := a.conn.Writer(a.writer).PutEpoch(a.t.Context(), e, a.fence)
	if err != nil {
		a.t.Fatal(err)
	}
	a.fence, a.fences = fence, append(a.fences, registry.Fence{Epoch: a.epoch, Sequence: fence})
}

func (a *author) publish(e *registry.Event) {
	a.t.Helper()
	if _, err := a.conn.Writer(a.writer).Publish(a.t.Context(), []*registry.Event{e}, a.fence); err != nil {
		a.t.Fatal(err)
	}
}

func (a *author) cluster(gateways ...registry.Gateway) {
	a.t.Helper()
	e := a.event(registry.KindCluster)
	e.Cluster = &registry.ClusterRecord{Cluster: registry.ClusterID(a.writer), Source: "file", Gateways: gateways}
	a.folded = a.folded.XOR(e.Cluster.Digest())
	a.publish(e)
}

func (a *author) service(name string) {
	a.t.Helper()
	key, err := registry.ParseServiceKey("default", name)
	if err != nil {
		a.t.Fatal(err)
	}
	e := a.event(registry.KindService)
	state := registry.NewServiceState(key, &registry.Service{Key: key, Instances: []registry.Instance{{ID: "one", Address: "10.0.0.1", Port: 80, Weight: 1, Health: registry.Passing}}})
	e.Service = &state
	a.folded = a.folded.XOR(state.Digest())
	a.publish(e)
}

func (a *author) note(n registry.Note) {
	a.t.Helper()
	e := a.event(registry.KindNote)
	e.Note = &n
	a.publish(e)
}

// renew writes the lease as it should be, but for a change.
func (a *author) renew(change func(*registry.Lease)) {
	a.t.Helper()
	l := registry.Lease{
		Schema: registry.Schema, Writer: a.writer, Agent: string(a.writer) + "@one/1", Phase: registry.PhaseSynced,
		Epoch: a.epoch, Revision: a.revision, Digest: a.folded, Time: time.Now().UTC(), Source: "file",
	}
	if change != nil {
		change(&l)
	}
	sequence, err := a.conn.Writer(a.writer).PutLease(a.t.Context(), l, a.lease)
	if err != nil {
		a.t.Fatal(err)
	}
	a.lease = sequence
}

// report writes what a vantage point sees of the author's gateway gw-1.
func (a *author) report(vantage string, reached bool) {
	a.t.Helper()
	g := registry.GatewayReport{Name: "gw-1", Reached: reached, Since: time.Now().UTC()}
	if reached {
		g.Latency = &registry.Latency{Count: 3, Min: 1, Mean: 2, P99: 3}
	} else {
		g.Error = "connection refused"
	}
	a.reportGateway(vantage, g)
}

func (a *author) reportGateway(vantage string, g registry.GatewayReport) {
	a.t.Helper()
	r := registry.ProbeReport{Schema: registry.Schema, Vantage: vantage, Agent: "x", Cluster: registry.ClusterID(a.writer), Time: time.Now().UTC(), Gateways: []registry.GatewayReport{g}, Every: 10}
	if _, err := a.conn.PutProbe(a.t.Context(), r); err != nil {
		a.t.Fatal(err)
	}
}

// seed writes the zone record.
func seed(t *testing.T, conn *stream.Conn) {
	t.Helper()
	if _, err := replica.SeedZone(t.Context(), conn, zoneRecord, "test", time.Now()); err != nil {
		t.Fatal(err)
	}
}

// raw stores a message as somebody does who knows nothing of events.
func raw(t *testing.T, conn *stream.Conn, subject string) {
	t.Helper()
	if _, err := conn.NATS().RequestMsgWithContext(t.Context(), &nats.Msg{Subject: subject, Data: []byte("no event")}); err != nil {
		t.Fatal(err)
	}
}
