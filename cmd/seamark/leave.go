package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/seamark-mesh/seamark/cmd/internal/proc"
	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
)

func (c *commands) leave() *cobra.Command {
	var reason string
	var force bool
	command := &cobra.Command{
		Use: "leave CLUSTER", Short: "Take a cluster out of the mesh for good",
		Long: `Takes a cluster out of all answers until seamark join, and lets its agent withdraw
whatever its registry loses, without a brake: for a cluster that is being shut down.
Nothing on the stream is deleted.

It is refused when a service would have no answer then, or none but clusters that are
drained, unless --force.`,
		Example: "  seamark leave amber --reason \"moved to bronze\"",
		Args:    cobra.ExactArgs(1), ValidArgsFunction: c.completeClusters,
		RunE: func(command *cobra.Command, args []string) error {
			cluster, err := oneCluster(args[0])
			if err != nil {
				return err
			}
			if reason == "" {
				return proc.Usage(errors.New("--reason is missing: say why, for those who will ask"))
			}
			order := registry.Order{Kind: registry.OrderLeave, Target: string(cluster), By: c.author(), Reason: reason, Force: force}
			return c.withStream(command, func(ctx context.Context, conn *stream.Conn) error {
				if err := refuseEmptying(ctx, conn, target{cluster: cluster}, order); err != nil {
					return err
				}
				return c.give(ctx, command, conn, order)
			})
		},
	}
	command.Flags().StringVar(&reason, "reason", "", "why (required)")
	command.Flags().BoolVar(&force, "force", false, "even when services have no answer then")
	return command
}

func (c *commands) join() *cobra.Command {
	var reason string
	command := &cobra.Command{
		Use: "join CLUSTER", Short: "Take back a cluster that has left",
		Example: "  seamark join amber --reason \"it stays after all\"",
		Args:    cobra.ExactArgs(1), ValidArgsFunction: c.completeClusters,
		RunE: func(command *cobra.Command, args []string) error {
			cluster, err := oneCluster(args[0])
			if err != nil {
				return err
			}
			return c.withStream(command, func(ctx context.Context, conn *stream.Conn) error {
				o, _, found, err := conn.LastOrder(ctx, registry.OrderLeave, string(cluster))
				if err != nil {
					return err
				}
				if !found || o.Lifted {
					return proc.Hint(fmt.Errorf("%s has not left", cluster), "see seamark drains")
				}
				return c.give(ctx, command, conn, registry.Order{
					Kind: registry.OrderLeave, Target: string(cluster), By: c.author(), Reason: reason, Lifted: true,
				})
			})
		},
	}
	command.Flags().StringVar(&reason, "reason", "", "why")
	return command
}

func oneCluster(text string) (registry.ClusterID, error) {
	cluster, err := registry.ParseClusterID(text)
	if err != nil {
		return "", proc.Usage(fmt.Errorf("%q names no cluster: %w", text, err))
	}
	return cluster, nil
}
