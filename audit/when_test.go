package audit

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestParseWhen(t *testing.T) {
	t.Parallel()
	zone := time.FixedZone("here", 2*60*60)
	now := time.Date(2026, 3, 10, 12, 0, 0, 0, zone)
	tests := map[string]string{ // "": an error
		"2026-03-01T14:02:00Z":          "2026-03-01T14:02:00Z",
		"2026-03-01t14:02:00.5z":        "2026-03-01T14:02:00.5Z",
		"2026-03-01T14:02:00+02:00":     "2026-03-01T12:02:00Z",
		"2026-03-01 14:02:00Z":          "2026-03-01T14:02:00Z",
		"2026-03-01 14:02":              "2026-03-01T12:02:00Z",
		"2026-03-01T14:02":              "2026-03-01T12:02:00Z",
		"2026-03-01 14:02:03":           "2026-03-01T12:02:03Z",
		"2026-03-01":                    "2026-02-28T22:00:00Z",
		"11:59":                         "2026-03-10T09:59:00Z",
		"12:00":                         "2026-03-10T10:00:00Z",
		"14:02":                         "2026-03-09T12:02:00Z", // not yet so late today
		"14:02:30":                      "2026-03-09T12:02:30Z",
		"today 11:00":                   "2026-03-10T09:00:00Z",
		"today 14:02":                   "2026-03-10T12:02:00Z", // Resolve says that it is in the future
		" Yesterday  14:02 ":            "2026-03-09T12:02:00Z",
		"2h ago":                        "2026-03-10T08:00:00Z",
		"1h30m ago":                     "2026-03-10T08:30:00Z",
		"3 days ago":                    "2026-03-07T10:00:00Z",
		"3d ago":                        "2026-03-07T10:00:00Z",
		"90s ago":                       "2026-03-10T09:58:30Z",
		"now":                           "2026-03-10T10:00:00Z",
		"#912":                          "#912",
		"#0":                            "",
		"#-1":                           "",
		"#99999999999999999999":         "",
		"":                              "",
		"912":                           "",
		"25:00":                         "",
		"2026-13-01":                    "",
		"2026-02-30":                    "",
		"-2h ago":                       "",
		"2h":                            "",
		"9999999999 weeks ago":          "",
		"tomorrow 10:00":                "",
		"yesterday":                     "",
		"half past two":                 "",
		strings.Repeat("nonsense ", 99): "",
	}
	for text, want := range tests {
		got, err := ParseWhen(text, now)
		if want == "" {
			if err == nil {
				t.Errorf("ParseWhen(%q) = %v, want an error", text, got)
			} else if !strings.Contains(err.Error(), "#912") || len(err.Error()) > 400 {
				t.Errorf("ParseWhen(%q): %q shows no example, or too much", text, err)
			}
			continue
		}
		if err != nil || got.String() != want || !got.Asked.Equal(now) {
			t.Errorf("ParseWhen(%q) = %v, %v, want %s", text, got, err, want)
		}
	}
}

func TestResolve(t *testing.T) {
	t.Parallel()
	m := newMesh(1, 1)
	m.start()
	m.hours(30, true)
	now := m.now.Add(time.Minute)
	resolve := func(text string) (Moment, error) {
		t.Helper()
		when, err := ParseWhen(text, now)
		if err != nil {
			t.Fatal(err)
		}
		return Resolve(t.Context(), &m.tape, when)
	}
	last := uint64(len(m.all))
	for text, want := range map[string]uint64{
		"now": last, "#1": 1, "#7": 7, "#" + itoa(last): last, m.all[8].Time.Format(time.RFC3339Nano): 9,
		m.all[8].Time.Add(-1).Format(time.RFC3339Nano): 8, m.all[0].Time.Format(time.RFC3339Nano): 1,
	} {
		if got, err := resolve(text); err != nil || got.Sequence != want {
			t.Errorf("Resolve(%s) = %v, %v, want #%d", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"#" + itoa(last+1):                      "not written yet",
		now.Add(time.Hour).Format(time.RFC3339): "in the future",
	} {
		if _, err := resolve(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Resolve(%s): %v, want that it is %s", text, err, want)
		}
	}
	m.lost = 5
	for _, text := range []string{"#5", "2000-01-01", "99 weeks ago"} {
		_, err := resolve(text)
		if early, ok := errors.AsType[*TooEarlyError](err); !ok || early.Earliest.Sequence != 6 || !strings.Contains(err.Error(), "#6") {
			t.Errorf("Resolve(%s): %v, want the earliest moment, #6", text, err)
		}
	}
	m.lost = len(m.all)
	if _, err := resolve("now"); err == nil {
		t.Error("there is a moment in an empty history")
	}
}

func TestRelative(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"now": true, " NOW ": true, "2h ago": true, "90s  ago": true, "1h30m ago": true, "3 days ago": true,
		"14:02": false, "2026-03-01T14:02:00Z": false, "#912": false, "yesterday 14:02": false, "ago": false, "": false,
	} {
		if got := Relative(text); got != want {
			t.Errorf("Relative(%q) = %v", text, got)
		}
	}
}
