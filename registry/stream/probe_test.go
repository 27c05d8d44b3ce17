package stream_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
	"github.com/seamark-mesh/seamark/registry/stream/streamtest"
)

// report is what a vantage point says of a cluster with some gateways.
func report(vantage string, cluster registry.ClusterID, gateways int) registry.ProbeReport {
	r := registry.ProbeReport{
		Schema: registry.Schema, Vantage: vantage, Agent: "host/1", Cluster: cluster, Time: time.Now().UTC(), Every: 10,
		Gateways: make([]registry.GatewayReport, gateways),
	}
	for n := range r.Gateways {
		r.Gateways[n] = registry.GatewayReport{
			Name: fmt.Sprintf("gateway-%055d", n), Since: time.Now().UTC(), Error: strings.Repeat("e", 200),
			Latency: &registry.Latency{Count: 100, Min: 123.456, Mean: 234.567, P99: 345.678},
		}
	}
	return r
}

// watchProbes hands on what [stream.Conn.WatchProbes] gives.
func watchProbes(t *testing.T, c *stream.Conn) <-chan registry.ProbeReport {
	t.Helper()
	reports, done := make(chan registry.ProbeReport, 100), make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		done <- c.WatchProbes(ctx, func(r registry.ProbeReport, stored, received time.Time) {
			if age := received.Sub(stored); age < -time.Second || age > time.Minute {
				t.Errorf("stored at %v, received at %v", stored, received)
			}
			reports <- r
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("WatchProbes ended with %v", err)
		}
	})
	return reports
}

func next[T any](t *testing.T, from <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(10 * time.Second):
		t.Fatal("nothing came")
	}
	return v
}

