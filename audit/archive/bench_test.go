package archive_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/seamark-mesh/seamark/audit"
	"github.com/seamark-mesh/seamark/audit/archive"
	"github.com/seamark-mesh/seamark/registry"
)

const benchMessages = 50_000

// benchArchive archives messages of 10,000 services with so large segments.
func benchArchive(b *testing.B, segment int64) (dir string, h *memory, s archive.Status) {
	b.Helper()
	dir, h = filepath.Join(b.TempDir(), "archive"), &memory{messages: history(1, benchMessages, 10_000)}
	return dir, h, catchUp(b, b.Context(), dir, h, archive.Options{SegmentBytes: segment})
}

func BenchmarkAppend(b *testing.B) {
	h := &memory{messages: history(1, benchMessages, 10_000)}
	raw := 0
	for _, m := range h.messages {
		raw += len(m.Body) + len(m.Subject)
		for key, values := range m.Header {
			raw += len(key) + len(values[0]) + 4
		}
	}
	dir := filepath.Join(b.TempDir(), "archive")
	var s archive.Status
	for b.Loop() {
		os.RemoveAll(dir)
		s = catchUp(b, b.Context(), dir, h, archive.Options{SegmentBytes: 4 << 20})
	}
	b.ReportMetric(float64(b.N*benchMessages)/b.Elapsed().Seconds(), "messages/s")
	b.ReportMetric(float64(s.Bytes)/benchMessages, "B/message")
	b.ReportMetric(float64(raw)/benchMessages, "rawB/message")
}

func BenchmarkReadAll(b *testing.B) {
	dir, _, _ := benchArchive(b, 4<<20)
	for b.Loop() {
		a := open(b, dir)
		n := 0
		for _, err := range a.Read(b.Context(), audit.Range{}) {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
		if n != benchMessages {
			b.Fatal(n)
		}
		a.Close()
	}
	b.ReportMetric(float64(b.N*benchMessages)/b.Elapsed().Seconds(), "messages/s")
}

// One service: opened anew each time, and with what is in memory from before.
func BenchmarkOneService(b *testing.B) {
	dir, h, _ := benchArchive(b, 4<<20)
	for _, warm := range []bool{false, true} {
		b.Run(fmt.Sprintf("warm=%v", warm), func(b *testing.B) {
			a := open(b, dir)
			for n := 0; b.Loop(); n++ {
				if !warm {
					a.Close()
					a = open(b, dir)
				}
				m := h.messages[n*977%benchMessages]
				found := 0
				for got, err := range a.Latest(b.Context(), m.Sequence+1, m.Subject) {
					if err != nil || got.Sequence != m.Sequence {
						b.Fatal(got.Sequence, err)
					}
					found++
				}
				if found != 1 {
					b.Fatal(found)
				}
			}
			a.Close()
		})
	}
}

func BenchmarkLatestOfAll(b *testing.B) {
	dir, _, _ := benchArchive(b, 4<<20)
	for b.Loop() {
		a := open(b, dir)
		var last registry.Stored
		for m, err := range a.Latest(b.Context(), benchMessages-100) {
			if err != nil {
				b.Fatal(err)
			}
			last = m
		}
		if last.Sequence != benchMessages-101 {
			b.Fatal(last.Sequence)
		}
		a.Close()
	}
}
