package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"reflect"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/seamark-mesh/seamark/api"
	"github.com/seamark-mesh/seamark/cmd/internal/proc"
	"github.com/seamark-mesh/seamark/dnsserver"
	"github.com/seamark-mesh/seamark/dnsserver/cookie"
	"github.com/seamark-mesh/seamark/dnsserver/lookup"
	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/election"
	"github.com/seamark-mesh/seamark/registry/replica"
	"github.com/seamark-mesh/seamark/registry/stream"
)

// gather is how long changes are gathered once there are many: with more than 250 reads a
// second of the stream, each costs more than what it brings.
const gather = 4 * time.Millisecond

// grace is how long the parts may take to end.
const grace = 10 * time.Second

// How garbage is collected, unless the environment's GOGC says otherwise. Nearly all
// that a global-dns holds lives long, and it makes little garbage: less headroom than
// usual saves memory (garbagePercent, GOGC). But a small heap would be collected all the
// time then, so the runtime is made to believe in a larger one (headroom): memory that
// is never touched, and so never taken.
const (
	garbagePercent = 50
	headroom       = 64 << 20
)

// tuneCollector returns what must be kept alive.
func tuneCollector(environ []string) []byte {
	if slices.ContainsFunc(environ, func(v string) bool { return strings.HasPrefix(v, "GOGC=") }) {
		return nil
	}
	debug.SetGCPercent(garbagePercent)
	return make([]byte, headroom)
}

// run joins the parts of global-dns and runs them until ctx ends. DNS and HTTP
// answer from the first moment; until the replica has caught up they say so.
func run(ctx context.Context, c Config, p *proc.Process) error {
	defer runtime.KeepAlive(tuneCollector(p.Environ))
	metrics := proc.NewMetrics("global-dns")
	observed := newObserver(metrics)
	store := &registry.Store{}
	conn := &connection{config: c, logger: p.Logger, probes: newProbes(c.Probes, store, metrics, p.Logger)}
	conn.remembered.kept.path, conn.remembered.kept.logger = string(c.Archive.Path), p.Logger
	conn.observing = newObserving(c.Observer, store, metrics, p.Logger)
	conn.losses = newLosses(metrics)
	conn.unverified = newUnverified(metrics)
	conn.archiving = newArchiving(c.Archive, metrics, p.Logger)
	followed := replica.New(store, conn, observed, p.Logger)
	followed.Use(c.options(conn))
	kept := newKeeper(c, store, metrics, p.Logger)
	kept.resume(followed)
	metrics.MustRegister(newCollector(store, followed))
	random := cookie.NewSecret()
	settings, faults := c.DNS.Settings(random)
	if len(faults) > 0 {
		return proc.Faults(faults)
	}
	dns, err := dnsserver.New(dnsserver.Config{Listen: c.DNS.Listen, Settings: settings}, store, observed, p.Logger)
	if err != nil {
		return err
	}
	metrics.MustRegister(newFastPath(dns.Counts))
	server, err := proc.Listen(ctx, proc.HTTPConfig{
		Address: c.HTTP, Ready: readyUntil(ctx, followed.Ready), ReadyText: readyText(store), Metrics: metrics, Logger: p.Logger,
		Routes: map[string]http.Handler{"/v1/": api.New(api.Config{
			Views: store, Leases: followed, Observer: conn.observing.status, Resolve: resolve, Version: proc.Version(), Zone: c.Zone.Name,
			Audit: conn.audit(), Checkpoint: kept.status(followed), Archive: conn.archiving.status,
		})},
	})
	if err != nil {
		return err
	}
	lingering, stop := proc.Linger(ctx, c.Linger)
	defer stop()
	return proc.Run(lingering, p.Logger, grace,
		proc.Part{Name: "http", Run: server.Run},
		proc.Part{Name: "dns", Run: func(ctx context.Context) error {
			return proc.Hint(dns.Run(ctx), "another program may use the port, or a port below 1024 needs the right to bind it; change dns.listen")
		}},
		proc.Part{Name: "stream", Run: func(ctx context.Context) error { return conn.run(ctx, followed, kept) }},
		proc.Part{Name: "reload", Run: func(ctx context.Context) error {
			w := watcher{running: c, random: random, dns: dns, conn: conn, logger: p.Logger}
			return p.Reloads(ctx, func(why string) { w.reload(p, why) })
		}},
	)
}

