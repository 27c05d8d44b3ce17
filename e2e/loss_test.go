package e2e

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seamark-mesh/seamark/registry/stream"
)

// TestLostStreamWithdrawsNothing deletes both streams under a running mesh. The
// replica that knew everything goes on answering it; once the streams are made
// again, the agents publish everything without being told, and a new replica
// learns it.
func TestLostStreamWithdrawsNothing(t *testing.T) {
	m := newMesh(t)
	r := newFile(t)
	r.put(t, "checkout", first)
	m.agent(t, "amber", amberGateway, r.source())
	m.answers(t, checkout, "A", amberGateway)
	before := m.synced(t, "amber", 0)
	stop := m.always(t, checkout, amberGateway)
	defer stop()

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	conn, err := stream.Connect(ctx, stream.ConnectConfig{Servers: []string{m.nats.URL}, Name: "e2e", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn.NATS())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{stream.EventsStream, stream.LeaseStream} {
		if err := js.DeleteStream(ctx, name); err != nil {
			t.Fatal(err)
		}
	}
	second := m.replica(t) // makes the streams again
	second.synced(t, "amber", before.Epoch)
	second.answers(t, checkout, "A", amberGateway)
	stop()
}
