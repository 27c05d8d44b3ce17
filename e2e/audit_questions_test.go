package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/dnsserver/ask"
	"github.com/seamark-mesh/seamark/e2e/servers"
	"github.com/seamark-mesh/seamark/registry/stream"
)

// past is a mesh of which much has become of checkout, and the moments between.
type past struct {
	*mesh
	moments  map[string]string // RFC 3339, by what had just happened
	answered map[string][]string
	reader   string // the URL of NATS for who may only read
}

// rightsOfReaders are what an auditor's account may do.
func rightsOfReaders() string {
	return fmt.Sprintf(`authorization { users = [
  { user: mesh, password: mesh }
  { user: auditor, password: auditor, permissions: { publish: { allow: ["%s"] }, subscribe: { allow: ["_INBOX.>"] } } }
] }`, strings.Join(stream.HistoryPermissions(), `", "`))
}

// livePast lets a service be answered by two clusters, by one, by two again, and then
// drains one of them.
func livePast(t *testing.T) *past {
	t.Helper()
	nats := servers.NATS(t, servers.NATSConfig{Config: rightsOfReaders()})
	reader := strings.Replace(nats.URL, "nats://", "nats://auditor:auditor@", 1)
	nats.URL = strings.Replace(nats.URL, "nats://", "nats://mesh:mesh@", 1)
	p := &past{
		mesh: &mesh{nats: nats, dir: t.TempDir(), agentHTTP: map[string]string{}}, reader: reader,
		moments: map[string]string{}, answered: map[string][]string{},
	}
	p.startGlobalDNS(t, "global-dns.yaml")
	amber, bronze := newFile(t), newFile(t)
	amber.put(t, "checkout", first, second)
	bronze.put(t, "checkout", first)
	bronze.put(t, "beside", first)
	amber.put(t, "beside", first)
	p.agent(t, "amber", amberGateway, amber.source())
	p.agent(t, "bronze", bronzeGateway, bronze.source())
	p.now(t, "begun", amberGateway, bronzeGateway)

	bronze.put(t, "checkout", instance{id: first.id, address: first.address, port: first.port, version: first.version, bad: true})
	p.now(t, "failed", amberGateway)
	bronze.put(t, "checkout", first)
	p.now(t, "healed", amberGateway, bronzeGateway)
	if out, code := p.seamark(t, "drain", "bronze", "--reason", "kernel update", "--for", "1h"); code != 0 {
		t.Fatalf("drain exits with %d: %s", code, out)
	}
	p.now(t, "drained", amberGateway)
	return p
}

// now waits for an answer, and remembers it and the moment.
func (p *past) now(t *testing.T, what string, want ...string) {
	t.Helper()
	p.answers(t, checkout, "A", want...)
	p.moments[what], p.answered[what] = time.Now().UTC().Format(time.RFC3339Nano), want
}

// garbage puts a message on the stream that nobody can read.
func (p *past) garbage(t *testing.T) {
	t.Helper()
	conn := p.connection(t.Context(), t)
	defer conn.Close()
	if _, err := conn.NATS().Request("mesh.v1.amber.svc.default.checkout", []byte("}{"), 10*time.Second); err != nil {
		t.Fatal(err)
	}
	p.moments["end"] = time.Now().UTC().Format(time.RFC3339Nano)
}

// audit asks with the rights of an auditor, and must succeed.
func (p *past) audit(t *testing.T, arguments ...string) (stdout, stderr string) {
	t.Helper()
	stdout, stderr, code := p.try(t, append([]string{"audit"}, arguments...)...)
	if code != 0 {
		t.Fatalf("seamark audit %v exits with %d:\n%s%s", arguments, code, stdout, stderr)
	}
	return stdout, stderr
}

func (p *past) try(t *testing.T, arguments ...string) (stdout, stderr string, code int) {
	t.Helper()
	dir, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(filepath.Join(dir, "seamark"), arguments...)
	command.Env = append(os.Environ(), "SEAMARK_SERVER=http://"+p.http, "SEAMARK_NATS_URL="+p.reader, "SEAMARK_DNS="+p.dns)
	var out, errs bytes.Buffer
	command.Stdout, command.Stderr = &out, &errs
	err = command.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), command.ProcessState.ExitCode()
}

// resolution is what seamark audit resolve -o json says.
type resolution struct {
	Past    bool
	RCode   string
	Answers []string
	Why     []struct {
		Cluster, Reason, State, Order string
		In                            bool
	}
}

func (r resolution) addresses() []string {
	all := []string{}
	for _, record := range r.Answers {
		fields := strings.Fields(record)
		all = append(all, fields[len(fields)-1])
	}
	slices.Sort(all)
	return all
}

