package registry_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/seamark-mesh/seamark/registry"
)

func TestEncodedEventsDecodeToThemselves(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		for _, m := range drawStream(t).messages {
			event, err := registry.Decode(m.body)
			if err != nil {
				continue // made unreadable on purpose
			}
			again, err := registry.Encode(event)
			if err != nil {
				t.Fatalf("Encode: %v", err)
			}
			decoded, err := registry.Decode(again)
			if err != nil {
				t.Fatalf("Decode(Encode(x)): %v", err)
			}
			if diff := cmp.Diff(event, decoded, cmpopts.EquateComparable()); diff != "" {
				t.Fatalf("Decode(Encode(x)) differs (-want +got)\n%s", diff)
			}
		}
	})
}

// body is an event as JSON, with one place to write something else into.
func body(kind, part string) string {
	return `{"schema":"seamark/1.0","id":"amber-1-1","kind":"` + kind + `","writer":"amber","epoch":1800000000,"revision":1,` +
		`"time":"2027-01-15T08:00:00Z","cause":"change",` + part + `}`
}

func serviceBody(instances string) string {
	return body("service", `"service":{"namespace":"default","name":"api","changed":{"epoch":1,"revision":1,"time":"2027-01-15T08:00:00Z"},"instances":[`+instances+`]}`)
}

func instanceBody(id, rest string) string {
	return `{"id":"` + id + `","address":"10.0.0.1","port":80,"weight":1,"health":"passing"` + rest + `}`
}

