package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/spf13/pflag"
	"pgregory.net/rapid"

	"github.com/seamark-mesh/seamark/cmd/internal/config"
	"github.com/seamark-mesh/seamark/cmd/internal/probing"
	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/sync/edge"
)

// load returns the configuration and its faults, as lines without the directory.
func load(t *testing.T, yaml string, environ ...string) (Config, []string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "edge.yaml")
	if err := os.WriteFile(path, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	AddFlags(flags)
	c, faults := Load(path, environ, flags)
	var lines []string
	for _, f := range faults {
		lines = append(lines, strings.ReplaceAll(f.String(), filepath.Dir(path)+"/", ""))
	}
	return c, lines
}

func mustLoad(t *testing.T, yaml string, environ ...string) Config {
	t.Helper()
	c, faults := load(t, yaml, environ...)
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	return c
}

const everything = `
cluster: amber
region: eu
zone: eu-1
labels: {tier: prod}
nats: {servers: ["nats://127.0.0.1:4222"], credentials: /c, ca: /ca, cert: /cert, key: /key}
source:
  nacos:
    servers: ["127.0.0.1:8848"]
    namespaces: [{id: "", as: default, groups: [{name: DEFAULT_GROUP}, {name: PAYMENT, suffix: -payment}]}]
    username: nacos
    password_file: /password
gateways:
  static: [{name: gw-1, addresses: [203.0.113.10, "2001:db8::10"], ports: {http: 8080, https: 8443}, weight: 1, probe: {kind: https, port: 9443, path: /live, host: gw.example.org, status: 204}}]
  service: {name: ingress-gateway, namespace: default, port_name: http, probe: {port: 15021}}
  allow: [127.0.0.0/8]
export: {default: all, include: ["shop/*"], exclude: ["*/internal-*"], rename: {"legacy/*": "shop/*"}, redact: ["*Password*", token]}
probes: {enabled: false, interval: 5s, timeout: 5s, rise: 3, fall: 1, concurrency: 8, allow: [127.0.0.0/8]}
brake: {enabled: false, share: 20, floor: 5, window: 2m, policy: hold, pass_after: 1h}
http: 127.0.0.1:8081
`

func TestConfig(t *testing.T) {
	got := mustLoad(t, everything)
	want := Config{
		Cluster: "amber", Region: "eu", Zone: "eu-1", Labels: map[string]string{"tier": "prod"}, HTTP: "127.0.0.1:8081",
		NATS: config.NATS{Servers: []string{"nats://127.0.0.1:4222"}, Credentials: "/c", CA: "/ca", Cert: "/cert", Key: "/key"},
		Source: Source{Nacos: &Nacos{
			Servers:    []string{"127.0.0.1:8848"},
			Namespaces: []NacosNamespace{{As: "default", Groups: []NacosGroup{{Name: "DEFAULT_GROUP"}, {Name: "PAYMENT", Suffix: "-payment"}}}},
			Username:   "nacos", PasswordFile: "/password",
		}},
		Gateways: Gateways{
			Static: []registry.Gateway{{
				Name: "gw-1", Addresses: []netip.Addr{netip.MustParseAddr("203.0.113.10"), netip.MustParseAddr("2001:db8::10")},
				Ports: map[string]int{"http": 8080, "https": 8443}, Weight: 1,
				Probe: &registry.Probe{Kind: "https", Port: 9443, Path: "/live", Host: "gw.example.org", Status: 204},
			}},
			Service: &GatewayService{Name: "ingress-gateway", Namespace: "default", PortName: "http", Probe: &Probe{Kind: "tcp", Port: 15021}},
			Allow:   []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		},
		Export: Export{
			Include: []registry.Pattern{"shop/*"}, Exclude: []registry.Pattern{"*/internal-*"},
			Rename: []Rename{{From: "legacy/*", To: "shop/*"}}, Redact: []registry.KeyPattern{"*password*", "token"},
		},
		Probes: probing.Section{
			Interval: 5 * time.Second, Timeout: 5 * time.Second, Rise: 3, Fall: 1, Concurrency: 8,
			Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		},
		Brake: Brake{Share: 20, Floor: 5, Window: 2 * time.Minute, Policy: "hold", PassAfter: time.Hour},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}, config.Secret{}), cmpopts.IgnoreFields(Config{}, "Description")); diff != "" {
		t.Error(diff)
	}
	if got.Source.Kind() != "nacos" || got.Gateways.Service.Key() != (registry.ServiceKey{Namespace: "default", Name: "ingress-gateway"}) {
		t.Errorf("kind %q, key %v", got.Source.Kind(), got.Gateways.Service.Key())
	}
}

