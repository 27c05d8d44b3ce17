package stream_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
	"github.com/seamark-mesh/seamark/registry/stream/streamtest"
)

// agentPermissions are all that an agent needs within one account.
func agentPermissions(cluster string) *server.Permissions {
	tree := "mesh.v1." + cluster + ".>"
	publish := []string{tree}
	for _, name := range []string{stream.EventsStream, stream.LeaseStream} {
		publish = append(publish,
			"$JS.API.STREAM.INFO."+name, "$JS.API.DIRECT.GET."+name+"."+tree,
			"$JS.API.CONSUMER.CREATE."+name+".*."+tree, "$JS.API.CONSUMER.MSG.NEXT."+name+".*")
	}
	publish = append(publish, "$JS.API.CONSUMER.CREATE."+stream.EventsStream+".*.mesh.v1._operator.order.*."+cluster,
		"$JS.API.CONSUMER.CREATE."+stream.EventsStream+".*.mesh.v1.*.cluster")
	return &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: publish},
		Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX_" + cluster + ".>"}},
	}
}

// The writer's end works with exactly the permissions of an agent, also over a
// lost connection.
func TestAgentNeedsNoMoreThanItsPermissions(t *testing.T) {
	s := streamtest.StartWith(t, func(o *server.Options) {
		o.Users = []*server.User{
			{Username: "admin", Password: "admin"},
			{Username: "amber", Password: "amber", Permissions: agentPermissions("amber")},
		}
	})
	at := func(name, url string) string { return "nats://" + name + ":" + name + "@" + url[len("nats://"):] }
	admin := streamtest.ConnectTo(t, at("admin", s.ClientURL()))
	streamtest.Create(t, admin, 1)
	proxy := streamtest.NewProxy(t, s.ClientURL())
	c, err := stream.Connect(t.Context(), stream.ConnectConfig{Servers: []string{at("amber", proxy.URL())}, InboxPrefix: "_INBOX_amber", Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	a, w := newAuthor("amber"), c.Writer("amber")
	orders, done := make(chan registry.Message, 10), make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		done <- w.WatchOrders(ctx, func(m registry.Message) {
			if m.Sequence > 0 {
				orders <- m
			}
		})
	}()
	ordered := func() {
		t.Helper()
		streamtest.Eventually(t, 10*time.Second, "an order comes", func() bool {
			if err := admin.OrderResync(t.Context(), "amber", "test"); err != nil {
				t.Fatal(err)
			}
			return len(orders) > 0
		})
		for len(orders) > 0 {
			<-orders
		}
	}
	var sequence, fence uint64
	for round := range 2 {
		insist(t, func() (err error) { _, err = w.Now(t.Context()); return err })
		if _, err := w.ReadLease(t.Context()); err != nil {
			t.Fatal(err)
		}
		if sequence, err = w.PutLease(t.Context(), lease("amber", "one"), sequence); err != nil {
			t.Fatal(err)
		}
		e := a.takeover()
		if fence, err = w.PutEpoch(t.Context(), e, fence); err != nil {
			t.Fatal(err)
		}
		publish(t, w, fence, a.services(60, "s")...)
		publish(t, w, fence, a.services(3, "s")...)
		if _, found, err := w.Last(t.Context(), e.Fact()); err != nil || !found {
			t.Fatalf("Last() = %v, %v", found, err)
		}
		if messages, err := w.Load(t.Context()); err != nil || len(messages) != 61 {
			t.Fatalf("%d facts, %v", len(messages), err)
		}
		ordered()
		if round == 0 {
			proxy.Cut()
			streamtest.Eventually(t, 5*time.Second, "it is noticed", func() bool { return !c.Connected() })
			proxy.Heal()
		}
	}
	other := newAuthor("bronze")
	short, stop := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer stop()
	if _, err := c.Writer("bronze").PutEpoch(short, other.takeover(), 0); err == nil {
		t.Error("it may write for another cluster")
	}
	cancel()
	<-done
}
