package doctor

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
	"github.com/seamark-mesh/seamark/registry/stream/streamtest"
)

// examined are the findings of a real examination.
type examined struct {
	t      *testing.T
	report Report
}

func examine(t *testing.T, o Options, only ...Category) examined {
	t.Helper()
	return examined{t, Judge(Gather(t.Context(), o), only)}
}

// says fails unless a check (category/name) says this with this status.
func (e examined) says(check string, want Status, part string) {
	e.t.Helper()
	var said []string
	for _, f := range e.report.Findings {
		if string(f.Category)+"/"+f.Check == check {
			if f.Status == want && strings.Contains(f.Description, part) {
				return
			}
			said = append(said, string(f.Status)+": "+f.Description)
		}
	}
	e.t.Errorf("%s says %q, want %s with %q", check, said, want, part)
}

// healthyBut fails when a check says that something is wrong, or not known, that is not
// among these. Where a machine has much to do, messages wait, and then clocks can't be
// told: only those that are surely wrong count.
func (e examined) healthyBut(checks ...string) {
	e.t.Helper()
	for _, f := range e.report.Findings {
		if name := string(f.Category) + "/" + f.Check; f.Status != Healthy && (f.Category != Clocks || f.Status == Critical) && !strings.Contains(strings.Join(checks, " ")+" ", name+" ") {
			e.t.Errorf("%s says %s: %s", name, f.Status, f.Description)
		}
	}
}

func TestASoundStreamIsHealthy(t *testing.T) {
	t.Parallel()
	s, conn := streamtest.Streams(t)
	seed(t, conn)
	amber := newAuthor(t, conn, "amber")
	amber.cluster(gateway("gw-1", "203.0.113.1", map[string]int{"http": 80}))
	amber.service("checkout")
	amber.renew(nil)
	amber.report("_dns-one", true)
	observer := newAuthor(t, conn, registry.Observer)
	observer.renew(nil)
	e := examine(t, Options{NATS: s.ClientURL(), DNS: []string{"127.0.0.1:1"}})
	e.healthyBut("dns/answers", "dns/service") // no DNS runs
	e.says("clusters/content", Healthy, "1 agent says")
	e.says("gateways/reached", Healthy, "1 gateway is reached")
	e.says("clocks/here", Healthy, "±")
	e.says("dns/answers", Critical, "127.0.0.1:1")
}

