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
