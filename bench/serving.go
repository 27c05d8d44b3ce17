package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// What is asked: addresses and SRV in equal parts, and a share of names that do not exist.
const (
	servingClusters = 3
	negativeShare   = 0.05
	offeredRate     = 30_000 // a second, where latency is measured
)

// contestant is one DNS server that is compared.
type contestant struct {
	name    string
	start   func(ctx context.Context, s *site) (running, string, error) // and its host:port
	queries string                                                      // file of what it is asked
	streams bool                                                        // it is asked over TCP, too

	answering, paced, streaming []load
}

// running is a server while it is measured. A [daemon] is one.
type running interface {
	pid() int
	stop() error
}

// measureServing compares what one answer costs and how fast it comes with other
// servers of the same zone, in turn; then ours while changes land.
func measureServing(ctx context.Context, s *site, r *result) error {
	services, rounds, lasts := 10_000, 3, 5*time.Second
	if s.options.quick {
		services, rounds, lasts = 500, 1, time.Second
	}
	for _, program := range []string{"dnsperf", "dig", "taskset"} {
		if err := available(program); err != nil {
			return err
		}
	}
	updates, err := s.startServing(ctx, services)
	if err != nil {
		return err
	}
	all, err := s.contestants(ctx, services, r)
	if err != nil {
		return err
	}
	for round := range rounds {
		for _, c := range all {
			s.say("round %d of %d: %s", round+1, rounds, c.name)
			if err := c.run(ctx, s, lasts); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
		}
	}
	ours := all[0]
	r.Grid = &grid{Head: []string{"server", "CPU µs per answer", "answers/s", fmt.Sprintf("p50 / p99 ms at %d/s", offeredRate), "CPU µs per answer at that rate"}}
	for _, c := range all {
		r.Grid.Rows = append(r.Grid.Rows, []string{
			c.name, fmt.Sprintf("%.2f (%.2f to %.2f)", middle(c.answering, cost), low(c.answering, cost), high(c.answering, cost)),
			fmt.Sprintf("%.0f", middle(c.answering, rate)),
			fmt.Sprintf("%.3f / %.3f", middle(c.paced, p50), middle(c.paced, p99)), fmt.Sprintf("%.2f", middle(c.paced, cost)),
		})
		if c == ours {
			r.number("processor time per answer", "%.2f µs", middle(c.answering, cost), "", nil)
			continue
		}
		ratio := middle(ours.answering, cost) / middle(c.answering, cost)
		target, reached := "", (func(float64) bool)(nil)
		if c.name == "NSD" || c.name == "Knot DNS" {
			target, reached = "≤ 1.05", atMost(1.05)
		}
		r.number("… of "+c.name+"'s", "%.2f times", ratio, target, reached)
		if c.streams {
			r.number("answers/s over TCP, of "+c.name+"'s", "%.1f times", middle(ours.streaming, rate)/middle(c.streaming, rate), "≥ 2", func(n float64) bool { return n >= 2 })
		}
	}
	if err := s.whileUpdating(ctx, r, ours.queries, updates, max(lasts*2/5, time.Second), 3*rounds); err != nil {
		return err
	}
	r.note("%d services in %d clusters with one gateway each; half A, half SRV questions with EDNS, %.0f %% of names that do not exist. Every server has the zone as we transfer it.",
		services, servingClusters, 100*negativeShare)
	r.note("Each server is pinned to one core and dnsperf to another. Processor time is the server's own, user and system, of all its processes. Medians of %d runs of %v, the servers in turn.", rounds, lasts)
	return nil
}

// run measures one contestant once: as much as it takes, then at a fixed rate.
func (c *contestant) run(ctx context.Context, s *site, lasts time.Duration) error {
	d, address, err := c.start(ctx, s)
	if err != nil {
		return err
	}
	full, err := s.ask(ctx, d, address, c.queries, lasts, asFastAsItCan)
	if err == nil {
		c.answering = append(c.answering, full)
		var paced load
		paced, err = s.ask(ctx, d, address, c.queries, lasts, atRate)
		c.paced = append(c.paced, paced)
	}
	if err == nil && c.streams {
		var stream load
		stream, err = s.ask(ctx, d, address, c.queries, lasts, overTCP)
		c.streaming = append(c.streaming, stream)
	}
	if c.name == "Seamark" {
		return err // goes on
	}
	if fault := d.stop(); err == nil {
		err = fault
	}
	return err
}

// ourQuestions writes what all but Consul are asked.
func (s *site) ourQuestions(services int) (string, error) {
	return s.questions("questions.txt", services,
		func(n int) string { return servingName(n) },
		func(n int) string { return "_http._tcp." + servingName(n) },
		func(n int) string { return "not-" + servingName(n) })
}

// questions writes what is asked, and returns the file.
func (s *site) questions(file string, services int, address, service, missing func(n int) string) (string, error) {
	random := rand.New(rand.NewPCG(1, 2)) // the same for everyone
	var b strings.Builder
	for range 100_000 {
		n := random.IntN(services)
		switch {
		case random.Float64() < negativeShare:
			fmt.Fprintln(&b, missing(n), "A")
		case random.IntN(2) == 0:
			fmt.Fprintln(&b, address(n), "A")
		default:
			fmt.Fprintln(&b, service(n), "SRV")
		}
	}
	path := filepath.Join(s.dir, file)
	return path, os.WriteFile(path, []byte(b.String()), 0o600)
}

// What a load says of itself, for middle and its like.
func cost(l load) float64 { return l.cost }
func rate(l load) float64 { return l.rate }
func p50(l load) float64  { return l.p50 }
func p99(l load) float64  { return l.p99 }

// middle is the median.
func middle(all []load, of func(load) float64) float64 { return at(all, of, 0.5) }
func low(all []load, of func(load) float64) float64    { return at(all, of, 0) }
func high(all []load, of func(load) float64) float64   { return at(all, of, 1) }

func at(all []load, of func(load) float64, share float64) float64 {
	if len(all) == 0 {
		return 0
	}
	values := make([]float64, 0, len(all))
	for _, l := range all {
		values = append(values, of(l))
	}
	slices.Sort(values)
	return values[int(share*float64(len(values)-1)+0.5)]
}
