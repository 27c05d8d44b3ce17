package probe

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/seamark-mesh/seamark/registry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var loopback = netip.MustParseAddr("127.0.0.1")

// speaker is a listener that answers each connection with f.
func speaker(t *testing.T, f func(net.Conn)) (port uint16) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				f(conn)
			})
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return portOf(l.Addr())
}

func portOf(a net.Addr) uint16 { return netip.MustParseAddrPort(a.String()).Port() }

// try makes one attempt with the timeout that a worker gives it.
func try(t *testing.T, p plan, timeout time.Duration) (time.Duration, error) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), timeout)
	defer stop()
	return attempt(ctx, loopback, p)
}

func TestTCP(t *testing.T) {
	accepted := make(chan struct{}, 1)
	port := speaker(t, func(net.Conn) { accepted <- struct{}{} })
	path, err := try(t, plan{kind: registry.ProbeTCP, port: port}, 5*time.Second)
	if err != nil || path <= 0 || path > time.Second {
		t.Errorf("took %v, %v", path, err)
	}
	<-accepted
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	_, err = try(t, plan{kind: registry.ProbeTCP, port: portOf(l.Addr())}, 5*time.Second)
	if !errors.Is(err, syscall.ECONNREFUSED) || isLocal(err) {
		t.Errorf("nobody listens, and the error is %v", err)
	}
	said := explain(err, netip.MustParseAddrPort("192.0.2.1:80"), time.Second)
	if said != "192.0.2.1:80: connection refused" {
		t.Errorf("it is said as %q", said)
	}
}

// seen is what a gateway saw of a request.
type seen struct{ host, path, name, agent string }

func TestHTTP(t *testing.T) {
	requests := make(chan seen, 1)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect was followed") }))
	defer elsewhere.Close()
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := seen{host: r.Host, path: r.RequestURI, agent: r.UserAgent()}
		if r.TLS != nil {
			s.name = r.TLS.ServerName
		}
		requests <- s
		switch r.URL.Path {
		case "/redirect":
			http.Redirect(w, r, elsewhere.URL, http.StatusFound)
		case "/early":
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusNoContent)
		case "/broken":
			w.WriteHeader(http.StatusServiceUnavailable)
		case "/endless":
			for {
				if _, err := w.Write(make([]byte, 1<<16)); err != nil {
					return
				}
			}
		}
	})
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1") // is not used
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	plainServer, tlsServer := httptest.NewServer(handler), httptest.NewUnstartedServer(handler)
	tlsServer.Config.ErrorLog = nil
	tlsServer.StartTLS()
	defer plainServer.Close()
	defer tlsServer.Close()
	ports := map[string]uint16{registry.ProbeHTTP: portOf(plainServer.Listener.Addr()), registry.ProbeHTTPS: portOf(tlsServer.Listener.Addr())}
	for name, tt := range map[string]struct {
		plan plan
		host string // "": the address and the port
		fail string
	}{
		"usual":                   {plan{path: "/"}, "", ""},
		"host, path and query":    {plan{path: "/live?x=1", host: "gw.example.org"}, "gw.example.org", ""},
		"host with a port":        {plan{path: "/", host: "gw.example.org:8443"}, "gw.example.org:8443", ""},
		"a redirect is an answer": {plan{path: "/redirect"}, "", ""},
		"not the one expected":    {plan{path: "/redirect", status: 200}, "", "status 302, not 200"},
		"the one expected":        {plan{path: "/broken", status: 503}, "", ""},
		"broken":                  {plan{path: "/broken"}, "", "status 503, not one of 200 to 399"},
		"interim answers":         {plan{path: "/early", status: 204}, "", ""},
		"an endless body":         {plan{path: "/endless"}, "", ""},
	} {
		for _, kind := range []string{registry.ProbeHTTP, registry.ProbeHTTPS} {
			t.Run(name+", "+kind, func(t *testing.T) {
				p := tt.plan
				p.kind, p.port = kind, ports[kind]
				path, err := try(t, p, 5*time.Second)
				if (err == nil) != (tt.fail == "") || err != nil && err.Error() != tt.fail {
					t.Errorf("got %v, want %q", err, tt.fail)
				}
				if path <= 0 || path > time.Second {
					t.Errorf("the path is %v", path)
				}
				want := seen{host: tt.host, path: p.path, agent: "seamark-probe"}
				if want.host == "" {
					want.host = fmt.Sprintf("127.0.0.1:%d", p.port)
				} else if kind == registry.ProbeHTTPS {
					want.name = "gw.example.org"
				}
				if got := <-requests; got != want {
					t.Errorf("the gateway saw %+v, want %+v", got, want)
				}
			})
		}
	}
}

