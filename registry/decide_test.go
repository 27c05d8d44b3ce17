package registry_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// situation is all that speaks for or against one cluster.
type situation struct {
	serving bool
	state   registry.Liveness
	drain   string // "", "drained" or "forced"
	left    bool
}

// situations is the whole input space of one cluster.
func situations() (all []situation) {
	for _, serving := range []bool{true, false} {
		for _, state := range []registry.Liveness{"", registry.Up, registry.Stale, registry.Unreachable, registry.Down, registry.Gone} {
			for _, drain := range []string{"", "drained", "forced"} {
				for _, left := range []bool{false, true} {
					all = append(all, situation{serving, state, drain, left})
				}
			}
		}
	}
	return all
}

// usable reports whether the cluster may serve when no better one can.
func (s situation) usable() bool {
	return s.serving && !s.left && s.state != registry.Gone && s.drain != "forced"
}

func (s situation) up() bool { return s.state == "" || s.state == registry.Up }

func (s situation) tell(history *stream, cluster registry.ClusterID) {
	a := &author{cluster: cluster, states: map[registry.ServiceKey]registry.ServiceState{}}
	history.takeover(a, began)
	history.recordOf(a, registry.ClusterRecord{Cluster: cluster, Gateways: []registry.Gateway{
		{Name: "gw-1", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Ports: map[string]int{"http": 80}, Weight: 1},
	}})
	service := registry.Service{Key: keys[0], Instances: []registry.Instance{{ID: "i", Address: "10.0.0.1", Weight: 1, Health: registry.Passing}}}
	if !s.serving {
		service.Instances[0].Health = registry.Critical
	}
	history.service(a, "change", registry.NewServiceState(keys[0], &service))
	if s.state != "" {
		if history.observer.epoch == 0 {
			history.takeover(history.observer, began)
		}
		e := history.observer.own(registry.KindState)
		e.State = &registry.StateRecord{Cluster: cluster, State: s.state, Since: time.Unix(began, 0).UTC()}
		history.put("state", e)
	}
	order := func(o registry.Order) {
		o.Target = string(cluster)
		history.put("order", registry.Event{Kind: registry.KindOrder, Writer: registry.Operator, Order: &o})
	}
	if s.drain != "" {
		order(registry.Order{Kind: registry.OrderDrain, Force: s.drain == "forced"})
	}
	if s.left {
		order(registry.Order{Kind: registry.OrderLeave})
	}
}

// TestDecideOverItsWholeInputSpace holds what is decided of every pair of situations
// to what design §6 and §7 say.
func TestDecideOverItsWholeInputSpace(t *testing.T) {
	t.Parallel()
	for _, policy := range []bool{false, true} {
		for _, amber := range situations() {
			for _, bronze := range situations() {
				history := newStream()
				zone := registry.ZoneRecord{Name: "mesh.internal.", TTL: 5, NegativeTTL: 5, Contact: "hostmaster.mesh.internal."}
				if policy {
					zone.Withdraw = []registry.Pattern{"default/*"}
				}
				history.put("zone", registry.Event{Kind: registry.KindZone, Writer: registry.Operator, Zone: &zone})
				amber.tell(history, "amber")
				bronze.tell(history, "bronze")
				v := at(history.messages)
				e, ok := v.Service(keys[0])
				if !ok {
					if amber.state != registry.Gone || bronze.state != registry.Gone {
						t.Fatalf("%+v, %+v: the service is not known", amber, bronze)
					}
					continue
				}
				var in []situation
				for _, c := range v.Decide(e) {
					s := amber
					if c.Cluster == "bronze" {
						s = bronze
					}
					if !c.In {
						continue
					}
					in = append(in, s)
					if !s.usable() || c.Reason == "" || len(c.Gateways) != 1 {
						t.Fatalf("%+v, %+v: answered with %s: %+v", amber, bronze, c.Cluster, c)
					}
					if want := !s.up(); c.Kept != want {
						t.Fatalf("%+v, %+v: %s is kept: %t", amber, bronze, c.Cluster, c.Kept)
					}
				}
				checkBest(t, policy, []situation{amber, bronze}, in)
			}
		}
	}
}

// checkBest holds those that are answered with to those that could be.
func checkBest(t *testing.T, withdraw bool, all, in []situation) {
	t.Helper()
	class := func(s situation) int {
		switch {
		case !s.usable():
			return 9
		case withdraw && !s.up():
			return 9
		case s.drain != "" && !s.up() && s.state != registry.Stale:
			return 5
		case s.drain != "": // it can be reached, and somebody wanted it to rest
			return 2
		case s.up():
			return 0
		case s.state == registry.Stale:
			return 1
		case s.state == registry.Unreachable:
			return 3
		}
		return 4
	}
	best := min(class(all[0]), class(all[1]))
	want := slices.DeleteFunc(slices.Clone(all), func(s situation) bool { return best == 9 || class(s) != best })
	if !slices.Equal(in, want) {
		t.Fatalf("of %+v these are answered with: %+v, want %+v (withdraw: %t)", all, in, want, withdraw)
	}
}

// A name that asks for one cluster gets that one, however bad it is beside others.
func TestDecideInLooksAtOneClusterOnly(t *testing.T) {
	t.Parallel()
	history := newStream()
	situation{serving: true, state: registry.Up}.tell(history, "amber")
	situation{serving: true, state: registry.Down}.tell(history, "bronze")
	v := at(history.messages)
	e, _ := v.Service(keys[0])
	if c := v.Decide(e)[1]; c.In || c.Cluster != "bronze" {
		t.Fatalf("bronze, which is down, is answered with beside amber: %+v", c)
	}
	if c, ok := v.DecideIn(e, "bronze"); !ok || !c.In || !c.Kept || c.State != registry.Down {
		t.Fatalf("bronze by itself: %+v, %t", c, ok)
	}
	if _, ok := v.DecideIn(e, "cobalt"); ok {
		t.Fatal("cobalt, which does not know the service, is a candidate")
	}
}

