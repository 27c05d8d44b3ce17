package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/cmd/internal/proc"
	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream/streamtest"
)

// A drain of the second of two clusters was accepted, because the first, drained before,
// would have been answered with again: with its maintenance under way.
func TestAnOrderThatUndoesADrainIsRefused(t *testing.T) {
	server, conn := streamtest.Streams(t)
	for _, events := range twoClusters(uint64(time.Now().Unix())) {
		w := conn.Writer(events[0].Writer)
		fence, err := w.PutEpoch(t.Context(), events[0], 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Publish(t.Context(), events[1:], fence); err != nil {
			t.Fatal(err)
		}
	}
	seamark := func(arguments ...string) (said string, code int) {
		var stdout, stderr bytes.Buffer
		code = proc.Execute(t.Context(), newCommand(nil), append([]string{"--nats", server.ClientURL(), "--by", "ada"}, arguments...), &stdout, &stderr)
		return stdout.String() + stderr.String(), code
	}
	accepted := func(arguments ...string) {
		t.Helper()
		if said, code := seamark(arguments...); code != 0 {
			t.Fatalf("%v: exit code %d: %s", arguments, code, said)
		}
	}
	refused := func(arguments ...string) {
		t.Helper()
		said, code := seamark(arguments...)
		if code != proc.ExitFailure || !strings.Contains(said, "no answer: default/both") || !strings.Contains(said, "drained itself") {
			t.Errorf("%v: exit code %d: %s", arguments, code, said)
		}
	}
	served := func(want ...registry.ClusterID) {
		t.Helper()
		fold, _, err := readFold(t.Context(), conn)
		if err != nil {
			t.Fatal(err)
		}
		e, _ := fold.View().Service(registry.ServiceKey{Namespace: "default", Name: "both"})
		var in []registry.ClusterID
		for _, c := range fold.View().Decide(e) {
			if c.In {
				in = append(in, c.Cluster)
			}
		}
		if !slices.Equal(in, want) {
			t.Errorf("it is served by %v, want %v", in, want)
		}
	}
	accepted("drain", "both@amber", "--reason", "a kernel")
	served("bronze")
	refused("drain", "bronze", "--reason", "a kernel, too")
	refused("drain", "both@bronze", "--reason", "a release")
	refused("leave", "bronze", "--reason", "moved")
	served("bronze")
	accepted("drain", "bronze/gw-1", "--reason", "a certificate")
	refused("drain", "bronze/gw-2", "--reason", "a certificate, too")
	served("bronze")
	accepted("drain", "bronze", "--force", "--reason", "it burns")
	served("amber")
}