func decode[T any](t *testing.T, text string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return v
}

// TestAuditOfAMesh asks every question of the history of a real mesh, with an account
// that may do no more than read it, by every way.
func TestAuditOfAMesh(t *testing.T) {
	together(t)
	p := livePast(t)
	p.garbage(t)
	kept := filepath.Join(p.dir, "kept.jsonl")
	_, said := p.audit(t, "export", kept)
	if !strings.Contains(said, "sha256") {
		t.Errorf("export says %q", said)
	}
	archived := filepath.Join(p.dir, "archive")
	p.audit(t, "archive", "--to", archived)
	p.audit(t, "archive", "--to", archived) // again: nothing to add
	ways := map[string][]string{
		"stream": nil, "http": {"--server", "http://" + p.http}, "export": {"--from-file", kept}, "archive": {"--archive", archived},
		"both": {"--archive", archived, "--nats", p.reader},
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) { p.questions(t, way) })
	}
	t.Run("resolve --at", p.resolvesPast)
	t.Run("replay", p.replays)
	t.Run("incident", p.tellsIncident)
	t.Run("bad questions", p.refuses)
	t.Run("bounds of HTTP", p.bounds)
	t.Run("only reads", p.mayOnlyRead)
	t.Run("the document", p.documented)
}

// questions asks what has an answer by every way.
func (p *past) questions(t *testing.T, way []string) {
	t.Helper()
	for what, want := range p.answered {
		out, _ := p.audit(t, append([]string{"resolve", checkout, "--at", p.moments[what], "-o", "json"}, way...)...)
		r := decode[resolution](t, out)
		slices.Sort(want)
		if !r.Past || r.RCode != "NOERROR" || !slices.Equal(r.addresses(), want) {
			t.Errorf("%s: the past answers %+v, but %v was answered", what, r, want)
		}
		for _, why := range r.Why {
			if why.Cluster == "bronze" && (why.In != slices.Contains(want, bronzeGateway) || what == "drained" && why.Order == "") {
				t.Errorf("%s: of bronze it says %+v", what, why)
			}
		}
	}
	type entries struct {
		Entries []struct {
			Sequence                 uint64
			Kind, Cluster, By, About string
			Changes                  []struct{ What, Name, Change string }
		}
	}
	out, _ := p.audit(t, append([]string{"log", "--cluster", "bronze", "--since", p.moments["begun"], "--until", p.moments["healed"], "--kind", "change", "-o", "json"}, way...)...)
	log := decode[entries](t, out).Entries
	if len(log) != 2 || log[0].Kind != "change" || len(log[0].Changes) != 1 || log[0].Changes[0].Name != "i1" && log[0].Changes[0].Name != first.id {
		t.Errorf("the log of bronze's failure is %+v", log)
	}
	out, said := p.audit(t, append([]string{"log", "--limit", "1000", "-o", "json"}, way...)...)
	kinds := map[string]int{}
	for _, e := range decode[entries](t, out).Entries {
		kinds[e.Kind]++
	}
	if kinds["order"] < 1 || kinds["takeover"] < 2 || kinds["unreadable"] != 1 || !strings.Contains(said, "1 message can't be read") {
		t.Errorf("the log has %v and says %q", kinds, said)
	}
	out, _ = p.audit(t, append([]string{"diff", p.moments["begun"], p.moments["failed"], "default/checkout", "-o", "json"}, way...)...)
	type difference struct {
		Differences []struct{ What, Change, Cluster, Name string }
	}
	if d := decode[difference](t, out).Differences; !slices.ContainsFunc(d, func(one struct{ What, Change, Cluster, Name string }) bool {
		return one.What == "instance" && one.Change == "changed" && one.Cluster == "bronze"
	}) {
		t.Errorf("diff gives %+v", d)
	}
	out, _ = p.audit(t, append([]string{"at", p.moments["failed"], "default/checkout"}, way...)...)
	for _, part := range []string{"the registry as it stood at", "bronze", "no instance is passing", "critical"} {
		if !strings.Contains(out, part) {
			t.Errorf("at lacks %q:\n%s", part, out)
		}
	}
	out, _ = p.audit(t, append([]string{"blame", "default/checkout"}, way...)...)
	for _, part := range []string{"gateway", "gw-1", "instance", first.id, "amber", "bronze", "yes"} {
		if !strings.Contains(out, part) {
			t.Errorf("blame lacks %q:\n%s", part, out)
		}
	}
}

