//go:build unix

package stream_test

import (
	"fmt"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/e2e/servers"
	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
	"github.com/seamark-mesh/seamark/registry/stream/streamtest"
)

// BenchmarkBootstrap reads 100,000 services from the stream into a View. The
// server is a process of its own.
func BenchmarkBootstrap(b *testing.B) {
	const services = 100_000
	s := servers.NATS(b, servers.NATSConfig{})
	writer, reader := streamtest.ConnectTo(b, s.URL), streamtest.ConnectTo(b, s.URL)
	streamtest.Create(b, writer, 1)
	a, w := newAuthor("amber"), writer.Writer("amber")
	fence := a.begin(b, w, 0)
	for n := 0; n < services; n += 200 {
		events := make([]*registry.Event, 200)
		for k := range events {
			events[k] = a.service(fmt.Sprintf("service-%d", n+k), 2)
		}
		publish(b, w, fence, events...)
	}
	size := 0
	if body, err := registry.Encode(a.service("service-1", 2)); err == nil {
		size = len(body)
	}
	for b.Loop() {
		before, busy := heap(), busyTime(b)
		began := time.Now()
		fold := registry.NewFold()
		err := reader.Read(b.Context(), stream.StartAt{}, func(batch stream.Batch) error {
			for _, m := range batch.Messages {
				fold.Apply(m)
			}
			if batch.CaughtUp {
				return errEnough
			}
			return nil
		})
		if !is(err, errEnough) {
			b.Fatal(err)
		}
		fold.Synced()
		view := fold.View()
		took := time.Since(began)
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		if view.Services() != services {
			b.Fatalf("%d services", view.Services())
		}
		b.ReportMetric(float64(took.Milliseconds()), "ms")
		b.ReportMetric(float64(heap()-before)/(1<<20), "view-MB")
		b.ReportMetric(float64((busyTime(b) - busy).Milliseconds()), "cpu-ms")
		b.ReportMetric(float64(m.HeapSys-m.HeapReleased)/(1<<20), "heap-MB")
		b.ReportMetric(float64(size), "body-B")
		runtime.KeepAlive(view)
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// busyTime is the processor time that this process has used.
func busyTime(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
