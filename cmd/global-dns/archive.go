package main

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/seamark-mesh/seamark/api"
	"github.com/seamark-mesh/seamark/audit"
	"github.com/seamark-mesh/seamark/audit/archive"
	"github.com/seamark-mesh/seamark/cmd/internal/proc"
	"github.com/seamark-mesh/seamark/registry/election"
)

// Pauses between two attempts to go on with the archive.
const (
	firstArchivePause   = time.Second
	longestArchivePause = time.Minute
)

// archiving keeps the archive, and shows how far it is. Nothing that befalls it disturbs
// the answers.
type archiving struct {
	config   Archive
	logger   *slog.Logger
	writer   atomic.Pointer[archive.Writer] // the latest; nil: none was opened yet
	failing  atomic.Pointer[string]         // why it can't go on; nil: it does
	failures prometheus.Counter

	behind, oldest, lag, last, bytes, segments, taken, gaps, faults, failed *prometheus.Desc
}

func newArchiving(c Archive, metrics prometheus.Registerer, logger *slog.Logger) *archiving {
	metric := func(name, help string) *prometheus.Desc { return prometheus.NewDesc(name, help, nil, nil) }
	a := &archiving{
		config: c, logger: logger,
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "seamark_archive_failures_total", Help: "Times that the archive could not go on; it tries again.",
		}),
		behind:   metric("seamark_archive_behind", "Messages that the stream is known to hold and the archive does not yet."),
		oldest:   metric("seamark_archive_begin_seconds", "When the oldest message in the archive was stored, in Unix seconds."),
		lag:      metric("seamark_archive_end_seconds", "When the latest message in the archive was stored, in Unix seconds."),
		last:     metric("seamark_archive_sequence", "Sequence of the latest message in the archive."),
		bytes:    metric("seamark_archive_bytes", "Length of all files of the archive."),
		segments: metric("seamark_archive_segments", "Sealed files of the archive."),
		taken:    metric("seamark_archive_messages_total", "Messages archived since the archive was opened."),
		gaps:     metric("seamark_archive_gaps", "Ranges that the stream had dropped before they were archived; at most the latest 100."),
		faults:   metric("seamark_archive_faults", "What was found damaged or cut when the archive was opened."),
		failed:   metric("seamark_archive_failing", "1 while the archive can't go on."),
	}
	if c.Path != "" {
		metrics.MustRegister(a, a.failures)
	}
	return a
}

// parts returns what runs beside the replica on a connection; nothing when nothing is archived.
func (a *archiving) parts(c *connection) []proc.Part {
	if a == nil || a.config.Path == "" {
		return nil
	}
	return []proc.Part{{Name: "archive", Run: func(ctx context.Context) error {
		a.run(ctx, audit.OfStream(c.Conn))
		return nil
	}}}
}

// run archives until ctx ends, whatever fails.
func (a *archiving) run(ctx context.Context, h audit.History) {
	pauses := backoff.NewExponentialBackOff()
	pauses.InitialInterval, pauses.MaxInterval = firstArchivePause, longestArchivePause
	for {
		begin := time.Now()
		err := a.follow(ctx, h)
		if ctx.Err() != nil {
			return
		}
		a.failures.Inc()
		why := err.Error()
		if a.failing.Swap(&why) == nil {
			a.logger.Error("the archive can't go on: it tries again; the answers are not concerned", "err", err)
		}
		if time.Since(begin) > longestArchivePause {
			pauses.Reset()
		}
		if !election.Pause(ctx, pauses.NextBackOff()) {
			return
		}
	}
}

// follow opens the archive and follows until something fails. The archive is opened anew
// after each failure: what a full or faulty disk has left is put in order then.
func (a *archiving) follow(ctx context.Context, h audit.History) error {
	o := a.config.options()
	o.Logger = a.logger
	w, err := archive.NewWriter(string(a.config.Path), o)
	if err != nil {
		return err
	}
	a.writer.Store(w)
	err = w.CatchUp(ctx, h, nil)
	if err == nil {
		if a.failing.Swap(nil) != nil {
			a.logger.Info("the archive goes on")
		}
		s := w.Status()
		a.logger.Info("the archive has caught up", "path", string(a.config.Path), "sequence", s.Last, "segments", s.Segments, "bytes", s.Bytes)
		err = w.Follow(ctx, h)
	}
	if closing := w.Close(); err == nil {
		err = closing
	}
	return err
}

// status is what the HTTP API shows.
func (a *archiving) status() (shown api.Archive, ok bool) {
	if a.config.Path == "" {
		return shown, false
	}
	if why := a.failing.Load(); why != nil {
		shown.Error = *why
	}
	if w := a.writer.Load(); w != nil {
		s := w.Status()
		shown.Sequence, shown.Oldest, shown.Latest = s.Last, s.Begin.UTC(), s.End.UTC()
		shown.Behind, shown.Bytes, shown.Gaps = s.Behind, s.Bytes, len(s.Gaps)
	}
	return shown, true
}

// Describe sends nothing: what is collected follows from whether the archive was opened.
func (a *archiving) Describe(chan<- *prometheus.Desc) {}

// Collect shows how far the archive is.
func (a *archiving) Collect(out chan<- prometheus.Metric) {
	send := func(d *prometheus.Desc, kind prometheus.ValueType, value float64) {
		out <- prometheus.MustNewConstMetric(d, kind, value)
	}
	failing := 0.0
	if a.failing.Load() != nil {
		failing = 1
	}
	send(a.failed, prometheus.GaugeValue, failing)
	w := a.writer.Load()
	if w == nil {
		return
	}
	s := w.Status()
	send(a.behind, prometheus.GaugeValue, float64(s.Behind))
	if !s.Begin.IsZero() {
		send(a.oldest, prometheus.GaugeValue, float64(s.Begin.UnixMilli())/1000)
	}
	if !s.End.IsZero() {
		send(a.lag, prometheus.GaugeValue, float64(s.End.UnixMilli())/1000)
	}
	send(a.last, prometheus.GaugeValue, float64(s.Last))
	send(a.bytes, prometheus.GaugeValue, float64(s.Bytes))
	send(a.segments, prometheus.GaugeValue, float64(s.Segments))
	send(a.taken, prometheus.CounterValue, float64(s.Taken))
	send(a.gaps, prometheus.GaugeValue, float64(len(s.Gaps)))
	send(a.faults, prometheus.GaugeValue, float64(len(s.Faults)))
}
