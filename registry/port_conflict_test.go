package registry_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/seamark-mesh/seamark/registry"
)

func TestPortConflicts(t *testing.T) {
	t.Parallel()
	type ports = map[string]int
	for name, tt := range map[string]struct {
		amber, bronze []ports // of each gateway; none: the cluster has no gateway
		gone          bool    // bronze has no instance any more
		want          []string
	}{
		"agree":             {amber: []ports{{"http": 80}}, bronze: []ports{{"http": 80}}},
		"no ports at all":   {amber: []ports{nil}, bronze: []ports{nil}},
		"one cluster alone": {amber: []ports{{"http": 80, "grpc": 90}}, bronze: nil},
		"no instance there": {amber: []ports{{"http": 80}}, bronze: []ports{{"http": 81}}, gone: true},
		"other numbers": {
			amber: []ports{{"http": 80, "grpc": 50051}}, bronze: []ports{{"http": 80, "grpc": 9090}},
			want: []string{"gateway port grpc is 50051 in amber, 9090 in bronze"},
		},
		"other protocols": {
			amber: []ports{{"grpc": 90}}, bronze: []ports{{"http": 80}},
			want: []string{"gateway port grpc is 90 in amber, and missing in bronze", "gateway port http is 80 in bronze, and missing in amber"},
		},
		"two gateways of one cluster": {
			amber: []ports{{"http": 8080}, {"http": 80}}, bronze: []ports{{"http": 80}},
			want: []string{"gateway port http is 80 and 8080 in amber, 80 in bronze"},
		},
		"one gateway of two has it": {amber: []ports{{"http": 80}, nil}, bronze: []ports{{"http": 80}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStream("amber", "bronze")
			for n, gateways := range [][]ports{tt.amber, tt.bronze} {
				a := s.authors[n]
				s.takeover(a, began)
				record := registry.ClusterRecord{Cluster: a.cluster}
				for k, p := range gateways {
					record.Gateways = append(record.Gateways, registry.Gateway{
						Name: fmt.Sprintf("gw-%d", k), Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Ports: p, Weight: 1,
					})
				}
				s.recordOf(a, record)
				if n == 1 && tt.gone {
					s.service(a, "change", state())
				} else {
					s.service(a, "change", state(shared...))
				}
			}
			v := at(s.messages)
			e, _ := v.Lookup(api.Labels())
			var got []string
			for _, c := range v.PortConflicts(e) {
				got = append(got, c.String())
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("PortConflicts() = %q, want %q", got, tt.want)
			}
		})
	}
}
