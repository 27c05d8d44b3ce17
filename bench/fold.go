package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// measureFold takes the figures of registry's own benchmarks, on one core.
func measureFold(ctx context.Context, s *site, r *result) error {
	span := "2s"
	if s.options.quick {
		span = "200ms"
	}
	root, err := sourceRoot()
	if err != nil {
		return err
	}
	printed, err := output(ctx, root, "go", "test", "./registry", "-run", "^$", "-bench", "^(BenchmarkApply|BenchmarkDecodeAndNewMessage)$", "-cpu", "1", "-benchtime", span)
	if err != nil {
		return err
	}
	cost, err := processorCosts(printed)
	if err != nil {
		return err
	}
	decode := cost["BenchmarkDecodeAndNewMessage"]
	perSecond := func(nanoseconds float64) float64 { return 1e9 / nanoseconds }
	reach := func(n float64) bool { return n >= 200_000 }
	for _, f := range []struct{ name, benchmark string }{
		{"decoded events folded, new services", "BenchmarkApply/new/services=100000"},
		{"decoded events folded, changed services of 100,000", "BenchmarkApply/changed/services=100000"},
	} {
		fold := cost[f.benchmark]
		if fold == 0 || decode == 0 {
			return fmt.Errorf("the benchmarks said nothing of %s:\n%s", f.benchmark, printed)
		}
		r.number(f.name, "%.0f/s", perSecond(fold), "≥ 200,000/s", reach)
		r.number("… decoding included", "%.0f/s", perSecond(fold+decode), "", nil)
	}
	r.note("Processor time on one core, from go test ./registry -bench Apply -cpu 1; events of 2 instances, some 600 bytes.")
	return nil
}

var errNoBenchmark = errors.New("no benchmark reports cpu-ns/op")

// processorCosts reads the processor time per operation, in nanoseconds, of each
// benchmark from what go test printed.
func processorCosts(printed string) (map[string]float64, error) {
	costs := map[string]float64{}
	for line := range strings.Lines(printed) {
		fields := strings.Fields(line)
		if len(fields) == 0 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		for n := 1; n < len(fields); n++ {
			if fields[n] != "cpu-ns/op" {
				continue
			}
			cost, err := strconv.ParseFloat(fields[n-1], 64)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", fields[0], err)
			}
			costs[fields[0]] = cost
		}
	}
	if len(costs) == 0 {
		return nil, errNoBenchmark
	}
	return costs, nil
}
