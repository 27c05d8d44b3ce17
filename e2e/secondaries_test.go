package e2e

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/e2e/servers"
)

// The shared secret of these tests, as the files and snippets have it.
const transferSecret = "c2VhbWFyayBzZWNvbmRhcmllcyB0ZXN0IHNlY3JldCE="

// snippet returns a block of docs/secondaries.md.
func snippet(t *testing.T, name string) string {
	t.Helper()
	page, err := os.ReadFile("../docs/secondaries.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?s)<!-- test: " + name + " -->\n```[a-z]*\n(.*?)```\n").FindSubmatch(page)
	if found == nil {
		t.Fatalf("docs/secondaries.md has no snippet %s", name)
	}
	return string(found[1])
}

// replace puts the test's values in the place of those of the page. Each must be there.
func replace(t *testing.T, text string, pairs ...string) string {
	t.Helper()
	for n := 0; n < len(pairs); n += 2 {
		if !strings.Contains(text, pairs[n]) {
			t.Fatalf("the snippet has no %q:\n%s", pairs[n], text)
		}
		text = strings.ReplaceAll(text, pairs[n], pairs[n+1])
	}
	return text
}

// secondary is one real server that follows the zone.
type secondary struct {
	name    string
	from    string // the address that it transfers from, its own: global-dns logs it
	address string // where it answers, host:port
	log     string
}

// runSecondary starts a server and ends it with the test.
func runSecondary(t *testing.T, s *secondary, program string, arguments ...string) {
	t.Helper()
	out, err := os.Create(s.log)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	command := exec.Command(program, arguments...)
	command.Dir = filepath.Dir(s.log)
	command.Stdout, command.Stderr = out, out
	dieWithParent(command)
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = command.Wait(); close(ended) }()
	t.Cleanup(func() {
		_ = command.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			_ = command.Process.Kill()
			<-ended
		}
		if text, err := os.ReadFile(s.log); err == nil && t.Failed() {
			t.Logf("log of %s:\n%s", s.name, tail(text, 5000))
		}
	})
}

// transferring is a mesh with two replicas that give the zone to secondaries.
type transferring struct {
	*mesh
	replicas [2]struct {
		port   int
		http   string
		daemon *daemon
	}
	secondaries []*secondary
}

