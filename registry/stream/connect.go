package stream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// ConnectConfig says where NATS is and who we are.
type ConnectConfig struct {
	Servers     []string // nats:// or tls:// URLs; any one of them will do
	Name        string   // shown in the server's connection list
	Credentials string   // file with a JWT and its seed; read again on every reconnect
	CA          string   // PEM file; read again on every reconnect
	Cert, Key   string   // PEM files of a client certificate; read again on every reconnect
	InboxPrefix string   // of the subjects for answers, where the server allows only certain ones; "" = _INBOX
	Logger      *slog.Logger

	// Gather, when above 0, is the time between two reads of the connection while small
	// messages come more often than that for long: they are then taken together, which
	// saves much processor time. Single ones, and short bursts, are read as they come.
	// It is for who only reads: it delays the server's answers, too.
	Gather time.Duration

	// Waits, when set, is told once that no server could be reached at the first attempt, and
	// why as far as it is known; nil: refused. [Connect] calls it, and goes on trying.
	Waits func(err error)

	// InProcess, when set, is an embedded server that is spoken to without a
	// socket; Servers is then not used.
	InProcess nats.InProcessConnProvider
}

// Bounds of waiting.
const (
	requestTimeout = 5 * time.Second // for one answer of the server
	dialTimeout    = 2 * time.Second
	pingInterval   = 2 * time.Second // two unanswered: a dead connection is noticed after 6 s
)

// errDisconnected ends requests whose answer can't come any more. The server may
// have carried them out.
var errDisconnected = errors.New("the connection to NATS was lost before the answer came")

// Conn is a connection to NATS that mends itself for as long as it is open. All
// its methods may be called by any number of goroutines.
type Conn struct {
	nats *nats.Conn
	js   jetstream.JetStream
	log  *slog.Logger
	name string

	closed     chan struct{} // closed with the connection
	contact    contact
	violations violations             // since the last reconnect
	signer     atomic.Pointer[Signer] // nil: nothing is signed
	check      atomic.Pointer[Check]  // nil: nothing is refused for its signature

	mu          sync.Mutex // guards the fields below
	reconnected chan struct{}
	waiting     map[*func(error)]struct{} // requests that end when the connection is lost
	replicas    map[string]int            // of a stream, as learnt since the last reconnect
}

