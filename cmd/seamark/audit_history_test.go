package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seamark-mesh/seamark/cmd/internal/proc"
	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
	"github.com/seamark-mesh/seamark/registry/stream/streamtest"
)

// trail is a small history on a real stream: #1 the zone, #2 and #3 amber, #4 and #5
// checkout with redacted metadata, #6 about checkout and of no use.
type trail struct {
	url  string
	conn *stream.Conn
	made time.Time // of every event
	next uint64    // revision
}

func newTrail(t *testing.T) *trail {
	t.Helper()
	server, conn := streamtest.Streams(t)
	h := &trail{url: server.ClientURL(), conn: conn, made: time.Now().UTC().Truncate(time.Second)}
	h.put(t, registry.Event{Kind: registry.KindZone, Writer: registry.Operator, Zone: &registry.ZoneRecord{
		Name: "mesh.internal.", TTL: 5, NegativeTTL: 5, StaleTTL: 1, Contact: "hostmaster.mesh.internal.",
	}})
	h.put(t, registry.Event{Kind: registry.KindEpoch, Writer: "amber", Takeover: &registry.EpochRecord{}})
	h.put(t, registry.Event{Kind: registry.KindCluster, Writer: "amber", Cluster: &registry.ClusterRecord{Cluster: "amber", Gateways: []registry.Gateway{
		{Name: "gw", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Ports: map[string]int{"http": 80}, Weight: 1},
	}}})
	h.checkout(t, registry.Passing)
	h.checkout(t, registry.Critical)
	if _, err := conn.NATS().Request("mesh.v1.amber.svc.default.checkout", []byte("}{"), 10*time.Second); err != nil {
		t.Fatal(err)
	}
	return h
}

// checkout says how the only instance of checkout is.
func (h *trail) checkout(t *testing.T, health registry.Health) {
	t.Helper()
	key := registry.ServiceKey{Namespace: "default", Name: "checkout"}
	state := registry.NewServiceState(key, &registry.Service{
		Key: key, Redacted: 3, Instances: []registry.Instance{{ID: "c1", Address: "10.0.0.1", Port: 8001, Weight: 1, Health: health}},
	})
	state.Index, state.Seen = "4711", h.made.Add(-time.Second)
	h.put(t, registry.Event{Kind: registry.KindService, Writer: "amber", Service: &state})
}

func (h *trail) put(t *testing.T, e registry.Event) {
	t.Helper()
	e.Schema, e.Time, e.Agent, e.Cause = registry.Schema, h.made, "host-1/1/a", registry.CauseChange
	m := &nats.Msg{Header: nats.Header{}}
	if e.Writer != registry.Operator {
		h.next++
		e.Epoch, e.Revision = uint64(h.made.Unix()), h.next
		m.Header["Seamark-Epoch"], m.Header["Seamark-Revision"] = []string{strconv.FormatUint(e.Epoch, 10)}, []string{strconv.FormatUint(e.Revision, 10)}
	}
	e.ID = "id-" + strconv.FormatUint(h.next, 10)
	var err error
	if m.Subject, err = stream.Subject(e.Fact()); err != nil {
		t.Fatal(err)
	}
	if m.Data, err = registry.Encode(&e); err != nil {
		t.Fatal(err)
	}
	if _, err := h.conn.NATS().RequestMsg(m, 10*time.Second); err != nil {
		t.Fatal(err)
	}
}

// audit asks, and must succeed.
func (h *trail) audit(t *testing.T, arguments ...string) (out, said string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if code := proc.Execute(t.Context(), newCommand(nil), append([]string{"audit", "--nats", h.url}, arguments...), &stdout, &stderr); code != 0 {
		t.Fatalf("audit %v exits with %d: %s", arguments, code, stderr.String())
	}
	return stdout.String(), stderr.String()
}

