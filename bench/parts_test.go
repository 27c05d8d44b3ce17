package main

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/seamark-mesh/seamark/registry"
)

func TestDivideFindsEachChangesEvent(t *testing.T) {
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	event := func(seen, made, stored int) registry.Message {
		return registry.Message{Stored: at(stored), Event: &registry.Event{Time: at(made), Service: &registry.ServiceState{Seen: at(seen)}}}
	}
	history := map[string][]registry.Message{"svc-0": {
		event(-50, -49, -48), // at the start, before any change
		event(4, 5, 7),
		event(14, 14, 15), // of somebody else's change, between ours
		event(104, 105, 107),
	}}
	changes := []change{
		{service: "svc-0", sent: at(0), returned: at(2), answered: at(10)},
		{service: "svc-0", sent: at(100), published: at(106), answered: at(112)},
		{service: "svc-0", sent: at(200), answered: at(210)}, // its event is not there
		{service: "other", sent: at(0), answered: at(1)},
	}
	slices.Reverse(changes) // whatever order they come in
	got := divide(changes, history)
	ms := func(all ...int) (s samples) {
		for _, n := range all {
			s = append(s, time.Duration(n)*time.Millisecond)
		}
		return s
	}
	for name, pair := range map[string][2]samples{
		"accepted": {got.accepted, ms(2)},
		"seen":     {got.seen, ms(4, 4)},
		"prepared": {got.prepared, ms(1, 1)},
		"stored":   {got.stored, ms(2, 2)},
		"answered": {got.answered, ms(3, 5)},
		"received": {got.received, ms(1)},
		"resolved": {got.resolved, ms(6)},
	} {
		if !slices.Equal(pair[0], pair[1]) {
			t.Errorf("%s: %v, want %v", name, pair[0], pair[1])
		}
	}
	if got.unknown != 2 {
		t.Errorf("%d changes without an event, want 2", got.unknown)
	}
}

func TestParseAnswer(t *testing.T) {
	name := dnsmessage.MustNewName("svc-0.svc.mesh.internal.")
	header := func(kind dnsmessage.Type) dnsmessage.ResourceHeader {
		return dnsmessage.ResourceHeader{Name: name, Type: kind, Class: dnsmessage.ClassINET}
	}
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 7, Response: true},
		Questions: []dnsmessage.Question{{Name: name, Type: dnsmessage.TypeTXT, Class: dnsmessage.ClassINET}},
		Answers: []dnsmessage.Resource{
			{Header: header(dnsmessage.TypeA), Body: &dnsmessage.AResource{}},
			{Header: header(dnsmessage.TypeTXT), Body: &dnsmessage.TXTResource{TXT: []string{"cluster=amber", "healthy=1", "versions=v0,v12"}}},
		},
	}
	packet, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	got, err := parseAnswer(packet)
	if err != nil || got.id != 7 || got.addresses != 1 || !got.has("healthy=1") || got.has("healthy=2") || !got.lists("v12") || got.lists("v1") {
		t.Errorf("%+v, %v", got, err)
	}
	m.Truncated = true
	if packet, err = m.Pack(); err != nil {
		t.Fatal(err)
	}
	if _, err := parseAnswer(packet); err == nil {
		t.Error("a truncated answer is taken for a whole one")
	}
}

func TestTableSaysWhatIsReached(t *testing.T) {
	r := result{Name: "x", About: "what", Machine: "m", Versions: map[string]string{"Go": "1"}}
	r.times("fast", samples{time.Millisecond}, "p99 ≤ 25 ms", p99Within(25))
	r.times("slow", samples{30 * time.Millisecond}, "p99 ≤ 25 ms", p99Within(25))
	r.times("never", nil, "p99 ≤ 25 ms", p99Within(25))
	r.number("count", "%.0f", 3, "", nil)
	want := []string{
		"| x | fast | p50 1.00, p90 1.00, p99 1.00, max 1.00 ms (1) | p99 ≤ 25 ms | yes |",
		"| x | slow | p50 30.0, p90 30.0, p99 30.0, max 30.0 ms (1) | p99 ≤ 25 ms | **no** |",
		"| x | never | no samples | p99 ≤ 25 ms | **no** |",
		"| x | count | 3 |  |  |",
	}
	got := strings.Split(strings.TrimSpace(table([]result{r})), "\n")[2:]
	if !slices.Equal(got, want) {
		t.Errorf("the table is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// The page for operators names every measurement, and the results that are kept of
// those that make bench runs are no quick ones.
func TestPerformancePage(t *testing.T) {
	text, err := os.ReadFile("../docs/performance.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range measurements() {
		if !strings.Contains(string(text), "| `"+m.name+"` |") {
			t.Errorf("docs/performance.md does not say what %s measures", m.name)
		}
		if strings.HasPrefix(m.name, "dns") { // only when named: it needs servers that are no part of a whole run
			continue
		}
		page, err := os.ReadFile("results/" + m.name + ".md")
		if err != nil {
			t.Errorf("no result of %s is kept: %v", m.name, err)
		} else if strings.Contains(string(page), "quick run") || strings.Contains(string(page), "held back by") {
			t.Errorf("what is kept of %s is no whole run", m.name)
		}
	}
}
