package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seamark-mesh/seamark/cmd/internal/probing"
	"github.com/seamark-mesh/seamark/cmd/internal/proc"
	"github.com/seamark-mesh/seamark/liveness/probe"
	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/election"
)

// aim is how long changes of clusters are gathered before the targets follow.
const aim = 250 * time.Millisecond

// probes probes the gateways of all clusters of the View.
type probes struct {
	config Probes
	store  *registry.Store
	prober *probe.Prober // nil: none are wanted
	logger *slog.Logger
}

func newProbes(c Probes, store *registry.Store, metrics prometheus.Registerer, logger *slog.Logger) *probes {
	p := &probes{config: c, store: store, prober: c.Prober(logger), logger: logger}
	probing.Register(metrics, p.prober)
	return p
}

// parts returns what runs beside the replica on a connection; nothing without probes.
func (p *probes) parts(conn *connection) []proc.Part {
	if p.prober == nil {
		return nil
	}
	return []proc.Part{
		{Name: "probes", Run: p.prober.Run},
		{Name: "probe targets", Run: p.follow},
		{Name: "probe reports", Run: func(ctx context.Context) error {
			return probing.Publish(ctx, p.prober, conn.Conn, p.config.vantage(), author(), nil, p.logger)
		}},
	}
}

// follow keeps the targets to what the clusters say of themselves.
func (p *probes) follow(ctx context.Context) error {
	views, known := p.store.Watch(), map[registry.ClusterID]bool{}
	for {
		v, change, err := views.Next(ctx)
		if err != nil {
			return nil
		}
		changed := change.Clusters
		if change.All {
			for _, c := range v.Clusters() {
				changed = append(changed, c.ID)
			}
			for id := range known {
				changed = append(changed, id)
			}
		}
		if len(changed) == 0 {
			continue
		}
		for _, id := range changed {
			p.aim(v, id, known)
		}
		if !election.Pause(ctx, aim) {
			return nil
		}
	}
}

// aim makes one cluster's gateways targets; none of one that has left.
func (p *probes) aim(v *registry.View, id registry.ClusterID, known map[registry.ClusterID]bool) {
	c := v.Cluster(id)
	if c == nil || c.Record == nil || v.Left(id) != nil {
		if known[id] {
			p.prober.SetTargets(id, nil)
			delete(known, id)
		}
		return
	}
	p.prober.SetTargets(id, c.Record.Gateways)
	known[id] = true
}
