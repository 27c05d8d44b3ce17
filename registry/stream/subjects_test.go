package stream_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
	"github.com/seamark-mesh/seamark/registry/stream/streamtest"
)

func facts() map[string]registry.Fact {
	service := func(namespace, name string) registry.Fact {
		return registry.Fact{Writer: "amber", Kind: registry.KindService, Service: registry.ServiceKey{Namespace: namespace, Name: name}}
	}
	return map[string]registry.Fact{
		"mesh.v1.amber.svc.default.orders":              service("default", "orders"),
		"mesh.v1.amber.svc.=54eam=41.my=2Esvc=3D=2A=3E": service("TeamA", "my.svc=*>"),
		"mesh.v1.amber.svc._a-b.=24=4A=53=25":           service("_a-b", "$JS%"),
		"mesh.v1.amber.cluster":                         {Writer: "amber", Kind: registry.KindCluster},
		"mesh.v1.amber.epoch":                           {Writer: "amber", Kind: registry.KindEpoch},
		"mesh.v1._observer.epoch":                       {Writer: registry.Observer, Kind: registry.KindEpoch},
		"mesh.v1.amber.snapshot":                        {Writer: "amber", Kind: registry.KindSnapshot},
		"mesh.v1.amber.note.brake":                      {Writer: "amber", Kind: registry.KindNote, Name: "brake"},
		"mesh.v1._observer.note.alarm":                  {Writer: registry.Observer, Kind: registry.KindNote, Name: "alarm"},
		"mesh.v1._observer.state.amber":                 {Writer: registry.Observer, Kind: registry.KindState, Name: "amber"},
		"mesh.v1._operator.zone":                        {Writer: registry.Operator, Kind: registry.KindZone},
		"mesh.v1._operator.order.resync.amber":          {Writer: registry.Operator, Kind: registry.KindOrder, Name: "resync.amber"},
		"mesh.v1._operator.order.drain.gw-1.amber":      {Writer: registry.Operator, Kind: registry.KindOrder, Name: "drain.gw-1.amber"},
	}
}

func TestSubjects(t *testing.T) {
	for want, fact := range facts() {
		if got, err := stream.Subject(fact); err != nil || got != want {
			t.Errorf("Subject(%v) = %q, %v; want %q", fact, got, err, want)
		}
		if got, err := stream.ParseSubject(want); err != nil || got != fact {
			t.Errorf("ParseSubject(%q) = %v, %v; want %v", want, got, err, fact)
		}
	}
}

