package edge_test

import (
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/sync/edge"
)

func in(namespace, name string, instances int) registry.Service {
	s := service(name, instances)
	s.Key.Namespace = namespace
	return s
}

// refusals collects what an agent refuses.
type refusals struct {
	mu  sync.Mutex
	all []registry.Refusal
}

func (r *refusals) add(f *registry.Refusal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, *f)
}

func (r *refusals) count(reason string) (count int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.all {
		if f.Reason == reason {
			count++
		}
	}
	return count
}

func TestReloadWithinTheEpoch(t *testing.T) {
	inWorld(t, newWorld(append(services(5), in("shop", "cart", 2), in("shop", "internal-tax", 1))...), func(t *testing.T, w *world) {
		a := w.start("one")
		settings := w.settings
		want := func(s ...registry.Service) {
			t.Helper()
			settle()
			w.mustEqual(t, registry.NewSnapshot("", s...))
		}

		before := w.sequence()
		settings.Region, settings.Labels = "us", map[string]string{"tier": "prod"}
		a.Reload(settings)
		settle()
		if got := w.since(before); len(got) != 1 || got[0].Event.Cluster == nil || got[0].Event.Cluster.Region != "us" {
			t.Errorf("new labels published %v", got)
		}

		settings.Export.Exclude = []registry.Pattern{"*/internal-*", "default/*"}
		a.Reload(settings)
		want(in("shop", "cart", 2))

		settings.Export.Exclude = nil
		a.Reload(settings)
		want(append(services(5), in("shop", "cart", 2), in("shop", "internal-tax", 1))...)

		settings.Export.Rename = []edge.Rename{{From: "shop/*", To: "eu-shop/x-*"}}
		a.Reload(settings)
		cart, tax := in("shop", "cart", 2), in("shop", "internal-tax", 1)
		cart.Key = registry.ServiceKey{Namespace: "eu-shop", Name: "x-cart"}
		tax.Key = registry.ServiceKey{Namespace: "eu-shop", Name: "x-internal-tax"}
		want(append(services(5), cart, tax)...)
		if e, known := w.view().Service(registry.ServiceKey{Namespace: "shop", Name: "cart"}); !known || !e.Record(cluster).Tombstone() {
			t.Error("the old name is not a tombstone")
		}

		settings.Export.DefaultNone, settings.Export.Include = true, []registry.Pattern{"default/s0001"}
		a.Reload(settings)
		want(services(2)[1])

		settings.Gateways = append(settings.Gateways, registry.Gateway{Name: "gw-2", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.2")}})
		a.Reload(settings)
		settle()
		if got := len(w.view().Cluster(cluster).Record.Gateways); got != 2 {
			t.Errorf("%d gateways", got)
		}
		if got := len(w.epochs()); got != 1 {
			t.Errorf("%d epochs, want 1", got)
		}
		if s := a.Status(); s.Holds != 0 {
			t.Errorf("%d holds: what the operator takes away is not suspicious", s.Holds)
		}
	})
}

func TestReloadWhileTheRegistryIsDown(t *testing.T) {
	inWorld(t, newWorld(services(5)...), func(t *testing.T, w *world) {
		a := w.start("one")
		a.source.set(func(s *source) { s.watchErr = errRegistry })
		settle()
		settings := w.settings
		settings.Export.Exclude = []registry.Pattern{"default/s0001"}
		a.Reload(settings)
		settle()
		if w.published().Service(key("s0001")) != nil {
			t.Error("what the operator excluded is still published")
		}
		a.source.set(func(s *source) { s.watchErr = nil })
		time.Sleep(15 * time.Second)
	})
}

// Two services that would leave under one name: the one that has it by itself
// stands, then the lexically first; when that goes, the next takes its place.
func TestRenamesThatMeet(t *testing.T) {
	w := newWorld(in("a", "web", 1), in("b", "web", 2), in("default", "web", 3))
	w.settings.Export.Rename = []edge.Rename{{From: "a/*", To: "default/*"}, {From: "b/*", To: "default/*"}}
	inWorld(t, w, func(t *testing.T, w *world) {
		var refused refusals
		w.refused = refused.add
		w.start("one")
		steps := []struct {
			change func()
			want   int // instances of default/web
		}{
			{func() {}, 3},
			{func() { w.catalogue.put(in("a", "web", 5)) }, 3},
			{func() { w.catalogue.remove("web") }, 5},
			{func() { w.catalogue.put(in("b", "web", 7)) }, 5},
			{func() { w.catalogue.put(in("a", "web", 0)) }, 0},
			{func() { w.catalogue.replace(in("b", "web", 7)) }, 7},
			{func() { w.catalogue.put(in("a", "web", 2)) }, 2},
			{func() { w.catalogue.put(in("default", "web", 1)) }, 1},
			{func() { w.catalogue.replace() }, 0},
		}
		for n, step := range steps {
			step.change()
			time.Sleep(5 * time.Second)
			got := 0
			if s := w.published().Service(key("web")); s != nil {
				got = len(s.Instances)
			}
			if got != step.want {
				t.Errorf("step %d: default/web has %d instances, want %d", n, got, step.want)
			}
		}
		if refused.count("export-conflict") < 3 {
			t.Errorf("conflicts were not told: %v", refused.all)
		}
		for s := range w.published().Services() {
			t.Errorf("%s is left", s.Key)
		}
	})
}

func TestGatewaysFromTheRegistry(t *testing.T) {
	gateways := service("ingress", 2)
	gateways.Instances[1].Health = registry.Critical
	w := newWorld(append(services(20), gateways)...)
	w.settings.FromService = &edge.GatewayService{Key: key("ingress"), PortName: "http"}
	inWorld(t, w, func(t *testing.T, w *world) {
		var refused refusals
		w.refused = refused.add
		a := w.start("one")
		names := func() (names []string) {
			settle()
			for _, g := range w.view().Cluster(cluster).Record.Gateways {
				names = append(names, g.Name)
			}
			return names
		}
		if got := names(); len(got) != 2 || got[1] != "ingress-000" {
			t.Errorf("gateways %v", got)
		}
		both := service("ingress", 3)
		both.Instances[2].Address = "169.254.169.254"
		w.catalogue.put(both)
		if got := names(); len(got) != 3 || a.Status().Gateways != 3 {
			t.Errorf("gateways %v", got)
		}
		if refused.count("gateway-address") == 0 {
			t.Error("a metadata address was not refused")
		}
		before := w.sequence()
		w.catalogue.put(both) // the same again
		settle()
		if got := w.since(before); len(got) > 0 {
			t.Errorf("published %v", got[0].Fact)
		}
		w.catalogue.remove("ingress")
		if got := names(); len(got) != 1 {
			t.Errorf("gateways %v", got)
		}
	})
}

// What the operator wrote down may still be more than a reader takes. Such a record
// would be refused by every reader, or by the server for ever.
func TestARecordThatNobodyCouldReadIsNotPublished(t *testing.T) {
	inWorld(t, newWorld(services(3)...), func(t *testing.T, w *world) {
		var refused refusals
		w.refused = refused.add
		a := w.start("one")
		before := w.sequence()
		settings := w.settings
		settings.Region = "a region\nof two lines"
		a.Reload(settings)
		settle()
		if refused.count("cluster-text") == 0 {
			t.Errorf("refused: %v", refused.all)
		}
		if got := w.since(before); len(got) > 0 {
			t.Errorf("published %v", got[0].Fact)
		}
		w.catalogue.put(service("new", 1))
		settle()
		w.mustEqual(t, w.catalogue.now())
	})
}

func TestAnOrderedResyncBeginsOneEpochAndMends(t *testing.T) {
	inWorld(t, newWorld(services(10)...), func(t *testing.T, w *world) {
		a, b := w.start("one"), w.start("two")
		time.Sleep(time.Minute)
		// The stream loses something that the agent believes to stand there.
		lost := registry.Fact{Writer: "amber", Kind: registry.KindService, Service: key("s0003")}
		w.memory.forget(lost)
		for _, by := range []string{"reader-1", "reader-2", "reader-3"} { // they find it at the same time
			w.memory.order(cluster, by)
		}
		w.memory.order("bronze", "reader-1")
		settle()
		if got := len(w.epochs()); got != 2 || !leading(a) || leading(b) {
			t.Errorf("%d epochs, one leads: %v, two: %v", got, leading(a), leading(b))
		}
		if w.published().Service(key("s0003")) == nil {
			t.Error("what was lost is not there again")
		}
		w.memory.order(cluster, "reader-4") // that one is late: it waits until the epoch has stood for a while
		time.Sleep(8 * time.Second)
		if got := len(w.epochs()); got != 2 {
			t.Errorf("%d epochs", got)
		}
		time.Sleep(10 * time.Second)
		if got := len(w.epochs()); got != 3 {
			t.Errorf("%d epochs: the late order was dropped", got)
		}
		time.Sleep(time.Hour)
		a.stop() // what was ordered while two stood by was done by one
		time.Sleep(time.Minute)
		if got := len(w.epochs()); got != 4 || !leading(b) {
			t.Errorf("%d epochs after a stop, two leads: %v", got, leading(b))
		}
	})
}
