package compile_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"pgregory.net/rapid"

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
	f.world.Cluster("amber", lookuptest.Gateway("gw", 1, 80, "192.0.2.1"))
	f.world.Cluster("bronze", lookuptest.Gateway("gw", 1, 80, "192.0.2.2"))
	for _, name := range []string{"first", "second"} {
		for _, id := range []registry.ClusterID{"amber", "bronze"} {
			f.world.Service(id, "lab", name, lookuptest.Instance("i", registry.Passing, "1"))
		}
		f.table()
	}
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

// TestDrainedServicesThatShareSets takes a few services that are answered alike through
// drains of single ones, of clusters and of gateways, and through what compiles their
// sets anew.
func TestDrainedServicesThatShareSets(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		f := newFollower()
		clusters, names := []registry.ClusterID{"amber", "bronze"}, []string{"a", "b", "c"}
		for _, name := range names {
			for n, id := range clusters {
				f.world.Cluster(id, lookuptest.Gateway("gw", 1, 80, fmt.Sprint("192.0.2.20", n)))
				f.world.Service(id, "lab", name, lookuptest.Instance("i", registry.Passing, "1"))
			}
			f.table()
		}
		for step := range rapid.IntRange(5, 30).Draw(t, "steps") {
			cluster, name := rapid.SampledFrom(clusters).Draw(t, "cluster"), rapid.SampledFrom(names).Draw(t, "name")
			target := rapid.SampledFrom([]string{string(cluster), "gw." + string(cluster), name + ".lab." + string(cluster), name + ".lab." + string(cluster)}).Draw(t, "target")
			switch rapid.IntRange(0, 5).Draw(t, "what") {
			case 0:
				f.world.Cluster(cluster, lookuptest.Gateway("gw", 1, 80, fmt.Sprint("192.0.2.", step+1)))
			case 1:
				f.world.State(cluster, rapid.SampledFrom([]registry.Liveness{registry.Up, registry.Stale}).Draw(t, "state"))
			case 2:
				f.world.Service(cluster, "lab", name, lookuptest.Instance("i", rapid.SampledFrom([]registry.Health{registry.Passing, registry.Critical}).Draw(t, "health"), "1"))
			default:
				f.world.Order(registry.Order{
					Kind: registry.OrderDrain, Target: target, Force: rapid.Bool().Draw(t, "force"), Lifted: rapid.Bool().Draw(t, "lifted"),
				})
			}
			table := f.table()
			for _, name := range names {
				for _, above := range []string{"svc", "amber.cluster", "bronze.cluster"} {
					compare(t, table, question(name+".lab."+above+".mesh.internal.", dns.TypeA, opt(1232, false)...), 0)
				}
			}
		}
	})
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

// TestDrainOfAServiceMovesItsNamesOnly: it compiled everything anew.
func TestDrainOfAServiceMovesItsNamesOnly(t *testing.T) {
	t.Parallel()
	f := newFollower()
	f.world.Cluster("amber", lookuptest.Gateway("gw", 1, 80, "192.0.2.1"))
	for n := range 500 {
		f.world.Service("amber", "lab", fmt.Sprint("s", n), lookuptest.Instance("i", registry.Passing, "1"))
	}
	before := f.table()
	all := before.SharedShards(before)
	drain := registry.Order{Kind: registry.OrderDrain, Target: "s7.lab.amber", Force: true}
	f.world.Order(drain)
	drained := f.table()
	if got := said(drained, "s7.lab.svc.mesh.internal.", dns.TypeA); got == "" || strings.Contains(got, "192.0.2.1") {
		t.Errorf("drained, it is answered with\n%s", got)
	}
	drain.Lifted = true
	f.world.Order(drain)
	lifted := f.table()
	if got := said(lifted, "s7.lab.svc.mesh.internal.", dns.TypeA); !strings.Contains(got, "192.0.2.1") {
		t.Errorf("no more drained, it is answered with\n%s", got)
	}
	for _, after := range []*compile.Table{drained, lifted} {
		if shared := after.SharedShards(before); shared < all-2 { // the service has two names
			t.Errorf("%d of %d shards are as they were", shared, all)
		}
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
