package main

import (
	"cmp"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seamark-mesh/seamark/cmd/internal/demo"
	"github.com/seamark-mesh/seamark/cmd/internal/proc"
)

// commands holds what the commands share: the flags that all of them take.
type commands struct {
	environment []string
	server      string
	output      format
	nats        string
	credentials string
	signingKey  string
	by          string
}

func (c *commands) client() client { return client{server: c.server} }

// environ returns a variable of the environment; "" when it is not set.
func (c *commands) environ(name string) string {
	for _, entry := range c.environment {
		if value, ok := strings.CutPrefix(entry, name+"="); ok {
			return value
		}
	}
	return ""
}

// newCommand returns the command seamark with all its subcommands.
func newCommand(environment []string) *cobra.Command {
	c := &commands{environment: environment, output: asTable}
	root := &cobra.Command{
		Use:   "seamark",
		Short: "Look into a Seamark mesh, and change what operators may change",
		Long: `Seamark joins the service registries of many clusters into one DNS zone. In every
cluster edge-sync publishes what the registry says; global-dns answers with the
gateways of the clusters that can serve a name.

This command shows what the mesh knows (by HTTP from a global-dns, --server) and
changes what operators may change (on NATS, --nats), so that every change has an
author and a place in the history.

New here? "seamark demo" runs three clusters on this machine and shows what happens.`,
		Example: `  seamark demo
  seamark clusters --server http://127.0.0.1:8080
  seamark resolve checkout.svc.mesh.internal
  seamark services default/checkout -o json`,
	}
	flags := root.PersistentFlags()
	flags.StringVar(&c.server, "server", cmp.Or(c.environ("SEAMARK_SERVER"), "http://127.0.0.1:8080"), "URL of a global-dns (or SEAMARK_SERVER)")
	flags.VarP(&c.output, "output", "o", "format of what is printed")
	flags.StringVar(&c.nats, "nats", cmp.Or(c.environ("SEAMARK_NATS_URL"), "nats://127.0.0.1:4222"), "URL of NATS, for what reads or changes the stream (or SEAMARK_NATS_URL)")
	flags.StringVar(&c.credentials, "credentials", c.environ("SEAMARK_NATS_CREDENTIALS"), "file with the operator's NATS credentials (or SEAMARK_NATS_CREDENTIALS)")
	flags.StringVar(&c.signingKey, "signing-key", c.environ("SEAMARK_SIGNING_KEY"), "file with the seed of an NKey, or NATS credentials: changes are signed with it (or SEAMARK_SIGNING_KEY)")
	flags.StringVar(&c.by, "by", c.environ("SEAMARK_BY"), "who makes a change, for the history (default: user@host)")
	root.AddCommand(c.status(), c.clusters(), c.services(), c.resolve(), c.streams(), c.zone(), c.doctor(), c.demo(), c.version())
	root.AddCommand(c.audit(), c.drain(), c.undrain(), c.drains(), c.leave(), c.join(), c.brake())
	return proc.Prepare(root)
}

func (c *commands) version() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			v := map[string]string{"version": proc.Version()}
			return c.output.print(command.OutOrStdout(), v, func(row func(...any)) { row("seamark", v["version"]) })
		},
	}
}

func (c *commands) demo() *cobra.Command {
	options := demo.Options{}
	command := &cobra.Command{
		Use: "demo", Short: "Run three clusters on this machine and show what happens",
		Long: `Runs an embedded NATS server, a global-dns, and three clusters (amber, bronze and
cobalt), each with an agent, a catalogue file, HTTP instances and a gateway; all
on loopback. A tour shows, measured and checked, how a service appears, moves and
vanishes in DNS. Then the mesh stays up for you to try; Ctrl-C ends it and leaves
nothing but --dir.`,
		Example: "  seamark demo\n  seamark demo --tour      # end after the tour; exit 1 if a step failed\n  seamark demo --dns 127.0.0.1:5353 --dir /tmp/seamark",
		Args:    cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			var err error
			if options.Dir, err = filepath.Abs(options.Dir); err != nil {
				return err
			}
			if options.EdgeSync, err = sibling("edge-sync"); err != nil {
				return err
			}
			if options.GlobalDNS, err = sibling("global-dns"); err != nil {
				return err
			}
			options.Out = command.OutOrStdout()
			options.Logger = slog.New(slog.NewTextHandler(command.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn}))
			ctx, stop := proc.Signals(command.Context())
			defer stop()
			return demo.Run(ctx, options)
		},
	}
	flags := command.Flags()
	flags.StringVar(&options.Dir, "dir", "seamark-demo", "folder for catalogues, configurations, logs and the stream")
	flags.StringVar(&options.DNS, "dns", "127.0.0.1:5300", "address for DNS")
	flags.StringVar(&options.HTTP, "http", "127.0.0.1:8080", "address for the HTTP API")
	flags.StringVar(&options.NATS, "nats", "127.0.0.1:4222", "address for the embedded NATS server")
	flags.BoolVar(&options.TourOnly, "tour", false, "end after the tour")
	return command
}

func compareText(a, b string) int { return strings.Compare(a, b) }

// sibling finds a daemon's program: beside this one, or on the path.
func sibling(name string) (string, error) {
	self, err := os.Executable()
	if err == nil {
		beside := filepath.Join(filepath.Dir(self), name)
		if info, err := os.Stat(beside); err == nil && info.Mode().IsRegular() {
			return beside, nil
		}
	}
	path, err := exec.LookPath(name)
	return path, proc.Hint(err, "the demo runs the real daemons: build all programs into one folder with make build")
}
