package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/seamark-mesh/seamark/audit"
	"github.com/seamark-mesh/seamark/audit/chain"
	"github.com/seamark-mesh/seamark/cmd/internal/auditing"
	"github.com/seamark-mesh/seamark/cmd/internal/proc"
	"github.com/seamark-mesh/seamark/registry"
)

// errNotIntact says that a history is not what its writers wrote.
var errNotIntact = errors.New("the history is not intact")

func (a *auditCommands) verify() *cobra.Command {
	var (
		cluster, since, keys, by string
		checkpoints              []string
	)
	command := &cobra.Command{
		Use: "verify", Short: "Prove that the history is what its writers wrote (exit 1 when it is not)",
		Long: `Reads the history and checks, for each writer, that every message carries the digest of
itself and of the one before it; that signatures are good and by keys that are allowed
(--keys); and that what checkpoints name still stands where it stood (--checkpoint).

It tells apart what is missing, altered, reordered, inserted, signed by an unknown or
revoked key, unsigned, and two histories of one epoch, each with its sequences. What aged
out, and messages of versions that had no chain, are told and are no fault.

It reads the stream itself (--nats), an archive or an export.`,
		Example: `  seamark audit verify
  seamark audit verify --keys keys.json --checkpoint monday.json --checkpoint tuesday.json
  seamark audit verify --cluster amber --since yesterday
  seamark audit verify --from-file export.jsonl -o json`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) (err error) {
			options := chain.Options{Whole: cluster == "", ToEnd: true}
			if err := a.output.only(wholeFormats...); err != nil {
				return err
			}
			if keys != "" {
				if options.Keys, err = chain.ReadKeys(keys); err != nil {
					return proc.Usage(fmt.Errorf("--keys: %w", err))
				}
			}
			for _, path := range checkpoints {
				checkpoint, err := chain.ReadCheckpoint(path, by)
				if err != nil {
					return proc.Usage(fmt.Errorf("--checkpoint: %w", err))
				}
				options.Checkpoints = append(options.Checkpoints, checkpoint)
			}
			r := audit.Range{}
			if cluster != "" {
				id, err := registry.ParseClusterID(cluster)
				if err != nil {
					return proc.Usage(fmt.Errorf("--cluster: %w", err))
				}
				r.Filter = []string{"mesh.v1." + string(id) + ".>"}
				for n := range options.Checkpoints { // what nobody reads can't be met
					c := &options.Checkpoints[n]
					c.Heads = slices.DeleteFunc(c.Heads, func(h chain.Head) bool { return h.Writer != registry.Writer(id) })
				}
			}
			report, err := a.prove(command, options, r, since)
			if err != nil {
				return err
			}
			if err := a.output.print(command.OutOrStdout(), report, provenRows(report)...); err != nil {
				return err
			}
			if !report.Intact() {
				return errNotIntact
			}
			return nil
		},
	}
	flags := command.Flags()
	flags.StringVar(&cluster, "cluster", "", "only what this cluster's agents wrote")
	flags.StringVar(&since, "since", "", "only from this moment on")
	flags.StringVar(&keys, "keys", "", "file that says which keys may sign for whom; without it any key may")
	flags.StringSliceVar(&checkpoints, "checkpoint", nil, "hold the history against this checkpoint; again for each")
	flags.StringVar(&by, "checkpoint-key", "", "public NKey that must have signed the checkpoints")
	return command
}

// prove verifies a part of the history, and shows how far it is.
func (a *auditCommands) prove(command *cobra.Command, options chain.Options, r audit.Range, since string) (report chain.Report, err error) {
	ctx, stop := proc.Signals(command.Context())
	defer stop()
	err = a.read(ctx, command, func(ctx context.Context, h audit.History) error {
		if since != "" {
			from, err := auditing.Direct{History: h, Now: time.Now()}.Moment(ctx, since)
			if err != nil {
				return err
			}
			r.From = from.Sequence
		}
		span, err := h.Span(ctx)
		if err != nil {
			return err
		}
		options.Known, options.From = span.Gone, r.From
		options.Whole = options.Whole && !span.Filtered
		options.Bounds = chain.Bounds{
			First: span.First, Last: span.Last, Began: span.Began, Begin: span.Begin, End: span.End, Retention: span.Retention, Asked: time.Now(),
		}
		report, err = chain.VerifyAgainst(ctx, options, h.Read(ctx, r))
		return err
	})
	return report, err
}

