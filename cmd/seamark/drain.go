package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/seamark-mesh/seamark/cmd/internal/proc"
	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
)

// named is how many services are named before they are only counted.
const named = 5

func (c *commands) drain() *cobra.Command {
	var (
		lasts, failback time.Duration
		reason          string
		force           bool
	)
	command := &cobra.Command{
		Use: "drain CLUSTER|CLUSTER/GATEWAY|NAMESPACE/NAME@CLUSTER", Short: "Take a cluster, a gateway or a service out of the answers for a time",
		Long: `Takes a cluster, one of its gateways, or one service there out of the answers of all
replicas, by an order on the stream that says who, why and until when. It ends by
itself after --for, and --failback later, so that what comes back has settled.

It is refused when a service would have no answer then, or none but clusters that are
drained themselves. With --force it is not; and a drain that was not forced never
empties a service later either: when no other cluster can serve, the drained one is
answered with again.`,
		Example: "  seamark drain amber --for 30m --reason \"kernel update\"\n" +
			"  seamark drain amber/gw-1 --for 10m --reason \"new certificate\"\n" +
			"  seamark drain shop/checkout@amber --for 1h --reason \"bad release\" --failback 2m",
		Args: cobra.ExactArgs(1), ValidArgsFunction: c.completeClusters,
		RunE: func(command *cobra.Command, args []string) error {
			t, err := parseTarget(args[0])
			if err != nil {
				return err
			}
			order := registry.Order{
				Kind: registry.OrderDrain, Target: t.order(), By: c.author(), Reason: reason,
				For: int(lasts / time.Second), Failback: int(failback / time.Second), Force: force,
			}
			if err := checkTimes(lasts, failback); err != nil {
				return err
			}
			if reason == "" {
				return proc.Usage(errors.New("--reason is missing: say why, for those who will ask"))
			}
			return c.withStream(command, func(ctx context.Context, conn *stream.Conn) error {
				if err := refuseEmptying(ctx, conn, t, order); err != nil {
					return err
				}
				return c.give(ctx, command, conn, order)
			})
		},
	}
	flags := command.Flags()
	flags.DurationVar(&lasts, "for", 30*time.Minute, "how long; 0s: until seamark undrain")
	flags.DurationVar(&failback, "failback", 30*time.Second, "how much longer it stands after its end")
	flags.StringVar(&reason, "reason", "", "why (required)")
	flags.BoolVar(&force, "force", false, "even when services have no answer then")
	return command
}

func checkTimes(lasts, failback time.Duration) error {
	check := func(flag string, d time.Duration, most int) error {
		if d < 0 || d%time.Second != 0 || d > time.Duration(most)*time.Second {
			return proc.Usage(fmt.Errorf("--%s %v is not a number of whole seconds up to %v", flag, d, time.Duration(most)*time.Second))
		}
		return nil
	}
	if err := check("for", lasts, registry.MaxDrain); err != nil {
		return err
	}
	return check("failback", failback, registry.MaxFailback)
}

// withStream gives a connection to what reads or changes the stream, for two minutes at most.
func (c *commands) withStream(command *cobra.Command, f func(context.Context, *stream.Conn) error) error {
	conn, err := c.connect(command.Context())
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(command.Context(), 2*time.Minute)
	defer cancel()
	return f(ctx, conn)
}

// refuseEmptying refuses an order about something that is unknown, or by which services
// would lose their last answer, unless that is forced.
func refuseEmptying(ctx context.Context, conn *stream.Conn, t target, order registry.Order) error {
	stronger := order // a drain that is not forced would give way
	stronger.Force = true
	before, after, err := with(ctx, conn, stronger)
	if err != nil {
		return err
	}
	if err := t.check(before); err != nil && !order.Force {
		return proc.Hint(err, "--force gives the order all the same: replicas may know it from before the stream was lost")
	}
	if lost := emptied(before, after); len(lost) > 0 && !order.Force {
		return proc.Hint(fmt.Errorf("without %s %s no answer: %s", t, plural(len(lost), "service has", "services have"), someOf(lost, named)),
			"no other cluster can serve them now, or only one that is drained itself; --force does it all the same")
	}
	return nil
}

func plural(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprint(n, " ", more)
}

// given is what is printed of an order.
type given struct {
	Kind     string     `json:"kind"`
	Target   string     `json:"target"`
	By       string     `json:"by"`
	Reason   string     `json:"reason,omitempty"`
	Since    *time.Time `json:"since,omitempty"`
	Ends     *time.Time `json:"ends,omitempty"` // by the stream's clock; absent: until somebody ends it
	State    string     `json:"state"`
	Forced   bool       `json:"forced,omitempty"`
	Sequence uint64     `json:"sequence"`
}