func TestFactsWithoutSubject(t *testing.T) {
	for name, fact := range map[string]registry.Fact{
		"nothing":               {},
		"no writer":             {Writer: "Amber", Kind: registry.KindEpoch},
		"observer's service":    {Writer: registry.Observer, Kind: registry.KindService, Service: registry.ServiceKey{Namespace: "a", Name: "b"}},
		"operator's cluster":    {Writer: registry.Operator, Kind: registry.KindCluster},
		"cluster's zone":        {Writer: "amber", Kind: registry.KindZone},
		"cluster's state":       {Writer: "amber", Kind: registry.KindState, Name: "bronze"},
		"cluster's order":       {Writer: "amber", Kind: registry.KindOrder, Name: "resync.bronze"},
		"order without target":  {Writer: registry.Operator, Kind: registry.KindOrder, Name: "resync"},
		"order of everything":   {Writer: registry.Operator, Kind: registry.KindOrder, Name: "resync.>"},
		"note of two":           {Writer: "amber", Kind: registry.KindNote, Name: "a.b"},
		"note of none":          {Writer: "amber", Kind: registry.KindNote},
		"service without name":  {Writer: "amber", Kind: registry.KindService, Service: registry.ServiceKey{Namespace: "a"}},
		"service beyond ASCII":  {Writer: "amber", Kind: registry.KindService, Service: registry.ServiceKey{Namespace: "a", Name: "é"}},
		"a kind of later times": {Writer: "amber", Kind: "weather"},
	} {
		if got, err := stream.Subject(fact); err == nil {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestForeignSubjects(t *testing.T) {
	for _, s := range []string{
		"", "mesh", "mesh.v1", "mesh.v1.", "mesh.v1.amber", "mesh.v1.amber.", "mesh.v2.amber.epoch", "mesh.v1.amber.epoch.x", "mesh.v1.amber.epoch.",
		"mesh.v1.amber.svc", "mesh.v1.amber.svc.a", "mesh.v1.amber.svc.a.", "mesh.v1.amber.svc..b", "mesh.v1.amber.svc.a.b.c",
		"mesh.v1.amber.svc.a.=62", "mesh.v1.amber.svc.a.b=2e", "mesh.v1.amber.svc.a.b=2", "mesh.v1.amber.svc.a.b=", "mesh.v1.amber.svc.a.b=GG", "mesh.v1.amber.svc.a.B",
		"mesh.v1.amber.svc.a.=C3=A9", "mesh.v1.amber.svc.a.=00b", "mesh.v1.AMBER.epoch", "mesh.v1.*.epoch", "mesh.v1.amber.svc.a.*", "mesh.v1.amber.lease",
		"mesh.v1.amber.zone", "mesh.v1._observer.zone", "mesh.v1._nobody.epoch", "mesh.v1._operator.order.resync", "mesh.v1._operator.order..amber",
		"mesh.v1.amber.svc.a." + strings.Repeat("b", 256), "mesh.v1.amber.note." + strings.Repeat("b", 5000),
	} {
		if fact, err := stream.ParseSubject(s); err == nil {
			t.Errorf("ParseSubject(%q) = %v", s, fact)
		}
	}
}

// Any name that a registry may give has one subject, and that gives the name back.
func TestSubjectRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[!-~]{1,40}[0-9a-zA-Z][!-~]{0,214}`)
		fact := registry.Fact{
			Writer: registry.Writer(rapid.StringMatching(`[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?`).Draw(t, "cluster")), Kind: registry.KindService,
			Service: registry.ServiceKey{Namespace: name.Draw(t, "namespace"), Name: name.Draw(t, "name")},
		}
		s, err := stream.Subject(fact)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Count(s, ".") != 5 || strings.ContainsAny(s, " *>$") {
			t.Fatalf("%q is no subject to publish on", s)
		}
		if back, err := stream.ParseSubject(s); err != nil || back != fact {
			t.Fatalf("ParseSubject(%q) = %v, %v; want %v", s, back, err, fact)
		}
	})
}

func FuzzParseSubject(f *testing.F) {
	for s := range facts() {
		f.Add(s)
	}
	f.Add("mesh.v1.amber.svc.a.=")
	f.Fuzz(func(t *testing.T, s string) {
		fact, err := stream.ParseSubject(s)
		if err != nil {
			if fact != (registry.Fact{}) {
				t.Errorf("an error and a fact: %v", fact)
			}
			return
		}
		if back, err := stream.Subject(fact); err != nil || back != s {
			t.Errorf("Subject(ParseSubject(%q)) = %q, %v", s, back, err)
		}
	})
}

// Every subject of the grammar is taken by exactly the stream that it belongs to.
func TestEverySubjectHasItsStream(t *testing.T) {
	_, c := streamtest.Streams(t)
	belongs := map[string]string{
		stream.LeaseSubject("amber"): stream.LeaseStream, stream.LeaseSubject(registry.Observer): stream.LeaseStream,
		stream.ProbeSubject("vantage", "amber"): stream.LeaseStream,
	}
	for s := range facts() {
		belongs[s] = stream.EventsStream
	}
	for s, want := range belongs {
		answer, err := c.NATS().Request(s, []byte("{}"), 5*time.Second)
		if err != nil {
			t.Errorf("%s: %v", s, err)
			continue
		}
		var ack struct{ Stream string }
		if err := json.Unmarshal(answer.Data, &ack); err != nil || ack.Stream != want {
			t.Errorf("%s is taken by %q, want %s", s, answer.Data, want)
		}
	}
	for _, s := range []string{"mesh.v1.amber.zone", "mesh.v1.amber.order.resync.bronze", "mesh.v1.amber.state.bronze", "mesh.v1.amber.other"} {
		if answer, err := c.NATS().Request(s, nil, 5*time.Second); err == nil {
			t.Errorf("%s is taken: %s", s, answer.Data)
		}
	}
}
