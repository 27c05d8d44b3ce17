package stream_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/e2e/servers"
	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
	"github.com/seamark-mesh/seamark/registry/stream/streamtest"
)

func BenchmarkPublish(b *testing.B) {
	for _, replicas := range []int{1, 3} {
		for _, count := range []int{1, 10, 40, 100, 200} {
			b.Run(fmt.Sprintf("replicas=%d/events=%d", replicas, count), func(b *testing.B) {
				c := connect(b, replicas)
				a, w := newAuthor("amber"), c.Writer("amber")
				fence := a.begin(b, w, 0)
				publish(b, w, fence, a.services(3, "warm")...)
				var took []time.Duration
				for b.Loop() {
					b.StopTimer()
					events := a.services(count, "s")
					b.StartTimer()
					began := time.Now()
					publish(b, w, fence, events...)
					took = append(took, time.Since(began))
				}
				b.ReportMetric(float64(b.N*count)/b.Elapsed().Seconds(), "events/s")
				slices.Sort(took)
				b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
				b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
			})
		}
	}
}

// BenchmarkPublishToRead is the time from a publish's begin to its message in the reader's hand.
func BenchmarkPublishToRead(b *testing.B) {
	c, reader := connectTwice(b)
	a, w := newAuthor("amber"), c.Writer("amber")
	fence := a.begin(b, w, 0)
	publish(b, w, fence, a.services(3, "warm")...)
	got := make(chan time.Time, 1)
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	caughtUp := make(chan struct{}, 1)
	go func() {
		done <- reader.Read(ctx, stream.StartAt{}, func(batch stream.Batch) error {
			if len(batch.Messages) == 1 {
				got <- time.Now()
			}
			select {
			case caughtUp <- struct{}{}:
			default:
			}
			return nil
		})
	}()
	<-caughtUp
	var took []time.Duration
	for b.Loop() {
		e := a.service("s", 2)
		began := time.Now()
		publish(b, w, fence, e)
		took = append(took, (<-got).Sub(began))
	}
	cancel()
	<-done
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}

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
		before := heap()
		began := time.Now()
		fold := registry.NewFold()
		var peak uint64
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
		peak = m.HeapSys
		if view.Services() != services {
			b.Fatalf("%d services", view.Services())
		}
		b.ReportMetric(float64(took.Milliseconds()), "ms")
		b.ReportMetric(float64(heap()-before)/(1<<20), "view-MB")
		b.ReportMetric(float64(peak)/(1<<20), "heap-MB")
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