// Connect opens a connection. It waits for the first one only as long as ctx
// lasts, and then returns the last error; from then on it reconnects for ever.
// Files that can't be read are an error at once.
func Connect(ctx context.Context, config ConnectConfig) (*Conn, error) {
	options, err := config.options()
	if err != nil {
		return nil, fmt.Errorf("nats: %w", err)
	}
	c := &Conn{
		log: config.Logger, name: config.Name, reconnected: make(chan struct{}), closed: make(chan struct{}),
		waiting: map[*func(error)]struct{}{}, replicas: map[string]int{},
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	first := make(chan struct{})
	var once sync.Once
	options = append(options,
		nats.ConnectHandler(func(*nats.Conn) { once.Do(func() { close(first) }) }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { c.lost(err) }),
		nats.ReconnectHandler(func(*nats.Conn) { c.back() }),
		nats.ClosedHandler(func(*nats.Conn) { c.lost(nats.ErrConnectionClosed); close(c.closed) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			c.violations.add(err)
			c.log.Warn("nats reports an error", "err", err)
		}),
	)
	if c.nats, err = nats.Connect(strings.Join(config.Servers, ","), options...); err != nil {
		return nil, fmt.Errorf("nats: connect to %s: %w", strings.Join(config.Servers, ", "), err)
	}
	if c.js, err = jetstream.New(c.nats); err != nil {
		c.nats.Close()
		return nil, fmt.Errorf("nats: jetstream: %w", err)
	}
	if c.nats.IsConnected() {
		return c, nil
	}
	if config.Waits != nil {
		config.Waits(c.nats.LastError())
	}
	select {
	case <-first:
		return c, nil
	case <-ctx.Done():
		err := c.nats.LastError()
		c.nats.Close()
		return nil, fmt.Errorf("nats: connect to %s: %w", strings.Join(config.Servers, ", "), errors.Join(ctx.Err(), err))
	}
}

// options translates the configuration, and tries every file once.
func (c ConnectConfig) options() ([]nats.Option, error) {
	options := []nats.Option{
		nats.Name(c.Name),
		nats.Timeout(dialTimeout),
		nats.MaxReconnects(-1),
		nats.RetryOnFailedConnect(true),
		nats.CustomReconnectDelay(reconnectDelay),
		nats.PingInterval(pingInterval),
		nats.ReconnectBufSize(-1), // what could not be sent is an error, never a late surprise
		nats.IgnoreAuthErrorAbort(),
	}
	if c.InboxPrefix != "" {
		options = append(options, nats.CustomInboxPrefix(c.InboxPrefix))
	}
	if c.InProcess != nil {
		options = append(options, nats.InProcessServer(c.InProcess))
	} else if len(c.Servers) == 0 {
		return nil, errors.New("no server is given; for example nats://127.0.0.1:4222")
	}
	if c.Gather > 0 {
		options = append(options, nats.SetCustomDialer(&gatherer{net.Dialer{Timeout: dialTimeout}, c.Gather}))
	}
	if c.Credentials != "" {
		if _, err := os.ReadFile(c.Credentials); err != nil {
			return nil, fmt.Errorf("credentials: %w", err)
		}
		options = append(options, nats.UserCredentials(c.Credentials))
	}
	if (c.Cert == "") != (c.Key == "") {
		return nil, errors.New("a client certificate needs both cert and key")
	}
	if c.CA == "" && c.Cert == "" {
		return options, nil
	}
	if _, err := c.roots(); err != nil {
		return nil, err
	}
	var certificate nats.TLSCertHandler
	if c.Cert != "" {
		if _, err := c.certificate(); err != nil {
			return nil, err
		}
		certificate = c.certificate
	}
	return append(options, nats.Secure(&tls.Config{MinVersion: tls.VersionTLS12}),
		nats.ClientTLSConfig(certificate, c.roots)), nil
}

// roots reads the authorities that are trusted; nil means the system's.
func (c ConnectConfig) roots() (*x509.CertPool, error) {
	if c.CA == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(c.CA)
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("ca: %s holds no PEM certificate", c.CA)
	}
	return pool, nil
}

func (c ConnectConfig) certificate() (tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
	if err != nil {
		return pair, fmt.Errorf("client certificate: %w", err)
	}
	return pair, nil
}

// Close ends the connection and whatever still waits on it.
func (c *Conn) Close() { c.nats.Close() }

// Connected reports whether a server is connected now.
func (c *Conn) Connected() bool { return c.nats.IsConnected() }

// NATS returns the connection beneath, for what this package does not cover.
func (c *Conn) NATS() *nats.Conn { return c.nats }

// Reconnected returns a channel that is closed at the next reconnect. Take it
// before you look at what a reconnect could change.
func (c *Conn) Reconnected() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reconnected
}

// lost ends the requests that wait for an answer.
func (c *Conn) lost(err error) {
	c.mu.Lock()
	waiting := c.waiting
	c.waiting = map[*func(error)]struct{}{}
	c.mu.Unlock()
	for end := range waiting {
		(*end)(errDisconnected)
	}
	if !c.nats.IsClosed() {
		c.log.Warn("nats disconnected", "err", err)
	}
}

func (c *Conn) back() {
	c.log.Info("nats reconnected", "server", c.nats.ConnectedUrlRedacted())
	c.violations.forget()
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.reconnected)
	c.reconnected = make(chan struct{})
	clear(c.replicas)
}

// request sends one message and waits for its answer: at most requestTimeout, and
// not beyond the loss of the connection.
func (c *Conn) request(ctx context.Context, m *nats.Msg) (*nats.Msg, error) {
	ctx, stop := c.bound(ctx)
	defer stop()
	answer, err := c.nats.RequestMsgWithContext(ctx, m)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return nil, err
	}
	return answer, nil
}

// bound returns a context that ends after requestTimeout, or with errDisconnected
// as its cause when the connection is lost.
func (c *Conn) bound(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	ctx, stop := context.WithTimeout(ctx, requestTimeout)
	end := (func(error))(cancel)
	c.mu.Lock()
	c.waiting[&end] = struct{}{}
	c.mu.Unlock()
	return ctx, func() {
		c.mu.Lock()
		delete(c.waiting, &end)
		c.mu.Unlock()
		stop()
		cancel(nil)
	}
}
