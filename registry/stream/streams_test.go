package stream_test

import (
	"testing"

	"github.com/seamark-mesh/seamark/registry/stream/streamtest"
)

func TestCreate(t *testing.T) {
	s, c := streamtest.Streams(t)
	_ = s
	if !c.Connected() {
		t.Fatal("not connected")
	}
}
