package probe

import (
	"math"
	"slices"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// kept is how many latencies of a gateway are remembered.
const kept = 100

// ring holds the latest latencies, in microseconds. The zero ring is empty.
type ring struct {
	values []uint32 // at most kept; made as they come
	next   int      // where the next one goes once it is full
}

// add remembers a latency; more than an hour counts as an hour.
func (r *ring) add(d time.Duration) {
	v := uint32(min(max(d, 0), time.Hour).Microseconds())
	if len(r.values) < kept {
		r.values = append(r.values, v)
		return
	}
	r.values[r.next] = v
	r.next = (r.next + 1) % kept
}

// latency sums them up; nil when there is none. The 99th percentile is the nearest
// rank: of 100 values the second largest.
func (r *ring) latency() *registry.Latency {
	n := len(r.values)
	if n == 0 {
		return nil
	}
	sorted := slices.Sorted(slices.Values(r.values))
	var sum uint64
	for _, v := range sorted {
		sum += uint64(v)
	}
	milliseconds := func(v float64) float64 { return math.Round(v) / 1000 }
	return &registry.Latency{
		Count: n, Min: milliseconds(float64(sorted[0])), Mean: milliseconds(float64(sum) / float64(n)),
		P99: milliseconds(float64(sorted[(99*n+99)/100-1])),
	}
}
