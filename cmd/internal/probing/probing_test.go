package probing_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/seamark-mesh/seamark/cmd/internal/probing"
	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
	"github.com/seamark-mesh/seamark/registry/stream/streamtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLabel(t *testing.T) {
	for host, want := range map[string]string{
		"dns-1": "dns-1", "DNS-1.eu.example.org": "dns-1-eu-example-org", "": "unnamed", "...": "unnamed",
		strings.Repeat("a", 58): strings.Repeat("a", 58), strings.Repeat("a", 59): "", strings.Repeat("b", 48) + ".x" + strings.Repeat("c", 20): "", strings.Repeat("d", 300): "",
	} {
		got := probing.Label(host)
		if _, err := registry.ParseVantage(registry.VantagePrefix + got); err != nil {
			t.Errorf("%q gives %q: %v", host, got, err)
		}
		if len(host) < 59 && got != want {
			t.Errorf("%q gives %q, want %q", host, got, want)
		}
	}
	if probing.Label(strings.Repeat("a", 59)) == probing.Label(strings.Repeat("a", 60)) {
		t.Error("two long names have one label")
	}
}

// journal is a log that is read while it is written.
type journal struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

func (j *journal) count(s string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Count(j.text.String(), s)
}

// open returns the gateways of a cluster, of which all accept connections.
func open(t *testing.T, count int) []registry.Gateway {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for conn, err := l.Accept(); err == nil; conn, err = l.Accept() {
			conn.Close()
		}
	}()
	gateways := make([]registry.Gateway, count)
	for n := range gateways {
		gateways[n] = registry.Gateway{
			Name: fmt.Sprintf("gw-%04d", n), Addresses: []netip.Addr{netip.MustParseAddr("127.0.0.1")},
			Ports: map[string]int{"http": l.Addr().(*net.TCPAddr).Port},
		}
	}
	return gateways
}

func section() probing.Section {
	return probing.Section{
		Enabled: true, Interval: 200 * time.Millisecond, Timeout: 200 * time.Millisecond, Rise: 1, Fall: 1, Concurrency: 8,
		Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	}
}

// start runs f until the test ends.
func start(t *testing.T, f func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("it ended with %v", err)
		}
	})
}

// However many gateways there are, the metrics stay bounded, and are valid.
func TestMetricsAreBounded(t *testing.T) {
	if p := (probing.Section{}).Prober(nil); p != nil {
		t.Fatal("there is a prober that nobody wants")
	}
	metrics := prometheus.NewPedanticRegistry()
	probing.Register(metrics, nil)
	s := section()
	s.Interval, s.Timeout = time.Second, time.Second
	p := s.Prober(nil)
	probing.Register(metrics, p)
	start(t, p.Run)
	for k := range 3 {
		p.SetTargets(registry.ClusterID(fmt.Sprintf("c-%d", k)), open(t, 800))
	}
	streamtest.Eventually(t, 30*time.Second, "all have a verdict", func() bool {
		return len(p.Verdicts("c-0"))+len(p.Verdicts("c-1"))+len(p.Verdicts("c-2")) == 2400
	})
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for _, f := range families {
		got[f.GetName()] = len(f.GetMetric())
	}
	if got["seamark_gateway_reached"] != 2000 || got["seamark_gateway_path_seconds"] != 6000 || got["seamark_probes_total"] != 3 || got["seamark_probes_late_total"] != 1 {
		t.Errorf("series: %v", got)
	}
}

// Without the rights that probes need the rest goes on, what is missing is said once,
// and when the rights have come, a new connection is enough.
func TestRightsComeLater(t *testing.T) {
	few := &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: []string{"$JS.API.STREAM.INFO.*", "$JS.API.CONSUMER.MSG.NEXT.>"}},
		Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>"}},
	}
	s := streamtest.StartWith(t, func(o *server.Options) {
		o.Users = []*server.User{{Username: "admin", Password: "p"}, {Username: "bronze", Password: "p", Permissions: few}}
	})
	at := func(name string) string { return strings.Replace(s.ClientURL(), "nats://", "nats://"+name+":p@", 1) }
	admin := streamtest.ConnectTo(t, at("admin"))
	streamtest.Create(t, admin, 1)
	record := &registry.Event{
		Schema: registry.Schema, ID: "x", Kind: registry.KindCluster, Writer: "amber", Epoch: 7, Revision: 1, Time: time.Now(),
		Cause: registry.CauseChange, Cluster: &registry.ClusterRecord{Cluster: "amber", Gateways: open(t, 2)},
	}
	if _, err := admin.Put(t.Context(), record, stream.AnySequence); err != nil {
		t.Fatal(err)
	}
	var log journal
	logger := slog.New(slog.NewTextHandler(&log, nil))
	c := streamtest.ConnectTo(t, at("bronze"))
	p := section().Prober(logger)
	start(t, p.Run)
	p.SetTargets("known", open(t, 1)) // so that there is something to report
	start(t, func(ctx context.Context) error { return probing.FollowRecords(ctx, p, c, logger) })
	start(t, func(ctx context.Context) error { return probing.Publish(ctx, p, c, "bronze", "host/1", nil, logger) })
	const noReading, noReporting = "gateways of other clusters are not probed", "is not reported"
	streamtest.Eventually(t, 30*time.Second, "both are said", func() bool { return log.count(noReading) > 0 && log.count(noReporting) > 0 })
	reports := make(chan registry.ProbeReport, 100)
	watch, stop := context.WithCancel(t.Context())
	watching := make(chan error, 1)
	go func() {
		watching <- admin.WatchProbes(watch, func(r registry.ProbeReport, _, _ time.Time) { reports <- r })
	}()
	defer func() { stop(); <-watching }()
	streamtest.Restart(t, s) // which knows no users: all may do all
	for cluster := ""; cluster != "amber"; {
		select {
		case r := <-reports:
			cluster = string(r.Cluster)
			if cluster == "amber" && (len(r.Gateways) == 0 || !r.Gateways[0].Reached || r.Vantage != "bronze") {
				t.Errorf("the report is %+v", r)
			}
		case <-time.After(30 * time.Second):
			t.Fatal("no report comes")
		}
	}
	if a, b := log.count(noReading), log.count(noReporting); a != 1 || b != 1 {
		t.Errorf("said %d and %d times", a, b)
	}
}
