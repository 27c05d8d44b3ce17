package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestStatusTellsWhatIsStale(t *testing.T) {
	for body, want := range map[string][2]string{
		`{}`: {"no", "none"},
		`{"cut_off": null, "checkpoint": {"age_seconds": 2.4, "sequence": 18}}`:                                                           {"no", "18, 2s ago"},
		`{"cut_off": {"since": "` + time.Now().Add(-time.Hour).UTC().Format(time.RFC3339) + `", "reason": "the stream does not answer"}}`: {"for 1h0m", "none"},
	} {
		var s statusReply
		if err := json.Unmarshal([]byte(body), &s); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(s.stale(), want[0]) || s.checkpoint() != want[1] || s.CutOff != nil && !strings.HasSuffix(s.stale(), ": "+s.CutOff.Reason) {
			t.Errorf("%s: %q, %q; want %q", body, s.stale(), s.checkpoint(), want)
		}
	}
}

func TestStatusTellsWhatIsArchived(t *testing.T) {
	for body, want := range map[string]string{
		`{}`:                           "none",
		`{"archive": {"sequence": 0}}`: "empty",
		`{"archive": {"sequence": 7, "error": "the disk is full"}}`:                     "7, can't go on: the disk is full",
		`{"archive": {"sequence": 7, "oldest": "2026-01-02T03:04:05Z", "bytes": 4096}}`: "7, since 2026-01-02, 4096 bytes",
	} {
		var s statusReply
		if err := json.Unmarshal([]byte(body), &s); err != nil {
			t.Fatal(err)
		}
		if s.archive() != want {
			t.Errorf("%s: %q, want %q", body, s.archive(), want)
		}
	}
}

func TestShownState(t *testing.T) {
	drained := []standingOrder{{Kind: "drain", Target: "amber"}}
	for _, c := range []struct {
		orders    []standingOrder
		inherited bool
		want      string
	}{
		{nil, false, "up"},
		{nil, true, "up, inherited"},
		{drained, true, "up, inherited, drained"},
		{[]standingOrder{{Kind: "drain", Target: "web.shop.amber"}}, false, "up"},
		{[]standingOrder{{Kind: "leave", Target: "amber"}}, false, "up, left"},
	} {
		if got := shownState("amber", "up", c.orders, c.inherited); got != c.want {
			t.Errorf("%+v: %q, want %q", c, got, c.want)
		}
	}
}
