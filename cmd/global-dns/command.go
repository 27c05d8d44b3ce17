package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/seamark-mesh/seamark/cmd/internal/config"
	"github.com/seamark-mesh/seamark/cmd/internal/proc"
)

const long = `
global-dns answers DNS for every service of the mesh. It reads what the agents (edge-sync) publish on NATS JetStream into
one registry, and answers with the addresses of the gateways of the clusters that can serve the name:

  <service>.<namespace>.svc.<zone>                 all clusters that can serve it
  <service>.<namespace>.<cluster>.cluster.<zone>   that cluster only

Run as many as you need: all replicas that have read the same stream give the same answers with the same serial.

The zone section of the configuration is only the seed of the zone record on the stream. Once a record stands there, it
is what counts for all replicas; change it with "seamark zone apply". SIGHUP, or a change of the configuration file,
compares the two again, and takes up what has changed in the dns section, except where it listens. All other fields need
a restart.`

const example = `
global-dns check --config global-dns.yaml
global-dns --config global-dns.yaml
global-dns --nats-url nats://127.0.0.1:4222 --dns-listen 127.0.0.1:5300
dig @127.0.0.1 -p 5300 orders.shop.svc.mesh.internal`

func newCommand(environ []string) *cobra.Command {
	return proc.NewCommand(proc.Daemon{
		Name:     "global-dns",
		Short:    "Answer DNS for every service of the mesh",
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
