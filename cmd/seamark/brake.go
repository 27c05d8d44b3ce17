package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/seamark-mesh/seamark/cmd/internal/proc"
	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
)

// heldBack is a mass withdrawal as it is printed.
type heldBack struct {
	Cluster     registry.ClusterID  `json:"cluster"`
	ID          string              `json:"id"`
	State       registry.BrakeState `json:"state"`
	Services    int                 `json:"services"`
	OfServices  int                 `json:"of_services"`
	Instances   int                 `json:"instances"`
	OfInstances int                 `json:"of_instances"`
	Since       time.Time           `json:"since"`
	Until       *time.Time          `json:"until,omitempty"` // absent: it does not pass by itself
	By          string              `json:"by,omitempty"`
	Reason      string              `json:"reason,omitempty"`
	Names       []string            `json:"names"` // the first few services
	Text        string              `json:"text"`
}

func heldBackBy(m registry.Message) (h heldBack, ok bool) {
	if m.Event == nil || m.Event.Note == nil {
		return h, false
	}
	b, err := registry.ParseBrake(*m.Event.Note)
	if err != nil {
		return h, false
	}
	cluster, _ := m.Fact.Writer.Cluster()
	h = heldBack{
		Cluster: cluster, ID: b.ID, State: b.State, Services: b.Services, OfServices: b.OfServices, Instances: b.Instances, OfInstances: b.OfInstances,
		Since: b.Since, By: b.By, Reason: b.Reason, Names: b.Names, Text: m.Event.Note.Text,
	}
	if !b.Until.IsZero() && b.State == registry.BrakeHeld {
		h.Until = &b.Until
	}
	return h, true
}

func (c *commands) brake() *cobra.Command {
	parent := &cobra.Command{
		Use: "brake", Short: "Show or decide what agents hold back because it is much at once",
		Long: `When more than 30 % of a cluster's services or instances (and ten of them at least) are
deregistered within a minute, its agent holds that back: what was known goes on to be
answered with, until the registry has it again, somebody decides, or a time is up.

Approve withdraws what is held now. Reject keeps it until the registry has it again,
or somebody approves it after all.`,
		Example: "  seamark brake list\n  seamark brake approve amber\n  seamark brake reject amber --reason \"Consul lost its data\"",
	}
	var all bool
	list := &cobra.Command{
		Use: "list", Short: "List what is held back in all clusters", Args: cobra.NoArgs,
		Example: "  seamark brake list\n  seamark brake list --all -o json",
		RunE: func(command *cobra.Command, _ []string) error {
			return c.withStream(command, func(ctx context.Context, conn *stream.Conn) error {
				found, err := brakes(ctx, conn)
				if err != nil {
					return err
				}
				if !all {
					found = slices.DeleteFunc(found, func(h heldBack) bool { return !h.State.Open() })
				}
				return c.output.print(command.OutOrStdout(), map[string]any{"brakes": found}, func(row func(...any)) { brakeRows(found, row) })
			})
		},
	}
	list.Flags().BoolVar(&all, "all", false, "also the last one of each cluster that is decided")
	parent.AddCommand(list,
		c.decide(registry.Approve, "Withdraw what is held back"),
		c.decide(registry.Reject, "Keep what is held back until the registry has it again"))
	return parent
}

// brakes reads the last word of each cluster about its brake, sorted by cluster.
func brakes(ctx context.Context, conn *stream.Conn) ([]heldBack, error) {
	last := map[registry.Writer]heldBack{}
	err := conn.Read(ctx, stream.StartAt{Filter: []string{"mesh.v1.*.note." + registry.NoteBrake}}, func(b stream.Batch) error {
		for _, m := range b.Messages {
			if h, ok := heldBackBy(m); ok {
				last[m.Fact.Writer] = h
			}
		}
		if b.CaughtUp {
			return errRead
		}
		return nil
	})
	if !errors.Is(err, errRead) {
		return nil, fmt.Errorf("the stream can't be read: %w", err)
	}
	all := make([]heldBack, 0, len(last))
	for _, h := range last {
		all = append(all, h)
	}
	slices.SortFunc(all, func(a, b heldBack) int { return compareText(string(a.Cluster), string(b.Cluster)) })
	return all, nil
}

func brakeRows(all []heldBack, row func(...any)) {
	if len(all) == 0 {
		row("nothing is held back")
		return
	}
	row("CLUSTER", "ID", "STATE", "SERVICES", "INSTANCES", "SINCE", "PASSES", "AMONG THEM")
	for _, h := range all {
		passes := "never by itself"
		if h.Until != nil {
			passes = h.Until.UTC().Format(time.RFC3339)
		}
		if !h.State.Open() {
			passes = ""
		}
		names := slices.Clone(h.Names)
		if rest := h.Services - len(names); rest > 0 && len(names) > 3 {
			names, rest = names[:3], h.Services-3
			names = append(names, fmt.Sprintf("%d more", rest))
		}
		row(h.Cluster, h.ID, h.State, fmt.Sprintf("%d of %d", h.Services, h.OfServices), fmt.Sprintf("%d of %d", h.Instances, h.OfInstances),
			h.Since.UTC().Format(time.RFC3339), passes, strings.Join(names, " "))
	}
}

