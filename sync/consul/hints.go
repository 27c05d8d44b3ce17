package consul

import (
	"context"
	"errors"
	"fmt"
	"maps"
)

// node is what hints are compared with.
type node struct {
	wire     wireNode
	index    uint64
	services map[string]wireNodeService // by instance id
	stop     context.CancelFunc         // ends its watch; nil: it has none
}

func byID(services []wireNodeService) map[string]wireNodeService {
	m := make(map[string]wireNodeService, len(services))
	for _, s := range services {
		if s.PeerName == "" {
			m[s.ID] = s
		}
	}
	return m
}

func byMark(checks []wireCheck) map[mark]wireCheck {
	m := make(map[mark]wireCheck, len(checks))
	for _, c := range checks {
		m[mark{node: c.Node, id: c.CheckID, check: true}] = c
	}
	return m
}

// followNode watches one node's services.
func (w *session) followNode(ctx context.Context, n *node) {
	ctx, stop := context.WithCancel(ctx)
	n.stop = stop
	name, from := n.wire.Node, n.index
	w.wg.Go(func() {
		defer stop()
		for tries := 1; ; tries++ {
			err := follow(ctx, w, stream{path: pathNode(name), index: from}, func(index uint64, v wireNodeServices) {
				if w.nodes[fold(name)] == n {
					w.onNode(n, index, v)
				}
			})
			switch {
			case err == nil:
				return
			case unreadable(err): // the watch of names and the comparison look after it
				w.source.config.Logger.Debug("a node cannot be watched", "node", clip(name), "err", err)
				return
			case !errors.Is(err, errNoData) || tries == maxNodeTries:
				w.fail(err)
				return
			}
			// Consul says so of a node that has just gone; the list of nodes will end this watch.
			from = 0
			if pause(ctx, w.source.timing.names) != nil {
				return
			}
		}
	})
}

// maxNodeTries is how often a node's watch may give no data while the node is listed.
const maxNodeTries = 5

// onNode compares a node's services with those it had. A node that is not known
// (any more) says nothing: the list of nodes decides what that means.
func (w *session) onNode(n *node, index uint64, v wireNodeServices) {
	n.index = index
	if v.Node == nil {
		return
	}
	before := n.services
	n.services = byID(v.Services)
	for id, now := range n.services {
		m := mark{node: n.wire.Node, id: id}
		was, there := before[id]
		if there && fold(was.Service) != fold(now.Service) {
			w.hint(was.Service, expectation{mark: m, index: was.ModifyIndex, past: true})
		}
		if !there || was.ModifyIndex != now.ModifyIndex || was.Service != now.Service {
			w.hint(now.Service, expectation{mark: m, index: now.ModifyIndex})
		}
	}
	for id, was := range before {
		if _, there := n.services[id]; !there {
			w.hint(was.Service, expectation{mark: mark{node: n.wire.Node, id: id}, index: was.ModifyIndex, past: true})
		}
	}
}

// onNodes compares the list of nodes with that before.
func (w *session) onNodes(ctx context.Context, nodes []wireNode) {
	listed := make(map[string]bool, len(nodes))
	for _, now := range nodes {
		key := fold(now.Node)
		listed[key] = true
		was := w.nodes[key]
		switch {
		case was == nil:
			w.addNode(ctx, now)
		case was.wire.CreateIndex != now.CreateIndex || was.wire.Node != now.Node: // gone and back since
			w.removeNode(was)
			w.addNode(ctx, now)
		case was.wire.Address != now.Address || !maps.Equal(was.wire.TaggedAddresses, now.TaggedAddresses):
			was.wire = now
			for _, service := range was.services {
				w.hint(service.Service, expectation{mark: mark{node: now.Node}, index: now.ModifyIndex})
			}
		}
	}
	for key, was := range w.nodes {
		if !listed[key] {
			w.removeNode(was)
		}
	}
	if w.mode == ModeHints && !w.client.multiplexed() && w.source.config.Mode == ModeAuto && !hintsFitPlain(len(w.nodes)) {
		w.fail(&swappedError{what: fmt.Sprintf("%d nodes are too many for hints over plain HTTP", len(w.nodes))})
	}
	w.wakeSweep()
}

func (w *session) addNode(ctx context.Context, wire wireNode) {
	n := &node{wire: wire}
	w.nodes[fold(wire.Node)] = n
	if w.mode == ModeHints {
		w.followNode(ctx, n)
	}
}

func (w *session) removeNode(n *node) {
	if n.stop != nil {
		n.stop()
	}
	delete(w.nodes, fold(n.wire.Node))
	for id, service := range n.services {
		w.hint(service.Service, expectation{mark: mark{node: n.wire.Node, id: id}, index: service.ModifyIndex, past: true})
	}
}

// onState compares the critical, or the warning, checks with those before. A
// check that is not there any more is no recovery, only a hint.
func (w *session) onState(path string, checks []wireCheck) {
	before, now := w.states[path], byMark(checks)
	w.states[path] = now
	for m, c := range now {
		was, there := before[m]
		if there && was.ServiceName == c.ServiceName {
			continue
		}
		if there {
			w.hintCheck(was, expectation{mark: m, index: was.ModifyIndex, past: true})
		}
		w.hintCheck(c, expectation{mark: m, index: c.ModifyIndex})
	}
	for m, was := range before {
		if _, there := now[m]; !there {
			w.hintCheck(was, expectation{mark: m, index: was.ModifyIndex, past: true})
		}
	}
}

// hintCheck hints the check's service; a node's check concerns all services there.
func (w *session) hintCheck(c wireCheck, x expectation) {
	if c.ServiceName != "" {
		w.hint(c.ServiceName, x)
		return
	}
	if n := w.nodes[fold(c.Node)]; n != nil {
		for _, service := range n.services {
			w.hint(service.Service, x)
		}
	}
}

// onNames compares all names with those that are known. In hints it is the net
// below the nodes' watches; per service, it is what finds new ones.
func (w *session) onNames(_ uint64, names wireNames) {
	listed := w.source.admitted(names, w.source.config.Refused)
	for name := range listed {
		if w.entries[name] == nil {
			w.hint(name)
		}
	}
	for name, e := range w.entries {
		if !listed[name] && len(e.record.marks) > 0 {
			w.hint(name)
		}
	}
	w.wakeSweep()
}
