package dnsserver

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

// written is a log that can be read while it is written.
type written struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *written) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

// queries returns the lines about queries, and forgets all.
func (l *written) queries() []string { return l.lines("dns query") }

// lines returns those that contain a text, and forgets all.
func (l *written) lines(text string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []string
	for line := range strings.Lines(l.text.String()) {
		if strings.Contains(line, text) {
			all = append(all, line)
		}
	}
	l.text.Reset()
	return all
}

// TestQueryLog: what was asked for is logged, on both paths and protocols, from the
// moment it was asked for; nothing else is.
func TestQueryLog(t *testing.T) {
	s := newRunning(t, Config{}, harbours())
	var log written
	s.log = slog.New(slog.NewTextHandler(&log, nil))
	s.begin(t)
	ask := func() {
		t.Helper()
		for _, p := range []Protocol{UDP, TCP} {
			s.ask(t, p, "LOGIN.svc.mesh.internal.", "A")
			s.ask(t, p, "login.svc.mesh.internal.", "TXT")
			s.ask(t, p, "web.shop.svc.mesh.internal.", "A")
		}
	}
	reload := func(l QueryLog) {
		t.Helper()
		if err := s.Reload(Settings{QueryLog: l}); err != nil {
			t.Fatal(err)
		}
	}
	// A line is written after its reply has left.
	expect := func(want int, each ...string) {
		t.Helper()
		var got []string
		for deadline := time.Now().Add(patience); len(got) < want && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			got = append(got, log.queries()...)
		}
		if got = append(got, log.queries()...); len(got) != want {
			t.Fatalf("%d lines, want %d:\n%s", len(got), want, strings.Join(got, ""))
		}
		for _, part := range each {
			if !strings.Contains(strings.Join(got, ""), part) {
				t.Errorf("%q is not in\n%s", part, strings.Join(got, ""))
			}
		}
	}
	ask()
	expect(0)
	reload(QueryLog{Names: []string{"Login.svc.mesh.internal"}})
	ask()
	expect(4, "client=127.0.0.1", "protocol=udp", "protocol=tcp", "name=login.svc.mesh.internal.", "type=A", "type=TXT", "rcode=NOERROR", "path=fast", "path=complete")
	reload(QueryLog{Names: []string{"svc.mesh.internal."}, Clients: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	ask()
	expect(6)
	reload(QueryLog{Clients: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}})
	ask()
	expect(0)
	reload(QueryLog{})
	ask()
	expect(0)
}

// TestQueryLogHasTransfers: a zone that was sent in several messages left no line.
func TestQueryLogHasTransfers(t *testing.T) {
	g := newGrowing(300)
	s := newRunning(t, allowed(func(c *Settings) { c.QueryLog = QueryLog{Clients: loopback} }), g)
	var log written
	s.log = slog.New(slog.NewTextHandler(&log, nil))
	s.begin(t)
	if _, messages, err := s.fetch(t, axfr(), nil); err != nil || messages < 2 {
		t.Fatalf("%d messages, %v", messages, err)
	}
	s.end(t) // then the line is written
	got := strings.Join(log.queries(), "")
	if strings.Count(got, "\n") != 1 {
		t.Errorf("want one line: %s", got)
	}
	for _, part := range []string{"client=127.0.0.1", "protocol=tcp", "name=mesh.internal.", "type=AXFR", "rcode=NOERROR", "path=transfer", fmt.Sprint("serial=", g.View().Serial())} {
		if !strings.Contains(got, part) {
			t.Errorf("%q is not in %s", part, got)
		}
	}
	if strings.Contains(got, "bytes=0 ") {
		t.Errorf("nothing was sent: %s", got)
	}
}

// TestQueryLogIsRationed: a flood fills no disk, and nothing is left out in silence.
func TestQueryLogIsRationed(t *testing.T) {
	var r rationed
	now, passed := time.Unix(1000, 0), 0
	for range 50 {
		if _, ok := r.pass(now, 3); ok {
			passed++
		}
	}
	if passed != 3 {
		t.Errorf("%d lines in a second, want 3", passed)
	}
	if skipped, ok := r.pass(now.Add(time.Second), 3); !ok || skipped != 47 {
		t.Errorf("the next second: %v, and %d left out, want 47", ok, skipped)
	}
}

func TestQueryLogRefuses(t *testing.T) {
	for name, l := range map[string]QueryLog{
		"no name":   {Names: []string{strings.Repeat("a", 64) + ".example."}},
		"empty":     {Names: []string{""}},
		"too many":  {Names: make([]string, 101)},
		"too often": {PerSecond: 1001},
		"negative":  {PerSecond: -1},
		"no client": {Clients: []netip.Prefix{{}}},
	} {
		if _, err := (Settings{QueryLog: l}).checked(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
