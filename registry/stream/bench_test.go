package stream_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/registry/stream"
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
