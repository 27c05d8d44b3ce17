package consul

import (
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/seamark-mesh/seamark/e2e/servers"
	"github.com/seamark-mesh/seamark/registry"
)

// fill registers services svc-0 … with two instances each, spread over nodes, in transactions.
func (d *driver) fill(t testing.TB, services, nodes int) {
	t.Helper()
	var operations api.TxnOps
	flush := func() {
		ok, reply, _, err := d.client.Txn().Txn(operations, nil)
		if err != nil || !ok {
			t.Fatalf("transaction: %v %v", err, reply)
		}
		operations = operations[:0]
	}
	add := func(op *api.TxnOp) {
		if operations = append(operations, op); len(operations) == 64 {
			flush()
		}
	}
	node := func(n int) string { return fmt.Sprintf("fill-%d", n%nodes) }
	for n := range nodes {
		add(&api.TxnOp{Node: &api.NodeTxnOp{Verb: api.NodeSet, Node: api.Node{Node: node(n), Address: "203.0.113.9"}}})
	}
	for n := range services {
		for copy := range 2 {
			name := fmt.Sprintf("svc-%d", n)
			id, at := fmt.Sprintf("%s-%d", name, copy), node(2*n+copy)
			add(&api.TxnOp{Service: &api.ServiceTxnOp{Verb: api.ServiceSet, Node: at, Service: api.AgentService{
				ID: id, Service: name, Address: "192.0.2.1", Port: 80, Tags: []string{"fill"},
				Weights: api.AgentWeights{Passing: 1, Warning: 1}, Meta: map[string]string{"team": "red", "version": "1.2.3"},
			}}})
			add(&api.TxnOp{Check: &api.CheckTxnOp{Verb: api.CheckSet, Check: fillCheck(at, name, id, api.HealthPassing)}})
		}
	}
	if len(operations) > 0 {
		flush()
	}
}

func fillCheck(node, name, id, status string) api.HealthCheck {
	return api.HealthCheck{Node: node, CheckID: "check-" + id, Name: "alive", Status: status, ServiceID: id, ServiceName: name}
}

// flip sets the health of the first instance of service n.
func (d *driver) flip(t testing.TB, n, nodes int, status string) {
	t.Helper()
	name := fmt.Sprintf("svc-%d", n)
	check := fillCheck(fmt.Sprintf("fill-%d", 2*n%nodes), name, name+"-0", status)
	d.register(t, &api.CatalogRegistration{Node: check.Node, SkipNodeUpdate: true, Checks: api.HealthChecks{&check}})
}

// relay counts the connections to a server.
type relay struct {
	address string

	mu        sync.Mutex // guards the fields below
	now, most int
	conns     map[net.Conn]bool
}

func newRelay(t *testing.T, target string) *relay {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{address: listener.Addr().String(), conns: make(map[net.Conn]bool)}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { r.carry(in, target) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		r.cut()
		wg.Wait()
	})
	return r
}

// cut ends every connection.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.conns {
		_ = c.Close()
	}
}

func (r *relay) carry(in net.Conn, target string) {
	out, err := net.Dial("tcp", target)
	if err != nil {
		_ = in.Close()
		return
	}
	r.mu.Lock()
	r.conns[in], r.conns[out] = true, true
	r.now++
	r.most = max(r.most, r.now)
	r.mu.Unlock()
	var wg sync.WaitGroup
	for _, way := range [][2]net.Conn{{in, out}, {out, in}} {
		wg.Go(func() {
			_, _ = io.Copy(way[0], way[1])
			_, _ = in.Close(), out.Close()
		})
	}
	wg.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, in)
	delete(r.conns, out)
	r.now--
}

func (r *relay) peak() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.most
}

