package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/seamark-mesh/seamark/e2e/servers"
	"github.com/seamark-mesh/seamark/registry/stream"
)

// site is where one measurement takes place: its servers and daemons, which end
// with it, the last started first. One goroutine owns it.
type site struct {
	*ground
	name     string
	dir      string
	versions map[string]string
	ends     []func() error

	nats *servers.NATSServer
	link string // URL of NATS as the daemons see it
	dns  string // host:port of global-dns
	http string // host:port of its HTTP interface

	// Where global-dns is compared with other servers:
	serving       *daemon
	servingConfig string
	readyAfter    time.Duration // its latest start
}

func (g *ground) newSite(name string) (*site, error) {
	s := &site{ground: g, name: name, dir: filepath.Join(g.dir, name)}
	return s, os.MkdirAll(s.dir, 0o755)
}

func (s *site) say(format string, args ...any) { s.progress.printf(s.name+": "+format, args...) }

func (s *site) atEnd(f func() error) { s.ends = append(s.ends, f) }

// close ends everything and removes what it wrote.
func (s *site) close() error {
	var all []error
	for n := len(s.ends) - 1; n >= 0; n-- {
		all = append(all, s.ends[n]())
	}
	s.ends = nil
	return errors.Join(append(all, os.RemoveAll(s.dir))...)
}

// folder makes a folder for one server.
func (s *site) folder(name string) (string, error) {
	dir := filepath.Join(s.dir, name)
	return dir, os.MkdirAll(dir, 0o755)
}

// startNATS starts the server, and what holds back what it sends.
func (s *site) startNATS(ctx context.Context) error {
	dir, err := s.folder("nats")
	if err != nil {
		return err
	}
	if s.nats, err = servers.StartNATS(ctx, dir, servers.NATSConfig{}); err != nil {
		return err
	}
	s.atEnd(s.nats.Kill)
	var about struct{ Version string }
	if err := get(ctx, s.nats.Monitor+"/varz", &about); err != nil {
		return err
	}
	s.versions["NATS"] = about.Version
	s.link = s.nats.URL
	if s.options.hold == 0 {
		return nil
	}
	at, err := url.Parse(s.nats.URL)
	if err != nil {
		return err
	}
	held, err := s.holdBack(at.Host)
	s.link = "nats://" + held
	return err
}

// connect connects bench itself to NATS, past everything that holds back.
func (s *site) connect(ctx context.Context) (*stream.Conn, error) {
	conn, err := stream.Connect(ctx, stream.ConnectConfig{Servers: []string{s.nats.URL}, Name: "bench", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	s.atEnd(func() error { conn.Close(); return nil })
	return conn, nil
}

// configureGlobalDNS writes the configuration, with what the sections zone and dns have
// besides the name and the address, and returns its path.
func (s *site) configureGlobalDNS(zone, dns map[string]any, more ...map[string]any) (string, error) {
	ports, err := servers.FreePorts(2)
	if err != nil {
		return "", err
	}
	s.dns, s.http = fmt.Sprintf("127.0.0.1:%d", ports[0]), fmt.Sprintf("127.0.0.1:%d", ports[1])
	zone["name"], dns["listen"] = "mesh.internal.", []string{s.dns}
	config := map[string]any{
		"zone": zone, "dns": dns, "http": s.http,
		"nats": map[string]any{"servers": []string{s.link}},
	}
	for _, sections := range more {
		maps.Copy(config, sections)
	}
	return s.write("global-dns.yaml", config)
}

// records counts the services that global-dns knows, once for each cluster.
func (s *site) records(ctx context.Context) (known int, err error) {
	var all struct{ Clusters []struct{ Services int } }
	if err := get(ctx, "http://"+s.http+"/v1/clusters", &all); err != nil {
		return 0, err
	}
	for _, c := range all.Clusters {
		known += c.Services
	}
	return known, nil
}

// startGlobalDNS starts global-dns and waits until it is ready. More are further sections
// of its configuration.
func (s *site) startGlobalDNS(ctx context.Context, more ...map[string]any) error {
	config, err := s.configureGlobalDNS(map[string]any{}, map[string]any{}, more...)
	if err != nil {
		return err
	}
	d, err := s.startDaemon(filepath.Join(s.programs, "global-dns"), nil, "--config", config)
	if err != nil {
		return err
	}
	s.atEnd(d.stop)
	return s.eventually(ctx, 30*time.Second, d, func() error { return get(ctx, "http://"+s.http+"/readyz", nil) })
}

// startAgent starts the agent of a cluster and waits until it has published all. More are
// further sections of its configuration.
func (s *site) startAgent(ctx context.Context, cluster string, source map[string]any, more ...map[string]any) (*daemon, error) {
	ports, err := servers.FreePorts(1)
	if err != nil {
		return nil, err
	}
	address := fmt.Sprintf("127.0.0.1:%d", ports[0])
	content := map[string]any{
		"cluster": cluster,
		"nats":    map[string]any{"servers": []string{s.link}},
		"source":  source,
		"gateways": map[string]any{"static": []any{map[string]any{
			"name": "gw-1", "addresses": []string{gatewayAddress}, "ports": map[string]int{"http": 8080},
			"probe": map[string]any{"kind": "none"}, // nobody is there
		}}},
		"http": address,
	}
	for _, sections := range more {
		maps.Copy(content, sections)
	}
	config, err := s.write(cluster+".yaml", content)
	if err != nil {
		return nil, err
	}
	d, err := s.startDaemon(filepath.Join(s.programs, "edge-sync"), nil, "--config", config)
	if err != nil {
		return nil, err
	}
	s.atEnd(d.stop)
	return d, s.eventually(ctx, time.Minute, d, func() error { return get(ctx, "http://"+address+"/readyz", nil) })
}

// gatewayAddress is what the services are answered with.
const gatewayAddress = "198.51.100.1"

func (s *site) write(name string, content any) (string, error) {
	text, err := yaml.Marshal(content)
	if err != nil {
		return "", err
	}
	path := filepath.Join(s.dir, name)
	return path, os.WriteFile(path, text, 0o600)
}

// eventually repeats check until it succeeds. A daemon that has ended never will;
// nil for none.
func (s *site) eventually(ctx context.Context, within time.Duration, d *daemon, check func() error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("not within %v", within))
	defer cancel()
	for {
		err := check()
		if err == nil {
			return nil
		}
		if d != nil && d.hasEnded() {
			return fmt.Errorf("%s ended; the end of its log:\n%s", d.name, d.logTail())
		}
		if !pause(ctx, 10*time.Millisecond) {
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}

// get reads JSON from url into v; nil: only the status counts.
func get(ctx context.Context, url string, v any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	reply, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	body, err := io.ReadAll(reply.Body)
	switch {
	case err != nil:
		return err
	case reply.StatusCode != http.StatusOK:
		return fmt.Errorf("%s: %s %s", url, reply.Status, body)
	case v == nil:
		return nil
	}
	return json.Unmarshal(body, v)
}

// pause waits; false means that ctx has ended.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// version finds a version in a text; "unknown" when there is none.
func version(text string) string {
	if v := regexp.MustCompile(`\d+\.\d+\.\d+\S*`).FindString(text); v != "" {
		return strings.Trim(v, `"',`)
	}
	return "unknown"
}