// Whatever a gateway does, an attempt ends in time, and its reason can be told.
func TestHostileGateways(t *testing.T) {
	read := func(c net.Conn) { bufio.NewReader(c).ReadString('\n') } //nolint:errcheck // it is a test's gateway
	until := func(c net.Conn) { io.Copy(io.Discard, c) }             //nolint:errcheck
	flood := func(c net.Conn, text string) {
		read(c)
		text = strings.Repeat(text, 1000)
		for {
			if _, err := c.Write([]byte(text)); err != nil {
				return
			}
		}
	}
	for name, tt := range map[string]struct {
		kind   string
		does   func(net.Conn)
		reason string
	}{
		"says nothing":        {registry.ProbeHTTP, func(c net.Conn) { read(c); until(c) }, "no answer within 300ms"},
		"says nothing in TLS": {registry.ProbeHTTPS, until, "no answer within 300ms"},
		"drips": {registry.ProbeHTTP, func(c net.Conn) {
			for {
				if _, err := c.Write([]byte("H")); err != nil {
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
		}, "no answer within 300ms"},
		"closes":                  {registry.ProbeHTTP, func(net.Conn) {}, ""},
		"closes in TLS":           {registry.ProbeHTTPS, func(net.Conn) {}, ""},
		"speaks something else":   {registry.ProbeHTTP, func(c net.Conn) { c.Write([]byte("SSH-2.0-x\x1b[31m\r\n")); read(c); until(c) }, `no HTTP answer: "SSH-2.0-x\x1b[31m"`}, //nolint:errcheck
		"speaks no TLS":           {registry.ProbeHTTPS, func(c net.Conn) { c.Write([]byte("HTTP/1.1 400 Bad\r\n\r\n")); until(c) }, ""},                                         //nolint:errcheck
		"a line without an end":   {registry.ProbeHTTP, func(c net.Conn) { flood(c, "HTTP/1.1 ") }, "no HTTP answer: no status within 16384 bytes"},
		"headers without an end":  {registry.ProbeHTTP, func(c net.Conn) { c.Write([]byte("HTTP/1.1 103 E\r\n")); flood(c, "a: b\r\n") }, "no HTTP answer: no status within 16384 bytes"}, //nolint:errcheck
		"only interim answers":    {registry.ProbeHTTP, func(c net.Conn) { flood(c, "HTTP/1.1 100 Continue\r\n\r\n") }, "no HTTP answer: only interim ones"},
		"a status of four digits": {registry.ProbeHTTP, func(c net.Conn) { flood(c, "HTTP/1.1 2000 OK\r\n\r\n") }, `no HTTP answer: "HTTP/1.1 2000 OK"`},
		"a negative status":       {registry.ProbeHTTP, func(c net.Conn) { flood(c, "HTTP/1.1 -20 OK\r\n\r\n") }, `no HTTP answer: "HTTP/1.1 -20 OK"`},
		"HTTP/2":                  {registry.ProbeHTTP, func(c net.Conn) { flood(c, "HTTP/2 200\r\n\r\n") }, `no HTTP answer: "HTTP/2 200"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			port := speaker(t, func(c net.Conn) {
				c.SetDeadline(time.Now().Add(10 * time.Second)) //nolint:errcheck
				tt.does(c)
			})
			timeout := 20 * time.Second
			if strings.HasPrefix(tt.reason, "no answer within") {
				timeout = 300 * time.Millisecond
			}
			began := time.Now()
			_, err := try(t, plan{kind: tt.kind, port: port, path: "/"}, timeout)
			if took := time.Since(began); err == nil || took > timeout+5*time.Second {
				t.Fatalf("%v after %v", err, took)
			}
			said := explain(err, netip.AddrPortFrom(loopback, port), timeout)
			if want := fmt.Sprintf("127.0.0.1:%d: %s", port, tt.reason); !strings.HasPrefix(said, want) {
				t.Errorf("it says %q, want %q", said, want)
			}
			readable(t, said)
		})
	}
}

// readable holds a reason to what readers of the stream take.
func readable(t *testing.T, reason string) {
	t.Helper()
	body, err := registry.EncodeProbeReport(registry.ProbeReport{
		Schema: registry.Schema, Vantage: "amber", Cluster: "bronze", Gateways: []registry.GatewayReport{{Name: "gw", Error: reason}},
	})
	if err == nil {
		_, err = registry.DecodeProbeReport(body)
	}
	if err != nil || len(reason) > maxError {
		t.Errorf("no reader takes %q (%d bytes): %v", reason, len(reason), err)
	}
}

func TestExplain(t *testing.T) {
	target := netip.MustParseAddrPort("[2001:db8::1]:443")
	for _, err := range []error{
		errors.New(strings.Repeat("ü", 300)), errors.New("a\x00\x1b[31m\u202e\u2028b\xff"), errors.New(""),
		context.DeadlineExceeded, os.ErrDeadlineExceeded, &net.OpError{Op: "dial", Err: &os.SyscallError{Err: syscall.EHOSTUNREACH}},
	} {
		readable(t, explain(err, target, time.Second))
	}
	for _, lack := range []error{syscall.EMFILE, fmt.Errorf("x: %w", &net.OpError{Err: os.NewSyscallError("connect", syscall.EADDRNOTAVAIL)})} {
		if !isLocal(lack) {
			t.Errorf("%v is held against the gateway", lack)
		}
	}
	for _, theirs := range []error{syscall.ECONNREFUSED, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.ECONNRESET, context.DeadlineExceeded} {
		if isLocal(theirs) {
			t.Errorf("%v is not held against the gateway", theirs)
		}
	}
}

// An attempt that is given up ends at once, in each of its stages.
func TestAttemptEndsWithItsContext(t *testing.T) {
	for _, kind := range []string{registry.ProbeHTTP, registry.ProbeHTTPS} {
		ctx, cancel := context.WithCancel(t.Context())
		port := speaker(t, func(c net.Conn) {
			cancel()
			c.Read(make([]byte, 1)) //nolint:errcheck
			for {
				if _, err := c.Read(make([]byte, 1024)); err != nil {
					return
				}
			}
		})
		began := time.Now()
		_, err := attempt(ctx, loopback, plan{kind: kind, port: port, path: "/"})
		if !errors.Is(err, context.Canceled) || time.Since(began) > 3*time.Second {
			t.Errorf("%s: %v after %v", kind, err, time.Since(began))
		}
	}
}

// A certificate that nobody would trust is no obstacle, and old TLS is none either way.
func TestCertificateIsNotVerified(t *testing.T) {
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS13}
	s.StartTLS()
	defer s.Close()
	if _, err := try(t, plan{kind: registry.ProbeHTTPS, port: portOf(s.Listener.Addr()), path: "/", host: "other.example.org", status: 404}, 5*time.Second); err != nil {
		t.Error(err)
	}
}

// Whatever comes in place of an answer, it gives a status or a reason that can be told.
func FuzzReadStatus(f *testing.F) {
	for _, answer := range []string{"HTTP/1.1 200 OK\r\n", "HTTP/1.1 103 E\r\na: b\r\n\r\nHTTP/1.0 204\r\n", "HTTP/1.1 -99\n", "\r\n", "HTTP/1.1 1e9 x\n"} {
		f.Add([]byte(answer))
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		status, err := readStatus(strings.NewReader(string(answer)))
		if err != nil {
			readable(t, explain(err, netip.AddrPortFrom(loopback, 80), time.Second))
		} else if status != 101 && status < 200 || status > 999 {
			t.Errorf("%q has status %d", answer, status)
		}
	})
}
