package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/replica"
	"github.com/seamark-mesh/seamark/registry/stream"
	"github.com/seamark-mesh/seamark/registry/stream/streamtest"
	"github.com/seamark-mesh/seamark/sync/edge"
)

var updateDocs = flag.Bool("update-docs", false, "write the examples of docs/protocol.md anew")

// told is a message of the story, as it is stored.
type told struct {
	subject  string
	sequence uint64
	header   map[string][]string
	body     []byte
}

// shelf is a registry for the story: what is on it is what it says.
type shelf struct {
	mu      sync.Mutex // guards the fields below
	current registry.Snapshot
	changed chan struct{} // closed at the next change
}

func newShelf(services ...registry.Service) *shelf {
	return &shelf{current: registry.NewSnapshot("1", services...), changed: make(chan struct{})}
}

func (s *shelf) put(index string, services ...registry.Service) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current = registry.NewSnapshot(index, services...)
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *shelf) look() (registry.Snapshot, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current, s.changed
}

func (s *shelf) Watch(ctx context.Context, emit func(registry.Snapshot)) error {
	for {
		snapshot, changed := s.look()
		emit(snapshot)
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (s *shelf) Read(context.Context) (registry.Snapshot, error) {
	snapshot, _ := s.look()
	return snapshot, nil
}

// story lets a real agent write each kind of message to a real stream, and returns
// them by the names that the examples have. A day lasts a second and a half.
func story(t *testing.T) (map[string]told, *stream.Conn) {
	t.Helper()
	_, conn := streamtest.Streams(t)
	zone, _ := registry.CleanZone(registry.ZoneRecord{
		Name: "mesh.internal.", TTL: 5, NegativeTTL: 5, Contact: "hostmaster.mesh.internal.",
		TTLByService: []registry.ServiceTTL{{Pattern: "shop/*", TTL: 15}},
		Nameservers:  []registry.Nameserver{{Name: "ns1.mesh.internal.", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.53")}}},
	})
	if _, err := replica.SeedZone(t.Context(), conn, zone, "global-dns@dns-1", time.Now()); err != nil {
		t.Fatal(err)
	}
	payments := registry.Service{Key: registry.ServiceKey{Namespace: "shop", Name: "Payments.API"}, Instances: []registry.Instance{
		{ID: "p1", Address: "10.0.0.9", Port: 9000, Weight: 1, Health: registry.Passing},
	}}
	c1 := registry.Instance{ID: "c1", Address: "10.0.0.1", Port: 8001, Weight: 1, Health: registry.Passing, Version: "1.4.2", Meta: map[string]string{"team": "red"}}
	c2 := registry.Instance{ID: "c2", Address: "10.0.0.2", Port: 8001, Weight: 1, Health: registry.Passing, Version: "1.4.3"}
	was := c1
	c1.Health = registry.Critical
	counter := registry.Service{Key: registry.ServiceKey{Namespace: "default", Name: "checkout"}, Instances: []registry.Instance{was}}
	registered := newShelf(counter, payments)
	agent, err := edge.New(edge.Config{
		Cluster: "amber", Agent: "amber-agent-1/4711/k3x9qa", Version: "v0.1.0", Source: "consul", Logger: slog.New(slog.DiscardHandler),
		Timing: edge.Timing{
			Renew: 20 * time.Millisecond, Lapse: 10 * time.Second, Compare: 50 * time.Millisecond,
			Refresh: 1500 * time.Millisecond, Forget: 1200 * time.Millisecond, Retry: 100 * time.Millisecond,
		},
	}, edge.Settings{
		Region: "eu", Zone: "eu-1", Labels: map[string]string{"tier": "prod"},
		Gateways: []registry.Gateway{{
			Name: "gw-1", Addresses: []netip.Addr{netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("2001:db8::1")},
			Ports: map[string]int{"http": 8080, "https": 8443}, Weight: 1,
		}},
	}, registered, conn.Writer("amber"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := agent.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	defer wg.Wait()
	defer stop()

	tale := teller{t: t, conn: conn, all: map[string]told{}}
	is := func(kind registry.Kind, cause registry.Cause, more ...func(*registry.Event) bool) func(*registry.Event) bool {
		return func(e *registry.Event) bool {
			return e.Kind == kind && e.Cause == cause && !slices.ContainsFunc(more, func(f func(*registry.Event) bool) bool { return !f(e) })
		}
	}
	about := func(name string) func(*registry.Event) bool {
		return func(e *registry.Event) bool { return e.Service != nil && e.Service.Name == name }
	}
	tale.await("zone", is(registry.KindZone, registry.CauseSeed))
	tale.await("epoch", is(registry.KindEpoch, registry.CauseChange))
	tale.await("cluster", is(registry.KindCluster, registry.CauseResync))
	tale.await("service", is(registry.KindService, registry.CauseResync, about("checkout")))
	tale.await("encoded", is(registry.KindService, registry.CauseResync, about("Payments.API")))
	tale.await("snapshot", is(registry.KindSnapshot, registry.CauseResync))
	counter.Instances = []registry.Instance{c1, c2}
	registered.put("2", counter, payments)
	tale.await("change", is(registry.KindService, registry.CauseChange, about("checkout")))
	tale.lease("lease", tale.event("change"))
	registered.put("3", payments)
	tale.await("tombstone", is(registry.KindService, registry.CauseChange, about("checkout"), func(e *registry.Event) bool { return e.Service.Total == 0 }))
	tale.await("refresh", is(registry.KindService, registry.CauseRefresh, about("Payments.API")))
	tale.await("forgotten", is(registry.KindService, registry.CauseChange, func(e *registry.Event) bool { return e.Service.Forgotten }))
	if err := conn.OrderResync(t.Context(), "amber", "at epoch 1795317600 revision 12 the lease has 2 services, the stream 3"); err != nil {
		t.Fatal(err)
	}
	tale.await("order", is(registry.KindOrder, registry.CauseChange))
	before := tale.event("epoch").Epoch
	tale.await("takeover", is(registry.KindEpoch, registry.CauseChange, func(e *registry.Event) bool { return e.Epoch > before }))
	stop()
	wg.Wait()
	tale.note()
	tale.observed()
	return tale.all, conn
}

// TestProtocolExamplesAreCurrent holds the examples of docs/protocol.md to what a
// real agent writes today: each has the same fields. With -update-docs it writes
// them anew.
func TestProtocolExamplesAreCurrent(t *testing.T) {
	t.Parallel()
	all, conn := story(t)
	if *updateDocs {
		rewriteExamples(t, all)
	}
	examples := protocolExamples(t)
	if have, want := slices.Sorted(maps.Keys(examples)), slices.Sorted(maps.Keys(all)); !slices.Equal(have, want) {
		t.Fatalf("the document has the examples %v, the story %v", have, want)
	}
	for name, real := range all {
		var have, want any
		if err := json.Unmarshal([]byte(examples[name].body), &have); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(real.body, &want); err != nil {
			t.Fatal(err)
		}
		if h, w := paths("", have), paths("", want); !slices.Equal(h, w) {
			t.Errorf("%s: the document has the fields %v\na real message has %v", name, h, w)
		}
		if examples[name].subject != real.subject {
			t.Errorf("%s: the document has the subject %s, a real message %s", name, examples[name].subject, real.subject)
		}
	}
	testHeaders(t, conn, examples["change"], all["change"])
	testStreamTable(t, conn)
}

// paths lists the fields of a JSON value; the elements of an array count as one.
func paths(at string, v any) []string {
	found := map[string]bool{}
	switch v := v.(type) {
	case map[string]any:
		for k, inner := range v {
			for _, p := range paths(at+"."+k, inner) {
				found[p] = true
			}
		}
	case []any:
		for _, inner := range v {
			for _, p := range paths(at+"[]", inner) {
				found[p] = true
			}
		}
	}
	if len(found) == 0 {
		found[at] = true
	}
	return slices.Sorted(maps.Keys(found))
}

// testHeaders stores the document's example and holds its headers to those that
// the document shows.
func testHeaders(t *testing.T, conn *stream.Conn, example example, real told) {
	t.Helper()
	e, err := registry.Decode([]byte(example.body))
	if err != nil {
		t.Fatal(err)
	}
	sequence, err := conn.Put(t.Context(), e, stream.AnySequence)
	if err != nil {
		t.Fatal(err)
	}
	m, err := openStream(t, jetStream(t, conn), stream.EventsStream).GetMsg(t.Context(), sequence)
	if err != nil {
		t.Fatal(err)
	}
	withoutPlace := func(lines []string) []string { // what depends on the messages before it
		return slices.DeleteFunc(lines, func(line string) bool {
			name, _, _ := strings.Cut(line, ":")
			return strings.HasPrefix(name, "Nats-Expected-") || name == stream.HeaderChain || name == stream.HeaderPrevious
		})
	}
	shown := marked(t, "headers")
	names := func(lines []string) string {
		for n, line := range lines {
			lines[n], _, _ = strings.Cut(line, ":")
		}
		return strings.Join(lines, " ")
	}
	if have, want := names(slices.Clone(shown)), names(headerLines(real.header)); have != want {
		t.Errorf("the document shows the headers %s, a real message has %s", have, want)
	}
	have, want := strings.Join(withoutPlace(shown), "\n"), strings.Join(withoutPlace(headerLines(m.Header)), "\n")
	if have != want {
		t.Errorf("the document shows\n%s\nits example, stored, has\n%s", have, want)
	}
}

// headerLines shows headers as they are stored; what the server tells of a message
// beside them is left out.
func headerLines(header map[string][]string) []string {
	var lines []string
	for _, k := range slices.Sorted(maps.Keys(header)) {
		if slices.Contains([]string{"Nats-Stream", "Nats-Subject", "Nats-Sequence", "Nats-Time-Stamp"}, k) {
			continue
		}
		for _, v := range header[k] {
			lines = append(lines, k+": "+v)
		}
	}
	return lines
}

var exampleMark = regexp.MustCompile("(?s)<!-- example: ([a-z]+) -->\n.*?```[a-z]+\n.*?```\n")

// rewriteExamples puts the story's messages into the document.
func rewriteExamples(t *testing.T, all map[string]told) {
	t.Helper()
	text := readText(t, protocolPage)
	text = exampleMark.ReplaceAllStringFunc(text, func(old string) string {
		name := exampleMark.FindStringSubmatch(old)[1]
		mark := "<!-- example: " + name + " -->\n"
		switch name {
		case "headers":
			return mark + "```text\n" + strings.Join(headerLines(all["change"].header), "\n") + "\n```\n"
		case "digest":
			e, err := registry.Decode(all["change"].body)
			if err != nil {
				t.Fatal(err)
			}
			return mark + "```text\n" + digestTable(e.Service) + "```\n"
		}
		m, ok := all[name]
		if !ok {
			t.Fatalf("the story has no example %q", name)
		}
		return fmt.Sprintf("%s`%s`, sequence %d:\n\n```json\n%s\n```\n", mark, m.subject, m.sequence, layout(t, m.body, ""))
	})
	if err := os.WriteFile(protocolPage, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// width is how long the lines of an example become, in bytes.
const width = 118

// layout writes JSON so that what fits on a line stands on one.
func layout(t *testing.T, raw json.RawMessage, indent string) string {
	t.Helper()
	var flat bytes.Buffer
	if err := json.Compact(&flat, raw); err != nil {
		t.Fatal(err)
	}
	spaced := strings.NewReplacer(`":`, `": `, `,"`, `, "`).Replace(flat.String())
	if indent != "" && len(indent)+len(spaced) <= width-12 {
		return spaced
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	open, err := d.Token()
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	scalars := false // the last line holds only members without parts, and may take more
	for d.More() {
		key := ""
		if open == json.Delim('{') {
			k, err := d.Token()
			if err != nil {
				t.Fatal(err)
			}
			key = fmt.Sprintf("%q: ", k)
		}
		var inner json.RawMessage
		if err := d.Decode(&inner); err != nil {
			t.Fatal(err)
		}
		text, scalar := key+string(inner), inner[0] != '{' && inner[0] != '['
		if !scalar {
			text = key + layout(t, inner, indent+"  ")
		}
		if last := len(lines) - 1; scalar && scalars && len(lines[last])+len(text) <= width {
			lines[last] += ", " + text
		} else {
			lines = append(lines, indent+"  "+text)
		}
		scalars = scalar
	}
	if open == json.Delim('{') {
		return "{\n" + strings.Join(lines, ",\n") + "\n" + indent + "}"
	}
	return "[\n" + strings.Join(lines, ",\n") + "\n" + indent + "]"
}