func TestDecodeRefusesByReason(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ body, reason string }{
		"a sound service":                 {serviceBody(instanceBody("a", "")), ""},
		"unknown fields":                  {body("service", `"later":{"x":[1]},"service":{"namespace":"d","name":"n","new":1,"instances":null,"changed":{}}`), ""},
		"a later minor version":           {strings.Replace(serviceBody(""), "1.0", "1.7", 1), ""},
		"an unknown kind":                 {body("weather", `"weather":{}`), ""},
		"unsorted instances":              {serviceBody(instanceBody("b", "") + "," + instanceBody("a", "")), ""},
		"keys given twice":                {serviceBody(instanceBody("a", `,"port":81,"port":82`)), ""},
		"nothing":                         {"", "not-json"},
		"null":                            {"null", "schema"},
		"half a body":                     {serviceBody("")[:40], "not-json"},
		"a body and something":            {serviceBody("") + "{}", "not-json"},
		"a later major version":           {strings.Replace(serviceBody(""), "1.0", "2.0", 1), "schema"},
		"another schema":                  {strings.Replace(serviceBody(""), "seamark", "lighthouse", 1), "schema"},
		"not a number":                    {strings.Replace(serviceBody(""), `"revision":1`, `"revision":NaN`, 1), "not-json"},
		"a number beyond 64 bits":         {strings.Replace(serviceBody(""), `"revision":1`, `"revision":18446744073709551616`, 1), "not-json"},
		"a negative epoch":                {strings.Replace(serviceBody(""), `"epoch":1800000000`, `"epoch":-1`, 1), "not-json"},
		"a time that is none":             {strings.Replace(serviceBody(""), "2027-01-15", "2027-13-45", 1), "not-json"},
		"a writer with a dot":             {strings.Replace(serviceBody(""), `"amber"`, `"amber.svc"`, 1), "writer"},
		"a writer with a wildcard":        {strings.Replace(serviceBody(""), `"amber"`, `"*"`, 1), "writer"},
		"a writer with a line":            {strings.Replace(serviceBody(""), `"amber"`, `"amber\r\n"`, 1), "writer"},
		"another system's writer":         {strings.Replace(serviceBody(""), `"amber"`, `"_system"`, 1), "writer"},
		"nested deeper than 32":           {body("weather", `"weather":`+strings.Repeat("[", 40)+strings.Repeat("]", 40)), "too-deep"},
		"nested 10,000 deep":              {strings.Repeat("[", 10_000), "too-deep"},
		"more than a mebibyte":            {strings.Repeat(" ", registry.MaxBody+1), "too-large"},
		"an id that is long":              {strings.Replace(serviceBody(""), "amber-1-1", strings.Repeat("x", 300), 1), "text"},
		"an id with an escape sequence":   {strings.Replace(serviceBody(""), "amber-1-1", `\u001b[2J`, 1), "text"},
		"a cause that is long":            {strings.Replace(serviceBody(""), `"change"`, `"`+strings.Repeat("x", 300)+`"`, 1), "text"},
		"an index that is long":           {strings.Replace(serviceBody(""), `"instances"`, `"index":"`+strings.Repeat("x", 300)+`","instances"`, 1), "text"},
		"a changed id with a control":     {strings.Replace(serviceBody(""), `"instances"`, `"changes":{"removed":["\u0007"]},"instances"`, 1), "text"},
		"a changed field with a control":  {strings.Replace(serviceBody(""), `"instances"`, `"changes":{"changed":[{"id":"a","fields":["\u0007"]}]},"instances"`, 1), "text"},
		"a service without its part":      {body("service", `"x":1`), "kind"},
		"a service with a null part":      {body("service", `"service":null`), "kind"},
		"a part of another kind":          {body("cluster", `"service":{"namespace":"d","name":"n","instances":[]}`), "kind"},
		"two parts":                       {body("service", `"service":{"namespace":"d","name":"n","instances":[]},"note":{"kind":"x","text":""}`), "kind"},
		"a name that is empty":            {body("service", `"service":{"namespace":"d","name":"","instances":[]}`), "name-empty"},
		"a name with a space":             {body("service", `"service":{"namespace":"d","name":"a b","instances":[]}`), "name-characters"},
		"a name with NUL":                 {body("service", `"service":{"namespace":"d","name":"a\u0000","instances":[]}`), "name-characters"},
		"a name that is a wildcard":       {body("service", `"service":{"namespace":"d","name":"*","instances":[]}`), "name-characters"},
		"an id given twice":               {serviceBody(instanceBody("a", "") + "," + instanceBody("a", "")), "instance-duplicate"},
		"a port of 65536":                 {serviceBody(instanceBody("a", `,"port":65536`)), "instance-port"},
		"a weight of -1":                  {serviceBody(instanceBody("a", `,"weight":-1`)), "instance-weight"},
		"an unknown health":               {serviceBody(instanceBody("a", `,"health":"fine"`)), "health"},
		"metadata of 64 KiB":              {serviceBody(instanceBody("a", `,"meta":{"k":"`+strings.Repeat("x", 65_536)+`"}`)), "metadata-too-large"},
		"forgotten with instances":        {strings.Replace(serviceBody(instanceBody("a", "")), `"instances"`, `"forgotten":true,"instances"`, 1), "forgotten"},
		"counts below what is listed":     {strings.Replace(serviceBody(instanceBody("a", "")), `"instances"`, `"truncated":true,"total":0,"instances"`, 1), "counts"},
		"more serving than there are":     {strings.Replace(serviceBody(""), `"instances"`, `"truncated":true,"total":1,"serving":2,"instances"`, 1), "counts"},
		"a total beyond all bounds":       {strings.Replace(serviceBody(""), `"instances"`, `"truncated":true,"total":2000000000,"instances"`, 1), "counts"},
		"too many instances":              {serviceBody(strings.Repeat(`{},`, registry.MaxInstances) + `{}`), "instances-too-many"},
		"another cluster's record":        {body("cluster", `"cluster":{"cluster":"bronze","gateways":[]}`), "foreign"},
		"a gateway on 0.0.0.0":            {body("cluster", `"cluster":{"cluster":"amber","gateways":[{"name":"gw","addresses":["0.0.0.0"],"weight":1}]}`), "gateway-address"},
		"a gateway with a host name":      {body("cluster", `"cluster":{"cluster":"amber","gateways":[{"name":"gw","addresses":["gw.example"],"weight":1}]}`), "not-json"},
		"a gateway without an address":    {body("cluster", `"cluster":{"cluster":"amber","gateways":[{"name":"gw","addresses":[],"weight":1}]}`), "gateway-address"},
		"a region with a control":         {body("cluster", `"cluster":{"cluster":"amber","region":"e\u0007","gateways":[]}`), "cluster-text"},
		"too many labels":                 {body("cluster", `"cluster":{"cluster":"amber","gateways":[],"labels":`+object(65)+`}`), "cluster-labels"},
		"a label that is long":            {body("cluster", `"cluster":{"cluster":"amber","gateways":[],"labels":{"k":"`+strings.Repeat("x", 600)+`"}}`), "metadata-too-large"},
		"fences that descend":             {body("epoch", `"takeover":{"fences":[{"epoch":5,"sequence":9},{"epoch":4,"sequence":10}]}`), "fences"},
		"fences of a later epoch":         {body("epoch", `"takeover":{"fences":[{"epoch":1800000001,"sequence":9}]}`), "fences"},
		"too many fences":                 {body("epoch", `"takeover":{"fences":[`+strings.TrimSuffix(strings.Repeat(`{"epoch":1,"sequence":1},`, 33), ",")+`]}`), "fences"},
		"an agent's version that is long": {body("epoch", `"takeover":{"version":"`+strings.Repeat("1", 300)+`"}`), "text"},
		"a mark with negative keys":       {body("snapshot", `"snapshot":{"keys":-1,"digest":"`+strings.Repeat("0", 32)+`"}`), "snapshot"},
		"a digest that is short":          {body("snapshot", `"snapshot":{"keys":1,"digest":"00"}`), "not-json"},
		"a digest that is none":           {body("snapshot", `"snapshot":{"keys":1,"digest":"`+strings.Repeat("x", 32)+`"}`), "not-json"},
		"a note's kind with a dot":        {body("note", `"note":{"kind":"a.b","text":""}`), "note"},
		"a note that is long":             {body("note", `"note":{"kind":"a","text":"`+strings.Repeat("x", 4097)+`"}`), "note"},
		"a note with long data":           {body("note", `"note":{"kind":"a","text":"","data":{"k":"`+strings.Repeat("x", 600)+`"}}`), "note"},
		"an order's target with a star":   {body("order", `"order":{"kind":"drain","target":"amber.*"}`), "order"},
		"an order's long reason":          {body("order", `"order":{"kind":"drain","target":"amber","reason":"`+strings.Repeat("x", 4097)+`"}`), "order"},
		"a zone with a TTL of 2^31":       {body("zone", `"zone":{"name":"mesh.internal.","ttl":2147483648,"negative_ttl":5,"contact":"a.b."}`), "zone"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			event, err := registry.Decode([]byte(tt.body))
			if tt.reason == "" {
				if err != nil {
					t.Fatalf("Decode: %v", err)
				}
				return
			}
			checkRefusal(t, err)
			var refused *registry.Refusal
			if errors.As(err, &refused); event != nil || refused.Reason != tt.reason {
				t.Errorf("Decode = %v, %q (%v), want the reason %q", event, refused.Reason, err, tt.reason)
			}
		})
	}
}

