package compile_test

import (
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/seamark-mesh/seamark/dnsserver/compile"
	"github.com/seamark-mesh/seamark/dnsserver/lookup/lookuptest"
	"github.com/seamark-mesh/seamark/registry"
)

// follower takes one Compiler through a world that is being written.
type follower struct {
	world    *lookuptest.World
	fold     *registry.Fold
	taken    int
	store    registry.Store
	watcher  *registry.Watcher
	compiler *compile.Compiler
}

func newFollower() *follower {
	f := &follower{world: &lookuptest.World{}, fold: registry.NewFold(), compiler: compile.NewCompiler()}
	f.fold.Synced()
	f.watcher = f.store.Watch()
	f.world.Zone(lookuptest.Zone())
	return f
}

func (f *follower) table() *compile.Table {
	messages := f.world.Messages()
	for _, m := range messages[f.taken:] {
		f.fold.Apply(m)
	}
	f.taken = len(messages)
	f.store.Publish(f.fold.View())
	v, delta, _ := f.watcher.Poll()
	return f.compiler.Update(v, delta)
}

// said returns the reply of the fast path as text; "" when it gives none.
func said(table *compile.Table, name string, qtype uint16, options ...byte) string {
	out := make([]byte, compile.Room)
	length, _ := table.Reply(out, question(name, qtype, options...), &compile.Terms{Payload: payload})
	if length == 0 {
		return ""
	}
	return text(out[:length])
}

// Many services share a set, which is made from one of them. Another that shares it
// must not be answered as that one, once it is drained.
func TestSetOutlivesTheServiceItWasMadeFrom(t *testing.T) {
	t.Parallel()
	f := newFollower()
	for _, id := range []registry.ClusterID{"amber", "bronze"} {
		f.world.Cluster(id, lookuptest.Gateway("gw", 1, 80, map[registry.ClusterID]string{"amber": "192.0.2.1", "bronze": "192.0.2.2"}[id]))
		for _, name := range []string{"first", "second"} {
			f.world.Service(id, "lab", name, lookuptest.Instance("i", registry.Passing, "1"))
		}
	}
	f.table()
	f.world.Order(registry.Order{Kind: registry.OrderDrain, Target: "first.lab.amber", Force: true})
	f.table()
	f.world.Cluster("amber", lookuptest.Gateway("gw", 1, 80, "192.0.2.9"))
	table := f.table()
	if got := said(table, "second.lab.svc.mesh.internal.", dns.TypeA); !strings.Contains(got, "192.0.2.9") || !strings.Contains(got, "192.0.2.2") {
		t.Errorf("second is answered without one of its clusters:\n%s", got)
	}
	if got := said(table, "first.lab.svc.mesh.internal.", dns.TypeA); strings.Contains(got, "192.0.2.9") || !strings.Contains(got, "192.0.2.2") {
		t.Errorf("first, drained in amber, is answered with\n%s", got)
	}
}

// What may no longer hold is said on the fast path too: nothing that fails makes
// answers dear.
func TestStaleAnswersTakeTheFastPath(t *testing.T) {
	f := newFollower()
	f.world.Cluster("amber", lookuptest.Gateway("gw", 1, 80, "192.0.2.1"))
	f.world.Service("amber", "lab", "web", lookuptest.Instance("i", registry.Passing, "1"))
	f.world.State("amber", registry.Stale)
	table := f.table()
	got := said(table, "web.lab.svc.mesh.internal.", dns.TypeA, opt(1232, false)...)
	for _, want := range []string{"192.0.2.1", "\t2\tIN", "EDE: 3 (Stale Answer): (amber stale since 2026-01-02T03:04:"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
	if got := said(table, "web.lab.svc.mesh.internal.", dns.TypeA); !strings.Contains(got, "192.0.2.1") || strings.Contains(got, "EDE") {
		t.Errorf("without EDNS:\n%s", got)
	}
	terms, out := compile.Terms{Payload: payload}, make([]byte, compile.Room)
	query := question("web.lab.svc.mesh.internal.", dns.TypeA, opt(1232, false)...)
	if n := testing.AllocsPerRun(100, func() { table.Reply(out, query, &terms) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestCutOffMovesNoName: what is said with every answer, and how long it may be kept,
// follows from a few sets; the loss of NATS is no reason to compile all names.
func TestCutOffMovesNoName(t *testing.T) {
	t.Parallel()
	f := newFollower()
	f.world.Cluster("amber", lookuptest.Gateway("gw", 1, 80, "192.0.2.1"))
	f.world.Service("amber", "lab", "web", lookuptest.Instance("i", registry.Passing, "1"))
	before := f.table()
	current := f.store.View()
	publish := func(v *registry.View) *compile.Table {
		f.store.Publish(v)
		v, delta, _ := f.watcher.Poll()
		return f.compiler.Update(v, delta)
	}
	asked := func(table *compile.Table) string {
		return said(table, "web.lab.svc.mesh.internal.", dns.TypeA, opt(1232, false)...)
	}
	cut := publish(current.CutOff(registry.Cut{Since: time.Unix(1_800_000_000, 0), Reason: "a test"}))
	for _, want := range []string{"192.0.2.1", "\t2\tIN", "EDE: 3 (Stale Answer): (as known at 2027-01-15T08:00:00Z: a test)"} {
		if got := asked(cut); !strings.Contains(got, want) {
			t.Errorf("cut off: %q is not in\n%s", want, got)
		}
	}
	back := publish(current)
	if got := asked(back); got != asked(before) || !strings.Contains(got, "\t5\tIN") || strings.Contains(got, "EDE") {
		t.Errorf("current again:\n%s\nbefore:\n%s", got, asked(before))
	}
	for _, after := range []*compile.Table{cut, back} {
		if shared, all := after.SharedShards(before), before.SharedShards(before); shared != all {
			t.Errorf("%d of %d shards are as they were", shared, all)
		}
	}
}
