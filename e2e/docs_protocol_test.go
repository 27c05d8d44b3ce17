package e2e

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
)

const protocolPage = "../docs/protocol.md"

// example is one message of the document.
type example struct {
	name     string
	subject  string
	sequence uint64
	body     string
}

var jsonExample = regexp.MustCompile("(?s)<!-- example: ([a-z]+) -->\n`([^`]+)`, sequence ([0-9]+):\n\n```json\n(.*?)```\n")

// protocolExamples returns the messages of the document by name.
func protocolExamples(t *testing.T) map[string]example {
	t.Helper()
	text := readText(t, protocolPage)
	all := map[string]example{}
	for _, m := range jsonExample.FindAllStringSubmatch(text, -1) {
		sequence, err := strconv.ParseUint(m[3], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		all[m[1]] = example{name: m[1], subject: m[2], sequence: sequence, body: m[4]}
	}
	if blocks := strings.Count(text, "```json\n"); blocks != len(all) || blocks == 0 {
		t.Fatalf("of %d JSON blocks %d are examples with a subject and a sequence", blocks, len(all))
	}
	return all
}

// marked returns the block behind an example's mark.
func marked(t *testing.T, name string) []string {
	t.Helper()
	_, text, ok := strings.Cut(readText(t, protocolPage), "<!-- example: "+name+" -->\n```text\n")
	text, _, closed := strings.Cut(text, "\n```\n")
	if !ok || !closed {
		t.Fatalf("the document has no example %s", name)
	}
	return strings.Split(text, "\n")
}

// TestProtocolExamples decodes every message of docs/protocol.md, folds them in the
// order of their sequences, and compares what they say of each other.
func TestProtocolExamples(t *testing.T) {
	t.Parallel()
	var events []registry.Message
	var leases []registry.Lease
	for _, e := range protocolExamples(t) {
		if e.subject == stream.LeaseSubject("amber") {
			l, err := registry.DecodeLease([]byte(e.body))
			if err != nil {
				t.Fatalf("%s: %v", e.name, err)
			}
			again, err := registry.EncodeLease(l)
			sameJSON(t, e, again, err)
			leases = append(leases, l)
			continue
		}
		if e.subject == stream.ProbeSubject("_dns-dns-1", "amber") {
			r, err := registry.DecodeProbeReport([]byte(e.body))
			if err != nil {
				t.Fatalf("%s: %v", e.name, err)
			}
			again, err := registry.EncodeProbeReport(r)
			sameJSON(t, e, again, err)
			continue
		}
		body, err := registry.Decode([]byte(e.body))
		if err != nil {
			t.Fatalf("%s: %v", e.name, err)
		}
		again, err := registry.Encode(body)
		sameJSON(t, e, again, err)
		fact, err := stream.ParseSubject(e.subject)
		if err != nil {
			t.Fatalf("%s: %v", e.name, err)
		}
		m := registry.NewMessage(fact, e.sequence, body.Time, body.Epoch, body.Revision, body, nil)
		if m.Refused != nil {
			t.Errorf("%s: %v", e.name, m.Refused)
		}
		events = append(events, m)
	}
	slices.SortFunc(events, func(a, b registry.Message) int { return int(a.Sequence) - int(b.Sequence) })
	digests := 0
	fold := registry.NewFold()
	for n, m := range events {
		if n > 0 && events[n-1].Sequence == m.Sequence {
			t.Errorf("two examples have the sequence %d", m.Sequence)
		}
		if mark := m.Event.Snapshot; mark != nil {
			digests++
			if c := fold.View().Cluster("amber"); mark.Digest != c.Digest || mark.Keys != c.Services {
				t.Errorf("the snapshot's mark says %d services and %s, what stands before it gives %d and %s", mark.Keys, mark.Digest, c.Services, c.Digest)
			}
		}
		if out := fold.Apply(m); out.Result == registry.Quarantined || out.Result == registry.Duplicate {
			t.Errorf("sequence %d is %s: %s", m.Sequence, out.Result, out.Reason)
		}
		for _, l := range leases {
			if m.Epoch == l.Epoch && m.Revision == l.Revision {
				digests++
				if c := fold.View().Cluster("amber"); l.Digest != c.Digest || l.Keys != c.Services {
					t.Errorf("the lease says %d services and %s, what is applied then gives %d and %s", l.Keys, l.Digest, c.Services, c.Digest)
				}
			}
		}
	}
	if digests != 2 || len(leases) != 1 {
		t.Errorf("%d digests in %d leases and a snapshot's mark were compared, want 2", digests, len(leases))
	}
}

func sameJSON(t *testing.T, e example, again []byte, err error) {
	t.Helper()
	var was, is any
	if err == nil {
		err = json.Unmarshal([]byte(e.body), &was)
	}
	if err == nil {
		err = json.Unmarshal(again, &is)
	}
	if err != nil {
		t.Fatalf("%s: %v", e.name, err)
	}
	if !reflect.DeepEqual(was, is) {
		t.Errorf("%s is\n%s\ndecoded and encoded again it is\n%s", e.name, e.body, again)
	}
}

// digested writes a service as docs/protocol.md says, piece by piece, as somebody
// would who knows only that page.
func digested(s *registry.ServiceState) (pieces [][2]string) {
	text := func(s string) {
		piece := append(binary.AppendUvarint(nil, uint64(len(s))), s...)
		pieces = append(pieces, [2]string{hex.EncodeToString(piece), strconv.Quote(s)})
	}
	number := func(what string, n int) {
		pieces = append(pieces, [2]string{hex.EncodeToString(binary.AppendUvarint(nil, uint64(n)<<1)), fmt.Sprintf("%s %d", what, n)})
	}
	text("service")
	text(s.Namespace)
	text(s.Name)
	number("total", s.Total)
	number("serving", s.Serving)
	number("truncated", map[bool]int{true: 1}[s.Truncated])
	number("instances", len(s.Instances))
	for _, i := range s.Instances {
		text(i.ID)
		text(i.Address)
		number("port", i.Port)
		number("weight", i.Weight)
		text(string(i.Health))
		text(i.Version)
		number("metadata pairs", len(i.Meta))
		for _, k := range slices.Sorted(maps.Keys(i.Meta)) {
			text(k)
			text(i.Meta[k])
		}
	}
	return pieces
}

// digestTable shows the bytes of a digest and what they say.
func digestTable(s *registry.ServiceState) string {
	var b strings.Builder
	for _, p := range digested(s) {
		fmt.Fprintf(&b, "%-32s %s\n", p[0], p[1])
	}
	fmt.Fprintf(&b, "digest %s\n", s.Digest())
	return b.String()
}

// TestProtocolDigest computes the digest of an example from the page's own bytes.
func TestProtocolDigest(t *testing.T) {
	t.Parallel()
	e, err := registry.Decode([]byte(protocolExamples(t)["change"].body))
	if err != nil {
		t.Fatal(err)
	}
	lines := marked(t, "digest")
	if have, want := strings.Join(lines, "\n")+"\n", digestTable(e.Service); have != want {
		t.Errorf("the document shows\n%s\nit should be\n%s", have, want)
	}
	var all []byte
	for _, line := range lines[:len(lines)-1] {
		piece, err := hex.DecodeString(strings.Fields(line)[0])
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, piece...)
	}
	sum := sha256.Sum256(all)
	if have, want := "digest "+hex.EncodeToString(sum[:16]), lines[len(lines)-1]; have != want {
		t.Errorf("the bytes of the document give %s, it says %s", have, want)
	}
}

