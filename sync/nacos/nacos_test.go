package nacos

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/seamark-mesh/seamark/e2e/servers"
)

// shared is the Nacos of all tests that don't stop it; it takes long to start.
var shared = servers.Share(servers.StartNacos, servers.NacosConfig{})

func TestMain(m *testing.M) {
	code := m.Run()
	if err := shared.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// api drives a Nacos server by its HTTP API.
type api struct{ base string }

// open returns the shared server.
func open(t testing.TB) (*servers.NacosServer, api) {
	t.Helper()
	server := shared.For(t)
	return server, api{"http://" + server.Addr + "/nacos/v1/ns"}
}

// send makes one request, which must succeed.
func (a api) send(t testing.TB, method, path string, query url.Values) string {
	t.Helper()
	body, err := a.try(method, path, query)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func (a api) try(method, path string, query url.Values) (string, error) {
	request, err := http.NewRequest(method, a.base+path+"?"+query.Encode(), nil)
	if err != nil {
		return "", err
	}
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s?%s: %s: %s", method, path, query.Encode(), response.Status, body)
	}
	return string(body), err
}

var public = place{"public", "DEFAULT_GROUP"}

// instance is a registration.
type instance struct {
	ip      string
	port    int
	weight  string // "" is Nacos's default, 1.0
	ill     bool
	off     bool
	meta    string // JSON
	cluster string
}

func (p place) query(service string, i instance) url.Values {
	q := url.Values{
		"namespaceId": {p.namespace}, "groupName": {p.group}, "serviceName": {service}, "ephemeral": {"false"},
		"ip": {i.ip}, "port": {strconv.Itoa(i.port)}, "healthy": {strconv.FormatBool(!i.ill)}, "enabled": {strconv.FormatBool(!i.off)},
	}
	for key, value := range map[string]string{"weight": i.weight, "metadata": i.meta, "clusterName": i.cluster} {
		if value != "" {
			q.Set(key, value)
		}
	}
	return q
}

// create makes a service whose persistent instances stay as healthy as a test
// says: Nacos would try to connect to them. It has a protect threshold then, of 0
// at least, which is reached when all are ill.
func (a api) create(t *testing.T, p place, service, protect string) {
	t.Helper()
	q := url.Values{"namespaceId": {p.namespace}, "groupName": {p.group}, "serviceName": {service}, "protectThreshold": {protect}}
	a.send(t, http.MethodPost, "/service", q)
	q.Del("protectThreshold")
	for key, value := range map[string]string{"clusterName": "DEFAULT", "checkPort": "80", "useInstancePort4Check": "true", "healthChecker": `{"type":"NONE"}`} {
		q.Set(key, value)
	}
	a.send(t, http.MethodPut, "/cluster", q)
}

// register registers a persistent instance, or changes it.
func (a api) register(t *testing.T, p place, service string, i instance) {
	t.Helper()
	a.send(t, http.MethodPost, "/instance", p.query(service, i))
}

func (a api) deregister(t *testing.T, p place, service string, i instance) {
	t.Helper()
	a.send(t, http.MethodDelete, "/instance", p.query(service, i))
}

// id is the id that Nacos gives an instance.
func (p place) id(service string, i instance) string {
	cluster := i.cluster
	if cluster == "" {
		cluster = "DEFAULT"
	}
	return fmt.Sprintf("%s#%d#%s#%s@@%s", i.ip, i.port, cluster, p.group, service)
}

// oneGroup is a configuration that reads the public namespace's default group.
func oneGroup(t testing.TB, address string) Config {
	return Config{
		Servers:    []string{address},
		Namespaces: []Namespace{{Groups: []Group{{Name: "DEFAULT_GROUP"}}}},
		Logger:     testLogger(t),
	}
}

func mustNew(t testing.TB, c Config) *Source {
	t.Helper()
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// testLogger logs to the test until it ends.
func testLogger(t testing.TB) *slog.Logger {
	w := &testWriter{t: t}
	t.Cleanup(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.over = true
	})
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

type testWriter struct {
	t    testing.TB
	mu   sync.Mutex
	over bool
}

func (w *testWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.over {
		w.t.Log(strings.TrimSpace(string(p)))
	}
	return len(p), nil
}

// line is the path between a source and a server: both ports, by a proxy that can
// be cut.
type line struct {
	addr    string
	targets [2]string

	mu        sync.Mutex // guards the fields below
	listeners []net.Listener
	open      map[net.Conn]struct{}
	wg        sync.WaitGroup
}

func newLine(t testing.TB, server *servers.NacosServer) *line {
	t.Helper()
	l := &line{targets: [2]string{server.Addr, fmt.Sprintf("127.0.0.1:%d", server.Port+grpcOffset)}, open: make(map[net.Conn]struct{})}
	for range 100 {
		ports, err := servers.FreePorts(1)
		if err != nil {
			t.Fatal(err)
		}
		l.addr = fmt.Sprintf("127.0.0.1:%d", ports[0])
		if l.mend() == nil {
			t.Cleanup(l.cut)
			return l
		}
	}
	t.Fatal("no two ports found")
	return nil
}

// mend listens again on the same ports.
func (l *line) mend() error {
	_, text, _ := net.SplitHostPort(l.addr)
	port, _ := strconv.Atoi(text)
	for n, target := range l.targets {
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port+n*grpcOffset))
		if err != nil {
			l.cut()
			return err
		}
		l.mu.Lock()
		l.listeners = append(l.listeners, listener)
		l.mu.Unlock()
		l.wg.Go(func() { l.accept(listener, target) })
	}
	return nil
}

