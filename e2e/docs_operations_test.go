package e2e

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/seamark-mesh/seamark/liveness/observer"
	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/replica"
	"github.com/seamark-mesh/seamark/registry/stream"
	"github.com/seamark-mesh/seamark/registry/stream/streamtest"
	"github.com/seamark-mesh/seamark/sync/edge"
)

const operationsPage = "../docs/operations.md"

// metric is one family, as a daemon shows it or as the document has it.
type metric struct {
	kind   string
	labels string // sorted, joined by spaces
}

// scrape reads a daemon's own families; those of Go and the process are left out.
func scrape(t *testing.T, address string) map[string]metric {
	t.Helper()
	page := metricsPage(t, address)
	found := map[string]metric{}
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (seamark_\w+) (\w+)$`).FindAllStringSubmatch(page, -1) {
		name := m[1]
		sample := regexp.MustCompile(`(?m)^` + name + `(?:_bucket)?(?:\{(.*)\})? `).FindStringSubmatch(page)
		if sample == nil {
			t.Fatalf("%s has no sample", name)
		}
		var labels []string
		for _, l := range regexp.MustCompile(`(\w+)="`).FindAllStringSubmatch(sample[1], -1) {
			if l[1] != "le" {
				labels = append(labels, l[1])
			}
		}
		slices.Sort(labels)
		found[name] = metric{kind: m[2], labels: strings.Join(labels, " ")}
	}
	return found
}

// declaredMetrics returns the names that a daemon's source declares.
func declaredMetrics(t *testing.T, program string) map[string]bool {
	t.Helper()
	dirs := []string{"../cmd/" + program, "../cmd/internal/" + strings.ReplaceAll(program, "-", "")}
	names := literals(t, `"(seamark_\w*[a-z])"`, append(dirs, "../cmd/internal/proc", "../cmd/internal/probing")...)
	for prefix := range literals(t, `NewDesc\("(seamark_(?:\w+_)?)"\+name`, dirs...) {
		for name := range literals(t, `desc\("(\w+)"`, dirs...) {
			names[prefix+name] = true
		}
	}
	return names
}

// documentedMetrics returns what the document's table of a daemon has.
func documentedMetrics(t *testing.T, program string) map[string]metric {
	t.Helper()
	documented := map[string]metric{}
	for _, row := range rows(t, operationsPage, "metric of "+program, "type", "labels", "meaning", "look at it when") {
		labels := strings.Split(row[2], ", ")
		slices.Sort(labels)
		documented[unquoted(row[0])] = metric{kind: row[1], labels: strings.Join(labels, " ")}
	}
	return documented
}

// TestDocumentedMetrics holds the tables of docs/operations.md to what the daemons'
// sources declare and to what running daemons show.
func TestDocumentedMetrics(t *testing.T) {
	together(t)
	m := newMesh(t)
	catalog := newFile(t)
	catalog.put(t, "checkout", first)
	agent := m.agent(t, "amber", amberGateway, catalog.source())
	m.answers(t, checkout, "A", amberGateway)
	catalog.put(t, "checkout", first, second)
	m.text(t, checkout, "total=2")
	known := map[string]bool{}
	for program, address := range map[string]string{"edge-sync": agent.http, "global-dns": m.http} {
		declared, documented := declaredMetrics(t, program), documentedMetrics(t, program)
		if program == "global-dns" { // it stands in the first table
			documented["seamark_build_info"] = metric{kind: "gauge", labels: "component version"}
		}
		for name := range declared {
			known[name] = true
			if _, ok := documented[name]; !ok {
				t.Errorf("%s: the document lacks %s", program, name)
			}
		}
		for name := range documented {
			if !declared[name] {
				t.Errorf("%s: the document has %s, which nothing declares", program, name)
			}
		}
		shown := scrape(t, address)
		for name, have := range shown {
			if want := documented[name]; have != want {
				t.Errorf("%s: %s is %+v, the document says %+v", program, name, have, want)
			}
		}
		if len(shown) < len(documented)/2 {
			t.Errorf("%s shows only %v", program, slices.Sorted(maps.Keys(shown)))
		}
	}
	for _, page := range pages(t) {
		for _, name := range regexp.MustCompile(`seamark_[a-z_]+[a-z]`).FindAllString(readText(t, "../"+page), -1) {
			if base := regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(name, ""); !known[base] && !known[name] {
				t.Errorf("%s names %s, which is no metric", page, name)
			}
		}
	}
}

