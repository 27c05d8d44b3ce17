package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seamark-mesh/seamark/audit"
	"github.com/seamark-mesh/seamark/cmd/internal/auditing"
	"github.com/seamark-mesh/seamark/registry"
)

// keyArgument reads the service that is the argument at a place, if it was given.
func keyArgument(args []string, n int) (key registry.ServiceKey, err error) {
	if len(args) > n {
		key, err = auditing.ParseKey(args[n])
	}
	return key, advised(err)
}

func (a *auditCommands) at() *cobra.Command {
	return &cobra.Command{
		Use: "at TIME [NAMESPACE/NAME]", Short: "Show what stood at a moment: the whole registry, or one service",
		Long: "Shows the clusters and the services as every replica had them that had read as far as the\n" +
			"history went at that moment.\n\n" + timesHelp,
		Example: "  seamark audit at 14:02\n  seamark audit at \"2h ago\" default/checkout\n  seamark audit at '#912' -o json",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(command *cobra.Command, args []string) error {
			if err := a.output.only(listFormats...); err != nil {
				return err
			}
			key, err := keyArgument(args, 1)
			if err != nil {
				return err
			}
			return a.ask(command, func(ctx context.Context, asker auditing.Asker) error {
				s, err := asker.At(ctx, args[0], key)
				if err != nil {
					return err
				}
				defer passedOver(command, s.Unused)
				if s.More > 0 && a.output != auditTable {
					fmt.Fprintf(command.ErrOrStderr(), "seamark: %s\n", moreText(s.More))
				}
				switch w := command.OutOrStdout(); a.output {
				case auditJSONL:
					return printLines(w, s.Services)
				case auditCSV:
					return printStanding(w, s)
				}
				tables := []rows{momentRows("the registry as it stood at", s.At), clusterRows(s.Clusters), serviceRows(s)}
				if len(args) > 1 {
					tables = append(append(tables, instanceRows(s)), lineRows(withheldIn(s))...)
				}
				return a.output.print(command.OutOrStdout(), s, tables...)
			})
		},
	}
}

func momentRows(what string, m auditing.Moment) rows {
	return func(row func(...any)) { row(fmt.Sprintf("%s %s", what, m)) }
}

func clusterRows(clusters []auditing.Cluster) rows {
	return func(row func(...any)) {
		row("CLUSTER", "STATE", "SINCE", "EPOCH.REVISION", "GATEWAYS", "ORDERS")
		for _, c := range clusters {
			since := ""
			if c.Since != nil {
				since = c.Since.UTC().Format("2006-01-02 15:04:05")
			}
			var gateways, orders []string
			for _, g := range c.Gateways {
				addresses := make([]string, len(g.Addresses))
				for n, address := range g.Addresses {
					addresses[n] = address.String()
				}
				text := g.Name + "=" + strings.Join(addresses, ",")
				if slices.Contains(c.Failing, g.Name) {
					text += " (not reached)"
				}
				gateways = append(gateways, text)
			}
			for _, o := range c.Orders {
				orders = append(orders, fmt.Sprintf("%s %s by %s", o.Kind, shownTarget(o.Target), o.By))
			}
			row(c.Cluster, c.State, since, fmt.Sprintf("%d.%d", c.Epoch, c.Revision), strings.Join(gateways, " "), strings.Join(orders, "; "))
		}
	}
}

func serviceRows(s auditing.Standing) rows {
	return func(row func(...any)) {
		row("SERVICE", "CLUSTER", "ANSWERED", "WHY", "HEALTHY", "TOTAL", "SEQUENCE")
		for _, service := range s.Services {
			for _, in := range service.Clusters {
				row(service.Namespace+"/"+service.Name, in.Cluster, yesNo(in.In), in.Reason, in.Healthy, in.Total, fmt.Sprintf("#%d", in.Sequence))
			}
		}
		if s.More > 0 {
			row(moreText(s.More))
		}
	}
}

func moreText(count int) string {
	return fmt.Sprintf("… and %d more: read the stream itself with --nats, or ask for one service", count)
}

func yesNo(is bool) string {
	if is {
		return "yes"
	}
	return "no"
}

