package compose

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/seamark-mesh/seamark/e2e/servers"
)

// The addresses that docker-compose.yml gives the gateways.
const amberGateway, bronzeGateway, cobaltGateway = "10.153.0.11", "10.153.0.12", "10.153.0.13"

// project is the compose project while it is up.
type project struct {
	*engine
	name   string
	client string         // the client's container
	ports  map[string]int // published ports, by the variable of docker-compose.yml
	http   http.Client
}

// up builds the images and brings all up. It is taken down with the test.
func up(t *testing.T, e *engine) *project {
	t.Helper()
	began := time.Now()
	step := func(what string) {
		t.Logf("%-28s %6.1fs", what, time.Since(began).Seconds())
		began = time.Now()
	}
	contexts := standIns(t)
	step("build contexts")
	p := &project{engine: e, name: fmt.Sprintf("seamark-e2e-%d", time.Now().UnixNano()%1e9), ports: make(map[string]int)}
	names := []string{"DNS_PORT", "API_PORT", "AMBER_CONSUL_PORT", "BRONZE_CONSUL_PORT", "NACOS_PORT"}
	free, err := servers.FreePorts(len(names))
	if err != nil {
		t.Fatal(err)
	}
	e.environ = append(slices.Clone(e.environ), "COMPOSE_PROJECT_NAME="+p.name, "STANDINS="+contexts,
		"DOCKER_BUILDKIT=0", "COMPOSE_DOCKER_CLI_BUILD=0", "COMPOSE_HTTP_TIMEOUT=300")
	for n, name := range names {
		p.ports[name] = free[n]
		e.environ = append(e.environ, fmt.Sprintf("%s=%d", name, free[n]))
	}
	p.http = http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DialContext: e.dial, DisableKeepAlives: true}}
	for _, image := range standInImages {
		p.must(t, "build", "standin-"+image)
	}
	p.must(t, "build", "global-dns", "amber-edge-sync", "bronze-edge-sync", "cobalt-edge-sync")
	step("images")
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Minute)
		defer cancel()
		if t.Failed() {
			logs, _ := p.do(ctx, "logs", "--no-color", "--tail", "40")
			t.Logf("%s", tail(logs, 40_000))
		}
		if _, err := p.do(ctx, "down", "--volumes", "--rmi", "all", "--timeout", "2"); err != nil {
			t.Error(err)
		}
	})
	p.must(t, "up", "--detach", "--no-build")
	p.client = p.container(t, "client", "{{.Id}}")
	step("up --detach")
	return p
}

// do runs compose with both files.
func (p *project) do(ctx context.Context, args ...string) (string, error) {
	files := []string{"-f", "docker-compose.yml", "-f", filepath.Join("e2e", "compose", "override.yml")}
	return p.run(ctx, slices.Concat(p.compose, files, args)...)
}

func (p *project) must(t *testing.T, args ...string) string {
	t.Helper()
	text, err := p.do(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// fetch is what the client container gets for a name, by its own resolver and plain HTTP.
func (p *project) fetch(t *testing.T, name string) (string, error) {
	text, err := p.run(t.Context(), "docker", "exec", p.client, "timeout", "5", "wget", "-q", "-O", "-", "http://"+name+":8080/")
	return strings.TrimSpace(text), err
}

// answer is what global-dns says of a name: the code and the A records, sorted.
func (p *project) answer(ctx context.Context, name string) (string, error) {
	conn, err := p.dial(ctx, "udp", fmt.Sprintf("127.0.0.1:%d", p.ports["DNS_PORT"]))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	question := new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.TypeA)
	client := dns.Client{Timeout: 2 * time.Second}
	reply, _, err := client.ExchangeWithConnContext(ctx, question, &dns.Conn{Conn: conn})
	if err != nil {
		return "", err
	}
	addresses := []string{}
	for _, rr := range reply.Answer {
		if a, ok := rr.(*dns.A); ok {
			addresses = append(addresses, a.A.String())
		}
	}
	slices.Sort(addresses)
	return strings.Join(append([]string{dns.RcodeToString[reply.Rcode]}, addresses...), " "), nil
}

// answers waits until global-dns says this.
func (p *project) answers(t *testing.T, limit time.Duration, name, want string) {
	t.Helper()
	took := eventually(t, limit, name+" answers "+want, func() error {
		got, err := p.answer(t.Context(), name)
		if err == nil && got != want {
			err = errors.New("it answers " + got)
		}
		return err
	})
	t.Logf("%s answers %q after %v", name, want, took.Round(time.Millisecond))
}

// stays holds, for as long, that global-dns gives each name one of the answers that it may have. It looks once at least.
func (p *project) stays(t *testing.T, long time.Duration, may map[string][]string) {
	t.Helper()
	for end := time.Now().Add(long); ; time.Sleep(50 * time.Millisecond) {
		for name, answers := range may {
			if got, err := p.answer(t.Context(), name); err != nil || !slices.Contains(answers, got) {
				t.Fatalf("%s answers %q (%v), and should stay at %q", name, got, err, answers)
			}
		}
		if !time.Now().Before(end) {
			return
		}
	}
}

// try runs the command of README that begins so, as it stands there, and returns what it printed.
func (p *project) try(t *testing.T, beginning string) string {
	t.Helper()
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(readme), "`docker compose "+beginning)
	rest, _, closed := strings.Cut(rest, "`")
	if !found || !closed {
		t.Fatalf("README has no command docker compose %s", beginning)
	}
	words := strings.Fields(beginning + rest)
	if words[0] == "exec" {
		words = slices.Insert(words, 1, "-T") // there is no terminal here
	}
	return strings.TrimSpace(p.must(t, words...))
}

// call makes a request to a published port and returns the answer's body; any status but 200 is an error.
func (p *project) call(t *testing.T, method, port, path, body string) string {
	t.Helper()
	url := fmt.Sprintf("http://127.0.0.1:%d%s", p.ports[port], path)
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	response, err := p.http.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %s %v: %s", method, url, response.Status, err, text)
	}
	return string(text)
}

// container returns a detail of a service's container, in the words of docker inspect's templates.
func (p *project) container(t *testing.T, service, format string) string {
	t.Helper()
	id := strings.TrimSpace(p.must(t, "ps", "--all", "--quiet", service))
	if id == "" {
		t.Fatalf("%s has no container", service)
	}
	text, err := p.run(t.Context(), "docker", "inspect", "--format", format, id)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(text)
}

// addresses returns those of a service's container in all networks that it stands on.
func (p *project) addresses(t *testing.T, service string) []netip.Addr {
	t.Helper()
	var all []netip.Addr
	for text := range strings.FieldsSeq(p.container(t, service, "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}")) {
		address, err := netip.ParseAddr(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, address)
	}
	return all
}

// eventually asks again until there is no error, and returns how long that took.
func eventually(t *testing.T, limit time.Duration, what string, ask func() error) time.Duration {
	t.Helper()
	began := time.Now()
	for {
		err := ask()
		took := time.Since(began)
		if err == nil {
			return took
		}
		if took > limit {
			t.Fatalf("after %v not yet: %s: %v", limit, what, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