func TestSmallestConfigs(t *testing.T) {
	c := mustLoad(t, "cluster: amber\nsource: {consul: {}}\n")
	if c.Source.Kind() != "consul" || c.Source.Consul.Address != "http://127.0.0.1:8500" || c.HTTP != "127.0.0.1:8081" || c.Export.DefaultNone {
		t.Errorf("consul: %+v", c)
	}
	c = mustLoad(t, "cluster: amber\nsource: {nacos: {}}\n")
	want := []NacosNamespace{{As: "default", Groups: []NacosGroup{{Name: "DEFAULT_GROUP"}}}}
	if !reflect.DeepEqual(c.Source.Nacos.Namespaces, want) {
		t.Errorf("nacos: %+v", c.Source.Nacos)
	}
	c = mustLoad(t, "", "SEAMARK_CLUSTER=amber", "SEAMARK_SOURCE_FILE_PATH=catalog.yaml", "SEAMARK_GATEWAYS_SERVICE_NAME=gw", "SEAMARK_NATS_URL=tls://a:4222")
	if c.Source.Kind() != "file" || c.Source.File.Path != "catalog.yaml" || c.Gateways.Service.PortName != "http" || c.NATS.Servers[0] != "tls://a:4222" {
		t.Errorf("environment: %+v", c)
	}
	c = mustLoad(t, "cluster: amber\nsource: {consul: }\n", "SEAMARK_SOURCE_NACOS_USERNAME=u", "SEAMARK_SOURCE_NACOS_PASSWORD=p")
	if c.Source.Kind() != "nacos" || c.Source.Nacos.Password.Reveal() != "p" {
		t.Errorf("secret: %+v", c.Source)
	}
	c = mustLoad(t, "cluster: amber\nsource: {file: {path: catalog.yaml}}\n")
	if !filepath.IsAbs(string(c.Source.File.Path)) {
		t.Errorf("the catalog %q is not relative to the configuration", c.Source.File.Path)
	}
}

