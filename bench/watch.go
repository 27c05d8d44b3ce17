package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/seamark-mesh/seamark/e2e/servers"
	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
	"github.com/seamark-mesh/seamark/sync/consul"
)

// watchSize is one Consul's content.
type watchSize struct{ services, nodes int }

// watchPace is how much is measured of each way to watch.
type watchPace struct {
	sizes    []watchSize
	single   int           // changes one at a time, of each kind
	crowd    time.Duration // of 100 changes a second, of each kind
	crowdly  int           // changes a second
	betweens time.Duration // between two single changes
}

func measureWatch(ctx context.Context, s *site, r *result) error {
	pace := watchPace{
		sizes:  []watchSize{{1000, 20}, {1000, 200}, {5000, 20}, {5000, 200}},
		single: 100, crowd: 6 * time.Second, crowdly: 100, betweens: 20 * time.Millisecond,
	}
	if s.options.quick {
		pace.sizes, pace.single, pace.crowd = []watchSize{{1000, 20}}, 10, time.Second
	}
	if err := s.startNATS(ctx); err != nil {
		return err
	}
	conn, err := s.connect(ctx)
	if err != nil {
		return err
	}
	if _, _, err := conn.CreateStreams(ctx, stream.Settings{}); err != nil { // no global-dns is here to do it
		return err
	}
	var all []watched
	for n, size := range pace.sizes {
		some, err := s.watchSize(ctx, fmt.Sprintf("consul-%d", n), size, pace)
		all = append(all, some...)
		if err != nil {
			return fmt.Errorf("%d services on %d nodes: %w", size.services, size.nodes, err)
		}
	}
	reportWatch(r, all)
	return nil
}

// watchSize fills a Consul and has it watched in every way.
func (s *site) watchSize(ctx context.Context, name string, size watchSize, pace watchPace) (all []watched, err error) {
	c, err := s.startConsul(ctx, name, servers.ConsulConfig{TLS: true})
	if err != nil {
		return nil, err
	}
	s.say("filling Consul with %d services on %d nodes", size.services, size.nodes)
	if err := c.fill(ctx, size.services, size.nodes, 2); err != nil {
		return nil, err
	}
	defer func() { _ = c.server.Kill() }() // its memory is the next one's; an end of its own was an error before
	for _, https := range []bool{true, false} {
		modes := []consul.Mode{consul.ModeAuto, consul.ModeHints, consul.ModePerService}
		if !https {
			modes = []consul.Mode{consul.ModeAuto, consul.ModeHints, consul.ModeSweep}
		}
		chosen := consul.ModeAuto
		for _, mode := range modes {
			if mode == chosen && mode != consul.ModeAuto {
				continue // was measured as the agent's own choice
			}
			if !https && mode == consul.ModeHints && size.nodes > 145 {
				continue // the agent never chooses it: it would take more connections than Consul grants
			}
			w := watched{size: size, https: https, forced: mode != consul.ModeAuto}
			if err := s.watchOnce(ctx, c, mode, pace, &w); err != nil {
				return all, fmt.Errorf("%s: %w", w.way(), err)
			}
			if mode == consul.ModeAuto {
				chosen = w.mode
			}
			s.say("%d services, %d nodes, %s: %s connections, one at a time %s ms, %d/s %s ms", size.services, size.nodes, w.way(), w.connectionText(),
				w.single().summarize().brief(), pace.crowdly, w.crowd().summarize().brief())
			all = append(all, w)
		}
	}
	return all, nil
}

// watched is what was found of one way to watch.
type watched struct {
	size   watchSize
	https  bool
	mode   consul.Mode
	forced bool // not what the agent chooses

	started           time.Duration // from the start of the process until all is published
	steady, peak      int           // connections; -1: not known
	singles, crowds   [2]samples    // by kind of change
	lost              int           // changes that were not seen
	agent, server     usage         // at the end
	grown             float64       // MB, resident, of Consul since the agent's start
	agentCPU, consCPU float64       // of one core, at 100 changes a second, in percent
}

func (w watched) way() string {
	protocol, forced := "HTTP", ""
	if w.https {
		protocol = "HTTPS"
	}
	if w.forced {
		forced = ", forced"
	}
	return fmt.Sprintf("%s %s%s", protocol, cmp.Or(string(w.mode), "?"), forced)
}

func (w watched) connectionText() string {
	if w.steady < 0 {
		return "?"
	}
	return fmt.Sprintf("%d (at most %d)", w.steady, w.peak)
}

func (w watched) single() samples { return slices.Concat(w.singles[flipped], w.singles[redefined]) }
func (w watched) crowd() samples  { return slices.Concat(w.crowds[flipped], w.crowds[redefined]) }

