package registry_test

import (
	"encoding/json"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/seamark-mesh/seamark/registry"
)

func TestDigestsAreEqualExactlyWhenTheContentIs(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawService(t), drawService(t)
		if rapid.Bool().Draw(t, "same key") {
			b.Key = a.Key
		}
		if rapid.Bool().Draw(t, "same instances") {
			b.Instances = a.Instances
		}
		left, right := registry.NewServiceState(a.Key, &a), registry.NewServiceState(b.Key, &b)
		right.Changed = registry.Stamp{Epoch: 1, Revision: 2, Time: time.Unix(3, 0)}
		right.Index, right.Seen, right.Changes = "9", time.Unix(4, 0), registry.Compare(&a, &b)
		if got, want := left.Digest() == right.Digest(), a.Equal(b); got != want {
			t.Fatalf("the digests of\n%+v and\n%+v are equal: %v, want %v", left, right, got, want)
		}
		r, s := drawRecord(t, "amber"), drawRecord(t, "amber")
		if got, want := r.Digest() == s.Digest(), r.Equal(s); got != want {
			t.Fatalf("the digests of\n%+v and\n%+v are equal: %v, want %v", r, s, got, want)
		}
	})
}

// Every field is covered: changing it alone changes the digest.
func TestDigestCoversEveryField(t *testing.T) {
	t.Parallel()
	base := func() registry.ServiceState {
		return registry.NewServiceState(api, &registry.Service{Key: api, Instances: []registry.Instance{
			{ID: "a", Address: "b", Port: 1, Weight: 2, Health: registry.Passing, Version: "c", Meta: map[string]string{"d": "e"}},
		}})
	}
	whole := base()
	for name, change := range map[string]func(*registry.ServiceState){
		"namespace":  func(s *registry.ServiceState) { s.Namespace = "x" },
		"name":       func(s *registry.ServiceState) { s.Name = "x" },
		"the border": func(s *registry.ServiceState) { s.Namespace, s.Name = "defaul", "tapi" },
		"total":      func(s *registry.ServiceState) { s.Total = 9 },
		"serving":    func(s *registry.ServiceState) { s.Serving = 0 },
		"truncated":  func(s *registry.ServiceState) { s.Truncated = true },
		"forgotten":  func(s *registry.ServiceState) { s.Forgotten = true },
		"instances":  func(s *registry.ServiceState) { s.Instances = nil },
		"id":         func(s *registry.ServiceState) { s.Instances[0].ID = "x" },
		"address":    func(s *registry.ServiceState) { s.Instances[0].Address = "x" },
		"port":       func(s *registry.ServiceState) { s.Instances[0].Port = 9 },
		"weight":     func(s *registry.ServiceState) { s.Instances[0].Weight = 9 },
		"health":     func(s *registry.ServiceState) { s.Instances[0].Health = registry.Warning },
		"version":    func(s *registry.ServiceState) { s.Instances[0].Version = "x" },
		"meta key":   func(s *registry.ServiceState) { s.Instances[0].Meta = map[string]string{"x": "e"} },
		"meta value": func(s *registry.ServiceState) { s.Instances[0].Meta = map[string]string{"d": "x"} },
	} {
		changed := base()
		change(&changed)
		if changed.Digest() == whole.Digest() {
			t.Errorf("%s: the digest does not cover it", name)
		}
	}

	record := func() registry.ClusterRecord {
		return registry.ClusterRecord{
			Cluster: "amber", Source: "a", Region: "b", Zone: "c", Labels: map[string]string{"d": "e"},
			Gateways: []registry.Gateway{{Name: "gw", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Ports: map[string]int{"http": 80}, Weight: 1}},
		}
	}
	wholeRecord := record()
	for name, change := range map[string]func(*registry.ClusterRecord){
		"cluster":  func(r *registry.ClusterRecord) { r.Cluster = "x" },
		"source":   func(r *registry.ClusterRecord) { r.Source = "x" },
		"region":   func(r *registry.ClusterRecord) { r.Region = "x" },
		"zone":     func(r *registry.ClusterRecord) { r.Zone = "x" },
		"labels":   func(r *registry.ClusterRecord) { r.Labels = nil },
		"gateways": func(r *registry.ClusterRecord) { r.Gateways = nil },
		"gateway":  func(r *registry.ClusterRecord) { r.Gateways[0].Name = "x" },
		"address":  func(r *registry.ClusterRecord) { r.Gateways[0].Addresses[0] = netip.MustParseAddr("192.0.2.2") },
		"port":     func(r *registry.ClusterRecord) { r.Gateways[0].Ports["http"] = 81 },
		"port's":   func(r *registry.ClusterRecord) { r.Gateways[0].Ports = map[string]int{"grpc": 80} },
		"weight":   func(r *registry.ClusterRecord) { r.Gateways[0].Weight = 2 },
	} {
		changed := record()
		change(&changed)
		if changed.Digest() == wholeRecord.Digest() || changed.Equal(wholeRecord) {
			t.Errorf("cluster %s: the digest or Equal does not cover it", name)
		}
	}
}

func TestForgottenHasTheZeroDigest(t *testing.T) {
	t.Parallel()
	state := registry.NewServiceState(api, nil)
	if state.Digest() == (registry.Digest{}) {
		t.Error("a tombstone has the zero digest")
	}
	state.Forgotten = true
	if got := state.Digest(); got != (registry.Digest{}) {
		t.Errorf("the digest of a forgotten service is %v, want zero", got)
	}
}

func TestDigestXORAndText(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		bytes := rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "bytes")
		a, b := registry.Digest(bytes[:16]), registry.Digest(bytes[16:])
		if a.XOR(b) != b.XOR(a) || a.XOR(b).XOR(b) != a || a.XOR(registry.Digest{}) != a {
			t.Fatalf("XOR of %v and %v is no XOR", a, b)
		}
		text, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		var again registry.Digest
		if err := json.Unmarshal(text, &again); err != nil || again != a {
			t.Fatalf("%s decodes to %v, %v; want %v", text, again, err, a)
		}
	})
}