func TestConfigFaults(t *testing.T) {
	const head = "cluster: amber\nsource: {file: {path: c}}\n"
	for name, tt := range map[string]struct {
		yaml    string
		environ []string
		want    []string
	}{
		"nothing": {"", nil, []string{
			"edge.yaml: cluster: is missing; give the cluster a name of its own, one DNS label, for example amber",
			"edge.yaml: source: is missing; give exactly one of source.consul, source.nacos, source.file (one without settings is written consul: {})",
		}},
		"cluster": {"cluster: _observer\nsource: {file: {path: c}}\n", nil, []string{
			`edge.yaml:1:10: cluster: "_observer" is not a cluster id: one DNS label of a-z, 0-9 and inner hyphens, at most 63 bytes`,
		}},
		"two sources": {"cluster: amber\nsource:\n  consul: {}\n  file: {path: }\n", nil, []string{
			"edge.yaml:3:3: source: source.consul and source.file are given; a cluster has one registry: keep one of them",
			"edge.yaml:4:9: source.file.path: is missing; name the catalog, for example catalog.yaml",
		}},
		"a second source in the environment": {head, []string{"SEAMARK_SOURCE_CONSUL_ADDRESS=http://x"}, []string{
			"edge.yaml:2:9: source: source.consul and source.file are given; a cluster has one registry: keep one of them",
		}},
		"consul": {"cluster: amber\nsource:\n  consul: {address: \"127.0.0.1:8500\", token_file: t}\n", []string{"SEAMARK_SOURCE_CONSUL_TOKEN=x"}, []string{
			`edge.yaml:3:21: source.consul.address: this is no URL of a Consul agent; write for example http://127.0.0.1:8500 or unix:///run/consul.sock`,
			`edge.yaml:3:51: source.consul.token_file: SEAMARK_SOURCE_CONSUL_TOKEN is given too; keep one of them`,
		}},
		"consul, user and authority": {"cluster: amber\nsource:\n  consul: {address: \"http://u:hush@h\"}\n", nil, []string{
			`edge.yaml:3:21: source.consul.address: has a user in it; Consul takes a token: name its file in source.consul.token_file`,
		}},
		"consul, authority for nothing": {"cluster: amber\nsource:\n  consul: {ca: x}\n", nil, []string{
			`edge.yaml:3:16: source.consul.ca: is given, but source.consul.address is not https`,
		}},
		"nacos": {`cluster: amber
source:
  nacos:
    servers: ["http://h:8848", "h:65535"]
    username: u
    namespaces:
    - {id: "", groups: [{name: A}, {name: B}, {name: A, suffix: -x}, {name: "C D", suffix: " x"}]}
    - {id: public, groups: [{name: A, suffix: -y}]}
    - {id: other, as: Default, groups: [{name: Z, suffix: "."}]}
`, nil, []string{
			`edge.yaml:4:15: source.nacos.servers[0]: "http://h:8848" is no address of a Nacos server; write host:port, for example 127.0.0.1:8848`,
			`edge.yaml:4:32: source.nacos.servers[1]: "h:65535" is no address of a Nacos server; write host:port, for example 127.0.0.1:8848`,
			`edge.yaml:5:15: source.nacos.username: has no password; name its file in source.nacos.password_file or set SEAMARK_SOURCE_NACOS_PASSWORD`,
			`edge.yaml:7:36: source.nacos.namespaces[0].groups[1]: its services could meet those of source.nacos.namespaces[0].groups[0]: both become "default" with suffix ""; give one of them another suffix`,
			`edge.yaml:7:47: source.nacos.namespaces[0].groups[2]: group "A" of namespace "" is given already as source.nacos.namespaces[0].groups[0]`,
			`edge.yaml:7:77: source.nacos.namespaces[0].groups[3].name: "C D" is no group of Nacos: 1 to 128 letters, digits and -_.: are allowed; write for example DEFAULT_GROUP`,
			`edge.yaml:7:92: source.nacos.namespaces[0].groups[3].suffix: the service name "a x" has a space or control character`,
			`edge.yaml:8:29: source.nacos.namespaces[1].groups[0]: group "A" of namespace "" is given already as source.nacos.namespaces[0].groups[2]`,
			`edge.yaml:9:41: source.nacos.namespaces[2].groups[0]: its services could meet those of source.nacos.namespaces[0].groups[1]: both become "Default" with suffix "."; give one of them another suffix`,
		}},
		"gateways": {head + `gateways:
  static:
  - {name: GW, addresses: [0.0.0.0, 224.0.0.1, x, 127.0.0.1], ports: {HTTP: 80, https: 0}, weight: 70000}
  - {name: gw-1}
  - {name: gw-2, addresses: [192.0.2.1]}
  - {name: gw-2, addresses: [192.0.2.2]}
  service: {namespace: "*", port_name: HTTP}
  allow: [10.0.0.0]
`, nil, []string{
			`edge.yaml:5:12: gateways.static[0].name: gateway name "GW" is not a DNS label of a-z, 0-9 and inner hyphens`,
			`edge.yaml:5:28: gateways.static[0].addresses[0]: 0.0.0.0 is no address to reach`,
			`edge.yaml:5:37: gateways.static[0].addresses[1]: 224.0.0.1 is a multicast or broadcast address`,
			`edge.yaml:5:48: gateways.static[0].addresses[2]: "x" is no IP address; write for example 203.0.113.10 or 2001:db8::10`,
			`edge.yaml:5:77: gateways.static[0].ports.HTTP: gateway gw: port name "HTTP" is not a DNS label of at most 62 bytes`,
			`edge.yaml:5:88: gateways.static[0].ports.https: gateway gw: port https is 0, not within 1 to 65535`,
			`edge.yaml:5:100: gateways.static[0].weight: gateway gw: weight 70000 is not within 0 to 65535`,
			`edge.yaml:6:5: gateways.static[1].addresses: is missing; give the IP addresses that clients are to connect to`,
			`edge.yaml:8:12: gateways.static[3].name: "gw-2" is the name of gateways.static[2] too`,
			`edge.yaml:9:12: gateways.service.name: is missing; name the service whose instances are the gateways`,
			`edge.yaml:9:40: gateways.service.port_name: "HTTP" is not a DNS label of at most 62 bytes; write for example http`,
			`edge.yaml:10:11: gateways.allow[0]: "10.0.0.0" is no network; write for example 192.0.2.0/24 or 2001:db8::/32`,
		}},
		"how gateways are probed": {head + `gateways:
  static:
  - {name: gw-1, addresses: [192.0.2.1], probe: {kind: icmp, port: 70000}}
  - {name: gw-2, addresses: [192.0.2.1], probe: {port: 70000, path: /x, status: 200}}
  - {name: gw-3, addresses: [192.0.2.1], probe: {kind: http, path: x, host: "a b", status: 99}}
  - {name: gw-4, addresses: [192.0.2.1], probe: {kind: none, host: h}}
  service: {name: gw, probe: {kind: https, port: -1, path: "/a b"}}
`, nil, []string{
			`edge.yaml:5:56: gateways.static[0].probe.kind: "icmp" is no kind of probe: write tcp, http, https or none`,
			`edge.yaml:6:56: gateways.static[1].probe.port: the probe's port 70000 is not within 1 to 65535`,
			`edge.yaml:6:69: gateways.static[1].probe.path: path, host and status belong to probes of kind http and https`,
			`edge.yaml:6:81: gateways.static[1].probe.status: path, host and status belong to probes of kind http and https`,
			`edge.yaml:7:68: gateways.static[2].probe.path: the probe's path "x" is not one of at most 255 visible characters that begins with /`,
			`edge.yaml:7:77: gateways.static[2].probe.host: the probe's host "a b" is no host name`,
			`edge.yaml:7:92: gateways.static[2].probe.status: the probe's status 99 is not within 100 to 599`,
			`edge.yaml:8:68: gateways.static[3].probe.host: path, host and status belong to probes of kind http and https`,
			`edge.yaml:9:50: gateways.service.probe.port: the probe's port -1 is not within 1 to 65535`,
			`edge.yaml:9:60: gateways.service.probe.path: the probe's path "/a b" is not one of at most 255 visible characters that begins with /`,
		}},
		"probes": {head + "probes: {interval: 500ms, timeout: 2s, rise: 0, fall: 11, concurrency: 1025, allow: [127.0.0.1]}\n", nil, []string{
			`edge.yaml:3:20: probes.interval: 500ms is not within 1s to 5m0s`,
			`edge.yaml:3:46: probes.rise: 0 is not within 1 to 10`,
			`edge.yaml:3:55: probes.fall: 11 is not within 1 to 10`,
			`edge.yaml:3:72: probes.concurrency: 1025 is not within 1 to 1024`,
			`edge.yaml:3:86: probes.allow[0]: "127.0.0.1" is no network; write for example 192.0.2.0/24 or 2001:db8::/32`,
		}},
		"brake": {head + "brake: {share: 0, floor: 0, window: 2h, policy: ask, pass_after: 10ms}\n", nil, []string{
			`edge.yaml:3:16: brake.share: 0 is not within 1 to 100`,
			`edge.yaml:3:26: brake.floor: 0 is not within 1 to 1000000`,
			`edge.yaml:3:37: brake.window: 2h0m0s is not within 1s to 1h0m0s`,
			`edge.yaml:3:49: brake.policy: "ask" is neither pass nor hold`,
			`edge.yaml:3:66: brake.pass_after: 10ms is not within 1s to 168h0m0s`,
		}},
		"probes, timeout": {head + "probes: {interval: 5m, timeout: 301s}\n", nil, []string{
			`edge.yaml:3:33: probes.timeout: 5m1s is not within 100ms and the interval, which is 5m0s`,
		}},
		"export": {head + `export:
  default: some
  include: [shop, "*/*"]
  rename: {"a/*": "b/c", "*a*/x": "*b*/x", "x": "y/z", "a/b": "c/…"}
`, nil, []string{
			`edge.yaml:4:12: export.default: "some" is neither all nor none`,
			`edge.yaml:5:13: export.include[0]: "shop" is no pattern: write namespace/name, for example shop/*`,
			`edge.yaml:6:19: export.rename.a/*: "a/*" → "b/c": the name has 1 and 0 *; give both the same number, 0 or 1`,
			`edge.yaml:6:35: export.rename.*a*/x: "*a*/x" → "*b*/x": the namespace has 2 and 2 *; give both the same number, 0 or 1`,
			`edge.yaml:6:49: export.rename.x: "x" is no pattern: write namespace/name, for example shop/*`,
			`edge.yaml:6:63: export.rename.a/b: the service name "…" is not ASCII: register its A-label (xn--…) instead`,
		}},
		"texts": {head + "region: " + strings.Repeat("r", 64) + "\nlabels: {\"\": x}\nhttp: 8081\n", nil, []string{
			"edge.yaml:3:9: region: has 64 bytes, more than 63",
			`edge.yaml:4:9: labels: label "" has a key of 0 and a value of 1 bytes; 1 to 128 and 0 to 512 are allowed`,
			`edge.yaml:5:7: http: "8081" is no address to listen on; write host:port, for example 127.0.0.1:8080`,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			_, faults := load(t, tt.yaml, tt.environ...)
			if diff := cmp.Diff(tt.want, faults); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestReloadable(t *testing.T) {
	old := mustLoad(t, everything)
	for change, want := range map[string][]string{
		"":                                  nil,
		"region: eu→region: us":             nil,
		"zone: eu-1→zone: eu-2":             nil,
		"tier: prod→tier: test":             nil,
		"weight: 1→weight: 2":               nil,
		"port_name: http→port_name: https":  nil,
		"default: all→default: none":        nil,
		"cluster: amber→cluster: bronze":    {"cluster"},
		"127.0.0.1:4222→127.0.0.1:4223":     {"nats"},
		"suffix: -payment→suffix: -pay":     {"source"},
		"http: 127.0.0.1→http: 127.0.0.2":   {"http"},
		"port: 15021→port: 15022":           nil,
		"path: /live→path: /":               nil,
		"enabled: false→enabled: true":      {"probes"},
		"fall: 1→fall: 2":                   {"probes"},
		"share: 20→share: 21":               {"brake"},
		"username: nacos→username: someone": {"source"},
	} {
		from, to, _ := strings.Cut(change, "→")
		yaml := strings.Replace(everything, from, to, 1)
		if from != to && yaml == everything {
			t.Fatalf("%q changes nothing", change)
		}
		next := mustLoad(t, yaml)
		if from != to && reflect.DeepEqual(old, next) {
			t.Errorf("%q gives an equal configuration", change)
		}
		if got := Reloadable(old, next); !slices.Equal(got, want) {
			t.Errorf("%q: %v needs a restart, want %v", change, got, want)
		}
	}
}

func TestCheckFiles(t *testing.T) {
	directory := t.TempDir()
	there := filepath.Join(directory, "there")
	if err := os.WriteFile(there, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c := mustLoad(t, "cluster: amber\nnats: {credentials: "+there+", ca: "+directory+"}\nsource: {consul: {token_file: missing}}\n")
	var got []string
	for _, f := range c.CheckFiles() {
		got = append(got, strings.TrimPrefix(f.Field+": "+f.Detail, directory))
	}
	want := []string{"nats.ca: can't be read: it is a directory", "source.consul.token_file: can't be read: no such file or directory"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestWhatPassesIsPublishable holds the configuration's door to that of the
// stream: a cluster record or an export that Load lets through is valid there.
func TestWhatPassesIsPublishable(t *testing.T) {
	odd := rapid.StringOfN(rapid.SampledFrom([]rune("ab-_.*/é 1:")), 0, 70, 200)
	text := func(usual ...string) *rapid.Generator[string] { // often enough valid, so that the whole is, now and then. Control characters never get this far
		valid := rapid.SampledFrom(usual)
		return rapid.OneOf(valid, valid, valid, valid, valid, valid, valid, valid, valid, valid, valid, odd)
	}
	number := rapid.OneOf(rapid.IntRange(1, 65535), rapid.IntRange(1, 65535), rapid.IntRange(1, 65535), rapid.IntRange(0, 65536))
	passed := 0
	rapid.Check(t, func(rt *rapid.T) {
		var d document
		d.Cluster, d.Region, d.Zone = "amber", text("eu", "").Draw(rt, "region"), text("eu-1", "é").Draw(rt, "zone")
		d.Labels = map[string]string{text("tier").Draw(rt, "label"): text("prod", "").Draw(rt, "value")}
		d.Source.File = &File{Path: "c"}
		d.NATS.Servers = []string{"nats://h"}
		d.HTTP = ":0"
		d.Probes = probing.Section{Interval: time.Second, Timeout: time.Second, Rise: 1, Fall: 1, Concurrency: 1}
		d.Brake = Brake{Share: 30, Floor: 10, Window: time.Minute, Policy: "pass", PassAfter: time.Minute}
		probe := Probe{
			Kind: text("tcp", "http").Draw(rt, "kind"), Port: number.Draw(rt, "probed port"),
			Path: text("", "/live").Draw(rt, "path"), Host: text("", "gw").Draw(rt, "host"), Status: rapid.SampledFrom([]int{0, 200, 200, 200, 600}).Draw(rt, "status"),
		}
		d.Gateways.Static = []gateway{{
			Name: text("gw-1", "1").Draw(rt, "name"), Weight: rapid.IntRange(-1, 65536).Draw(rt, "weight"),
			Addresses: []netip.Addr{netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(rt, "address")))},
			Ports:     map[string]int{text("http", "h2").Draw(rt, "port"): number.Draw(rt, "number")},
			Probe:     &probe,
		}}
		d.Export.Default = "all"
		d.Export.Rename = map[string]string{text("a/*", "*/*").Draw(rt, "from"): text("b/*", "*/b-*").Draw(rt, "to")}
		r := &config.Report{}
		c := d.config(r)
		if len(r.Faults()) > 0 {
			for _, n := range c.Export.Rename {
				if err := (edge.Rename{From: n.From, To: n.To}).Validate(); err != nil {
					rt.Errorf("the agent refuses a rename that passed: %v", err)
				}
			}
			return
		}
		passed++
		e := &registry.Event{
			Schema: registry.Schema, ID: "x", Kind: registry.KindCluster, Writer: "amber", Time: time.Unix(0, 0), Cause: registry.CauseChange,
			Cluster: &registry.ClusterRecord{Cluster: c.Cluster, Source: c.Source.Kind(), Region: c.Region, Zone: c.Zone, Labels: c.Labels, Gateways: c.Gateways.Static},
		}
		body, err := registry.Encode(e)
		if err == nil {
			_, err = registry.Decode(body)
		}
		if err != nil {
			rt.Errorf("the stream refuses a cluster record that passed: %v", err)
		}
	})
	if passed == 0 {
		t.Error("no configuration passed, so nothing was shown")
	}
}

// The history is read by other clusters: it may not tell them what stays inside this
// one, nor how its registry is reached.
func TestDescriptionTellsNothingPrivate(t *testing.T) {
	c := mustLoad(t, everything)
	fields := c.Description.Fields()
	for path, want := range map[string]string{
		"region": "eu", "labels.tier": "prod", "gateways.static[0].ports.https": "8443", "brake.share": "20", "brake.pass_after": "1h0m0s",
		"export.default": "all", "export.exclude": config.Hidden, "export.redact": config.Hidden, "export.rename": config.Hidden,
		"source.nacos.username": config.Hidden, "nats.servers": config.Hidden,
	} {
		if fields[path] != want {
			t.Errorf("%s: %q, want %q", path, fields[path], want)
		}
	}
	if again := mustLoad(t, strings.Replace(everything, "*/internal-*", "*/private-*", 1)); again.Description.Revision() == c.Description.Revision() {
		t.Error("another list of what stays inside has the same revision")
	}
}
