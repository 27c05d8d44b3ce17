package lookup_test

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/seamark-mesh/seamark/dnsserver/lookup"
	"github.com/seamark-mesh/seamark/dnsserver/lookup/lookuptest"
	"github.com/seamark-mesh/seamark/registry"
)

var update = flag.Bool("update", false, "write the golden transcripts anew")

// ask answers a question of class IN.
func ask(v *registry.View, name, qtype string) lookup.Response {
	t, ok := dns.StringToType[qtype]
	if !ok {
		if _, err := fmt.Sscanf(qtype, "TYPE%d", &t); err != nil {
			panic("no type " + qtype)
		}
	}
	return lookup.Answer(v, lookup.Question{Name: name, Type: t, Class: dns.ClassINET})
}

// transcript writes an answer as a zone file would, single spaces between fields.
func transcript(r lookup.Response) string {
	var b strings.Builder
	b.WriteString(dns.RcodeToString[r.RCode])
	if r.Authoritative {
		b.WriteString(" aa")
	}
	if r.Extended != nil {
		fmt.Fprintf(&b, " ede=%d (%s)", r.Extended.Code, r.Extended.Text)
	}
	b.WriteByte('\n')
	for _, s := range []struct {
		name    string
		records []dns.RR
	}{{"", r.Answer}, {"authority:", r.Authority}, {"additional:", r.Additional}} {
		if len(s.records) > 0 && s.name != "" {
			b.WriteString(s.name + "\n")
		}
		for _, rr := range s.records {
			b.WriteString(strings.ReplaceAll(rr.String(), "\t", " ") + "\n")
		}
	}
	return b.String()
}

// TestGolden asks the questions that stand in each transcript ("? name type") and
// compares the whole file.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	v := lookuptest.Harbours().View()
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var got strings.Builder
			for line := range strings.Lines(string(want)) {
				switch {
				case strings.HasPrefix(line, "; "):
					if got.Len() > 0 {
						got.WriteByte('\n')
					}
					got.WriteString(line)
				case strings.HasPrefix(line, "? "):
					name, qtype, ok := strings.Cut(strings.TrimSpace(line[2:]), " ")
					if !ok {
						t.Fatalf("%q is no question", line)
					}
					got.WriteString("\n" + line + transcript(ask(v, name, qtype)))
				}
			}
			if *update {
				if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if d := cmp.Diff(string(want), got.String()); d != "" {
				t.Errorf("transcript differs (-want +got):\n%s", d)
			}
		})
	}
}

func TestNotReady(t *testing.T) {
	w := lookuptest.Harbours()
	unsynced := registry.NewFold()
	for _, m := range w.Messages() {
		unsynced.Apply(m)
	}
	noZone := &lookuptest.World{}
	noZone.Cluster("amber")
	for name, v := range map[string]*registry.View{
		"zero view":      {},
		"not synced":     unsynced.View(),
		"no zone record": noZone.View(),
	} {
		t.Run(name, func(t *testing.T) {
			want := "SERVFAIL ede=14 (the registry is not synced yet)\n"
			for _, question := range []string{"web.shop.svc.mesh.internal.", "mesh.internal.", "example.org."} {
				if got := transcript(ask(v, question, "A")); got != want {
					t.Errorf("%s: got %q, want %q", question, got, want)
				}
			}
		})
	}
}

func TestClass(t *testing.T) {
	v := lookuptest.Harbours().View()
	for _, class := range []uint16{0, dns.ClassCHAOS, dns.ClassHESIOD, dns.ClassNONE, dns.ClassANY, 65535} {
		got := transcript(lookup.Answer(v, lookup.Question{Name: "web.shop.svc.mesh.internal.", Type: dns.TypeA, Class: class}))
		if got != "REFUSED\n" {
			t.Errorf("class %d: got %q, want REFUSED alone", class, got)
		}
	}
}

