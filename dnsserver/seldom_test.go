package dnsserver

import (
	"testing"
	"time"
)

// TestClockThatWasSetBackSilencesNoLog: after the clock had been set back an hour,
// nothing was logged for an hour.
func TestClockThatWasSetBackSilencesNoLog(t *testing.T) {
	var s seldom
	now := time.Unix(1_800_000_000, 0)
	for _, step := range []struct {
		what string
		by   time.Duration
		want bool
	}{
		{"the first time", 0, true},
		{"at once", 0, false},
		{"9 s later", 9 * time.Second, false},
		{"10 s later", time.Second, true},
		{"set back an hour", -time.Hour, true},
		{"at once after that", 0, false},
		{"10 s after that", 10 * time.Second, true},
	} {
		now = now.Add(step.by)
		if got := s.due(now); got != step.want {
			t.Errorf("%s: %v, want %v", step.what, got, step.want)
		}
	}
}