// TestProtocolSubjects parses every subject of the document and makes it again.
func TestProtocolSubjects(t *testing.T) {
	t.Parallel()
	for _, row := range rows(t, protocolPage, "fact", "namespace", "name", "subject") {
		want := registry.Fact{Writer: "amber", Kind: registry.KindService, Service: registry.ServiceKey{Namespace: unquoted(row[1]), Name: unquoted(row[2])}}
		if row[0] != "a service of `amber`" {
			t.Fatalf("the test does not know %q", row[0])
		}
		if got, err := stream.ParseSubject(unquoted(row[3])); err != nil || got != want {
			t.Errorf("%s is %+v, %v; want %+v", row[3], got, err, want)
		}
	}
	listed := rows(t, protocolPage, "subject", "kind", "fact")
	kinds := map[string]bool{}
	fill := strings.NewReplacer("<cluster>", "amber", "<writer>", "_observer", "<namespace>", "shop", "<name>", "orders", "<kind>", "resync", "<target…>", "amber", "<vantage>", "_dns-dns-1")
	for _, row := range listed {
		subject := fill.Replace(unquoted(row[0]))
		fact, err := stream.ParseSubject(subject)
		if err != nil {
			t.Errorf("%s: %v", row[0], err)
			continue
		}
		if again, err := stream.Subject(fact); err != nil || again != subject || string(fact.Kind) != unquoted(row[1]) {
			t.Errorf("%s is a %s and gives %s, %v", subject, fact.Kind, again, err)
		}
		kinds[string(fact.Kind)] = true
	}
	for _, value := range constants(t, "../registry", "^Kind[A-Z]") {
		if !kinds[strings.Trim(value, `"`)] {
			t.Errorf("the document has no subject for the kind %s", value)
		}
	}
}

