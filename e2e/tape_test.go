package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
)

// tape is the stream as it grows. Every case is held to what it shows.
type tape struct {
	conn *stream.Conn

	mu       sync.Mutex // guards the fields below
	messages []registry.Message
	mayEnd   bool // the stream is to be deleted
}

// endsWithTheStream allows that the tape ends before the test does.
func (p *tape) endsWithTheStream() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mayEnd = true
}

// record reads the stream of a mesh until the test ends, also after NATS was away.
func (m *mesh) record(t *testing.T) *tape {
	t.Helper()
	conn := m.connection(t.Context(), t)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	tape := &tape{conn: conn}
	var wg sync.WaitGroup
	wg.Go(func() {
		err := conn.Read(ctx, stream.StartAt{Policy: stream.WholeHistory}, func(b stream.Batch) error {
			tape.mu.Lock()
			defer tape.mu.Unlock()
			tape.messages = append(tape.messages, b.Messages...)
			return nil
		})
		tape.mu.Lock()
		defer tape.mu.Unlock()
		if !errors.Is(err, context.Canceled) && !tape.mayEnd {
			t.Errorf("the tape ended: %v", err)
		}
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		conn.Close()
	})
	return tape
}

// all returns what was stored until now, in order.
func (p *tape) all() []registry.Message {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clip(p.messages)
}

// said returns what was published about one service of a cluster in the default
// namespace, each event in short: see [short].
func (p *tape) said(cluster, service string) []string {
	var said []string
	for _, e := range events(p.all(), cluster, registry.DefaultNamespace, service) {
		said = append(said, short(e))
	}
	return said
}

// short is an event in one line: what changed of which instance, and how many of
// how many serve then. "+a -b ~c health,weight 1/2".
func short(e *registry.Event) string {
	if e == nil || e.Service == nil {
		return "not readable"
	}
	var parts []string
	if c := e.Service.Changes; c != nil {
		for _, id := range c.Added {
			parts = append(parts, "+"+shortID(id))
		}
		for _, id := range c.Removed {
			parts = append(parts, "-"+shortID(id))
		}
		for _, i := range c.Changed {
			parts = append(parts, "~"+shortID(i.ID)+" "+strings.Join(i.Fields, ","))
		}
	}
	if e.Cause == registry.CauseRefresh {
		parts = append(parts, "refresh")
	}
	return strings.Join(append(parts, fmt.Sprintf("%d/%d", e.Service.Serving, e.Service.Total)), " ")
}

// shortID leaves of an id what the test has given: of Consul's node/id the id, of
// Nacos's ip#port#cluster#service the address and port.
func shortID(id string) string {
	if parts := strings.Split(id, "#"); len(parts) > 2 {
		return parts[0] + ":" + parts[1]
	}
	return id[strings.LastIndex(id, "/")+1:]
}
