package dnsserver

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seamark-mesh/seamark/dnsserver/compile"
)

// serveTCP accepts connections until ctx ends, and returns when all have ended.
func (s *Server) serveTCP(ctx context.Context, listener *net.TCPListener, open *connections) {
	var wg sync.WaitGroup
	defer wg.Wait()
	pause := acceptPause
	for {
		conn, err := listener.AcceptTCP()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				_ = conn.Close()
			}
			return
		case err != nil: // out of files: UDP goes on, and so do the connections there are
			s.observer.Dropped(TCP, DropRead)
			if !wait(ctx, pause) {
				return
			}
			pause = min(2*pause, maxAcceptPause)
			continue
		}
		pause = acceptPause
		client := clientOf(conn)
		if reason, ok := open.add(client, s.settings.Load()); !ok {
			s.observer.Dropped(TCP, reason)
			_ = conn.Close()
			continue
		}
		wg.Go(func() {
			defer open.remove(client)
			defer conn.Close()
			s.serveConnection(ctx, conn)
		})
	}
}

const (
	acceptPause    = 5 * time.Millisecond
	maxAcceptPause = time.Second
)

// connection is one client over TCP.
type connection struct {
	*net.TCPConn
	address netip.Addr

	mu  sync.Mutex // guards out
	out *bufio.Writer

	zones   sync.WaitGroup // transfers that are being sent
	sending atomic.Int32   // how many

	answers sync.WaitGroup // that are made beside the next ones
	beside  atomic.Int32   // how many; its reader alone adds
	ended   atomic.Bool    // nothing more is to be read
}

// end makes the reader of a connection stop, whatever it does.
func (c *connection) end() {
	c.ended.Store(true)
	_ = c.CloseRead()
}

// flush sends the replies that wait.
func (c *connection) flush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.Flush()
}

// write queues a message, or with now sends it and all before it.
func (c *connection) write(message []byte, now bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := c.out.Write(message); err != nil || !now {
		return err
	}
	return c.out.Flush()
}

// Read implements [io.Reader]: it sends the replies that wait before it waits for
// more queries.
func (c *connection) Read(b []byte) (int, error) {
	if err := c.flush(); err != nil {
		return 0, err
	}
	return c.TCPConn.Read(b)
}

// serveConnection answers the queries of one connection, until the client leaves, is
// idle for too long, does not read, or ctx ends. Queries that arrived together are
// answered together, in as few writes as they fit in. What the fast path does not know
// is made beside that, and may be answered later than what was asked after it (RFC 7766
// §6.2.1.1, §7). So are zone transfers, which hold up no other answer for longer than one
// of their messages takes.
func (s *Server) serveConnection(ctx context.Context, conn *net.TCPConn) {
	// A deadline in the past, not a close: what was read is still answered.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	c := &connection{TCPConn: conn, address: addressOf(conn)}
	c.out = bufio.NewWriterSize(deadlineWriter{conn, func() time.Duration { return s.settings.Load().WriteTimeout }}, 4<<10)
	defer c.zones.Wait()
	in := bufio.NewReaderSize(c, 4<<10)
	var message bytes.Buffer
	for {
		_ = conn.SetReadDeadline(time.Now().Add(s.settings.Load().Idle))
		if ctx.Err() != nil || c.ended.Load() { // the deadline that AfterFunc set may be lost
			break
		}
		begun, err := readMessage(in, &message)
		if err != nil {
			over := ctx.Err() != nil || c.ended.Load()
			if !begun && !over && c.sending.Load() > 0 && errors.Is(err, os.ErrDeadlineExceeded) {
				continue // it waits for its zone
			}
			if begun && !over {
				s.observer.Dropped(TCP, DropIncomplete)
			}
			break
		}
		if !s.answerMessage(ctx, message.Bytes(), c) {
			break
		}
		if message.Cap() > keptMessage {
			message = bytes.Buffer{}
		}
	}
	c.answers.Wait()
	if err := c.flush(); err != nil {
		s.observer.Dropped(TCP, DropSlowReader)
		_ = conn.SetLinger(0) // the system need not wait for that client either
	}
}

// keptMessage is how much memory for queries an idle connection may keep.
const keptMessage = 4 << 10

// answerMessage writes the reply to one query, or has it made beside the next ones; ok
// is false when the connection is to end.
func (s *Server) answerMessage(ctx context.Context, query []byte, c *connection) (ok bool) {
	a := s.answerer()
	length, rcode := s.replyFast(a, query, c)
	if length == 0 {
		s.buffers.Put(a)
		return s.answerBeside(ctx, query, c) || s.answerComplete(ctx, query, c, false)
	}
	defer s.buffers.Put(a)
	if !a.writeTo(c, length, false) {
		return false
	}
	s.stream.answers[rcode].Add(1)
	if l := &s.settings.Load().QueryLog; l.On() {
		s.logQuery(l, query, answered{TCP, "fast", c.address, rcode, length, s.serial()})
	}
	return true
}

// Bounds of what is made beside the next answers. A client that does not read holds a
// buffer for each, so there is one bound for all connections; beyond it, queries are
// answered in their order.
const (
	maxBeside              = 64
	maxBesidePerConnection = 8
)

// answerBeside begins to make the reply to one query on a goroutine of its own; false
// when there is no place for it.
func (s *Server) answerBeside(ctx context.Context, query []byte, c *connection) bool {
	if c.beside.Load() >= maxBesidePerConnection {
		return false
	}
	select {
	case s.beside <- struct{}{}:
	default:
		return false
	}
	c.beside.Add(1)
	query = bytes.Clone(query) // its buffer is for the next one
	c.answers.Go(func() {
		defer func() {
			c.beside.Add(-1)
			<-s.beside
		}()
		if !s.answerComplete(ctx, query, c, true) {
			c.end()
		}
	})
	return true
}

