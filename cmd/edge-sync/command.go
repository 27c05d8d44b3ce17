package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/seamark-mesh/seamark/cmd/internal/config"
	"github.com/seamark-mesh/seamark/cmd/internal/proc"
)

const long = `
edge-sync is the agent of one cluster in the mesh. It watches the cluster's service registry (Consul, Nacos, or a YAML
file) and publishes every change on NATS JetStream, where each global-dns turns it into DNS answers. Answers are the
addresses of the cluster's gateways, which the configuration names.

Run one agent for each cluster, and a second one with the same configuration as a warm standby if you like: only one
of them publishes at a time. Stopping an agent withdraws nothing; what it has published stands.

SIGHUP, or a change of the configuration file, makes it read region, zone, labels, gateways and export anew. A new file
with faults is refused and the old settings stay. All other fields need a restart.`

const example = `
edge-sync check --config edge-sync.yaml
edge-sync --config edge-sync.yaml
edge-sync --cluster amber --source-file-path catalog.yaml --nats-url nats://127.0.0.1:4222
SEAMARK_NATS_URL=nats://10.0.0.5:4222 edge-sync --config edge-sync.yaml --log-level debug`

func newCommand(environ []string) *cobra.Command {
	return proc.NewCommand(proc.Daemon{
		Name:     "edge-sync",
		Short:    "Publish what one cluster's registry says to the mesh",
		Long:     long,
		Example:  example,
		AddFlags: AddFlags,
		Check:    check,
		Run:      start,
	}, environ)
}

// check returns all that is wrong with the configuration.
func check(in proc.Input, files bool) []config.Fault {
	c, faults := Load(in.Path, in.Environ, in.Flags)
	if files {
		faults = append(faults, c.CheckFiles()...)
	}
	return faults
}

func start(ctx context.Context, p *proc.Process) error {
	c, faults := Load(p.Path, p.Environ, p.Flags)
	if len(faults) > 0 {
		return proc.Faults(faults)
	}
	return run(ctx, c, p)
}
