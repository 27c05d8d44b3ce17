package main

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/seamark-mesh/seamark/registry"
)

// What is out of the answers by order was in no metric: a cluster that had left as it
// should was an alert for ever.
func TestOrdersInForceAreMetrics(t *testing.T) {
	fold, store, metrics := registry.NewFold(), &registry.Store{}, prometheus.NewRegistry()
	sequence := uint64(0)
	order := func(kind, target string, lifted bool) {
		t.Helper()
		sequence++
		e := &registry.Event{
			Schema: registry.Schema, ID: "x", Kind: registry.KindOrder, Writer: registry.Operator, Cause: registry.CauseChange,
			Time: time.Now(), Order: &registry.Order{Kind: kind, Target: target, By: "ada", Reason: "a test", Lifted: lifted},
		}
		m := registry.NewMessage(e.Fact(), sequence, time.Now(), 0, 0, e, nil)
		if out := fold.Apply(m); out.Result != registry.Applied {
			t.Fatalf("%+v of %s %s: %v", out, kind, target, m.Refused)
		}
		store.Publish(fold.View())
	}
	expect := func(want ...string) {
		t.Helper()
		page := "# HELP seamark_cluster_orders Orders in force about a cluster, by kind: leave, drain (of all of it), drain_gateway, drain_service; none where there is no such order.\n" +
			"# TYPE seamark_cluster_orders gauge\n"
		if want == nil {
			page = ""
		}
		for _, sample := range want {
			page += "seamark_cluster_orders" + sample + "\n"
		}
		if err := testutil.GatherAndCompare(metrics, strings.NewReader(page), "seamark_cluster_orders"); err != nil {
			t.Error(err)
		}
	}
	newObserving(Observer{}, store, metrics, slog.New(slog.DiscardHandler))
	order(registry.OrderResync, "amber", false) // takes nothing out of the answers
	expect()
	order(registry.OrderDrain, "amber", false)
	order(registry.OrderDrain, "gw-1.amber", false)
	order(registry.OrderDrain, "gw-2.amber", false)
	order(registry.OrderDrain, "checkout.shop.amber", false)
	order(registry.OrderLeave, "bronze", false)
	expect(`{cluster="amber",kind="drain"} 1`, `{cluster="amber",kind="drain_gateway"} 2`, `{cluster="amber",kind="drain_service"} 1`,
		`{cluster="bronze",kind="leave"} 1`)
	order(registry.OrderDrain, "gw-1.amber", true)
	order(registry.OrderDrain, "amber", true)
	order(registry.OrderLeave, "bronze", true)
	expect(`{cluster="amber",kind="drain_gateway"} 1`, `{cluster="amber",kind="drain_service"} 1`)
}