func newTransferring(t *testing.T) *transferring {
	t.Helper()
	for program, debian := range map[string]string{"named": "bind9", "knotd": "knot", "nsd": "nsd", "dig": "bind9-dnsutils", "kdig": "knot-dnsutils"} {
		servers.NeedProgram(t, program, debian)
	}
	x := &transferring{mesh: &mesh{nats: servers.NATS(t, servers.NATSConfig{}), dir: t.TempDir(), agentHTTP: map[string]string{}, environ: []string{"SEAMARK_LOG_LEVEL=debug"}}}
	ports, err := servers.FreePorts(7)
	if err != nil {
		t.Fatal(err)
	}
	var targets []any
	for n, name := range []string{"bind", "knot", "nsd"} {
		s := &secondary{name: name, from: fmt.Sprintf("127.0.0.%d", 53+n), address: fmt.Sprintf("127.0.0.%d:%d", 53+n, ports[4+n])}
		if name == "bind" { // it listens only on addresses that an interface has
			s.address = fmt.Sprintf("127.0.0.1:%d", ports[4+n])
		}
		s.log = filepath.Join(x.dir, name+".log")
		x.secondaries = append(x.secondaries, s)
		targets = append(targets, s.address+" xfr")
	}
	secretFile := filepath.Join(x.dir, "xfr.secret")
	if err := os.WriteFile(secretFile, []byte(transferSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	key := fmt.Sprintf("key \"xfr\" { algorithm hmac-sha256; secret %q; };\n", transferSecret)
	if err := os.WriteFile(filepath.Join(x.dir, "xfr.key"), []byte(key), 0o600); err != nil {
		t.Fatal(err)
	}
	for n := range x.replicas {
		r := &x.replicas[n]
		r.port, r.http = ports[2*n], fmt.Sprintf("127.0.0.1:%d", ports[2*n+1])
		config := x.write(t, fmt.Sprintf("global-dns-%d.yaml", n), map[string]any{
			"zone": map[string]any{"name": "mesh.internal.", "nameservers": []any{map[string]any{"name": "ns1.mesh.internal.", "addresses": []string{"192.0.2.53"}}}},
			"nats": map[string]any{"servers": []string{x.nats.URL}},
			"dns": map[string]any{
				"listen": []string{x.replica(n)},
				"transfer": map[string]any{
					"keys":  []any{map[string]any{"name": "xfr", "algorithm": "hmac-sha256", "secret_file": secretFile}},
					"allow": []string{"127.0.0.0/8"}, "notify": targets,
				},
			},
			"observer": map[string]any{"enabled": false}, // what it says moves the serial and not the zone, of which nobody is told
			"http":     r.http,
		})
		r.daemon = x.start(t, "global-dns", config)
		x.ready(t, n)
	}
	x.dns, x.http = x.replica(0), x.replicas[0].http
	return x
}

func (x *transferring) replica(n int) string {
	return fmt.Sprintf("127.0.0.%d:%d", n+1, x.replicas[n].port)
}

func (x *transferring) ready(t *testing.T, n int) {
	t.Helper()
	x.eventually(t, 20*time.Second, "global-dns is ready", func() error { return get("http://"+x.replicas[n].http+"/readyz", nil) })
}

// startSecondaries runs the snippets of docs/secondaries.md.
func (x *transferring) startSecondaries(t *testing.T) {
	t.Helper()
	first, second := x.replicas[0].port, x.replicas[1].port
	files := map[string]string{}
	for _, s := range x.secondaries {
		dir := filepath.Join(x.dir, s.name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		host, port, _ := strings.Cut(s.address, ":")
		text := replace(t, snippet(t, s.name), "SECRET", transferSecret)
		switch s.name {
		case "bind":
			files["bind"] = fmt.Sprintf("options { directory %q; listen-on port %s { %s; }; listen-on-v6 { none; }; pid-file none; session-keyfile none; recursion no;"+
				" notify no; allow-transfer { any; }; transfer-source %s; dnssec-validation no; };\ncontrols { };\n", dir, port, host, s.from) +
				replace(t, text, "192.0.2.1 port 5300", fmt.Sprintf("127.0.0.1 port %d", first), "192.0.2.2 port 5300", fmt.Sprintf("127.0.0.2 port %d", second))
		case "knot":
			files["knot"] = fmt.Sprintf("server:\n    listen: %s@%s\n    rundir: %q\ndatabase:\n    storage: %q\nlog:\n  - target: stderr\n    any: info\ntemplate:\n  - id: default\n    storage: %q\n",
				host, port, dir, dir, dir) +
				replace(t, text, "192.0.2.1@5300", fmt.Sprintf("127.0.0.1@%d\n    via: %s", first, s.from), "192.0.2.2@5300", fmt.Sprintf("127.0.0.2@%d\n    via: %s", second, s.from),
					"[192.0.2.1, 192.0.2.2]", "127.0.0.0/8", "acl:\n", "acl:\n  - id: dump\n    address: 127.0.0.0/8\n    action: transfer\n", "acl: seamark-notify", "acl: [seamark-notify, dump]")
		case "nsd":
			files["nsd"] = fmt.Sprintf("server:\n  ip-address: %s@%s\n  zonesdir: %q\n  database: \"\"\n  xfrdfile: %q\n  xfrdir: %q\n  zonelistfile: %q\n  pidfile: %q\n  username: \"\"\n  chroot: \"\"\n  verbosity: 2\n  server-count: 1\nremote-control:\n  control-enable: no\n",
				host, port, dir, filepath.Join(dir, "xfrd.state"), dir, filepath.Join(dir, "zone.list"), filepath.Join(dir, "nsd.pid")) +
				replace(t, text, "192.0.2.1@5300 xfr", fmt.Sprintf("127.0.0.1@%d xfr", first), "192.0.2.2@5300 xfr", fmt.Sprintf("127.0.0.2@%d xfr\n  outgoing-interface: %s\n  provide-xfr: 127.0.0.0/8 NOKEY", second, s.from),
					"allow-notify: 192.0.2.1 xfr", "allow-notify: 127.0.0.0/8 xfr", "  allow-notify: 192.0.2.2 xfr\n", "")
		}
		if err := os.WriteFile(filepath.Join(dir, "conf"), []byte(files[s.name]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	conf := func(name string) string { return filepath.Join(x.dir, name, "conf") }
	runSecondary(t, x.secondaries[0], servers.NeedProgram(t, "named", "bind9"), "-g", "-n", "1", "-c", conf("bind"))
	runSecondary(t, x.secondaries[1], servers.NeedProgram(t, "knotd", "knot"), "-c", conf("knot"))
	runSecondary(t, x.secondaries[2], servers.NeedProgram(t, "nsd", "nsd"), "-d", "-c", conf("nsd"))
}

// dump returns the zone of a server, sorted, as dig shows it.
func dump(t *testing.T, address string, arguments ...string) (zone []string, err error) {
	t.Helper()
	host, port, _ := strings.Cut(address, ":")
	arguments = append([]string{"+noall", "+answer", "+onesoa", "+time=20", "@" + host, "-p", port, "mesh.internal", "AXFR"}, arguments...)
	out, err := exec.CommandContext(t.Context(), "dig", arguments...).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("dig: %w: %s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if isRecord(line) {
			zone = append(zone, strings.Join(strings.Fields(line), " "))
		}
	}
	if len(zone) == 0 {
		return nil, fmt.Errorf("dig: no zone from %s: %s", address, out)
	}
	slices.Sort(zone)
	return zone, nil
}

// isRecord tells the zone's records from what dig and kdig say besides, the
// signatures of the messages among it.
func isRecord(line string) bool {
	return strings.TrimSpace(line) != "" && line[0] != ';' && !strings.Contains(line, "TSIG")
}

// same waits until every secondary has the zone that a replica gives, the serial
// included.
func (x *transferring) same(t *testing.T, replica int, within time.Duration) (records int) {
	t.Helper()
	for _, s := range x.secondaries {
		x.eventually(t, within, s.name+" has the zone", func() error {
			pause(t.Context(), 200*time.Millisecond)
			ours, err := dump(t, x.replica(replica), "-k", filepath.Join(x.dir, "xfr.key"))
			if err != nil {
				return err
			}
			theirs, err := dump(t, s.address)
			if err != nil {
				return err
			}
			records = len(ours)
			if !slices.Equal(ours, theirs) {
				return fmt.Errorf("%d records here, %d there; here only: %.400v; there only: %.400v", len(ours), len(theirs), missing(ours, theirs), missing(theirs, ours))
			}
			return nil
		})
	}
	return records
}

func missing(from, in []string) (all []string) {
	there := map[string]bool{}
	for _, s := range in {
		there[s] = true
	}
	for _, s := range from {
		if !there[s] {
			all = append(all, s)
		}
	}
	return all
}

// transfers counts what a replica's log says it gave to a secondary, by shape.
func (x *transferring) transfers(t *testing.T, replica int, s *secondary) map[string]int {
	t.Helper()
	text, err := os.Open(x.replicas[replica].daemon.log())
	if err != nil {
		t.Fatal(err)
	}
	defer text.Close()
	counts := map[string]int{}
	lines := bufio.NewScanner(text)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var line struct {
			Msg, Shape, Client, Err string
		}
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "zone transferred" && line.Client == s.from && line.Err == "" {
			counts[line.Shape]++
		}
	}
	return counts
}

// metric sums a metric of a replica over all labels that contain a text.
func (x *transferring) metric(t *testing.T, replica int, name, labels string) float64 {
	t.Helper()
	return metricOf(t, x.replicas[replica].http, name, labels)
}

// Real secondaries follow a thousand changes by differences and end with the zone
// that we have, byte for byte; over the restart of a replica, and when one is gone
// for good and another takes its place.
func TestSecondariesFollow(t *testing.T) {
	together(t)
	x := newTransferring(t)
	source := newFile(t).(*fileRegistry)
	const services, changesInAll = 200, 1000
	put := func(n, version int) {
		name := fmt.Sprintf("svc-%d", n%services)
		delete(source.services, name)
		if version%7 != 0 || n%5 != 0 { // some go, and come back
			source.services[name] = []map[string]any{{"id": "a", "address": "10.0.0.1", "port": 80, "version": fmt.Sprint("1.", version), "health": "passing"}}
		}
	}
	for n := range services {
		put(n, 1)
	}
	source.save(t)
	x.agent(t, "amber", "192.0.2.80", source.source())
	x.startSecondaries(t)
	t.Logf("%d records at the start", x.same(t, 0, 40*time.Second))

	changes := 0
	change := func(count int) {
		for range count / 5 { // each save is one moment of the registry
			for range 5 {
				put(changes, 2+changes/services)
				changes++
			}
			source.save(t)
			pause(t.Context(), 40*time.Millisecond)
		}
	}
	change(400)
	x.same(t, 0, 40*time.Second)
	for _, s := range x.secondaries {
		counts := x.transfers(t, 0, s)
		if other := x.transfers(t, 1, s); counts["incremental"]+other["incremental"] < 3 || counts["full"]+other["full"] > 2 {
			t.Errorf("%s followed 400 changes by %v and %v", s.name, counts, other)
		}
	}

	x.replicas[0].daemon.end(syscall.SIGTERM)
	change(200)
	x.replicas[0].daemon.start(t)
	x.ready(t, 0)
	change(200)
	x.same(t, 0, 60*time.Second)

	before := map[string]int{}
	for _, s := range x.secondaries {
		before[s.name] = x.transfers(t, 1, s)["incremental"]
	}
	x.replicas[0].daemon.kill()
	change(changesInAll - changes)
	t.Logf("%d records after %d changes", x.same(t, 1, 60*time.Second), changes)
	for _, s := range x.secondaries {
		counts := x.transfers(t, 1, s)
		t.Logf("%s: first replica %v, second %v", s.name, x.transfers(t, 0, s), counts)
		if counts["incremental"] <= before[s.name] {
			t.Errorf("%s did not follow the second replica by differences: %v, %d before", s.name, counts, before[s.name])
		}
		if counts["full"] > 1 {
			t.Errorf("%s took the whole zone from the second replica %d times, which never lost its memory", s.name, counts["full"])
		}
	}
	if n := x.metric(t, 1, "seamark_dns_transfers_total", `kind="ixfr",result="incremental"`); n < 3 {
		t.Errorf("the metric counts %v differences", n)
	}
	if n := x.metric(t, 1, "seamark_journal_changes", ""); n < changesInAll/2 {
		t.Errorf("the metric has %v changes in the journal", n)
	}
	if n := x.metric(t, 1, "seamark_dns_transfers_total", `kind="notify",result="answered"`); n < 3 {
		t.Errorf("the metric counts %v answers to NOTIFY", n)
	}
}

// dig and kdig transfer the zone with the key and see the same; without the key, or
// with a wrong one, they get nothing.
func TestTransferTools(t *testing.T) {
	together(t)
	x := newTransferring(t)
	source := newFile(t)
	source.fill(t, "svc", 100)
	x.agent(t, "amber", "192.0.2.80", source.source())
	x.eventually(t, 20*time.Second, "the services are there", func() error {
		zone, err := dump(t, x.replica(0), "-k", filepath.Join(x.dir, "xfr.key"))
		if err == nil && len(zone) < 300 {
			err = fmt.Errorf("%d records", len(zone))
		}
		return err
	})
	want, err := dump(t, x.replica(0), "-k", filepath.Join(x.dir, "xfr.key"))
	if err != nil {
		t.Fatal(err)
	}
	host, port, _ := strings.Cut(x.replica(0), ":")
	run := func(program string, arguments ...string) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), program, append([]string{"@" + host, "-p", port}, arguments...)...).CombinedOutput()
		if err != nil && !errors.As(err, new(*exec.ExitError)) {
			t.Fatal(err)
		}
		return string(out)
	}
	keys := map[string][]string{"dig": {"-k", filepath.Join(x.dir, "xfr.key")}, "kdig": {"-y", "hmac-sha256:xfr:" + transferSecret}}
	axfr := run("kdig", append(keys["kdig"], "mesh.internal", "AXFR")...)
	count := 0
	for line := range strings.Lines(axfr) {
		if isRecord(line) {
			count++
		}
	}
	if count != len(want)+1 { // kdig shows both SOAs
		t.Errorf("kdig sees %d records, dig %d:\n%.2000s", count, len(want), axfr)
	}
	_, serial, err := serialIn(want)
	if err != nil {
		t.Fatal(err)
	}
	source.put(t, "svc-7", instance{id: "new", address: "10.0.0.7", port: 80, version: "9.9"})
	x.text(t, "svc-7.svc.mesh.internal.", "versions=9.9")
	for _, program := range []string{"dig", "kdig"} {
		for _, transport := range []string{"+tcp", "+notcp"} {
			out := run(program, append(keys[program], transport, "mesh.internal", "IXFR="+serial)...)
			if strings.Count(out, "SOA") < 1 || strings.Contains(out, ";; WARNING") || strings.Contains(out, ";; ERROR") || transport == "+tcp" && !strings.Contains(out, "versions=9.9") {
				t.Errorf("%s %s IXFR:\n%s", program, transport, out)
			}
		}
	}
	for what, arguments := range map[string][]string{
		"without a key": {}, "with another secret": {"-y", "hmac-sha256:xfr:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="},
		"with another key": {"-y", "hmac-sha256:other:" + transferSecret},
	} {
		for _, program := range []string{"dig", "kdig"} {
			if out := run(program, append(arguments, "mesh.internal", "AXFR")...); strings.Contains(out, "svc-1") {
				t.Errorf("%s %s gets the zone:\n%.500s", program, what, out)
			}
		}
	}
	signed := run("dig", "-k", filepath.Join(x.dir, "xfr.key"), "svc-7.svc.mesh.internal", "A")
	if !strings.Contains(signed, "TSIG PSEUDOSECTION") || strings.Contains(signed, "Couldn't verify") || !strings.Contains(signed, "192.0.2.80") {
		t.Errorf("a signed query:\n%s", signed)
	}
}

// serialIn finds the SOA of a dump.
func serialIn(zone []string) (soa, serial string, err error) {
	for _, line := range zone {
		if fields := strings.Fields(line); len(fields) > 6 && fields[3] == "SOA" {
			return line, fields[6], nil
		}
	}
	return "", "", errors.New("no SOA")
}

// The page's own configuration of global-dns is one that it takes.
func TestTransferSnippet(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "xfr.secret"), []byte(transferSecret), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "global-dns.yaml"), []byte(snippet(t, "global-dns")), 0o600); err != nil {
		t.Fatal(err)
	}
	programs, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), filepath.Join(programs, "global-dns"), "check", "--config", filepath.Join(dir, "global-dns.yaml")).CombinedOutput(); err != nil {
		t.Errorf("%v:\n%s", err, out)
	}
}
