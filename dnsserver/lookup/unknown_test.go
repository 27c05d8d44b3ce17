package lookup_test

import (
	"testing"

	"github.com/miekg/dns"

	"github.com/seamark-mesh/seamark/dnsserver/lookup"
	"github.com/seamark-mesh/seamark/dnsserver/lookup/lookuptest"
	"github.com/seamark-mesh/seamark/registry"
)

// TestWhatIsStillLookedForIsNotDenied: a name of which only garbage is known yet was
// answered NXDOMAIN, which resolvers cache; names beside it still are.
func TestWhatIsStillLookedForIsNotDenied(t *testing.T) {
	f := registry.NewFold()
	for _, m := range lookuptest.Harbours().Messages() {
		f.Apply(m)
	}
	f.Synced()
	before := f.View()
	missing := func(namespace, name string) {
		f.Missing(registry.Fact{Writer: "amber", Kind: registry.KindService, Service: registry.ServiceKey{Namespace: namespace, Name: name}}, true)
	}
	missing("shop", "pay")
	missing("Yard", "crane")
	missing("default", "mail")
	missing("default", "lab") // there is a namespace lab
	missing("shop", "web")    // known elsewhere: answered as far as it is known
	v := f.View()
	for name, want := range map[string]int{
		"pay.shop.svc":                    dns.RcodeServerFailure,
		"_http._tcp.pay.shop.svc":         dns.RcodeServerFailure,
		"pay.shop.amber.cluster":          dns.RcodeServerFailure,
		"yard.svc":                        dns.RcodeServerFailure,
		"crane.yard.svc":                  dns.RcodeServerFailure,
		"yard.amber.cluster":              dns.RcodeServerFailure,
		"mail.svc":                        dns.RcodeServerFailure,
		"mail.default.svc":                dns.RcodeServerFailure,
		"lab.default.svc":                 dns.RcodeServerFailure,
		"_http._tcp.lab.default.svc":      dns.RcodeServerFailure,
		"alone.lab.svc":                   dns.RcodeSuccess,
		"_services._dns-sd._udp.yard.svc": dns.RcodeServerFailure,
		"never.shop.svc":                  dns.RcodeNameError,
		"never.svc":                       dns.RcodeNameError,
		"never.yard.svc":                  dns.RcodeNameError,
		"pay.shop.never.cluster":          dns.RcodeNameError,
		"never.gw":                        dns.RcodeNameError,
		"never":                           dns.RcodeNameError,
		"web.shop.svc":                    dns.RcodeSuccess,
	} {
		q := lookup.Question{Name: name + ".mesh.internal.", Type: dns.TypeA, Class: dns.ClassINET}
		if got := lookup.Answer(v, q); got.RCode != want || want == dns.RcodeServerFailure && (got.Extended == nil || got.Extended.Code != dns.ExtendedErrorCodeNotReady) {
			t.Errorf("%s: %s %+v, want %s", name, dns.RcodeToString[got.RCode], got.Extended, dns.RcodeToString[want])
		}
		if got := lookup.Answer(before, q); want != dns.RcodeSuccess && got.RCode != dns.RcodeNameError {
			t.Errorf("%s, before: %s, want NXDOMAIN", name, dns.RcodeToString[got.RCode])
		}
	}
}

// TestNamespaceDoesNotHideAServiceThatIsLookedFor: <name>.svc is a namespace, and may be
// a service of the default namespace of which only garbage is known yet; NODATA said
// that it has no address.
func TestNamespaceDoesNotHideAServiceThatIsLookedFor(t *testing.T) {
	f := registry.NewFold()
	for _, m := range lookuptest.Harbours().Messages() {
		f.Apply(m)
	}
	f.Synced()
	ask := func(qtype uint16) lookup.Response {
		return lookup.Answer(f.View(), lookup.Question{Name: "lab.svc.mesh.internal.", Type: qtype, Class: dns.ClassINET})
	}
	fact := registry.Fact{Writer: "amber", Kind: registry.KindService, Service: registry.ServiceKey{Namespace: "default", Name: "lab"}}
	for _, missing := range []bool{false, true, false} {
		f.Missing(fact, missing)
		want := dns.RcodeSuccess
		if missing {
			want = dns.RcodeServerFailure
		}
		for _, qtype := range []uint16{dns.TypeA, dns.TypeTXT, dns.TypeSOA} {
			if got := ask(qtype); got.RCode != want || len(got.Answer) > 0 {
				t.Errorf("missing %v: %s %+v", missing, dns.RcodeToString[got.RCode], got)
			}
		}
	}
	f.Missing(registry.Fact{Writer: "amber", Kind: registry.KindService, Service: registry.ServiceKey{Namespace: "lab", Name: "other"}}, true)
	if got := ask(dns.TypeA); got.RCode != dns.RcodeSuccess {
		t.Errorf("with another service of the namespace missing: %s", dns.RcodeToString[got.RCode])
	}
}
