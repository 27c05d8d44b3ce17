package consul

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// laneStreams is how many watches share one HTTP/2 connection; Consul allows 250.
	laneStreams = 200
	// plainConnections is how many connections are opened over plain HTTP, where
	// each watch needs its own. Consul's default limit is 200 for all clients of
	// one address, and others on this host need some.
	plainConnections = 150
	// plainWatches is what of these the watches can have: not those of the start
	// and of a Read beside it.
	plainWatches = plainConnections - poolPlain - readPool
)

// address is a Consul agent's address.
type address struct {
	base   url.URL
	socket string // path of a unix socket; else empty
}

func parseAddress(s string) (address, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return address{}, fmt.Errorf("address %q is no URL: write http://host:port, https://host:port or unix:///path", s)
	case u.Scheme == "unix" && u.Host == "" && u.Path != "":
		return address{base: url.URL{Scheme: "http", Host: "localhost"}, socket: u.Path}, nil
	case (u.Scheme == "http" || u.Scheme == "https") && u.Host != "":
		return address{base: url.URL{Scheme: u.Scheme, Host: u.Host, Path: strings.TrimSuffix(u.Path, "/")}}, nil
	}
	return address{}, fmt.Errorf("address %q: write http://host:port, https://host:port or unix:///path", s)
}

// tls returns the settings for https.
func (c Config) tls() (*tls.Config, error) {
	settings := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("certificate authority: %w", err)
		}
		settings.RootCAs = x509.NewCertPool()
		if !settings.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("certificate authority: %s holds no PEM certificate", c.CAFile)
		}
	}
	if (c.CertFile == "") != (c.KeyFile == "") {
		return nil, errors.New("a client certificate needs both its certificate and its key")
	}
	if c.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("client certificate: %w", err)
		}
		settings.Certificates = []tls.Certificate{pair}
	}
	return settings, nil
}

func (c Config) token() (string, error) {
	switch {
	case c.Token != nil:
		return c.Token()
	case c.TokenFile != "":
		text, err := os.ReadFile(c.TokenFile)
		if err != nil {
			return "", fmt.Errorf("token: %w", err)
		}
		return strings.TrimSpace(string(text)), nil
	}
	return "", nil
}

// client holds the connections of one session or one Read. Reads share one pool;
// watches have lanes: over HTTP/2 one connection each for up to laneStreams
// watches, over plain HTTP one lane with a connection per watch. Its methods may
// be called by several goroutines.
type client struct {
	config    Config
	address   address
	tls       *tls.Config
	reads     *http.Client
	transport *http.Transport // of reads

	token    atomic.Value // string
	major    atomic.Int32 // of the HTTP version that Consul answered with
	acls     atomic.Bool  // Consul enforces ACLs
	refused  atomic.Bool  // Consul has refused a connection as one too many
	answered atomic.Bool  // Consul has answered a request

	mu     sync.Mutex // guards the fields below
	closed bool
	lanes  []*lane
	conns  map[net.Conn]struct{}
}

// lane is a transport and the number of watches on it.
type lane struct {
	http    *http.Client
	own     *http.Transport
	watches int
}

// connect prepares a client whose reads use at most so many connections over
// plain HTTP. It dials nothing yet.
func (s *Source) connect(reads int) (*client, error) {
	at, err := parseAddress(s.config.Address)
	if err != nil {
		return nil, err
	}
	settings, err := s.config.tls()
	if err != nil {
		return nil, err
	}
	c := &client{config: s.config, address: at, tls: settings, conns: make(map[net.Conn]struct{})}
	if err := c.renewToken(); err != nil {
		return nil, err
	}
	c.transport = c.newTransport()
	if c.secure() {
		c.transport.MaxConnsPerHost = 1
	} else {
		c.transport.MaxConnsPerHost = reads
		c.transport.MaxIdleConnsPerHost = reads
		c.transport.IdleConnTimeout = 5 * time.Second // after the start most are not needed
	}
	c.reads = newHTTP(c.transport)
	return c, nil
}

// secure reports whether the address is https.
func (c *client) secure() bool { return c.address.base.Scheme == "https" }

// multiplexed reports whether watches can share connections. It is known once a
// request has been answered.
func (c *client) multiplexed() bool { return c.secure() && c.major.Load() == 2 }

func (c *client) renewToken() error {
	token, err := c.config.token()
	if err != nil {
		return err
	}
	c.token.Store(token)
	return nil
}

func newHTTP(t *http.Transport) *http.Client {
	return &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// newTransport compresses nothing (on a local link that costs a quarter of the
// latency) and notices dead connections itself.
func (c *client) newTransport() *http.Transport {
	return &http.Transport{
		DialContext:         c.dial,
		TLSClientConfig:     c.tls.Clone(),
		TLSHandshakeTimeout: 10 * time.Second,
		ForceAttemptHTTP2:   true,
		DisableCompression:  true,
		HTTP2:               &http.HTTP2Config{SendPingTimeout: 10 * time.Second, PingTimeout: 10 * time.Second},
	}
}

// dial opens a connection and remembers it, so that close can end it whatever
// state its transport thinks it is in.
func (c *client) dial(ctx context.Context, network, target string) (net.Conn, error) {
	dialer := net.Dialer{
		Timeout:         5 * time.Second,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3},
	}
	if c.address.socket != "" {
		network, target = "unix", c.address.socket
	}
	conn, err := dialer.DialContext(ctx, network, target)
	if err != nil {
		return nil, err
	}
	tracked := &trackedConn{Conn: conn, client: c}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		_ = conn.Close()
		return nil, net.ErrClosed
	}
	c.conns[tracked] = struct{}{}
	return tracked, nil
}

type trackedConn struct {
	net.Conn
	client *client
}

// Read looks out for Consul's refusal. It may come before the request was sent,
// and the transport then only says that the connection broke.
func (t *trackedConn) Read(b []byte) (int, error) {
	n, err := t.Conn.Read(b)
	if bytes.HasPrefix(b[:n], []byte("HTTP/1.1 429 ")) {
		t.client.refused.Store(true)
	}
	return n, err
}

func (t *trackedConn) Close() error {
	t.client.mu.Lock()
	delete(t.client.conns, t)
	t.client.mu.Unlock()
	return t.Conn.Close()
}

// open returns a lane for one more watch, and what gives its place back.
func (c *client) open() (*http.Client, func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var free *lane
	for _, l := range c.lanes {
		if !c.multiplexed() || l.watches < laneStreams {
			free = l
			break
		}
	}
	if free == nil {
		t := c.newTransport()
		if c.multiplexed() {
			t.MaxConnsPerHost = 1
		} else {
			t.MaxConnsPerHost = plainWatches
			if c.config.Mode != ModeAuto { // whoever forces a mode has raised the limit
				t.MaxConnsPerHost = 0
			}
			t.MaxIdleConnsPerHost = 1 << 16 // between two queries each watch keeps its own
			t.IdleConnTimeout = time.Minute
		}
		free = &lane{http: newHTTP(t), own: t}
		c.lanes = append(c.lanes, free)
	}
	free.watches++
	return free.http, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		free.watches--
	}
}

// close ends every connection. All requests must have ended.
func (c *client) close() {
	c.mu.Lock()
	c.closed = true
	var open []net.Conn
	for conn := range c.conns {
		open = append(open, conn)
	}
	lanes := c.lanes
	c.mu.Unlock()
	c.transport.CloseIdleConnections()
	for _, l := range lanes {
		l.own.CloseIdleConnections()
	}
	for _, conn := range open {
		_ = conn.Close()
	}
}
