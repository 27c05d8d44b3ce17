package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/url"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/seamark-mesh/seamark/e2e/servers"
)

// flipBench is one health flip at a time, through Seamark and through Consul's
// peering in turn. Each has a Consul of its own to write to, so that neither does
// the other's work.
type flipBench struct {
	wg           *sync.WaitGroup
	ours, theirs *catalog
	asker        *asker
	question     question
	published    <-chan time.Time
	peering      *peering

	changes []change // ours
	peered  samples
	wrote   samples // until Consul had answered theirs
}

// Both Consuls hold the same.
const (
	flipServices = 100
	flipNodes    = 10
	flipCluster  = "amber"
)

func measureFlip(ctx context.Context, s *site, r *result) error {
	count := 600
	if s.options.quick {
		count = 100
	}
	return flips(ctx, s, r, count)
}

func flips(ctx context.Context, s *site, r *result, count int) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	b := &flipBench{wg: &wg}
	if err := b.open(ctx, s); err != nil {
		return err
	}
	forget := func() { b.changes, b.peered, b.wrote, b.asker.gaps = nil, nil, nil, nil }
	if err := inTurn(ctx, s, count, forget, b.flipOurs, b.flipTheirs); err != nil {
		return err
	}
	return b.report(ctx, s, r)
}

// inTurn flips a service's health so many times by each of some ways, one flip at a time, in
// turn in random order. The first few do not count: forget is called after them.
func inTurn(ctx context.Context, s *site, count int, forget func(), ways ...func(ctx context.Context, passing bool) error) error {
	s.say("%d flips of each", count)
	const warmUp = 10
	for n := range warmUp + count {
		if n == warmUp {
			forget()
		}
		rand.Shuffle(len(ways), func(i, j int) { ways[i], ways[j] = ways[j], ways[i] })
		for _, way := range ways {
			// At random, so that no timer of anybody's is in step with us.
			if !pause(ctx, 10*time.Millisecond+rand.N(15*time.Millisecond)) {
				return context.Cause(ctx)
			}
			if err := way(ctx, n%2 == 1); err != nil {
				return fmt.Errorf("flip %d: %w", n, err)
			}
		}
	}
	return nil
}

// open starts the servers and the daemons.
func (b *flipBench) open(ctx context.Context, s *site) error {
	if err := s.startNATS(ctx); err != nil {
		return err
	}
	var all [3]*catalog
	for n, name := range []string{"consul-mesh", "consul-writer", "consul-reader"} {
		ports, err := servers.FreePorts(1)
		if err != nil {
			return err
		}
		// All three alike, peering and its port included.
		hcl := fmt.Sprintf("datacenter = %q\nconnect { enabled = true }\npeering { enabled = true }\nports { grpc_tls = %d }\n", name, ports[0])
		if all[n], err = s.startConsul(ctx, name, servers.ConsulConfig{HCL: hcl}); err != nil {
			return err
		}
	}
	b.ours, b.theirs = all[0], all[1]
	for _, c := range []*catalog{b.ours, b.theirs} {
		if err := c.fill(ctx, flipServices, flipNodes, 1); err != nil {
			return err
		}
	}
	if err := s.startGlobalDNS(ctx); err != nil {
		return err
	}
	if _, err := s.startAgent(ctx, flipCluster, map[string]any{"consul": map[string]any{"address": b.ours.server.HTTP}}); err != nil {
		return err
	}
	var err error
	if b.asker, err = s.newAsker(); err != nil {
		return err
	}
	if b.question, err = newQuestion(serviceName(0)+".svc.mesh.internal.", dnsmessage.TypeA); err != nil {
		return err
	}
	if _, err := b.asker.until(ctx, b.question, answers(true)); err != nil {
		return err
	}
	if b.published, err = s.published(ctx, flipCluster, serviceName(0)); err != nil {
		return err
	}
	return b.openPeering(ctx, s, all[2])
}

func (b *flipBench) openPeering(ctx context.Context, s *site, reader *catalog) error {
	// A server that has just begun to lead may not be ready for peerings.
	if err := s.eventually(ctx, 30*time.Second, nil, func() error { return peer(ctx, b.theirs, reader) }); err != nil {
		return err
	}
	base := reader.server.HTTP
	if s.options.hold > 0 {
		at, err := url.Parse(base)
		if err != nil {
			return err
		}
		held, err := s.holdBack(at.Host)
		if err != nil {
			return err
		}
		base = "http://" + held
	}
	b.peering = watchPeered(ctx, b.wg, base)
	_, err := b.peering.until(ctx, true)
	return err
}

// answers matches what the only instance of the service gives.
func answers(passing bool) func(answer) bool {
	return func(a answer) bool {
		return a.rcode == dnsmessage.RCodeSuccess && (a.addresses > 0) == passing
	}
}

// flipOurs flips the service and asks until the answer has changed.
func (b *flipBench) flipOurs(ctx context.Context, passing bool) error {
	drain(b.published)
	c := change{service: serviceName(0), sent: time.Now()}
	wrote := write(ctx, b.wg, func(ctx context.Context) error { return b.ours.setHealth(ctx, 0, passing) })
	var err error
	if c.published, c.answered, err = b.asker.after(ctx, b.published, b.question, answers(passing)); err != nil {
		return err
	}
	w := <-wrote
	c.returned = w.at
	b.changes = append(b.changes, c)
	return w.err
}

// flipTheirs flips the service and waits until the peered cluster shows it.
func (b *flipBench) flipTheirs(ctx context.Context, passing bool) error {
	sent := time.Now()
	wrote := write(ctx, b.wg, func(ctx context.Context) error { return b.theirs.setHealth(ctx, 0, passing) })
	arrived, err := b.peering.until(ctx, passing)
	if err != nil {
		return err
	}
	w := <-wrote
	b.peered, b.wrote = append(b.peered, arrived.Sub(sent)), append(b.wrote, w.at.Sub(sent))
	return w.err
}

// written is how and when a registry took a change.
type written struct {
	at  time.Time
	err error
}

// write changes a registry while somebody watches what comes of it.
func write(ctx context.Context, wg *sync.WaitGroup, change func(context.Context) error) <-chan written {
	done := make(chan written, 1)
	wg.Go(func() {
		err := change(ctx)
		done <- written{time.Now(), err}
	})
	return done
}

func (b *flipBench) report(ctx context.Context, s *site, r *result) error {
	var mesh samples
	for _, c := range b.changes {
		mesh = append(mesh, c.answered.Sub(c.sent))
	}
	history, err := s.history(ctx, flipCluster)
	if err != nil {
		return err
	}
	peered := b.peered.summarize()
	ours := r.times("Consul flip → changed DNS answer", mesh, "p99 ≤ 25 ms", p99Within(25))
	r.times("Consul flip → blocking query on a peered Consul", b.peered, "", nil)
	r.number("ratio of the medians, ours to peering", "%.2f", ours.P50/peered.P50, "≤ 1", atMost(1.0))
	divide(b.changes, history).report(r, "Consul")
	r.times("… Consul has taken the change (peering's)", b.wrote, "", nil)
	r.times("asked every", b.asker.gaps, "", nil)
	r.note("One flip at a time, ours and peering's in turn in random order, 10–25 ms apart; each side writes to a Consul of its own "+
		"with %d services on %d nodes; the agent uses plain HTTP.", flipServices, flipNodes)
	r.note("The changed answer is found by asking over UDP, without a pause from the moment at which bench, subscribed to NATS too, has seen the event; " +
		"ours contains up to “asked every”. Peering's is a blocking query, which contains no such wait.")
	return nil
}
