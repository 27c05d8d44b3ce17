package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/seamark-mesh/seamark/cmd/internal/proc"
	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
)

// errRead ends a read that has all it wanted.
var errRead = errors.New("read")

// readFold reads what stands on the stream, all of it or the subjects that are named.
func readFold(ctx context.Context, conn *stream.Conn, filter ...string) (fold *registry.Fold, last registry.Message, err error) {
	fold = registry.NewFold()
	err = conn.Read(ctx, stream.StartAt{Filter: filter}, func(b stream.Batch) error {
		for _, m := range b.Messages {
			fold.Apply(m)
			last = m
		}
		if b.CaughtUp {
			return errRead
		}
		return nil
	})
	if !errors.Is(err, errRead) {
		return nil, last, fmt.Errorf("the stream can't be read: %w", err)
	}
	fold.Synced()
	return fold, last, nil
}

// with returns the View that stands, and the one that would stand with an order.
func with(ctx context.Context, conn *stream.Conn, o registry.Order) (before, after *registry.View, err error) {
	fold, last, err := readFold(ctx, conn)
	if err != nil {
		return nil, nil, err
	}
	before = fold.View()
	e := &registry.Event{Schema: registry.Schema, Kind: registry.KindOrder, Writer: registry.Operator, Cause: registry.CauseChange, Order: &o}
	fold.Apply(registry.NewMessage(e.Fact(), last.Sequence+1, last.Stored, 0, 0, e, nil))
	return before, fold.View(), nil
}

// emptied returns the services, sorted, that an order takes the last answer from, or the
// last that is not of a drained cluster: where only drained ones are left they are
// answered with again, so that a second drain would undo the first. A cluster in doubt,
// which is only answered with because no better one is left, does not count.
func emptied(before, after *registry.View) []string {
	answers := func(c registry.Candidate) bool {
		return c.In && c.State != registry.Unreachable && c.State != registry.Down
	}
	serves := func(c registry.Candidate) bool { return answers(c) && c.Order == nil }
	var names []string
	for name := range before.Names() {
		for _, e := range name.Known() {
			now, then := before.Decide(e), []registry.Candidate(nil)
			if e, known := after.Service(e.Key); known {
				then = after.Decide(e)
			}
			if noneLeft(now, then, answers) || noneLeft(now, then, serves) {
				names = append(names, e.Key.String())
			}
		}
	}
	slices.Sort(names)
	return names
}

// noneLeft reports whether some of the clusters are what is asked for now, and none is then.
func noneLeft(now, then []registry.Candidate, is func(registry.Candidate) bool) bool {
	return slices.ContainsFunc(now, is) && !slices.ContainsFunc(then, is)
}

// someOf lists the first few and how many more there are.
func someOf(names []string, few int) string {
	if len(names) <= few {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:few], ", "), len(names)-few)
}

// target is what a drain is about, as a person writes it.
type target struct {
	cluster registry.ClusterID
	gateway string
	service registry.Labels
	text    string
}

// parseTarget reads CLUSTER, CLUSTER/GATEWAY or NAMESPACE/NAME@CLUSTER.
func parseTarget(text string) (t target, err error) {
	service, cluster, ofService := strings.Cut(text, "@")
	if !ofService {
		cluster, t.gateway, _ = strings.Cut(text, "/")
		if strings.HasSuffix(text, "/") || strings.Contains(t.gateway, "/") {
			return t, proc.Usage(fmt.Errorf("%q is no target: write CLUSTER, CLUSTER/GATEWAY or NAMESPACE/NAME@CLUSTER", text))
		}
	} else {
		namespace, name, named := strings.Cut(service, "/")
		if !named {
			namespace, name = registry.DefaultNamespace, service
		}
		key, err := registry.ParseServiceKey(namespace, name)
		if err != nil {
			return t, proc.Usage(fmt.Errorf("%q names no service: %w", text, err))
		}
		t.service = key.Labels()
	}
	if t.cluster, err = registry.ParseClusterID(cluster); err != nil {
		return t, proc.Usage(fmt.Errorf("%q names no cluster: %w", text, err))
	}
	t.text = t.String()
	return t, nil
}

// order is the target as an order names it.
func (t target) order() string { return registry.DrainTarget(t.cluster, t.gateway, t.service) }

// String is what parseTarget reads. Of a service it has the labels, which is how a drain
// knows it.
func (t target) String() string {
	switch {
	case t.gateway != "":
		return string(t.cluster) + "/" + t.gateway
	case t.service != registry.Labels{}:
		return t.service.Namespace + "/" + t.service.Name + "@" + string(t.cluster)
	}
	return string(t.cluster)
}

// shownTarget writes an order's target as parseTarget reads it.
func shownTarget(order string) string {
	cluster, gateway, service, err := registry.ParseDrainTarget(order)
	if err != nil {
		return order
	}
	return target{cluster: cluster, gateway: gateway, service: service}.String()
}

// check tells what of the target is unknown, and what there is instead.
func (t target) check(v *registry.View) error {
	var clusters []string
	for _, c := range v.Clusters() {
		if c.Record != nil {
			clusters = append(clusters, string(c.ID))
		}
	}
	c := v.Cluster(t.cluster)
	if c == nil || c.Record == nil {
		return fmt.Errorf("there is no cluster %s; known are: %s", t.cluster, orNone(clusters))
	}
	switch {
	case t.gateway != "":
		names := make([]string, len(c.Record.Gateways))
		for n, g := range c.Record.Gateways {
			names[n] = g.Name
		}
		if !slices.Contains(names, t.gateway) {
			return fmt.Errorf("%s has no gateway %s; it has: %s", t.cluster, t.gateway, orNone(names))
		}
	case t.service != registry.Labels{}:
		name, known := v.Name(t.service)
		if known && slices.ContainsFunc(name.Known(), func(e *registry.Entry) bool { return e.Record(t.cluster) != nil }) {
			return nil
		}
		return proc.Hint(fmt.Errorf("%s has no service %s/%s", t.cluster, t.service.Namespace, t.service.Name), "see seamark services --cluster %s", t.cluster)
	}
	return nil
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return someOf(names, 20)
}
