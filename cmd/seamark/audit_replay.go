package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/seamark-mesh/seamark/audit"
	"github.com/seamark-mesh/seamark/audit/replay"
	"github.com/seamark-mesh/seamark/cmd/internal/auditing"
	"github.com/seamark-mesh/seamark/cmd/internal/proc"
)

func (a *auditCommands) replay() *cobra.Command {
	var (
		from, to, speed, dns string
		exit                 bool
	)
	command := &cobra.Command{
		Use: "replay", Short: "Live through a part of the past again, with a private DNS server",
		Long: `Starts a DNS server of its own with the registry as it stood at --from, and lets the
events up to --to happen again at their own distances, faster, or as fast as it goes. A
real client can be pointed at it. At the end it goes on answering as at --to, until
Ctrl-C; with --exit it ends. Nothing of it is seen by the mesh.

It reads the stream itself (--nats), an archive or an export.

` + timesHelp,
		Example: `  seamark audit replay --from 14:00 --to 14:10 --speed 10x
  seamark audit replay --from "2h ago" --speed max --dns 127.0.0.1:5353
  seamark audit replay --archive /var/lib/seamark/archive --from 2026-03-01 --to 2026-03-02 --speed max --exit`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			pace, err := parseSpeed(speed)
			if err != nil {
				return proc.Usage(err)
			}
			if from == "" {
				return proc.Usage(errors.New("--from is missing: since when? For example --from 14:00, or --from \"2h ago\""))
			}
			ctx, stop := proc.Signals(command.Context())
			defer stop()
			return a.read(ctx, command, func(ctx context.Context, h audit.History) error {
				d := auditing.Direct{History: h, Now: time.Now()}
				begin, err := d.Moment(ctx, from)
				if err != nil {
					return err
				}
				end, err := d.Moment(ctx, to)
				if err != nil {
					return err
				}
				if end.Sequence < begin.Sequence || end.Time.Before(begin.Time) {
					return proc.Usage(errors.New("--to is before --from"))
				}
				return a.play(ctx, command, replay.Config{History: h, From: begin, To: end, Speed: pace, Listen: dns, Stay: !exit})
			})
		},
	}
	flags := command.Flags()
	flags.StringVar(&from, "from", "", "where it begins (required)")
	flags.StringVar(&to, "to", "", "where it ends; default: now")
	flags.StringVar(&speed, "speed", "1x", "how much faster than it was: 1x, 10x, 0.5x, or max")
	flags.StringVar(&dns, "dns", "127.0.0.1:0", "address of the private DNS server; port 0: any that is free")
	flags.BoolVar(&exit, "exit", false, "end when the end is reached")
	return command
}

// parseSpeed reads 10x or max, which is 0.
func parseSpeed(text string) (float64, error) {
	if text == "max" {
		return 0, nil
	}
	speed, err := strconv.ParseFloat(strings.TrimSuffix(text, "x"), 64)
	if err != nil || !(speed >= 0.001 && speed <= 1e6) {
		return 0, fmt.Errorf("--speed %.32q: write for example 1x, 10x, 0.5x or max", text)
	}
	return speed, nil
}

// play replays, and shows where it is: on a terminal by a bar, else by a line now and then.
func (a *auditCommands) play(ctx context.Context, command *cobra.Command, config replay.Config) error {
	stderr := command.ErrOrStderr()
	line := newStatusLine(stderr)
	teller := replayTeller{out: stderr, line: line}
	config.Progress = teller.tell
	config.Listening = func(address netip.AddrPort) {
		line.clear()
		fmt.Fprintf(stderr, "DNS as it was is answered at %s: dig @%s -p %d NAME\n", address, address.Addr(), address.Port())
	}
	p, err := replay.Run(ctx, config)
	line.clear()
	if err != nil && ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
		fmt.Fprintf(stderr, "interrupted at %s, #%d\n", moment(p.At), p.Sequence)
		err = nil
	}
	if err != nil {
		return err
	}
	if p.Unusable > 0 {
		fmt.Fprintf(stderr, "%s could not be used, the first because: %v\n", counted(p.Unusable, "message"), p.FirstUnused)
	}
	result := map[string]any{
		"from": p.From.UTC(), "to": p.At.UTC(), "sequence": p.Sequence, "stood": p.Stood, "events": p.Events,
		"unusable": p.Unusable, "took_ms": p.Took.Milliseconds(), "events_per_second": int(p.Rate()),
	}
	if err := a.output.only(wholeFormats...); err != nil {
		return err
	}
	return a.output.print(command.OutOrStdout(), result, func(row func(...any)) {
		row("FROM", "TO", "SEQUENCE", "STOOD BEFORE", "EVENTS", "TOOK", "EVENTS/S")
		row(moment(p.From), moment(p.At), fmt.Sprintf("#%d", p.Sequence), p.Stood, p.Events, p.Took.Round(time.Millisecond), int(p.Rate()))
	})
}

func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 MST") }

// replayTeller tells how far a replay is.
type replayTeller struct {
	out  io.Writer
	line *statusLine
	said time.Time
}

// lineEvery is the time between two lines where there is no terminal.
const lineEvery = 5 * time.Second

func (t *replayTeller) tell(p replay.Progress) {
	if t.line.terminal {
		t.line.show(bar(p))
	} else if p.Phase == replay.Living && time.Since(t.said) >= lineEvery {
		if !t.said.IsZero() {
			fmt.Fprintln(t.out, progressText(p))
		}
		t.said = time.Now()
	}
	if p.Phase == replay.Over {
		t.line.clear()
		fmt.Fprintf(t.out, "%s is reached: %s applied\n", moment(p.To), counted(p.Events, "event"))
	}
}

func progressText(p replay.Progress) string {
	if p.Phase == replay.Beginning {
		return fmt.Sprintf("reading what stood at %s: %d records", moment(p.From), p.Stood)
	}
	return fmt.Sprintf("%s  %3.0f %%  %d events  %d/s", moment(p.At), 100*p.Done(), p.Events, int(p.Rate()))
}

// bar draws how far a replay is.
func bar(p replay.Progress) string {
	const width = 30
	full := int(p.Done() * width)
	return "[" + strings.Repeat("#", full) + strings.Repeat(".", width-full) + "]  " + progressText(p)
}
