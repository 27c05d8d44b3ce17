package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/seamark-mesh/seamark/e2e/servers"
)

const (
	nacosServices = 100
	nacosCluster  = "jade"
	// nacosDelay is Nacos's own default: for so long it gathers changes before it pushes.
	nacosDelay = 500 * time.Millisecond
)

// pushBench registers and deregisters the second instance of one service, one
// change at a time.
type pushBench struct {
	wg         *sync.WaitGroup
	server     *servers.NacosServer
	asker      *asker
	question   question
	published  <-chan time.Time
	subscriber *subscriber

	changes []change
	pushed  samples // the push came here → the changed answer
	waited  samples // sent → the push came here
}

func measureNacos(ctx context.Context, s *site, r *result) error {
	count := 250
	if s.options.quick {
		count = 10
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	b := &pushBench{wg: &wg}
	if err := b.open(ctx, s, cancel); err != nil {
		return cmpCause(ctx, err)
	}
	s.say("%d changes", count)
	const warmUp = 6
	for n := range warmUp + count {
		if n == warmUp {
			b.changes, b.pushed, b.waited, b.asker.gaps = nil, nil, nil, nil
		}
		if !pause(ctx, 20*time.Millisecond+rand.N(100*time.Millisecond)) {
			return context.Cause(ctx)
		}
		if err := b.one(ctx, n%2 == 0); err != nil {
			return fmt.Errorf("change %d: %w", n, cmpCause(ctx, err))
		}
	}
	return b.report(ctx, s, r)
}

// cmpCause prefers the reason why ctx ended to what followed from it.
func cmpCause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func (b *pushBench) open(ctx context.Context, s *site, fail context.CancelCauseFunc) error {
	if err := s.startNATS(ctx); err != nil {
		return err
	}
	dir, err := s.folder("nacos")
	if err != nil {
		return err
	}
	if b.server, err = servers.StartNacos(ctx, dir, servers.NacosConfig{PushDelay: nacosDelay}); err != nil {
		return err
	}
	s.atEnd(b.server.Kill)
	var state struct{ Version string }
	if err := get(ctx, "http://"+b.server.Addr+"/nacos/v1/console/server/state", &state); err == nil && state.Version != "" {
		s.versions["Nacos"] = state.Version
	} else {
		s.versions["Nacos"] = "2.3.2"
	}
	for n := range nacosServices {
		if err := b.put(ctx, http.MethodPost, serviceName(n), "10.0.0.1"); err != nil {
			return err
		}
	}
	if err := s.startGlobalDNS(ctx); err != nil {
		return err
	}
	_, err = s.startAgent(ctx, nacosCluster, map[string]any{"nacos": map[string]any{
		"servers":    []string{b.server.Addr},
		"namespaces": []any{map[string]any{"id": "", "as": "default", "groups": []any{map[string]any{"name": nacosGroup}}}},
	}})
	if err != nil {
		return err
	}
	if b.asker, err = s.newAsker(); err != nil {
		return err
	}
	if b.question, err = newQuestion(serviceName(0)+".svc.mesh.internal.", dnsmessage.TypeTXT); err != nil {
		return err
	}
	if _, err := b.asker.until(ctx, b.question, total(1)); err != nil {
		return err
	}
	if b.published, err = s.published(ctx, nacosCluster, serviceName(0)); err != nil {
		return err
	}
	if b.subscriber, err = subscribe(ctx, b.server, serviceName(0)); err != nil {
		return err
	}
	s.atEnd(b.subscriber.conn.Close)
	b.wg.Go(func() {
		if err := b.subscriber.receive(); ctx.Err() == nil {
			fail(fmt.Errorf("the subscription of bench itself: %w", err))
		}
	})
	return nil
}

// put registers (POST) or deregisters (DELETE) a persistent instance.
func (b *pushBench) put(ctx context.Context, method, service, ip string) error {
	return nacosCall(ctx, b.server, method, "/instance", url.Values{
		"serviceName": {service}, "groupName": {nacosGroup}, "ip": {ip}, "port": {"8080"}, "ephemeral": {"false"},
	})
}

func total(n int) func(answer) bool {
	return func(a answer) bool { return a.has(fmt.Sprintf("total=%d", n)) }
}

// one makes one change and waits for its push and its answer.
func (b *pushBench) one(ctx context.Context, register bool) error {
	method, hosts := http.MethodDelete, 1
	if register {
		method, hosts = http.MethodPost, 2
	}
	drain(b.published)
	c := change{service: serviceName(0), sent: time.Now()}
	wrote := write(ctx, b.wg, func(ctx context.Context) error { return b.put(ctx, method, serviceName(0), "10.0.0.2") })
	var err error
	if c.published, c.answered, err = b.asker.after(ctx, b.published, b.question, total(hosts)); err != nil {
		return err
	}
	pushed, err := b.subscriber.until(ctx, hosts)
	if err != nil {
		return err
	}
	w := <-wrote
	c.returned = w.at
	b.changes = append(b.changes, c)
	b.pushed = append(b.pushed, c.answered.Sub(pushed))
	b.waited = append(b.waited, pushed.Sub(c.sent))
	return w.err
}

func (b *pushBench) report(ctx context.Context, s *site, r *result) error {
	history, err := s.history(ctx, nacosCluster)
	if err != nil {
		return err
	}
	st := divide(b.changes, history)
	if len(st.seen) == 0 {
		return errors.New("no change has an event in the history")
	}
	var whole, known samples
	for _, c := range b.changes {
		whole = append(whole, c.answered.Sub(c.sent))
	}
	for n := range st.answered {
		known = append(known, st.prepared[n]+st.stored[n]+st.answered[n])
	}
	r.times("push of Nacos → changed DNS answer", b.pushed, "p99 ≤ 25 ms", p99Within(25))
	r.times("… by the agent's own clock", known, "", nil)
	r.times("register or deregister → changed DNS answer", whole, "", nil)
	r.times("… until the push came", b.waited, "", nil)
	st.report(r, "Nacos")
	r.times("asked every", b.asker.gaps, "", nil)
	r.note("One change of one of %d services at a time. Nacos gathers changes for its default of %v before it pushes (pushTaskDelay), and ticks every 100 ms: "+
		"that is most of the whole way, and nothing a subscriber can change.", nacosServices, nacosDelay)
	r.note("The push is seen by a subscriber of bench's own, beside the agent. Nacos pushes to one subscriber after the other, so a single difference may be a little " +
		"too large, too small, or below zero; the agent's own clock (“seen” in the event) starts after the push was decoded.")
	return nil
}
