package nacos

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	wire "github.com/nacos-group/nacos-sdk-go/v2/api/grpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/seamark-mesh/seamark/e2e/servers"
	"github.com/seamark-mesh/seamark/registry"
)

// fake is a Nacos that does what a real one can't be made to do: it lies, says no,
// garbles, contradicts itself and hangs up. Its two sides, gRPC and HTTP, each
// have a state of their own. It knows the public namespace's default group only.
type fake struct {
	wire.UnimplementedRequestServer
	wire.UnimplementedBiRequestStreamServer
	addr string

	mu      sync.Mutex // guards the fields below
	grpc    map[string]string
	http    map[string]string // name → ServiceInfo as JSON
	refuse  map[string]int    // request type or HTTP path → the code of a "no"
	asked   map[string]int    // request type or HTTP path → how often
	headers map[string]string // of the last request by gRPC
	streams map[wire.BiRequestStream_RequestBiStreamServer]func()
	setup   int // requests that are still refused because the connection is new
	acks    int
	login   func() string     // gives tokens; nil: there is no log-in
	before  func(what string) // is called before each answer, without the lock; may be nil
}

func newFake(t testing.TB) *fake {
	t.Helper()
	return newFakeTLS(t, nil)
}

// newFakeTLS is a fake that wants TLS on both ports.
func newFakeTLS(t testing.TB, secure *tls.Config) *fake {
	t.Helper()
	f := &fake{
		grpc: make(map[string]string), http: make(map[string]string), refuse: make(map[string]int), asked: make(map[string]int),
		streams: make(map[wire.BiRequestStream_RequestBiStreamServer]func()),
	}
	var http1, http2 net.Listener
	for range 100 {
		ports, err := servers.FreePorts(1)
		if err != nil {
			t.Fatal(err)
		}
		f.addr = fmt.Sprintf("127.0.0.1:%d", ports[0])
		if http1, err = net.Listen("tcp", f.addr); err != nil {
			continue
		}
		if http2, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", ports[0]+grpcOffset)); err == nil {
			break
		}
		http1.Close()
	}
	web, rpc := &http.Server{Handler: f, ErrorLog: log.New(io.Discard, "", 0)}, grpc.NewServer()
	if secure != nil {
		http1 = tls.NewListener(http1, secure)
		rpc = grpc.NewServer(grpc.Creds(credentials.NewTLS(secure)))
	}
	wire.RegisterRequestServer(rpc, f)
	wire.RegisterBiRequestStreamServer(rpc, f)
	var wg sync.WaitGroup
	wg.Go(func() { _ = web.Serve(http1) })
	wg.Go(func() { _ = rpc.Serve(http2) })
	t.Cleanup(func() {
		web.Close()
		rpc.Stop()
		wg.Wait()
	})
	return f
}

// info is a ServiceInfo of instances that are healthy or ill.
func info(name string, protected bool, hosts ...string) string {
	return fmt.Sprintf(`{"name":%q,"groupName":"DEFAULT_GROUP","clusters":"","lastRefTime":%d,"reachProtectionThreshold":%v,"hosts":[%s]}`,
		name, time.Now().UnixMilli(), protected, strings.Join(hosts, ","))
}

// hostJSON is one instance of a ServiceInfo.
func hostJSON(ip string, healthy bool) string {
	return fmt.Sprintf(`{"instanceId":"%s#80","ip":%q,"port":80,"weight":1.0,"healthy":%v,"enabled":true,"metadata":{}}`, ip, ip, healthy)
}

// set changes both sides, and pushes.
func (f *fake) set(t testing.TB, name, service string) {
	t.Helper()
	f.change(func() { f.grpc[name], f.http[name] = service, service })
	f.push(t, service)
}

func (f *fake) change(how func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	how()
}

func (f *fake) count(what string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked[what]
}

// push sends a ServiceInfo to everybody.
func (f *fake) push(t testing.TB, service string) {
	t.Helper()
	f.send(t, "NotifySubscriberRequest", fmt.Sprintf(`{"requestId":"1","serviceInfo":%s}`, service))
}

func (f *fake) send(t testing.TB, kind, body string) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for stream := range f.streams {
		if err := stream.Send(&wire.Payload{Metadata: &wire.Metadata{Type: kind}, Body: &anypb.Any{Value: []byte(body)}}); err != nil {
			t.Log(err)
		}
	}
}

func (f *fake) hook(what string) {
	f.mu.Lock()
	before := f.before
	f.mu.Unlock()
	if before != nil {
		before(what)
	}
}

// hangUp breaks all streams.
func (f *fake) hangUp() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, end := range f.streams {
		end()
	}
}

func (f *fake) RequestBiStream(stream wire.BiRequestStream_RequestBiStreamServer) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	f.change(func() { f.streams[stream] = cancel })
	defer f.change(func() { delete(f.streams, stream) })
	go func() {
		for {
			payload, err := stream.Recv()
			if err != nil {
				return
			}
			f.change(func() {
				if strings.HasSuffix(payload.GetMetadata().GetType(), "Response") {
					f.acks++
				}
			})
		}
	}()
	<-ctx.Done()
	return nil
}

