package edge

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/election"
)

// Agent publishes one cluster. Make one with [New]; Run may be called once.
type Agent struct {
	config    Config
	writer    registry.Writer
	log       Log
	intake    *intake
	settings  atomic.Pointer[Settings]
	reloaded  chan struct{} // capacity 1
	orders    *orders
	brakes    brakeCounts // only the goroutine that leads uses them
	carried   carried     // likewise
	status    board
	candidate election.Candidate
	led       uint64 // the last epoch that this agent began; 0: none. Only the goroutine that leads uses it

	described registry.Configuration // what the history says of the configuration; Fields nil where another said it. Likewise
}

// New returns an agent; it starts nothing. The settings are the first; see [Agent.Reload].
func New(config Config, settings Settings, source Source, log Log) (*Agent, error) {
	if _, err := registry.ParseClusterID(string(config.Cluster)); err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	}
	if config.Agent == "" {
		return nil, errors.New("agent: a name is needed")
	}
	config.Timing, config.Brake = config.Timing.withDefaults(), config.Brake.withDefaults()
	a := &Agent{
		config: config, writer: registry.Writer(config.Cluster), log: log, candidate: election.NewCandidate(config.Agent, config.Ended),
		intake:   newIntake(source, config.Logger, config.Timing),
		reloaded: make(chan struct{}, 1), orders: newOrders(), brakes: brakeCounts{ended: map[registry.BrakeState]uint64{}},
	}
	a.settings.Store(&settings)
	a.status.set(func(s *Status) { s.Role = Standby })
	return a, nil
}

// Reload replaces the settings: what differs is published within the running
// epoch. It does not block and may be called from any goroutine.
func (a *Agent) Reload(settings Settings) {
	a.settings.Store(&settings)
	wake(a.reloaded)
}

// Status returns what the agent does at the moment. It never blocks for long.
func (a *Agent) Status() Status {
	s := a.status.get()
	s.Drifts, s.Holds = a.intake.counters()
	s.OrdersFault = a.orders.fault()
	r := a.intake.latest()
	s.RegistryKnown, s.RegistryFault = r.known, r.fault
	return s
}

// Run watches and publishes until ctx ends. It then publishes what is waiting, says
// in the lease that it stopped, and withdraws nothing; that takes 5 s at most. It
// returns nil after such a stop.
func (a *Agent) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	watch, stop := context.WithCancel(ctx)
	defer stop()
	wg.Go(func() { a.intake.run(watch) })
	wg.Go(func() { a.followOrders(watch) })
	retry := a.config.Timing.backoff()
	for {
		sequence, err := a.takeLease(ctx)
		if err != nil {
			return nil // only the end of ctx ends it
		}
		began := time.Now()
		for err = errResync; errors.Is(err, errResync); {
			sequence, err = a.lead(ctx, sequence)
		}
		a.status.set(func(s *Status) { s.Role = Standby })
		if ctx.Err() != nil {
			return nil
		}
		switch {
		case errors.Is(err, registry.ErrFenced), errors.Is(err, registry.ErrConflict):
			a.config.Logger.Warn("this epoch is over: standing by", "err", err)
		default:
			a.config.Logger.Error("leading ended", "err", err)
		}
		if time.Since(began) > a.config.Timing.Lapse {
			retry.Reset()
		}
		if !election.Pause(ctx, retry.NextBackOff()) {
			return nil
		}
	}
}

// errResync ends an epoch whose successor is to begin at once.
var errResync = errors.New("a resync was ordered")

// streamFault notes whether the stream takes what this agent gives it, and says so
// when that changes.
func (a *Agent) streamFault(ctx context.Context, err error) {
	if err != nil && ctx.Err() != nil {
		return
	}
	var was error
	a.status.set(func(s *Status) { was, s.StreamFault = s.StreamFault, err })
	switch {
	case err != nil && was == nil:
		a.config.Logger.Warn("the stream does not acknowledge: trying again until it does", "err", err)
	case err == nil && was != nil:
		a.config.Logger.Info("the stream is reached again")
	}
}