// With the default limits of Consul (200 connections of one address), hundreds
// of services and nodes are watched in every mode, and others on this host still
// get through.
func TestConnections(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		services, nodes int
		https           bool
		force, want     Mode
		most            int
	}{
		"PlainManyServices": {400, 4, false, ModeAuto, ModeHints, 40},
		"PlainNodes":        {400, 120, false, ModeAuto, ModeHints, 150},
		"PlainChecksByNode": {400, 55, false, ModeAuto, ModeHints, 150},
		"PlainManyNodes":    {400, 250, false, ModeAuto, ModeSweep, 40},
		"PlainFewServices":  {100, 250, false, ModeAuto, ModePerService, 130},
		"HTTPS":             {400, 250, true, ModeAuto, ModeHints, 8},
		"HTTPSPerService":   {450, 250, true, ModePerService, ModePerService, 8},
		"HTTPSFewServices":  {100, 120, true, ModeAuto, ModePerService, 6},
		"HTTPSCrowded":      {400, 2, true, ModeAuto, ModePerService, 8},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := servers.Consul(t, servers.ConsulConfig{TLS: true})
			d := newDriver(t, server)
			d.fill(t, tt.services, tt.nodes)
			config := Config{Mode: tt.force}
			target := server.Addr
			if tt.https {
				at, err := url.Parse(server.HTTPS)
				if err != nil {
					t.Fatal(err)
				}
				target = at.Host
			}
			counted := newRelay(t, target)
			config.Address = "http://" + counted.address
			if tt.https {
				config.Address, config.CAFile = "https://"+counted.address, server.CAFile
			}
			source, _ := newSource(t, config)
			w := startWatcher(t, source, nil)
			w.until(t, "all services", func(s registry.Snapshot) bool { return s.Len() == tt.services })
			if got := source.Mode(); got != tt.want {
				t.Errorf("the mode is %q, want %q", got, tt.want)
			}
			for n := range 100 {
				d.flip(t, n, tt.nodes, api.HealthCritical)
			}
			w.until(t, "the flips", func(s registry.Snapshot) bool {
				for n := range 100 {
					i := instances(s, fmt.Sprintf("svc-%d", n))
					if len(i) != 2 || i[0].Health == i[1].Health {
						return false
					}
				}
				return true
			})
			if _, err := source.Read(t.Context()); err != nil {
				t.Error(err)
			}
			t.Logf("%d services on %d nodes, mode %s: at most %d connections", tt.services, tt.nodes, source.Mode(), counted.peak())
			if counted.peak() > tt.most {
				t.Errorf("%d connections at once, want at most %d", counted.peak(), tt.most)
			}
			counted.cut() // a cut is an error, and not emptiness
			if err := w.ends(t, 5*time.Second); err == nil {
				t.Error("Watch ended without an error")
			}
			w = startWatcher(t, source, func(s registry.Snapshot) string {
				if s.Len() != tt.services {
					return fmt.Sprintf("a snapshot has %d services", s.Len())
				}
				return ""
			})
			w.first(t)
		})
	}
}

// More nodes or services come than plain HTTP has connections for: the mode is
// chosen again, before Consul refuses anything.
func TestModeIsChosenAgain(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		before, after [2]int // services, nodes
		first, last   Mode
	}{
		"nodes":              {[2]int{110, 10}, [2]int{200, 200}, ModeHints, ModeSweep},
		"services":           {[2]int{10, 10}, [2]int{200, 10}, ModePerService, ModeHints},
		"services and nodes": {[2]int{10, 10}, [2]int{200, 200}, ModePerService, ModeSweep},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := servers.Consul(t, servers.ConsulConfig{})
			d := newDriver(t, server)
			d.fill(t, tt.before[0], tt.before[1])
			source, _ := newSource(t, Config{Address: server.HTTP})
			source.timing.plainWait = 8 * time.Second
			w := startWatcher(t, source, func(s registry.Snapshot) string {
				if s.Len() < tt.before[0] {
					return fmt.Sprintf("a snapshot has %d services", s.Len())
				}
				return ""
			})
			w.first(t)
			if source.Mode() != tt.first {
				t.Errorf("the mode is %q, want %q", source.Mode(), tt.first)
			}
			d.fill(t, tt.after[0], tt.after[1])
			w.until(t, "all services", func(s registry.Snapshot) bool { return s.Len() == tt.after[0] && source.Mode() == tt.last })
		})
	}
}

