package doctor

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nkeys"
	"go.yaml.in/yaml/v3"

	"github.com/seamark-mesh/seamark/cmd/internal/config"
	"github.com/seamark-mesh/seamark/cmd/internal/zoneconfig"
	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
)

// readCredentials reads who a credentials file is of, and until when. The signature is
// the server's to check.
func readCredentials(path string) File {
	f := File{Path: path}
	if path == "" {
		return f
	}
	text, err := os.ReadFile(path)
	if err != nil {
		f.Err = err
		return f
	}
	token, err := nkeys.ParseDecoratedJWT(text)
	if err != nil {
		f.Err = err
		return f
	}
	parts := strings.Split(strings.TrimSpace(token), ".")
	if len(parts) != 3 {
		f.Err = errors.New("it holds no JWT")
		return f
	}
	body, err := base64.RawURLEncoding.DecodeString(parts[1])
	var claims struct {
		Name    string `json:"name"`
		Subject string `json:"sub"`
		Expires int64  `json:"exp"`
	}
	if err == nil {
		err = json.Unmarshal(body, &claims)
	}
	if err != nil {
		f.Err = fmt.Errorf("its JWT can't be read: %w", err)
		return f
	}
	if f.User = claims.Name; f.User == "" {
		f.User = claims.Subject
	}
	if claims.Expires > 0 {
		f.Expires = time.Unix(claims.Expires, 0)
	}
	return f
}

// certificates looks at what NATS and the readers that are asked over TLS show.
func (g *gathering) certificates(ctx context.Context) []Certificate {
	type place struct {
		url  string
		nats bool
	}
	places := []place{{g.options.NATS, true}}
	for _, s := range g.options.Servers {
		if strings.HasPrefix(s, "https:") {
			places = append(places, place{s, false})
		}
	}
	all := make([]Certificate, len(places))
	var wg sync.WaitGroup
	for n, p := range places {
		wg.Go(func() { all[n] = certificate(ctx, p.url, p.nats) })
	}
	wg.Wait()
	return all
}

func certificate(ctx context.Context, address string, nats bool) Certificate {
	where, err := hostPort(address)
	if err != nil {
		return Certificate{Where: address, Err: err}
	}
	scheme, _, _ := strings.Cut(address, "://")
	c := Certificate{Where: where}
	ctx, stop := context.WithTimeout(ctx, probeTimeout)
	defer stop()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", c.Where)
	if err != nil {
		c.Err = err
		return c
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if c.Err = conn.SetDeadline(deadline); c.Err != nil {
		return c
	}
	if nats && scheme != "wss" && scheme != "ws" {
		if c.NoTLS, c.Err = speaksPlain(conn); c.NoTLS || c.Err != nil {
			return c
		}
	} else if scheme == "ws" {
		c.NoTLS = true
		return c
	}
	secured := tls.Client(conn, &tls.Config{ServerName: host(where), InsecureSkipVerify: true}) //nolint:gosec // looked at, not trusted
	if err := secured.HandshakeContext(ctx); err != nil && len(secured.ConnectionState().PeerCertificates) == 0 {
		c.Err = err
		return c
	}
	c.Subject, c.Until = firstToEnd(secured.ConnectionState().PeerCertificates)
	return c
}

// hostPort returns where a server listens, by its URL.
func hostPort(address string) (string, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return "", fmt.Errorf("%q is no URL", address)
	}
	port := u.Port()
	if port == "" {
		if port = map[string]string{"https": "443", "wss": "443", "http": "80", "ws": "80"}[u.Scheme]; port == "" {
			port = "4222"
		}
	}
	return net.JoinHostPort(u.Hostname(), port), nil
}

func host(where string) string {
	name, _, _ := net.SplitHostPort(where) // hostPort made it
	return name
}