// object returns a JSON object with n pairs.
func object(n int) string {
	pairs := map[string]string{}
	for i := range n {
		pairs[fmt.Sprint("k", i)] = "v"
	}
	text, _ := json.Marshal(pairs)
	return string(text)
}

// reasons are all the words that may become a metric's label.
var reasons = strings.Fields(`schema writer text kind foreign fences order note zone snapshot too-large too-deep not-json
	forgotten counts instances-too-many instance-duplicate instance-id instance-address instance-port instance-weight
	instance-version health metadata-too-many metadata-too-large metadata-not-utf8 name-empty name-too-long name-characters
	name-not-ascii cluster-id cluster-labels cluster-text gateway-name gateway-weight gateway-port gateway-address
	gateway-duplicate gateways-too-many too-many headers epoch fenced pattern domain digest encode`)

// checkRefusal holds an error to what package registry promises of a refusal.
func checkRefusal(t testing.TB, err error) {
	t.Helper()
	var refused *registry.Refusal
	if !errors.As(err, &refused) {
		t.Fatalf("the error is %T (%v), not a refusal", err, err)
	}
	known := false
	for _, r := range reasons {
		known = known || r == refused.Reason
	}
	if !known {
		t.Errorf("the reason %q is not one of the fixed set", refused.Reason)
	}
	if len(refused.Detail) == 0 || len(refused.Detail) > 1024 || !utf8.ValidString(refused.Detail) {
		t.Errorf("the detail of %q has %d bytes, or is no UTF-8: %q", refused.Reason, len(refused.Detail), refused.Detail)
	}
}