// TestFiveThousand logs how long 5,000 services take, and holds the start to a
// bound that only a mistake exceeds. It runs alone, for it measures.
func TestFiveThousand(t *testing.T) {
	if os.Getenv("SEAMARK_SCALE") == "" && testing.Short() {
		t.Skip("not in short mode")
	}
	server := servers.Consul(t, servers.ConsulConfig{TLS: true})
	d := newDriver(t, server)
	d.fill(t, 5000, 200)
	for _, config := range []Config{
		{Address: server.HTTPS, CAFile: server.CAFile, Mode: ModeHints},
		{Address: server.HTTPS, CAFile: server.CAFile, Mode: ModePerService},
		{Address: server.HTTP, Mode: ModeSweep},
	} {
		source, _ := newSource(t, config)
		began := time.Now()
		w := startWatcher(t, source, nil)
		if s := w.first(t); s.Len() != 5000 {
			t.Errorf("%s: the first snapshot has %d services", config.Mode, s.Len())
		}
		took := time.Since(began)
		began = time.Now()
		if s, err := source.Read(t.Context()); err != nil || s.Len() != 5000 {
			t.Errorf("%s: Read gave %d services, %v", config.Mode, s.Len(), err)
		}
		t.Logf("5,000 services, %s: first snapshot after %v, Read %v", config.Mode, took.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
		w.stop(t)
	}
}

// BenchmarkChange measures a health flip from before it is sent until it is
// emitted: 1,000 services of two instances on 50 nodes, one flip at a time, and
// 100 flips a second. "sending" is the part that Consul takes to accept it.
func BenchmarkChange(b *testing.B) {
	for name, config := range map[string]Config{
		"hints/http":        {Address: "http", Mode: ModeHints},
		"hints/https":       {Address: "https", Mode: ModeHints},
		"per-service/https": {Address: "https", Mode: ModePerService},
		"sweep/http":        {Address: "http", Mode: ModeSweep},
	} {
		for pace, every := range map[string]time.Duration{"single": 0, "100-per-second": 10 * time.Millisecond} {
			b.Run(name+"/"+pace, func(b *testing.B) { benchmarkFlips(b, config, every) })
		}
	}
}

func benchmarkFlips(b *testing.B, config Config, every time.Duration) {
	const services, nodes = 1000, 50
	if b.N == 1 {
		return // only the trial run
	}
	server := servers.Consul(b, servers.ConsulConfig{TLS: true})
	d := newDriver(b, server)
	d.fill(b, services, nodes)
	if config.Address == "https" {
		config.CAFile, config.Address = server.CAFile, server.HTTPS
	} else {
		config.Address = server.HTTP
	}
	source, _ := newSource(b, config)
	m := meter{sent: make(map[string]time.Time), seen: make(chan struct{}, 1)}
	w := startWatcher(b, source, m.saw)
	w.first(b)
	var sending []time.Duration
	tick := time.NewTicker(max(every, time.Millisecond))
	defer tick.Stop()
	b.ResetTimer()
	for n := range b.N {
		if every > 0 {
			<-tick.C
		}
		at, status := n/2%services, api.HealthCritical // down and up again, so that few are critical
		if n%2 == 1 {
			at, status = (n/2+services-50)%services, api.HealthPassing // half a second later
			if n < 100 {
				continue
			}
		}
		began := time.Now()
		m.send(fmt.Sprintf("svc-%d", at), began)
		d.flip(b, at, nodes, status)
		sending = append(sending, time.Since(began))
		if every == 0 {
			m.wait(b, w)
		}
	}
	m.wait(b, w)
	b.StopTimer()
	slices.Sort(sending)
	slices.Sort(m.took)
	milliseconds := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	b.ReportMetric(milliseconds(m.took[len(m.took)/2]), "p50-ms")
	b.ReportMetric(milliseconds(m.took[len(m.took)*99/100]), "p99-ms")
	b.ReportMetric(milliseconds(sending[len(sending)/2]), "sending-p50-ms")
	b.ReportMetric(0, "ns/op")
}

// meter notes when changes were sent and seen.
type meter struct {
	seen chan struct{}

	mu     sync.Mutex // guards the fields below
	sent   map[string]time.Time
	took   []time.Duration
	before registry.Snapshot
}

func (m *meter) send(name string, at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sent[name] = at
}

func (m *meter) saw(s registry.Snapshot) string {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range registry.Diff(m.before, s) {
		if at, ok := m.sent[c.Key.Name]; ok {
			m.took = append(m.took, now.Sub(at))
			delete(m.sent, c.Key.Name)
		}
	}
	m.before = s
	select {
	case m.seen <- struct{}{}:
	default:
	}
	return ""
}

// wait waits until all that was sent was seen.
func (m *meter) wait(b *testing.B, w *watcher) {
	b.Helper()
	limit := time.NewTimer(10 * time.Second)
	defer limit.Stop()
	for {
		m.mu.Lock()
		waiting := len(m.sent)
		m.mu.Unlock()
		if waiting == 0 {
			return
		}
		select {
		case <-m.seen:
		case <-w.done:
			b.Fatal(w.err)
		case <-limit.C:
			b.Fatalf("%d flips were not seen", waiting)
		}
	}
}
