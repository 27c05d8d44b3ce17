package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/seamark-mesh/seamark/registry"
	"golang.org/x/net/dns/dnsmessage"
)

// measureLarge fills a large zone, and measures what it holds and how soon a change in
// it is answered.
func measureLarge(ctx context.Context, s *site, r *result) error {
	services, flips := 100_000, 500
	if s.options.quick {
		services, flips = 5_000, 50
	}
	updates, err := s.startServing(ctx, services)
	if err != nil {
		return err
	}
	used, err := usageOf(s.serving.pid())
	if err != nil {
		return err
	}
	r.number(fmt.Sprintf("%d services in %d clusters, published while it ran: resident memory, the most there was", services, servingClusters), "%.0f MB", used.peak, "", nil)
	if err := s.restartServing(ctx, services); err != nil {
		return err
	}
	if used, err = usageOf(s.serving.pid()); err != nil {
		return err
	}
	r.number("… started with all on the stream: the most there was", "%.0f MB", used.peak, "≤ 400 MB", atMost(400.0))
	r.number("… from start to ready", "%.1f s", s.readyAfter.Seconds(), "", nil)
	if _, err := s.flips(ctx, updates, flips/10); err != nil { // warms up
		return err
	}
	quiet, err := s.flips(ctx, updates, flips)
	if err != nil {
		return err
	}
	r.times("an event stored until it is answered, one at a time", quiet, "p50 ≤ 2 ms", func(t summary) bool { return t.P50 <= 2 })
	r.note("From the acknowledgement of the event by NATS, which the reader gets at the same time, to the changed answer: the way from the stream, the fold, the compilation, and one question. The changes come 5 to 15 ms apart.")
	return nil
}

// flips lets the last cluster lose and regain single services, each time until the
// answer has changed.
func (s *site) flips(ctx context.Context, u *updater, count int) (samples, error) {
	a, err := s.newAsker()
	if err != nil {
		return nil, err
	}
	var all samples
	for n := range count {
		// Far enough apart that each change is a lone one.
		if !pause(ctx, 5*time.Millisecond+rand.N(10*time.Millisecond)) {
			return nil, context.Cause(ctx)
		}
		number, healthy := n/2*7919%u.services, n%2 == 1
		q, err := newQuestion(servingName(number)+".", dnsmessage.TypeA)
		if err != nil {
			return nil, err
		}
		want := servingClusters - 1
		if healthy {
			want = servingClusters
		}
		if _, err := u.end.Publish(ctx, []*registry.Event{u.service(number, healthy)}, u.fence); err != nil {
			return nil, err
		}
		stored := time.Now()
		answered, err := a.until(ctx, q, func(got answer) bool { return got.addresses == want })
		if err != nil {
			return nil, err
		}
		all = append(all, answered.Sub(stored))
	}
	return all, nil
}
