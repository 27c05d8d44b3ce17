package probing_test

import (
	"context"
	"crypto/rand"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/seamark-mesh/seamark/cmd/internal/probing"
	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
	"github.com/seamark-mesh/seamark/registry/stream/streamtest"
)

// put stores what a cluster says of itself.
func put(t *testing.T, c *stream.Conn, cluster registry.ClusterID, gateways ...registry.Gateway) {
	t.Helper()
	record := &registry.Event{
		Schema: registry.Schema, ID: rand.Text(), Kind: registry.KindCluster, Writer: registry.Writer(cluster), Epoch: 7, Revision: 1,
		Time: time.Now(), Cause: registry.CauseChange, Cluster: &registry.ClusterRecord{Cluster: cluster, Gateways: gateways},
	}
	if _, err := c.Put(t.Context(), record, stream.AnySequence); err != nil {
		t.Fatal(err)
	}
}

// leave orders a cluster to leave, or takes that back.
func leave(t *testing.T, c *stream.Conn, cluster registry.ClusterID, lifted bool) {
	t.Helper()
	o := registry.Order{Kind: registry.OrderLeave, Target: string(cluster), By: "ada", Reason: "a test", Lifted: lifted}
	if _, err := c.PutOrder(t.Context(), o, "ada", registry.CauseChange, stream.AnySequence); err != nil {
		t.Fatal(err)
	}
}

// TestAClusterThatHasLeftIsNotProbed: agents went on probing it, and reported what they
// found for as long as they ran.
func TestAClusterThatHasLeftIsNotProbed(t *testing.T) {
	c := streamtest.ConnectTo(t, streamtest.Start(t).ClientURL())
	streamtest.Create(t, c, 1)
	put(t, c, "amber", open(t, 2)...)
	put(t, c, "cobalt", open(t, 1)...)
	put(t, c, "dusk", open(t, 1)...)
	leave(t, c, "dusk", false) // before anybody listens
	logger := slog.New(slog.DiscardHandler)
	p := section().Prober(logger)
	start(t, p.Run)
	start(t, func(ctx context.Context) error { return probing.FollowRecords(ctx, p, c, logger) })
	start(t, func(ctx context.Context) error { return probing.Publish(ctx, p, c, "bronze", "host/1", nil, logger) })
	reports := make(chan registry.ProbeReport, 1000)
	start(t, func(ctx context.Context) error {
		if err := c.WatchProbes(ctx, func(r registry.ProbeReport, _, _ time.Time) { reports <- r }); ctx.Err() == nil {
			return err
		}
		return nil
	})
	told := map[registry.ClusterID]int{} // how many gateways the latest report has
	await := func(what string, cluster registry.ClusterID, gateways int) {
		t.Helper()
		limit := time.After(time.Minute)
		for n, ok := told[cluster]; !ok || n != gateways; n, ok = told[cluster] {
			select {
			case r := <-reports:
				told[r.Cluster] = len(r.Gateways)
			case <-limit:
				t.Fatalf("%s: no report about %s with %d gateways comes; there were %v", what, cluster, gateways, told)
			}
		}
	}
	await("at first", "amber", 2)
	await("at first", "cobalt", 1)
	streamtest.Eventually(t, time.Minute, "dusk is not probed", func() bool { return !slices.Contains(p.Clusters(), "dusk") })

	leave(t, c, "amber", false)
	streamtest.Eventually(t, time.Minute, "amber is not probed", func() bool { return slices.Equal(p.Clusters(), []registry.ClusterID{"cobalt"}) })
	await("it has left", "amber", 0)
	put(t, c, "amber", open(t, 3)...) // its agent still lives
	put(t, c, "cobalt", open(t, 2)...)
	await("another record", "cobalt", 2)
	if got := p.Clusters(); !slices.Equal(got, []registry.ClusterID{"cobalt"}) {
		t.Errorf("a cluster that has left says something of itself, and %v are probed", got)
	}

	leave(t, c, "amber", true)
	await("it is back", "amber", 3)
	leave(t, c, "dusk", true)
	await("it is back", "dusk", 1)
}

// TestProbesWithoutTheRightToReadLeaves: credentials of an earlier release probe as ever,
// and it is said once what they lack.
func TestProbesWithoutTheRightToReadLeaves(t *testing.T) {
	s := streamtest.StartWith(t, func(o *server.Options) {
		o.Users = []*server.User{{Username: "admin", Password: "p"}, {Username: "bronze", Password: "p", Permissions: &server.Permissions{
			Publish: &server.SubjectPermission{Allow: []string{
				"mesh.v1.bronze.>", "$JS.API.STREAM.INFO.*", "$JS.API.CONSUMER.MSG.NEXT.>", "$JS.API.CONSUMER.CREATE.MESH_EVENTS.*.mesh.v1.*.cluster",
			}},
			Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>"}},
		}}}
	})
	at := func(name string) string { return strings.Replace(s.ClientURL(), "nats://", "nats://"+name+":p@", 1) }
	admin := streamtest.ConnectTo(t, at("admin"))
	streamtest.Create(t, admin, 1)
	put(t, admin, "amber", open(t, 2)...)
	var log journal
	logger := slog.New(slog.NewTextHandler(&log, nil))
	p := section().Prober(logger)
	start(t, p.Run)
	c := streamtest.ConnectTo(t, at("bronze"))
	start(t, func(ctx context.Context) error { return probing.FollowRecords(ctx, p, c, logger) })
	streamtest.Eventually(t, time.Minute, "it is said", func() bool { return log.count("clusters that have left are probed") > 0 })
	streamtest.Eventually(t, time.Minute, "amber is probed", func() bool { return len(p.Verdicts("amber")) == 2 })
	if n := log.count("clusters that have left are probed"); n != 1 || log.count("of other clusters are not probed") > 0 {
		t.Errorf("said %d times", n)
	}
}
