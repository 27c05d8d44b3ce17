package lookup_test

import (
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/seamark-mesh/seamark/dnsserver/lookup/lookuptest"
	"github.com/seamark-mesh/seamark/registry"
)

// TestProtocols: a port's name says which ALPN it speaks only where it leaves no
// doubt, and HTTPS never repeats the one that it implies.
func TestProtocols(t *testing.T) {
	for _, tt := range []struct {
		ports              map[string]int
		name, qtype, rcode string
		parameters         string // without the hint
	}{
		{map[string]int{"https": 443}, "", "HTTPS", "NOERROR", `port="443"`},
		{map[string]int{"https": 443}, "_443._https.", "HTTPS", "NXDOMAIN", ""},
		{map[string]int{"https": 443}, "_https.", "HTTPS", "NXDOMAIN", ""},
		{map[string]int{"https": 443}, "_https._tcp.", "SVCB", "NOERROR", `alpn="http/1.1" port="443"`},
		{map[string]int{"https": 8443, "h2": 8443, "h3": 8443}, "", "HTTPS", "NOERROR", `alpn="h3,h2" port="8443"`},
		{map[string]int{"https": 8443, "h2": 8443, "h3": 9443}, "", "HTTPS", "NOERROR", `alpn="h2" port="8443"`},
		{map[string]int{"https": 8443, "h2": 8443}, "_h2._tcp.", "SVCB", "NOERROR", `alpn="h2,http/1.1" port="8443"`},
		{map[string]int{"https-admin": 9443}, "", "HTTPS", "NOERROR", ""},
		{map[string]int{"https-admin": 9443}, "_9443._https.", "HTTPS", "NOERROR", `port="9443"`},
		{map[string]int{"https-admin": 9443}, "_https-admin._tcp.", "SVCB", "NOERROR", `port="9443"`},
		{map[string]int{"httpsx": 9443}, "_9443._https.", "HTTPS", "NXDOMAIN", ""},
		{map[string]int{"http": 80}, "", "HTTPS", "NOERROR", ""},
		{map[string]int{"http": 80}, "_80._https.", "HTTPS", "NXDOMAIN", ""},
		{map[string]int{"http": 80}, "_80._tcp.", "SVCB", "NOERROR", `port="80"`},
		{map[string]int{"dot": 853, "doq": 853}, "_853._tcp.", "SVCB", "NOERROR", `alpn="doq,dot" port="853"`},
		{map[string]int{"443": 8443}, "_443._tcp.", "SVCB", "NOERROR", `port="8443"`},
	} {
		w := &lookuptest.World{}
		w.Zone(lookuptest.Zone())
		g := lookuptest.Gateway("gw", 1, 1, "203.0.113.1")
		g.Ports = tt.ports
		w.Cluster("amber", g)
		w.Service("amber", "shop", "web", lookuptest.Instance("a", registry.Passing, ""))
		r := ask(w.View(), tt.name+"web.shop.svc.mesh.internal.", tt.qtype)
		got := ""
		for _, rr := range r.Answer {
			got = strings.TrimPrefix(rr.String(), rr.Header().String())
		}
		want := ""
		if tt.parameters != "" {
			want = "1 gw.amber.gw.mesh.internal. " + tt.parameters + ` ipv4hint="203.0.113.1"`
		}
		if got != want || dns.RcodeToString[r.RCode] != tt.rcode || len(r.Answer) > 1 {
			t.Errorf("%v: %sweb %s: got %s %q, want %s %q", tt.ports, tt.name, tt.qtype, dns.RcodeToString[r.RCode], got, tt.rcode, want)
		}
	}
}
