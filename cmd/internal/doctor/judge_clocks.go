package doctor

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// Bounds of a clock's offset.
const (
	clockFine = 10 * time.Millisecond
	clockBad  = 50 * time.Millisecond
)

const clockFix = "Synchronise it (chrony, ntpd, systemd-timesyncd). No answer depends on clocks, but the times in the history and the propagation that is measured do."

// judgeClock judges the offset of a clock that lies within an interval.
func judgeClock(who string, offset Interval) Finding {
	least, most := min(offset.Low.Abs(), offset.High.Abs()), offset.most()
	if offset.Low <= 0 && offset.High >= 0 {
		least = 0
	}
	middle, half := (offset.Low+offset.High)/2, (offset.High-offset.Low)/2
	text := fmt.Sprintf("%s: %s ± %v", who, ahead(middle), milliseconds(half))
	switch {
	case least > clockBad:
		return critical(clockFix, "%s", text)
	case half > clockBad:
		return unknown("Look from closer: the way there takes too long to tell.", "%s", text)
	case middle.Abs() > clockBad:
		return critical(clockFix, "%s", text)
	case least > clockFine, least > 0 && middle.Abs() > clockFine:
		return warning(clockFix, "%s", text)
	case most > clockBad:
		return unknown("Look from closer, or again when less is going on.", "%s", text)
	}
	return healthy("%s", text)
}

// most is how far from zero the time may be.
func (i Interval) most() time.Duration { return max(i.Low.Abs(), i.High.Abs()) }

func ahead(d time.Duration) string {
	if d = milliseconds(d); d < 0 {
		return fmt.Sprintf("%v behind", -d)
	}
	return fmt.Sprintf("%v ahead", d)
}

func milliseconds(d time.Duration) time.Duration {
	if d.Abs() >= 10*time.Millisecond {
		return d.Round(time.Millisecond)
	}
	return d.Round(100 * time.Microsecond)
}

func judgeClockHere(f *Facts) []Finding {
	if f.NATS.ClockErr != nil {
		return []Finding{unknown(rightsFix, "the clock of NATS can't be seen: %v", f.NATS.ClockErr)}
	}
	return []Finding{judgeClock("the clock of NATS against this machine's", f.NATS.Clock)}
}

// offset returns the interval in which a writer's clock is ahead of the server's. What it
// wrote was on its way for a while: the largest of what was seen is the nearest to the
// truth, which lies at most the way above.
func offset(seen []time.Duration, way time.Duration) Interval {
	sorted := slices.Sorted(slices.Values(seen))
	low, waits := sorted[len(sorted)-1], oneSample
	if len(sorted) > 1 {
		waits = low - sorted[len(sorted)-2] // the two that waited least differ, and so may the best have waited
	}
	return Interval{Low: low, High: low + way + waits}
}

// oneSample is what a single message may have waited on a machine that has much to do.
const oneSample = 20 * time.Millisecond

// way guesses how long a message of a vantage point is under way to NATS: as long as its
// shortest way to another cluster, or as long as ours.
func (f *Facts) way(vantage string) time.Duration {
	shortest := 0.0
	for _, r := range f.Signs.Reports {
		for _, g := range r.Gateways {
			if l := g.Latency; r.Vantage == vantage && string(r.Cluster) != vantage && l != nil && l.Count > 0 && (shortest == 0 || l.Min < shortest) {
				shortest = l.Min
			}
		}
	}
	return max(f.NATS.RoundTrip, time.Duration(shortest*float64(time.Millisecond)))/2 + clockFine/2
}

func judgeClockAgents(f *Facts) []Finding {
	var found []Finding
	var most time.Duration
	for _, w := range slices.Sorted(maps.Keys(f.Signs.Leases)) {
		lease := f.Signs.Leases[w]
		id, own := w.Cluster()
		if !own || f.age(lease.Stored) > lapse || len(lease.Ahead) == 0 {
			continue
		}
		is := offset(lease.Ahead, f.way(string(id)))
		most = max(most, is.most())
		found = append(found, judgeClock(fmt.Sprintf("agent of %s (%s) against NATS", id, lease.Lease.Agent), is))
	}
	return together(found, "clocks of agents", most)
}

func judgeClockReaders(f *Facts) []Finding {
	var found []Finding
	var most time.Duration
	seen := map[string][]time.Duration{}
	for _, r := range f.Signs.Reports {
		if _, err := registry.ParseClusterID(r.Vantage); err != nil && f.age(r.Stored) <= reportLasts { // no agent
			seen[r.Vantage] = append(seen[r.Vantage], r.Ahead...)
		}
	}
	if lease, ok := f.Signs.Leases[registry.Observer]; ok && f.age(lease.Stored) <= lapse && len(lease.Ahead) > 0 {
		seen["the observer, "+lease.Lease.Agent+","] = lease.Ahead
	}
	for _, vantage := range sortedKeys(seen) {
		is := offset(seen[vantage], f.way(vantage))
		most = max(most, is.most())
		found = append(found, judgeClock(vantage+" against NATS", is))
	}
	for _, r := range f.answering() {
		switch {
		case r.ClockErr != nil:
			found = append(found, unknown("", "the clock of %s can't be seen: %v", r.URL, r.ClockErr))
		default:
			is := Interval{Low: r.Clock.Low - f.NATS.Clock.High, High: r.Clock.High - f.NATS.Clock.Low} // both were measured against this machine's
			most = max(most, is.most())
			found = append(found, judgeClock(r.URL+" against NATS", is))
		}
	}
	return together(found, "clocks of readers", most)
}

// together makes one finding of those that are healthy, when all are. None is off by more
// than most.
func together(found []Finding, whose string, most time.Duration) []Finding {
	if len(found) < 2 || worst(found) != Healthy {
		return found
	}
	return []Finding{healthy("%d %s: none is off by more than %v", len(found), whose, milliseconds(most))}
}
