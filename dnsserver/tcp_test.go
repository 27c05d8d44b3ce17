package dnsserver

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/seamark-mesh/seamark/dnsserver/lookup"
	"github.com/seamark-mesh/seamark/registry"
)

// TestPipelining: ten thousand queries sent at once come back in order, each once.
func TestPipelining(t *testing.T) {
	s := start(t, Config{}, harbours())
	conn := s.dial(t, TCP)
	defer conn.Close()
	const queries = 10000
	sent := make(chan error, 1)
	go func() {
		var batch []byte
		for n := range queries {
			q := probe(uint16(n))
			batch = append(binary.BigEndian.AppendUint16(batch, uint16(len(q))), q...)
		}
		_, err := conn.Write(batch)
		sent <- err
	}()
	for n := range queries {
		if got := readStream(t, conn); binary.BigEndian.Uint16(got) != uint16(n) || got[3] != 0 {
			t.Fatalf("reply %d is %x", n, got[:12])
		}
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

// TestReplyBeforeNextQueryIsWhole: a reply does not wait for the rest of a later query.
func TestReplyBeforeNextQueryIsWhole(t *testing.T) {
	s := start(t, Config{}, harbours())
	conn := s.dial(t, TCP)
	defer conn.Close()
	q := probe(1)
	message := append([]byte{0, byte(len(q))}, q...)
	for cut := 1; cut < len(message); cut += 5 {
		if _, err := conn.Write(append(message, message[:cut]...)); err != nil {
			t.Fatal(err)
		}
		if got := readStream(t, conn); got[3] != 0 {
			t.Errorf("reply %x", got)
		}
		if _, err := conn.Write(message[cut:]); err != nil {
			t.Fatal(err)
		}
		if got := readStream(t, conn); got[3] != 0 {
			t.Errorf("reply %x", got)
		}
	}
}

// TestHalfClose: a client that will not ask again still gets its answers.
func TestHalfClose(t *testing.T) {
	s := start(t, Config{}, harbours())
	conn := s.dial(t, TCP)
	defer conn.Close()
	for n := range 3 {
		sendStream(t, conn, probe(uint16(n)))
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		if got := readStream(t, conn); binary.BigEndian.Uint16(got) != uint16(n) {
			t.Errorf("reply %x", got)
		}
	}
	awaitClose(t, conn)
}

// awaitClose returns once the server has closed a connection.
func awaitClose(t testing.TB, conn net.Conn) {
	t.Helper()
	n, err := io.Copy(io.Discard, conn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("the server keeps the connection (%d bytes came)", n)
	}
}

// TestIdle: a connection that brings no whole query in time is closed, whatever
// it brought instead.
func TestIdle(t *testing.T) {
	s := start(t, Config{Settings: Settings{Idle: 150 * time.Millisecond}}, harbours())
	for name, sent := range map[string]string{
		"nothing":            "",
		"half a length":      "\x00",
		"length 1":           "\x00\x01",
		"length 65535":       "\xff\xff",
		"most of a query":    "\x00\x20" + wireQuestion,
		"an answered query":  "\x00" + string(rune(len(probe(1)))) + string(probe(1)),
		"length 65535, some": "\xff\xff" + wireQuestion,
	} {
		t.Run(name, func(t *testing.T) {
			conn := s.dial(t, TCP)
			defer conn.Close()
			if _, err := conn.Write([]byte(sent)); err != nil {
				t.Fatal(err)
			}
			awaitClose(t, conn)
		})
	}
	s.seen.await(t, "tcp drop incomplete", 5)
	if got := s.seen.get("tcp drop incomplete"); got != 5 {
		t.Errorf("%d connections counted as incomplete, want 5: two were idle between queries", got)
	}
}

// TestSlowloris: a byte now and then does not extend the time for a query.
func TestSlowloris(t *testing.T) {
	s := start(t, Config{Settings: Settings{Idle: 200 * time.Millisecond}}, harbours())
	conn := s.dial(t, TCP)
	defer conn.Close()
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		_, _ = io.Copy(io.Discard, conn)
	}()
	q := probe(1)
	for n := 0; ; n++ {
		select {
		case <-closed:
			if n >= len(q) {
				t.Error("the whole query was sent before the server closed")
			}
			return
		case <-time.After(30 * time.Millisecond):
			b := append([]byte{0, byte(len(q))}, q...)
			_, _ = conn.Write(b[n%len(b) : n%len(b)+1])
		}
	}
}

func TestEmptyMessage(t *testing.T) {
	s := start(t, Config{}, harbours())
	conn := s.dial(t, TCP)
	defer conn.Close()
	sendStream(t, conn, nil)
	awaitClose(t, conn)
	s.seen.await(t, "tcp drop short", 1)
}

// TestNeverReads: a client that sends and never reads is closed at the write
// deadline, others are served meanwhile, and the server can stop.
func TestNeverReads(t *testing.T) {
	s := start(t, Config{Settings: Settings{WriteTimeout: 300 * time.Millisecond}}, wide(500, "http"))
	conn := s.dial(t, TCP)
	defer conn.Close()
	if err := conn.(*net.TCPConn).SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	q := new(dns.Msg)
	q.SetQuestion("w.s.svc.mesh.internal.", dns.TypeA)
	packed, _ := q.Pack()
	message := append([]byte{0, byte(len(packed))}, packed...)
	for { // until the server has had enough
		if _, err := conn.Write(message); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal("the server keeps a connection that does not read")
			}
			break
		}
	}
	s.seen.await(t, "tcp drop slow-reader", 1)
	if got := s.ask(t, TCP, "w.s.svc.mesh.internal.", "A"); len(got.Answer) != 500 {
		t.Errorf("another client got %v", got)
	}
}