// resolvesPast asks by the command that everybody knows.
func (p *past) resolvesPast(t *testing.T) {
	for _, way := range [][]string{nil, {"--server", "http://" + p.http}} {
		out, said, code := p.try(t, append([]string{"resolve", checkout, "--at", p.moments["failed"]}, way...)...)
		if code != 0 || !strings.Contains(out, "the past") || !strings.Contains(out, amberGateway) || strings.Contains(out, bronzeGateway) {
			t.Errorf("resolve --at exits with %d: %s%s", code, out, said)
		}
	}
	var r resolution
	question := url.Values{"name": {checkout}, "at": {p.moments["failed"]}}
	if err := get("http://"+p.http+"/v1/resolve?"+question.Encode(), &r); err != nil || !slices.Equal(r.addresses(), []string{amberGateway}) {
		t.Errorf("/v1/resolve?at= gives %+v, %v", r, err)
	}
}

// replays points a client at the past.
func (p *past) replays(t *testing.T) {
	out, said := p.audit(t, "replay", "--from", p.moments["begun"], "--to", p.moments["healed"], "--speed", "max", "--exit", "-o", "json")
	result := decode[struct {
		Events, Unusable int
		Sequence         uint64
	}](t, out)
	if result.Events < 2 || !strings.Contains(said, "is reached") {
		t.Errorf("replay gives %+v and says %s", result, said)
	}
	ports, err := servers.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", ports[0])
	command := exec.Command(filepath.Join(dir, "seamark"), "audit", "replay", "--from", p.moments["begun"], "--to", p.moments["failed"], "--speed", "max", "--dns", address)
	command.Env = append(os.Environ(), "SEAMARK_NATS_URL="+p.reader)
	var text bytes.Buffer
	command.Stdout, command.Stderr = &text, &text
	dieWithParent(command)
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	client := &mesh{dns: address}
	client.answers(t, checkout, "A", amberGateway)
	if a, err := ask.Ask(t.Context(), p.dns, "mesh.internal.", "SOA"); err != nil || a.RCode != "NOERROR" {
		t.Errorf("the mesh itself: %+v, %v", a, err)
	}
	if err := command.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := command.Wait(); err != nil {
		t.Errorf("an interrupted replay: %v\n%s", err, text.String())
	}
}

func (p *past) tellsIncident(t *testing.T) {
	out, _ := p.audit(t, "incident", "--around", p.moments["failed"], "--window", "20m")
	for _, part := range []string{"# What happened around", "## Timeline", "| order |", "kernel update", "| default/checkout |", bronzeGateway, "| unreadable |", "| takeover |", "drain of bronze"} {
		if !strings.Contains(out, part) {
			t.Errorf("the report lacks %q:\n%s", part, out)
		}
	}
	// Between these moments nothing was said of any service: a cluster was drained.
	drained, err := time.Parse(time.RFC3339Nano, p.moments["drained"])
	if err != nil {
		t.Fatal(err)
	}
	healed, err := time.Parse(time.RFC3339Nano, p.moments["healed"])
	if err != nil {
		t.Fatal(err)
	}
	out, _ = p.audit(t, "incident", "--around", p.moments["drained"], "--window", (2 * drained.Sub(healed)).String())
	for _, part := range []string{"| changes of registries and configurations | 0 |", "| orders of operators | 1 |", "| default/checkout | " + amberGateway + ", " + bronzeGateway + " |", "| default/beside |"} {
		if !strings.Contains(out, part) {
			t.Errorf("the report of the drain lacks %q:\n%s", part, out)
		}
	}
}

