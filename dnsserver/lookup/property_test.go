package lookup_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
	"pgregory.net/rapid"

	"github.com/seamark-mesh/seamark/dnsserver/lookup"
	"github.com/seamark-mesh/seamark/dnsserver/lookup/lookuptest"
	"github.com/seamark-mesh/seamark/registry"
)

var (
	allTypes  = []string{"A", "AAAA", "SRV", "TXT", "SVCB", "HTTPS", "SOA", "NS", "ANY", "PTR", "TYPE65280"}
	mostTypes = []string{"A", "AAAA", "SRV", "TXT", "SVCB", "HTTPS", "PTR"}
)

// typesAt returns all types near the apex, and deep below it those that matter there.
func typesAt(name string) []string {
	if strings.Count(name, ".") <= 4 {
		return allTypes
	}
	return mostTypes
}

// universe returns every name that could exist in a drawn world, and more, each
// after the name above it.
func universe() []string {
	set := map[string]bool{}
	var add func(labels ...string)
	add = func(labels ...string) {
		if len(labels) > 0 {
			add(labels[1:]...)
		}
		set[strings.Join(append(labels, "mesh.internal."), ".")] = true
	}
	addPorts := func(labels ...string) {
		add(labels...)
		for _, port := range []string{"_http", "_https", "_80"} {
			add(append([]string{port, "_tcp"}, labels...)...)
		}
		add(append([]string{"_8443", "_https"}, labels...)...)
		add(append([]string{"_443", "_https"}, labels...)...)
		add(append([]string{"below"}, labels...)...)
	}
	labels := map[string]bool{"never": true}
	for _, s := range slices.Concat(lookuptest.Namespaces, lookuptest.Names) {
		labels[registry.Label(s)] = true
	}
	for name := range labels {
		addPorts(name, "svc")
		add("_services", "_dns-sd", "_udp", name, "svc")
		for namespace := range labels {
			addPorts(name, namespace, "svc")
			for _, port := range []string{"_http", "_https", "_80"} {
				add(name, port, "_tcp", namespace, "svc")
			}
			for _, cluster := range lookuptest.Clusters {
				addPorts(name, namespace, string(cluster), "cluster")
			}
		}
	}
	add("web", "shop", "never", "cluster")
	for _, cluster := range append(slices.Clip(lookuptest.Clusters), "never") {
		addPorts(string(cluster), "gw")
		for _, gateway := range []string{"gw-0", "gw-1", "gw-2", "gw-3"} {
			addPorts(gateway, string(cluster), "gw")
		}
	}
	add("a", "dns")
	add("_services", "_dns-sd", "_udp")
	add("b", "_dns-sd", "_udp")
	add("lb", "_dns-sd", "_udp")
	return slices.SortedFunc(maps.Keys(set), func(a, b string) int {
		if d := strings.Count(a, ".") - strings.Count(b, "."); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
}

// wire is a whole answer as bytes.
func wire(t interface{ Fatalf(string, ...any) }, r lookup.Response) string {
	m := new(dns.Msg)
	m.Rcode, m.Authoritative = r.RCode, r.Authoritative
	m.Answer, m.Ns, m.Extra = r.Answer, r.Authority, r.Additional
	b, err := m.Pack()
	if err != nil {
		t.Fatalf("an answer can't be packed: %v\n%s", err, transcript(r))
	}
	return string(b)
}

// TestReplicasAgree: a reader that loaded the last message per subject, and one
// that followed the whole history, give the same bytes for every name and type.
func TestReplicasAgree(t *testing.T) {
	names := universe()
	rapid.Check(t, func(t *rapid.T) {
		w := lookuptest.Draw(t, false)
		whole, last := w.View(), lookuptest.Fold(w.LastPerSubject())
		if whole.Sequence() != last.Sequence() {
			t.Fatalf("sequences %d and %d", whole.Sequence(), last.Sequence())
		}
		for _, name := range names {
			for _, qtype := range typesAt(name) {
				a, b := ask(whole, name, qtype), ask(last, name, qtype)
				if wire(t, a) != wire(t, b) {
					t.Fatalf("%s %s: from the whole history\n%s\nfrom the last message per subject\n%s", name, qtype, transcript(a), transcript(b))
				}
			}
		}
	})
}

// TestZoneRules holds every answer to what RFCs ask of a zone as a whole.
func TestZoneRules(t *testing.T) {
	names := universe()
	rapid.Check(t, func(t *rapid.T) {
		v := lookuptest.Draw(t, false).View()
		exists, empty, parents := map[string]bool{}, map[string]bool{}, map[string]bool{}
		for _, name := range names {
			first := ask(v, name, "A").RCode
			exists[name], empty[name] = first == dns.RcodeSuccess, true
			for _, qtype := range typesAt(name) {
				r := ask(v, name, qtype)
				if r.RCode != first {
					t.Fatalf("%s is %s for A and %s for %s", name, dns.RcodeToString[first], dns.RcodeToString[r.RCode], qtype)
				}
				checkAnswer(t, v, name, qtype, r)
				empty[name] = empty[name] && len(r.Answer) == 0
			}
			_, parent, _ := strings.Cut(name, ".")
			if exists[name] {
				parents[parent] = true
			}
			if exists[name] && name != "mesh.internal." && !exists[parent] { // RFC 8020
				t.Fatalf("%s exists below %s, which does not", name, parent)
			}
		}
		for _, name := range names { // names without records exist for the sake of what is below them
			if exists[name] && empty[name] && !parents[name] && !conflicted(v) && !slices.Contains([]string{"svc.mesh.internal.", "cluster.mesh.internal.", "gw.mesh.internal."}, name) {
				t.Fatalf("%s exists, has no records and nothing below it", name)
			}
		}
	})
}

// conflicted reports whether some service is known and does not answer: its
// namespace may then seem to have something below it.
func conflicted(v *registry.View) bool { return v.Conflicts() > 0 }

func checkAnswer(t *rapid.T, v *registry.View, name, qtype string, r lookup.Response) {
	if !r.Authoritative {
		t.Fatalf("%s %s is not authoritative", name, qtype)
	}
	if len(r.Answer) == 0 {
		soa, ok := r.Authority[0].(*dns.SOA)
		if !ok || len(r.Authority) != 1 || soa.Serial != v.Serial() || int(soa.Hdr.Ttl) != min(v.Zone().TTL, v.Zone().NegativeTTL) {
			t.Fatalf("%s %s: a negative answer without the right SOA:\n%s", name, qtype, transcript(r))
		}
		return
	}
	if len(r.Authority) > 0 {
		t.Fatalf("%s %s: a positive answer with an authority section", name, qtype)
	}
	seen := map[string]bool{}
	for _, rr := range r.Answer {
		h := rr.Header()
		if h.Name != name || dns.TypeToString[h.Rrtype] != qtype && qtype != "ANY" || h.Ttl != r.Answer[0].Header().Ttl {
			t.Fatalf("%s %s: not one RRset:\n%s", name, qtype, transcript(r))
		}
		if seen[rr.String()] {
			t.Fatalf("%s %s: twice %s", name, qtype, rr)
		}
		seen[rr.String()] = true
		switch rr := rr.(type) {
		case *dns.SRV:
			checkTarget(t, v, rr.Target, r)
		case *dns.SVCB:
			checkTarget(t, v, rr.Target, r)
			checkParameters(t, v, rr)
		case *dns.HTTPS:
			checkTarget(t, v, rr.Target, r)
			checkParameters(t, v, &rr.SVCB)
		}
	}
}

// checkTarget: a target has addresses, and they stand beside the answer.
func checkTarget(t *rapid.T, v *registry.View, target string, r lookup.Response) {
	want := append(ask(v, target, "A").Answer, ask(v, target, "AAAA").Answer...)
	for _, address := range want {
		if !slices.ContainsFunc(r.Additional, func(rr dns.RR) bool { return rr.String() == address.String() }) {
			t.Fatalf("%s is missing beside the answer:\n%s", address, transcript(r))
		}
	}
	if len(want) == 0 {
		t.Fatalf("the target %s has no address:\n%s", target, transcript(r))
	}
}

// checkParameters: keys ascend, each once (RFC 9460 §2.2), and the hints are the
// target's addresses (§7.3).
func checkParameters(t *rapid.T, v *registry.View, rr *dns.SVCB) {
	var hints []string
	for n, p := range rr.Value {
		if n > 0 && p.Key() <= rr.Value[n-1].Key() {
			t.Fatalf("%s: the keys do not ascend", rr)
		}
		if p.Key() == dns.SVCB_IPV4HINT || p.Key() == dns.SVCB_IPV6HINT {
			hints = append(hints, strings.Split(p.String(), ",")...)
		}
	}
	var want []string
	for _, address := range append(ask(v, rr.Target, "A").Answer, ask(v, rr.Target, "AAAA").Answer...) {
		want = append(want, strings.TrimPrefix(address.String(), address.Header().String()))
	}
	if rr.Priority != 1 || !slices.Equal(hints, want) {
		t.Fatalf("%s: priority %d, hints %v, want 1 and %v", rr, rr.Priority, hints, want)
	}
}
