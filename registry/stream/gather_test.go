package stream

import (
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// reads returns how long after the start each of count reads returned, where a message
// is written every so often.
func reads(t *testing.T, count int, every time.Duration, message []byte) (at []time.Duration) {
	t.Helper()
	const span = 4 * time.Millisecond
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer theirs.Close()
	conn := newGathered(ours, span)
	began := time.Now()
	go func() {
		for n := range count {
			time.Sleep(time.Until(began.Add(time.Duration(n) * every)))
			if _, err := theirs.Write(message); err != nil {
				return
			}
		}
	}()
	buffer := make([]byte, 64<<10)
	for range count {
		if _, err := conn.Read(buffer); err != nil {
			t.Fatal(err)
		}
		at = append(at, time.Since(began))
	}
	return at
}

// TestLoneMessageIsReadAtOnce: what does not come more often than once in a span never waits.
func TestLoneMessageIsReadAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for n, at := range reads(t, 300, 4*time.Millisecond, []byte("x")) {
			if due := time.Duration(n) * 4 * time.Millisecond; at != due {
				t.Fatalf("message %d was read after %v, and came after %v", n, at, due)
			}
		}
	})
}

// TestManyMessagesAreGathered: the first ones are read as they come, then one read in
// a span takes all there is.
func TestManyMessagesAreGathered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		at := reads(t, 200, 100*time.Microsecond, []byte("x"))
		if at[20] != 2*time.Millisecond {
			t.Errorf("message 20 was read after %v: a short burst must not wait", at[20])
		}
		for n := 101; n < 200; n++ {
			if gap := at[n] - at[n-1]; gap != 4*time.Millisecond {
				t.Fatalf("read %d came %v after the one before", n, gap)
			}
		}
	})
}

// TestMuchIsReadAsItComes: who catches up is not held up.
func TestMuchIsReadAsItComes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		at := reads(t, 500, time.Microsecond, make([]byte, muchRead))
		if last := at[len(at)-1]; last > time.Millisecond {
			t.Errorf("500 long reads took %v", last)
		}
	})
}
