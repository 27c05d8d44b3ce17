package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/seamark-mesh/seamark/audit"
	"github.com/seamark-mesh/seamark/cmd/internal/auditing"
	"github.com/seamark-mesh/seamark/cmd/internal/proc"
	"github.com/seamark-mesh/seamark/registry"
)

func (a *auditCommands) log() *cobra.Command {
	var (
		q                auditing.LogQuestion
		cluster, service string
		kinds            []string
		details          bool
	)
	command := &cobra.Command{
		Use: "log", Short: "Show who changed what and when",
		Long: `Shows the history, one line for each message: its sequence, when the stream stored it,
who wrote it and what changed. With --service, or --details, the changed fields follow.
Without --since and --limit it shows the latest 100.

Kinds are change (the registry or a configuration changed), resync (a comparison found a
difference), refresh (the daily repetition), order (an operator's drain, leave or
decision), state (a cluster's liveness), note (a brake, something refused), takeover
(another agent), complete (all was published) and unreadable.

` + timesHelp,
		Example: `  seamark audit log --service default/checkout --since "2h ago"
  seamark audit log --cluster amber --kind change,order --since 14:00 --until 14:10
  seamark audit log --nats nats://127.0.0.1:4222 --follow
  seamark audit log --from-file export.jsonl -o csv`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) (err error) {
			if service != "" {
				if q.Service, err = auditing.ParseKey(service); err != nil {
					return proc.Usage(fmt.Errorf("--service: %w", err))
				}
			}
			if cluster != "" {
				if q.Cluster, err = registry.ParseClusterID(cluster); err != nil {
					return proc.Usage(fmt.Errorf("--cluster: %w", err))
				}
			}
			if q.Kinds, err = auditing.ParseKinds(kinds); err != nil {
				return proc.Usage(fmt.Errorf("--kind: %w", err))
			}
			switch flags := command.Flags(); {
			case q.Limit < 0:
				return proc.Usage(fmt.Errorf("--limit %d is below 0", q.Limit))
			case q.Follow && q.Until != "":
				return proc.Usage(errors.New("--follow goes on for ever: leave out --until"))
			case !flags.Changed("limit") && q.Since == "" && !q.Follow && a.output == auditTable:
				q.Limit, q.Newest = 100, true
			case flags.Changed("limit") && q.Limit > 0 && q.Since == "":
				q.Newest = !q.Follow
			case q.Follow && q.Since == "":
				q.Since = "now"
			}
			err = a.ask(command, func(ctx context.Context, asker auditing.Asker) error {
				return a.printLog(command, asker.Log(ctx, q), details || q.Service != registry.ServiceKey{})
			})
			if q.Follow && errors.Is(err, errInterrupted) {
				return nil // Ctrl-C is how it ends
			}
			return err
		},
	}
	flags := command.Flags()
	flags.StringVar(&cluster, "cluster", "", "only what is about this cluster")
	flags.StringVar(&service, "service", "", "only what is about this service, NAMESPACE/NAME")
	flags.StringSliceVar(&kinds, "kind", nil, "only these kinds")
	flags.StringVar(&q.Since, "since", "", "the first moment")
	flags.StringVar(&q.Until, "until", "", "the last moment")
	flags.BoolVar(&q.Follow, "follow", false, "go on with what comes, until Ctrl-C")
	flags.IntVar(&q.Limit, "limit", 0, "entries at most, the first with --since, else the latest; 0: all")
	flags.BoolVar(&details, "details", false, "show which fields changed")
	return command
}

