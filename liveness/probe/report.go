package probe

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// Publisher stores reports; the stream's Conn is one. It is called by several goroutines,
// never by two for one cluster.
type Publisher interface {
	// PutProbe replaces what the vantage point reports of a cluster. Cut tells that the
	// report had to be shortened.
	PutProbe(ctx context.Context, r registry.ProbeReport) (cut bool, err error)
}

// ReporterConfig says who reports, and when.
type ReporterConfig struct {
	Vantage string        // see [registry.ParseVantage]
	Agent   string        // host and process
	Every   time.Duration // between two reports about a cluster; 10 s when 0

	// Speaks, when not nil, is asked before each report: while it says no, nothing is
	// published. A standby's verdicts are kept, not told.
	Speaks func() bool

	// Final, when not nil, tells which errors of the publisher end Run.
	Final func(error) bool

	Logger *slog.Logger // nil: none
}

// Bounds of what a [Reporter] publishes, whatever turns.
const (
	regularPerSecond = 30                    // reports that nothing new is in
	spacing          = 20 * time.Millisecond // between two reports: 50 a second in all
	sameCluster      = 500 * time.Millisecond
	inFlight         = 16 // reports that wait for their acknowledgement
	longestPause     = 5 * time.Second
	askAgain         = time.Second // whether to speak
)

// Reporter publishes what a [Prober] finds: one report for each cluster, at once when a
// verdict has turned, and every ten seconds otherwise (less often where there are more
// than 300 clusters). Clusters of whose gateways nothing is known are not reported; where
// something was reported and nothing is known any more, one report without gateways takes
// its place.
type Reporter struct {
	config ReporterConfig
	prober *Prober
	to     Publisher
	random func() float64
}

// NewReporter returns a Reporter. It is the only one of its Prober.
func NewReporter(c ReporterConfig, p *Prober, to Publisher) *Reporter {
	if c.Every <= 0 {
		c.Every = 10 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &Reporter{config: c, prober: p, to: to, random: rand.Float64}
}

// reporting is a Reporter that runs. One goroutine uses it.
type reporting struct {
	*Reporter
	clusters map[registry.ClusterID]*pending
	free     time.Time // when the next report may go
	busy     int       // reports on their way
	pause    time.Duration
	failing  bool
	saidCut  map[registry.ClusterID]struct{}
}

// pending is when the next report about a cluster is due.
type pending struct {
	due  time.Time
	last time.Time // when one went; zero: never
	busy bool      // one is on its way
	told bool      // the latest that went says something of a gateway
}

// sent is what became of a report.
type sent struct {
	cluster registry.ClusterID
	cut     bool
	err     error
}

// Run publishes until ctx ends, and then returns nil; or returns an error that Final
// calls one. It may be called again.
func (r *Reporter) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	s := &reporting{Reporter: r, clusters: map[registry.ClusterID]*pending{}, saidCut: map[registry.ClusterID]struct{}{}}
	for _, id := range r.prober.Clusters() {
		s.hear(id, time.Now())
	}
	done := make(chan sent, inFlight)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		wait := s.send(time.Now(), func(report registry.ProbeReport) {
			wg.Go(func() {
				cut, err := r.to.PutProbe(ctx, report)
				done <- sent{report.Cluster, cut, err}
			})
		})
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-r.prober.news:
			for _, id := range r.prober.takeTurned() {
				s.hear(id, time.Now())
			}
		case result := <-done:
			if err := s.acknowledge(ctx, result, time.Now()); err != nil {
				return err
			}
		}
	}
}

// hear takes note that there is news of a cluster.
func (s *reporting) hear(id registry.ClusterID, now time.Time) {
	c := s.clusters[id]
	if c == nil {
		s.clusters[id] = &pending{due: now}
		return
	}
	if soon := later(now, c.last.Add(sameCluster)); soon.Before(c.due) { // never later than it was due: news may come all the time
		c.due = soon
	}
}

// send hands on the reports that are due, and returns how long to wait for the next.
func (s *reporting) send(now time.Time, hand func(registry.ProbeReport)) (wait time.Duration) {
	if len(s.clusters) == 0 {
		return time.Hour
	}
	if s.config.Speaks != nil && !s.config.Speaks() {
		return askAgain
	}
	for s.busy < inFlight {
		if wait := s.free.Sub(now); wait > 0 {
			return wait
		}
		id, wait := s.first(now)
		if id == "" {
			return wait
		}
		verdicts, c := s.prober.Verdicts(id), s.clusters[id]
		if len(verdicts) == 0 && !c.told { // its gateways are gone, or new ones
			delete(s.clusters, id)
			continue
		}
		every := s.every()
		c.busy, c.last, c.told = true, now, len(verdicts) > 0
		c.due = now.Add(time.Duration((0.8 + 0.2*s.random()) * float64(every)))
		s.busy++
		s.free = now.Add(spacing)
		hand(registry.ProbeReport{
			Schema: registry.Schema, Vantage: s.config.Vantage, Agent: s.config.Agent, Cluster: id, Time: now.UTC(),
			Gateways: verdicts, Every: (every + time.Duration(len(s.clusters))*spacing + time.Second).Seconds(), // see first
		})
	}
	return time.Hour // until one is acknowledged
}

// first returns the cluster that has been due for longest; "" when none is. So nobody
// waits for more than one report about each of the others, however often verdicts turn.
func (s *reporting) first(now time.Time) (id registry.ClusterID, wait time.Duration) {
	wait = time.Hour
	var best *pending
	for name, c := range s.clusters {
		switch {
		case c.busy:
		case c.due.After(now):
			wait = min(wait, c.due.Sub(now))
		case best == nil || c.due.Before(best.due):
			id, best = name, c
		}
	}
	return id, wait
}

// every is how often a cluster is reported: less often where they are many.
func (s *reporting) every() time.Duration {
	return max(s.config.Every, time.Duration(len(s.clusters))*time.Second/regularPerSecond)
}

// acknowledge takes what became of a report. One that failed is sent again, all of them
// more slowly.
func (s *reporting) acknowledge(ctx context.Context, result sent, now time.Time) error {
	s.busy--
	c := s.clusters[result.cluster]
	if c != nil {
		c.busy = false
	}
	log := s.config.Logger
	switch err := result.err; {
	case err == nil:
		if s.failing {
			log.Info("probe reports are stored again")
		}
		s.failing, s.pause = false, 0
	case ctx.Err() != nil:
		return nil
	case s.config.Final != nil && s.config.Final(err):
		return err
	default:
		if !s.failing {
			log.Warn("probe reports can't be stored: trying again", "err", err)
		}
		s.failing = true
		s.pause = min(max(2*s.pause, time.Second), longestPause)
		s.free = now.Add(s.pause)
		if c != nil {
			c.due, c.told = now, true // it may be stored all the same, and so may the one before
		}
	}
	if _, said := s.saidCut[result.cluster]; result.cut && !said && len(s.saidCut) < maxSaid {
		s.saidCut[result.cluster] = struct{}{}
		log.Warn("a probe report is too large for the stream: it goes without latencies, and without errors where that is not enough", "cluster", string(result.cluster))
	}
	return nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
