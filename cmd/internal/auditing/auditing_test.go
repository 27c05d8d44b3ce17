package auditing

import (
	"strings"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/audit"
	"github.com/seamark-mesh/seamark/registry"
)

// Only where it is certain which service answers at a name may the rest of the registry
// stay unread.
func TestNamesOfServices(t *testing.T) {
	t.Parallel()
	const zone = "mesh.internal."
	checkout := registry.Labels{Namespace: "default", Name: "checkout"}
	shop := registry.Labels{Namespace: "shop", Name: "cart"}
	for name, want := range map[string]registry.Labels{
		"checkout.svc.mesh.internal":                         checkout,
		"Checkout.SVC.mesh.internal.":                        checkout,
		"checkout.default.svc.mesh.internal":                 checkout,
		"cart.shop.svc.mesh.internal":                        shop,
		"_http._tcp.cart.shop.svc.mesh.internal":             shop,
		"cart.shop.amber.cluster.mesh.internal":              shop,
		"_http._tcp.cart.shop.amber.cluster.mesh.internal":   shop,
		"cart.svc.svc.mesh.internal":                         {}, // the namespace is called svc
		"gw-1.amber.gw.mesh.internal":                        {},
		"mesh.internal":                                      {},
		"a.b.c.d.svc.mesh.internal":                          {},
		"cart.shop.amber.too.cluster.mesh.internal":          {},
		"checkout.svc.mesh.example":                          {},
		"x.checkout.svc.mesh.internal":                       {Namespace: "checkout", Name: "x"},
		"checkout.shop.svc.elsewhere.svc.mesh.internal.more": {},
	} {
		labels, ok := serviceOf(name)
		if ok = ok && isServiceName(name, labels, zone); ok != (want != registry.Labels{}) || ok && labels != want {
			t.Errorf("%s is %+v, %v; want %+v", name, labels, ok, want)
		}
	}
}

// What a registry or an operator wrote stays the text of a cell.
func TestReportsHoldWhatOthersWrote(t *testing.T) {
	t.Parallel()
	i := Incident{
		Around: time.Date(2026, 3, 1, 14, 2, 0, 0, time.UTC),
		Entries: []audit.Entry{{
			Sequence: 7, Kind: audit.Order, By: "ada|eve", About: "drain\n# A heading | <script> `x` [link](http://x)",
		}},
		Touched: []Touched{{Service: registry.ServiceKey{Namespace: "a", Name: "b|c"}, Before: []string{"192.0.2.1"}}},
	}
	page := i.Markdown()
	for _, bad := range []string{"\n# A heading", "<script>", "ada|eve", "[link](", "b|c |"} {
		if strings.Contains(page, bad) {
			t.Errorf("the report has %q:\n%s", bad, page)
		}
	}
	for _, part := range []string{`ada\|eve`, "# A heading", "the same all the time", "14:02:00.000"} {
		if !strings.Contains(page, part) {
			t.Errorf("the report lacks %q:\n%s", part, page)
		}
	}
}

// A service's answer is looked at when something was said of it, and when something was
// said of all; each moment once, in order.
func TestMomentsOfAService(t *testing.T) {
	t.Parallel()
	a, b := registry.ServiceKey{Namespace: "x", Name: "a"}, registry.ServiceKey{Namespace: "x", Name: "b"}
	touched := &touching{services: map[registry.ServiceKey][]audit.Moment{}}
	for n, e := range []audit.Entry{
		{Kind: audit.Change, Service: &a, Fact: "service"},
		{Kind: audit.Order},
		{Kind: audit.Change, Service: &b, Fact: "service"},
		{Kind: audit.Note},
		{Kind: audit.Change, Fact: "cluster"},
		{Kind: audit.Change, Service: &a, Fact: "service"},
	} {
		e.Sequence = uint64(n + 1)
		touched.note(e)
	}
	for key, want := range map[registry.ServiceKey][]uint64{a: {1, 2, 5, 6}, b: {2, 3, 5}} {
		var have []uint64
		for _, m := range touched.moments(key) {
			have = append(have, m.Sequence)
		}
		if len(have) != len(want) || have[0] != want[0] || have[len(have)-1] != want[len(want)-1] {
			t.Errorf("%s is looked at %v, want %v", key, have, want)
		}
	}
}