// decide is approve or reject.
func (c *commands) decide(decision, short string) *cobra.Command {
	var reason string
	var wait time.Duration
	command := &cobra.Command{
		Use: decision + " CLUSTER [ID]", Short: short,
		Long: short + ". Without ID it is what the cluster's agent holds now; with it, only that:\n" +
			"an agent that holds much more by then has given it another id, and is not obeyed to.\n" +
			"Waits until the agent says that it has done so.",
		Example: "  seamark brake " + decision + " amber --reason \"we know\"\n  seamark brake " + decision + " amber 3f9a12bc77de --reason \"we know\"",
		Args:    cobra.RangeArgs(1, 2), ValidArgsFunction: c.completeClusters,
		RunE: func(command *cobra.Command, args []string) error {
			cluster, err := oneCluster(args[0])
			if err != nil {
				return err
			}
			if reason == "" && decision == registry.Reject {
				return proc.Usage(errors.New("--reason is missing: say why, for those who will ask"))
			}
			id := ""
			if len(args) == 2 {
				id = args[1]
			}
			return c.withStream(command, func(ctx context.Context, conn *stream.Conn) error {
				h, err := openBrake(ctx, conn, cluster, id)
				if err != nil {
					return err
				}
				if decision == registry.Reject && h.State == registry.BrakeRejected {
					return fmt.Errorf("%s is rejected already, by %s: %s", h.ID, h.By, h.Reason)
				}
				o := registry.Order{Kind: registry.OrderBrake, Target: string(cluster), By: c.author(), Reason: reason, Decision: decision, Held: h.ID}
				if _, err := conn.PutOrder(ctx, o, o.By, registry.CauseChange, stream.AnySequence); err != nil {
					return err
				}
				done, err := awaitBrake(ctx, conn, h, wait)
				if err != nil {
					return err
				}
				return c.output.print(command.OutOrStdout(), done, func(row func(...any)) {
					row(fmt.Sprintf("%s: %s", done.Cluster, done.Text))
				})
			})
		},
	}
	command.Flags().StringVar(&reason, "reason", "", "why"+map[bool]string{true: " (required)"}[decision == registry.Reject])
	command.Flags().DurationVar(&wait, "wait", 10*time.Second, "how long to wait for the agent's answer")
	return command
}

// openBrake returns what a cluster holds back, if it is what was meant.
func openBrake(ctx context.Context, conn *stream.Conn, cluster registry.ClusterID, id string) (h heldBack, err error) {
	all, err := brakes(ctx, conn)
	if err != nil {
		return h, err
	}
	var holding []string
	for _, other := range all {
		switch {
		case other.State.Open() && other.Cluster == cluster:
			h = other
		case other.State.Open():
			holding = append(holding, string(other.Cluster))
		}
	}
	if h.ID == "" {
		return h, fmt.Errorf("%s holds nothing back; clusters that do: %s", cluster, orNone(holding))
	}
	if id != "" && id != h.ID {
		return h, proc.Hint(fmt.Errorf("%s holds back %s, not %s", cluster, h.ID, id), "look again with seamark brake list")
	}
	return h, nil
}

// awaitBrake waits until a cluster's agent has obeyed an order about what it held.
func awaitBrake(ctx context.Context, conn *stream.Conn, before heldBack, patience time.Duration) (after heldBack, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	subject := "mesh.v1." + string(before.Cluster) + ".note." + registry.NoteBrake
	err = conn.Read(ctx, stream.StartAt{Filter: []string{subject}}, func(b stream.Batch) error {
		for _, m := range b.Messages {
			if h, ok := heldBackBy(m); ok && (h.ID != before.ID || h.State != before.State) {
				after = h
				return errRead
			}
		}
		return nil
	})
	switch {
	case errors.Is(err, errRead) && after.ID != before.ID:
		return after, proc.Hint(fmt.Errorf("%s holds back %s by now: your decision was about %s", before.Cluster, after.ID, before.ID), "look again with seamark brake list")
	case errors.Is(err, errRead):
		return after, nil
	case errors.Is(err, context.DeadlineExceeded):
		return after, proc.Hint(fmt.Errorf("the order is given, and the agent of %s has not answered within %v", before.Cluster, patience),
			"it is obeyed as soon as an agent leads there: see seamark clusters")
	}
	return after, err
}
