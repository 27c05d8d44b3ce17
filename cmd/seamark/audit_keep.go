package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/seamark-mesh/seamark/audit"
	"github.com/seamark-mesh/seamark/audit/archive"
	"github.com/seamark-mesh/seamark/audit/export"
	"github.com/seamark-mesh/seamark/cmd/internal/auditing"
	"github.com/seamark-mesh/seamark/cmd/internal/config"
	"github.com/seamark-mesh/seamark/cmd/internal/proc"
	"github.com/seamark-mesh/seamark/registry"
)

// exportFormats are the formats of exports, as -o names them.
var exportFormats = map[auditFormat]export.Format{
	auditTable: export.JSONL, auditJSONL: export.JSONL, auditCloudEvents: export.CloudEvents, auditJSON: export.CloudBatch, auditCSV: export.CSV,
}

func (a *auditCommands) export() *cobra.Command {
	var since, until, cluster string
	command := &cobra.Command{
		Use: "export FILE", Short: "Write a part of the history to a file that can be looked at elsewhere",
		Long: `Writes messages as they are stored: as JSON Lines (-o jsonl, the default), as CloudEvents
one per line (-o cloudevents) or in one array (-o json), or for people as CSV (-o csv).
Every line has a checksum, and the last one a digest of the whole. All questions can be
asked of a jsonl or cloudevents export: --from-file FILE.

An export that was interrupted goes on where it ended when the same command is given
again. FILE - is the standard output.

` + timesHelp,
		Example: `  seamark audit export monday.jsonl --since 2026-03-02 --until 2026-03-03
  seamark audit export - --cluster amber --since "1h ago" -o cloudevents
  seamark audit at 14:02 default/checkout --from-file monday.jsonl`,
		Args: cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			o := export.Options{}
			var known bool
			if o.Format, known = exportFormats[a.output]; !known {
				return proc.Usage(errors.New("an export is jsonl, cloudevents, json (CloudEvents in one array) or csv"))
			}
			if cluster != "" {
				id, err := registry.ParseClusterID(cluster)
				if err != nil {
					return proc.Usage(fmt.Errorf("--cluster: %w", err))
				}
				o.Range.Filter = []string{"mesh.v1." + string(id) + ".>"}
			}
			ctx, stop := proc.Signals(command.Context())
			defer stop()
			var s export.Summary
			err := a.read(ctx, command, func(ctx context.Context, h audit.History) (err error) {
				if o.Range.From, o.Range.To, err = between(ctx, h, since, until); err != nil {
					return err
				}
				if args[0] == "-" {
					s, err = export.Write(ctx, command.OutOrStdout(), h, o)
				} else {
					s, err = export.WriteFile(ctx, args[0], h, o)
				}
				return err
			})
			switch {
			case errors.Is(err, export.ErrOther):
				return proc.Hint(err, "give another name, or the command by which the export was begun")
			case err != nil:
				return err
			}
			stderr := command.ErrOrStderr()
			if s.Resumed > 0 {
				fmt.Fprintf(stderr, "%s stood there already\n", counted(int(s.Resumed), "message"))
			}
			fmt.Fprintf(stderr, "%s, #%d to #%d, %s to %s, %d bytes, sha256 %s\n", counted(int(s.Messages), "message"), s.First, s.Last, moment(s.Begin), moment(s.End), s.Bytes, s.SHA256)
			return nil
		},
	}
	flags := command.Flags()
	flags.StringVar(&since, "since", "", "the first moment; default: the beginning")
	flags.StringVar(&until, "until", "", "the last moment; default: now")
	flags.StringVar(&cluster, "cluster", "", "only what this cluster's agents wrote")
	return command
}

// between finds the sequences of what was stored from since to until; 0 for what is not
// given.
func between(ctx context.Context, h audit.History, since, until string) (from, to uint64, err error) {
	d := auditing.Direct{History: h, Now: time.Now()}
	if until != "" {
		m, err := d.Moment(ctx, until)
		if err != nil {
			return 0, 0, err
		}
		to = m.Sequence
	}
	if since == "" {
		return 0, to, nil
	}
	when, err := d.When(since)
	if err != nil {
		return 0, 0, err
	}
	if from = when.Sequence; from == 0 {
		if from, err = h.SequenceAt(ctx, when.Time); err != nil {
			return 0, 0, err
		}
	}
	if to > 0 && from > to {
		return 0, 0, fmt.Errorf("nothing was stored between %s and %s", since, until)
	}
	return from, to, nil
}

