package stream

import (
	"testing"
	"time"
)

// TestReconnectingBacksOff: a server that was away for hours was tried every 150 ms by all
// who had lost it.
func TestReconnectingBacksOff(t *testing.T) {
	for range 20 {
		var away, last time.Duration
		for n := 1; away < 10*time.Minute; n++ {
			last = reconnectDelay(n)
			switch {
			case last < shortestDelay, last > 2*longestDelay:
				t.Fatalf("try %d comes after %v", n, last)
			case n == 1 && last > 2*shortestDelay:
				t.Fatalf("the first try comes after %v", last)
			case away < 5*time.Second && last > time.Second, away < 30*time.Second && last > 2500*time.Millisecond:
				t.Fatalf("after %v the next try comes after %v", away, last)
			}
			away += last
		}
		if last < longestDelay {
			t.Errorf("after %v the next try comes after %v", away, last)
		}
	}
	different := map[time.Duration]bool{}
	for range 20 {
		different[reconnectDelay(1)] = true
	}
	if len(different) < 10 {
		t.Errorf("all come back together: %v", different)
	}
	if d := reconnectDelay(1 << 30); d < longestDelay || d > 2*longestDelay {
		t.Errorf("after very many tries: %v", d)
	}
}