// TestDocumentedReasons looks for every reason and log line that the document names
// in the code, and for every reason of the code in the documents.
func TestDocumentedReasons(t *testing.T) {
	t.Parallel()
	listed := map[string]bool{}
	for page, titles := range map[string][]string{protocolPage: {"reason", "the message"}, operationsPage: {"reason", "left out"}} {
		for _, row := range rows(t, page, titles...) {
			for reason := range strings.SplitSeq(row[0], ", ") {
				listed[unquoted(reason)] = true
			}
		}
	}
	used := literals(t, `Reason: "([a-z-]+)"`, "../sync/consul", "../sync/nacos", "../sync/file", "../sync/edge")
	for reason := range used {
		if !listed[reason] {
			t.Errorf("the documents lack the reason %q", reason)
		}
	}
	for _, row := range rows(t, operationsPage, "reason", "left out") {
		for reason := range strings.SplitSeq(row[0], ", ") {
			if !used[unquoted(reason)] {
				t.Errorf("nothing is refused with the reason %s", reason)
			}
		}
	}
	page := readText(t, operationsPage)
	for reason := range literals(t, `(?:Drop|Note) += "([a-z-]+)"`, "../dnsserver") {
		if reason != "panic" && !strings.Contains(page, reason) {
			t.Errorf("the document lacks the DNS server's %q", reason)
		}
	}
	source := allSources(t)
	_, prose := split(t, "docs/operations.md")
	for _, m := range regexp.MustCompile(`"([^"]+)"`).FindAllStringSubmatch(inlineCode.ReplaceAllString(prose, ""), -1) {
		if said := strings.Join(strings.Fields(m[1]), " "); strings.Count(said, " ") >= 3 && !strings.Contains(source, said) {
			t.Errorf("the document quotes %q, which no program says", said)
		}
	}
}

// allSources returns the Go code of the daemons and what they are made of.
func allSources(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	for _, dir := range []string{
		"registry", "registry/stream", "registry/replica", "sync/edge", "sync/consul", "sync/nacos", "sync/file",
		"dnsserver", "dnsserver/lookup", "cmd/edge-sync", "cmd/global-dns", "cmd/seamark",
	} {
		for text := range literals(t, `("(?:[^"\\\n]|\\.)*")`, "../"+dir) {
			b.WriteString(text + "\n")
		}
	}
	return b.String()
}

// unheard is a replica's observer that nobody asks.
type unheard struct{}

func (unheard) Took(registry.Writer, registry.Outcome)             {}
func (unheard) Propagated(registry.ClusterID, time.Duration)       {}
func (unheard) Repaired(cluster registry.ClusterID, reason string) {}

// violations keeps what the server refused.
type violations struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (v *violations) Write(p []byte) (int, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.text.Write(p)
}

func (v *violations) String() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return strings.ToLower(v.text.String())
}