// readyUntil says that it is not ready once ctx has ended.
func readyUntil(ctx context.Context, ready func() error) func() error {
	return func() error {
		if ctx.Err() != nil {
			return errors.New("it is stopping")
		}
		return ready()
	}
}

// resolve answers for the HTTP API.
func resolve(v *registry.View, name, rrtype string) (api.Resolution, error) {
	r, err := lookup.Resolve(v, name, rrtype)
	if err != nil {
		return api.Resolution{}, err
	}
	out := api.Resolution{RCode: r.RCode, Answers: r.Answers, Why: make([]api.Why, 0, len(r.Why))}
	for _, w := range r.Why {
		out.Why = append(out.Why, api.Why(w))
	}
	return out, nil
}

// connection is the stream once it was reached for the first time.
type connection struct {
	*stream.Conn // set before anything uses it
	config       Config
	logger       *slog.Logger
	probes       *probes
	observing    *observing
	archiving    *archiving
	seed         atomic.Pointer[registry.ZoneRecord] // of the latest configuration
	losses       *prometheus.CounterVec
	unverified   prometheus.Counter
	begun        chan struct{}               // closed when the stream that is there was held to what is known
	beginning    sync.Once                   // closes begun
	known        func() *registry.View       // what is shown, or a checkpoint holds; set before anything uses it
	reached      atomic.Pointer[stream.Conn] // as Conn, for who may ask before it is set
	remembered   remembering                 // for questions about the history
}

// run connects, prepares the streams and the zone record, and follows.
func (c *connection) run(ctx context.Context, followed *replica.Replica, kept *keeper) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	holding, stop := context.WithCancel(ctx)
	defer stop()
	wg.Go(func() { followed.Hold(holding) })
	c.known, c.begun = followed.Known, make(chan struct{})
	n := c.config.NATS
	conn, err := stream.Connect(ctx, stream.ConnectConfig{
		Servers: n.Servers, Name: "global-dns", Credentials: string(n.Credentials),
		CA: string(n.CA), Cert: string(n.Cert), Key: string(n.Key), Logger: c.logger, Gather: gather,
		Waits: func(error) { followed.Show("NATS can't be reached") },
	})
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return proc.Hint(fmt.Errorf("nats: %w", err), "look at the nats section of the configuration")
	}
	defer conn.Close()
	if err := c.config.Signing.Begin(conn, c.logger); err != nil {
		return err
	}
	if c.remembered.refuses, err = c.config.Verify.begin(conn, c.unverified, c.logger); err != nil {
		return err
	}
	c.Conn = conn
	c.reached.Store(conn)
	known := replica.Place{Sequence: c.known().Sequence()}
	if err := c.insist(ctx, "prepare the streams", func() error { return c.prepareStreams(ctx, known) }); err != nil {
		return nil
	}
	zone := c.config.Zone
	c.seed.Store(&zone)
	return proc.Run(ctx, c.logger, grace, append(slices.Concat(c.probes.parts(c), c.observing.parts(c), kept.parts(followed), c.archiving.parts(c)),
		proc.Part{Name: "replica", Run: followed.Run},
		proc.Part{Name: "zone", Run: c.keepZone},
	)...)
}

// insist repeats f until it succeeds; the error is the end of ctx.
func (c *connection) insist(ctx context.Context, what string, f func() error) error {
	pauses := backoff.NewExponentialBackOff()
	pauses.InitialInterval, pauses.MaxInterval = 200*time.Millisecond, 10*time.Second
	for {
		err := f()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		c.logger.Warn("trying again", "what", what, "err", err)
		if !election.Pause(ctx, pauses.NextBackOff()) {
			return context.Cause(ctx)
		}
	}
}

