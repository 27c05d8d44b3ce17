package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/seamark-mesh/seamark/audit"
	"github.com/seamark-mesh/seamark/audit/archive"
	"github.com/seamark-mesh/seamark/cmd/internal/config"
	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
	"github.com/seamark-mesh/seamark/registry/stream/streamtest"
)

// note stores so many messages on the stream.
func note(t *testing.T, c *stream.Conn, from, count int) {
	t.Helper()
	for n := range count {
		m := &nats.Msg{Subject: fmt.Sprintf("mesh.v1.amber.svc.shop.s-%d", n%7), Data: fmt.Appendf(nil, `{"n":%d}`, from+n), Header: nats.Header{"X-Any": {"a", "b"}, "ce-id": {fmt.Sprint(from + n)}}}
		if _, err := c.NATS().RequestMsg(m, 20*time.Second); err != nil {
			t.Fatal(err)
		}
	}
}

// startArchive archives what a connection reads, until stop.
func startArchive(t *testing.T, path string, c *stream.Conn) (a *archiving, metrics *prometheus.Registry, stop func()) {
	t.Helper()
	metrics = prometheus.NewRegistry()
	loaded := mustLoad(t, "")
	loaded.Archive.Path = config.Path(path)
	a = newArchiving(loaded.Archive, metrics, slog.New(slog.DiscardHandler))
	parts := a.parts(&connection{Conn: c})
	if len(parts) != 1 {
		t.Fatalf("%d parts", len(parts))
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- parts[0].Run(ctx) }()
	return a, metrics, func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("it ended with %v", err)
		}
	}
}

func reaches(a *archiving, sequence uint64) func() bool {
	return func() bool {
		w := a.writer.Load()
		return w != nil && w.Status().Last == sequence
	}
}

// The archive holds what the stream does, byte by byte, across a restart.
func TestArchiveOfRealStream(t *testing.T) {
	_, c := streamtest.Streams(t)
	path := filepath.Join(t.TempDir(), "archive")
	note(t, c, 0, 300)
	a, metrics, stop := startArchive(t, path, c)
	streamtest.Eventually(t, time.Minute, "what is there is archived", reaches(a, 300))
	note(t, c, 300, 100)
	streamtest.Eventually(t, time.Minute, "what comes is archived", reaches(a, 400))
	values := map[string]float64{}
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		values[f.GetName()] = f.GetMetric()[0].GetGauge().GetValue() + f.GetMetric()[0].GetCounter().GetValue()
	}
	for name, want := range map[string]float64{
		"seamark_archive_sequence": 400, "seamark_archive_failing": 0, "seamark_archive_failures_total": 0, "seamark_archive_gaps": 0, "seamark_archive_messages_total": 400,
	} {
		if got, ok := values[name]; !ok || got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	stop()
	note(t, c, 400, 50)
	a, _, stop = startArchive(t, path, c)
	defer stop()
	streamtest.Eventually(t, time.Minute, "it goes on", reaches(a, 450))
	kept, err := archive.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	live := audit.OfStream(c)
	for name, h := range map[string]audit.History{"archive": kept, "joined": archive.Join(kept, live)} {
		got, want := everyMessage(t, h), everyMessage(t, live)
		if len(want) != 450 || fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
			t.Errorf("the %s has %d messages, and they are not the stream's %d", name, len(got), len(want))
		}
	}
	if faults := kept.Faults(); len(faults) > 0 {
		t.Error(faults)
	}
}

func everyMessage(t *testing.T, h audit.History) []registry.Stored {
	t.Helper()
	var out []registry.Stored
	for m, err := range h.Read(t.Context(), audit.Range{}) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, m)
	}
	return out
}

// A folder that can't be written is tried again, and disturbs nothing.
func TestArchiveTriesAgain(t *testing.T) {
	_, c := streamtest.Streams(t)
	path := filepath.Join(t.TempDir(), "archive")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	note(t, c, 0, 10)
	a, _, stop := startArchive(t, path, c)
	defer stop()
	streamtest.Eventually(t, time.Minute, "it fails", func() bool { return a.failing.Load() != nil })
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	streamtest.Eventually(t, time.Minute, "it goes on", func() bool { return reaches(a, 10)() && a.failing.Load() == nil })
}

func TestArchiveSection(t *testing.T) {
	c := mustLoad(t, "")
	if a := newArchiving(c.Archive, prometheus.NewRegistry(), slog.New(slog.DiscardHandler)); len(a.parts(&connection{})) != 0 {
		t.Error("it archives without a path")
	}
	var none *archiving
	if len(none.parts(&connection{})) != 0 {
		t.Error("none archives")
	}
	for text, field := range map[string]string{
		"archive: {segment_bytes: 1KiB}":                                        "archive.segment_bytes",
		"archive: {segment_bytes: 2GiB}":                                        "archive.segment_bytes",
		"archive: {retention_age: -1h}":                                         "archive.retention_age",
		"archive: {retention_age: 24h}":                                         "archive.retention_age",
		"archive: {retention_bytes: 64MiB}":                                     "archive.retention_bytes",
		"archive: {retention_bytes: 5MiB, segment_bytes: 1MiB, path: /nowhere}": "",
		"archive: {retention_age: 8760h}":                                       "",
	} {
		_, faults := load(t, text)
		if field == "" && len(faults) > 0 || field != "" && (len(faults) != 1 || !strings.Contains(faults[0], field)) {
			t.Errorf("%s: faults %q, want %q", text, faults, field)
		}
	}
	c.Archive.Path = config.Path(filepath.Join(t.TempDir(), "a", "b"))
	if faults := c.CheckFiles(); len(faults) != 1 || faults[0].Field != "archive.path" {
		t.Errorf("faults %v", faults)
	}
	c.Archive.Path = config.Path(filepath.Join(t.TempDir(), "a"))
	if faults := c.CheckFiles(); len(faults) != 0 {
		t.Errorf("faults %v", faults)
	}
}
