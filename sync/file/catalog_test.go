package file

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seamark-mesh/seamark/registry"
)

func TestParseCatalog(t *testing.T) {
	c, faults := parseCatalog([]byte(`
services:
- name: orders
  namespace: shop
  instances:
  - id: orders-1
    address: 192.0.2.11
    port: 8080
    weight: 0
    health: warning
    version: 1.10
    meta: {team: red, number: 007}
  - {address: "2001:db8::1", port: 80}
  - {address: node.example.org, meta: &m {a: b}}
- name: idle
- name: same
  instances: [{id: x, address: 192.0.2.1, meta: *m}]
`))
	if len(faults) > 0 || len(c.refused) > 0 {
		t.Fatalf("faults %v, refused %v", faults, c.refused)
	}
	want := []registry.Service{
		{Key: registry.ServiceKey{Namespace: "shop", Name: "orders"}, Instances: []registry.Instance{
			{ID: "[2001:db8::1]:80", Address: "2001:db8::1", Port: 80, Weight: 1, Health: registry.Passing},
			{ID: "node.example.org:0", Address: "node.example.org", Weight: 1, Health: registry.Passing, Meta: map[string]string{"a": "b"}},
			{ID: "orders-1", Address: "192.0.2.11", Port: 8080, Health: registry.Warning, Version: "1.10", Meta: map[string]string{"team": "red", "number": "007"}},
		}},
		{Key: registry.ServiceKey{Namespace: "default", Name: "idle"}, Instances: []registry.Instance{}},
		{Key: registry.ServiceKey{Namespace: "default", Name: "same"}, Instances: []registry.Instance{
			{ID: "x", Address: "192.0.2.1", Weight: 1, Health: registry.Passing, Meta: map[string]string{"a": "b"}},
		}},
	}
	if diff := cmp.Diff(want, c.services); diff != "" {
		t.Error(diff)
	}
}