// watchOnce runs one agent.
func (s *site) watchOnce(ctx context.Context, c *catalog, mode consul.Mode, pace watchPace, w *watched) (err error) {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	port, err := c.port(w.https)
	if err != nil {
		return err
	}
	config := watcherConfig{Cluster: registry.ClusterID(fmt.Sprintf("w-%d", time.Now().UnixMilli())), NATS: s.nats.URL, Consul: c.server.HTTP, Mode: mode}
	if w.https {
		config.Consul, config.CAFile = c.server.HTTPS, c.server.CAFile
	}
	pid, err := serverPID(c.dir)
	known := err == nil
	before, err := usageOf(pid)
	known = known && err == nil
	agent, err := s.startWatcher(ctx, &wg, config)
	if err != nil {
		return err
	}
	defer func() {
		if fault := agent.stop(); err == nil {
			err = fault
		}
	}()
	w.steady, w.peak = -1, -1
	count := func() {
		if n, err := connectionsTo(agent.pid(), port); err == nil {
			w.steady, w.peak = n, max(w.peak, n)
		}
	}
	state, err := agent.synced(ctx, 2*time.Minute, count)
	if err != nil {
		return fmt.Errorf("%w; the end of its log:\n%s", err, agent.logTail())
	}
	w.started, w.mode = time.Since(agent.began), state.Mode
	if err := s.watchChanges(ctx, c, config.Cluster, pace, w, count, func() (a, b usage) {
		a, _ = usageOf(agent.pid())
		b, _ = usageOf(pid)
		return a, b
	}); err != nil {
		return fmt.Errorf("%w; the end of its log:\n%s", err, agent.logTail())
	}
	if w.agent, err = usageOf(agent.pid()); err == nil && known {
		if w.server, err = usageOf(pid); err == nil {
			w.grown = w.server.resident - before.resident
		}
	}
	return nil
}

// reportWatch judges what the agent chooses by itself; what was forced is for comparison.
func reportWatch(r *result, all []watched) {
	most, lost := 0, 0
	var single, crowd summary
	for _, w := range all {
		lost += w.lost
		if w.forced || !w.https {
			continue
		}
		most = max(most, w.peak)
		if t := w.single().summarize(); t.P99 >= single.P99 {
			single = t
		}
		if t := w.crowd().summarize(); t.P99 >= crowd.P99 {
			crowd = t
		}
	}
	r.number("HTTPS, the agent's choice: connections, at most", "%.0f", float64(most), "≤ 60", atMost(60.0))
	for _, f := range []struct {
		name  string
		times summary
	}{
		{"HTTPS, the agent's choice: change → event, one at a time, the slowest size", single},
		{"HTTPS, the agent's choice: change → event, 100/s, the slowest size", crowd},
	} {
		ok := f.times.Count > 0 && f.times.P99 <= 50
		r.Figures = append(r.Figures, figure{Name: f.name, Value: f.times.String(), Target: "p99 ≤ 50 ms", Reached: &ok, Times: &f.times})
	}
	r.number("changes that were not seen within 20 s, in all modes", "%.0f", float64(lost), "0", atMost(0.0))
	g := &grid{Head: []string{
		"services", "nodes", "way", "connections (at most)", "all published after", "one flip p50 / p99 ms", "one new version", "100 flips/s", "100 new versions/s",
		"agent MB (peak)", "agent CPU", "Consul MB (grown by)", "Consul CPU",
	}}
	for _, w := range all {
		g.Rows = append(g.Rows, []string{
			fmt.Sprint(w.size.services), fmt.Sprint(w.size.nodes), w.way(), w.connectionText(), fmt.Sprintf("%.1f s", w.started.Seconds()),
			w.singles[flipped].summarize().brief(), w.singles[redefined].summarize().brief(), w.crowds[flipped].summarize().brief(), w.crowds[redefined].summarize().brief(),
			fmt.Sprintf("%.0f (%.0f)", w.agent.resident, w.agent.peak), fmt.Sprintf("%.0f %%", w.agentCPU),
			fmt.Sprintf("%.0f (%+.0f)", w.server.resident, w.grown), fmt.Sprintf("%.0f %%", w.consCPU),
		})
	}
	r.Grid = g
	r.note("Two instances a service. From before the change is sent to Consul until its event, published by the agent, was received from NATS. " +
		"Where nothing is forced, the mode is the agent's own choice. CPU is of one core, at 100 changes a second, the writing of the changes included in Consul's.")
	r.note("The agents of one size watch the same Consul one after another, so its growth is that over the one before; memory that was freed is returned late.")
}
