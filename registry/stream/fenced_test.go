package stream

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seamark-mesh/seamark/registry"
)

// Which refusals of the server mean that a writer is fenced. They can't all be
// made to happen at will, so the errors are given here, and the stream is real.
func TestWhatMeansFenced(t *testing.T) {
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	go s.Start()
	defer s.WaitForShutdown()
	defer s.Shutdown()
	if !s.ReadyForConnections(time.Minute) { // before, JetStream may not be there
		t.Fatal("the server is not ready")
	}
	c, err := Connect(t.Context(), ConnectConfig{InProcess: s, Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, _, err := c.CreateStreams(t.Context(), Settings{}); err != nil {
		t.Fatal(err)
	}
	const epoch = "mesh.v1.amber.epoch"
	for range 2 {
		if _, err := c.publish(t.Context(), EventsStream, &nats.Msg{Subject: epoch}); err != nil {
			t.Fatal(err)
		}
	}
	refusal := func(code jetstream.ErrorCode) error { return &jetstream.APIError{ErrorCode: code} }
	for name, test := range map[string]struct {
		err    error
		fence  uint64
		fenced bool
	}{
		"another last message":                  {refusal(codeWrongLast), 2, true},
		"in flight, ours is the last":           {refusal(codeInFlight), 2, false},
		"in flight, another is the last":        {refusal(codeInFlight), 1, true},
		"in flight, a replica that lags behind": {refusal(codeInFlight), 3, false},
		"no answer":                             {errDisconnected, 1, false},
		"an id in flight":                       {refusal(10158), 1, false},
	} {
		err := c.Writer("amber").fenced(t.Context(), fmt.Errorf("publish: %w", test.err), epoch, test.fence)
		if got := errors.Is(err, registry.ErrFenced); err == nil || got != test.fenced {
			t.Errorf("%s: fenced = %v (%v), want %v", name, got, err, test.fenced)
		}
	}
}