// TestSharedAddress: two gateways behind one address are one A record, and two SRV.
func TestSharedAddress(t *testing.T) {
	for _, gateways := range []int{3, 40} { // both ways of finding repetitions
		w := &lookuptest.World{}
		w.Zone(lookuptest.Zone())
		for _, cluster := range []registry.ClusterID{"amber", "bronze"} {
			var all []registry.Gateway
			for n := range gateways {
				all = append(all, lookuptest.Gateway(fmt.Sprintf("gw-%02d", n), 1, 80+n%2, "203.0.113.1", fmt.Sprintf("203.0.113.%d", 10+n/2)))
			}
			w.Cluster(cluster, all...)
			w.Service(cluster, "shop", "web", lookuptest.Instance("a", registry.Passing, ""))
		}
		v := w.View()
		if got, want := len(ask(v, "web.shop.svc.mesh.internal.", "A").Answer), 1+(gateways+1)/2; got != want {
			t.Errorf("%d gateways: got %d A records, want %d", gateways, got, want)
		}
		if got, want := len(ask(v, "_http._tcp.web.shop.svc.mesh.internal.", "SRV").Answer), 2*gateways; got != want {
			t.Errorf("%d gateways: got %d SRV records, want %d", gateways, got, want)
		}
	}
}

// TestPortNames: a port's name stands before its number, and a number is matched
// as it is written.
func TestPortNames(t *testing.T) {
	w := &lookuptest.World{}
	w.Zone(lookuptest.Zone())
	g := lookuptest.Gateway("gw", 1, 8080, "203.0.113.1")
	g.Ports["8080"], g.Ports["tcp"] = 9999, 7777
	w.Cluster("amber", g)
	w.Service("amber", "shop", "web", lookuptest.Instance("a", registry.Passing, ""))
	v := w.View()
	for label, want := range map[string]uint16{
		"_http": 8080, "_HTTP": 8080, "_8080": 9999, "_9999": 9999,
		"_tcp": 7777, "_08080": 0, "_+9999": 0, "http": 0, "_": 0, "_https": 0, "__http": 0,
	} {
		got := uint16(0)
		r := ask(v, label+"._tcp.web.shop.svc.mesh.internal.", "SRV")
		for _, rr := range r.Answer {
			got = rr.(*dns.SRV).Port
		}
		if got != want {
			t.Errorf("%s: got port %d, want %d", label, got, want)
		}
		if want == 0 && r.RCode != dns.RcodeNameError {
			t.Errorf("%s: got %s, want NXDOMAIN", label, dns.RcodeToString[r.RCode])
		}
	}
}

