package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// measureUpdating measures what changes cost ours, without the other servers.
func measureUpdating(ctx context.Context, s *site, r *result) error {
	services, rounds, lasts := 10_000, 9, 2*time.Second
	if s.options.quick {
		services, rounds, lasts = 500, 1, time.Second
	}
	for _, program := range []string{"dnsperf", "taskset"} {
		if err := available(program); err != nil {
			return err
		}
	}
	updates, err := s.startServing(ctx, services)
	if err != nil {
		return err
	}
	queries, err := s.ourQuestions(services)
	if err != nil {
		return err
	}
	flips, err := s.flips(ctx, updates, 50*rounds)
	if err != nil {
		return err
	}
	r.times("an event stored until it is answered, one at a time", flips, "p50 ≤ 2 ms", func(t summary) bool { return t.P50 <= 2 })
	r.note("%d services in %d clusters with one gateway each, asked as in dns. The single changes come 5 to 15 ms apart.", services, servingClusters)
	return s.whileUpdating(ctx, r, queries, updates, lasts, rounds)
}

// whileUpdating asks ours while changes land, and idle in between.
func (s *site) whileUpdating(ctx context.Context, r *result, queries string, updates *updater, lasts time.Duration, rounds int) error {
	d, address := s.serving, s.dns
	alone, err := costOfUpdates(ctx, d, updates, 3*lasts)
	if err != nil {
		return err
	}
	r.number("processor time per update, nobody asking", "%.0f µs", alone, "", nil)
	var idle, busy []turn
	for range rounds {
		for _, changing := range []bool{false, true} {
			stop := func() error { return nil }
			if changing {
				stop = updates.begin(ctx)
			}
			one, err := s.turn(ctx, d, address, queries, lasts)
			if fault := stop(); err == nil {
				err = fault
			}
			if err != nil {
				return err
			}
			s.say("changing %v: %.0f answers/s, %.2f µs; p50 %.3f, p99 %.3f ms", changing, one.full.rate, one.full.cost, one.paced.p50, one.paced.p99)
			if changing {
				busy = append(busy, one)
			} else {
				idle = append(idle, one)
			}
		}
	}
	r.number(fmt.Sprintf("answers/s while %.0f updates/s land, of the idle rate", updates.rate()), "%.0f %%",
		100*pairs(busy, idle, func(t turn) float64 { return t.full.rate }), "≥ 90 %", func(n float64) bool { return n >= 90 })
	r.number("… the same, by the server's own processor time per answer and update", "%.0f %%",
		100*pairs(idle, busy, func(t turn) float64 { return t.full.cost }), "≥ 90 %", func(n float64) bool { return n >= 90 })
	r.number(fmt.Sprintf("p99 at %d/s while they land, of the idle p99", offeredRate), "%.2f times",
		pairs(busy, idle, func(t turn) float64 { return t.paced.p99 }), "≤ 2", atMost(2.0))
	r.note("Idle and changing take turns of %v, %d of each; a ratio is the median of those of turns that followed each other, so that what else the machine does falls on both.", 2*lasts, rounds)
	r.note("While updates land, NATS and the writer of the updates share the cores with the server and with dnsperf.")
	return nil
}

// turn is what was found in one while: as fast as it can, then at a fixed rate.
type turn struct{ full, paced load }

func (s *site) turn(ctx context.Context, d running, address, queries string, lasts time.Duration) (t turn, err error) {
	if t.full, err = s.ask(ctx, d, address, queries, lasts, asFastAsItCan); err == nil {
		t.paced, err = s.ask(ctx, d, address, queries, lasts, atRate)
	}
	return t, err
}

// pairs returns the median of the ratios of turns that followed each other.
func pairs(above, below []turn, of func(turn) float64) float64 {
	var ratios []float64
	for n := range above {
		ratios = append(ratios, of(above[n])/of(below[n]))
	}
	slices.Sort(ratios)
	return ratios[len(ratios)/2]
}

// costOfUpdates returns the server's processor time per update, in µs.
func costOfUpdates(ctx context.Context, d running, updates *updater, lasts time.Duration) (float64, error) {
	before, err := usageOfTree(d.pid())
	if err != nil {
		return 0, err
	}
	already := updates.done
	stop := updates.begin(ctx)
	pause(ctx, lasts)
	if err := stop(); err != nil {
		return 0, err
	}
	after, err := usageOfTree(d.pid())
	return float64((after - before).Microseconds()) / float64(max(updates.done-already, 1)), err
}
