package doctor

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Options say where to look. All but NATS may be empty: what is not named is not looked
// at, and [Report].NotAsked says so.
type Options struct {
	NATS        string   // URL of a NATS server
	Credentials string   // file with a JWT and its seed
	Servers     []string // URLs of global-dns
	Agents      []string // URLs of edge-sync
	DNS         []string // host:port; none: the zone's name servers, or DefaultDNS
	Configs     []string // files
	Transfers   string   // how zone transfers should be: "allowed", "refused" or ""
	Environ     []string // for the programs that check configurations
	Logger      *slog.Logger
}

// DefaultDNS is asked when neither the options nor the zone record say whom to ask.
const DefaultDNS = "127.0.0.1:5300"

const defaultPort = 5300 // of DefaultDNS

// Bounds of waiting.
const (
	probeTimeout = 5 * time.Second         // for one answer
	foldTimeout  = 15 * time.Second        // for reading the stream
	heard        = 4500 * time.Millisecond // leases: three renewals at least
	catchUp      = 3 * time.Second         // for a reader to come as far as the stream was
	maxBody      = 64 << 20                // of an HTTP answer
)

// gathering is one examination under way. Each part of facts is written by one goroutine;
// the channels say when a part may be read by others.
type gathering struct {
	options Options
	facts   *Facts
	stream  *follower

	streamsKnown chan struct{} // Facts.NATS and Facts.Streams are complete but for Streams.After, or will not be
	viewKnown    chan struct{} // the stream was read once, or can't be
}

// Gather asks all that is named, at the same time. It blocks until everything has
// answered or was given up, a few seconds as a rule, and never longer than ctx lasts. It
// changes nothing anywhere.
func Gather(ctx context.Context, o Options) *Facts {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	g := &gathering{
		options: o, stream: newFollower(),
		facts: &Facts{
			Transfers: o.Transfers, Readers: make([]Reader, len(o.Servers)), Agents: make([]Agent, len(o.Agents)),
			Configs: make([]Config, len(o.Configs)),
		},
		streamsKnown: make(chan struct{}), viewKnown: make(chan struct{}),
	}
	var asked, all sync.WaitGroup
	for n, server := range o.Servers {
		asked.Go(func() { g.facts.Readers[n] = g.reader(ctx, server) })
	}
	asked.Go(func() { g.facts.DNS = g.nameServers(ctx) })
	for n, agent := range o.Agents {
		all.Go(func() { g.facts.Agents[n] = g.agent(ctx, agent) })
	}
	for n, path := range o.Configs {
		all.Go(func() { g.facts.Configs[n] = g.config(ctx, path) })
	}
	all.Go(func() { g.facts.Credentials = readCredentials(o.Credentials) })
	all.Go(func() { g.facts.Certs = g.certificates(ctx) })
	all.Go(func() { g.nats(ctx, asked.Wait) })
	asked.Wait()
	all.Wait()
	g.facts.Local = time.Now()
	return g.facts
}

// wait waits for a channel; false when ctx ended before.
func wait(ctx context.Context, c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	case <-ctx.Done():
		return false
	}
}

// pause waits for a time; false when ctx ended before.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
