package consul

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/hashicorp/consul/api"
)

// node is one node of the catalog.
type node struct {
	wire   wireNode
	index  uint64             // of its services, as last read
	checks uint64             // from which index its checks are watched
	stop   context.CancelFunc // ends its watches; nil: it has none
}

// places says where records have what: hints are compared with what is believed,
// not with the hint before, because a read may have shown what no hint ever will.
type places struct {
	instances map[string]map[string][]*entry // by folded node name and instance id
	ill       map[string]map[mark][]*entry   // by the path that lists checks of that status
}

func newPlaces() places {
	return places{
		instances: make(map[string]map[string][]*entry),
		ill:       map[string]map[mark][]*entry{pathCritical: {}, pathWarning: {}},
	}
}

// illPath returns which list holds a check of that status; "" for none.
func illPath(status string) string {
	switch status {
	case api.HealthCritical:
		return pathCritical
	case api.HealthWarning:
		return pathWarning
	}
	return ""
}

// move notes that an entry's record has been replaced.
func (p places) move(e *entry, before, after record) {
	for m, was := range before.marks {
		if now, there := after.marks[m]; there && now.status == was.status {
			continue
		}
		if m.instance() {
			ids := p.instances[fold(m.node)]
			without(ids, m.id, e)
			if len(ids) == 0 {
				delete(p.instances, fold(m.node))
			}
		} else if path := illPath(was.status); path != "" {
			without(p.ill[path], m, e)
		}
	}
	for m, now := range after.marks {
		if was, there := before.marks[m]; there && now.status == was.status {
			continue
		}
		if m.instance() {
			key := fold(m.node)
			if p.instances[key] == nil {
				p.instances[key] = make(map[string][]*entry)
			}
			p.instances[key][m.id] = append(p.instances[key][m.id], e)
		} else if path := illPath(now.status); path != "" {
			p.ill[path][m] = append(p.ill[path][m], e)
		}
	}
}

func without[K comparable](m map[K][]*entry, key K, e *entry) {
	left := slices.DeleteFunc(slices.Clone(m[key]), func(o *entry) bool { return o == e })
	if len(left) == 0 {
		delete(m, key)
	} else {
		m[key] = left
	}
}

// followNode watches one node's services and, where that is how checks are
// watched, its checks.
func (w *session) followNode(ctx context.Context, n *node) {
	ctx, n.stop = context.WithCancel(ctx)
	followPart(ctx, w, n, stream{path: pathNode(n.wire.Node), index: n.index}, func(r reply, v wireNodeServices) { w.onNode(n, r.index, v) })
	if w.byNode {
		followPart(ctx, w, n, stream{path: pathChecks(n.wire.Node), index: n.checks}, func(_ reply, v []wireCheck) { w.onChecks(n, v) })
	}
}