func (f *fake) Request(_ context.Context, p *wire.Payload) (*wire.Payload, error) {
	kind := p.GetMetadata().GetType()
	var asked struct {
		Name string `json:"serviceName"`
	}
	if err := json.Unmarshal(p.GetBody().GetValue(), &asked); err != nil {
		return nil, err
	}
	f.hook(kind)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked[kind]++
	f.headers = p.GetMetadata().GetHeaders()
	body := ""
	code := f.refuse[kind]
	if kind == "HealthCheckRequest" && f.setup > 0 {
		f.setup--
		code = 301
	}
	switch {
	case code != 0:
		body = fmt.Sprintf(`{"resultCode":500,"errorCode":%d,"message":"no"}`, code)
	case kind == "ServiceListRequest":
		var names []string
		for name := range f.grpc {
			names = append(names, name)
		}
		list, _ := json.Marshal(names)
		body = fmt.Sprintf(`{"resultCode":200,"count":%d,"serviceNames":%s}`, len(names), list)
	case kind == "SubscribeServiceRequest" || kind == "ServiceQueryRequest":
		service, there := f.grpc[asked.Name]
		if !there {
			service = info(asked.Name, false)
		}
		body = fmt.Sprintf(`{"resultCode":200,"serviceInfo":%s}`, service)
	default:
		body = `{"resultCode":200}`
	}
	return &wire.Payload{Metadata: &wire.Metadata{Type: strings.Replace(kind, "Request", "Response", 1)}, Body: &anypb.Any{Value: []byte(body)}}, nil
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/nacos")
	f.hook(path)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked[path]++
	if code := f.refuse[path]; code != 0 {
		http.Error(w, "no", code)
		return
	}
	switch path {
	case "/v1/auth/users/login":
		if f.login == nil {
			http.NotFound(w, r)
			return
		}
		fmt.Fprintf(w, `{"accessToken":%q,"tokenTtl":18000}`, f.login())
	case "/v1/ns/service/list":
		var names []string
		for name := range f.http {
			names = append(names, name)
		}
		list, _ := json.Marshal(names)
		fmt.Fprintf(w, `{"count":%d,"doms":%s}`, len(names), list)
	case "/v1/ns/instance/list", "/v3/client/ns/instance/list":
		_, name, _ := strings.Cut("@@"+strings.TrimPrefix(r.URL.Query().Get("serviceName"), "DEFAULT_GROUP@@"), "@@")
		service, there := f.http[name]
		if !there {
			service = info(name, false)
		}
		if strings.HasPrefix(path, "/v3") {
			var whole struct{ Hosts json.RawMessage }
			_ = json.Unmarshal([]byte(service), &whole)
			service = fmt.Sprintf(`{"code":0,"message":"success","data":%s}`, whole.Hosts)
		}
		fmt.Fprint(w, service)
	default:
		http.NotFound(w, r)
	}
}

// quick are periods for tests against the fake.
func quick() timing {
	return timing{
		poll: 50 * time.Millisecond, patience: 600 * time.Millisecond, round: 200 * time.Millisecond,
		again: 100 * time.Millisecond, retry: 30 * time.Millisecond, settle: time.Second,
	}
}

// running is a Watch under test.
type running struct {
	cancel context.CancelCauseFunc
	done   chan struct{}
	err    error

	mu    sync.Mutex // guards the fields below
	all   []registry.Snapshot
	times []time.Time
}

var errOver = errors.New("the test is over")

// watching starts a Watch that ends with the test.
func watching(t *testing.T, s *Source) *running {
	t.Helper()
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(t.Context()))
	r := &running{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.err = s.Watch(ctx, func(snapshot registry.Snapshot) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.all, r.times = append(r.all, snapshot), append(r.times, time.Now())
		})
	}()
	t.Cleanup(r.stop)
	return r
}

func (r *running) stop() {
	r.cancel(errOver)
	<-r.done
}

// last returns the last snapshot and how many there were.
func (r *running) last() (registry.Snapshot, int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.all) == 0 {
		return registry.Snapshot{}, 0
	}
	return r.all[len(r.all)-1], len(r.all)
}

// until waits until the last snapshot shows the instances of a service as wanted,
// written as brief does.
func (r *running) until(t *testing.T, name, want string) {
	t.Helper()
	eventually(t, 15*time.Second, func() string {
		select {
		case <-r.done:
			t.Fatalf("Watch ended: %v", r.err)
		default:
		}
		snapshot, n := r.last()
		if got := brief(snapshot, name); n == 0 || got != want {
			return fmt.Sprintf("%s is %q, want %q (%d snapshots)", name, got, want, n)
		}
		return ""
	})
}

// ends waits until the Watch ends by itself, and returns its error.
func (r *running) ends(t *testing.T, within time.Duration) error {
	t.Helper()
	select {
	case <-r.done:
		if r.err == nil {
			t.Fatal("Watch ended without an error")
		}
		return r.err
	case <-time.After(within):
		t.Fatalf("Watch did not end within %v", within)
		return nil
	}
}

// brief writes the instances of a service in the default namespace: "address
// health*weight" each.
func brief(s registry.Snapshot, name string) string {
	service := s.Service(registry.ServiceKey{Namespace: registry.DefaultNamespace, Name: name})
	if service == nil {
		return "absent"
	}
	var all []string
	for _, i := range service.Instances {
		all = append(all, fmt.Sprintf("%s %s*%d", i.Address, i.Health, i.Weight))
	}
	return strings.Join(all, ", ")
}

// fakeSource is a source with quick periods.
func fakeSource(t *testing.T, f *fake) *Source {
	t.Helper()
	s := mustNew(t, oneGroup(t, f.addr))
	s.timing = quick()
	return s
}
