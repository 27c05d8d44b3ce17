package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/audit/replay"
)

// What a spreadsheet would run is text in a CSV file.
func TestCSVHoldsNoFormulas(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	table := newCSV(&b)
	table.row(7, "=1+1", "+2", "-3", "@x", "a,b", "plain")
	if err := table.flush(); err != nil {
		t.Fatal(err)
	}
	if want := "7,'=1+1,'+2,'-3,'@x,\"a,b\",plain\n"; b.String() != want {
		t.Errorf("have %q, want %q", b.String(), want)
	}
}

func TestParseSpeed(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]float64{"max": 0, "1x": 1, "10x": 10, "0.5x": 0.5, "60": 60} {
		if have, err := parseSpeed(text); err != nil || have != want {
			t.Errorf("%s is %v, %v; want %v", text, have, err, want)
		}
	}
	for _, text := range []string{"", "x", "fast", "0", "-1x", "NaN", "Inf", "1e9x", "MAX"} {
		if speed, err := parseSpeed(text); err == nil {
			t.Errorf("%q is %v", text, speed)
		}
	}
}

// The bar is as long at the beginning as at the end.
func TestBar(t *testing.T) {
	t.Parallel()
	from := time.Date(2026, 3, 1, 14, 0, 0, 0, time.UTC)
	p := replay.Progress{Phase: replay.Living, From: from, To: from.Add(time.Hour), At: from.Add(15 * time.Minute), Events: 12, Took: time.Second}
	if text := bar(p); !strings.HasPrefix(text, "[#######.......................]") || !strings.Contains(text, "25 %") || !strings.Contains(text, "14:15:00") {
		t.Errorf("a quarter is %q", text)
	}
	p.Phase = replay.Over
	if text := bar(p); !strings.HasPrefix(text, "["+strings.Repeat("#", 30)+"]") {
		t.Errorf("the end is %q", text)
	}
	p.Phase = replay.Beginning
	if text := bar(p); !strings.HasPrefix(text, "["+strings.Repeat(".", 30)+"]") {
		t.Errorf("the beginning is %q", text)
	}
}

// Only what can be a list has the form of one.
func TestFormatsOfAnswers(t *testing.T) {
	t.Parallel()
	for f, whole := range map[auditFormat]bool{auditTable: true, auditJSON: true, auditYAML: true, auditJSONL: false, auditCSV: false, auditCloudEvents: false} {
		if err := f.only(wholeFormats...); (err == nil) != whole {
			t.Errorf("%s of one thing: %v", f, err)
		}
	}
	var f auditFormat
	if err := f.Set("xml"); err == nil {
		t.Error("xml is a format")
	}
}