// TestASickStream lets nearly everything be wrong that a stream can tell of.
func TestASickStream(t *testing.T) {
	t.Parallel()
	s, conn := streamtest.Streams(t)
	js := streamtest.JetStream(t, conn)
	events, err := js.Stream(t.Context(), stream.EventsStream)
	if err != nil {
		t.Fatal(err)
	}
	config := events.CachedInfo().Config
	config.MaxMsgs, config.MaxAge = 100_000, 24*time.Hour
	if _, err := js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	amber, bronze, cobalt, delta := newAuthor(t, conn, "amber"), newAuthor(t, conn, "bronze"), newAuthor(t, conn, "cobalt"), newAuthor(t, conn, "delta")
	amber.cluster(gateway("gw-1", "203.0.113.1", map[string]int{"http": 80}))
	bronze.cluster(gateway("gw-1", "203.0.113.2", map[string]int{"http": 8080}))
	cobalt.cluster()
	delta.cluster(gateway("gw-1", "203.0.113.3", map[string]int{"http": 80}))
	for _, a := range []*author{amber, bronze} {
		a.service("checkout")
	}
	amber.service("a.b")
	bronze.service("a-b")
	for range 3 {
		delta.takeover("delta@one/1")
		delta.takeover("stranger@two/2")
	}
	raw(t, conn, "mesh.v1.delta.svc.default.junk")
	b := registry.Brake{ID: "b1", State: registry.BrakeHeld, Services: 1, OfServices: 2, Instances: 1, OfInstances: 2, Since: time.Now()}
	amber.note(b.Note("much was deregistered"))
	observer := newAuthor(t, conn, registry.Observer)
	observer.note(registry.Note{Kind: "alarm", Text: "amber withdrew much at once"})
	e := observer.event(registry.KindState)
	e.State = &registry.StateRecord{Cluster: "bronze", State: registry.Stale, Since: time.Now(), Reason: "its agent is silent"}
	observer.publish(e)
	if _, err := conn.PutOrder(t.Context(), registry.Order{Kind: registry.OrderDrain, Target: "amber", By: "mia", For: 600}, "mia", registry.CauseChange, 0); err != nil {
		t.Fatal(err)
	}
	amber.renew(func(l *registry.Lease) { l.Digest[0]++ })
	bronze.renew(func(l *registry.Lease) { l.Phase, l.Detail = registry.PhaseRegistryDown, "catalog: 403" })
	cobalt.renew(func(l *registry.Lease) { l.Time = l.Time.Add(300 * time.Millisecond) })
	observer.renew(func(l *registry.Lease) { l.Phase = registry.PhaseStopped })
	amber.report("_dns-one", false)
	bronze.reportGateway("_dns-two", registry.GatewayReport{Name: "gw-1", Reached: true, Since: time.Now(), Latency: &registry.Latency{Count: 3, Min: 600, Mean: 700, P99: 900}})

	found := examine(t, Options{NATS: s.ClientURL(), DNS: []string{"127.0.0.1:1"}})
	found.says("nats/streams", Warning, "max_msgs is 100000")
	found.says("nats/history", Critical, "MESH_EVENTS keeps 24h0m0s, and facts are published again once a day")
	found.says("clusters/agents", Critical, "delta: no agent was ever heard of")
	found.says("clusters/registries", Critical, "bronze: its file registry can't be read or trusted: catalog: 403")
	found.says("clusters/takeovers", Critical, "delta: agents took over from each other 7 times in 15m0s: delta@one/1, stranger@two/2")
	found.says("clusters/content", Critical, "amber: the stream holds another content")
	found.says("clusters/unusable", Warning, "delta: the latest message of 1 fact")
	found.says("clusters/state", Warning, "bronze: stale")
	found.says("clusters/brakes", Warning, "it stays so until somebody decides")
	found.says("clusters/orders", Healthy, "drain of amber by mia")
	found.says("readers/observer", Warning, "nobody is the observer")
	found.says("readers/alarms", Warning, "amber withdrew much at once")
	found.says("gateways/declared", Critical, "cobalt has no gateway")
	found.says("gateways/reached", Critical, "amber/gw-1 is not reached")
	found.says("gateways/reached", Warning, "delta/gw-1")
	found.says("gateways/latency", Warning, "bronze/gw-1: a connection from _dns-two takes up to 900 ms")
	found.says("clocks/agents", Critical, "agent of cobalt")
	found.says("configuration/names", Warning, "have one name in DNS")
	found.says("configuration/ports", Warning, "gateway port http is 80 in amber, 8080 in bronze")
	found.says("configuration/zone", Critical, "no zone record")
	if found.report.Status.ExitCode() != 2 {
		t.Errorf("the exit code is %d", found.report.Status.ExitCode())
	}
}

// TestAnotherTimeThanNATS asks a real server by a way on which its clock becomes another one.
func TestAnotherTimeThanNATS(t *testing.T) {
	t.Parallel()
	s, _ := streamtest.Streams(t)
	url := "nats://" + aYearAhead(t, strings.TrimPrefix(s.ClientURL(), "nats://"))
	e := examine(t, Options{NATS: url, DNS: []string{"127.0.0.1:1"}}, Clocks)
	e.says("clocks/here", Critical, "the clock of NATS against this machine's: 87")
}

