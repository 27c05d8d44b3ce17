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

// meshOf folds what two clusters say: both have "both", amber alone has "alone".
func meshOf(orders ...registry.Order) *registry.View {
	fold, sequence := registry.NewFold(), uint64(0)
	stored := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	apply := func(e *registry.Event) {
		sequence++
		e.Schema, e.Cause, e.Time = registry.Schema, registry.CauseChange, stored
		fold.Apply(registry.NewMessage(e.Fact(), sequence, stored, e.Epoch, e.Revision, e, nil))
	}
	for n, cluster := range []string{"amber", "bronze"} {
		writer, revision := registry.Writer(cluster), uint64(0)
		next := func(e *registry.Event) {
			revision++
			e.Writer, e.Epoch, e.Revision = writer, 100, revision
			apply(e)
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
	for _, o := range orders {
		apply(&registry.Event{Kind: registry.KindOrder, Writer: registry.Operator, Order: &o})
	}
	fold.Synced()
	return fold.View()
}

func TestWhatAnOrderEmpties(t *testing.T) {
	drain := func(target string) registry.Order {
		return registry.Order{Kind: registry.OrderDrain, Target: target, By: "ada", Force: true}
	}
	leave := registry.Order{Kind: registry.OrderLeave, Target: "amber", By: "ada"}
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