func put(t *testing.T, c *stream.Conn, r registry.ProbeReport) (cut bool) {
	t.Helper()
	cut, err := c.PutProbe(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return cut
}

// The latest report of each vantage point about each cluster is there for who comes
// later, then every new one.
func TestProbeReports(t *testing.T) {
	_, c := streamtest.Streams(t)
	put(t, c, report("bronze", "amber", 1))
	first := map[string]registry.ProbeReport{}
	for _, r := range []registry.ProbeReport{report("bronze", "amber", 2), report("_dns-1", "amber", 1), report("bronze", "bronze", 0)} {
		if put(t, c, r) {
			t.Error("a small report is cut")
		}
		first[r.Vantage+" "+string(r.Cluster)] = r
	}
	reports := watchProbes(t, c)
	got := map[string]registry.ProbeReport{}
	for range first {
		r := next(t, reports)
		got[r.Vantage+" "+string(r.Cluster)] = r
	}
	if diff := cmp.Diff(first, got); diff != "" {
		t.Error(diff)
	}
	later := report("_dns-1", "amber", 1)
	later.Gateways[0].Reached = true
	put(t, c, later)
	if diff := cmp.Diff(later, next(t, reports)); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []registry.ProbeReport{report("Amber", "amber", 1), report("_observer", "amber", 1), report("amber", "a.b", 1), report("_dns-", "amber", 1)} {
		if _, err := c.PutProbe(t.Context(), bad); err == nil {
			t.Errorf("%s reports about %s", bad.Vantage, bad.Cluster)
		}
	}
}

// What nobody can use is passed over, and stops nothing.
func TestForeignProbeReportsArePassedOver(t *testing.T) {
	s := streamtest.Start(t)
	var log bytes.Buffer
	c, err := stream.Connect(t.Context(), stream.ConnectConfig{Servers: []string{s.ClientURL()}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	streamtest.Create(t, c, 1)
	body := func(r registry.ProbeReport) []byte {
		b, err := registry.EncodeProbeReport(r)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	twice := report("cobalt", "amber", 1)
	twice.Gateways = append(twice.Gateways, twice.Gateways[0])
	for subject, data := range map[string][]byte{
		stream.ProbeSubject("bronze", "amber"):  body(report("cobalt", "amber", 1)), // another vantage point
		stream.ProbeSubject("bronze", "cobalt"): body(report("bronze", "amber", 1)), // another cluster
		stream.ProbeSubject("cobalt", "amber"):  body(twice),
		stream.ProbeSubject("dune", "amber"):    nil,
		"mesh.v1.UPPER.probe.amber":             body(report("bronze", "amber", 1)),
		"mesh.v1._observer.probe.amber":         body(report("_observer", "amber", 1)),
	} {
		for range 2 {
			if _, err := c.NATS().Request(subject, data, 5*time.Second); err != nil {
				t.Fatalf("%s: %v", subject, err)
			}
		}
	}
	put(t, c, report("good", "amber", 1))
	if r := next(t, watchProbes(t, c)); r.Vantage != "good" {
		t.Errorf("got %+v", r)
	}
	for _, bad := range []string{"bronze.probe.amber", "bronze.probe.cobalt", "cobalt.probe.amber", "dune.probe.amber", "UPPER.probe.amber", "_observer.probe.amber"} {
		if n := strings.Count(log.String(), bad+" "); n != 1 {
			t.Errorf("%s is said %d times:\n%s", bad, n, log.String())
		}
	}
}

// A report of the most gateways a cluster can have, with the longest names, fits
// without latencies and errors; none that the server takes is refused by a reader.
func TestLargestProbeReportFits(t *testing.T) {
	_, c := streamtest.Streams(t)
	reports := watchProbes(t, c)
	largest := report(strings.Repeat("v", 63), registry.ClusterID(strings.Repeat("c", 63)), registry.MaxGateways)
	largest.Agent = strings.Repeat("a", 200)
	if !put(t, c, largest) {
		t.Error("it is not cut")
	}
	r := next(t, reports)
	if !r.Cut || len(r.Gateways) != registry.MaxGateways || r.Gateways[0].Latency != nil || r.Gateways[0].Error != "" || r.Gateways[0].Since.IsZero() {
		t.Errorf("cut %v, %d gateways, the first is %+v", r.Cut, len(r.Gateways), r.Gateways[0])
	}
	if largest.Cut || largest.Gateways[0].Latency == nil || largest.Gateways[0].Error == "" {
		t.Error("the caller's report was changed")
	}
	middle := report("bronze", "amber", 350)
	if !put(t, c, middle) {
		t.Error("it is not cut")
	}
	if r := next(t, reports); !r.Cut || r.Gateways[0].Latency != nil || r.Gateways[0].Error == "" {
		t.Errorf("errors went before latencies: %+v", r.Gateways[0])
	}
}

// Each cluster's own record is there, for who comes later too; what can't be used is told as such.
func TestWatchClusters(t *testing.T) {
	_, c := streamtest.Streams(t)
	put := func(cluster registry.ClusterID, gateways ...registry.Gateway) {
		t.Helper()
		e := newAuthor(registry.Writer(cluster)).event(registry.KindCluster)
		e.Cluster = &registry.ClusterRecord{Cluster: cluster, Gateways: gateways}
		if _, err := c.Put(t.Context(), e, stream.AnySequence); err != nil {
			t.Fatal(err)
		}
	}
	gateway := registry.Gateway{Name: "gw-1", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Probe: &registry.Probe{Kind: registry.ProbeHTTP, Path: "/live"}}
	put("amber")
	put("amber", gateway)
	put("bronze")
	if _, err := c.NATS().Request("mesh.v1.cobalt.cluster", []byte("{"), 5*time.Second); err != nil {
		t.Fatal(err)
	}
	records, done := make(chan registry.Message, 100), make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { done <- c.WatchClusters(ctx, func(m registry.Message) { records <- m }) }()
	for _, want := range []registry.Writer{"amber", "bronze", "cobalt"} {
		m := next(t, records)
		if m.Fact.Writer != want || (m.Refused != nil) != (want == "cobalt") {
			t.Errorf("want %s, got %+v", want, m)
		}
		if want == "amber" && (len(m.Event.Cluster.Gateways) != 1 || !m.Event.Cluster.Gateways[0].Equal(gateway)) {
			t.Errorf("amber's record is %+v", m.Event.Cluster)
		}
	}
	put("cobalt", gateway)
	if m := next(t, records); m.Refused != nil || m.Fact.Writer != "cobalt" {
		t.Errorf("got %+v", m)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
}

// Who may not report or read is told so, and what it may is not mistaken for that.
func TestProbesWithoutRights(t *testing.T) {
	few := &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: []string{"mesh.v1.amber.probe.bronze", "$JS.API.STREAM.INFO.*", "$JS.API.CONSUMER.CREATE.MESH_EVENTS.*.mesh.v1.amber.>"}},
		Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>"}},
	}
	s := streamtest.StartWith(t, func(o *server.Options) {
		o.Users = []*server.User{{Username: "admin", Password: "p"}, {Username: "amber", Password: "p", Permissions: few}}
	})
	at := func(name string) string { return "nats://" + name + ":p@" + s.ClientURL()[len("nats://"):] }
	streamtest.Create(t, streamtest.ConnectTo(t, at("admin")), 1)
	c := streamtest.ConnectTo(t, at("amber"))
	put(t, c, report("amber", "bronze", 1))
	var wg sync.WaitGroup // each waits for an answer that does not come
	for _, cluster := range []registry.ClusterID{"cobalt", "dune"} {
		wg.Go(func() {
			if _, err := c.PutProbe(t.Context(), report("amber", cluster, 1)); !errors.Is(err, stream.ErrNotPermitted) {
				t.Errorf("a report about %s: %v", cluster, err)
			}
		})
	}
	other := streamtest.ConnectTo(t, at("amber"))
	wg.Go(func() {
		if err := other.WatchClusters(t.Context(), func(registry.Message) {}); !errors.Is(err, stream.ErrNotPermitted) {
			t.Errorf("WatchClusters: %v", err)
		}
	})
	wg.Wait()
	put(t, c, report("amber", "bronze", 1))
	if _, err := other.PutProbe(t.Context(), report("amber", "bronze", 1)); err != nil {
		t.Errorf("after another refusal: %v", err)
	}
	c.Close()
	if _, err := c.PutProbe(t.Context(), report("amber", "bronze", 1)); err == nil {
		t.Error("stored without a connection")
	}
}
