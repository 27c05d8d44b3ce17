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
	missing("shop", "web") // known elsewhere: answered as far as it is known
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
