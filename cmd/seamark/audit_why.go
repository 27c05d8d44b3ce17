package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seamark-mesh/seamark/cmd/internal/auditing"
	"github.com/seamark-mesh/seamark/dnsserver/ask"
)

func (a *auditCommands) blame() *cobra.Command {
	var at string
	command := &cobra.Command{
		Use: "blame NAMESPACE/NAME", Short: "Show for everything in a service's answer which event put it there",
		Long: "Shows for every instance of a service, and every gateway of the clusters that know it, the event\n" +
			"that put it there and the one that gave it its present form.\n\n" + timesHelp,
		Example: "  seamark audit blame default/checkout\n  seamark audit blame default/checkout --at 14:02",
		Args:    cobra.ExactArgs(1), ValidArgsFunction: a.completeServices,
		RunE: func(command *cobra.Command, args []string) error {
			if err := a.output.only(listFormats...); err != nil {
				return err
			}
			key, err := keyArgument(args, 0)
			if err != nil {
				return err
			}
			return a.ask(command, func(ctx context.Context, asker auditing.Asker) error {
				b, err := asker.Blame(ctx, at, key)
				if err != nil {
					return err
				}
				defer passedOver(command, b.Unused)
				switch w := command.OutOrStdout(); a.output {
				case auditJSONL:
					return printLines(w, b.Origins)
				case auditCSV:
					t := newCSV(w)
					blameRows(b, true)(t.row)
					return t.flush()
				default:
					tables := []rows{momentRows(key.String()+" at", b.At), blameRows(b, false)}
					return a.output.print(w, b, append(tables, lineRows(withheldFrom(b))...)...)
				}
			})
		},
	}
	command.Flags().StringVar(&at, "at", "", "the moment; default: now")
	return command
}

// withheldFrom tells which of the events were redacted.
func withheldFrom(b auditing.Blame) (lines []string) {
	for _, o := range b.Origins {
		line := fmt.Sprintf("%s: #%d: %s", o.Cluster, o.Formed.Sequence, withheldText(o.Formed.Redacted))
		if o.Formed.Redacted > 0 && !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return lines
}

// blameRows are the origins; redacted adds a column that a table has no room for.
func blameRows(b auditing.Blame, redacted bool) rows {
	return func(row func(...any)) {
		cells := []any{"CLUSTER", "WHAT", "NAME", "SERVES", "PUT THERE BY", "WHEN (UTC)", "WHO", "CHANGED LAST BY"}
		if redacted {
			cells = append(cells, "REDACTED")
		}
		row(cells...)
		for _, o := range b.Origins {
			put := fmt.Sprintf("#%d %s", o.Put.Sequence, o.Put.Kind)
			if o.Older {
				put = "before " + put
			}
			formed := ""
			if o.Formed.Sequence != o.Put.Sequence {
				formed = fmt.Sprintf("#%d %s", o.Formed.Sequence, o.Formed.Kind)
			}
			cells := []any{o.Cluster, o.What, o.Name, yesNo(o.Serves), put, o.Put.Stored.UTC().Format("2006-01-02 15:04:05.000"), o.Put.Agent, formed}
			if redacted {
				cells = append(cells, o.Formed.Redacted)
			}
			row(cells...)
		}
	}
}

const resolveLong = `Shows what every replica that had read as far as the history went at that moment answered
to a name, and for each cluster why it was in the answer or not: with the zone record, the
liveness states and the orders that held then. What is not in the history is what a single
replica did that was behind or cut off.

`

func (a *auditCommands) resolve() *cobra.Command {
	var at string
	command := &cobra.Command{
		Use: "resolve NAME [TYPE]", Short: "Show what DNS would have answered at a moment, and why",
		Long:    resolveLong + timesHelp,
		Example: "  seamark audit resolve --at 14:02 checkout.svc.mesh.internal\n  seamark audit resolve --at '#912' _http._tcp.checkout.svc.mesh.internal SRV",
		Args:    cobra.RangeArgs(1, 2), ValidArgsFunction: completeTypes,
		RunE: func(command *cobra.Command, args []string) error {
			return a.resolveAt(command, at, args)
		},
	}
	command.Flags().StringVar(&at, "at", "", "the moment; default: now")
	return command
}

// resolveAt is also what "seamark resolve --at" does.
func (a *auditCommands) resolveAt(command *cobra.Command, at string, args []string) error {
	if err := a.output.only(listFormats...); err != nil {
		return err
	}
	rrtype := "A"
	if len(args) == 2 {
		rrtype = strings.ToUpper(args[1])
	}
	return a.ask(command, func(ctx context.Context, asker auditing.Asker) error {
		r, err := asker.Resolve(ctx, at, args[0], rrtype)
		if err != nil {
			return err
		}
		defer passedOver(command, r.Unused)
		switch w := command.OutOrStdout(); a.output {
		case auditJSONL:
			return printLines(w, r.Why)
		case auditCSV:
			t := newCSV(w)
			whyRows(r)(t.row)
			return t.flush()
		default:
			return a.output.print(w, r, resolutionRows(r), whyRows(r))
		}
	})
}

func resolutionRows(r auditing.Resolution) rows {
	return func(row func(...any)) {
		row(fmt.Sprintf("the past: %s %s at %s was %s", r.Name, r.Type, r.At, r.RCode))
		for _, text := range r.Answers {
			row("  " + text)
		}
		if len(r.Answers) == 0 {
			row("  no records")
		}
	}
}

func whyRows(r auditing.Resolution) rows {
	return func(row func(...any)) {
		row("CLUSTER", "IN", "WHY", "STATE", "LAST EVENT", "ORDER")
		for _, w := range r.Why {
			event := ""
			if w.Sequence > 0 {
				event = fmt.Sprintf("#%d", w.Sequence)
			}
			row(w.Cluster, w.In, w.Reason, w.State, event, w.Order)
		}
	}
}

// resolvePast answers "seamark resolve --at".
func (c *commands) resolvePast(command *cobra.Command, at string, args []string) error {
	a := &auditCommands{commands: c, output: auditFormat(c.output)}
	return a.resolveAt(command, at, args)
}

// completeTypes completes record types.
func completeTypes(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 1 {
		return ask.Types(), cobra.ShellCompDirectiveNoFileComp
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}
