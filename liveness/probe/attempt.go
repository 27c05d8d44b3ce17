package probe

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/textproto"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"

	"github.com/seamark-mesh/seamark/registry"
)

// plan says how one gateway is probed. It is comparable.
type plan struct {
	kind   string
	port   uint16
	path   string
	host   string // "": the address
	status int    // 0: any of 200 to 399
}

// planOf returns the plan for a gateway that [registry.CleanGateways] let pass; ok is
// false when there is nothing to probe.
func planOf(g registry.Gateway) (p plan, ok bool) {
	kind, port := g.ProbePort()
	if port == 0 {
		return plan{}, false
	}
	p = plan{kind: kind, port: uint16(port)}
	if g.Probe != nil && kind != registry.ProbeTCP {
		p.path, p.host, p.status = cmp.Or(g.Probe.Path, "/"), g.Probe.Host, g.Probe.Status
	} else if kind != registry.ProbeTCP {
		p.path = "/"
	}
	return p, true
}

const (
	maxAnswer  = 16 << 10 // bytes of an HTTP answer's head that are read
	maxInterim = 5        // answers 1xx before the real one
	maxError   = 200      // bytes of an error's text
)

// attempt probes one address. Path is how long the connection took to stand: one round
// trip, without what the gateway does then. It ends with ctx, whatever the other side does.
func attempt(ctx context.Context, address netip.Addr, p plan) (path time.Duration, err error) {
	target := netip.AddrPortFrom(address, p.port)
	dialer := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: false}, KeepAlive: -1}
	began := time.Now()
	conn, err := dialer.DialContext(ctx, "tcp", target.String())
	if err != nil {
		return 0, noWay(err, func() error { return look(ctx, target) })
	}
	path = time.Since(began)
	if t, ok := conn.(*net.TCPConn); ok {
		t.SetLinger(0) //nolint:errcheck // it only spares this machine a port that waits for a minute
	}
	defer conn.Close()
	if p.kind == registry.ProbeTCP {
		return path, nil
	}
	stop := context.AfterFunc(ctx, func() {
		conn.SetDeadline(time.Unix(1, 0)) //nolint:errcheck // only a closed connection refuses
	})
	defer stop()
	spoken := conn
	if p.kind == registry.ProbeHTTPS {
		spoken, err = secure(ctx, conn, p)
	}
	if err == nil {
		err = get(spoken, p, target)
	}
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	return path, err
}

// secure speaks TLS. Who answers is not the question here, only that somebody does.
func secure(ctx context.Context, conn net.Conn, p plan) (net.Conn, error) {
	name := p.host
	if host, _, err := net.SplitHostPort(name); err == nil {
		name = host
	}
	t := tls.Client(conn, &tls.Config{ServerName: name, InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}) //nolint:gosec // see above
	if err := t.HandshakeContext(ctx); err != nil {
		return conn, fmt.Errorf("tls: %w", err)
	}
	return t, nil
}

// get asks for the path and judges the status. Path and host have no spaces or control
// characters: registry.CleanGateways saw to it.
func get(conn net.Conn, p plan, target netip.AddrPort) error {
	host := p.host
	if host == "" {
		host = target.String()
		if p.kind == registry.ProbeHTTP && p.port == 80 || p.kind == registry.ProbeHTTPS && p.port == 443 {
			host = strings.TrimSuffix(host, ":"+strconv.Itoa(int(p.port)))
		}
	}
	_, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: seamark-probe\r\nAccept: */*\r\nConnection: close\r\n\r\n", p.path, host)
	if err != nil {
		return err
	}
	limited := &io.LimitedReader{R: conn, N: maxAnswer}
	status, err := readStatus(limited)
	switch {
	case err != nil && limited.N <= 0:
		return fmt.Errorf("no HTTP answer: no status within %d bytes", maxAnswer)
	case err != nil:
		return err
	case p.status == 0 && (status < 200 || status > 399):
		return fmt.Errorf("status %d, not one of 200 to 399", status)
	case p.status != 0 && status != p.status:
		return fmt.Errorf("status %d, not %d", status, p.status)
	}
	return nil
}

// readStatus reads no more than the status line; of interim answers (1xx) the headers too.
func readStatus(answer io.Reader) (int, error) {
	lines := textproto.NewReader(bufio.NewReader(answer))
	for range maxInterim {
		line, err := lines.ReadLine()
		if err != nil {
			return 0, fmt.Errorf("no HTTP answer: %w", err)
		}
		protocol, rest, _ := strings.Cut(line, " ")
		code, _, _ := strings.Cut(rest, " ")
		status, err := strconv.Atoi(code)
		if !strings.HasPrefix(protocol, "HTTP/1.") || err != nil || len(code) != 3 || status < 100 {
			return 0, fmt.Errorf("no HTTP answer: %.64q", line)
		}
		if status >= 200 || status == 101 {
			return status, nil
		}
		if _, err := lines.ReadMIMEHeader(); err != nil {
			return 0, fmt.Errorf("no HTTP answer: %w", err)
		}
	}
	return 0, errors.New("no HTTP answer: only interim ones")
}

// isLocal reports whether an error tells of what this machine lacks at the moment, and not
// of the gateway. That it has no way there is [errNoWay].
func isLocal(err error) bool {
	for _, lack := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL} {
		if errors.Is(err, lack) {
			return true
		}
	}
	return false
}

// explain says an error in a few printable words, fit for a report.
func explain(err error, target netip.AddrPort, timeout time.Duration) string {
	text := ""
	var number syscall.Errno
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		text = fmt.Sprintf("no answer within %v", timeout)
	case errors.As(err, &number):
		text = number.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		text = "the connection was closed before the answer"
	default:
		text = err.Error()
	}
	return clip(target.String() + ": " + strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return '.'
		}
		return r
	}, text))
}

// clip bounds an error's text.
func clip(text string) string {
	if len(text) > maxError {
		text = strings.ToValidUTF8(text[:maxError], "")
	}
	return text
}