// column returns a column of a CSV file by its name, without it.
func column(t *testing.T, text, name string) (cells []string) {
	t.Helper()
	all, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil || len(all) == 0 {
		t.Fatalf("%v in %s", err, text)
	}
	for n, head := range all[0] {
		if head == name {
			for _, line := range all[1:] {
				cells = append(cells, line[n])
			}
			return cells
		}
	}
	t.Fatalf("there is no column %s: %v", name, all[0])
	return nil
}

// A table for a spreadsheet left out which fields changed, and every time but the stream's.
func TestLogAsCSVHasAllColumns(t *testing.T) {
	h := newTrail(t)
	out, _ := h.audit(t, "log", "--service", "checkout", "-o", "csv")
	made, seen := h.made.Format(time.RFC3339Nano), h.made.Add(-time.Second).Format(time.RFC3339Nano)
	for name, want := range map[string]string{
		"sequence": "4|5|6", "kind": "change|change|unreadable", "index": "4711|4711|", "made": made + "|" + made + "|", "seen": seen + "|" + seen + "|",
		"redacted": "3|3|0", "cluster": "amber|amber|amber", "service": "default/checkout|default/checkout|default/checkout", "agent": "host-1/1/a|host-1/1/a|",
	} {
		if have := strings.Join(column(t, out, name), "|"); have != want {
			t.Errorf("the column %s has %q, want %q", name, have, want)
		}
	}
	changes := column(t, out, "changes")
	if !strings.Contains(changes[0], "+ instance c1: address 10.0.0.1") || changes[1] != "~ instance c1: health passing → critical" {
		t.Errorf("the changes are %q", changes)
	}
}

func TestLogAsCloudEvents(t *testing.T) {
	h := newTrail(t)
	out, said := h.audit(t, "log", "--service", "checkout", "-o", "cloudevents")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 2 || !strings.Contains(said, "1 message can't be read") {
		t.Fatalf("%d events, and it says %q:\n%s", len(lines), said, out)
	}
	var e struct {
		SpecVersion, ID, Type, Source, Subject, DataContentType string
		Time, Stored                                            time.Time
		Sequence                                                uint64
		Data                                                    registry.Event
	}
	if err := json.Unmarshal([]byte(lines[1]), &e); err != nil {
		t.Fatal(err)
	}
	if e.SpecVersion != "1.0" || e.ID != "id-4" || e.Type != "seamark.service.v1" || e.Source != "/seamark/amber" || e.Subject != "default/checkout" ||
		e.DataContentType != "application/json" || !e.Time.Equal(h.made) || e.Sequence != 5 || e.Stored.IsZero() ||
		e.Data.Service == nil || e.Data.Service.Instances[0].Health != registry.Critical {
		t.Errorf("the event is %+v", e)
	}
}

// That something was redacted stood in the JSON of the log alone.
func TestEveryAnswerTellsWhatWasRedacted(t *testing.T) {
	h := newTrail(t)
	for name, arguments := range map[string][]string{
		"log": {"log", "--service", "checkout"}, "at": {"at", "now", "checkout"}, "blame": {"blame", "checkout"},
	} {
		if out, _ := h.audit(t, arguments...); !strings.Contains(out, "3 metadata pairs withheld by its agent") {
			t.Errorf("%s does not say that something was redacted:\n%s", name, out)
		}
	}
	for name, arguments := range map[string][]string{
		"log": {"log", "-o", "jsonl"}, "at": {"at", "now", "-o", "json"}, "blame": {"blame", "checkout", "-o", "json"},
	} {
		if out, _ := h.audit(t, arguments...); !strings.Contains(strings.ReplaceAll(out, `": 3`, `":3`), `"redacted":3`) {
			t.Errorf("the JSON of %s does not say that something was redacted:\n%s", name, out)
		}
	}
	out, _ := h.audit(t, "blame", "checkout", "-o", "csv")
	if have := strings.Join(column(t, out, "REDACTED"), "|"); have != "0|3" { // the gateway, the instance
		t.Errorf("the CSV of blame says that %s were redacted:\n%s", have, out)
	}
}

