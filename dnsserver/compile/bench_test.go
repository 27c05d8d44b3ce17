package compile_test

import (
	"fmt"
	"net/netip"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"

	"github.com/seamark-mesh/seamark/dnsserver/compile"
	"github.com/seamark-mesh/seamark/dnsserver/lookup/lookuptest"
	"github.com/seamark-mesh/seamark/registry"
)

// large is a fold of many services, each known in three clusters.
func large(services int) *registry.Fold {
	f := registry.NewFold()
	f.Synced()
	sequence := uint64(0)
	apply := func(m registry.Message) {
		sequence++
		m.Sequence = sequence
		f.Apply(m)
	}
	zone := lookuptest.Zone()
	apply(registry.Message{Fact: registry.Fact{Writer: registry.Operator, Kind: registry.KindZone}, Event: &registry.Event{Kind: registry.KindZone, Writer: registry.Operator, Zone: &zone}})
	for c := range 3 {
		writer := registry.Writer(fmt.Sprint("c", c))
		apply(registry.Message{Fact: registry.Fact{Writer: writer, Kind: registry.KindEpoch}, Epoch: 1, Revision: 1, Event: &registry.Event{Kind: registry.KindEpoch, Writer: writer, Takeover: &registry.EpochRecord{}}})
		gateway := registry.Gateway{Name: "gw-1", Weight: 1, Addresses: []netip.Addr{netip.AddrFrom4([4]byte{203, 0, 113, byte(c + 1)})}, Ports: map[string]int{"http": 8080, "https": 8443}}
		apply(registry.Message{Fact: registry.Fact{Writer: writer, Kind: registry.KindCluster}, Epoch: 1, Revision: 2, Event: &registry.Event{Kind: registry.KindCluster, Writer: writer, Cluster: &registry.ClusterRecord{Cluster: registry.ClusterID(writer), Gateways: []registry.Gateway{gateway}}}})
		for n := range services {
			apply(serviceMessage(c, n, true, uint64(n+3)))
		}
	}
	return f
}

func serviceMessage(cluster, n int, serving bool, revision uint64) registry.Message {
	writer := registry.Writer(fmt.Sprint("c", cluster))
	health := registry.Critical
	if serving {
		health = registry.Passing
	}
	service := registry.Service{
		Key:       registry.ServiceKey{Namespace: fmt.Sprint("team-", n%50), Name: fmt.Sprint("service-", n)},
		Instances: []registry.Instance{lookuptest.Instance("i-1", health, "1.0")},
	}
	state := registry.NewServiceState(service.Key, &service)
	e := &registry.Event{Kind: registry.KindService, Writer: writer, Epoch: 1, Revision: revision, Service: &state}
	return registry.NewMessage(registry.Fact{Writer: writer, Kind: registry.KindService, Service: service.Key}, 0, e.Time, 1, revision, e, nil)
}

func BenchmarkReply(b *testing.B) {
	table := tableOf(large(10_000).View())
	for name, query := range map[string][]byte{
		"A":        question("service-77.team-27.svc.mesh.internal.", dns.TypeA, opt(1232, false)...),
		"SRV":      question("_http._tcp.service-77.team-27.svc.mesh.internal.", dns.TypeSRV, opt(1232, false)...),
		"NXDOMAIN": question("nothing-77.team-27.svc.mesh.internal.", dns.TypeA, opt(1232, false)...),
	} {
		b.Run(name, func(b *testing.B) {
			out, terms := make([]byte, compile.Room), compile.Terms{Payload: payload}
			b.ReportAllocs()
			for b.Loop() {
				terms.Turn++
				if length, _ := table.Reply(out, query, &terms); length == 0 {
					b.Fatal("not answered")
				}
			}
		})
	}
}

// BenchmarkUpdate is one service of many that fails over and back.
func BenchmarkUpdate(b *testing.B) {
	benchmarkUpdates(b, func(n, services int) registry.Message {
		return serviceMessage(0, n*7919%services, n%2 == 0, uint64(services+3+n))
	})
}

// BenchmarkUpdateDrain is one service of many that is drained in a cluster, and no more.
func BenchmarkUpdateDrain(b *testing.B) {
	benchmarkUpdates(b, func(n, services int) registry.Message {
		labels := serviceMessage(0, n/2*7919%services, true, 0).Fact.Service.Labels()
		o := registry.Order{Kind: registry.OrderDrain, Target: registry.DrainTarget("c0", "", labels), Lifted: n%2 == 1}
		e := &registry.Event{Kind: registry.KindOrder, Writer: registry.Operator, Order: &o}
		return registry.Message{Fact: e.Fact(), Event: e}
	})
}

// benchmarkUpdates takes a table through one change after another; next makes the n-th.
func benchmarkUpdates(b *testing.B, next func(n, services int) registry.Message) {
	for _, services := range []int{1_000, 100_000} {
		b.Run(fmt.Sprint(services), func(b *testing.B) {
			fold := large(services)
			var store registry.Store
			store.Publish(fold.View())
			watcher, compiler := store.Watch(), compile.NewCompiler()
			v, delta, _ := watcher.Poll()
			table := compiler.Update(v, delta)
			sequence, n := v.Sequence(), 0
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				sequence, n = sequence+1, n+1
				m := next(n, services)
				m.Sequence = sequence
				fold.Apply(m)
				store.Publish(fold.View())
				v, delta, _ := watcher.Poll()
				b.StartTimer()
				table = compiler.Update(v, delta)
			}
			if table.View().Sequence() != sequence || table.Names() < 4*services {
				b.Fatal("the table does not follow")
			}
		})
	}
}

// BenchmarkSwap is what giving out a Table costs in which nothing has changed.
func BenchmarkSwap(b *testing.B) {
	v, compiler := large(10_000).View(), compile.NewCompiler()
	compiler.Update(v, registry.Delta{All: true})
	var table atomic.Pointer[compile.Table]
	b.ReportAllocs()
	for b.Loop() {
		table.Store(compiler.Update(v, registry.Delta{}))
	}
}

// BenchmarkCutOff is the loss of NATS and its return, with many services.
func BenchmarkCutOff(b *testing.B) {
	v, compiler := large(100_000).View(), compile.NewCompiler()
	compiler.Update(v, registry.Delta{All: true})
	cut := v.CutOff(registry.Cut{Reason: "a benchmark"})
	b.ReportAllocs()
	for b.Loop() {
		compiler.Update(cut, registry.Delta{})
		compiler.Update(v, registry.Delta{})
	}
}

// BenchmarkCompileAll is what a start costs, and what a table holds.
func BenchmarkCompileAll(b *testing.B) {
	v := large(100_000).View()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var compiler *compile.Compiler
	var table *compile.Table
	for b.Loop() {
		compiler = compile.NewCompiler()
		table = compiler.Update(v, registry.Delta{All: true})
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "MB")
	b.ReportMetric(float64(table.Names()), "names")
	b.ReportMetric(float64(table.Sets()), "sets")
	runtime.KeepAlive(compiler)
}