func TestDecodeCountsWhatIsListed(t *testing.T) {
	t.Parallel()
	text := strings.Replace(serviceBody(instanceBody("a", "")+","+instanceBody("b", `,"weight":0`)), `"instances"`, `"total":9,"serving":7,"instances"`, 1)
	event, err := registry.Decode([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if s := event.Service; s.Total != 2 || s.Serving != 1 {
		t.Errorf("total %d, serving %d; want 2 and 1, whatever the body claims", s.Total, s.Serving)
	}
}

func TestTruncateFitsAndKeepsTheCounts(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		count := rapid.IntRange(0, 300).Draw(t, "instances")
		all := make([]registry.Instance, count)
		for n := range all {
			all[n] = registry.Instance{ID: fmt.Sprintf("i-%04d", n), Address: "10.0.0.1", Weight: n % 2, Health: registry.Passing}
		}
		service, _, _ := registry.CleanService("", "api", all)
		before := registry.NewServiceState(service.Key, &service)
		before.Changes = registry.Compare(nil, &service)
		event := &registry.Event{Schema: registry.Schema, Kind: registry.KindService, Writer: "amber", Service: &before}
		whole, _ := registry.Encode(event)
		limit := rapid.IntRange(1, len(whole)+10).Draw(t, "limit")

		cut, err := registry.Truncate(event, limit)
		if err != nil {
			none := before
			none.Instances, none.Changes, none.Truncated = []registry.Instance{}, nil, true
			least, _ := registry.Encode(&registry.Event{Schema: registry.Schema, Kind: registry.KindService, Writer: "amber", Service: &none})
			if limit >= len(least) {
				t.Fatalf("Truncate to %d: %v; %d bytes would do", limit, err, len(least))
			}
			return
		}
		text, _ := registry.Encode(cut)
		if len(text) > limit {
			t.Fatalf("Truncate to %d gives %d bytes", limit, len(text))
		}
		decoded, err := registry.Decode(text)
		if err != nil {
			t.Fatalf("what was cut does not decode: %v", err)
		}
		checkCut(t, decoded.Service, service)
		if len(before.Instances) != count || before.Truncated {
			t.Fatal("the event that was given has changed")
		}
		if limit >= len(whole) && cut != event {
			t.Fatal("an event that fits is not returned as it is")
		}
	})
}

func checkCut(t *rapid.T, got *registry.ServiceState, whole registry.Service) {
	if got.Total != len(whole.Instances) || got.Serving != whole.Serving() {
		t.Fatalf("total %d serving %d, want %d and %d", got.Total, got.Serving, len(whole.Instances), whole.Serving())
	}
	listed := registry.Service{Instances: got.Instances}.Serving()
	if listed < len(got.Instances) && listed < whole.Serving() {
		t.Fatalf("%d of %d listed instances serve, although %d serve", listed, len(got.Instances), whole.Serving())
	}
}

func TestTruncateRefusesWhatCannotBeCut(t *testing.T) {
	t.Parallel()
	event := &registry.Event{Schema: registry.Schema, Kind: registry.KindNote, Writer: "amber", Note: &registry.Note{Kind: "a", Text: strings.Repeat("x", 500)}}
	_, err := registry.Truncate(event, 100)
	checkRefusal(t, err)
}

func TestEncodeRefusesATimeThatJSONCannotHold(t *testing.T) {
	t.Parallel()
	_, err := registry.Encode(&registry.Event{Time: time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)})
	checkRefusal(t, err)
}

func TestDecodeLease(t *testing.T) {
	t.Parallel()
	lease := registry.Lease{
		Schema: registry.Schema, Writer: "amber", Agent: "host:1", Version: "1.0", Phase: registry.PhaseSynced, Epoch: 5, Revision: 6,
		Keys: 7, Digest: registry.Digest{1, 2}, Time: time.Unix(began, 0).UTC(), Source: "consul", Detail: "all is well",
	}
	sound, err := registry.EncodeLease(lease)
	if err != nil {
		t.Fatal(err)
	}
	got, err := registry.DecodeLease(sound)
	if err != nil || got != lease {
		t.Errorf("DecodeLease(EncodeLease(x)) = %+v, %v; want %+v", got, err, lease)
	}
	for name, tt := range map[string]struct{ body, reason string }{
		"nothing":               {"", "not-json"},
		"a lease and something": {string(sound) + "x", "not-json"},
		"another schema":        {strings.Replace(string(sound), "seamark/1", "seamark/2", 1), "schema"},
		"a writer with a dot":   {strings.Replace(string(sound), `"amber"`, `"a.b"`, 1), "cluster-id"},
		"a phase that is long":  {strings.Replace(string(sound), `"synced"`, `"`+strings.Repeat("x", 300)+`"`, 1), "text"},
		"a version that is":     {strings.Replace(string(sound), `"1.0"`, `"`+strings.Repeat("1", 300)+`"`, 1), "text"},
		"a detail with escapes": {strings.Replace(string(sound), "all is well", `\u001b[2J`, 1), "text"},
		"more than 64 KiB":      {strings.Repeat(" ", 65_537), "too-large"},
		"nested deeper than 32": {strings.Repeat("[", 40), "too-large"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := registry.DecodeLease([]byte(tt.body))
			checkRefusal(t, err)
			var refused *registry.Refusal
			if errors.As(err, &refused); refused.Reason != tt.reason {
				t.Errorf("refused for %q, want %q", refused.Reason, tt.reason)
			}
		})
	}
}
