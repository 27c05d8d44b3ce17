package proc

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/seamark-mesh/seamark/cmd/internal/config"
	"github.com/seamark-mesh/seamark/sync/file"
)

// Daemon describes a daemon's command.
type Daemon struct {
	Name    string
	Short   string // one line
	Long    string // what it does, for someone who sees it first
	Example string
	// AddFlags declares the flags of the configuration.
	AddFlags func(*pflag.FlagSet)
	// Check reads the configuration and returns all that is wrong with it; with
	// files, also which of the files it names can't be read on this machine.
	Check func(in Input, files bool) []config.Fault
	// Run runs the daemon until ctx ends. It reads the configuration, which was
	// checked, for itself.
	Run func(ctx context.Context, p *Process) error
}

// Input is where a configuration comes from.
type Input struct {
	Path    string   // of the file; "" = none
	Environ []string // as [os.Environ] gives it
	Flags   *pflag.FlagSet
}

// Process is what a daemon's wiring needs from around it.
type Process struct {
	Input
	Logger *slog.Logger
	Stdout io.Writer

	hangup chan os.Signal
}

// Reloads calls reload, from one goroutine, when SIGHUP arrives or the
// configuration file may have changed; why says which, for the log. It is called
// once at the start, so that no change after the first reading is missed; a
// configuration equal to the one that runs is nothing to reload. Reloads blocks
// until ctx ends and returns its cause.
func (p *Process) Reloads(ctx context.Context, reload func(why string)) error {
	inner, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	changed, watched := make(chan struct{}, 1), make(chan struct{})
	go func() {
		defer close(watched)
		if p.Path == "" {
			return
		}
		_ = file.Changes(inner, p.Path, p.Logger, func() { // its error is the cause of inner's end
			select {
			case changed <- struct{}{}:
			default: // one is under way already
			}
		})
	}()
	defer func() {
		cancel(nil)
		<-watched
	}()
	settle := time.NewTimer(time.Hour)
	defer settle.Stop()
	settle.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-p.hangup:
			reload("SIGHUP")
		case <-changed:
			settle.Reset(written)
		case <-settle.C:
			reload("file")
		}
	}
}

// written is how long a configuration file must rest before it is read again: the
// first half of one may well be valid, and without gateways.
const written = 250 * time.Millisecond

// options are the settings that are no part of the configuration file.
type options struct {
	Config config.Path `yaml:"config" help:"configuration file (YAML)"`
	Log    LogOptions  `yaml:"log"`
}

const everyField = `
Every setting that is one value, or a list of them, can be given in four places. The stronger overrides the weaker:
a flag (--nats-credentials FILE), an environment variable (SEAMARK_NATS_CREDENTIALS=FILE), the configuration file
(nats: {credentials: FILE}), the default. Lists are separated by commas. Secrets are read from files and from the
environment, never from flags.`

// NewCommand returns the command of a daemon: it runs with --config FILE, and has
// the commands check, health and completion. Environ is as [os.Environ] gives it.
func NewCommand(d Daemon, environ []string) *cobra.Command {
	root := &cobra.Command{
		Use:     d.Name,
		Short:   d.Short,
		Long:    strings.TrimSpace(d.Long) + "\n" + everyField,
		Example: indent(d.Example),
		Args:    cobra.NoArgs,
	}
	persistent := root.PersistentFlags()
	config.AddFlags(persistent, &options{})
	d.AddFlags(persistent)
	root.RunE = func(cmd *cobra.Command, _ []string) error {
		in, logger, err := start(cmd, environ)
		if err != nil {
			return err
		}
		if faults := d.Check(in, true); len(faults) > 0 {
			return Faults(faults)
		}
		ctx, stop := Signals(cmd.Context())
		defer stop()
		hangup := make(chan os.Signal, 1)
		signal.Notify(hangup, syscall.SIGHUP)
		defer signal.Stop(hangup)
		p := &Process{Input: in, Logger: logger, Stdout: cmd.OutOrStdout(), hangup: hangup}
		logger.Info("starting", "command", d.Name, "version", Version(), "config", in.Path)
		if err := d.Run(ctx, p); err != nil {
			return err
		}
		logger.Info("ended", "cause", context.Cause(ctx))
		return nil
	}
	root.AddCommand(checkCommand(d, environ), healthCommand(d, environ))
	return Prepare(root)
}

func checkCommand(d Daemon, environ []string) *cobra.Command {
	var skipFiles bool
	check := &cobra.Command{
		Use:   "check",
		Short: "Check the configuration and tell all its faults",
		Long: `Check reads the configuration as the daemon would (file, environment, flags) and tells all that is wrong with it, each
fault with its place, field, what is wrong and what would be right. It connects to nothing. It exits with 0 when there
is no fault, else with 2.`,
		Example: indent(d.Name + " check --config " + d.Name + ".yaml"),
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			in, _, err := start(cmd, environ)
			if err != nil {
				return err
			}
			if faults := d.Check(in, !skipFiles); len(faults) > 0 {
				return Faults(faults)
			}
			name := in.Path
			if name == "" {
				name = "the configuration"
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: no faults\n", name)
			return err
		},
	}
	check.Flags().BoolVar(&skipFiles, "skip-files", false, "do not look whether the files that the configuration names can be read on this machine")
	return check
}

// start reads the options that come before the configuration.
func start(cmd *cobra.Command, environ []string) (Input, *slog.Logger, error) {
	var o options
	if faults := config.Load(&o, "", environ, cmd.Flags()).Faults(); len(faults) > 0 {
		return Input{}, nil, Faults(faults)
	}
	logger, err := NewLogger(cmd.ErrOrStderr(), o.Log)
	if err != nil {
		return Input{}, nil, Usage(err)
	}
	return Input{Path: string(o.Config), Environ: environ, Flags: cmd.Flags()}, logger, nil
}

// Prepare gives a command what all commands of the product have in common:
// --version, and silence about errors, which [Execute] tells. It returns root.
func Prepare(root *cobra.Command) *cobra.Command {
	root.Version = versionLine()
	root.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	root.SilenceErrors, root.SilenceUsage = true, true
	root.InitDefaultVersionFlag()
	if f := root.Flags().Lookup("version"); f != nil {
		f.Usage, f.Shorthand = "print the version", ""
	}
	return root
}

// Execute runs a command made with [Prepare] and returns the exit code. Errors are
// told on stderr; those before the command itself began are faults of usage.
func Execute(ctx context.Context, root *cobra.Command, args []string, stdout, stderr io.Writer) int {
	begun := false
	var mark func(*cobra.Command)
	mark = func(c *cobra.Command) {
		if run := c.RunE; run != nil {
			c.RunE = func(c *cobra.Command, args []string) error {
				begun = true
				return run(c, args)
			}
		}
		for _, child := range c.Commands() {
			mark(child)
		}
	}
	mark(root)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err != nil && !begun {
		err = Usage(err)
	}
	Complain(stderr, root.Name(), err)
	return ExitCode(err)
}

func indent(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n  ")
}
