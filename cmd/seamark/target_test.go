package main

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

func TestTargets(t *testing.T) {
	for text, want := range map[string]string{
		"amber":                   "amber → amber",
		"amber/gw-1":              "gw-1.amber → amber/gw-1",
		"shop/checkout@amber":     "checkout.shop.amber → shop/checkout@amber",
		"checkout@amber":          "checkout.default.amber → default/checkout@amber",
		"shop/Payments.API@amber": "payments-api.shop.amber → shop/payments-api@amber",
		"":                        "names no cluster",
		"Amber":                   "names no cluster",
		"amber.bronze":            "names no cluster",
		"amber/":                  "no target",
		"amber/gw-1/x":            "no target",
		"@amber":                  "names no service",
		"a/b@":                    "names no cluster",
		"münchen@amber":           "names no service",
	} {
		got, err := parseTarget(text)
		if err != nil {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %v, want %q", text, err, want)
			}
			continue
		}
		if s := got.order() + " → " + shownTarget(got.order()); s != want {
			t.Errorf("%q: %s, want %s", text, s, want)
		}
		again, err := parseTarget(got.String())
		if err != nil || again != got {
			t.Errorf("%q: %+v is read as %+v, %v", text, got, again, err)
		}
	}
}

// twoClusters makes what two clusters say, each its epoch's record first: both have
// "both", amber alone has "alone".
func twoClusters(epoch uint64) (all [2][]*registry.Event) {
	for n, cluster := range []string{"amber", "bronze"} {
		next := func(e *registry.Event) {
			e.Schema, e.Cause, e.Agent, e.Time = registry.Schema, registry.CauseChange, "test", time.Unix(int64(epoch), 0).UTC()
			e.Writer, e.Epoch, e.Revision = registry.Writer(cluster), epoch, uint64(len(all[n])+1)
			e.ID = fmt.Sprint(cluster, "-", e.Revision)
			all[n] = append(all[n], e)
		}
		next(&registry.Event{Kind: registry.KindEpoch, Takeover: &registry.EpochRecord{}})
		next(&registry.Event{Kind: registry.KindCluster, Cluster: &registry.ClusterRecord{
			Cluster: registry.ClusterID(cluster), Gateways: []registry.Gateway{
				{Name: "gw-1", Addresses: []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, byte(n)})}, Weight: 1},
				{Name: "gw-2", Addresses: []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 3, byte(n)})}, Weight: 1},
			},
		}})
		for _, name := range []string{"both", "alone"} {
			key := registry.ServiceKey{Namespace: "default", Name: name}
			s := registry.Service{Key: key, Instances: []registry.Instance{{ID: "i", Address: "10.0.0.1", Port: 80, Weight: 1, Health: registry.Passing}}}
			if name == "alone" && cluster == "bronze" {
				s.Instances[0].Health = registry.Critical
			}
			state := registry.NewServiceState(key, &s)
			next(&registry.Event{Kind: registry.KindService, Service: &state})
		}
	}
	return all
}

// meshOf folds what two clusters say, and orders.
func meshOf(orders ...registry.Order) *registry.View {
	fold, sequence := registry.NewFold(), uint64(0)
	stored := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	apply := func(e *registry.Event) {
		sequence++
		fold.Apply(registry.NewMessage(e.Fact(), sequence, stored, e.Epoch, e.Revision, e, nil))
	}
	for _, events := range twoClusters(uint64(stored.Unix())) {
		for _, e := range events {
			apply(e)
		}
	}
	for _, o := range orders {
		apply(&registry.Event{
			Schema: registry.Schema, Kind: registry.KindOrder, Writer: registry.Operator, Cause: registry.CauseChange, Time: stored, Order: &o,
		})
	}
	fold.Synced()
	return fold.View()
}

