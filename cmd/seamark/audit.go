package main

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"github.com/seamark-mesh/seamark/audit"
	"github.com/seamark-mesh/seamark/audit/archive"
	"github.com/seamark-mesh/seamark/audit/chain"
	"github.com/seamark-mesh/seamark/audit/export"
	"github.com/seamark-mesh/seamark/cmd/internal/auditing"
	"github.com/seamark-mesh/seamark/cmd/internal/proc"
)

// auditCommands are the commands that ask the history, and what they share.
type auditCommands struct {
	*commands
	output   auditFormat
	fromFile string
	archive  string
	keys     string // of questions that are to refuse what nobody signed who may
}

const timesHelp = `Points of time are written as 2026-03-01T14:02:00Z, "2026-03-01 14:02", 14:02 (the last
time that it was so late here), "yesterday 14:02", "2h ago", "90s ago", now, or as the
sequence of a message: #912.`

func (c *commands) audit() *cobra.Command {
	a := &auditCommands{commands: c, output: auditTable}
	parent := &cobra.Command{
		Use: "audit", Short: "Ask the history: who changed what, what stood and what was answered at any moment",
		Long: `The stream of events is the history of the mesh. These commands ask it, and change
nothing.

log, at, diff, blame and resolve ask a global-dns by HTTP (--server), unless --nats (or
SEAMARK_NATS_URL without --server) says to read the stream itself, as all the others do:
they read much. With --archive they read an archive, together with the stream when --nats
is given too; with --from-file an export, without any connection.

` + timesHelp,
		Example: `  seamark audit log --service default/checkout --since "2h ago"
  seamark audit at 14:02 default/checkout
  seamark audit diff 14:00 14:10
  seamark audit resolve --at 14:02 checkout.svc.mesh.internal
  seamark audit blame default/checkout`,
	}
	flags := parent.PersistentFlags()
	flags.VarP(&a.output, "output", "o", "format of what is printed")
	flags.StringVar(&a.fromFile, "from-file", "", "read this export instead of the stream")
	flags.StringVar(&a.archive, "archive", "", "read the archive in this folder; with --nats, both as one")
	for _, question := range []*cobra.Command{a.log(), a.at(), a.diff(), a.blame(), a.resolve(), a.replay(), a.incident()} {
		parent.AddCommand(a.checked(question))
	}
	parent.AddCommand(a.verify(), a.checkpoint(), a.export(), a.imports(), a.keep())
	return parent
}

// checked gives a command the flag that makes it refuse what nobody signed who may.
func (a *auditCommands) checked(command *cobra.Command) *cobra.Command {
	command.Flags().StringVar(&a.keys, "keys", "", "refuse what is not signed by a key that this file names for its writer, as servers do with verify.policy: refuse")
	return command
}

// direct tells whether a question is asked of the history itself, and not by HTTP.
func (a *auditCommands) direct(command *cobra.Command) bool {
	if flags := command.Flags(); flags.Changed("server") && !flags.Changed("nats") && a.fromFile == "" && a.archive == "" {
		return false
	}
	return a.fromFile != "" || a.archive != "" || a.reachesStream(command)
}

// reachesStream tells whether NATS was named.
func (a *auditCommands) reachesStream(command *cobra.Command) bool {
	f := command.Flags().Lookup("nats")
	return f != nil && f.Changed || a.environ("SEAMARK_NATS_URL") != ""
}

// opened is a history that can be read, and how to end that.
type opened struct {
	audit.History
	faults func() []error // what was found damaged so far
	close  func()
}