// give stores an order and prints it.
func (c *commands) give(ctx context.Context, command *cobra.Command, conn *stream.Conn, o registry.Order) error {
	now, err := conn.Now(ctx)
	if err != nil {
		return err
	}
	sequence, err := conn.PutOrder(ctx, o, o.By, registry.CauseChange, stream.AnySequence)
	if err != nil {
		return err
	}
	g := shown(registry.StandingOrder{Order: o, Sequence: sequence, Stored: now}, now)
	return c.output.print(command.OutOrStdout(), g, func(row func(...any)) { orderRows([]given{g}, row) })
}

// shown describes an order at a moment of the stream's clock.
func shown(o registry.StandingOrder, now time.Time) given {
	g := given{
		Kind: o.Kind, Target: shownTarget(o.Target), By: o.By, Reason: o.Reason, Sequence: o.Sequence, Forced: o.Force,
		Since: &o.Stored,
	}
	ends, known := o.Ends()
	if known && o.Kind == registry.OrderDrain && !o.Lifted {
		g.Ends = &ends
	}
	switch {
	case o.Lifted && o.Kind == registry.OrderLeave:
		g.State = "joined"
	case o.Lifted:
		g.State = "lifted"
	case o.Kind == registry.OrderLeave:
		g.State = "left"
	case known && !now.Before(ends):
		g.State = "over, to be lifted by the observer"
	case o.Ending:
		g.State = "ending"
	default:
		g.State = "drained"
	}
	return g
}

func orderRows(all []given, row func(...any)) {
	row("TARGET", "STATE", "BY", "REASON", "SINCE", "ENDS")
	for _, g := range all {
		ends := "when somebody says so"
		switch {
		case g.Ends != nil:
			ends = g.Ends.UTC().Format(time.RFC3339)
		case g.State == "lifted" || g.State == "joined":
			ends = "now"
		}
		row(g.Target, g.State, g.By, g.Reason, g.Since.UTC().Format(time.RFC3339), ends)
	}
}

func (c *commands) undrain() *cobra.Command {
	var at bool
	var reason string
	command := &cobra.Command{
		Use: "undrain CLUSTER|CLUSTER/GATEWAY|NAMESPACE/NAME@CLUSTER", Short: "End a drain",
		Long: "Asks for the end of a drain: the observer lifts it when its failback is over. With --now, or where it\n" +
			"has no failback, it is lifted at once.",
		Example: "  seamark undrain amber\n  seamark undrain shop/checkout@amber --now",
		Args:    cobra.ExactArgs(1), ValidArgsFunction: c.completeClusters,
		RunE: func(command *cobra.Command, args []string) error {
			t, err := parseTarget(args[0])
			if err != nil {
				return err
			}
			return c.withStream(command, func(ctx context.Context, conn *stream.Conn) error {
				o, _, found, err := conn.LastOrder(ctx, registry.OrderDrain, t.order())
				if err != nil {
					return err
				}
				if !found || o.Lifted {
					return proc.Hint(fmt.Errorf("%s is not drained", t), "see seamark drains")
				}
				o.By, o.Reason, o.Since, o.For = c.author(), reason, time.Time{}, 0
				o.Ending, o.Lifted = true, at || o.Failback == 0
				return c.give(ctx, command, conn, o)
			})
		},
	}
	command.Flags().BoolVar(&at, "now", false, "lift it at once, without its failback")
	command.Flags().StringVar(&reason, "reason", "", "why")
	return command
}

func (c *commands) drains() *cobra.Command {
	return &cobra.Command{
		Use: "drains", Short: "List the drains, and the clusters that have left", Args: cobra.NoArgs,
		Long:    "Lists what is out of the answers by order: who ordered it, why, since when, and when it ends by the\nclock of the stream.",
		Example: "  seamark drains\n  seamark drains -o json",
		RunE: func(command *cobra.Command, _ []string) error {
			return c.withStream(command, func(ctx context.Context, conn *stream.Conn) error {
				fold, _, err := readFold(ctx, conn, "mesh.v1."+string(registry.Operator)+".order.>")
				if err != nil {
					return err
				}
				now, err := conn.Now(ctx)
				if err != nil {
					return err
				}
				all := []given{}
				for _, o := range fold.View().Orders() {
					all = append(all, shown(*o, now))
				}
				return c.output.print(command.OutOrStdout(), map[string]any{"drains": all}, func(row func(...any)) { orderRows(all, row) })
			})
		},
	}
}

// completeClusters completes a cluster's name.
func (c *commands) completeClusters(command *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	var reply clustersReply
	if len(args) > 0 || c.client().get(command.Context(), "/v1/clusters", nil, &reply) != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	names := make([]string, 0, len(reply.Clusters))
	for _, s := range reply.Clusters {
		names = append(names, s.Cluster)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
