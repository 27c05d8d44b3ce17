package main

import (
	"time"

	"github.com/seamark-mesh/seamark/cmd/internal/config"
)

// Bounds of the history. The daily refresh must fall well within its age.
const (
	minHistoryAge   = 7 * 24 * time.Hour
	minHistoryBytes = 64 << 20
)

// maxShutdownDelay is longer than any load balancer needs to notice.
const maxShutdownDelay = time.Minute

// config checks the document and gives its values their types.
func (d *document) config(r *config.Report) Config {
	d.NATS.Check(r, "nats")
	d.DNS.check(r)
	d.Probes.check(r)
	d.Observer.check(r)
	d.Checkpoint.check(r)
	d.Verify.check(r, d.Signing.SeedFile != "")
	d.Archive.check(r, d.Streams.HistoryAge)
	stale := Stale{Ready: d.ReadyWhenStale, MaxStale: d.MaxStale}
	stale.check(r)
	if d.ShutdownDelay < 0 || d.ShutdownDelay > maxShutdownDelay {
		r.Add("shutdown_delay", "%v is not within 0s and %v", d.ShutdownDelay, maxShutdownDelay)
	}
	config.CheckListen(r, "http", d.HTTP)
	s := d.Streams
	if s.Replicas != 1 && s.Replicas != 3 && s.Replicas != 5 {
		r.Add("streams.replicas", "%d copies are not supported; write 1, 3 or 5", s.Replicas)
	}
	if s.HistoryAge < minHistoryAge {
		r.Add("streams.history_age", "%v is too short: every fact is published anew once a day, and the history must hold several of those; write at least %v", s.HistoryAge, minHistoryAge)
	}
	if s.HistoryBytes != 0 && s.HistoryBytes < minHistoryBytes {
		r.Add("streams.history_bytes", "%d bytes would cut the history short; write at least 64MiB, or 0 for no guard", s.HistoryBytes)
	}
	return Config{
		Zone: d.Zone.Record(r), NATS: d.NATS, DNS: d.DNS, Probes: d.Probes, Observer: d.Observer, Checkpoint: d.Checkpoint, Archive: d.Archive, Stale: stale, Linger: d.ShutdownDelay, Signing: d.Signing, Verify: d.Verify, HTTP: d.HTTP,
		Streams: Streams{Manage: s.Manage, Replicas: s.Replicas, HistoryAge: s.HistoryAge, HistoryBytes: int64(s.HistoryBytes)},
	}
}
