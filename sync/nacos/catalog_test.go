package nacos

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/seamark-mesh/seamark/registry"
)

func one(ip string) reading {
	return reading{hosts: []host{{ID: ip, IP: ip, Port: 80, Weight: 1, Healthy: true, Enabled: true}}}
}

func TestNamesThatMeet(t *testing.T) {
	plain := &unit{namespace: "public", as: "default", group: "Z"} // the last by name
	payment := &unit{namespace: "public", as: "default", group: "PAYMENT", suffix: "-payment"}
	exact, made := origin{plain, "card-payment"}, origin{payment, "card"}
	var told refusals
	c := newCatalog(told.add)
	says := func(want string) {
		t.Helper()
		snapshot, _ := c.flush()
		if got := brief(snapshot, "card-payment"); got != want {
			t.Errorf("card-payment is %q, want %q", got, want)
		}
	}
	c.put(made, made.mapped(one("192.0.2.2")))
	says("192.0.2.2 passing*1")
	c.put(exact, exact.mapped(one("192.0.2.1")))
	says("192.0.2.1 passing*1") // the exact name, not the first or the last that came
	c.put(made, made.mapped(one("192.0.2.3")))
	says("192.0.2.1 passing*1")
	if got := told.reasons(); got["group-conflict"] != 1 || len(got) != 1 {
		t.Errorf("refused %v, want one conflict", got)
	}
	c.put(exact, exact.mapped(reading{}))
	says("192.0.2.3 passing*1")
	c.forget(made)
	says("absent")
	c.forget(exact)
	if len(c.claims)+len(c.services) != 0 {
		t.Errorf("the catalog keeps %v and %v", c.claims, c.services)
	}
}

func TestFlushTellsOnlyWhatChanged(t *testing.T) {
	o := origin{&unit{namespace: "public", as: "default", group: "A"}, "orders"}
	c := newCatalog(func(*registry.Refusal) {})
	for n, tt := range []struct {
		reading reading
		changed bool
	}{
		{reading{}, false}, {one("192.0.2.1"), true}, {one("192.0.2.1"), false}, {one("192.0.2.2"), true}, {reading{}, true}, {reading{}, false},
	} {
		c.put(o, o.mapped(tt.reading))
		if _, changed := c.flush(); changed != tt.changed {
			t.Errorf("step %d: changed = %v", n, changed)
		}
	}
}

func TestRefusalsAreToldOnce(t *testing.T) {
	o := origin{&unit{namespace: "public", as: "default", group: "A"}, "orders"}
	var told refusals
	c := newCatalog(told.add)
	bad := func(names ...string) reading {
		r := one("192.0.2.1")
		for _, name := range names {
			r.hosts = append(r.hosts, host{ID: name, IP: "not an address", Enabled: true})
		}
		return r
	}
	for n, tt := range []struct {
		reading reading
		want    int // told so far
	}{
		{bad("a"), 1}, {bad("a"), 1}, {bad("a", "b"), 2}, {bad("b"), 2}, {bad("a", "b"), 3}, {one("192.0.2.1"), 3}, {bad("a"), 4},
	} {
		c.put(o, o.mapped(tt.reading))
		if got := told.reasons()["instance-address"]; got != tt.want {
			t.Errorf("step %d: told %d times, want %d", n, got, tt.want)
		}
	}
	var many []string
	for n := range 10 * tellAtMost {
		many = append(many, fmt.Sprint("m-", n))
	}
	c.put(o, o.mapped(bad(many...)))
	if got := told.reasons()["instance-address"]; got > 4+tellAtMost {
		t.Errorf("one service made %d reports", got)
	}
}

// TestCatalogDoesNotDependOnOrder: whatever the way to it, the snapshot follows
// from the last reading of each service.
func TestCatalogDoesNotDependOnOrder(t *testing.T) {
	units := []*unit{
		{namespace: "public", as: "default", group: "A"},
		{namespace: "public", as: "default", group: "B", suffix: "-b"},
		{namespace: "other", as: "default", group: "A", suffix: "-b-b"},
	}
	rapid.Check(t, func(t *rapid.T) {
		last := make(map[origin]reading)
		walk := newCatalog(func(*registry.Refusal) {})
		for range rapid.IntRange(0, 40).Draw(t, "steps") {
			o := origin{rapid.SampledFrom(units).Draw(t, "unit"), rapid.SampledFrom([]string{"x", "x-b", "x-b-b"}).Draw(t, "name")}
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				walk.forget(o)
				delete(last, o)
			case 1:
				walk.put(o, o.mapped(reading{}))
				last[o] = reading{}
			default:
				r := one(fmt.Sprintf("192.0.2.%d", rapid.IntRange(1, 3).Draw(t, "ip")))
				walk.put(o, o.mapped(r))
				last[o] = r
			}
			if rapid.Bool().Draw(t, "flush") {
				walk.flush()
			}
		}
		got, _ := walk.flush()
		var order []origin
		for o := range last {
			order = append(order, o)
		}
		rand.Shuffle(len(order), func(a, b int) { order[a], order[b] = order[b], order[a] })
		direct := newCatalog(func(*registry.Refusal) {})
		for _, o := range order {
			direct.put(o, o.mapped(last[o]))
		}
		want, _ := direct.flush()
		if changes := registry.Diff(want, got); len(changes) > 0 || got.Len() != want.Len() {
			t.Fatalf("snapshots differ: %v", changes)
		}
	})
}