// TestText: no registry content makes a character-string that can't be sent.
func TestText(t *testing.T) {
	w := &lookuptest.World{}
	w.Zone(lookuptest.Zone())
	var many, hostile []registry.Instance
	for n := range 200 {
		many = append(many, lookuptest.Instance(fmt.Sprint("i", n), registry.Passing, fmt.Sprintf("%03d-%s", n, strings.Repeat("x", 56))))
	}
	for n, version := range []string{`1\2`, `\065`, `"quoted"`, "ü", `tail\`, strings.Repeat(`\`, 128), strings.Repeat("v", 128)} {
		hostile = append(hostile, lookuptest.Instance(fmt.Sprint("i", n), registry.Passing, version))
	}
	w.Service("amber", "shop", "many", many...)
	w.Service("amber", "shop", "hostile", hostile...)
	v := w.View()
	for service, want := range map[string]string{
		"many":    "versions=" + strings.Join([]string{"000-" + strings.Repeat("x", 56), "001-" + strings.Repeat("x", 56), "002-" + strings.Repeat("x", 56)}, ",") + ",+197",
		"hostile": `versions="quoted",1\2,\065,` + strings.Repeat(`\`, 128) + `,tail\,+2`,
	} {
		m := new(dns.Msg)
		m.Answer = ask(v, service+".shop.svc.mesh.internal.", "TXT").Answer
		packed, err := m.Pack()
		if err != nil {
			t.Fatalf("%s: %v", service, err)
		}
		if !strings.Contains(string(packed), string([]byte{byte(len(want))})+want) {
			t.Errorf("%s: no string %q in %q", service, want, packed)
		}
	}
}

// TestLongNames: where a zone's name leaves no room for a gateway's name, SRV
// leaves that gateway out rather than failing as a whole.
func TestLongNames(t *testing.T) {
	label := strings.Repeat("l", 63)
	z := lookuptest.Zone()
	z.Name, z.Nameservers = label+"."+label+"."+strings.Repeat("z", 60)+".", nil
	w := &lookuptest.World{}
	w.Zone(z)
	w.Cluster(registry.ClusterID(strings.Repeat("c", 50)), lookuptest.Gateway("g", 1, 80, "203.0.113.1"), lookuptest.Gateway(strings.Repeat("g", 63), 1, 80, "203.0.113.2"))
	w.Service(registry.ClusterID(strings.Repeat("c", 50)), "s", "w", lookuptest.Instance("a", registry.Passing, ""))
	m := new(dns.Msg)
	m.Answer = ask(w.View(), "_http._tcp.w.s.svc."+z.Name, "SRV").Answer
	if len(m.Answer) != 1 {
		t.Fatalf("got %d SRV records, want the one whose target is short enough", len(m.Answer))
	}
	if _, err := m.Pack(); err != nil {
		t.Error(err)
	}
}

// TestTTLBounds: no number in a record pins a name.
func TestTTLBounds(t *testing.T) {
	w := lookuptest.Harbours()
	v := w.View()
	for _, ttl := range []int{-1, 0, 1 << 31, 1<<32 - 1} {
		hostile := *v.Zone() // as if it had passed the door
		hostile.TTL, hostile.NegativeTTL, hostile.TTLByService = ttl, ttl, nil
		event := registry.Event{Kind: registry.KindZone, Writer: registry.Operator, Zone: &hostile}
		v := lookuptest.Fold(append(w.Messages(), registry.Message{Fact: event.Fact(), Sequence: 1000, Event: &event}))
		for _, question := range []string{"web.shop.svc.mesh.internal.", "mesh.internal.", "nothing.mesh.internal."} {
			for _, qtype := range []string{"A", "SOA", "NS", "TXT", "ANY"} {
				r := ask(v, question, qtype)
				for _, rr := range append(r.Answer, r.Authority...) {
					if got := rr.Header().Ttl; got < registry.MinTTL || got > registry.MaxTTL {
						t.Errorf("zone TTL %d: %s", ttl, rr)
					}
				}
			}
		}
	}
}

func TestNoNameservers(t *testing.T) {
	w := lookuptest.Harbours()
	z := lookuptest.Zone()
	z.Nameservers = nil
	w.Zone(z)
	v := w.View()
	if got := ask(v, "mesh.internal.", "NS"); len(got.Answer) != 0 || got.RCode != dns.RcodeSuccess {
		t.Errorf("NS: got %s, want NODATA", transcript(got))
	}
	if got := ask(v, "mesh.internal.", "SOA").Answer[0].(*dns.SOA).Ns; got != "mesh.internal." {
		t.Errorf("SOA's primary is %q, want the zone's own name", got)
	}
}

// TestOwnership: what a caller does to a response changes no other one.
func TestOwnership(t *testing.T) {
	v := lookuptest.Harbours().View()
	before := transcript(ask(v, "web.shop.svc.mesh.internal.", "A"))
	r := ask(v, "web.shop.svc.mesh.internal.", "A")
	for _, rr := range r.Answer {
		rr.Header().Ttl = 77
		clear(rr.(*dns.A).A)
	}
	clear(r.Answer)
	if after := transcript(ask(v, "web.shop.svc.mesh.internal.", "A")); after != before {
		t.Errorf("the View changed:\n%s\nwas\n%s", after, before)
	}
	if got := v.Cluster("amber").Record.Gateways[0].Addresses[0]; got != netip.MustParseAddr("203.0.113.10") {
		t.Errorf("the gateway's address is now %s", got)
	}
}
