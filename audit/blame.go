package audit

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
)

// Origin is where a part of an answer comes from.
type Origin struct {
	What    string             `json:"what"` // instance or gateway
	Cluster registry.ClusterID `json:"cluster"`
	Name    string             `json:"name"`   // the instance's id or the gateway's name
	Serves  bool               `json:"serves"` // the instance takes traffic; the gateway's cluster can serve the service

	Instance *registry.Instance `json:"instance,omitempty"`
	Gateway  *registry.Gateway  `json:"gateway,omitempty"`

	Put    Entry `json:"put"`    // the event that put it there
	Formed Entry `json:"formed"` // the last event that changed any field of it; often the same

	// Older says that it was there before the oldest message that can be read: then Put
	// (and perhaps Formed) is the earliest that is known of it.
	Older bool `json:"older,omitempty"`
}

// Blame tells, for every instance of a service and every gateway of its clusters at a
// moment, which event put it there; sorted by cluster, gateways first, then by name. Stood is
// what [StoodAt] gives of the service at the moment. It walks back the history of these
// subjects only.
func Blame(ctx context.Context, h History, stood Stood, key registry.ServiceKey) ([]Origin, error) {
	v := stood.View
	e, known := v.Service(key)
	if !known {
		return nil, nil
	}
	b := &blaming{history: h}
	for _, r := range e.Records {
		b.fences = nil
		if c := v.Cluster(r.Cluster); c != nil {
			b.fences = c.Fences
		}
		if err := b.instances(ctx, r, key); err != nil {
			return nil, fmt.Errorf("where %s in %s comes from: %w", key, r.Cluster, err)
		}
		if c := v.Cluster(r.Cluster); c != nil && c.Record != nil {
			if err := b.gateways(ctx, c, r.Serving > 0); err != nil {
				return nil, fmt.Errorf("where the gateways of %s come from: %w", r.Cluster, err)
			}
		}
	}
	slices.SortFunc(b.origins, func(x, y Origin) int {
		return cmp.Or(cmp.Compare(x.Cluster, y.Cluster), cmp.Compare(x.What, y.What), cmp.Compare(x.Name, y.Name))
	})
	return b.origins, nil
}

type blaming struct {
	history History
	origins []Origin
	fences  []registry.Fence // of the cluster
}

// teller returns one that passes over what is void. That a record of an epoch is, the fences
// say as well.
func (b *blaming) teller(w registry.Writer) *teller {
	return newTeller(&fencing{fold: registry.NewFold(), fences: map[registry.Writer][]registry.Fence{w: b.fences}})
}

// instances walks back from the record that stands until every instance is explained.
func (b *blaming) instances(ctx context.Context, r *registry.Record, key registry.ServiceKey) error {
	origins := make([]Origin, 0, len(r.Service.Instances))
	for n := range r.Service.Instances {
		i := &r.Service.Instances[n]
		origins = append(origins, Origin{What: "instance", Cluster: r.Cluster, Name: i.ID, Serves: i.Serves(), Instance: i})
	}
	fact := registry.Fact{Writer: registry.Writer(r.Cluster), Kind: registry.KindService, Service: key}
	return b.walk(ctx, fact, r.Sequence, origins, func(e *registry.Event, o *Origin) values {
		n, found := slices.BinarySearchFunc(e.Service.Instances, o.Name, func(i registry.Instance, id string) int { return cmp.Compare(i.ID, id) })
		if !found {
			return nil
		}
		return instanceValues(&e.Service.Instances[n])
	})
}

func (b *blaming) gateways(ctx context.Context, c *registry.ClusterState, serves bool) error {
	origins := make([]Origin, 0, len(c.Record.Gateways))
	for n := range c.Record.Gateways {
		g := &c.Record.Gateways[n]
		origins = append(origins, Origin{What: "gateway", Cluster: c.ID, Name: g.Name, Serves: serves, Gateway: g})
	}
	fact := registry.Fact{Writer: registry.Writer(c.ID), Kind: registry.KindCluster}
	return b.walk(ctx, fact, c.RecordSequence, origins, func(e *registry.Event, o *Origin) values {
		for n := range e.Cluster.Gateways {
			if e.Cluster.Gateways[n].Name == o.Name {
				return gatewayValues(&e.Cluster.Gateways[n])
			}
		}
		return nil
	})
}

// walk goes back through the messages of one fact, from the one that stands. A part is
// explained when a message lacks it: the one after it put it there. What can't be read
// is passed over.
func (b *blaming) walk(ctx context.Context, fact registry.Fact, from uint64, origins []Origin, find func(*registry.Event, *Origin) values) error {
	subject, err := stream.Subject(fact)
	if err != nil {
		return err
	}
	open, formed := make(map[int]values, len(origins)), make(map[int]bool, len(origins))
	teller := b.teller(fact.Writer)
	next := from + 1
	for steps := 0; ; steps++ {
		s, found, err := storedBefore(ctx, b.history, subject, next)
		if err != nil {
			return err
		}
		if steps == 0 && !found {
			return fmt.Errorf("%s at #%d is no longer there", subject, from)
		}
		if !found || steps > mostBehind {
			break
		}
		next = s.Sequence
		e := teller.tell(s)
		if e.Event == nil {
			continue
		}
		for n := range origins {
			now := find(e.Event, &origins[n])
			if was, isOpen := open[n]; steps > 0 && !isOpen {
				continue // explained already
			} else if now == nil {
				delete(open, n)
				continue
			} else if formed[n] = formed[n] || steps > 0 && len(was.compare(now)) > 0; !formed[n] {
				origins[n].Formed = e
			}
			origins[n].Put, open[n] = e, now
		}
		if len(open) == 0 {
			break
		}
	}
	if err := b.retell(ctx, fact.Writer, subject, origins); err != nil {
		return err
	}
	span, err := b.history.Span(ctx)
	for n := range open {
		origins[n].Older = !span.Whole() || len(span.Holes) > 0
	}
	b.origins = append(b.origins, origins...)
	return err
}

// retell tells the events again, forwards, so that they know what stood before them.
func (b *blaming) retell(ctx context.Context, w registry.Writer, subject string, origins []Origin) error {
	entries := map[uint64]Entry{}
	for n := range origins {
		for _, e := range []*Entry{&origins[n].Put, &origins[n].Formed} {
			if told, known := entries[e.Sequence]; known {
				*e = told
				continue
			}
			teller := b.teller(w)
			if _, err := teller.recall(ctx, b.history, subject, e.Sequence); err != nil {
				return err
			}
			s, found, err := storedBefore(ctx, b.history, subject, e.Sequence+1)
			if err != nil {
				return err
			}
			if found && s.Sequence == e.Sequence {
				*e = teller.tell(s)
			}
			entries[e.Sequence] = *e
		}
	}
	return nil
}
