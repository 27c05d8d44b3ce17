package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
	"github.com/seamark-mesh/seamark/sync/consul"
	"github.com/seamark-mesh/seamark/sync/edge"
)

// watcherEnv makes a bench process an agent that watches a Consul in a mode that is
// forced, which edge-sync's configuration does not offer: a [watcherConfig] as JSON.
const watcherEnv = "SEAMARK_BENCH_WATCHER"

// watcherConfig says what the agent watches.
type watcherConfig struct {
	Cluster registry.ClusterID
	NATS    string
	Consul  string // URL
	CAFile  string
	Mode    consul.Mode
}

// watcherState is what the agent says, a line each time that it changes.
type watcherState struct {
	Mode   consul.Mode
	Synced bool
	Fault  string
}

// beWatcher runs the agent until its standard input ends, and returns the exit code.
func beWatcher(ctx context.Context, text string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // ends with the process at the latest
		_, _ = io.Copy(io.Discard, stdin)
		cancel()
	}()
	var config watcherConfig
	err := json.Unmarshal([]byte(text), &config)
	if err == nil {
		err = runWatcher(ctx, config, stdout, slog.New(slog.NewTextHandler(stderr, nil)))
	}
	if err != nil && ctx.Err() == nil {
		fmt.Fprintln(stderr, "watcher:", err)
		return 1
	}
	return 0
}

// runWatcher wires the agent as edge-sync does.
func runWatcher(ctx context.Context, config watcherConfig, stdout io.Writer, logger *slog.Logger) error {
	refused := func(*registry.Refusal) {}
	source, err := consul.New(consul.Config{Address: config.Consul, CAFile: config.CAFile, Mode: config.Mode, Logger: logger, Refused: refused})
	if err != nil {
		return err
	}
	conn, err := stream.Connect(ctx, stream.ConnectConfig{Servers: []string{config.NATS}, Name: "bench " + string(config.Cluster), Logger: logger})
	if err != nil {
		return err
	}
	defer conn.Close()
	gateway := registry.Gateway{Name: "gw-1", Addresses: []netip.Addr{netip.MustParseAddr(gatewayAddress)}, Ports: map[string]int{"http": 8080}, Weight: 1}
	agent, err := edge.New(edge.Config{
		Cluster: config.Cluster, Agent: fmt.Sprintf("bench/%d", os.Getpid()), Version: "bench", Source: "consul", Logger: logger, Refused: refused,
	}, edge.Settings{Gateways: []registry.Gateway{gateway}}, source, conn.Writer(registry.Writer(config.Cluster)))
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wg.Go(func() { tellState(ctx, agent, source, stdout) })
	return agent.Run(ctx)
}

// tellState writes a line whenever the state has changed.
func tellState(ctx context.Context, agent *edge.Agent, source *consul.Source, out io.Writer) {
	encoder, said := json.NewEncoder(out), watcherState{}
	for pause(ctx, 5*time.Millisecond) {
		status := agent.Status()
		now := watcherState{Mode: source.Mode(), Synced: !status.Synced.IsZero() && status.RegistryFault == nil}
		if status.RegistryFault != nil {
			now.Fault = status.RegistryFault.Error()
		}
		if now != said {
			said = now
			_ = encoder.Encode(now) // nobody listens any more: the end is near
		}
	}
}

// watcher is such a process, as bench sees it.
type watcher struct {
	*daemon
	states chan watcherState
}

// startWatcher starts this program as an agent.
func (s *site) startWatcher(ctx context.Context, wg *sync.WaitGroup, config watcherConfig) (*watcher, error) {
	text, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	out, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	d, err := s.startProgram(program, []string{watcherEnv + "=" + string(text)}, in)
	_ = in.Close() // the process has its own
	if err != nil {
		_ = out.Close()
		return nil, err
	}
	w := &watcher{daemon: d, states: make(chan watcherState, 64)}
	wg.Go(func() {
		defer out.Close()
		defer close(w.states)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			var now watcherState
			if json.Unmarshal(lines.Bytes(), &now) != nil {
				continue
			}
			select {
			case w.states <- now:
			case <-ctx.Done():
			}
		}
	})
	return w, nil
}

// synced waits until the agent has published all; ticked is called meanwhile.
func (w *watcher) synced(ctx context.Context, within time.Duration, ticked func()) (watcherState, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("not synced within %v", within))
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	last := watcherState{}
	for {
		select {
		case now, ok := <-w.states:
			switch {
			case !ok:
				return last, errors.New("the agent ended")
			case now.Synced:
				return now, nil
			}
			last = now
		case <-tick.C:
			ticked()
		case <-ctx.Done():
			return last, fmt.Errorf("%w; %s", context.Cause(ctx), last.Fault)
		}
	}
}