func instanceRows(s auditing.Standing) rows {
	return func(row func(...any)) {
		row("CLUSTER", "INSTANCE", "HEALTH", "WEIGHT", "ADDRESS", "VERSION")
		for _, service := range s.Services {
			for _, in := range service.Clusters {
				for _, i := range in.Instances {
					row(in.Cluster, i.ID, i.Health, i.Weight, fmt.Sprintf("%s:%d", i.Address, i.Port), i.Version)
				}
			}
		}
	}
}

// printStanding prints a line for each service in each cluster.
func printStanding(w io.Writer, s auditing.Standing) error {
	t := newCSV(w)
	t.row("service", "cluster", "answered", "why", "healthy", "total", "sequence", "epoch", "revision", "changed", "redacted")
	for _, service := range s.Services {
		for _, in := range service.Clusters {
			t.row(service.Namespace+"/"+service.Name, in.Cluster, yesNo(in.In), in.Reason, in.Healthy, in.Total, in.Sequence, in.Epoch, in.Revision, timeText(in.ChangedAt), in.Redacted)
		}
	}
	return t.flush()
}

// withheldIn tells which clusters' agents have redacted the service.
func withheldIn(s auditing.Standing) (lines []string) {
	for _, service := range s.Services {
		for _, in := range service.Clusters {
			if in.Redacted > 0 {
				lines = append(lines, fmt.Sprintf("%s: %s", in.Cluster, withheldText(in.Redacted)))
			}
		}
	}
	return lines
}

// withheldText tells how much was redacted; nobody knows what.
func withheldText(pairs int) string {
	return counted(pairs, "metadata pair") + " withheld by its agent"
}

func (a *auditCommands) diff() *cobra.Command {
	return &cobra.Command{
		Use: "diff FROM TO [NAMESPACE/NAME]", Short: "Show what differs between two moments",
		Long: "Shows what differs between two moments: services, instances, gateways, states and orders.\n" +
			"What came and went in between is in the log.\n\n" + timesHelp,
		Example: "  seamark audit diff 14:00 14:10\n  seamark audit diff '#900' now default/checkout\n  seamark audit diff yesterday now -o csv",
		Args:    cobra.RangeArgs(2, 3),
		RunE: func(command *cobra.Command, args []string) error {
			if err := a.output.only(listFormats...); err != nil {
				return err
			}
			key, err := keyArgument(args, 2)
			if err != nil {
				return err
			}
			return a.ask(command, func(ctx context.Context, asker auditing.Asker) error {
				d, err := asker.Diff(ctx, args[0], args[1], key)
				if err != nil {
					return err
				}
				defer passedOver(command, d.Unused)
				if d.More > 0 {
					fmt.Fprintf(command.ErrOrStderr(), "seamark: %s\n", moreText(d.More))
				}
				switch w := command.OutOrStdout(); a.output {
				case auditJSONL:
					return printLines(w, d.Differences)
				case auditCSV:
					t := newCSV(w)
					t.row("what", "change", "cluster", "service", "name", "field", "old", "new", "sequence")
					for _, one := range d.Differences {
						for _, f := range orOne(one.Fields) {
							t.row(one.What, one.Change, one.Cluster, serviceText(one.Service), one.Name, f.Field, f.Old, f.New, one.Sequence)
						}
					}
					return t.flush()
				default:
					return a.output.print(w, d, momentRows(fmt.Sprintf("from %s to", d.From), d.To), differencesRows(d.Differences))
				}
			})
		},
	}
}

// orOne returns the fields, or an empty one, so that each difference has a line.
func orOne(fields []audit.FieldChange) []audit.FieldChange {
	if len(fields) == 0 {
		return []audit.FieldChange{{}}
	}
	return fields
}

func differencesRows(differences []audit.Difference) rows {
	return func(row func(...any)) {
		if len(differences) == 0 {
			row("nothing differs")
			return
		}
		row("CHANGE", "WHAT", "CLUSTER", "SERVICE", "NAME", "FIELDS", "SEQUENCE")
		for _, d := range differences {
			var fields []string
			for _, f := range d.Fields {
				fields = append(fields, fieldText(f, d.Change))
			}
			sequence := ""
			if d.Sequence > 0 {
				sequence = fmt.Sprintf("#%d", d.Sequence)
			}
			row(d.Change, d.What, d.Cluster, serviceText(d.Service), d.Name, strings.Join(fields, ", "), sequence)
		}
	}
}
