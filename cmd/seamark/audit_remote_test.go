package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/cmd/internal/proc"
	"github.com/seamark-mesh/seamark/registry"
)

// With a clock that is ahead of the server's, now was sent as a time in the future.
func TestNowIsTheServersNow(t *testing.T) {
	t.Parallel()
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Query().Get("at"))
		w.Write([]byte(`{}`)) //nolint:errcheck // the test sees that nothing comes
	}))
	defer server.Close()
	ahead := time.Date(2026, 3, 1, 14, 2, 30, 0, time.FixedZone("CET", 3600))
	r := remote{client{server.URL}, ahead}
	for text, want := range map[string]string{
		"now": "now", "2h ago": "2h ago", "14:02": "2026-03-01T13:02:00Z", "2026-03-01": "2026-02-28T23:00:00Z", "#912": "#912",
	} {
		asked = nil
		if _, err := r.At(t.Context(), text, registry.ServiceKey{}); err != nil || len(asked) != 1 || asked[0] != want {
			t.Errorf("%q is sent as %q, %v; want %q", text, asked, err, want)
		}
	}
	asked = nil
	if _, err := r.Resolve(t.Context(), "", "x", "A"); err != nil || asked[0] != "now" {
		t.Errorf("no time is sent as %q, %v", asked, err)
	}
}

// A log that global-dns had cut by its size ended as if that were all.
func TestALogThatWasCutSaysSo(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		entries int
		more    bool
		with    []string
		cut     bool
	}{
		"as many as were asked for": {3, true, []string{"--limit", "3"}, false},
		"less than were asked for":  {2, true, []string{"--limit", "3"}, true},
		"there are no more":         {2, false, []string{"--limit", "3"}, false},
		"all were asked for":        {3, true, []string{"--since", "1h ago"}, true},
		"all, and there they are":   {3, false, []string{"--since", "1h ago"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				reply := map[string]any{"entries": make([]struct{}, test.entries), "more": test.more}
				if err := json.NewEncoder(w).Encode(reply); err != nil {
					t.Error(err)
				}
			}))
			defer server.Close()
			var stdout, stderr bytes.Buffer
			arguments := append([]string{"audit", "log", "-o", "jsonl", "--server", server.URL}, test.with...)
			code := proc.Execute(t.Context(), newCommand(nil), arguments, &stdout, &stderr)
			if lines := strings.Count(stdout.String(), "\n"); lines != test.entries {
				t.Errorf("%d entries are printed, want %d", lines, test.entries)
			}
			if said := strings.Contains(stderr.String(), "there are more"); said != test.cut || (code != 0) != test.cut {
				t.Errorf("it exits with %d and says %q", code, stderr.String())
			}
		})
	}
}
