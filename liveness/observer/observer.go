package observer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/election"
)

// Config is what an Observer needs to know for its whole life.
type Config struct {
	Agent   string // who: host and process, unique among the observers of the mesh
	Version string // of the software
	Logger  *slog.Logger
	Metrics Metrics
	Timing  Timing // zero fields mean the defaults
}

// Timing holds the observer's own periods. The defaults are the protocol's.
type Timing struct {
	Renew   time.Duration // between renewals of its lease; 2 s
	Lapse   time.Duration // without renewal until another observer takes over; 10 s
	Round   time.Duration // between judgements; 1 s
	Pause   time.Duration // without any lease of any writer after which ages begin anew; 5 s
	Refresh time.Duration // until a record is published again; 24 h
	Window  time.Duration // within which withdrawals are counted; 5 min
	Retry   time.Duration // the longest pause between two attempts; 10 s
	Steady  bool          // pauses without chance, so that a simulation can be replayed
}

func (t Timing) withDefaults() Timing {
	set := func(d *time.Duration, value time.Duration) {
		if *d <= 0 {
			*d = value
		}
	}
	set(&t.Renew, 2*time.Second)
	set(&t.Lapse, 10*time.Second)
	set(&t.Round, time.Second)
	set(&t.Pause, 5*time.Second)
	set(&t.Refresh, 24*time.Hour)
	set(&t.Window, 5*time.Minute)
	set(&t.Retry, 10*time.Second)
	return t
}

// backoff returns the pauses between attempts.
func (t Timing) backoff() *backoff.ExponentialBackOff { return election.NewBackoff(t.Retry, t.Steady) }

// Settings may change while the observer runs, see [Observer.Reload].
type Settings struct {
	Lapse     time.Duration // without renewal after which an agent's lease has lapsed
	DownAfter time.Duration // for how long lease and gateways must be bad until a cluster is down
	Failback  time.Duration // for how long both must be good until it is up again
	ReportAge time.Duration // age beyond which a vantage point's report does not count
	// Configuration is what the history is told of the configuration that these are of;
	// the zero value tells nothing.
	Configuration registry.Configuration
}

// DefaultSettings are the design's.
func DefaultSettings() Settings {
	return Settings{Lapse: 10 * time.Second, DownAfter: 5 * time.Minute, Failback: 10 * time.Second, ReportAge: 30 * time.Second}
}

// Status is what an observer does at one moment.
type Status struct {
	Leading  bool
	Holder   string // who leads, as far as it was heard; "" when nobody was
	Epoch    uint64 // of the one that leads
	Revision uint64 // likewise
	Suspects bool   // this one leads, and suspects itself: it withdraws nothing
	Blind    string // this one leads, and why it can't judge; "" when it can
}

// Observer judges the clusters of a mesh. Make one with [New]; Run may be called once.
type Observer struct {
	config    Config
	store     *registry.Store
	log       Log
	stream    Stream
	settings  atomic.Pointer[Settings]
	signs     *signs
	candidate election.Candidate
	leased    uint64                 // the epoch that the lease named which was taken last
	described registry.Configuration // what the history says of the configuration; Fields nil where another said it. Run's
	tally     *tally                 // only Run uses it

	mu     sync.Mutex // guards status
	status Status
}

// New returns an observer; it starts nothing. It judges the Views of store, which
// somebody else keeps. Any number may run beside each other, one leads.
func New(config Config, settings Settings, store *registry.Store, log Log, stream Stream) (*Observer, error) {
	if config.Agent == "" {
		return nil, errors.New("observer: a name is needed")
	}
	config.Timing = config.Timing.withDefaults()
	o := &Observer{
		config: config, store: store, log: log, stream: stream, signs: newSigns(config.Timing.Pause),
		candidate: election.NewCandidate(config.Agent, nil), tally: newTally(store),
	}
	o.settings.Store(&settings)
	return o, nil
}

// Reload replaces the settings. It does not block and may be called from any goroutine.
func (o *Observer) Reload(settings Settings) { o.settings.Store(&settings) }

// Status returns what the observer does at the moment. It never blocks for long.
func (o *Observer) Status() Status {
	o.mu.Lock()
	s := o.status
	o.mu.Unlock()
	if l, heard := o.signs.observer(); heard {
		s.Holder, s.Epoch, s.Revision = l.Agent, l.Epoch, l.Revision
	}
	return s
}

func (o *Observer) setStatus(change func(*Status)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	change(&o.status)
}

// Run observes until ctx ends. It leads when nobody else does; at the end it says in
// its lease that it stopped, which takes 5 s at most. It returns nil.
func (o *Observer) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	watch, stop := context.WithCancel(ctx)
	defer stop()
	wg.Go(func() {
		o.again(watch, "watch the leases", func() error { return o.stream.WatchLeases(watch, o.signs.lease) })
	})
	wg.Go(func() {
		o.again(watch, "watch the probes", func() error { return o.stream.WatchProbes(watch, o.signs.report) })
	})
	retry := o.config.Timing.backoff()
	for {
		sequence, err := o.takeLease(ctx)
		if err != nil {
			return nil // only the end of ctx ends it
		}
		began := time.Now()
		err = o.lead(ctx, sequence)
		o.setStatus(func(s *Status) { *s = Status{} })
		if ctx.Err() != nil {
			return nil
		}
		rest := retry.NextBackOff()
		switch {
		case errors.Is(err, errBlind): // let another one try
			o.config.Logger.Warn("no longer the observer", "err", err)
			rest = o.config.Timing.Lapse
		case errors.Is(err, registry.ErrFenced), errors.Is(err, registry.ErrConflict):
			o.config.Logger.Warn("no longer the observer: another one has taken over", "err", err)
		default:
			o.config.Logger.Error("observing ended", "err", err)
		}
		if time.Since(began) > time.Minute {
			retry.Reset()
		}
		if !election.Pause(ctx, rest) {
			return nil
		}
	}
}

// again repeats what should never end until ctx does.
func (o *Observer) again(ctx context.Context, what string, f func() error) {
	retry := o.config.Timing.backoff()
	for {
		began := time.Now()
		err := f()
		if ctx.Err() != nil {
			return
		}
		o.config.Logger.Warn("trying again: nothing is judged meanwhile", "what", what, "err", err)
		if time.Since(began) > time.Minute {
			retry.Reset()
		}
		if !election.Pause(ctx, retry.NextBackOff()) {
			return
		}
	}
}

// current tells why the View can't be judged; "" when it can.
func current(v *registry.View) string {
	if cut, is := v.Cut(); is {
		return fmt.Sprintf("the registry is cut off from the stream (%s)", cut.Reason)
	}
	if !v.Synced() {
		return "the registry has not caught up with the stream"
	}
	return ""
}
