package lookup_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seamark-mesh/seamark/dnsserver/lookup"
	"github.com/seamark-mesh/seamark/dnsserver/lookup/lookuptest"
	"github.com/seamark-mesh/seamark/registry"
)

func TestResolve(t *testing.T) {
	v := lookuptest.Harbours().View()
	tests := map[string]struct {
		name, qtype string
		want        string
	}{
		"served by two": {"Web.shop.svc.mesh.internal", "a", `
NOERROR
web.shop.svc.mesh.internal. 15 IN A 203.0.113.10
web.shop.svc.mesh.internal. 15 IN A 203.0.113.11
web.shop.svc.mesh.internal. 15 IN A 198.51.100.20
in amber: serving
in bronze: serving
out cobalt: the cluster has no gateway
`},
		"no address of the type": {"web.shop.svc.mesh.internal.", "AAAA", `
NOERROR
web.shop.svc.mesh.internal. 15 IN AAAA 2001:db8:a::10
web.shop.svc.mesh.internal. 15 IN AAAA 2001:db8:a::11
in amber: serving
out bronze: no gateway of the cluster has an address of this type
out cobalt: the cluster has no gateway
`},
		"a port that one has": {"_https._tcp.web.shop.svc.mesh.internal.", "SRV", `
NOERROR
_https._tcp.web.shop.svc.mesh.internal. 15 IN SRV 0 10 8443 west.amber.gw.mesh.internal.
in amber: serving
out bronze: no gateway of the cluster has this port
out cobalt: the cluster has no gateway
`},
		"SRV without a port": {"login.svc.mesh.internal.", "SRV", `
NOERROR
out amber: SRV is answered at _port._tcp in front of the name
out bronze: the cluster does not know the service
out cobalt: the cluster does not know the service
`},
		"address with a port": {"_http._tcp.login.svc.mesh.internal.", "A", `
NOERROR
out amber: addresses are answered at the name without a port in front
out bronze: the cluster does not know the service
out cobalt: the cluster does not know the service
`},
		"HTTPS": {"web.shop.svc.mesh.internal.", "HTTPS", `
NOERROR
web.shop.svc.mesh.internal. 15 IN HTTPS 1 west.amber.gw.mesh.internal. port="8443" ipv4hint="203.0.113.11" ipv6hint="2001:db8:a::11"
in amber: serving
out bronze: no gateway of the cluster has a port named https
out cobalt: the cluster has no gateway
`},
		"HTTPS at a port's name": {"_https._tcp.login.svc.mesh.internal.", "HTTPS", `
NOERROR
out amber: HTTPS is answered at the name itself, and at _number._https in front of it
out bronze: the cluster does not know the service
out cobalt: the cluster does not know the service
`},
		"HTTPS with a port": {"_8443._https.web.shop.svc.mesh.internal.", "HTTPS", `
NOERROR
_8443._https.web.shop.svc.mesh.internal. 15 IN HTTPS 1 west.amber.gw.mesh.internal. port="8443" ipv4hint="203.0.113.11" ipv6hint="2001:db8:a::11"
in amber: serving
out bronze: no gateway of the cluster has this port
out cobalt: the cluster has no gateway
`},
		"SVCB without a port": {"login.svc.mesh.internal.", "SVCB", `
NOERROR
out amber: SVCB is answered at _port._tcp in front of the name
out bronze: the cluster does not know the service
out cobalt: the cluster does not know the service
`},
		"SRV for URLs": {"_8443._https.login.svc.mesh.internal.", "SRV", `
NOERROR
out amber: SRV is answered at _port._tcp in front of the name
out bronze: the cluster does not know the service
out cobalt: the cluster does not know the service
`},
		"nobody serves": {"cart.shop.svc.mesh.internal.", "", `
NOERROR
out amber: no instance is passing or warning with a weight above 0
out bronze: no instance is registered
out cobalt: the cluster does not know the service
`},
		"one cluster": {"web.shop.amber.cluster.mesh.internal.", "TYPE1", `
NOERROR
web.shop.amber.cluster.mesh.internal. 15 IN A 203.0.113.10
web.shop.amber.cluster.mesh.internal. 15 IN A 203.0.113.11
in amber: serving
out bronze: the name asks for another cluster
out cobalt: the name asks for another cluster
`},
		"gateways": {"cobalt.gw.mesh.internal.", "A", `
NOERROR
out amber: the name asks for another cluster
out bronze: the name asks for another cluster
out cobalt: the cluster has no gateway
`},
		"never registered": {"nothing.shop.svc.mesh.internal.", "A", `
NXDOMAIN
out amber: the cluster does not know the service
out bronze: the cluster does not know the service
out cobalt: the cluster does not know the service
`},
		"forgotten": {"old.lab.svc.mesh.internal.", "A", `
NXDOMAIN
out amber: the cluster does not know the service
out bronze: the cluster does not know the service
out cobalt: the cluster does not know the service
`},
		"the apex":     {"mesh.internal", "NS", "\nNOERROR\nmesh.internal. 5 IN NS a.dns.mesh.internal.\nmesh.internal. 5 IN NS ns.example.net.\n"},
		"outside":      {"example.org", "A", "\nREFUSED\n"},
		"escaped":      {`w\046b.shop.svc.mesh.internal`, "A", "\nNXDOMAIN\nout amber: the cluster does not know the service\nout bronze: the cluster does not know the service\nout cobalt: the cluster does not know the service\n"},
		"escape as is": {`\119eb.shop.bronze.cluster.mesh.internal`, "A", "\nNOERROR\nweb.shop.bronze.cluster.mesh.internal. 15 IN A 198.51.100.20\nout amber: the name asks for another cluster\nin bronze: serving\nout cobalt: the name asks for another cluster\n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r, err := lookup.Resolve(v, tt.name, tt.qtype)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, "\n"+show(r)); d != "" {
				t.Errorf("Resolve(%s, %s) (-want +got):\n%s", tt.name, tt.qtype, d)
			}
		})
	}
}

