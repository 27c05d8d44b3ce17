package stream_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
)

// large stores services of about a mebibyte each, which need few bytes on the way,
// as an agent would that has lost its mind. It returns the size of one body.
func large(t testing.TB, c *stream.Conn, count int) (size int) {
	t.Helper()
	a := newAuthor("amber")
	e := a.service("large-0000", 0)
	for n := range 9000 {
		e.Service.Instances = append(e.Service.Instances, registry.Instance{
			ID: fmt.Sprintf("i-%05d", n), Address: "10.0.0.1", Port: 80, Weight: 1, Health: registry.Passing, Version: "a version",
		})
	}
	template, err := registry.Encode(e)
	if err != nil {
		t.Fatal(err)
	}
	for n := range count {
		name := fmt.Sprintf("large-%04d", n)
		var b bytes.Buffer
		w, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(bytes.Replace(template, []byte("large-0000"), []byte(name), 1)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		h := nats.Header{
			"Content-Encoding": {"gzip"},
			"Seamark-Epoch":    {strconv.FormatUint(e.Epoch, 10)}, "Seamark-Revision": {strconv.FormatUint(e.Revision, 10)},
		}
		if _, err := c.NATS().RequestMsg(&nats.Msg{Subject: "mesh.v1.amber.svc.default." + name, Header: h, Data: b.Bytes()}, 5*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	return len(template)
}

// liveHeap is what is in use, in MiB.
func liveHeap() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc >> 20)
}

// TestSmallMessagesThatInflateDoNotFillTheMemory: batches were bounded by the number
// of messages only, so 4096 of some kilobytes each could become gigabytes at once.
func TestSmallMessagesThatInflateDoNotFillTheMemory(t *testing.T) {
	c := connect(t, 1)
	const count = 200
	size := large(t, c, count)
	before := liveHeap()
	read, largest, most, batches := 0, 0, 0, 0
	err := c.Read(t.Context(), stream.StartAt{}, func(b stream.Batch) error {
		if batches++; batches < 4 {
			time.Sleep(time.Second / 2) // meanwhile as much is decoded as may be
		}
		for _, m := range b.Messages {
			if m.Event == nil || len(m.Event.Service.Instances) != 9000 {
				t.Fatalf("message %d: %v", m.Sequence, m.Refused)
			}
		}
		read += len(b.Messages)
		largest, most = max(largest, len(b.Messages)), max(most, liveHeap()-before)
		if b.CaughtUp {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) || read != count {
		t.Fatalf("%d messages were read, then %v", read, err)
	}
	t.Logf("bodies of %d bytes, at most %d in a batch, %d MiB of heap", size, largest, most)
	if bound := 33<<20/size + 1; largest > bound {
		t.Errorf("%d messages of %d bytes are in one batch, want no more than %d", largest, size, bound)
	}
	if most > 100 {
		t.Errorf("the read took %d MiB of heap, want no more than 100", most)
	}
}