// refuses: nonsense, the future and what was before get one sentence each, by all ways.
func (p *past) refuses(t *testing.T) {
	for name, question := range map[string]struct {
		arguments []string
		code      int
		says      string
	}{
		"nonsense":          {[]string{"audit", "at", "noonish"}, 2, "noonish"},
		"future":            {[]string{"audit", "at", "2199-01-01"}, 1, "future"},
		"sequence to come":  {[]string{"audit", "at", "#99999999"}, 1, "99999999"},
		"before":            {[]string{"audit", "at", "2001-01-01"}, 1, "earliest"},
		"unknown service":   {[]string{"audit", "at", "now", "default/nobody"}, 1, "no cluster knew it"},
		"no service":        {[]string{"audit", "blame", "a/b/c/ "}, 2, "service"},
		"kind":              {[]string{"audit", "log", "--kind", "changes"}, 2, "changes"},
		"format":            {[]string{"audit", "at", "now", "-o", "cloudevents"}, 2, "table, json, yaml"},
		"speed":             {[]string{"audit", "replay", "--from", "now", "--speed", "fast"}, 2, "10x"},
		"backwards":         {[]string{"audit", "diff", "now", "#2"}, 2, "earlier"},
		"no file":           {[]string{"audit", "log", "--from-file", filepath.Join(p.dir, "none.jsonl")}, 1, "none.jsonl"},
		"no archive":        {[]string{"audit", "log", "--archive", p.dir}, 1, "archive"},
		"follow by HTTP":    {[]string{"audit", "log", "--follow", "--server", "http://" + p.http}, 2, "--nats"},
		"future by HTTP":    {[]string{"audit", "at", "2199-01-01", "--server", "http://" + p.http}, 1, "future"},
		"before, by HTTP":   {[]string{"audit", "at", "2001-01-01", "--server", "http://" + p.http}, 1, "earliest"},
		"incident nowhere":  {[]string{"audit", "incident"}, 2, "--around"},
		"events by HTTP":    {[]string{"audit", "log", "-o", "cloudevents", "--server", "http://" + p.http}, 1, "--nats"},
		"name that is none": {[]string{"audit", "resolve", "..", "--at", "now"}, 2, "no domain name"},
	} {
		out, said, code := p.try(t, question.arguments...)
		if code != question.code || !strings.Contains(said, question.says) || out != "" {
			t.Errorf("%s: exits with %d (want %d), says %q (want %q), prints %q", name, code, question.code, said, question.says, out)
		}
	}
}

// bounds: what HTTP refuses has its status and a sentence.
func (p *past) bounds(t *testing.T) {
	for path, want := range map[string]int{
		"/v1/audit/log?limit=0":                     http.StatusBadRequest,
		"/v1/audit/log?limit=10001":                 http.StatusBadRequest,
		"/v1/audit/log?newest=perhaps":              http.StatusBadRequest,
		"/v1/audit/log?kind=changes":                http.StatusBadRequest,
		"/v1/audit/log?cluster=A":                   http.StatusBadRequest,
		"/v1/audit/log?services=x":                  http.StatusBadRequest,
		"/v1/audit/at?at=noonish":                   http.StatusBadRequest,
		"/v1/audit/at?at=2001-01-01":                http.StatusGone,
		"/v1/audit/at?at=2199-01-01":                http.StatusBadRequest,
		"/v1/audit/at?at=%2399999999":               http.StatusBadRequest,
		"/v1/audit/log?until=2199-01-01":            http.StatusBadRequest,
		"/v1/audit/log?since=%2399999999":           http.StatusBadRequest,
		"/v1/audit/diff?from=%231&to=2199-01-01":    http.StatusBadRequest,
		"/v1/audit/blame?service=x&at=2199-01-01":   http.StatusBadRequest,
		"/v1/audit/resolve?at=now&name=" + checkout: http.StatusOK,
		"/v1/audit/log?since=1h%20ago":              http.StatusOK,
		"/v1/audit/at?service=default/nobody":       http.StatusNotFound,
		"/v1/audit/diff":                            http.StatusBadRequest,
		"/v1/audit/blame":                           http.StatusBadRequest,
		"/v1/audit/resolve":                         http.StatusBadRequest,
		"/v1/audit/nothing":                         http.StatusNotFound,
		"/v1/audit/log?limit=2":                     http.StatusOK,
		"/v1/audit/at?limit=1":                      http.StatusOK,
		"/v1/audit/diff?from=%231&to=%235":          http.StatusOK,
		"/v1/audit/blame?service=checkout":          http.StatusOK,
		"/v1/audit/resolve?name=" + checkout:        http.StatusOK,
		"/v1/resolve?at=noonish&name=" + checkout:   http.StatusBadRequest,
	} {
		reply, err := http.Get("http://" + p.http + path)
		if err != nil {
			t.Fatal(err)
		}
		var body map[string]any
		err = json.NewDecoder(reply.Body).Decode(&body)
		_ = reply.Body.Close()
		if reply.StatusCode != want || err != nil || want != http.StatusOK && body["detail"] == "" {
			t.Errorf("%s gives %d, want %d: %v, %v", path, reply.StatusCode, want, body, err)
		}
	}
}

// mayOnlyRead: the account that all of this was asked with can change nothing.
func (p *past) mayOnlyRead(t *testing.T) {
	for _, arguments := range [][]string{{"drain", "amber", "--reason", "r", "--force"}, {"streams", "apply"}} {
		if out, said, code := p.try(t, arguments...); code == 0 {
			t.Errorf("%v succeeds with the rights of an auditor: %s%s", arguments, out, said)
		}
	}
}
