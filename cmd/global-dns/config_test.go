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

	"github.com/seamark-mesh/seamark/cmd/internal/config"
	"github.com/seamark-mesh/seamark/cmd/internal/probing"
	"github.com/seamark-mesh/seamark/registry"
)

// load returns the configuration and its faults, as lines without the directory.
func load(t *testing.T, yaml string, environ ...string) (Config, []string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "dns.yaml")
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
zone:
  name: Mesh.internal
  ttl: 5s
  negative_ttl: 1m
  ttl_by_service: {"shop/*": 15s, "*/slow": 1h}
  nameservers: [{name: ns2.mesh.internal, addresses: ["2001:db8::53", 192.0.2.53]}, {name: ns1.example.org.}]
  contact: ops.example.org
nats: {servers: ["nats://127.0.0.1:4222", "nats://127.0.0.2:4222"], credentials: /c}
dns:
  listen: ["127.0.0.1:5300", "[::1]:5300"]
  udp_payload: 1400
  tcp: {max_connections: 5000, max_per_address: 50, idle: 30s}
  cookies: {secret_files: [/secret-1, /secret-2], require: true}
  nsid: eu-1
  chaos: {version: seamark, id: eu-1}
streams: {manage: false, replicas: 3, history_age: 240h, history_bytes: 1GiB}
probes: {enabled: false, vantage: eu-1, interval: 4s, timeout: 3s, rise: 1, fall: 10, concurrency: 1024, allow: [127.0.0.0/8]}
observer: {enabled: false, lapse: 20s, down_after: 1m, failback: 0s, report_age: 1m}
checkpoint: {path: /var/lib/seamark/mesh, interval: 10s, max_age: 1h, ready_after: 1m}
archive: {path: /var/lib/seamark/archive, segment_bytes: 16MiB, retention_age: 8760h, retention_bytes: 1GiB}
ready_when_stale: false
max_stale: 1h
shutdown_delay: 5s
http: 127.0.0.1:8088
`

func TestConfig(t *testing.T) {
	got := mustLoad(t, everything)
	want := Config{
		Zone: registry.ZoneRecord{
			Name: "mesh.internal.", TTL: 5, NegativeTTL: 60, Contact: "ops.example.org.",
			TTLByService: []registry.ServiceTTL{{Pattern: "*/slow", TTL: 3600}, {Pattern: "shop/*", TTL: 15}},
			Nameservers: []registry.Nameserver{
				{Name: "ns1.example.org."},
				{Name: "ns2.mesh.internal.", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.53"), netip.MustParseAddr("2001:db8::53")}},
			},
		},
		NATS: config.NATS{Servers: []string{"nats://127.0.0.1:4222", "nats://127.0.0.2:4222"}, Credentials: "/c"},
		DNS: DNS{
			Listen: []string{"127.0.0.1:5300", "[::1]:5300"}, UDPPayload: 1400, QueryLog: QueryLog{PerSecond: 10},
			TCP:     TCP{MaxConnections: 5000, MaxPerAddress: 50, Idle: 30 * time.Second},
			Cookies: Cookies{SecretFiles: []config.Path{"/secret-1", "/secret-2"}, Require: true},
			NSID:    "eu-1", Chaos: Chaos{Version: "seamark", ID: "eu-1"},
		},
		Streams: Streams{Replicas: 3, HistoryAge: 240 * time.Hour, HistoryBytes: 1 << 30},
		Probes: Probes{Vantage: "eu-1", Section: probing.Section{
			Interval: 4 * time.Second, Timeout: 3 * time.Second, Rise: 1, Fall: 10, Concurrency: 1024,
			Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		}},
		Observer: Observer{Lapse: 20 * time.Second, DownAfter: time.Minute, ReportAge: time.Minute},
		Checkpoint: Checkpoint{
			Path: "/var/lib/seamark/mesh", Interval: 10 * time.Second, MaxAge: time.Hour, ReadyAfter: time.Minute,
		},
		Archive: Archive{Path: "/var/lib/seamark/archive", SegmentBytes: 16 << 20, RetentionAge: 8760 * time.Hour, RetentionBytes: 1 << 30},
		Verify:  Verify{Policy: verifyOff},
		Stale:   Stale{MaxStale: time.Hour},
		Linger:  5 * time.Second,
		HTTP:    "127.0.0.1:8088",
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}), cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
	if _, faults := registry.CleanZone(got.Zone); len(faults) > 0 {
		t.Errorf("the zone record is not clean: %v", faults)
	}
}

func TestDefaults(t *testing.T) {
	got := mustLoad(t, "")
	want := Config{
		Zone: registry.ZoneRecord{Name: "mesh.internal.", TTL: 5, NegativeTTL: 5, Contact: "hostmaster.mesh.internal."},
		NATS: config.NATS{Servers: []string{"nats://127.0.0.1:4222"}},
		DNS: DNS{
			Listen: []string{"127.0.0.1:5300"}, UDPPayload: 1232, QueryLog: QueryLog{PerSecond: 10},
			TCP: TCP{MaxConnections: 1024, MaxPerAddress: 128, Idle: 10 * time.Second},
		},
		Streams:    Streams{Manage: true, Replicas: 1, HistoryAge: 30 * 24 * time.Hour, HistoryBytes: 10 << 30},
		Probes:     Probes{Section: probing.Section{Enabled: true, Interval: 2 * time.Second, Timeout: time.Second, Rise: 2, Fall: 3, Concurrency: 64}},
		Observer:   Observer{Enabled: true, Lapse: 10 * time.Second, DownAfter: 5 * time.Minute, Failback: 10 * time.Second, ReportAge: 30 * time.Second},
		Checkpoint: Checkpoint{Interval: 5 * time.Second, MaxAge: 24 * time.Hour},
		Archive:    Archive{SegmentBytes: 32 << 20},
		Stale:      Stale{Ready: true},
		Verify:     Verify{Policy: "off"},
		HTTP:       "127.0.0.1:8080",
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
	c := mustLoad(t, "zone: {name: eu.mesh}\n", "SEAMARK_DNS_LISTEN=:53,:5300", "SEAMARK_ZONE_TTL_BY_SERVICE=a/*=3s", "SEAMARK_STREAMS_HISTORY_BYTES=0")
	if c.Zone.Contact != "hostmaster.eu.mesh." || len(c.DNS.Listen) != 2 || c.Zone.ServiceTTL(registry.ServiceKey{Namespace: "a", Name: "b"}) != 3 || c.Streams.HistoryBytes != 0 {
		t.Errorf("got %+v", c)
	}
}

func TestConfigFaults(t *testing.T) {
	for name, tt := range map[string]struct {
		yaml    string
		environ []string
		want    []string
	}{
		"zone": {`zone:
  name: mesh..internal.
  ttl: 0s
  negative_ttl: 2h
  ttl_by_service: {shop: 15s, "a/*": 25h, "b/*": 1500ms}
  contact: a@b.org