// aYearAhead passes connections on to a NATS server, and makes its clock a year faster: in
// what comes from there this year is the next one. It returns where it listens.
func aYearAhead(t *testing.T, server string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	is, next := strconv.Itoa(time.Now().UTC().Year())+"-", strconv.Itoa(time.Now().UTC().Year()+1)+"-"
	wg.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			up, err := net.Dial("tcp", server)
			if err != nil {
				_ = client.Close()
				return
			}
			wg.Go(func() { _, _ = io.Copy(up, client); _ = up.Close() })
			wg.Go(func() {
				defer client.Close()
				for lines := bufio.NewReader(up); ; { // a date has no end of line in it
					line, err := lines.ReadString('\n')
					if _, wrote := io.WriteString(client, strings.ReplaceAll(line, is, next)); err != nil || wrote != nil {
						return
					}
				}
			})
		}
	})
	return l.Addr().String()
}

func TestAReplicaOffline(t *testing.T) {
	t.Parallel()
	servers := streamtest.Cluster(t, 3)
	conn := streamtest.Connect(t, servers...)
	streamtest.Create(t, conn, 3)
	examine(t, Options{NATS: servers[0].ClientURL()}, NATS).says("nats/replicas", Healthy, "3 replicas of each stream")
	streamtest.Stop(t, servers[2])
	streamtest.Eventually(t, 30*time.Second, "the streams have a leader", func() bool { _, err := conn.Now(t.Context()); return err == nil })
	examine(t, Options{NATS: servers[0].ClientURL()}, NATS).says("nats/replicas", Warning, "nats-test-3")
	streamtest.Stop(t, servers[1])
	streamtest.Eventually(t, 30*time.Second, "it is noticed that there is no majority", func() bool {
		return Judge(Gather(t.Context(), Options{NATS: servers[0].ClientURL()}), []Category{NATS}).Status == Critical
	})
}

func TestNoStreams(t *testing.T) {
	t.Parallel()
	s := streamtest.Start(t)
	e := examine(t, Options{NATS: s.ClientURL()}, NATS, Clusters)
	e.says("nats/jetstream", Healthy, "on")
	e.says("nats/streams", Critical, "MESH_LEASE is missing")
	e.says("clusters/agents", Unknown, "is missing")
}

func TestNoJetStream(t *testing.T) {
	t.Parallel()
	s := streamtest.StartWith(t, func(o *server.Options) { o.JetStream = false })
	e := examine(t, Options{NATS: s.ClientURL()}, NATS)
	e.says("nats/reachable", Healthy, "answers in")
	e.says("nats/jetstream", Critical, "JetStream is off")
}

func TestAnAccountNearlyFull(t *testing.T) {
	t.Parallel()
	s := streamtest.StartWith(t, func(o *server.Options) {
		if err := o.ProcessConfigString(`accounts { A { jetstream { max_file: 20000, max_consumers: 3 }, users: [{user: a, password: a}] } }`); err != nil {
			t.Error(err)
		}
	})
	url := "nats://a:a@" + strings.TrimPrefix(s.ClientURL(), "nats://")
	conn := streamtest.ConnectTo(t, url)
	streamtest.Create(t, conn, 1)
	amber := newAuthor(t, conn, "amber")
	for n := range 17 {
		amber.service("service-" + string(rune('a'+n)))
	}
	e := examine(t, Options{NATS: url}, NATS)
	e.says("nats/storage", Warning, "% of the 20.0 kB that the account may store"[1:])
}