// A list can be read line by line, whatever it is of.
func TestWhatStoodAndWhyAsLists(t *testing.T) {
	h := newTrail(t)
	out, _ := h.audit(t, "at", "#5", "-o", "csv")
	if have := column(t, out, "service")[0] + " " + column(t, out, "healthy")[0] + " " + column(t, out, "redacted")[0]; have != "default/checkout 0 3" {
		t.Errorf("at tells %q:\n%s", have, out)
	}
	out, _ = h.audit(t, "at", "#5", "-o", "jsonl")
	if !strings.HasPrefix(out, `{"namespace":"default","name":"checkout"`) || strings.Count(out, "\n") != 1 {
		t.Errorf("at tells %s", out)
	}
	out, _ = h.audit(t, "resolve", "--at", "#4", "checkout.svc.mesh.internal", "-o", "csv")
	if have := column(t, out, "CLUSTER")[0] + " " + column(t, out, "IN")[0]; have != "amber true" {
		t.Errorf("resolve tells %q:\n%s", have, out)
	}
	out, _ = h.audit(t, "resolve", "--at", "#4", "checkout.svc.mesh.internal", "-o", "jsonl")
	if !strings.HasPrefix(out, `{"cluster":"amber","in":true`) || strings.Count(out, "\n") != 1 {
		t.Errorf("resolve tells %s", out)
	}
}

// Only the log told that a message could not be used.
func TestEveryAnswerTellsWhatItPassedOver(t *testing.T) {
	h := newTrail(t)
	for name, arguments := range map[string][]string{
		"at": {"at", "now"}, "at of one": {"at", "now", "checkout"}, "diff": {"diff", "#4", "now"}, "blame": {"blame", "checkout"},
		"resolve": {"resolve", "checkout.svc.mesh.internal"}, "diff of one": {"diff", "#5", "#6", "checkout"},
	} {
		if _, said := h.audit(t, arguments...); !strings.Contains(said, "of 1 fact the latest message can't be used") || !strings.Contains(said, "#6 (not-json") {
			t.Errorf("%s says %q", name, said)
		}
		out, _ := h.audit(t, append(arguments, "-o", "json")...)
		var answer struct {
			Unused struct {
				Facts    int
				Sequence uint64
				Reason   string
			}
		}
		if err := json.Unmarshal([]byte(out), &answer); err != nil || answer.Unused.Facts != 1 || answer.Unused.Sequence != 6 || answer.Unused.Reason != "not-json" {
			t.Errorf("the JSON of %s says %+v, %v", name, answer, err)
		}
	}
	if out, said := h.audit(t, "at", "#5", "-o", "json"); said != "" || strings.Contains(out, "unused") {
		t.Errorf("before that it says %q:\n%s", said, out)
	}
}

// sink takes what a command prints while it runs.
type sink struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *sink) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

func (s *sink) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// What is stored later is told as it comes, and Ctrl-C is how it ends.
func TestLogFollows(t *testing.T) {
	h := newTrail(t)
	var out, said sink
	code := make(chan int)
	go func() {
		code <- proc.Execute(t.Context(), newCommand(nil), []string{"audit", "--nats", h.url, "log", "--service", "checkout", "--since", "#5", "--follow"}, &out, &said)
	}()
	streamtest.Eventually(t, 30*time.Second, "what stood is told", func() bool { return strings.Contains(out.String(), "#6") })
	h.checkout(t, registry.Passing)
	streamtest.Eventually(t, 30*time.Second, "what comes is told", func() bool { return strings.Contains(out.String(), "health critical → passing") })
	if strings.Contains(out.String(), "#4 ") || strings.Contains(out.String(), "#2 ") {
		t.Errorf("it tells what was not asked for:\n%s", out.String())
	}
	self, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = self.Signal(os.Interrupt)
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := <-code; got != 0 || !strings.Contains(said.String(), "1 message can't be read") {
		t.Errorf("it ends with %d and says %q", got, said.String())
	}
}
