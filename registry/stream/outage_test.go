package stream_test

import (
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/seamark-mesh/seamark/registry/stream/streamtest"
)

// TestAQuestionThatIsLostIsAskedAgain: what had been asked of a leader that died was waited
// for for five seconds, and at the next one's election again. No server can be made to lose
// a question at will, so one without JetStream is answered for.
func TestAQuestionThatIsLostIsAskedAgain(t *testing.T) {
	s := streamtest.StartWith(t, func(o *server.Options) { o.JetStream = false })
	c := streamtest.Connect(t, s)
	var asked atomic.Int32
	_, err := c.NATS().Subscribe("$JS.API.STREAM.INFO.MESH_EVENTS", func(m *nats.Msg) {
		if asked.Add(1) < 3 {
			return
		}
		if err := m.Respond([]byte(`{"type":"io.nats.jetstream.api.v1.stream_info_response","config":{"name":"MESH_EVENTS"},"state":{"first_seq":1,"last_seq":7}}`)); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if state, err := c.State(t.Context()); err != nil || state.Last != 7 {
		t.Errorf("%+v, %v after %d questions", state, err, asked.Load())
	}
}
