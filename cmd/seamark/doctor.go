package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/seamark-mesh/seamark/cmd/internal/doctor"
	"github.com/seamark-mesh/seamark/cmd/internal/proc"
)

const doctorLong = `Looks at the whole mesh from here: NATS and the streams (with the operator's
credentials), the clusters' agents, every global-dns that is named (by HTTP and DNS),
the gateways as the vantage points see them, certificates, clocks, and configuration
files. It changes nothing. It takes about five seconds, because agents say every two
seconds that they live.

  Healthy    as it should be
  Warning    it works, with less margin than it should have, or somebody has to look
  Critical   answers are wrong, old or missing, or will be soon
  Unknown    it could not be learnt; counts as a warning

Exit code: 0 when all is healthy, 1 for a warning, 2 when something is critical.

What it prints looks like this:

  CATEGORY  CHECK      STATUS    DESCRIPTION
  nats      reachable  Healthy   nats://127.0.0.1:4222, version 2.15.2, answers in 200µs
  clusters  agents     Critical  amber: the agent (edge-sync@web-1/311) is silent for 42s: …
  gateways  reached    Healthy   3 gateways are reached from everywhere that tells

  clusters, agents: amber: the agent (edge-sync@web-1/311) is silent for 42s: …
    Start the cluster's edge-sync, or a second one as standby. …`

// examination are the flags of doctor.
type examination struct {
	servers, agents, dns, configs, only []string
	transfers                           string
	timeout                             time.Duration
}

func (c *commands) doctor() *cobra.Command {
	var e examination
	command := &cobra.Command{
		Use: "doctor", Short: "Examine the whole mesh, and tell what is wrong and how to mend it",
		Long: doctorLong,
		Example: `  seamark doctor
  seamark doctor --server http://dns-1:8080 --server http://dns-2:8080 --dns dns-1 --dns dns-2
  seamark doctor --config /etc/seamark/global-dns.yaml --transfers refused
  seamark doctor --only clusters,gateways -o json`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			if e.transfers != "" && e.transfers != "allowed" && e.transfers != "refused" {
				return proc.Usage(fmt.Errorf("--transfers %q: write allowed or refused", e.transfers))
			}
			var only []doctor.Category
			for _, name := range e.only {
				category, err := doctor.ParseCategory(name)
				if err != nil {
					return proc.Usage(fmt.Errorf("--only: %w", err))
				}
				only = append(only, category)
			}
			ctx, cancel := context.WithTimeout(command.Context(), e.timeout)
			defer cancel()
			report := doctor.Judge(doctor.Gather(ctx, doctor.Options{
				NATS: c.nats, Credentials: c.credentials, Servers: e.servers, Agents: e.agents, DNS: e.dns,
				Configs: e.configs, Transfers: e.transfers, Environ: c.environment,
			}), only)
			if err := c.printReport(command.OutOrStdout(), report); err != nil {
				return err
			}
			return verdict(report)
		},
	}
	flags := command.Flags()
	// The flag of the whole command names one; here it may be given for each replica.
	flags.StringSliceVar(&e.servers, "server", strings.Split(cmp.Or(c.environ("SEAMARK_SERVER"), "http://127.0.0.1:8080"), ","), "URL of a global-dns; again for each (or SEAMARK_SERVER)")
	flags.StringSliceVar(&e.agents, "agent", nil, "URL of an edge-sync, to see who stands by; again for each")
	flags.StringSliceVar(&e.dns, "dns", fields(c.environ("SEAMARK_DNS")), "address of a DNS server; again for each (or SEAMARK_DNS; default: the zone's name servers)")
	flags.StringSliceVar(&e.configs, "config", nil, "configuration file of a global-dns or an edge-sync to check; again for each")
	flags.StringVar(&e.transfers, "transfers", "", "how zone transfers to this machine should be: allowed or refused")
	flags.StringSliceVar(&e.only, "only", nil, "look at these categories only: "+categoryNames())
	flags.DurationVar(&e.timeout, "timeout", 30*time.Second, "give up what has not answered by then")
	_ = command.RegisterFlagCompletionFunc("only", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) { // it fails only for flags that are not there
		return strings.Split(categoryNames(), ", "), cobra.ShellCompDirectiveNoFileComp
	})
	_ = command.RegisterFlagCompletionFunc("transfers", cobra.FixedCompletions([]string{"allowed", "refused"}, cobra.ShellCompDirectiveNoFileComp))
	return command
}

// fields splits a list; none for "".
func fields(list string) []string {
	if list == "" {
		return nil
	}
	return strings.Split(list, ",")
}

func categoryNames() string {
	var names []string
	for _, category := range doctor.Categories() {
		names = append(names, string(category))
	}
	return strings.Join(names, ", ")
}

// printReport prints the findings, and after a table how to mend what is wrong.
func (c *commands) printReport(w io.Writer, r doctor.Report) error {
	err := c.output.print(w, r, func(row func(...any)) {
		row("CATEGORY", "CHECK", "STATUS", "DESCRIPTION")
		for n := 0; n < len(r.Findings); {
			f, same := r.Findings[n], 1
			for n+same < len(r.Findings) && alike(f, r.Findings[n+same]) {
				same++
			}
			if n += same; same > 1 {
				f.Check = fmt.Sprintf("%d checks", same)
			}
			row(f.Category, f.Check, f.Status, f.Description)
		}
	})
	if err != nil || c.output != asTable {
		return err
	}
	for n := 0; n < len(r.Findings); n++ {
		f := r.Findings[n]
		if f.Fix == "" {
			continue
		}
		fmt.Fprintln(w)
		for ; n < len(r.Findings) && r.Findings[n].Check == f.Check && r.Findings[n].Fix == f.Fix; n++ {
			fmt.Fprintf(w, "%s: %s: %s\n", r.Findings[n].Status, f.Category, printableCell(r.Findings[n].Description))
		}
		n--
		fmt.Fprintf(w, "  %s\n", printableCell(f.Fix))
	}
	if len(r.NotAsked) > 0 {
		fmt.Fprintf(w, "\nNot looked at: %s.\n", strings.Join(r.NotAsked, "; "))
	}
	return nil
}

// alike tells whether two findings could not be told for the same reason.
func alike(a, b doctor.Finding) bool {
	return a.Status == doctor.Unknown && a.Status == b.Status && a.Category == b.Category && a.Description == b.Description
}

// verdict is the error with the exit code that a report asks for; nil when all is well.
func verdict(r doctor.Report) error {
	if r.Status == doctor.Healthy {
		return nil
	}
	var counts []string
	for _, status := range []doctor.Status{doctor.Critical, doctor.Warning, doctor.Unknown} {
		if n := r.Count(status); n > 0 {
			counts = append(counts, fmt.Sprintf("%d %s", n, status))
		}
	}
	return proc.Exit(fmt.Errorf("the mesh is not healthy: %s", strings.Join(counts, ", ")), r.Status.ExitCode())
}
