package archive_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/seamark-mesh/seamark/audit"
	"github.com/seamark-mesh/seamark/audit/archive"
)

// TestMain writes an archive until it is killed, when it is asked to.
func TestMain(m *testing.M) {
	if dir := os.Getenv("WRITE_ARCHIVE"); dir != "" {
		writeForEver(dir)
	}
	goleak.VerifyTestMain(m)
}

// killed is what the process archives: always the same messages.
const (
	killedMessages = 400_000
	killedServices = 40
)

func writeForEver(dir string) {
	w, err := archive.NewWriter(dir, archive.Options{SegmentBytes: archive.MinSegmentBytes, Flush: 5 * time.Millisecond, RetentionBytes: 700 << 10})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	h, next := &memory{}, max(w.Status().Last, 1)
	more := func() {
		for range 300 {
			h.add(message(next, int(next%killedServices)))
			next++
		}
	}
	more() // begins with the last message that is archived
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go func() { // in pieces, so that there are small blocks as well
		for next < killedMessages {
			more()
			time.Sleep(time.Millisecond)
		}
	}()
	if err := w.Follow(ctx, h); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(3)
}

// A process that writes is killed again and again: no message is missing, doubled or
// altered, and nothing but the last block has to be cut off.
func TestKilledWhileItWrites(t *testing.T) {
	ctx, dir := start(t)
	rounds, cut := 20, 0
	last := uint64(0)
	for round := range rounds {
		command := exec.Command(os.Args[0], "-test.run=^$")
		command.Env = append(os.Environ(), "WRITE_ARCHIVE="+dir)
		var said strings.Builder
		command.Stderr = &said
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		grows(t, dir, last)
		time.Sleep(rand.N(60 * time.Millisecond))
		if err := command.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := command.Wait(); err == nil || said.Len() > 0 {
			t.Fatalf("it ended by itself: %v %s", err, said.String())
		}
		a := open(t, dir)
		span, err := a.Span(ctx)
		if err != nil || span.Last <= last {
			t.Fatalf("round %d: %+v, after #%d, %v", round, span, last, err)
		}
		last = span.Last
		next := span.First
		for m, err := range a.Read(ctx, audit.Range{}) {
			if err != nil {
				t.Fatal(err)
			}
			if m.Sequence != next {
				t.Fatalf("round %d: #%d, want #%d", round, m.Sequence, next)
			}
			next++
		}
		if next != last+1 || len(a.Faults()) > 0 {
			t.Fatalf("round %d: it ends before #%d of %d, faults %v", round, next, last, a.Faults())
		}
		if wrong, err := a.Verify(ctx, nil); err != nil || len(wrong) > 0 {
			t.Fatalf("round %d: verify %v %v", round, wrong, err)
		}
		a.Close()
		w, err := archive.NewWriter(dir, archive.Options{RetentionBytes: 700 << 10})
		if err != nil {
			t.Fatal(err)
		}
		s := w.Status()
		if s.Last != last || len(s.Gaps) > 0 {
			t.Fatalf("round %d: status %+v, want the last %d", round, s, last)
		}
		cut += len(s.Faults)
		w.Close()
	}
	a := open(t, dir)
	for m, err := range a.Read(ctx, audit.Range{}) {
		if err != nil || !strings.Contains(string(m.Body), fmt.Sprintf(`"revision":%d,`, m.Sequence)) {
			t.Fatalf("#%d has another's body, %v", m.Sequence, err)
		}
	}
	if last < 2000 {
		t.Errorf("only %d messages were written: the test says little", last)
	}
	t.Logf("%d messages, %d of %d times a torn tail was cut", last, cut, rounds)
}

// grows waits until what stands in the folder has changed.
func grows(t *testing.T, dir string, last uint64) {
	t.Helper()
	var said error
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		a, err := archive.Open(dir)
		if said = err; err != nil {
			continue // the folder is being made
		}
		span, err := a.Span(t.Context())
		a.Close()
		if said = err; err == nil && span.Last > last+300 {
			return
		}
	}
	t.Fatalf("nothing is written behind #%d: %v", last, said)
}

// A tail that ends at any byte: all whole blocks are read, and writing goes on.
func TestTailCutAtAnyByte(t *testing.T) {
	ctx, dir := start(t)
	h := &memory{}
	h.add(history(1, 12, 5)...)
	ends := map[int]bool{} // of whole blocks
	for n := uint64(3); n <= 12; n += 3 {
		catchUp(t, ctx, dir, &memory{messages: h.messages[:n]}, archive.Options{})
		about, err := os.Stat(filepath.Join(dir, "00000001.tail"))
		if err != nil {
			t.Fatal(err)
		}
		ends[int(about.Size())] = true
	}
	whole, err := os.ReadFile(filepath.Join(dir, "00000001.tail"))
	if err != nil {
		t.Fatal(err)
	}
	sizes := map[int]bool{}
	for length := len(whole); length >= 0; length -= 1 + length/40 {
		copied := filepath.Join(t.TempDir(), "archive")
		if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(copied, "00000001.tail"), whole[:length], 0o600); err != nil {
			t.Fatal(err)
		}
		a := open(t, copied)
		before := read(t, a.Read(ctx, audit.Range{}))
		equal(t, "the cut tail", before, h.messages[:len(before)])
		sizes[len(before)] = true
		s := catchUp(t, ctx, copied, h, archive.Options{})
		if s.Taken != uint64(12-len(before)) || len(s.Gaps) > 0 {
			t.Errorf("%d bytes: status %+v", length, s)
		}
		if torn := !ends[length]; len(before) > 0 && torn != (len(s.Faults) == 1) {
			t.Errorf("%d bytes: it is told %v", length, s.Faults)
		}
		equal(t, "after going on", read(t, a.Read(ctx, audit.Range{})), h.messages)
		a.Close()
	}
	if len(sizes) != 5 {
		t.Errorf("the tail was cut to %v messages", sizes)
	}
}