// TestConnectionCaps: too many connections are closed at once; when one ends there
// is room again; UDP never notices.
func TestConnectionCaps(t *testing.T) {
	for name, tt := range map[string]struct {
		config Config
		drop   string
	}{
		"in total":    {Config{Settings: Settings{MaxConnections: 3}}, "tcp drop connections"},
		"per address": {Config{Settings: Settings{MaxPerAddress: 3}}, "tcp drop per-address"},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, tt.config, harbours())
			var open []net.Conn
			for range 3 {
				conn := s.dial(t, TCP)
				defer conn.Close()
				sendStream(t, conn, probe(1))
				readStream(t, conn)
				open = append(open, conn)
			}
			fourth := s.dial(t, TCP)
			defer fourth.Close()
			awaitClose(t, fourth)
			s.seen.await(t, tt.drop, 1)
			if got := s.ask(t, UDP, "login.svc.mesh.internal.", "A"); len(got.Answer) != 2 {
				t.Errorf("UDP: %v", got)
			}
			sendStream(t, open[2], probe(2))
			readStream(t, open[2])
			_ = open[0].Close()
			for deadline := time.Now().Add(patience); ; {
				conn := s.dial(t, TCP)
				_, err := conn.Write(append([]byte{0, byte(len(probe(3)))}, probe(3)...))
				if err == nil {
					_, err = (&dns.Conn{Conn: conn}).ReadMsgHeader(nil)
				}
				_ = conn.Close()
				if err == nil {
					break
				}
				if time.Now().After(deadline) {
					t.Fatal("there is no room although a connection ended")
				}
			}
		})
	}
}

// TestStopWithOpenConnections: idle, half-sent and unread connections do not hold
// up the end, and what was asked is answered.
func TestStopWithOpenConnections(t *testing.T) {
	s := start(t, Config{Settings: Settings{Idle: time.Hour, WriteTimeout: 300 * time.Millisecond}}, wide(500, "http"))
	idle := s.dial(t, TCP)
	defer idle.Close()
	sendStream(t, idle, probe(1))
	readStream(t, idle)
	half := s.dial(t, TCP)
	defer half.Close()
	if _, err := half.Write([]byte("\x00\xffabc")); err != nil {
		t.Fatal(err)
	}
	unread := s.dial(t, TCP)
	defer unread.Close()
	q := new(dns.Msg)
	q.SetQuestion("w.s.svc.mesh.internal.", dns.TypeA)
	packed, _ := q.Pack()
	for range 3 {
		sendStream(t, unread, packed)
	}
	s.end(t)
	awaitClose(t, idle)
	awaitClose(t, half)
	if _, err := net.Dial("tcp", s.address.String()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("after the end: %v, want that nobody listens", err)
	}
}

