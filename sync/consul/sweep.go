package consul

import (
	"context"
	"net/url"

	"golang.org/x/sync/errgroup"
)

// emptyFilter matches nothing: the reply is empty, and its header has the index.
const emptyFilter = "Service==\"\\u0000\""

func (w *session) wakeSweep() {
	if w.mode != ModeSweep {
		return
	}
	select {
	case w.sweep <- struct{}{}:
	default: // a sweep is due already
	}
}

// sweepNodes asks every node's index whenever the list of names has moved, and
// reads those whose index has.
func (w *session) sweepNodes(ctx context.Context) error {
	for {
		select {
		case <-w.sweep:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		var visits []visit
		if !w.run(ctx, func() {
			for _, n := range w.nodes {
				visits = append(visits, visit{node: n, name: n.wire.Node, index: n.index})
			}
		}) {
			return context.Cause(ctx)
		}
		group, ctx := errgroup.WithContext(ctx)
		group.SetLimit(poolPlain)
		for _, v := range visits {
			group.Go(func() error { return w.visit(ctx, v) })
		}
		if err := group.Wait(); err != nil {
			return err
		}
	}
}

// visit is a question to one node.
type visit struct {
	node  *node
	name  string
	index uint64 // of the last answer; 0: none
}

func (w *session) visit(ctx context.Context, v visit) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	limit := w.source.timing.request
	if v.index > 0 {
		_, r, err := ask[ignored](ctx, w.client, pathNode(v.name), url.Values{"filter": {emptyFilter}}, limit)
		switch {
		case unreadable(err):
			return nil
		case err != nil:
			return err
		case r.index < v.index:
			return &restartError{why: "a node's index went back"}
		case r.index == v.index:
			return nil
		}
	}
	list, r, err := ask[wireNodeServices](ctx, w.client, pathNode(v.name), nil, limit)
	if unreadable(err) {
		return nil
	}
	if err != nil {
		return err
	}
	w.send(ctx, func() {
		if w.nodes[fold(v.name)] == v.node {
			w.onNode(v.node, r.index, list)
		}
	})
	return nil
}