// cut ends everything that runs over the line, and refuses new connections.
func (l *line) cut() {
	l.mu.Lock()
	for _, listener := range l.listeners {
		listener.Close()
	}
	for c := range l.open {
		c.Close()
	}
	l.listeners = nil
	l.mu.Unlock()
	l.wg.Wait()
}

func (l *line) accept(listener net.Listener, target string) {
	for {
		near, err := listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", target)
		if err != nil {
			near.Close()
			continue
		}
		l.mu.Lock()
		l.open[near], l.open[far] = struct{}{}, struct{}{}
		if l.listeners == nil { // cut meanwhile
			near.Close()
			far.Close()
		}
		l.mu.Unlock()
		for _, pair := range [][2]net.Conn{{near, far}, {far, near}} {
			l.wg.Go(func() {
				io.Copy(pair[0], pair[1])
				pair[0].Close()
				pair[1].Close()
				l.mu.Lock()
				delete(l.open, pair[0])
				l.mu.Unlock()
			})
		}
	}
}

// eventually polls until check says "".
func eventually(t testing.TB, within time.Duration, check func() string) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		wrong := check()
		if wrong == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", within, wrong)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// registrar registers ephemeral instances as applications do: over a connection
// of its own, all instances of a service at once.
type registrar struct {
	namespace string
	server    *servers.NacosServer
	api       *openAPI

	mu         sync.Mutex // guards the fields below
	connection *connection
	gone       chan struct{} // closed when the connection's receiver has ended
	held       map[[2]string][]map[string]any
}

func newRegistrar(t testing.TB, server *servers.NacosServer, namespace string) *registrar {
	t.Helper()
	if namespace == "" {
		namespace = publicNamespace
	}
	r := &registrar{
		namespace: namespace, server: server, api: newOpenAPI(Config{Servers: []string{server.Addr}}, nil),
		held: make(map[[2]string][]map[string]any),
	}
	r.connect(t)
	t.Cleanup(r.close)
	return r
}

// connect connects, and registers again what is held.
func (r *registrar) connect(t testing.TB) {
	t.Helper()
	connection, err := dial(t.Context(), r.server.Addr, nil, r.namespace, r.api)
	if err != nil {
		t.Fatal(err)
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_ = connection.receive(func(pushedService) {})
	}()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.connection, r.gone = connection, gone
	for at, instances := range r.held {
		r.publish(t, at, instances)
	}
}

func (r *registrar) close() {
	r.connection.close()
	<-r.gone
}

func (r *registrar) publish(t testing.TB, at [2]string, instances []map[string]any) {
	t.Helper()
	body := map[string]any{"namespace": r.namespace, "groupName": at[0], "serviceName": at[1], "module": "naming"}
	kind := "BatchInstanceRequest"
	if len(instances) > 0 {
		body["type"], body["instances"] = "batchRegisterInstance", instances
	} else {
		kind = "InstanceRequest"
		body["type"], body["instance"] = "deregisterInstance", r.held[at][0]
	}
	// Not the test's context: cleaning up comes after its end.
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		err := r.connection.request(context.WithoutCancel(t.Context()), kind, body, &struct{}{})
		switch {
		case err == nil:
			return
		case time.Now().After(deadline) || !strings.Contains(err.Error(), "already disconnect"): // Nacos has not made a client of the connection yet
			t.Fatal(err)
		}
	}
}

// put registers exactly these instances; none deregisters.
func (r *registrar) put(t testing.TB, group, service string, instances ...instance) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	at := [2]string{group, service}
	if len(instances) == 0 {
		if len(r.held[at]) > 0 {
			r.publish(t, at, nil)
			delete(r.held, at)
		}
		return
	}
	var all []map[string]any
	for _, i := range instances {
		weight, meta, cluster := 1.0, map[string]string{}, "DEFAULT"
		if i.weight != "" {
			weight, _ = strconv.ParseFloat(i.weight, 64)
		}
		if i.cluster != "" {
			cluster = i.cluster
		}
		if i.meta != "" {
			if err := json.Unmarshal([]byte(i.meta), &meta); err != nil {
				t.Fatal(err)
			}
		}
		all = append(all, map[string]any{
			"ip": i.ip, "port": i.port, "weight": weight, "healthy": !i.ill, "enabled": !i.off, "ephemeral": true,
			"clusterName": cluster, "metadata": meta,
		})
	}
	r.publish(t, at, all)
	r.held[at] = all
}
