package registry_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"sync"
	"testing"

	"github.com/seamark-mesh/seamark/registry"
)

func TestZeroStoreHoldsAnEmptyView(t *testing.T) {
	t.Parallel()
	var s registry.Store
	v := s.View()
	if v.Synced() || v.Sequence() != 0 || v.Serial() != 0 || v.Services() != 0 || v.Zone() != nil || len(v.Clusters()) != 0 || v.Cluster("amber") != nil {
		t.Errorf("the View of a zero Store is %+v", v)
	}
	if _, ok := v.Lookup(api.Labels()); ok {
		t.Error("it knows a service")
	}
	if v.HasNamespace("default", "") {
		t.Error("it knows a namespace")
	}
	f := registry.NewFold()
	f.Synced()
	s.Publish(f.View())
	if !s.View().Synced() {
		t.Error("the View that was published is not what View returns")
	}
}

func TestSerialIsTheSequenceModulo32Bits(t *testing.T) {
	t.Parallel()
	s, a := amber()
	m := s.service(a, "change", state()).decoded()
	m.Sequence = 1<<32 + 7
	f := registry.NewFold()
	f.Apply(m)
	if v := f.View(); v.Sequence() != 1<<32+7 || v.Serial() != 7 {
		t.Errorf("sequence %d, serial %d; want %d and 7", v.Sequence(), v.Serial(), uint64(1<<32+7))
	}
}

func TestDecide(t *testing.T) {
	t.Parallel()
	gateways := []registry.Gateway{{Name: "gw", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Weight: 1}}
	down := []registry.Instance{instance(func(i *registry.Instance) { i.Health = registry.Critical })}
	for name, tt := range map[string]struct {
		state    registry.ServiceState
		gateways []registry.Gateway
		reason   string
	}{
		"serving":          {state(shared...), gateways, registry.ReasonServing},
		"no instance":      {state(), gateways, registry.ReasonTombstone},
		"none that serves": {state(down...), gateways, registry.ReasonNotServing},
		"no gateway":       {state(shared...), nil, registry.ReasonNoGateway},
	} {
		for _, said := range []bool{true, false} {
			s := newStream("amber", "bronze")
			for _, a := range s.authors {
				s.takeover(a, began)
			}
			s.service(s.authors[0], "change", tt.state)
			s.service(s.authors[1], "change", state())
			want := tt.reason
			if said {
				s.recordOf(s.authors[0], registry.ClusterRecord{Cluster: "amber", Gateways: tt.gateways})
			} else if want == registry.ReasonServing {
				want = registry.ReasonNoGateway
			}
			v := at(s.messages)
			e, _ := v.Lookup(api.Labels())
			got := v.Decide(e)
			if len(got) != 2 || got[0].Cluster != "amber" || got[1].Cluster != "bronze" {
				t.Fatalf("%s: the candidates are %+v, want amber and bronze", name, got)
			}
			if c := got[0]; c.Reason != want || c.In != (want == registry.ReasonServing) || c.In != (len(c.Gateways) == 1) || c.Record == nil {
				t.Errorf("%s, record said %v: %+v, want the reason %q", name, said, c, want)
			}
		}
	}
}

// Readers need no lock while the fold goes on. The race detector is the judge.
func TestReadersShareAViewWhileTheFoldGoesOn(t *testing.T) {
	t.Parallel()
	s := newStream("amber", "bronze")
	for _, a := range s.authors {
		s.takeover(a, began)
	}
	for n := range 400 {
		a := s.authors[n%2]
		key := registry.ServiceKey{Namespace: fmt.Sprint("n", n%3), Name: fmt.Sprint("s", n%17)}
		next := registry.NewServiceState(key, &registry.Service{Key: key, Instances: shared[:n/17%2]})
		next.Forgotten = n%29 == 0 && len(next.Instances) == 0
		s.service(a, "change", next)
		if n%50 == 0 {
			s.takeover(a, a.epoch+1)
			s.recordOf(a, registry.ClusterRecord{Cluster: a.cluster})
		}
	}
	var store registry.Store
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				v := store.View()
				first := v.AppendCanonical(nil)
				for n := range v.Names() {
					for _, c := range v.Decide(n.Entries[0]) {
						_ = v.Cluster(c.Cluster).Fences
					}
				}
				if !bytes.Equal(first, v.AppendCanonical(nil)) {
					t.Error("a View has changed while it was read")
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	f := registry.NewFold()
	for _, m := range s.messages {
		f.Apply(m.decoded())
		store.Publish(f.View())
	}
	close(done)
	wg.Wait()
	mustEqual(t, "in the end", s.messages, store.View(), at(s.messages))
}

func TestNamesCanBeLeftEarly(t *testing.T) {
	t.Parallel()
	s, a := amber()
	for n := range 20 {
		s.service(a, "change", registry.NewServiceState(registry.ServiceKey{Namespace: "n", Name: fmt.Sprint("s", n)}, nil))
	}
	v := at(s.messages)
	seen := 0
	for range v.Names() {
		if seen++; seen == 3 {
			break
		}
	}
	if seen != 3 {
		t.Errorf("saw %d names, left after 3", seen)
	}
	if got, want := v.Services(), 20; got != want {
		t.Errorf("Services() = %d, want %d", got, want)
	}
}