// TestResets: connections that are torn down in every state leave nothing behind
// (the leak check sees goroutines).
func TestResets(t *testing.T) {
	s := start(t, Config{Settings: Settings{MaxConnections: 8}}, harbours())
	for n := range 200 {
		conn := s.dial(t, TCP).(*net.TCPConn)
		_ = conn.SetLinger(0)
		q := append([]byte{0, byte(len(probe(1)))}, probe(1)...)
		_, _ = conn.Write(q[:n%len(q)])
		_ = conn.Close()
	}
	for deadline := time.Now().Add(patience); ; {
		c := dns.Client{Net: "tcp", Timeout: patience}
		q := new(dns.Msg)
		q.SetQuestion("login.svc.mesh.internal.", dns.TypeA)
		if in, _, err := c.Exchange(q, s.address.String()); err == nil && len(in.Answer) == 2 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("no answer after the resets")
		}
	}
}

func TestClientOf(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.7:5":           "192.0.2.7/32",
		"[::ffff:192.0.2.7]:5":  "192.0.2.7/32",
		"[2001:db8:1:2:3::4]:5": "2001:db8:1:2::/64",
		"[fe80::1%lo]:5":        "fe80::/64",
	} {
		tcp, err := net.ResolveTCPAddr("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		if got := clientOf(from{tcp}).String(); got != want {
			t.Errorf("client of %s is %s, want %s", address, got, want)
		}
	}
}

// from is a connection that has a remote address and nothing else.
type from struct{ address net.Addr }

func (f from) RemoteAddr() net.Addr             { return f.address }
func (f from) LocalAddr() net.Addr              { return nil }
func (f from) Read([]byte) (int, error)         { return 0, io.EOF }
func (f from) Write([]byte) (int, error)        { return 0, io.EOF }
func (f from) Close() error                     { return nil }
func (f from) SetDeadline(time.Time) error      { return nil }
func (f from) SetReadDeadline(time.Time) error  { return nil }
func (f from) SetWriteDeadline(time.Time) error { return nil }

// TestDearAnswersOverTCPLeaveAProcessor: a hundred connections that asked for long
// lists kept UDP waiting for half a second.
func TestDearAnswersOverTCPLeaveAProcessor(t *testing.T) {
	s := newRunning(t, Config{}, harbours())
	most := cap(s.elaborate)
	var atOnce, highest atomic.Int64
	release := make(chan struct{})
	s.lookup = func(v *registry.View, q lookup.Question) lookup.Response {
		if q.Type == dns.TypeTXT {
			if n := atOnce.Add(1); n > highest.Load() {
				highest.Store(n)
			}
			<-release
			atOnce.Add(-1)
		}
		return lookup.Answer(v, q)
	}
	s.begin(t)
	var wg sync.WaitGroup
	for range most + 5 {
		wg.Go(func() {
			if got := s.ask(t, TCP, "login.svc.mesh.internal.", "TXT"); len(got.Answer) != 1 {
				t.Errorf("got %v", got)
			}
		})
	}
	for atOnce.Load() < int64(most) {
		time.Sleep(time.Millisecond)
	}
	if got := s.ask(t, UDP, "nothing.mesh.internal.", "A"); got.Rcode != dns.RcodeNameError { // the complete path
		t.Errorf("over UDP meanwhile: %v", got)
	}
	close(release)
	wg.Wait()
	if got := highest.Load(); got > int64(most) {
		t.Errorf("%d answers over TCP were made at the same time, want at most %d", got, most)
	}
}
