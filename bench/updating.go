package main

import (
	"context"
	"fmt"
	"time"
)

// measureUpdating measures what changes cost ours, without the other servers.
func measureUpdating(ctx context.Context, s *site, r *result) error {
	services, rounds, lasts := 10_000, 5, 5*time.Second
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
	flips, err := s.flips(ctx, updates, 100*rounds)
	if err != nil {
		return err
	}
	r.times("an event stored until it is answered, one at a time", flips, "p50 ≤ 2 ms", func(t summary) bool { return t.P50 <= 2 })
	r.note("%d services in %d clusters with one gateway each, asked as in dns; medians of %d runs of %v.", services, servingClusters, rounds, lasts)
	return s.whileUpdating(ctx, r, queries, updates, lasts, rounds)
}

// whileUpdating asks ours while changes land, and idle in between.
func (s *site) whileUpdating(ctx context.Context, r *result, queries string, updates *updater, lasts time.Duration, rounds int) error {
	d, address := s.serving, s.dns
	alone, err := costOfUpdates(ctx, d, updates, lasts)
	if err != nil {
		return err
	}
	r.number("processor time per update, nobody asking", "%.0f µs", alone, "", nil)
	var idle, busy, idlePaced, busyPaced []load
	for range rounds {
		for _, changing := range []bool{false, true} {
			stop := func() error { return nil }
			if changing {
				stop = updates.begin(ctx)
			}
			full, err := s.ask(ctx, d, address, queries, lasts, asFastAsItCan)
			var paced load
			if err == nil {
				paced, err = s.ask(ctx, d, address, queries, lasts, atRate)
			}
			if fault := stop(); err == nil {
				err = fault
			}
			switch {
			case err != nil:
				return err
			case changing:
				busy, busyPaced = append(busy, full), append(busyPaced, paced)
			default:
				idle, idlePaced = append(idle, full), append(idlePaced, paced)
			}
		}
	}
	r.number(fmt.Sprintf("answers/s while %.0f updates/s land, of the idle rate", updates.rate()), "%.0f %%", 100*middle(busy, rate)/middle(idle, rate), "≥ 90 %", func(n float64) bool { return n >= 90 })
	r.number(fmt.Sprintf("p99 at %d/s while they land, of the idle p99", offeredRate), "%.2f times", middle(busyPaced, p99)/middle(idlePaced, p99), "≤ 2", atMost(2.0))
	r.number("… the same, by the server's own processor time per answer and update", "%.0f %%", 100*middle(idle, cost)/middle(busy, cost), "≥ 90 %", func(n float64) bool { return n >= 90 })
	r.note("While updates land, NATS and the writer of the updates share the cores with the server and with dnsperf.")
	return nil
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