// printLog prints entries as they come, and then counts on stderr what nobody can read.
func (a *auditCommands) printLog(command *cobra.Command, entries iter.Seq2[audit.Entry, error], details bool) error {
	write, end := a.logWriter(command.OutOrStdout(), details)
	shown, unreadable := 0, 0
	var failed error
	for e, err := range entries {
		if err != nil {
			failed = err
			break
		}
		if e.Kind == audit.Unreadable {
			unreadable++
		}
		shown++
		if failed = write(e); failed != nil {
			break
		}
	}
	if err := end(); failed == nil {
		failed = err
	}
	stderr := command.ErrOrStderr()
	if unreadable > 0 {
		fmt.Fprintf(stderr, "seamark: %s can't be read (kind unreadable); what they are about keeps its state before\n", counted(unreadable, "message"))
	}
	if shown == 0 && failed == nil && a.output == auditTable {
		fmt.Fprintln(stderr, "seamark: nothing in the history is so")
	}
	return failed
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// logWriter returns what writes one entry, and what ends the output.
func (a *auditCommands) logWriter(w io.Writer, details bool) (write func(audit.Entry) error, end func() error) {
	none := func() error { return nil }
	switch a.output {
	case auditJSONL:
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		return func(entry audit.Entry) error { return e.Encode(entry) }, none
	case auditCloudEvents:
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		return func(entry audit.Entry) error {
			event, err := cloudEvent(entry)
			if err != nil || event == nil {
				return err
			}
			return e.Encode(event)
		}, none
	case auditCSV:
		t := newCSV(w)
		t.row("sequence", "stored", "kind", "cluster", "service", "epoch", "revision", "agent", "by", "about", "reason", "index", "seen", "made", "changes", "redacted")
		return func(e audit.Entry) error {
			var changes []string
			for _, d := range e.Changes {
				changes = append(changes, differenceLine(d))
			}
			t.row(e.Sequence, timeText(e.Stored), e.Kind, e.Cluster, serviceText(e.Service), e.Epoch, e.Revision, e.Agent, e.By, e.About, e.Reason,
				e.Index, timeText(e.Seen), timeText(e.Made), strings.Join(changes, "; "), e.Redacted)
			return nil
		}, t.flush
	case auditJSON, auditYAML:
		all := []audit.Entry{}
		return func(e audit.Entry) error { all = append(all, e); return nil },
			func() error { return a.output.print(w, map[string]any{"entries": all}) }
	}
	header := true
	return func(e audit.Entry) error {
		if header {
			header = false
			if err := logLine(w, "SEQUENCE", "STORED (UTC)", "KIND", "CLUSTER", "WHO", "WHAT"); err != nil {
				return err
			}
		}
		return logEntry(w, e, details)
	}, none
}

// logLine writes a line of the table. Its columns are wide enough for nearly all, so that
// each line can be written as it comes.
func logLine(w io.Writer, sequence, stored, kind, cluster, who, what string) error {
	_, err := fmt.Fprintf(w, "%-8s  %-23s  %-10s  %-10s  %-28s  %s\n", sequence, stored, kind, orDash(cluster), orDash(printableCell(who)), printableCell(what))
	return err
}

func logEntry(w io.Writer, e audit.Entry, details bool) error {
	who := e.By
	if who == "" {
		who = e.Agent
	}
	err := logLine(w, fmt.Sprintf("#%d", e.Sequence), e.Stored.UTC().Format("2006-01-02 15:04:05.000"), string(e.Kind), string(e.Cluster), who, e.About)
	if !details {
		return err
	}
	lines := make([]string, 0, len(e.Changes)+1)
	for _, d := range e.Changes {
		lines = append(lines, differenceLine(d))
	}
	if e.Redacted > 0 {
		lines = append(lines, "  "+withheldText(e.Redacted))
	}
	for _, line := range lines {
		if _, err := fmt.Fprintf(w, "%10s%s\n", "", printableCell(line)); err != nil {
			return err
		}
	}
	return err
}

// timeText is a time in a column, in UTC; "" when nobody has said it.
func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// differenceLine tells one difference: its name, and each field.
func differenceLine(d audit.Difference) string {
	sign := map[string]string{audit.Added: "+", audit.Removed: "-", audit.Changed: "~"}[d.Change]
	head := strings.TrimSpace(fmt.Sprintf("%s %s %s", sign, d.What, d.Name))
	var fields []string
	for _, f := range d.Fields {
		fields = append(fields, fieldText(f, d.Change))
	}
	if len(fields) == 0 {
		return head
	}
	return head + ": " + strings.Join(fields, ", ")
}

func fieldText(f audit.FieldChange, change string) string {
	switch {
	case f.Unknown:
		return f.Field + " changed"
	case change == audit.Added:
		return f.Field + " " + orDash(f.New)
	case change == audit.Removed:
		return f.Field + " " + orDash(f.Old)
	}
	return fmt.Sprintf("%s %s → %s", f.Field, orDash(f.Old), orDash(f.New))
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func serviceText(key *registry.ServiceKey) string {
	if key == nil {
		return ""
	}
	return key.String()
}