// followPart watches what Consul says of one node under one path.
func followPart[T any](ctx context.Context, w *session, n *node, s stream, take func(r reply, v T)) {
	name := n.wire.Node
	w.wg.Go(func() {
		for tries := 1; ; tries++ {
			err := follow(ctx, w, s, func(r reply, v T) {
				if w.nodes[fold(name)] == n {
					take(r, v)
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
			s.index = 0
			if pause(ctx, w.source.timing.names) != nil {
				return
			}
		}
	})
}

// maxNodeTries is how often a node's watch may give no data while the node is listed.
const maxNodeTries = 5

// onNode compares a node's services with what is believed. A node that is not
// known (any more) says nothing: the list of nodes decides what that means.
func (w *session) onNode(n *node, index uint64, v wireNodeServices) {
	n.index = index
	if v.Node == nil {
		return
	}
	believed := w.where.instances[fold(n.wire.Node)]
	listed := make(map[string]string, len(v.Services)) // instance id to folded name
	for _, now := range v.Services {
		if now.PeerName != "" {
			continue
		}
		m, name := mark{node: n.wire.Node, id: now.ID}, fold(now.Service)
		listed[now.ID] = name
		known := slices.ContainsFunc(believed[now.ID], func(e *entry) bool {
			_, doubted := e.doubts[m] // it is back: look again, or a second absence would confirm the first
			return e.name == name && e.record.marks[m].index == now.ModifyIndex && !doubted
		})
		if !known {
			w.hint(name, expectation{mark: m, index: now.ModifyIndex})
		}
	}
	w.hintGone(n, func(id, name string) bool { return listed[id] == name })
}

// hintGone hints every instance that is believed to be on a node and is not there.
func (w *session) hintGone(n *node, there func(id, name string) bool) {
	for id, entries := range w.where.instances[fold(n.wire.Node)] {
		for _, e := range entries {
			if !there(id, e.name) {
				m := mark{node: n.wire.Node, id: id}
				w.hint(e.name, expectation{mark: m, index: e.record.marks[m].index, past: true})
			}
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
		case was.wire.ModifyIndex != now.ModifyIndex:
			was.wire = now
			for _, entries := range w.where.instances[key] {
				for _, e := range entries {
					w.hint(e.name, expectation{mark: mark{node: now.Node}, index: now.ModifyIndex})
				}
			}
		}
	}
	for key, was := range w.nodes {
		if !listed[key] {
			w.removeNode(was)
		}
	}
	if w.mode == ModeHints && w.mayNotFit() && !fitsPlain(w.hintWatches(len(w.nodes)), 0) {
		w.fail(&restartError{why: fmt.Sprintf("%d nodes are too many for these watches over plain HTTP", len(w.nodes))})
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
	w.hintGone(n, func(string, string) bool { return false })
}

// onChecks compares a node's checks with what is believed of its instances. Checks
// of an instance that is not known say nothing: it will be read in full.
func (w *session) onChecks(n *node, checks []wireCheck) {
	here := w.where.instances[fold(n.wire.Node)]
	listed := make(map[string]bool, len(checks))
	for _, c := range checks {
		listed[c.CheckID] = true
		x := expectation{mark: mark{node: c.Node, id: c.CheckID, check: true}, index: c.ModifyIndex}
		compare := func(entries []*entry) {
			for _, e := range entries {
				if !e.shows(x.mark, c) {
					w.hint(e.name, x)
				}
			}
		}
		if c.ServiceID != "" {
			compare(here[c.ServiceID])
			continue
		}
		for _, entries := range here { // a node's check concerns all that is there
			compare(entries)
		}
	}
	for _, entries := range here {
		for _, e := range entries {
			for m, known := range e.record.marks {
				// One that is not there any more is no recovery, only a hint.
				if m.check && m.node == n.wire.Node && illPath(known.status) != "" && !listed[m.id] {
					w.hint(e.name, expectation{mark: m, index: known.index, past: true})
				}
			}
		}
	}
}

// shows reports whether what is believed of a check is what was just heard of it. While a
// read is under way an equal status is not enough: the read may have seen the one between,
// and would then be the last word.
func (e *entry) shows(m mark, c wireCheck) bool {
	known := e.record.marks[m]
	return known.status == c.Status && (!e.reading || known.index == c.ModifyIndex)
}

// onState compares the critical, or the warning, checks with what is believed. A
// check that is not there any more is no recovery, only a hint.
func (w *session) onState(path string, checks []wireCheck) {
	believed := w.where.ill[path]
	listed := make(map[mark]bool, len(checks))
	for _, c := range checks {
		m := mark{node: c.Node, id: c.CheckID, check: true}
		listed[m] = true
		x := expectation{mark: m, index: c.ModifyIndex}
		known := func(name string) bool {
			return slices.ContainsFunc(believed[m], func(e *entry) bool { return e.name == name && e.shows(m, c) })
		}
		if c.ServiceName != "" {
			if name := fold(c.ServiceName); !known(name) {
				w.hint(name, x)
			}
			continue
		}
		for _, entries := range w.where.instances[fold(c.Node)] { // a node's check concerns all that is there
			for _, e := range entries {
				if !known(e.name) {
					w.hint(e.name, x)
				}
			}
		}
	}
	for m, entries := range believed {
		if !listed[m] {
			for _, e := range entries {
				w.hint(e.name, expectation{mark: m, index: e.record.marks[m].index, past: true})
			}
		}
	}
	if w.reading == 0 {
		return
	}
	for _, e := range w.entries { // a read under way may find what is not listed any more
		for _, x := range e.sent {
			if e.reading && x.mark.check && !x.past && !listed[x.mark] {
				w.hint(e.name, expectation{mark: x.mark, index: x.index, past: true})
			}
		}
	}
}

// onNames compares all names with those that are known. In hints it is the net
// below the nodes' watches; per service, it is what finds new ones.
func (w *session) onNames(_ reply, names wireNames) {
	listed := w.source.admitted(names, w.source.config.Refused)
	if w.mode == ModePerService && w.mayNotFit() && !fitsPlain(len(listed), 0) {
		w.fail(&restartError{why: fmt.Sprintf("%d services are too many for a watch each over plain HTTP", len(listed))})
	}
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
