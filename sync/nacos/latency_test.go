package nacos

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// emitted starts a Watch that tells when a service's only instance has a port.
func emitted(b *testing.B, s *Source, name string) (wait func(port int) time.Time) {
	b.Helper()
	type sighting struct {
		port int
		at   time.Time
	}
	sightings := make(chan sighting, 1024)
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Watch(ctx, func(snapshot registry.Snapshot) {
			now := time.Now()
			if service := snapshot.Service(registry.ServiceKey{Namespace: "default", Name: name}); service != nil {
				sightings <- sighting{service.Instances[0].Port, now}
			}
		})
	}()
	b.Cleanup(func() { cancel(); <-done })
	return func(port int) time.Time {
		timeout := time.After(20 * time.Second)
		for {
			select {
			case s := <-sightings:
				if s.port == port {
					return s.at
				}
			case <-timeout:
				b.Fatalf("port %d was not seen", port)
			}
		}
	}
}

func report(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkPushToEmit: from the moment a server (the fake, in this process) sends
// a push until the snapshot is emitted, with 1,000 other services.
func BenchmarkPushToEmit(b *testing.B) {
	f := newFake(b)
	for n := range 1000 {
		name := fmt.Sprint("other-", n)
		f.set(b, name, info(name, false, hostJSON("192.0.2.1", true)))
	}
	service := func(port int) string {
		return info("orders", false, fmt.Sprintf(`{"instanceId":"a","ip":"192.0.2.1","port":%d,"weight":1.0,"healthy":true,"enabled":true,"metadata":{"version":"1"}}`, port))
	}
	f.set(b, "orders", service(1))
	s := mustNew(b, oneGroup(b, f.addr))
	wait := emitted(b, s, "orders")
	wait(1)
	var took []time.Duration
	port := 1
	for b.Loop() {
		port = port%60000 + 1
		next := service(port)
		f.change(func() { f.grpc["orders"], f.http["orders"] = next, next })
		start := time.Now()
		f.push(b, next)
		took = append(took, wait(port).Sub(start))
	}
	report(b, took)
}

// BenchmarkRegisterToEmit: from the moment an application asks a real server to
// register until the snapshot is emitted. The server gathers changes for 100 ms.
func BenchmarkRegisterToEmit(b *testing.B) {
	server, _ := open(b)
	applications := newRegistrar(b, server, "")
	const name = "latency-orders"
	applications.put(b, public.group, name, instance{ip: "192.0.2.1", port: 1})
	wait := emitted(b, mustNew(b, oneGroup(b, server.Addr)), name)
	wait(1)
	var took []time.Duration
	port := 1
	for b.Loop() {
		port = port%60000 + 1
		start := time.Now()
		applications.put(b, public.group, name, instance{ip: "192.0.2.1", port: port})
		took = append(took, wait(port).Sub(start))
	}
	report(b, took)
}
