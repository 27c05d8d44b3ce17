package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seamark-mesh/seamark/api"
	"github.com/seamark-mesh/seamark/cmd/internal/proc"
	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/checkpoint"
	"github.com/seamark-mesh/seamark/registry/replica"
)

// keeper keeps checkpoints, and shows them and how current the answers are.
type keeper struct {
	config   Checkpoint
	zone     string
	store    *registry.Store
	logger   *slog.Logger
	file     *checkpoint.File // nil: nothing is kept
	failing  atomic.Bool      // the latest one could not be written
	current  atomic.Int64     // when what is kept was written, in Unix nanoseconds; 0: nothing is
	size     atomic.Int64     // in bytes
	failures prometheus.Counter

	age, bytes, unwritten, cut, inherited *prometheus.Desc
}

func newKeeper(c Config, store *registry.Store, metrics prometheus.Registerer, logger *slog.Logger) *keeper {
	metric := func(name, help string) *prometheus.Desc { return prometheus.NewDesc(name, help, nil, nil) }
	k := &keeper{
		config: c.Checkpoint, zone: c.Zone.Name, store: store, logger: logger,
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "seamark_checkpoint_failures_total", Help: "Checkpoints that could not be read or written.",
		}),
		age:       metric("seamark_checkpoint_age_seconds", "Time since the latest checkpoint was written; it grows while nothing changes, to some ten minutes."),
		bytes:     metric("seamark_checkpoint_bytes", "Length of the latest checkpoint."),
		unwritten: metric("seamark_checkpoint_failing", "1 while checkpoints can't be written; it is there only where they are wanted."),
		cut:       metric("seamark_view_cut_off", "1 while this replica can't know whether its answers still hold: they are marked as stale."),
		inherited: metric("seamark_clusters_inherited", "Clusters that have not published everything anew since the stream was lost: what was known of them stands."),
	}
	if c.Checkpoint.Path != "" {
		k.file = checkpoint.Open(string(c.Checkpoint.Path), c.Zone.Name)
	}
	metrics.MustRegister(k, k.failures)
	return k
}

// resume lets a replica start from what was kept, if anything was that can be used.
func (k *keeper) resume(r *replica.Replica) {
	if k.file == nil {
		return
	}
	kept, fault, err := k.file.Read()
	if fault != nil && !errors.Is(fault, checkpoint.ErrNone) {
		k.failures.Inc()
		k.logger.Warn("the latest checkpoint can't be used: starting from the one before", "err", fault)
	}
	switch age := kept.Age(time.Now()); {
	case errors.Is(err, checkpoint.ErrNone):
	case err != nil:
		k.failures.Inc()
		k.logger.Error("no checkpoint can be used: nothing is answered until the stream was read", "err", err)
	case k.config.MaxAge > 0 && age > k.config.MaxAge:
		k.logger.Warn("the checkpoint is too old: nothing is answered until the stream was read", "age", age.Round(time.Second), "max_age", k.config.MaxAge)
	default:
		k.current.Store(kept.Current.UnixNano())
		if about, err := os.Stat(string(k.config.Path)); err == nil {
			k.size.Store(about.Size())
		}
		r.Resume(kept)
	}
}

// parts returns what runs beside the replica; nothing when nothing is kept.
func (k *keeper) parts(r *replica.Replica) []proc.Part {
	if k.file == nil {
		return nil
	}
	return []proc.Part{{Name: "checkpoint", Run: func(ctx context.Context) error {
		r.Keep(ctx, k.file, k.config.Interval, k.written)
		return nil
	}}}
}

// written is told of each checkpoint.
func (k *keeper) written(size int64, _ time.Duration, err error) {
	if err != nil {
		k.failures.Inc()
		if !k.failing.Swap(true) {
			k.logger.Error("a checkpoint can't be written: the one before stands; look at checkpoint.path and the room on its disk", "err", err)
		}
		return
	}
	if k.failing.Swap(false) {
		k.logger.Info("checkpoints can be written again")
	}
	k.current.Store(time.Now().UnixNano())
	k.size.Store(size)
}

// Describe sends nothing: what is collected follows from the configuration.
func (k *keeper) Describe(chan<- *prometheus.Desc) {}

// Collect shows what is kept and how current the View is.
func (k *keeper) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value)
	}
	if at := k.current.Load(); at != 0 {
		gauge(k.age, max(0, time.Since(time.Unix(0, at)).Seconds()))
		gauge(k.bytes, float64(k.size.Load()))
	}
	if k.file != nil {
		failing := 0.0
		if k.failing.Load() {
			failing = 1
		}
		gauge(k.unwritten, failing)
	}
	v, inherited, cut := k.store.View(), 0, 0
	if _, stale := v.Cut(); stale {
		cut = 1
	}
	for _, c := range v.Clusters() {
		if c.Inherited() {
			inherited++
		}
	}
	gauge(k.cut, float64(cut))
	gauge(k.inherited, float64(inherited))
}

// status tells what is kept, for the API.
func (k *keeper) status(r *replica.Replica) func() (api.Checkpoint, bool) {
	return func() (api.Checkpoint, bool) {
		at := k.current.Load()
		if at == 0 {
			return api.Checkpoint{}, false
		}
		return api.Checkpoint{Age: max(0, time.Since(time.Unix(0, at))), Sequence: r.Kept()}, true
	}
}

// readyText says what a replica that is ready is ready with.
func readyText(store *registry.Store) func() string {
	return func() string {
		if cut, stale := store.View().Cut(); stale {
			return fmt.Sprintf("ready, and stale for %s: %s", time.Since(cut.Since).Round(time.Second), cut.Reason)
		}
		return "ready"
	}
}
