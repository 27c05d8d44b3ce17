package main

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seamark-mesh/seamark/cmd/internal/probing"
	"github.com/seamark-mesh/seamark/registry"
)

// TestProbesFollowTheView: what clusters declare is probed, and nothing of one that
// has left or was never heard of.
func TestProbesFollowTheView(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fold, store := registry.NewFold(), &registry.Store{}
		sequence := uint64(0)
		publish := func(e *registry.Event) {
			t.Helper()
			sequence++
			e.Schema, e.ID, e.Cause, e.Time = registry.Schema, "x", registry.CauseChange, time.Now()
			if _, own := e.Writer.Cluster(); own {
				e.Epoch, e.Revision = 7, sequence
			}
			m := registry.NewMessage(e.Fact(), sequence, time.Now(), e.Epoch, e.Revision, e, nil)
			if out := fold.Apply(m); out.Result != registry.Applied {
				t.Fatalf("%+v of %+v: %v", out, e, m.Refused)
			}
			store.Publish(fold.View())
			time.Sleep(time.Second)
		}
		record := func(id registry.ClusterID, gateways ...string) *registry.Event {
			r := &registry.ClusterRecord{Cluster: id}
			for _, name := range gateways {
				r.Gateways = append(r.Gateways, registry.Gateway{
					Name: name, Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Ports: map[string]int{"http": 80},
				})
			}
			return &registry.Event{Kind: registry.KindCluster, Writer: registry.Writer(id), Cluster: r}
		}
		leave := func(lifted bool) *registry.Event {
			return &registry.Event{Kind: registry.KindOrder, Writer: registry.Operator, Order: &registry.Order{
				Kind: registry.OrderLeave, Target: "amber", By: "ada", Reason: "a test", Lifted: lifted,
			}}
		}
		p := newProbes(Probes{Section: probing.Section{Enabled: true}}, store, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- p.follow(ctx) }()
		expect := func(what string, gateways int, clusters ...registry.ClusterID) {
			t.Helper()
			if got := p.prober.Clusters(); !slices.Equal(got, clusters) || p.prober.Counts().Gateways != gateways {
				t.Errorf("%s: %d gateways of %v are probed, want %d of %v", what, p.prober.Counts().Gateways, got, gateways, clusters)
			}
		}
		expect("nothing is known", 0)
		publish(record("amber", "gw-1", "gw-2"))
		publish(record("bronze", "gw-1"))
		expect("two clusters", 3, "amber", "bronze")
		publish(record("amber", "gw-1"))
		expect("a gateway is gone", 2, "amber", "bronze")
		publish(record("bronze"))
		expect("all of a cluster's", 1, "amber")
		publish(leave(false))
		expect("a cluster has left", 0)
		publish(leave(true))
		expect("and is back", 1, "amber")
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestNoProbes(t *testing.T) {
	metrics := prometheus.NewRegistry()
	p := newProbes(Probes{}, &registry.Store{}, metrics, slog.New(slog.DiscardHandler))
	if parts := p.parts(&connection{}); len(parts) != 0 {
		t.Errorf("%d parts run without probes", len(parts))
	}
	if families, err := metrics.Gather(); err != nil || len(families) != 0 {
		t.Errorf("metrics without probes: %v, %v", families, err)
	}
}

// TestVantage: whatever the host is called, the name is one.
func TestVantage(t *testing.T) {
	for _, c := range []Probes{{}, {Vantage: "eu-1"}, {Vantage: strings.Repeat("v", 58)}} {
		if _, err := registry.ParseVantage(c.vantage()); err != nil || c.Vantage != "" && c.vantage() != "_dns-"+c.Vantage {
			t.Errorf("%q gives %q, %v", c.Vantage, c.vantage(), err)
		}
	}
}