`, nil, []string{
			`dns.yaml:2:9: zone.name: "mesh..internal.": "" is not a label of a-z, 0-9, - and _; for example mesh.internal.`,
			`dns.yaml:3:8: zone.ttl: 0 s is not within 1 s and 3600 s`,
			`dns.yaml:4:17: zone.negative_ttl: 7200 s is not within 1 s and 3600 s`,
			`dns.yaml:5:26: zone.ttl_by_service.shop: "shop" is no pattern: write namespace/name, for example shop/*`,
			`dns.yaml:5:38: zone.ttl_by_service.a/*: 90000 s is not within 1 s and 3600 s`,
			`dns.yaml:5:50: zone.ttl_by_service.b/*: "1500ms" is not a whole number of seconds; write for example 5s`,
			`dns.yaml:6:12: zone.contact: "a@b.org.": "a@b" is not a label of a-z, 0-9, - and _; write hostmaster@example.org as hostmaster.example.org.`,
		}},
		"probes, unknown": {"probes:\n  vantage: eu-1\n  intervall: 3s\n", nil, []string{
			`dns.yaml:3:3: probes.intervall: unknown key; did you mean interval?`,
		}},
		"probes": {"probes: {vantage: _dns-1, interval: 1s, timeout: 1001ms}\n", nil, []string{
			`dns.yaml:1:19: probes.vantage: "_dns-1" is no DNS label of at most 58 bytes; write for example dns-1`,
			`dns.yaml:1:50: probes.timeout: 1.001s is not within 100ms and the interval, which is 1s`,
		}},
		"observer": {"observer: {lapse: 4s, down_after: -1s, failback: 2h, report_age: 10s}\n", nil, []string{
			`dns.yaml:1:19: observer.lapse: 4s is not within 5s and 10m0s: agents renew their leases every 2s`,
			`dns.yaml:1:35: observer.down_after: -1s is not within 0s and 24h0m0s`,
			`dns.yaml:1:50: observer.failback: 2h0m0s is not within 0s and 1h0m0s`,
			`dns.yaml:1:66: observer.report_age: 10s is not within 20s and 1h0m0s: reports are repeated every 10s`,
		}},
		"name servers": {`zone:
  nameservers:
  - {name: ns1.mesh.internal}
  - {name: svc.mesh.internal, addresses: [192.0.2.1, 0.0.0.0]}
  - {name: "-", addresses: [x]}
  - {name: ns.example.org}
`, nil, []string{
			`dns.yaml:3:5: zone.nameservers[0]: ns1.mesh.internal. lies in the zone and needs an address`,
			`dns.yaml:4:5: zone.nameservers[1]: svc.mesh.internal. is a name that the zone needs for itself; choose for example ns1.mesh.internal.`,
			`dns.yaml:5:5: zone.nameservers[2]: "-.": "-" is not a label of a-z, 0-9, - and _; for example ns1.mesh.internal.`,
			`dns.yaml:5:29: zone.nameservers[2].addresses[0]: "x" is no IP address; write for example 203.0.113.10 or 2001:db8::10`,
		}},
		"two of one name": {"zone: {nameservers: [{name: ns.example.org}, {name: NS.example.org.}]}\n", nil, []string{
			`dns.yaml:1:21: zone.nameservers: ns.example.org. is named twice`,
		}},
		"the rest": {`dns: {listen: ["127.0.0.1", "127.0.0.1:99999", ":53", ":53", ":0", ":0"]}
streams: {manage: yes, replicas: 2, history_age: 30d, history_bytes: 1MB}
http: x
zones: {}
`, nil, []string{
			`dns.yaml:1:16: dns.listen[0]: "127.0.0.1" is no address to listen on; write host:port, for example 127.0.0.1:8080`,
			`dns.yaml:1:29: dns.listen[1]: "127.0.0.1:99999" is no address to listen on; write host:port, for example 127.0.0.1:8080`,
			`dns.yaml:1:55: dns.listen[3]: ":53" is given twice`,
			`dns.yaml:2:19: streams.manage: "yes" is neither true nor false`,
			`dns.yaml:2:34: streams.replicas: 2 copies are not supported; write 1, 3 or 5`,
			`dns.yaml:2:50: streams.history_age: "30d" is no duration; write for example 5s or 720h`,
			`dns.yaml:2:70: streams.history_bytes: 1000000 bytes would cut the history short; write at least 64MiB, or 0 for no guard`,
			`dns.yaml:3:7: http: "x" is no address to listen on; write host:port, for example 127.0.0.1:8080`,
			`dns.yaml:4:1: zones: unknown key; did you mean zone?`,
		}},
		"environment": {"dns: {listen: []}\n", []string{"SEAMARK_STREAMS_HISTORY_AGE=1h", "SEAMARK_ZONE_NAME=a b"}, []string{
			`dns.yaml:1:15: dns.listen: no address is given; write for example ["127.0.0.1:5300"]`,
			`SEAMARK_STREAMS_HISTORY_AGE: streams.history_age: 1h0m0s is too short: every fact is published anew once a day, and the history must hold several of those; write at least 168h0m0s`,
			`SEAMARK_ZONE_NAME: zone.name: "a b.": "a b" is not a label of a-z, 0-9, - and _; for example mesh.internal.`,
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
		"ttl: 5s→ttl: 6s":                   nil,
		"127.0.0.2:4222→127.0.0.2:4223":     {"nats"},
		"\"127.0.0.1:5300\"→\"[::1]:5301\"": {"dns.listen"},
		"idle: 30s→idle: 31s":               nil,
		"nsid: eu-1→nsid: eu-2":             nil,
		"/secret-1, →":                      nil,
		"replicas: 3→replicas: 1":           {"streams"},
		"vantage: eu-1→vantage: eu-2":       {"probes"},
		"lapse: 20s→lapse: 30s":             nil,
		"observer: {enabled: false→observer: {enabled: true": {"observer.enabled"},
		"interval: 10s→interval: 11s":                        {"checkpoint"},
		"max_stale: 1h→max_stale: 2h":                        {"ready_when_stale or max_stale"},
		"shutdown_delay: 5s→shutdown_delay: 6s":              {"shutdown_delay"},
		"8088→8089": {"http"},
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
	faults := mustLoad(t, "nats: {credentials: missing}\ndns: {cookies: {secret_files: [missing]}}\n").CheckFiles()
	if missing := mustLoad(t, "checkpoint: {path: missing/checkpoint}\n").CheckFiles(); len(missing) != 1 || missing[0].Field != "checkpoint.path" {
		t.Errorf("got %v", missing)
	}
	if len(faults) != 2 || faults[0].Field != "nats.credentials" || faults[1].Field != "dns.cookies.secret_files[0]" {
		t.Errorf("got %v", faults)
	}
}