func TestCatalogFaults(t *testing.T) {
	const instance = "services:\n- name: s\n  instances:\n  - "
	for name, tt := range map[string]struct {
		body string
		want []string
	}{
		"empty":          {"", []string{"c: the file is empty; an empty catalog is written services: []"}},
		"no services":    {"{}", []string{"c:1:1: services: is missing; an empty catalog is written services: []"}},
		"nothing":        {"services:", []string{"c:1:10: services: nothing stands where a list belongs; an empty one is written []"}},
		"a list":         {"- a", []string{"c:1:1: a list stands where keys with values belong"}},
		"unknown":        {"services: []\nfoo: 1", []string{`c:2:1: unknown key "foo"; the keys here are services`}},
		"not YAML":       {"services: [", []string{"c:2: this is not YAML: did not find expected node content"}},
		"port":           {instance + "{address: a, port: http, weight: 1.5}", []string{`c:4:24: services[0].instances[0].port: "http" is no whole number`, `c:4:38: services[0].instances[0].weight: "1.5" is no whole number`}},
		"no value":       {instance + "{address: , meta: {a: }}", []string{`c:4:15: services[0].instances[0].address: has no value; give it one or take the key out`, `c:4:27: services[0].instances[0].meta.a: has no value; give it one or take the key out`}},
		"twice":          {instance + "{address: a, address: b}", []string{`c:4:18: services[0].instances[0]: key "address" is given twice, first in line 4`}},
		"list for value": {instance + "{address: [a]}", []string{`c:4:15: services[0].instances[0].address: a list stands where one value belongs`}},
		"tag":            {instance + "{address: !!binary YQ==}", []string{`c:4:15: services[0].instances[0].address: the tag "!!binary" is not supported; write the plain value`}},
		"merge":          {instance + "{<<: {address: a}}", []string{`c:4:6: services[0].instances[0]: the merge key << is not supported; write the values out`}},
		"key":            {"? [a]\n: b\n", []string{`c:1:3: a list can't be a key`}},
	} {
		t.Run(name, func(t *testing.T) {
			_, faults := parseCatalog([]byte(tt.body))
			var got []string
			for _, f := range faults {
				got = append(got, (&InvalidError{Path: "c", Faults: []Fault{f}}).Error())
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	_, faults := parseCatalog([]byte("services:\n" + strings.Repeat("- {nmae: x}\n", 1000)))
	if len(faults) != maxFaults {
		t.Errorf("%d faults were told, want %d", len(faults), maxFaults)
	}
	if text := (&InvalidError{Path: "c", Faults: faults}).Error(); !strings.HasSuffix(text, "(and 19 more)") {
		t.Errorf("the error is %q", text)
	}
}

func TestRefusedEntries(t *testing.T) {
	c, faults := parseCatalog([]byte(`services:
- {name: "*"}
- name: mixed
  instances:
  - {id: good, address: 192.0.2.1}
  - {id: bad, address: 192.0.2.1, port: 70000}
  - {id: ill, address: 192.0.2.1, health: excellent}
  - {address: ""}
- {name: mixed, namespace: default}
`))
	if len(faults) > 0 || len(c.services) != 1 || len(c.services[0].Instances) != 1 {
		t.Fatalf("faults %v, services %v", faults, c.services)
	}
	var got []string
	for _, r := range c.refused {
		got = append(got, r.Reason+": "+r.Detail)
	}
	want := []string{
		`name-characters: line 2: services[0]: the service name "*" has no letter or digit`,
		`health: line 7: services[1].instances[2]: "excellent" is no health: use passing, warning, critical or unknown`,
		`instance-port: line 3: services[1]: instance "bad": port 70000 is not within 0 to 65535`,
		`instance-id: line 3: services[1]: instance id "": 1 to 512 bytes of printable text are allowed`,
		`service-duplicate: line 9: services[2]: default/mixed is given twice, first in line 3: the first stands`,
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestAliasesAreBounded gives files that are small and would grow without end.
func TestAliasesAreBounded(t *testing.T) {
	var bomb strings.Builder
	bomb.WriteString("services:\n- &s\n  name: s\n  instances: &i\n")
	for n := range 2000 {
		fmt.Fprintf(&bomb, "  - {id: i%d, address: 192.0.2.1, meta: {a: b}}\n", n)
	}
	for n := range 3000 {
		fmt.Fprintf(&bomb, "- {name: s%d, instances: *i}\n", n)
	}
	for name, tt := range map[string]struct{ body, want string }{
		"repeated":       {bomb.String(), "expands to more than"},
		"itself":         {"services: &s [*s]", "a list stands"},
		"itself, deeper": {"services:\n- &s\n  name: a\n  instances: [*s]\n", "unknown key"},
		"deep":           {"services: " + strings.Repeat("[", 9000) + strings.Repeat("]", 9000), "a list stands"},
		"too deep":       {"services: " + strings.Repeat("[", 20_000), "not YAML"},
		"long key":       {"? \"" + strings.Repeat("k", 1<<20) + "\"\n: 1\n", "unknown key"},
	} {
		t.Run(name, func(t *testing.T) {
			_, faults := parseCatalog([]byte(tt.body))
			if len(faults) == 0 || !slices.ContainsFunc(faults, func(f Fault) bool { return strings.Contains(f.Detail, tt.want) }) {
				t.Errorf("got %.500v, want %q", faults, tt.want)
			}
			if text := (&InvalidError{Path: "c", Faults: append(faults, Fault{})}).Error(); len(text) > 1000 {
				t.Errorf("the error has %d bytes", len(text))
			}
		})
	}
}

func FuzzParseCatalog(f *testing.F) {
	for _, seed := range []string{
		"", "services: []", "services:\n- name: s\n  instances: [{address: a, port: 1, meta: {a: b}}]\n", "services: &a [*a]",
		"services: [{name: a, instances: [{id: \"\\0\", address: x, weight: -1, health: warning, version: \"\"}]}]", "? [a]\n: b", "%YAML 1.1\n---\n...", "services: !!set {a}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		c, faults := parseCatalog(body)
		if len(faults) > 0 {
			if len(c.services) > 0 || (&InvalidError{Path: "c", Faults: faults}).Error() == "" {
				t.Error("a faulty catalog has services or no words")
			}
			return
		}
		seen := make(map[registry.ServiceKey]bool)
		for _, s := range c.services {
			clean, refused, ok := registry.CleanService(s.Key.Namespace, s.Key.Name, s.Instances)
			if !ok || len(refused) > 0 || !clean.Equal(s) || seen[s.Key] {
				t.Errorf("service %s did not pass the door", s.Key)
			}
			seen[s.Key] = true
		}
	})
}

func BenchmarkParseCatalog(b *testing.B) {
	var body strings.Builder
	body.WriteString("services:\n")
	for s := range 1000 {
		fmt.Fprintf(&body, "- name: service-%d\n  namespace: shop\n  instances:\n", s)
		for i := range 3 {
			fmt.Fprintf(&body, "  - {id: i-%d, address: 192.0.2.%d, port: 8080, version: 1.0.0, meta: {team: red}}\n", i, i)
		}
	}
	b.SetBytes(int64(body.Len()))
	b.ReportAllocs()
	for b.Loop() {
		if _, faults := parseCatalog([]byte(body.String())); len(faults) > 0 {
			b.Fatal(faults)
		}
	}
}