func TestWhatAnOrderEmpties(t *testing.T) {
	drain := func(target string) registry.Order {
		return registry.Order{Kind: registry.OrderDrain, Target: target, By: "ada", Force: true}
	}
	weak := func(target string) registry.Order { // gives way where no other cluster can serve
		o := drain(target)
		o.Force = false
		return o
	}
	all := func(targets ...string) (orders []registry.Order) {
		for _, target := range targets {
			orders = append(orders, weak(target))
		}
		return orders
	}
	leaves := func(cluster string) registry.Order {
		return registry.Order{Kind: registry.OrderLeave, Target: cluster, By: "ada"}
	}
	leave := leaves("amber")
	for name, test := range map[string]struct {
		before []registry.Order
		order  registry.Order
		want   string
	}{
		"a cluster with something of its own": {nil, drain("amber"), "[default/alone]"},
		"a cluster without":                   {nil, drain("bronze"), "[]"},
		"the last one":                        {[]registry.Order{drain("amber")}, drain("bronze"), "[default/both]"},
		"one gateway of two":                  {nil, drain("gw-1.amber"), "[]"},
		"the second gateway of two":           {[]registry.Order{drain("gw-1.amber")}, drain("gw-2.amber"), "[default/alone]"},
		"a service elsewhere too":             {nil, drain("both.default.amber"), "[]"},
		"a service nowhere else":              {nil, drain("alone.default.amber"), "[default/alone]"},
		"what is empty already":               {nil, drain("alone.default.bronze"), "[]"},
		"leaves":                              {nil, leave, "[default/alone]"},
		"leaves, the last one":                {[]registry.Order{drain("bronze")}, leave, "[default/alone default/both]"},

		"the last one but one that gives way":             {all("amber"), drain("bronze"), "[default/both]"},
		"leaves, the last one but one that gives way":     {all("amber"), leaves("bronze"), "[default/both]"},
		"a service, whose other cluster gives way":        {all("both.default.amber"), drain("both.default.bronze"), "[default/both]"},
		"a cluster, where its other gives way for one":    {all("both.default.amber"), drain("bronze"), "[default/both]"},
		"leaves, where its other gives way for a service": {all("both.default.amber"), leaves("bronze"), "[default/both]"},
		"a cluster, whose other's gateways give way":      {all("gw-1.amber", "gw-2.amber"), drain("bronze"), "[default/both]"},
		"the last gateway, where the other gives way":     {all("amber", "gw-1.bronze"), drain("gw-2.bronze"), "[default/both]"},
		"a gateway of two, where the other gives way":     {all("amber"), drain("gw-1.bronze"), "[]"},
		"the second gateway of two that give way":         {all("gw-1.amber"), drain("gw-2.amber"), "[default/alone]"},
		"leaves, though it gives way":                     {all("amber"), leave, "[default/alone]"},
		"another one of a cluster that gives way":         {all("amber"), drain("both.default.amber"), "[]"},
		"what only gives way, where the other is drained": {append(all("amber"), drain("bronze")), leave, "[default/alone default/both]"},
	} {
		t.Run(name, func(t *testing.T) {
			before, after := meshOf(test.before...), meshOf(append(test.before, test.order)...)
			if got := fmt.Sprint(emptied(before, after)); got != test.want {
				t.Errorf("emptied: %s, want %s", got, test.want)
			}
		})
	}
}

func TestHowAnOrderIsShown(t *testing.T) {
	stored := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		order registry.Order
		after time.Duration
		state string
		ends  time.Duration // after it was stored; negative: nobody knows
	}{
		"stands":         {registry.Order{Kind: "drain", Target: "amber", For: 60, Failback: 30}, time.Minute, "drained", 90 * time.Second},
		"over":           {registry.Order{Kind: "drain", Target: "amber", For: 60, Failback: 30}, 90 * time.Second, "over, to be lifted by the observer", 90 * time.Second},
		"without an end": {registry.Order{Kind: "drain", Target: "amber", Failback: 30}, time.Hour, "drained", -1},
		"ending":         {registry.Order{Kind: "drain", Target: "amber", Ending: true, Failback: 30}, time.Second, "ending", 30 * time.Second},
		"lifted":         {registry.Order{Kind: "drain", Target: "amber", Ending: true, Lifted: true}, 0, "lifted", -1},
		"left":           {registry.Order{Kind: "leave", Target: "amber"}, time.Hour, "left", -1},
		"joined":         {registry.Order{Kind: "leave", Target: "amber", Lifted: true}, 0, "joined", -1},
	} {
		t.Run(name, func(t *testing.T) {
			got := shown(registry.StandingOrder{Order: test.order, Stored: stored}, stored.Add(test.after))
			if got.State != test.state || (got.Ends == nil) != (test.ends < 0) || got.Ends != nil && !got.Ends.Equal(stored.Add(test.ends)) {
				t.Errorf("%+v, ends %v", got, got.Ends)
			}
		})
	}
}
