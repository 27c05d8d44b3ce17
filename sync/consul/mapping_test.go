package consul

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/seamark-mesh/seamark/registry"
)

// entryWith returns an ordinary entry, changed.
func entryWith(change func(*wireEntry)) wireEntry {
	e := wireEntry{
		Node:    &wireNode{Node: "n1", Address: "10.0.0.1", ModifyIndex: 5},
		Service: &wireService{ID: "web-1", Service: "web", Address: "10.0.0.2", Port: 80, Weights: &wireWeights{Passing: 10, Warning: 3}, ModifyIndex: 7},
		Checks:  []wireCheck{{Node: "n1", CheckID: "alive", Status: "passing", ModifyIndex: 8}},
	}
	change(&e)
	return e
}

func instanceWith(change func(*registry.Instance)) registry.Instance {
	i := registry.Instance{ID: "n1/web-1", Address: "10.0.0.2", Port: 80, Weight: 10, Health: registry.Passing}
	change(&i)
	return i
}

func checks(statuses ...string) func(*wireEntry) {
	return func(e *wireEntry) {
		e.Checks = nil
		for n, status := range statuses {
			e.Checks = append(e.Checks, wireCheck{CheckID: fmt.Sprint(n), Status: status})
		}
	}
}

func TestMapInstance(t *testing.T) {
	same := func(*registry.Instance) {}
	health := func(h registry.Health, weight int) func(*registry.Instance) {
		return func(i *registry.Instance) { i.Health, i.Weight = h, weight }
	}
	address := func(a string, port int) func(*registry.Instance) {
		return func(i *registry.Instance) { i.Address, i.Port = a, port }
	}
	tests := map[string]struct {
		entry func(*wireEntry)
		want  func(*registry.Instance)
	}{
		"ordinary":                     {func(*wireEntry) {}, same},
		"no checks is passing":         {checks(), same},
		"warning has its own weight":   {checks("passing", "warning"), health(registry.Warning, 3)},
		"critical keeps passing's":     {checks("warning", "critical", "passing"), health(registry.Critical, 10)},
		"unknown status is critical":   {checks("maintenance"), health(registry.Critical, 10)},
		"node maintenance":             {checks("passing", "critical"), health(registry.Critical, 10)},
		"no weights":                   {func(e *wireEntry) { e.Service.Weights = nil }, health(registry.Passing, 1)},
		"weights of an old agent":      {func(e *wireEntry) { e.Service.Weights = &wireWeights{} }, health(registry.Passing, 1)},
		"warning takes no traffic":     {func(e *wireEntry) { checks("warning")(e); e.Service.Weights.Warning = 0 }, health(registry.Warning, 0)},
		"service WAN address":          {func(e *wireEntry) { e.Service.TaggedAddresses = map[string]wireAddress{"wan": {"192.0.2.1", 8080}} }, address("192.0.2.1", 8080)},
		"service WAN address, no port": {func(e *wireEntry) { e.Service.TaggedAddresses = map[string]wireAddress{"wan": {"192.0.2.1", 0}} }, address("192.0.2.1", 80)},
		"WAN before WAN of one family": {func(e *wireEntry) {
			e.Service.TaggedAddresses = map[string]wireAddress{"wan_ipv4": {"192.0.2.2", 1}, "wan": {"192.0.2.1", 2}}
		}, address("192.0.2.1", 2)},
		"WAN IPv6": {func(e *wireEntry) {
			e.Service.TaggedAddresses = map[string]wireAddress{"lan_ipv4": {"10.0.0.3", 1}, "wan_ipv6": {"2001:db8::1", 2}}
		}, address("2001:db8::1", 2)},
		"own address before node's WAN": {func(e *wireEntry) { e.Node.TaggedAddresses = map[string]string{"wan": "192.0.2.1"} }, same},
		"node WAN address": {func(e *wireEntry) {
			e.Service.Address = ""
			e.Node.TaggedAddresses = map[string]string{"wan_ipv4": "192.0.2.1"}
		}, address("192.0.2.1", 80)},
		"node address": {func(e *wireEntry) { e.Service.Address = "" }, address("10.0.0.1", 80)},
		"version in metadata": {func(e *wireEntry) {
			e.Service.Meta = map[string]string{"version": "2", "team": "red"}
			e.Service.Tags = []string{"version=3"}
		}, func(i *registry.Instance) { i.Version, i.Meta = "2", map[string]string{"team": "red"} }},
		"version in a tag":               {func(e *wireEntry) { e.Service.Tags = []string{"v9", "version=3", "version=4"} }, func(i *registry.Instance) { i.Version = "3" }},
		"version too long":               {func(e *wireEntry) { e.Service.Meta = map[string]string{"version": strings.Repeat("v", 200)} }, func(i *registry.Instance) { i.Meta = map[string]string{"version": strings.Repeat("v", 200)} }},
		"ids are unique beyond the node": {func(e *wireEntry) { e.Node.Node = "a/b%" }, func(i *registry.Instance) { i.ID = "a%2Fb%25/web-1" }},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, _ := newDoor(Config{}).mapService("web", []wireEntry{entryWith(tt.entry)})
			want := registry.Service{Key: key("web"), Instances: []registry.Instance{instanceWith(tt.want)}}
			if diff := cmp.Diff(want.Instances, got.service.Instances); diff != "" || got.service.Key != want.Key {
				t.Errorf("mapService (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDoor(t *testing.T) {
	d := newDoor(Config{SkipServices: []string{"Consul"}, SkipTags: []string{"private"}, Kinds: []string{"ingress-gateway"}})
	left := map[string]func(*wireEntry){
		"proxy":       func(e *wireEntry) { e.Service.Kind = "connect-proxy" },
		"peer":        func(e *wireEntry) { e.Service.PeerName = "other" },
		"unix socket": func(e *wireEntry) { e.Service.SocketPath = "/run/web" },
		"import":      func(e *wireEntry) { e.Service.Tags = []string{"a", ImportTag} },
		"tag":         func(e *wireEntry) { e.Service.Tags = []string{"private"} },
		"no service":  func(e *wireEntry) { e.Service = nil },
		"no node":     func(e *wireEntry) { e.Node = nil },
	}
	for name, change := range left {
		got, refused := d.mapService("web", []wireEntry{entryWith(change)})
		if len(got.service.Instances) > 0 || len(refused) > 0 {
			t.Errorf("%s: %v is read, %v refused", name, got.service, refused)
		}
	}
	if got, _ := d.mapService("web", []wireEntry{entryWith(func(e *wireEntry) { e.Service.Kind = "ingress-gateway" })}); len(got.service.Instances) != 1 {
		t.Error("a kind that was asked for is not read")
	}
	for name, want := range map[string]bool{"web": true, "consul": false, "..": false, "white space": false, "caf\u00e9": false} {
		if ok, refusal := d.admits(name); ok != want || (refusal != nil) != (!want && name != "consul") {
			t.Errorf("admits(%q) = %t, %v", name, ok, refusal)
		}
	}
	_, refused := d.mapService("web", []wireEntry{
		entryWith(func(e *wireEntry) { e.Service.Address = "no address" }),
		entryWith(func(e *wireEntry) { e.Service.ID, e.Service.Port = "web-2", -1 }),
		entryWith(func(e *wireEntry) { e.Service.ID, e.Service.Meta = "web-3", map[string]string{"version": "\x00"} }),
	})
	var reasons []string
	for _, r := range refused {
		reasons = append(reasons, r.Reason)
	}
	if diff := cmp.Diff([]string{"version", "instance-address", "instance-port"}, reasons); diff != "" {
		t.Errorf("refused (-want +got):\n%s", diff)
	}
}

// What is in doubt stands as it was; all else is as it is.
func TestKeep(t *testing.T) {
	d := newDoor(Config{})
	other := entryWith(func(e *wireEntry) { e.Service.ID = "web-2" })
	before, _ := d.mapService("web", []wireEntry{entryWith(func(*wireEntry) {}), other})
	after, _ := d.mapService("web", []wireEntry{entryWith(func(e *wireEntry) { e.Service.ID = "web-2"; e.Service.Port = 81 })})
	gone := missing(before, after)
	if diff := cmp.Diff([]mark{{node: "n1", id: "web-1"}}, gone, cmp.AllowUnexported(mark{})); diff != "" {
		t.Fatalf("missing (-want +got):\n%s", diff)
	}
	kept := keep(before, after, gone)
	var got []string
	for _, i := range kept.service.Instances {
		got = append(got, fmt.Sprintf("%s:%d", i.ID, i.Port))
	}
	if diff := cmp.Diff([]string{"n1/web-1:80", "n1/web-2:81"}, got); diff != "" {
		t.Errorf("keep (-want +got):\n%s", diff)
	}
	if none := keep(before, record{}, missing(before, record{})); !none.service.Equal(before.service) {
		t.Errorf("keep of all = %v", none.service)
	}
}

func TestExpectation(t *testing.T) {
	m := mark{node: "n1", id: "web-1"}
	at := func(index uint64) record { return record{marks: map[mark]fact{m: {index: index}}, index: 5} }
	tests := map[string]struct {
		expect expectation
		seen   record
		want   bool
	}{
		"older":             {expectation{mark: m, index: 10}, at(9), false},
		"as expected":       {expectation{mark: m, index: 10}, at(10), true},
		"newer":             {expectation{mark: m, index: 10}, at(11), true},
		"absent, old read":  {expectation{mark: m, index: 10}, record{index: 9}, false},
		"absent, new read":  {expectation{mark: m, index: 10}, record{index: 10}, true},
		"past, still there": {expectation{mark: m, index: 10, past: true}, at(10), false},
		"past, newer":       {expectation{mark: m, index: 10, past: true}, at(11), true},
		"past, absent":      {expectation{mark: m, index: 10, past: true}, record{}, true},
	}
	for name, tt := range tests {
		if got := tt.expect.met(tt.seen); got != tt.want {
			t.Errorf("%s: met = %t, want %t", name, got, tt.want)
		}
	}
}

// Whatever Consul's JSON holds, it is mapped or refused, and never panics.
func FuzzMapService(f *testing.F) {
	seed, err := json.Marshal([]wireEntry{entryWith(func(*wireEntry) {}), {}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("web", seed)
	f.Add("..", []byte(`[{"Node":{},"Service":{"Weights":{"Passing":-1},"Meta":{"":""}}}]`))
	f.Fuzz(func(t *testing.T, name string, body []byte) {
		var entries []wireEntry
		if json.Unmarshal(body, &entries) != nil {
			return
		}
		got, _ := newDoor(Config{}).mapService(name, entries)
		if got.service.Key.Name == "" {
			return
		}
		clean, refused, ok := registry.CleanService(got.service.Key.Namespace, got.service.Key.Name, got.service.Instances)
		if !ok || len(refused) > 0 || !clean.Equal(got.service) {
			t.Errorf("what was mapped does not pass the door: %v", refused)
		}
	})
}

func TestNew(t *testing.T) {
	good := Config{Address: "http://127.0.0.1:8500", Logger: slog.New(slog.DiscardHandler), Refused: func(*registry.Refusal) {}}
	if _, err := New(good); err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	faults := map[string]struct {
		change func(*Config)
		want   string
	}{
		"no address":       {func(c *Config) { c.Address = "" }, "address"},
		"no scheme":        {func(c *Config) { c.Address = "127.0.0.1:8500" }, "address"},
		"password":         {func(c *Config) { c.Address = "http://a:b@127.0.0.1:8500" }, "address"},
		"mode":             {func(c *Config) { c.Mode = "poll" }, "hints, per-service or sweep"},
		"two tokens":       {func(c *Config) { c.TokenFile, c.Token = "x", func() (string, error) { return "", nil } }, "token"},
		"no CA":            {func(c *Config) { c.CAFile = empty + ".absent" }, "certificate authority"},
		"empty CA":         {func(c *Config) { c.CAFile = empty }, "no PEM certificate"},
		"half certificate": {func(c *Config) { c.CertFile = empty }, "both"},
		"no logger":        {func(c *Config) { c.Logger = nil }, "logger"},
		"no refused":       {func(c *Config) { c.Refused = nil }, "refused"},
	}
	for name, tt := range faults {
		c := good
		tt.change(&c)
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: New gives %v, want %q", name, err, tt.want)
		}
	}
	bad := Config{Address: "x", Mode: "y"}
	if _, err := New(bad); err == nil || strings.Count(err.Error(), "\n") < 3 {
		t.Errorf("New tells only %v", err)
	}
}

func TestParseAddress(t *testing.T) {
	tests := map[string]struct{ base, socket string }{
		"http://127.0.0.1:8500":       {"http://127.0.0.1:8500", ""},
		"https://consul.example:8501": {"https://consul.example:8501", ""},
		"https://proxy/consul/":       {"https://proxy/consul", ""},
		"unix:///run/consul.sock":     {"http://localhost", "/run/consul.sock"},
	}
	for in, want := range tests {
		got, err := parseAddress(in)
		if err != nil || got.base.String() != want.base || got.socket != want.socket {
			t.Errorf("parseAddress(%q) = %s, %s, %v", in, got.base.String(), got.socket, err)
		}
	}
}
