package compile_test

import (
	"testing"

	"github.com/miekg/dns"

	"github.com/seamark-mesh/seamark/dnsserver/compile"
	"github.com/seamark-mesh/seamark/dnsserver/lookup/lookuptest"
	"github.com/seamark-mesh/seamark/registry"
)

// TestSetLeftOutIsCompiledOnceThereIsRoom: what was left to the complete path when the
// compiled answers had come to their bound does not stay there for good.
func TestSetLeftOutIsCompiledOnceThereIsRoom(t *testing.T) {
	t.Parallel()
	world := lookuptest.Harbours()
	fold := registry.NewFold()
	fold.Synced()
	var store registry.Store
	watcher, compiler := store.Watch(), compile.NewCompiler()
	applied := 0
	update := func() *compile.Table {
		all := world.Messages()
		for _, m := range all[applied:] {
			fold.Apply(m)
		}
		applied = len(all)
		store.Publish(fold.View())
		v, delta, _ := watcher.Poll()
		return compiler.Update(v, delta)
	}
	query := question("web.shop.svc.mesh.internal.", dns.TypeA)
	compiler.SetLimit(1)
	cramped := update()
	if cramped.Left() == 0 || cramped.Left() >= cramped.Sets() || compare(t, cramped, query, 0) {
		t.Fatalf("with room for one set, %d of %d are left out", cramped.Left(), cramped.Sets())
	}
	compiler.SetLimit(1 << 20)
	world.Service("amber", "lab", "else", lookuptest.Instance("i", registry.Passing, "1")) // another name changes
	roomy := update()
	if roomy.Left() != 0 || !compare(t, roomy, query, 0) {
		t.Errorf("with room for all, %d sets are left out", roomy.Left())
	}
	if whole := tableOf(roomy.View()); roomy.Bytes() != whole.Bytes() {
		t.Errorf("%d bytes are counted, not %d", roomy.Bytes(), whole.Bytes())
	}
	if cramped.Left() == 0 || compare(t, cramped, query, 0) {
		t.Error("the earlier table was touched")
	}
}

// TestForgottenSetIsNotLeftOut: a set that nobody needs any more is not counted among
// those for which there is no room.
func TestForgottenSetIsNotLeftOut(t *testing.T) {
	t.Parallel()
	compiler := compile.NewCompiler()
	compiler.SetLimit(0)
	v := lookuptest.Harbours().View()
	before := compiler.Update(v, registry.Delta{All: true}).Left()
	world := lookuptest.Harbours()
	world.Forget("cobalt", "lab", "alone")
	after := compiler.Update(world.View(), registry.Delta{Names: []registry.Labels{{Namespace: "lab", Name: "alone"}}}).Left()
	if after >= before {
		t.Errorf("%d sets are left out, then %d", before, after)
	}
}

// TestBranchIsNoAnswerWhileAServiceIsLookedFor: a namespace's own name may be a service's,
// too, as long as something is still looked for.
func TestBranchIsNoAnswerWhileAServiceIsLookedFor(t *testing.T) {
	t.Parallel()
	fold := registry.NewFold()
	for _, m := range lookuptest.Harbours().Messages() {
		fold.Apply(m)
	}
	fold.Synced()
	query := question("lab.svc.mesh.internal.", dns.TypeA)
	if !compare(t, tableOf(fold.View()), query, 0) {
		t.Error("a namespace's name goes the complete path")
	}
	fold.Missing(registry.Fact{Writer: "amber", Kind: registry.KindService, Service: registry.ServiceKey{Namespace: "default", Name: "lab"}}, true)
	if compare(t, tableOf(fold.View()), query, 0) {
		t.Error("NODATA where a service may be")
	}
}