// testStreamTable holds the document's settings to those of the real streams.
func testStreamTable(t *testing.T, conn *stream.Conn) {
	t.Helper()
	js := jetStream(t, conn)
	configs := map[string]map[string]any{}
	for _, name := range []string{stream.EventsStream, stream.LeaseStream} {
		text, err := json.Marshal(openStream(t, js, name).CachedInfo().Config)
		if err != nil {
			t.Fatal(err)
		}
		config := map[string]any{}
		if err := json.Unmarshal(text, &config); err != nil {
			t.Fatal(err)
		}
		configs[name] = config
	}
	show := func(field string, v any) string {
		switch n, _ := v.(float64); {
		case v == nil:
			return "no"
		case v == true:
			return "yes"
		case field == "max_age" || field == "duplicate_window":
			if n == 0 {
				return "no"
			}
			return (time.Duration(n) * time.Nanosecond).String()
		case field == "subjects":
			var list []string
			for _, s := range v.([]any) {
				list = append(list, "`"+s.(string)+"`")
			}
			return strings.Join(list, " ")
		case n == -1:
			return "no limit"
		}
		return fmt.Sprint(v)
	}
	table := rows(t, protocolPage, "setting", "`MESH_EVENTS`", "`MESH_LEASE`")
	if len(table) < 12 {
		t.Errorf("the document has only %d settings", len(table))
	}
	for _, row := range table {
		field := unquoted(row[0])
		for n, name := range []string{stream.EventsStream, stream.LeaseStream} {
			if want := show(field, configs[name][field]); row[n+1] != want {
				t.Errorf("%s of %s is %s, the document says %s", field, name, want, row[n+1])
			}
		}
	}
}

// TestProtocolLimits holds the document's limits to the code's constants.
func TestProtocolLimits(t *testing.T) {
	t.Parallel()
	in := map[string]map[string]string{
		"registry": constants(t, "../registry", "^(Max|Min|max)[A-Z]"),
		"stream":   constants(t, "../registry/stream", "^(max[A-Z]|compressAbove|headroom)"),
	}
	listed := map[string]bool{}
	for _, row := range rows(t, protocolPage, "limit", "value", "constant") {
		pkg, name, _ := strings.Cut(unquoted(row[2]), ".")
		listed[pkg+"."+name] = true
		source, ok := in[pkg][name]
		if !ok {
			t.Errorf("there is no constant %s", row[2])
			continue
		}
		value, err := types.Eval(token.NewFileSet(), nil, token.NoPos, source)
		if err != nil {
			t.Fatalf("%s = %s: %v", row[2], source, err)
		}
		if have := strings.ReplaceAll(strings.Fields(row[1])[0], ",", ""); have != value.Value.ExactString() {
			t.Errorf("%s is %s, the document says %s", row[2], value.Value, have)
		}
	}
	for name := range in["registry"] {
		if ast.IsExported(name) && !listed["registry."+name] {
			t.Errorf("the document lacks the limit registry.%s", name)
		}
	}
	for _, row := range rows(t, protocolPage, "name", "label") {
		if got := registry.Label(unquoted(row[0])); got != unquoted(row[1]) {
			t.Errorf("the label of %s is %s, the document says %s", row[0], got, row[1])
		}
	}
	defaults := map[string]string{}
	for _, m := range regexp.MustCompile(`set\(&t\.(\w+), ([^)]+)\)`).FindAllStringSubmatch(readText(t, "../sync/edge/ports.go"), -1) {
		product := time.Duration(1)
		for factor := range strings.SplitSeq(m[2], "*") {
			if unit, ok := map[string]time.Duration{"time.Second": time.Second, "time.Minute": time.Minute, "time.Hour": time.Hour}[factor]; ok {
				product *= unit
			} else if n, err := strconv.Atoi(factor); err == nil {
				product *= time.Duration(n)
			} else {
				t.Fatalf("%s is no period", m[2])
			}
		}
		defaults[m[1]] = product.String()
	}
	for _, row := range rows(t, protocolPage, "period", "value", "field") {
		if have := defaults[unquoted(row[2])]; have != row[1] {
			t.Errorf("%s is %s, the document says %s", row[2], have, row[1])
		}
		delete(defaults, unquoted(row[2]))
	}
	if len(defaults) > 0 {
		t.Errorf("the document lacks the periods %v", defaults)
	}
}

// TestProtocolReasons holds the document's tables of reasons and codes to the code.
func TestProtocolReasons(t *testing.T) {
	t.Parallel()
	listed := map[string]bool{}
	for _, row := range rows(t, protocolPage, "reason", "the message") {
		for reason := range strings.SplitSeq(row[0], ", ") {
			listed[unquoted(reason)] = true
		}
	}
	elsewhere := []string{"", "digest", "domain", "encode", "pattern"} // never of a message: they become not-json, zone or an error of a writer
	used := literals(t, `(?:refuse\(|Reason: |Reason(?:Epoch|TooMany) += )"([a-z0-9-]*)"`, "../registry", "../registry/stream")
	for reason := range used {
		if !listed[reason] && !slices.Contains(elsewhere, reason) {
			t.Errorf("the document lacks the reason %q", reason)
		}
	}
	for reason := range listed {
		if !used[reason] {
			t.Errorf("nothing is refused with the reason %q", reason)
		}
	}
	codes := literals(t, `jetstream\.ErrorCode += ([0-9]+)`, "../registry/stream")
	for _, row := range rows(t, protocolPage, "code", "means", "do") {
		if _, err := strconv.Atoi(row[0]); err == nil && !codes[row[0]] {
			t.Errorf("the code does not know the error code %s", row[0])
		}
		delete(codes, row[0])
	}
	if len(codes) > 0 {
		t.Errorf("the document lacks the error codes %v", codes)
	}
}