// documentedOperator are the rights that docs/operations.md gives an operator.
func documentedOperator(t *testing.T) *server.User {
	t.Helper()
	page, err := os.ReadFile("../../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, conf, _ := strings.Cut(string(page), "```conf\n")
	conf, _, _ = strings.Cut(conf, "```\n")
	var o server.Options
	if err := o.ProcessConfigString(conf); err != nil {
		t.Fatal(err)
	}
	for _, u := range o.Users {
		if u.Username == "operator" {
			return u
		}
	}
	t.Fatal("the document has no operator")
	return nil
}

func TestRights(t *testing.T) {
	t.Parallel()
	operator := documentedOperator(t)
	s := streamtest.StartWith(t, func(o *server.Options) {
		o.Users = []*server.User{
			{Username: "admin", Password: "admin"},
			operator,
			{Username: "guest", Password: "guest", Permissions: &server.Permissions{Publish: &server.SubjectPermission{Allow: []string{"nothing"}}}},
		}
	})
	at := func(user, password string) string {
		return "nats://" + user + ":" + password + "@" + strings.TrimPrefix(s.ClientURL(), "nats://")
	}
	admin := streamtest.ConnectTo(t, at("admin", "admin"))
	streamtest.Create(t, admin, 1)
	seed(t, admin)
	amber := newAuthor(t, admin, "amber")
	amber.cluster(gateway("gw-1", "203.0.113.1", map[string]int{"http": 80}))
	observer := newAuthor(t, admin, registry.Observer)

	t.Run("the operator's suffice", func(t *testing.T) {
		t.Parallel()
		amber.renew(nil) // not before: parallel tests may wait for their turn
		amber.report("_dns-one", true)
		observer.renew(nil)
		e := examine(t, Options{NATS: at("operator", operator.Password), DNS: []string{"127.0.0.1:1"}})
		e.healthyBut("dns/answers", "dns/service")
		e.says("nats/permissions", Healthy, "user operator may read the mesh, give orders")
		e.says("gateways/reached", Healthy, "1 gateway")
	})
	t.Run("none", func(t *testing.T) {
		t.Parallel()
		e := examine(t, Options{NATS: at("guest", "guest"), DNS: []string{"127.0.0.1:1"}})
		e.says("nats/streams", Unknown, "can't be looked at")
		e.says("nats/permissions", Unknown, "does not tell")
		e.says("clusters/agents", Unknown, "ermissions")
	})
	t.Run("a wrong password", func(t *testing.T) {
		t.Parallel()
		e := examine(t, Options{NATS: at("admin", "wrong"), DNS: []string{"127.0.0.1:1"}})
		e.says("nats/reachable", Critical, "refuses these credentials")
		e.says("clusters/agents", Unknown, "NATS is not reached")
	})
}

func TestNoNATS(t *testing.T) {
	t.Parallel()
	e := examine(t, Options{NATS: "nats://127.0.0.1:1", Servers: []string{"http://127.0.0.1:1", "127.0.0.1"}, DNS: []string{"127.0.0.1:1"}, Agents: []string{"http://127.0.0.1:1"}, Configs: []string{"nowhere.yaml"}, Transfers: "refused"})
	for _, f := range e.report.Findings {
		if f.Status == Healthy && f.Category != Credentials {
			t.Errorf("%+v", f)
		}
	}
	e.says("nats/reachable", Critical, "connection refused")
	e.says("readers/ready", Critical, "is no URL")
	e.says("clusters/standbys", Unknown, "connection refused")
	e.says("configuration/files", Unknown, "nowhere.yaml")
	examine(t, Options{NATS: "nonsense", DNS: []string{"127.0.0.1:1"}}, NATS).says("nats/reachable", Critical, "is no URL")
}

// TestReaderWithAnotherTime asks what a global-dns answers whose clock is wrong.
func TestReaderWithAnotherTime(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		ahead time.Duration
		want  Status
	}{
		"the same": {0, Healthy}, "a little": {30 * time.Millisecond, Warning}, "much": {-700 * time.Millisecond, Critical}, "hours": {3 * time.Hour, Critical},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Date", time.Now().Add(test.ahead).UTC().Format(http.TimeFormat))
			}))
			defer s.Close()
			client, done := newClient()
			defer done()
			offset, err := clockOf(t.Context(), client, s.URL)
			if err != nil {
				t.Fatal(err)
			}
			if offset.Low > test.ahead || offset.High < test.ahead || offset.High-offset.Low > time.Second {
				t.Errorf("%v lies not, or not closely, in %v", test.ahead, offset)
			}
			if offset.High-offset.Low > 2*clockFine {
				return // the machine is too busy to tell
			}
			if f := judgeClock("it", offset); f.Status != test.want {
				t.Errorf("%+v, want %s", f, test.want)
			}
		})
	}
}