// prepareStreams creates what is missing, if it may, and reports what differs. A stream
// that is created in another's place begins beyond what is known.
func (c *connection) prepareStreams(ctx context.Context, known replica.Place) error {
	s := c.config.Streams
	settings := stream.Settings{Replicas: s.Replicas, HistoryAge: s.HistoryAge, HistoryBytes: s.HistoryBytes}
	if known.Sequence > 0 || s.Manage && c.leaveStreamToOthers(ctx, known, settings) {
		settings.First = known.Sequence + sequenceHeadroom
	}
	var differences []stream.Difference
	var created []string
	var err error
	if s.Manage {
		created, differences, err = c.CreateStreams(ctx, settings)
	} else {
		differences, err = c.CheckStreams(ctx, settings)
	}
	if err != nil {
		return err
	}
	for _, name := range created {
		c.logger.Info("stream created", "stream", name)
	}
	for _, d := range differences {
		if d.Missing {
			return errors.New("stream " + d.Stream + " is missing and streams.manage is false: create it with seamark streams apply")
		}
		c.logger.Warn("a stream is not as configured: it is left as it is; seamark streams apply changes it",
			"stream", d.Stream, "field", d.Field, "have", d.Have, "want", d.Want)
	}
	return nil
}

// keepZone makes sure that a zone record stands, and looks after its age.
func (c *connection) keepZone(ctx context.Context) error {
	said := registry.ZoneRecord{}
	c.leaveZoneToOthers(ctx)
	for {
		configured := *c.seed.Load()
		ours := configured
		if last := c.known().Zone(); last != nil { // a stream that lost its record gets the last one that stood
			ours = *last
		}
		err := c.insist(ctx, "seed the zone record", func() error {
			now, err := c.Now(ctx)
			if err != nil {
				return err
			}
			stands, err := replica.SeedZone(ctx, c, ours, author(), now)
			if err == nil && !stands.Equal(configured) && !stands.Equal(said) {
				said = stands
				c.logger.Warn("the zone record on the stream differs from this configuration, and wins: seamark zone diff shows how", "zone", stands.Name)
			}
			return err
		})
		if err != nil {
			return nil
		}
		if !election.Pause(ctx, time.Minute) {
			return nil
		}
	}
}

// author names this process in what it writes.
func author() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return "global-dns@" + host
}

// watcher takes up changes of the configuration. One goroutine uses it.
type watcher struct {
	running Config
	random  cookie.Secret // for cookies, where no file holds one
	dns     *dnsserver.Server
	conn    *connection
	logger  *slog.Logger
}

// reload takes up what can be changed while running: the settings of dns, the files
// that they name read anew, and the zone, which is a seed and a thing to compare with.
// All of the configuration is taken up or nothing of it.
func (w *watcher) reload(p *proc.Process, why string) {
	next, faults := Load(p.Path, p.Environ, p.Flags)
	var settings dnsserver.Settings
	if len(faults) == 0 {
		settings, faults = next.DNS.Settings(w.random)
	}
	if len(faults) > 0 {
		w.logger.Error("the new configuration is refused, the old one stays", "why", why, "faults", len(faults), "err", proc.Faults(faults))
		return
	}
	if fixed := Reloadable(w.running, next); len(fixed) > 0 {
		w.logger.Error("the new configuration is refused: these fields need a restart", "why", why, "fields", fixed)
		return
	}
	if err := w.dns.Reload(settings); err != nil {
		w.logger.Error("the new configuration is refused, the old one stays", "why", why, "err", err)
		return
	}
	if !reflect.DeepEqual(next.DNS, w.running.DNS) {
		w.logger.Info("the settings of dns have changed", "why", why)
	}
	if next.Observer != w.running.Observer {
		w.conn.observing.reload(next.Observer)
		w.logger.Info("the settings of the observer have changed", "why", why)
	}
	if !next.Zone.Equal(w.running.Zone) {
		zone := next.Zone
		w.conn.seed.Store(&zone)
		w.logger.Info("the configured zone has changed: seamark zone apply makes it the zone record", "why", why)
	}
	w.running = next
}