func provenRows(r chain.Report) []rows {
	tables := []rows{func(row func(...any)) {
		row("WRITER", "VERDICT", "MESSAGES", "SIGNED", "EPOCHS", "FROM", "TO")
		for _, w := range r.Writers {
			verdict := "intact"
			switch {
			case !w.Intact():
				verdict = "NOT INTACT"
			case !w.Chained:
				verdict = "each by itself" // no chain joins them
			case w.AgedOut:
				verdict = "intact since it begins"
			}
			row(w.Writer, verdict, w.Messages, w.Signed, w.Epochs, fmt.Sprintf("#%d", w.First.Sequence), fmt.Sprintf("#%d", w.Last.Sequence))
		}
	}}
	if len(r.Checkpoints) > 0 {
		tables = append(tables, func(row func(...any)) {
			row("CHECKPOINT", "WRITER", "AT", "VERDICT", "DETAIL")
			for _, c := range r.Checkpoints {
				row(c.Made, c.Head.Writer, fmt.Sprintf("#%d", c.Head.Sequence), c.Verdict, c.Detail)
			}
		})
	}
	return append(tables, func(row func(...any)) {
		for _, gone := range r.AgedOut {
			row(fmt.Sprintf("#%d–#%d had aged out before they were kept: nothing is proved about them", gone[0], gone[1]))
		}
		for _, f := range r.Faults {
			row(f.String())
		}
		if r.More > 0 {
			row(fmt.Sprintf("… and %d more", r.More))
		}
		for _, note := range r.Notes {
			row(note)
		}
		switch {
		case r.Messages == 0:
			row("there are no messages: nothing is proved")
		case r.Intact():
			row(fmt.Sprintf("%s: nothing is missing, altered, reordered or inserted", counted(int(r.Messages), "message")))
		}
	})
}

func (a *auditCommands) checkpoint() *cobra.Command {
	var key string
	command := &cobra.Command{
		Use: "checkpoint FILE", Short: "State where the history stands, for an auditor to keep elsewhere",
		Long: `Verifies the whole history and writes where each writer's chain ends: epoch, revision,
digest, sequence and time; signed with an NKey if --key is given. Keep the file where
nobody can reach it who may write the stream: "seamark audit verify --checkpoint FILE"
proves later that nothing before it was rewritten. FILE - is the standard output. A file
that exists is not overwritten.`,
		Example: "  seamark audit checkpoint monday.json --key auditor.nk\n  seamark audit verify --checkpoint monday.json",
		Args:    cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			var signer *chain.Signer
			if key != "" {
				var err error
				if signer, err = chain.ReadSigner(key); err != nil {
					return proc.Usage(fmt.Errorf("--key: %w", err))
				}
			}
			report, err := a.prove(command, chain.Options{Whole: true, ToEnd: true}, audit.Range{}, "")
			if err != nil {
				return err
			}
			told := report
			told.Faults = slices.DeleteFunc(slices.Clone(told.Faults), func(f chain.Fault) bool { return f.Sequence < report.First }) // of what is before no chain tells
			if !told.Intact() {
				return proc.Hint(errNotIntact, "seamark audit verify tells what is wrong; a checkpoint would only confirm it")
			}
			made, err := chain.MakeCheckpoint(report, time.Now(), signer)
			if err != nil {
				return err
			}
			text, err := made.Encode()
			if err != nil {
				return err
			}
			if args[0] == "-" {
				_, err := command.OutOrStdout().Write(text)
				return err
			}
			if err := writeNew(args[0], text); err != nil {
				return err
			}
			fmt.Fprintf(command.ErrOrStderr(), "%s states where %s stood, after %s\n", args[0], counted(len(made.Heads), "writer"), counted(int(report.Messages), "message"))
			return nil
		},
	}
	command.Flags().StringVar(&key, "key", "", "file with the seed of the NKey (or .creds) that signs")
	return command
}

// writeNew writes a file that must not exist, whole or not at all.
func writeNew(path string, text []byte) (err error) {
	draft, err := os.CreateTemp(filepath.Dir(path), ".seamark-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(draft.Name())) }()
	_, err = draft.Write(text)
	if err = errors.Join(err, draft.Sync(), draft.Close()); err != nil {
		return err
	}
	if err := os.Link(draft.Name(), path); err != nil {
		return proc.Hint(err, "a checkpoint is never overwritten: give another name")
	}
	return nil
}