func show(r lookup.Resolution) string {
	var b strings.Builder
	fmt.Fprintln(&b, r.RCode)
	for _, a := range r.Answers {
		fmt.Fprintln(&b, a)
	}
	for _, w := range r.Why {
		in := map[bool]string{true: "in", false: "out"}[w.In]
		fmt.Fprintf(&b, "%s %s: %s\n", in, w.Cluster, w.Reason)
	}
	return b.String()
}

func TestResolveNotReady(t *testing.T) {
	r, err := lookup.Resolve(&registry.View{}, "web.shop.svc.mesh.internal", "A")
	if err != nil || r.RCode != "SERVFAIL" || r.Answers == nil || r.Why == nil {
		t.Errorf("got %+v, %v; want SERVFAIL with empty lists", r, err)
	}
}

func TestResolveRefuses(t *testing.T) {
	v := lookuptest.Harbours().View()
	for _, tt := range [][2]string{
		{"", "A"},
		{"a..b", "A"},
		{strings.Repeat("x", 64) + ".mesh.internal", "A"},
		{strings.Repeat("x.", 200), "A"},
		{".a", "A"},
		{"web.shop.svc.mesh.internal", "NONSENSE"},
		{"web.shop.svc.mesh.internal", "TYPE65536"},
		{"web.shop.svc.mesh.internal", "TYPE"},
		{"web.shop.svc.mesh.internal", "TYPE-1"},
	} {
		if r, err := lookup.Resolve(v, tt[0], tt[1]); err == nil {
			t.Errorf("Resolve(%.80q, %q) = %+v, want an error", tt[0], tt[1], r)
		}
	}
}

func FuzzResolve(f *testing.F) {
	for _, name := range []string{"web.shop.svc.mesh.internal", `a\.b.svc.mesh.internal.`, `\`, `\1`, `\256.mesh.internal`, "*", "..", "_http._tcp.amber.gw.mesh.internal"} {
		f.Add(name, "A")
	}
	v := lookuptest.Harbours().View()
	f.Fuzz(func(t *testing.T, name, qtype string) {
		if r, err := lookup.Resolve(v, name, qtype); err == nil && r.RCode == "" {
			t.Errorf("Resolve(%q, %q) = %+v", name, qtype, r)
		}
	})
}