// answerComplete writes the reply of the complete path to one query, at once with now,
// or begins to send the zone; ok is false when the connection is to end.
func (s *Server) answerComplete(ctx context.Context, query []byte, c *connection, now bool) (ok bool) {
	start := time.Now()
	// An answer over TCP may be a hundred times dearer than one over UDP: a processor is
	// left for those.
	s.elaborate <- struct{}{}
	a := s.answerer()
	defer s.buffers.Put(a)
	r, ok := a.answer(query, c.address)
	<-s.elaborate
	if !ok {
		return false // not a DNS client
	}
	if r.zone != nil {
		s.sendZone(ctx, r.zone, c)
		return true
	}
	if !a.writeTo(c, len(r.message), now) {
		return false
	}
	s.observer.Answered(TCP, rcodeText(r.rcode), time.Since(start))
	if l := &s.settings.Load().QueryLog; l.On() {
		s.logQuery(l, query, answered{TCP, "complete", c.address, r.rcode, len(r.message), s.serial()})
	}
	return true
}

// answerer returns one for TCP; it goes back to s.buffers.
func (s *Server) answerer() *answerer {
	if a, pooled := s.buffers.Get().(*answerer); pooled {
		return a
	}
	return s.newAnswerer(TCP)
}

// writeTo writes the message of so many bytes that a's buffer holds, with its length in
// front.
func (a *answerer) writeTo(c *connection, length int, now bool) (ok bool) {
	binary.BigEndian.PutUint16(a.buffer, uint16(length))
	return c.write(a.buffer[:prefix+length], now) == nil
}

// replyFast tries the fast path; length is 0 when it leaves the query to the other.
func (s *Server) replyFast(a *answerer, query []byte, c *connection) (length, rcode int) {
	defer func() {
		if cause := recover(); cause != nil {
			s.notePanic(TCP, "dns answer", query, cause)
			length = 0
		}
	}()
	settings := s.settings.Load()
	terms := compile.Terms{
		Payload: settings.UDPPayload, Stream: true, Turn: s.turn(),
		Cookies: settings.Cookies, Now: s.clock.Load(), Sender: c,
	}
	length, rcode = s.table.Load().Reply(a.buffer[prefix:], query, &terms)
	if length > 0 && terms.GoodCookie {
		s.stream.cookies.Add(1)
	}
	return length, rcode
}

// From implements [compile.Sender].
func (c *connection) From(int) netip.AddrPort { return netip.AddrPortFrom(c.address, 0) }

// sendZone runs a transfer beside the other answers of a connection. One that fails
// ends the connection: half a zone must not look like a whole one.
func (s *Server) sendZone(ctx context.Context, zone *outbound, c *connection) {
	c.sending.Add(1)
	c.zones.Go(func() {
		defer c.sending.Add(-1)
		if err := s.send(ctx, zone, func(message []byte) error { return c.write(message, true) }); err != nil {
			_ = c.SetLinger(0)
			_ = c.Close()
		}
	})
}

// readMessage reads one message with its length in front (RFC 1035 §4.2.2).
// Memory grows with what arrives, not with what was announced. With an error,
// begun tells whether a part of the message had come.
func readMessage(in *bufio.Reader, message *bytes.Buffer) (begun bool, err error) {
	message.Reset()
	var length [prefix]byte
	if n, err := io.ReadFull(in, length[:]); err != nil {
		return n > 0, err
	}
	want := int64(binary.BigEndian.Uint16(length[:]))
	got, err := io.Copy(message, io.LimitReader(in, want))
	if err == nil && got < want {
		err = io.ErrUnexpectedEOF
	}
	return true, err
}

// deadlineWriter gives each write to a connection its own deadline, by the timeout that
// is set then.
type deadlineWriter struct {
	conn    net.Conn
	timeout func() time.Duration
}

func (w deadlineWriter) Write(b []byte) (int, error) {
	if err := w.conn.SetWriteDeadline(time.Now().Add(w.timeout())); err != nil {
		return 0, err
	}
	return w.conn.Write(b)
}

// connections counts what is open, in total and per client.
type connections struct {
	mu        sync.Mutex
	total     int
	perClient map[netip.Prefix]int
}

func newConnections() *connections { return &connections{perClient: map[netip.Prefix]int{}} }

// add takes a client's connection in, or tells why not.
func (c *connections) add(client netip.Prefix, limits *Settings) (reason Drop, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.total >= limits.MaxConnections:
		return DropConnections, false
	case c.perClient[client] >= limits.MaxPerAddress:
		return DropPerAddress, false
	}
	c.total++
	c.perClient[client]++
	return "", true
}

func (c *connections) remove(client netip.Prefix) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.total--
	if c.perClient[client]--; c.perClient[client] == 0 {
		delete(c.perClient, client)
	}
}

// addressOf returns the client's address; the zero Addr when the connection does
// not know it.
func addressOf(conn net.Conn) netip.Addr {
	tcp, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return tcp.AddrPort().Addr().Unmap().WithZone("")
}

// clientOf returns an IPv4 address, or the /64 within which an IPv6 host chooses
// its addresses freely.
func clientOf(conn net.Conn) netip.Prefix {
	address := addressOf(conn)
	bits := 32
	if address.Is6() {
		bits = 64
	}
	prefix, _ := address.Prefix(bits)
	return prefix
}
