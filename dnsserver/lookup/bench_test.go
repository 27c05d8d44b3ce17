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

// BenchmarkBrowse asks for the lists of a namespace that is as large as one that can be
// browsed.
func BenchmarkBrowse(b *testing.B) {
	w := &lookuptest.World{}
	w.Zone(lookuptest.Zone())
	for _, id := range []registry.ClusterID{"amber", "bronze", "cobalt"} {
		w.Cluster(id, lookuptest.Gateway("gw", 1, 80, "203.0.113.1"))
		for n := range registry.MaxListed {
			w.Service(id, "shop", fmt.Sprintf("s-%04d", n), lookuptest.Instance("a", registry.Passing, ""))
		}
	}
	v := w.View()
	for what, name := range map[string]string{
		"instances": "_http._tcp.shop.svc.mesh.internal.", "no instances": "_never._tcp.shop.svc.mesh.internal.", "types": "_services._dns-sd._udp.shop.svc.mesh.internal.",
	} {
		b.Run(what, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				ask(v, name, "PTR")
			}
		})
	}
}