// TestDocumentedPermissions runs a reader, an agent and an operator on a server with
// the permissions that docs/operations.md gives them.
func TestDocumentedPermissions(t *testing.T) {
	t.Parallel()
	_, conf, ok := strings.Cut(readText(t, operationsPage), "```conf\n")
	conf, _, closed := strings.Cut(conf, "```\n")
	if !ok || !closed {
		t.Fatal("the document has no permissions")
	}
	var documented server.Options
	if err := documented.ProcessConfigString(conf); err != nil {
		t.Fatal(err)
	}
	nats := streamtest.StartWith(t, func(o *server.Options) { o.Users = documented.Users })
	address := strings.TrimPrefix(nats.ClientURL(), "nats://")
	connect := func(user string) (*stream.Conn, *violations) {
		heard := &violations{}
		conn, err := stream.Connect(t.Context(), stream.ConnectConfig{
			Servers: []string{"nats://" + user + ":secret-of-" + user + "@" + address}, Name: user, Logger: slog.New(slog.NewTextHandler(heard, nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(conn.Close)
		return conn, heard
	}
	reader, readerHeard := connect("global-dns")
	writer, writerHeard := connect("amber")
	operator, operatorHeard := connect("operator")

	streamtest.Create(t, reader, 1)
	zone, _ := registry.CleanZone(registry.ZoneRecord{Name: "mesh.internal.", TTL: 5, NegativeTTL: 5, Contact: "hostmaster.mesh.internal."})
	if _, err := replica.SeedZone(t.Context(), reader, zone, "test", time.Now()); err != nil {
		t.Fatal(err)
	}
	var store registry.Store
	quiet := slog.New(slog.DiscardHandler)
	follower := replica.New(&store, reader, unheard{}, quiet)
	agent, err := edge.New(edge.Config{
		Cluster: "amber", Agent: "a/1/x", Version: "v0.1.0", Source: "file", Logger: quiet,
		Timing: edge.Timing{Renew: 20 * time.Millisecond, Lapse: 300 * time.Millisecond, Compare: 50 * time.Millisecond},
	}, edge.Settings{}, newShelf(registry.Service{Key: registry.ServiceKey{Namespace: "default", Name: "checkout"}}), writer.Writer("amber"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() { _ = agent.Run(ctx) })
	wg.Go(func() { _ = follower.Run(ctx) })
	epochOf := func() uint64 {
		if c := store.View().Cluster("amber"); c != nil && c.Services == 1 {
			if l, _, ok := follower.Lease("amber"); ok && l.Phase == registry.PhaseSynced && l.Epoch == c.Epoch {
				return c.Epoch
			}
		}
		return 0
	}
	streamtest.Eventually(t, 20*time.Second, "the reader follows the agent", func() bool { return epochOf() > 0 })
	for range 2 { // the second time behind a lost connection, which is made good with other requests
		before := epochOf()
		if err := reader.OrderResync(t.Context(), "amber", "a test"); err != nil {
			t.Error(err)
		}
		streamtest.Eventually(t, 20*time.Second, "the agent obeys the reader's order", func() bool { return epochOf() > before })
		for _, conn := range []*stream.Conn{reader, writer} {
			again := conn.Reconnected()
			if err := conn.NATS().ForceReconnect(); err != nil {
				t.Fatal(err)
			}
			<-again
		}
	}
	for conn, vantage := range map[*stream.Conn]string{reader: "_dns-eu-1", writer: "amber"} {
		if _, err := conn.PutProbe(t.Context(), registry.ProbeReport{Schema: registry.Schema, Vantage: vantage, Cluster: "bronze"}); err != nil {
			t.Errorf("%s reports probes: %v", vantage, err)
		}
	}
	testObserverPermissions(t, reader, operator, &store)
	records, enough := context.WithCancel(t.Context())
	if err := writer.WatchClusters(records, func(registry.Message) { enough() }); !errors.Is(err, context.Canceled) {
		t.Errorf("the agent reads the clusters' records: %v", err)
	}
	leave := registry.Order{Kind: registry.OrderLeave, Target: "zinc", By: "ada", Reason: "was only tried"}
	if _, err := operator.PutOrder(t.Context(), leave, "ada@desk-7", registry.CauseChange, 0); err != nil {
		t.Errorf("the operator lets a cluster leave: %v", err)
	}
	leaves, enough := context.WithTimeout(t.Context(), time.Minute)
	defer enough()
	if err := writer.WatchLeaves(leaves, func(registry.Message) { enough() }); !errors.Is(err, context.Canceled) {
		t.Errorf("the agent reads which clusters have left: %v", err)
	}
	if differences, err := operator.ApplyStreams(t.Context(), stream.Settings{Replicas: 1, HistoryAge: 60 * 24 * time.Hour}); err != nil || len(differences) != 1 {
		t.Errorf("the operator applies streams: %v, %v", differences, err)
	}
	zone.TTL = 7
	last, _, err := operator.Last(t.Context(), replica.ZoneFact)
	if err == nil {
		_, err = operator.Put(t.Context(), replica.ZoneEvent(zone, "ada", registry.CauseChange, time.Now()), last.Sequence)
	}
	if err != nil {
		t.Errorf("the operator applies a zone record: %v", err)
	}
	for user, heard := range map[string]*violations{"global-dns": readerHeard, "amber": writerHeard, "operator": operatorHeard} {
		if said := heard.String(); strings.Contains(said, "permissions violation") {
			t.Errorf("%s lacks permissions:\n%s", user, said)
		}
	}
	foreign, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := writer.Writer("bronze").PutLease(foreign, registry.Lease{Schema: registry.Schema, Writer: "bronze"}, 0); err == nil || errors.Is(err, registry.ErrConflict) {
		t.Errorf("amber wrote bronze's lease: %v", err)
	}
	streamtest.Eventually(t, 5*time.Second, "the server refuses what is bronze's", func() bool {
		return strings.Contains(writerHeard.String(), "mesh.v1.bronze.lease")
	})
	for conn, vantage := range map[*stream.Conn]string{reader: "_dns-eu-2", writer: "bronze"} {
		if _, err := conn.PutProbe(t.Context(), registry.ProbeReport{Schema: registry.Schema, Vantage: vantage, Cluster: "amber"}); !errors.Is(err, stream.ErrNotPermitted) {
			t.Errorf("a report in the name of %s: %v", vantage, err)
		}
	}
}

// testObserverPermissions lets an observer with the reader's permissions do all that
// one does: lead, end a drain, repeat an order, look for a brake's record and resign.
func testObserverPermissions(t *testing.T, reader, operator *stream.Conn, store *registry.Store) {
	t.Helper()
	observing := startQuickObserver(t, reader, store)
	if _, err := operator.PutOrder(t.Context(), registry.Order{Kind: registry.OrderDrain, Target: "amber", By: "ada", For: 1}, "ada", registry.CauseChange, 0); err != nil {
		t.Fatal(err)
	}
	drained := func() bool { return store.View().Drained("amber", registry.Labels{}) != nil }
	streamtest.Eventually(t, 20*time.Second, "amber is drained", drained)
	streamtest.Eventually(t, 20*time.Second, "the observer ends the drain", func() bool { return !drained() })
	observing.stop()
	for fact, may := range map[registry.Fact]string{
		{Writer: registry.Operator, Kind: registry.KindOrder, Name: "leave.amber"}: "an order before it repeats it",
		{Writer: "amber", Kind: registry.KindNote, Name: registry.NoteBrake}:       "a brake's record",
	} {
		if _, _, err := reader.Last(t.Context(), fact); err != nil {
			t.Errorf("the observer reads %s: %v", may, err)
		}
	}
	if _, err := reader.PutOrder(t.Context(), registry.Order{Kind: registry.OrderLeave, Target: "nobody", By: "ada", Lifted: true}, "ada", registry.CauseRefresh, 0); err != nil {
		t.Errorf("the observer repeats an order: %v", err)
	}
	if at, err := reader.Writer(registry.Observer).ReadLease(t.Context()); err != nil || at.Lease.Phase != registry.PhaseStopped {
		t.Errorf("the observer resigned, and its lease is %+v, %v", at, err)
	}
}

// quickObserver is an observer to which an agent's lease lapses within half a second.
type quickObserver struct{ stop func() }

type unmeasured struct{}

func (unmeasured) Turned(registry.ClusterID, registry.Liveness) {}
func (unmeasured) Alarmed(string)                               {}

func startQuickObserver(t *testing.T, conn *stream.Conn, store *registry.Store) quickObserver {
	t.Helper()
	made, err := observer.New(observer.Config{
		Agent: "global-dns@dns-1/7", Version: "v0.1.0", Logger: slog.New(slog.DiscardHandler), Metrics: unmeasured{},
		Timing: observer.Timing{Renew: 50 * time.Millisecond, Lapse: time.Second, Round: 20 * time.Millisecond, Pause: time.Second, Retry: 100 * time.Millisecond},
	}, observer.Settings{Lapse: 500 * time.Millisecond, DownAfter: time.Minute, ReportAge: 10 * time.Second}, store, conn.Writer(registry.Observer), conn)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = made.Run(ctx) })
	q := quickObserver{stop: sync.OnceFunc(func() { cancel(); wg.Wait() })}
	t.Cleanup(q.stop)
	return q
}
