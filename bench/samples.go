package main

import (
	"fmt"
	"slices"
	"time"
)

// samples are durations of one kind.
type samples []time.Duration

// summary is what is kept of samples; times in milliseconds.
type summary struct {
	Count int     `json:"count"`
	Min   float64 `json:"min_ms"`
	P50   float64 `json:"p50_ms"`
	P90   float64 `json:"p90_ms"`
	P99   float64 `json:"p99_ms"`
	Max   float64 `json:"max_ms"`
}

// summarize gives percentiles by the nearest-rank method; the zero summary for no
// samples.
func (s samples) summarize() summary {
	if len(s) == 0 {
		return summary{}
	}
	sorted := slices.Sorted(slices.Values(s))
	at := func(percent int) float64 {
		rank := (len(sorted)*percent + 99) / 100 // rounded up
		return milliseconds(sorted[max(rank, 1)-1])
	}
	return summary{
		Count: len(sorted), Min: milliseconds(sorted[0]), P50: at(50), P90: at(90), P99: at(99),
		Max: milliseconds(sorted[len(sorted)-1]),
	}
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// String is for people: the three digits that mean something.
func (s summary) String() string {
	if s.Count == 0 {
		return "no samples"
	}
	return fmt.Sprintf("p50 %s, p90 %s, p99 %s, max %s ms (%d)", short(s.P50), short(s.P90), short(s.P99), short(s.Max), s.Count)
}

// brief is "p50 / p99".
func (s summary) brief() string {
	if s.Count == 0 {
		return "–"
	}
	return short(s.P50) + " / " + short(s.P99)
}

// short writes a number with as many digits as mean something.
func short(n float64) string {
	switch {
	case n >= 100:
		return fmt.Sprintf("%.0f", n)
	case n >= 10:
		return fmt.Sprintf("%.1f", n)
	}
	return fmt.Sprintf("%.2f", n)
}
