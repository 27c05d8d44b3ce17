package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/seamark-mesh/seamark/audit"
	"github.com/seamark-mesh/seamark/cmd/internal/auditing"
	"github.com/seamark-mesh/seamark/cmd/internal/proc"
)

func (a *auditCommands) incident() *cobra.Command {
	var (
		around string
		window time.Duration
	)
	command := &cobra.Command{
		Use: "incident", Short: "Write a report of what happened around a moment, as Markdown",
		Long: `Writes one page: a timeline of changes, transitions, orders, brakes, takeovers and what
nobody could read; how the clusters stood at the beginning and at the end; and for every
service that was touched (something was said of it, or a cluster's state, an order or a
gateway changed its answer), what DNS answered before and after, and each turn between.
Where there is more than a page takes, what is nearest to the moment is shown, and the rest
is counted.

It reads the stream itself (--nats), an archive or an export.

` + timesHelp,
		Example: "  seamark audit incident --around 14:02 > incident.md\n  seamark audit incident --around \"2h ago\" --window 30m --archive /var/lib/seamark/archive",
		Args:    cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			switch {
			case around == "":
				return proc.Usage(errors.New("--around is missing: when was it? For example --around 14:02"))
			case window < time.Millisecond || window > 7*24*time.Hour:
				return proc.Usage(fmt.Errorf("--window %v: from 1ms to 168h are possible", window))
			}
			if err := a.output.only(auditTable); err != nil {
				return err
			}
			ctx, stop := proc.Signals(command.Context())
			defer stop()
			return a.read(ctx, command, func(ctx context.Context, h audit.History) error {
				i, err := auditing.FindIncident(ctx, h, around, window, time.Now())
				if err != nil {
					return err
				}
				_, err = io.WriteString(command.OutOrStdout(), i.Markdown())
				return err
			})
		},
	}
	flags := command.Flags()
	flags.StringVar(&around, "around", "", "the moment (required)")
	flags.DurationVar(&window, "window", 10*time.Minute, "how long a time, the moment in its middle")
	return command
}
