package stream_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seamark-mesh/seamark/registry/stream"
	"github.com/seamark-mesh/seamark/registry/stream/streamtest"
)

// kept is a log that several goroutines write.
type kept struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (k *kept) Write(b []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.text.Write(b)
}

func (k *kept) String() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.text.String()
}

// TestASlowReaderOfLargeMessagesKeepsItsConsumer: all that it had asked for came at once,
// the library dropped what was more than 64 MiB, and the reader began again with another
// consumer, again and again.
func TestASlowReaderOfLargeMessagesKeepsItsConsumer(t *testing.T) {
	const messages, size = 1400, 100 << 10 // 137 MiB
	s := streamtest.Start(t)
	writer := streamtest.Connect(t, s)
	js, err := jetstream.New(writer.NATS(), jetstream.WithPublishAsyncMaxPending(64))
	if err != nil {
		t.Fatal(err)
	}
	events, err := js.CreateStream(t.Context(), jetstream.StreamConfig{ // in memory, to be quick
		Name: stream.EventsStream, Subjects: []string{"mesh.v1.>"}, Storage: jetstream.MemoryStorage, AllowDirect: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	body := make([]byte, size) // of nobody's format: it is handed on as refused
	if _, err := rand.Read(body); err != nil {
		t.Fatal(err)
	}
	for n := range messages {
		if _, err := js.PublishAsync(fmt.Sprintf("mesh.v1.amber.svc.default.large-%d", n), body, jetstream.WithStallWait(30*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-time.After(60 * time.Second):
		t.Fatal("the messages are not stored")
	}
	var consumers atomic.Int32
	if _, err := writer.NATS().Subscribe("$JS.EVENT.ADVISORY.CONSUMER.CREATED."+stream.EventsStream+".>", func(*nats.Msg) { consumers.Add(1) }); err != nil {
		t.Fatal(err)
	}
	if err := writer.NATS().Flush(); err != nil {
		t.Fatal(err)
	}
	log := &kept{}
	reader, err := stream.Connect(t.Context(), stream.ConnectConfig{
		Servers: []string{s.ClientURL()}, Name: "slow", Logger: slog.New(slog.NewTextHandler(log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	next, batches := uint64(1), 0
	err = reader.Read(t.Context(), stream.StartAt{Policy: stream.WholeHistory, Until: messages}, func(b stream.Batch) error {
		if batches++; batches == 1 {
			rests(t, events)
		}
		for _, m := range b.Messages {
			if m.Sequence != next {
				return fmt.Errorf("sequence %d comes after %d", m.Sequence, next-1)
			}
			next++
		}
		return nil
	})
	if err != nil || next != messages+1 {
		t.Errorf("read up to %d: %v", next-1, err)
	}
	if n := consumers.Load(); n != 1 {
		t.Errorf("it took %d consumers", n)
	}
	if strings.Contains(log.String(), "slow consumer") {
		t.Errorf("messages were dropped:\n%s", log)
	}
}

// rests waits until the stream's consumers are sent nothing more.
func rests(t *testing.T, events jetstream.Stream) {
	t.Helper()
	delivered := func() (sum uint64) {
		all := events.ListConsumers(t.Context())
		for c := range all.Info() {
			sum += c.Delivered.Consumer
		}
		if all.Err() != nil {
			t.Error(all.Err())
		}
		return sum
	}
	for last, before := delivered(), uint64(0); last != before; {
		time.Sleep(400 * time.Millisecond)
		last, before = delivered(), last
	}
}
