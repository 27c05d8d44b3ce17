package stream

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// While others write, a message may come between the server's word of where the
// stream ends and the look at it. That is no cut stream, however often it happens.
func TestMessagesThatComeDuringALookAreNoLoss(t *testing.T) {
	made := time.Unix(1_800_000_000, 0)
	tail := &tail{tailConfig: tailConfig{stream: EventsStream}, created: made, last: position{sequence: 160}, once: true}
	for n := range 2 * doubts {
		at := tail.reached()
		info := &jetstream.StreamInfo{Created: made, State: jetstream.StreamState{FirstSeq: 1, LastSeq: tail.last.sequence}}
		tail.last.sequence++
		if err := tail.check(t.Context(), at, info, false); err != nil {
			t.Fatalf("look %d: %v", n, err)
		}
	}
	// One that lacks what was read before is a loss, once it was seen often enough.
	at := tail.reached()
	info := &jetstream.StreamInfo{Created: made, State: jetstream.StreamState{FirstSeq: 1, LastSeq: at.last.sequence - 1}}
	var err error
	for range doubts {
		err = tail.check(t.Context(), at, info, false)
	}
	if !errors.Is(err, ErrStreamChanged) {
		t.Errorf("a stream that ends earlier gives %v", err)
	}
}
