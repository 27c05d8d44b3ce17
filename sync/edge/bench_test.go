package edge_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/sync/edge"
)

// manual is a source whose snapshots come when the benchmark says so.
type manual struct {
	first registry.Snapshot
	emit  chan func(registry.Snapshot)
}

func (m *manual) Watch(ctx context.Context, emit func(registry.Snapshot)) error {
	emit(m.first)
	m.emit <- emit
	<-ctx.Done()
	return context.Cause(ctx)
}

func (m *manual) Read(context.Context) (registry.Snapshot, error) { return m.first, nil }

// arrival is a link that acknowledges at once and tells when Publish was called.
type arrival struct {
	*link
	synced atomic.Bool // what was there at the start is stored
	called chan struct{}
}

func (a *arrival) Publish(ctx context.Context, events []*registry.Event, fence uint64) ([]*registry.Event, error) {
	if !a.synced.Load() {
		return a.link.Publish(ctx, events, fence)
	}
	select {
	case a.called <- struct{}{}:
		return nil, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// BenchmarkOneChange is one change among many services, from the source's emit to
// the call of Publish: gate, comparison, event and two changes of goroutine. What
// follows the acknowledgement is in the time too, for the next change waits for it.
func BenchmarkOneChange(b *testing.B) {
	for _, count := range []int{100, 5000} {
		b.Run(fmt.Sprintf("services=%d", count), func(b *testing.B) {
			w := newWorld()
			snapshot := registry.NewSnapshot("0", services(count)...)
			source := &manual{first: snapshot, emit: make(chan func(registry.Snapshot), 1)}
			log := &arrival{
				link:   &link{memory: w.memory, writer: registry.Writer(cluster), holder: "bench"},
				called: make(chan struct{}),
			}
			a, err := edge.New(edge.Config{Cluster: cluster, Agent: "bench", Logger: slog.New(slog.DiscardHandler)}, w.settings, source, log)
			if err != nil {
				b.Fatal(err)
			}
			ctx, cancel := context.WithCancel(b.Context())
			ended := make(chan error, 1)
			go func() { ended <- a.Run(ctx) }()
			emit := <-source.emit
			for a.Status().Synced.IsZero() {
				time.Sleep(time.Millisecond)
			}
			log.synced.Store(true)
			variants := []registry.Service{service("s0042", 3), service("s0042", 4)}
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				snapshot = snapshot.With("", variants[n%2])
				emit(snapshot)
				<-log.called
			}
			cancel()
			if err := <-ended; err != nil {
				b.Error(err)
			}
		})
	}
}
