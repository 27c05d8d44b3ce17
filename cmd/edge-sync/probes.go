package main

import (
	"context"

	"github.com/seamark-mesh/seamark/cmd/internal/probing"
	"github.com/seamark-mesh/seamark/cmd/internal/proc"
	"github.com/seamark-mesh/seamark/registry/stream"
	"github.com/seamark-mesh/seamark/sync/edge"
)

// probes returns the parts that probe the gateways of all clusters, the own among them:
// that report has no vote, but it tells how long the way is. A standby probes too, so that
// it has something to say when it takes over, and publishes nothing: two agents of one
// cluster would be one vantage point that contradicts itself.
func (d *daemon) probes(agent *edge.Agent, conn *stream.Conn, name string) []proc.Part {
	log := d.process.Logger
	prober := d.config.Probes.Prober(log)
	if prober == nil {
		return nil
	}
	probing.Register(d.metrics, prober)
	leads := func() bool { return agent.Status().Role == edge.Leader }
	return []proc.Part{
		{Name: "probes", Run: prober.Run},
		{Name: "probe targets", Run: func(ctx context.Context) error {
			return probing.FollowRecords(ctx, prober, conn, log)
		}},
		{Name: "probe reports", Run: func(ctx context.Context) error {
			return probing.Publish(ctx, prober, conn, string(d.config.Cluster), name, leads, log)
		}},
	}
}