// open opens what the flags name: an export, an archive, the stream, or the last two.
func (a *auditCommands) open(command *cobra.Command) (opened, error) {
	none := func() []error { return nil }
	switch {
	case a.fromFile != "" && (a.archive != "" || command.Flags().Changed("nats")):
		return opened{}, proc.Usage(errors.New("--from-file is read by itself: leave out --archive and --nats"))
	case a.fromFile != "":
		f, err := export.Open(command.Context(), a.fromFile)
		if err != nil {
			return opened{}, proc.Hint(err, "seamark audit export writes such a file, as jsonl or cloudevents")
		}
		return opened{f, f.Faults, func() { _ = f.Close() }}, nil
	case a.archive != "":
		kept, err := archive.Open(a.archive)
		if err != nil {
			return opened{}, proc.Hint(err, "seamark audit archive --to DIR makes one")
		}
		closeBoth := func() { _ = kept.Close() }
		if !a.reachesStream(command) {
			return opened{kept, kept.Faults, closeBoth}, nil
		}
		conn, err := a.connect(command.Context())
		if err != nil {
			closeBoth()
			return opened{}, err
		}
		return opened{archive.Join(kept, audit.OfStream(conn)), kept.Faults, func() { conn.Close(); closeBoth() }}, nil
	}
	conn, err := a.connect(command.Context())
	if err != nil {
		return opened{}, err
	}
	return opened{audit.OfStream(conn), none, conn.Close}, nil
}

// errInterrupted is how long work ends by Ctrl-C.
var errInterrupted = errors.New("interrupted")

// ask gives f who answers questions: a global-dns, or the history that the flags name.
func (a *auditCommands) ask(command *cobra.Command, f func(context.Context, auditing.Asker) error) error {
	ctx, stop := proc.Signals(command.Context())
	defer stop()
	if !a.direct(command) {
		if a.keys != "" {
			return proc.Usage(errors.New("--keys is for who reads the history itself (--nats, --archive or --from-file): a global-dns goes by its own verify.policy"))
		}
		return advised(f(ctx, remote{a.client(), time.Now()}))
	}
	return a.read(ctx, command, func(ctx context.Context, h audit.History) error {
		return f(ctx, auditing.Direct{History: h, Now: time.Now()})
	})
}

// read gives f the history that the flags name, shows on a terminal how much was read, and
// tells afterwards what of it was damaged.
func (a *auditCommands) read(ctx context.Context, command *cobra.Command, f func(context.Context, audit.History) error) error {
	var keys *chain.Keys
	if a.keys != "" {
		var err error
		if keys, err = chain.ReadKeys(a.keys); err != nil {
			return proc.Usage(fmt.Errorf("--keys: %w", err))
		}
	}
	a.collectSeldom()
	h, err := a.open(command)
	if err != nil {
		return err
	}
	defer h.close()
	told := h.History
	if keys != nil {
		told = audit.Checked(told, keys.Check)
	}
	line := newStatusLine(command.ErrOrStderr())
	if line.terminal {
		told = audit.Watched(told, func(p audit.Progress) { line.show(fmt.Sprintf("%d messages read, at #%d", p.Read, p.Sequence)) })
	}
	err = f(ctx, told)
	line.clear()
	var signal proc.SignalError
	if err != nil && ctx.Err() != nil && errors.As(context.Cause(ctx), &signal) {
		err = errInterrupted
	}
	tellDamage(command, h)
	return advised(err)
}

// tellDamage tells what was found damaged of a history, and how much that is.
func tellDamage(command *cobra.Command, h opened) int {
	faults := h.faults()
	for _, fault := range faults {
		fmt.Fprintf(command.ErrOrStderr(), "seamark: damaged: %v\n", fault)
	}
	return len(faults)
}

// What reading a long history may take in memory before garbage is collected as often as usual.
const (
	seldomPercent = 400
	seldomLimit   = 400 << 20 // bytes
)

// collectSeldom makes the runtime collect garbage less often than it does: reading makes
// much and keeps little, and collecting it was a quarter of the time. Who sets GOGC or
// GOMEMLIMIT decides.
func (a *auditCommands) collectSeldom() {
	if a.environ("GOGC") == "" && a.environ("GOMEMLIMIT") == "" {
		debug.SetGCPercent(seldomPercent)
		debug.SetMemoryLimit(seldomLimit)
	}
}

// advised adds to an error what to do next.
func advised(err error) error {
	var early *audit.TooEarlyError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &early):
		return proc.Hint(err, "ask for a later moment, or with --archive DIR where the history was archived")
	case errors.Is(err, auditing.ErrUnknown):
		return proc.Hint(err, "seamark audit log --service NAMESPACE/NAME shows when it was")
	case auditing.IsQuestion(err):
		return proc.Usage(err)
	}
	return err
}