// A gateway that fails, or is drained, is left out while the cluster has others.
func TestGatewaysThatFailAreLeftOut(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name           string
		failing, drain []string
		want           []string
		kept, in       bool
	}{
		{"none", nil, nil, []string{"gw-1", "gw-2"}, false, true},
		{"one fails", []string{"gw-1"}, nil, []string{"gw-2"}, false, true},
		{"one drained", nil, []string{"gw-2"}, []string{"gw-1"}, false, true},
		{"one of each", []string{"gw-1"}, []string{"gw-2"}, []string{"gw-1"}, true, true},
		{"all fail", []string{"gw-1", "gw-2"}, nil, []string{"gw-1", "gw-2"}, true, true},
		{"all drained", nil, []string{"gw-1", "gw-2"}, []string{"gw-1", "gw-2"}, false, true},
		{"all drained, the first by force", nil, []string{"!gw-1", "gw-2"}, []string{"gw-2"}, false, true},
		{"all drained, the second by force", nil, []string{"gw-1", "!gw-2"}, []string{"gw-1"}, false, true},
		{"all drained by force", nil, []string{"!gw-1", "!gw-2"}, nil, false, false},
		{"unknown ones", []string{"gw-9"}, []string{"gw-8"}, []string{"gw-1", "gw-2"}, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			history := newStream("amber")
			a := history.authors[0]
			situation{serving: true}.tell(history, "amber")
			a.epoch, a.revision = began, 3
			address := []netip.Addr{netip.MustParseAddr("192.0.2.1")}
			history.recordOf(a, registry.ClusterRecord{Cluster: "amber", Gateways: []registry.Gateway{
				{Name: "gw-1", Addresses: address}, {Name: "gw-2", Addresses: address},
			}})
			history.takeover(history.observer, began)
			e := history.observer.own(registry.KindState)
			e.State = &registry.StateRecord{Cluster: "amber", State: registry.Up, Failing: c.failing}
			history.put("state", e)
			for _, g := range c.drain {
				g, force := strings.CutPrefix(g, "!")
				history.put("drain", registry.Event{Kind: registry.KindOrder, Writer: registry.Operator, Order: &registry.Order{
					Kind: registry.OrderDrain, Target: registry.DrainTarget("amber", g, registry.Labels{}), Force: force,
				}})
			}
			v := at(history.messages)
			entry, _ := v.Service(keys[0])
			got := v.Decide(entry)[0]
			var names []string
			for _, g := range got.Gateways {
				names = append(names, g.Name)
			}
			if got.In != c.in || got.Kept != c.kept || !slices.Equal(names, c.want) {
				t.Fatalf("answered with %v (in %t, kept %t, %q), want %v", names, got.In, got.Kept, got.Reason, c.want)
			}
		})
	}
}

// The drain of a service by force was not obeyed while its cluster was drained without.
func TestADrainByForceCountsBesideOneWithout(t *testing.T) {
	t.Parallel()
	for _, force := range [][2]bool{{false, false}, {false, true}, {true, false}, {true, true}} {
		history := newStream()
		situation{serving: true, state: registry.Up}.tell(history, "amber")
		for n, labels := range []registry.Labels{{}, keys[0].Labels()} {
			history.put("drain", registry.Event{Kind: registry.KindOrder, Writer: registry.Operator, Order: &registry.Order{
				Kind: registry.OrderDrain, Target: registry.DrainTarget("amber", "", labels), Force: force[n],
			}})
		}
		v := at(history.messages)
		entry, _ := v.Service(keys[0])
		if got := v.Decide(entry)[0]; got.In == (force[0] || force[1]) {
			t.Errorf("cluster by force %v, service by force %v: in %v (%s)", force[0], force[1], got.In, got.Reason)
		}
	}
}

// A cluster that is gone counts as never heard of until it is back, for a reader that
// saw its records before the state and for one that sees them after.
func TestAClusterThatIsGoneIsUnknown(t *testing.T) {
	t.Parallel()
	history := newStream()
	situation{serving: true, state: registry.Gone}.tell(history, "amber")
	v := at(history.messages)
	if v.Cluster("amber") != nil || v.Services() != 0 || v.HasNamespace("default", "") {
		t.Fatalf("amber is gone, and still known: %+v, %d services", v.Cluster("amber"), v.Services())
	}
	e := history.observer.own(registry.KindState)
	e.State = &registry.StateRecord{Cluster: "amber", State: registry.Up}
	history.put("state", e)
	mustEqual(t, "back", history.messages, at(lastPerSubject(history.messages)), at(history.messages))
	if v := at(history.messages); v.Cluster("amber") == nil || v.Services() != 1 {
		t.Fatal("amber is back, and not known")
	}
}

func TestOrdersEndByTheStreamsClock(t *testing.T) {
	t.Parallel()
	stored := time.Unix(began, 0)
	for _, c := range []struct {
		order registry.Order
		after time.Duration
		ends  bool
	}{
		{registry.Order{}, 0, false},
		{registry.Order{For: 60}, time.Minute, true},
		{registry.Order{For: 60, Failback: 5}, 65 * time.Second, true},
		{registry.Order{For: 600, Failback: 5, Ending: true}, 5 * time.Second, true},
	} {
		at, ok := registry.StandingOrder{Order: c.order, Stored: stored}.Ends()
		if ok != c.ends || ok && at.Sub(stored) != c.after {
			t.Errorf("%+v ends after %v (%t), want %v (%t)", c.order, at.Sub(stored), ok, c.after, c.ends)
		}
	}
}
