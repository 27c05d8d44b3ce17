package probing

import (
	"context"
	"log/slog"
	"sync"

	"github.com/seamark-mesh/seamark/liveness/probe"
	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
)

// records is what the stream says of whom to probe: the clusters' own records, without
// those that were ordered to leave.
type records struct {
	prober *probe.Prober
	heard  chan struct{} // closed when there is a record

	mu       sync.Mutex // guards what follows
	gateways map[registry.ClusterID][]registry.Gateway
	left     map[registry.ClusterID]bool
}

// record takes in what a cluster says of itself.
func (r *records) record(m registry.Message) {
	cluster, ok := m.Fact.Writer.Cluster()
	if !ok || m.Event == nil || m.Event.Cluster == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.gateways[cluster]; !known && len(r.gateways) >= registry.MaxClusters {
		return
	}
	if len(r.gateways) == 0 {
		close(r.heard)
	}
	r.gateways[cluster] = m.Event.Cluster.Gateways
	r.aim(cluster)
}

// order takes in that a cluster leaves, or comes back.
func (r *records) order(m registry.Message) {
	if m.Event == nil || m.Event.Order == nil || m.Event.Order.Kind != registry.OrderLeave {
		return
	}
	cluster := registry.ClusterID(m.Event.Order.Target)
	r.mu.Lock()
	defer r.mu.Unlock()
	if m.Event.Order.Lifted {
		delete(r.left, cluster)
	} else {
		r.left[cluster] = true
	}
	r.aim(cluster)
}

// aim makes a cluster's gateways targets, or none. r.mu is held.
func (r *records) aim(cluster registry.ClusterID) {
	if r.left[cluster] {
		r.prober.SetTargets(cluster, nil)
		return
	}
	r.prober.SetTargets(cluster, r.gateways[cluster])
}

// FollowRecords probes the gateways that the clusters' own records on the stream name, but
// for clusters that were ordered to leave, until ctx ends, and then returns nil. Without the
// right to read those orders it probes all.
func FollowRecords(ctx context.Context, p *probe.Prober, conn *stream.Conn, logger *slog.Logger) error {
	r := &records{prober: p, heard: make(chan struct{}), gateways: map[registry.ClusterID][]registry.Gateway{}, left: map[registry.ClusterID]bool{}}
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		select {
		case <-r.heard: // else there is nothing to leave out, and perhaps no right to read anything
		case <-ctx.Done():
			return
		}
		_ = insist(ctx, conn, logger, func() error { return conn.WatchLeaves(ctx, r.order) }, func(err error) {
			logger.Warn("clusters that have left are probed as if they had not: these credentials lack a right on the stream; docs/operations.md lists them",
				"err", err)
		})
	})
	return insist(ctx, conn, logger, func() error { return conn.WatchClusters(ctx, r.record) }, func(err error) {
		logger.Warn("the gateways of other clusters are not probed: these credentials lack a right on the stream; docs/operations.md lists them, and probes.enabled: false ends this",
			"err", err)
	})
}
