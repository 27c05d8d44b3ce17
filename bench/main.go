package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if text := os.Getenv(watcherEnv); text != "" {
		os.Exit(beWatcher(ctx, text, os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// measurement is one thing that bench can measure.
type measurement struct {
	name  string
	about string // one line
	most  time.Duration
	run   func(ctx context.Context, s *site, r *result) error
}

// measurements in the order in which they run.
func measurements() []measurement {
	return []measurement{
		{"fold", "events that one core folds into the View, in a second", 3 * time.Minute, measureFold},
		{"bootstrap", "100,000 service records in JetStream: from the start of global-dns until it is ready", 5 * time.Minute, measureBootstrap},
		{"consul-flip", "a health flip in Consul until the DNS answer changed, beside Consul's own cluster peering", 5 * time.Minute, measureFlip},
		{"signing", "a health flip in Consul until the DNS answer changed, signed and not", 3 * time.Minute, measureSigning},
		{"consul-load", "200 changes a second in 1,000 Consul services until each DNS answer changed", 4 * time.Minute, measureLoad},
		{"nacos-push", "a push of Nacos until the DNS answer changed, and the whole way from the registration", 5 * time.Minute, measureNacos},
		{"consul-watch", "one agent that watches 1,000 and 5,000 Consul services, in every mode: connections, latency, memory, processor", 12 * time.Minute, measureWatch},
		{"audit", "questions about the past of 2,000,000 events, beside a scan of all of them; only when named", 15 * time.Minute, measureAudit},
		{"dns", "processor time and latency of a DNS answer beside NSD, Knot DNS and CoreDNS; only when named", 12 * time.Minute, measureServing},
		{"dns-updates", "the part of dns in which changes land, more often; only when named", 5 * time.Minute, measureUpdating},
		{"dns-large", "100,000 services in three clusters: memory, and how soon a change is answered; only when named", 8 * time.Minute, measureLarge},
	}
}

// longest bounds a whole run.
const longest = 20 * time.Minute

// options are what the command line says.
type options struct {
	only  []string
	quick bool
	out   string
	hold  time.Duration
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(stderr, "bench:", err)
		return 2
	}
	ctx, cancel := context.WithTimeoutCause(ctx, longest, fmt.Errorf("it took longer than %v", longest))
	defer cancel()
	results, err := runAll(ctx, o, stderr)
	if len(results) > 0 {
		fmt.Fprint(stdout, table(results))
	}
	if err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return 1
	}
	return 0
}

func parse(args []string, stderr io.Writer) (options, error) {
	o := options{}
	only := ""
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&only, "only", "", "")
	flags.BoolVar(&o.quick, "quick", false, "")
	flags.StringVar(&o.out, "out", "", "")
	flags.DurationVar(&o.hold, "hold", 0, "")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprint(stderr, helpText())
			return o, err
		}
		return o, fmt.Errorf("%w (see --help)", err)
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("what is %q? Names come after --only (see --help)", flags.Arg(0))
	}
	for name := range strings.SplitSeq(only, ",") {
		if name = strings.TrimSpace(name); name == "" {
			continue
		}
		if !slices.ContainsFunc(measurements(), func(m measurement) bool { return m.name == name }) {
			return o, fmt.Errorf("no measurement is called %q (see --help)", name)
		}
		o.only = append(o.only, name)
	}
	switch {
	case o.hold < 0:
		return o, errors.New("--hold can't be negative")
	case o.out == "" && (o.quick || o.hold > 0):
		o.out = "bin/bench" // what is kept in the tree comes from whole runs
	case o.out == "":
		o.out = "bench/results"
	}
	return o, nil
}

func helpText() string {
	var b strings.Builder
	b.WriteString(`usage: go run ./bench [--only NAME,…] [--quick] [--out DIR] [--hold DURATION]

Measures Seamark on real servers and prints a table. Run it in the source tree, on a machine that does nothing else; the
first run builds Consul, NATS and Nacos, which takes minutes. A whole run takes up to 20 minutes, Ctrl-C stops it.

  --only NAME,…    only these measurements:
`)
	for _, m := range measurements() {
		fmt.Fprintf(&b, "                   %-13s %s\n", m.name, m.about)
	}
	b.WriteString(`  --quick          few samples, in less than 3 minutes: shows that everything runs, not how fast
  --out DIR        where the pages go (default bench/results; with --quick or --hold bin/bench)
  --hold DURATION  hold back what NATS, or Consul's peering, sends by this much: a check of the measurement itself. The
                   times of consul-flip, consul-load and nacos-push must grow by at least that.
`)
	return b.String()
}

// runAll runs what was asked for. A measurement that fails does not stop the others.
func runAll(ctx context.Context, o options, stderr io.Writer) ([]result, error) {
	say := newProgress(stderr)
	say.printf("building the daemons")
	where, err := newGround(ctx, o, say)
	if err != nil {
		return nil, err
	}
	defer where.close()
	var results []result
	var faults []error
	for _, m := range measurements() {
		if len(o.only) > 0 && !slices.Contains(o.only, m.name) || len(o.only) == 0 && (strings.HasPrefix(m.name, "dns") || m.name == "audit") {
			continue
		}
		r, err := where.measure(ctx, m)
		if ctx.Err() != nil {
			return results, errors.Join(append(faults, context.Cause(ctx))...)
		}
		if err == nil {
			results = append(results, r)
			err = r.write(o.out)
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", m.name, err))
			say.printf("%s: %v", m.name, err)
		}
	}
	return results, errors.Join(faults...)
}