// speaksPlain reads what a NATS server says first, and whether TLS follows.
func speaksPlain(conn net.Conn) (bool, error) {
	line, err := bufio.NewReaderSize(conn, 64<<10).ReadSlice('\n') // nothing follows before we speak
	if err != nil {
		return false, fmt.Errorf("it does not say INFO, as NATS does: %w", err)
	}
	text, ok := strings.CutPrefix(string(line), "INFO ")
	var info struct {
		Required  bool `json:"tls_required"`
		Available bool `json:"tls_available"`
	}
	if !ok || json.Unmarshal([]byte(text), &info) != nil {
		return false, errors.New("it does not say INFO, as NATS does")
	}
	return !info.Required && !info.Available, nil
}

// firstToEnd returns the certificate of a chain that ends first.
func firstToEnd(chain []*x509.Certificate) (subject string, until time.Time) {
	for _, c := range chain {
		if until.IsZero() || c.NotAfter.Before(until) {
			subject, until = c.Subject.String(), c.NotAfter
		}
	}
	return subject, until
}

// config lets the daemon whose configuration it is check a file.
func (g *gathering) config(ctx context.Context, path string) Config {
	c := Config{Path: path}
	text, err := os.ReadFile(path)
	if err != nil {
		c.Err = err
		return c
	}
	c.Daemon = daemonOf(text)
	c.Credentials, c.Certificate = shownToNATS(path, text)
	program, err := beside(c.Daemon)
	if err != nil {
		c.Err = err
		return c
	}
	ctx, stop := context.WithTimeout(ctx, probeTimeout)
	defer stop()
	command := exec.CommandContext(ctx, program, "check", "--skip-files", "--config", path)
	command.Env = without(g.options.Environ, "SEAMARK_") // what is set here is not set there
	out, err := command.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() == 2:
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		c.Faults = lines[:max(len(lines)-1, 1)] // the last one counts them
	case err != nil:
		c.Err = fmt.Errorf("%s check: %w: %s", c.Daemon, err, strings.TrimSpace(string(out)))
	case c.Daemon == "global-dns":
		c.Zone, c.Streams = shaping(path, text)
	}
	return c
}

// daemonOf tells which daemon a configuration is for: an agent's names its cluster.
func daemonOf(text []byte) string {
	var d struct {
		Cluster, Source yaml.Node
	}
	if yaml.Unmarshal(text, &d) == nil && d.Cluster.IsZero() && d.Source.IsZero() {
		return "global-dns"
	}
	return "edge-sync"
}

// shaping reads what a valid configuration of global-dns says of the zone and the
// streams; nil where it can't be read here.
func shaping(path string, text []byte) (*registry.ZoneRecord, *stream.Settings) {
	zone, faults := zoneconfig.Load(path)
	if len(faults) > 0 {
		return nil, nil
	}
	var d struct {
		Streams struct {
			Replicas int           `yaml:"replicas"`
			Age      time.Duration `yaml:"history_age"`
			Bytes    string        `yaml:"history_bytes"`
		} `yaml:"streams"`
	}
	d.Streams.Replicas, d.Streams.Age, d.Streams.Bytes = 1, 720*time.Hour, "10GiB" // the defaults of global-dns
	var size config.Size
	if err := errors.Join(yaml.Unmarshal(text, &d), size.UnmarshalText([]byte(d.Streams.Bytes))); err != nil {
		return &zone, nil
	}
	return &zone, &stream.Settings{Replicas: d.Streams.Replicas, HistoryAge: d.Streams.Age, HistoryBytes: int64(size)}
}

// beside finds a daemon's program: beside this one, or on the path.
func beside(name string) (string, error) {
	if self, err := os.Executable(); err == nil {
		path := filepath.Join(filepath.Dir(self), name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return path, nil
		}
	}
	return exec.LookPath(name)
}

// without returns the environment without the variables of a prefix.
func without(environ []string, prefix string) []string {
	var rest []string
	for _, e := range environ {
		if !strings.HasPrefix(e, prefix) {
			rest = append(rest, e)
		}
	}
	return rest
}
