package lookup_test

import (
	"fmt"
	"testing"

	"github.com/miekg/dns"

	"github.com/seamark-mesh/seamark/dnsserver/lookup"
	"github.com/seamark-mesh/seamark/dnsserver/lookup/lookuptest"
	"github.com/seamark-mesh/seamark/registry"
)

// large is a View of 3 clusters with a gateway each and many services.
func large(services int) *registry.View {
	w := &lookuptest.World{}
	w.Zone(lookuptest.Zone())
	for n, cluster := range []registry.ClusterID{"amber", "bronze", "cobalt"} {
		w.Cluster(cluster, lookuptest.Gateway("gw-1", 1, 8080, fmt.Sprintf("203.0.113.%d", n+1), fmt.Sprintf("2001:db8::%d", n+1)))
		for s := range services {
			w.Service(cluster, "shop", fmt.Sprint("service-", s), lookuptest.Instance("a", registry.Passing, "1.0"), lookuptest.Instance("b", registry.Passing, "1.1"))
		}
	}
	return w.View()
}

func BenchmarkAnswer(b *testing.B) {
	v := large(10000)
	for _, question := range []struct{ what, name, qtype string }{
		{"A", "service-77.shop.svc.mesh.internal.", "A"},
		{"SRV", "_http._tcp.service-77.shop.svc.mesh.internal.", "SRV"},
		{"TXT", "service-77.shop.svc.mesh.internal.", "TXT"},
		{"pinned", "service-77.shop.amber.cluster.mesh.internal.", "A"},
		{"NODATA", "service-77.shop.svc.mesh.internal.", "MX"},
		{"NXDOMAIN", "never.shop.svc.mesh.internal.", "A"},
	} {
		b.Run(question.what, func(b *testing.B) {
			q := lookup.Question{Name: question.name, Type: dns.StringToType[question.qtype], Class: dns.ClassINET}
			b.ReportAllocs()
			for b.Loop() {
				lookup.Answer(v, q)
			}
		})
	}
}
