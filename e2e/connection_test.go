package e2e

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seamark-mesh/seamark/registry/stream"
)

// connection gives a test its own connection to the mesh's NATS, which the test closes.
// ctx bounds the wait for it.
func (m *mesh) connection(ctx context.Context, t *testing.T) *stream.Conn {
	t.Helper()
	conn, err := stream.Connect(ctx, stream.ConnectConfig{Servers: []string{m.nats.URL}, Name: "e2e"})
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// jetStream asks by a connection for what the product never asks of NATS.
func jetStream(t *testing.T, conn *stream.Conn) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(conn.NATS())
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// openStream opens one of the mesh's streams.
func openStream(t *testing.T, js jetstream.JetStream, name string) jetstream.Stream {
	t.Helper()
	s, err := js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// loseStreams deletes everything that the mesh's NATS knows.
func (m *mesh) loseStreams(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	conn := m.connection(ctx, t)
	defer conn.Close()
	js := jetStream(t, conn)
	for _, name := range []string{stream.EventsStream, stream.LeaseStream} {
		if err := js.DeleteStream(ctx, name); err != nil {
			t.Fatal(err)
		}
	}
}