func (a *auditCommands) imports() *cobra.Command {
	return &cobra.Command{
		Use: "import FILE", Short: "Check an export (exit 1 when it is damaged), and show what it holds and how to ask it",
		Long:    "Reads an export to its end, tells what of it is damaged, and shows what it holds. It copies\nnothing: every question can be asked of the file itself with --from-file.",
		Example: "  seamark audit import monday.jsonl",
		Args:    cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			if err := a.output.only(wholeFormats...); err != nil {
				return err
			}
			a.fromFile = args[0]
			h, err := a.open(command)
			if err != nil {
				return err
			}
			defer h.close()
			span, err := h.Span(command.Context())
			if err != nil {
				return err
			}
			err = a.output.print(command.OutOrStdout(), span, func(row func(...any)) {
				row("FIRST", "LAST", "BEGIN", "END")
				row(fmt.Sprintf("#%d", span.First), fmt.Sprintf("#%d", span.Last), moment(span.Begin), moment(span.End))
			}, func(row func(...any)) { row("ask it:  seamark audit log --from-file " + args[0]) })
			if damage := tellDamage(command, h); damage > 0 && err == nil {
				err = proc.Hint(errDamaged, "what can be read of it can be asked; take the rest from another copy, or export it again")
			}
			return err
		},
	}
}

// errDamaged says that a file is not as it was written.
var errDamaged = errors.New("the export is damaged")

func (a *auditCommands) keep() *cobra.Command {
	var (
		to, size string
		follow   bool
		o        archive.Options
	)
	command := &cobra.Command{
		Use: "archive", Short: "Keep the history on disk for longer than the stream does",
		Long: `Copies what the stream holds into the archive in a folder, as compressed segments that are
sealed by digest, and goes on where it ended the next time; with --follow it goes on with
what comes, until Ctrl-C. Nothing stands in it twice; what the stream had dropped before it
was archived is told as a gap. One process writes at a time; any number may read.

All questions can be asked of it with --archive DIR.`,
		Example: `  seamark audit archive --to /var/lib/seamark/archive
  seamark audit archive --to /var/lib/seamark/archive --follow --keep 26280h
  seamark audit log --archive /var/lib/seamark/archive --since 2026-01-01 --until 2026-01-02`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			if to == "" {
				return proc.Usage(errors.New("--to DIR is missing: where the archive is"))
			}
			var bytes config.Size
			if err := bytes.UnmarshalText([]byte(size)); err != nil {
				return proc.Usage(fmt.Errorf("--keep-bytes: %w", err))
			}
			o.RetentionBytes = int64(bytes)
			if err := a.output.only(wholeFormats...); err != nil {
				return err
			}
			ctx, stop := proc.Signals(command.Context())
			defer stop()
			w, err := archive.NewWriter(to, o)
			if err != nil {
				return err
			}
			err = a.read(ctx, command, func(ctx context.Context, h audit.History) error {
				if follow {
					return w.Follow(ctx, h)
				}
				return w.CatchUp(ctx, h, nil)
			})
			err = errors.Join(err, w.Close())
			if errors.Is(err, archive.ErrOtherStream) {
				err = proc.Hint(err, "give another folder; or --replaced when the mesh's stream was replaced and the archive is to go on")
			}
			return errors.Join(a.printArchive(command, w.Status()), err)
		},
	}
	flags := command.Flags()
	flags.StringVar(&to, "to", "", "folder of the archive; its parent must exist (required)")
	flags.BoolVar(&follow, "follow", false, "go on with what comes, until Ctrl-C")
	flags.DurationVar(&o.RetentionAge, "keep", 0, "drop segments that are older; 0s: none")
	flags.StringVar(&size, "keep-bytes", "0", "drop the oldest segments while all take more, as 10GiB; 0: none")
	flags.BoolVar(&o.Replaced, "replaced", false, "go on although the stream is another one than before")
	return command
}

func (a *auditCommands) printArchive(command *cobra.Command, s archive.Status) error {
	for _, fault := range s.Faults {
		fmt.Fprintf(command.ErrOrStderr(), "seamark: damaged: %v\n", fault)
	}
	for _, gap := range s.Gaps {
		fmt.Fprintf(command.ErrOrStderr(), "seamark: gap: %v\n", gap)
	}
	result := map[string]any{
		"first": s.First, "last": s.Last, "begin": s.Begin.UTC(), "end": s.End.UTC(), "taken": s.Taken, "segments": s.Segments, "bytes": s.Bytes, "gaps": len(s.Gaps),
	}
	return a.output.print(command.OutOrStdout(), result, func(row func(...any)) {
		row("FIRST", "LAST", "BEGIN", "END", "TAKEN NOW", "SEGMENTS", "BYTES", "GAPS")
		row(fmt.Sprintf("#%d", s.First), fmt.Sprintf("#%d", s.Last), moment(s.Begin), moment(s.End), s.Taken, s.Segments, s.Bytes, len(s.Gaps))
	})
}
