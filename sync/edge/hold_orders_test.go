package edge_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
	"github.com/seamark-mesh/seamark/registry/stream/streamtest"
	"github.com/seamark-mesh/seamark/sync/edge"
)

// Its time is over while the stream is out of reach, and the watch of orders has not
// noticed yet that it was cut off: what was ordered meanwhile comes later than the
// stream's acknowledgements.
func TestWhatWasRejectedWhileTheStreamWasAwayDoesNotPass(t *testing.T) {
	for name, rejected := range map[string]bool{"rejected": true, "nobody decided": false} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, newWorld(services(100)...), func(t *testing.T, w *world) {
				a := w.start("one")
				a.link.set(func(k *link) { k.lags = true })
				b := w.lose(t)
				time.Sleep(5 * time.Minute)
				a.link.set(func(k *link) { k.down = true })
				time.Sleep(5 * time.Minute)
				if rejected {
					w.decide(registry.Reject, b.ID)
				}
				time.Sleep(time.Hour)
				a.link.set(func(k *link) { k.down = false })
				time.Sleep(time.Minute)
				synctest.Wait()
				if !rejected {
					w.ends(t, b.ID, registry.BrakePassed)
					return
				}
				time.Sleep(time.Hour)
				w.mustStand(t, registry.NewSnapshot("", services(100)...))
				if got, _ := w.heldBack(); got.ID != b.ID || got.State != registry.BrakeRejected {
					t.Errorf("%+v", got)
				}
			})
		})
	}
}

// An agent whose credentials do not let it read orders obeys none, and nothing that it
// holds back ever passes: that is to be seen before somebody wonders.
func TestAnAgentThatCanNotReadOrdersSaysSo(t *testing.T) {
	errDenied := errors.New("permissions violation")
	for name, test := range map[string]struct {
		deny func(k *link)
		want string
	}{
		"its watch ends":          {func(k *link) { k.deny = errDenied }, errDenied.Error()},
		"its watch tells nothing": {func(k *link) { k.deaf = make(chan struct{}) }, "is it permitted"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, newWorld(services(3)...), func(t *testing.T, w *world) {
				var said bytes.Buffer
				w.log = &said
				a := w.prepare("one")
				test.deny(a.link)
				a.run()
				time.Sleep(time.Minute)
				synctest.Wait()
				if s := a.Status(); s.OrdersFault == nil || !strings.Contains(s.OrdersFault.Error(), test.want) {
					t.Errorf("the status says %v", s.OrdersFault)
				}
				if l, _ := w.memory.standingLease(); l.Phase != registry.PhaseSynced || !strings.Contains(l.Detail, test.want) {
					t.Errorf("the lease says %s %q", l.Phase, l.Detail)
				}
				if n := strings.Count(said.String(), "level=WARN msg=\"orders can't be read"); n != 1 {
					t.Errorf("%d warnings in\n%s", n, said.String())
				}
				a.link.set(func(k *link) { k.deny, k.deaf = nil, nil; k.hush(errLink) })
				time.Sleep(time.Minute)
				synctest.Wait()
				if s := a.Status(); s.OrdersFault != nil {
					t.Errorf("the status still says %v", s.OrdersFault)
				}
				if l, _ := w.memory.standingLease(); l.Detail != "" {
					t.Errorf("the lease still says %q", l.Detail)
				}
			})
		})
	}
}

// The same with a real server that does not let it.
func TestAnAgentWithoutThePermissionToReadOrdersSaysSo(t *testing.T) {
	s := streamtest.StartWith(t, func(o *server.Options) {
		orders := "$JS.API.CONSUMER.CREATE." + stream.EventsStream + ".*.mesh.v1._operator.>"
		o.Users = []*server.User{{Username: "admin", Password: "admin"}, {Username: "amber", Password: "amber", Permissions: &server.Permissions{
			Publish: &server.SubjectPermission{Deny: []string{orders}},
		}}}
	})
	at := func(name string) string {
		return "nats://" + name + ":" + name + "@" + strings.TrimPrefix(s.ClientURL(), "nats://")
	}
	streamtest.Create(t, streamtest.ConnectTo(t, at("admin")), 1)
	log := streamtest.ConnectTo(t, at("amber")).Writer(registry.Writer(cluster))
	agent, err := edge.New(edge.Config{
		Cluster: cluster, Agent: "one", Logger: slog.New(slog.DiscardHandler), Timing: edge.Timing{Renew: 200 * time.Millisecond, Lapse: time.Second},
	}, newWorld().settings, newSource(newCatalogue(services(3)...)), log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var wg sync.WaitGroup
	wg.Go(func() { _ = agent.Run(ctx) })
	defer wg.Wait()
	defer cancel()
	streamtest.Eventually(t, time.Minute, "it says so in its status and its lease", func() bool {
		at, err := log.ReadLease(ctx)
		return err == nil && at.Lease.Phase == registry.PhaseSynced && strings.Contains(at.Lease.Detail, "orders can't be read") && agent.Status().OrdersFault != nil
	})
}

// A hold without an end has no moment at which it passes.
func TestAHoldWithoutAnEndIsNotSaidToEnd(t *testing.T) {
	w := newWorld(services(100)...)
	w.brake.Stay = true
	inWorld(t, w, func(t *testing.T, w *world) {
		var said bytes.Buffer
		w.log = &said
		w.start("one")
		w.lose(t)
		if text := said.String(); strings.Contains(text, "0001-01-01") || !strings.Contains(text, "until=\"somebody decides\"") {
			t.Error(text)
		}
	})
}
