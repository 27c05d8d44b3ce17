//go:build unix

package replay

import (
	"fmt"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/audit"
)

// BenchmarkReplay lives through 300,000 events over 10,000 services in 3 clusters as fast
// as it goes. On a machine that is busy with other things too the rate says little:
// cores/(cpu-µs/event) is what it is on one that is not.
func BenchmarkReplay(b *testing.B) {
	a := newAuthor(b, "amber", "bronze", "cobalt")
	clusters := []string{"amber", "bronze", "cobalt"}
	const events = 300_000
	for n := range events {
		a.service(clusters[n%3], fmt.Sprintf("service-%d", n/3%10_000), 1+n%4)
		a.at = dawn.Add(time.Duration(n) * time.Millisecond)
	}
	h := a.all
	end := audit.Moment{Sequence: uint64(len(h)), Time: h[len(h)-1].Time}
	for _, listen := range []string{"", "127.0.0.1:0"} {
		b.Run("dns="+fmt.Sprint(listen != ""), func(b *testing.B) {
			var rate float64
			runtime.GC()
			began := processor(b)
			for b.Loop() {
				p, err := Run(b.Context(), Config{History: h, From: h.moment(7), To: end, Listen: listen})
				if err != nil {
					b.Fatal(err)
				}
				rate = p.Rate()
			}
			used := processor(b) - began
			perEvent := used.Seconds() * 1e6 / float64(b.N*events)
			b.ReportMetric(rate, "events/s")
			b.ReportMetric(perEvent, "cpu-µs/event")
			b.ReportMetric(float64(runtime.GOMAXPROCS(0))*1e6/perEvent, "events/s-alone")
		})
	}
}

// processor returns the time that the process has used of all cores.
func processor(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
