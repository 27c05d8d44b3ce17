package dnsserver

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
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

// serveConnection answers the queries of one connection in their order, until the
// client leaves, is idle for too long, does not read, or ctx ends. Queries that
// arrived together are answered together, in as few writes as they fit in.
func (s *Server) serveConnection(ctx context.Context, conn *net.TCPConn) {
	// A deadline in the past, not a close: what was read is still answered.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	out := bufio.NewWriterSize(deadlineWriter{conn, s.settings.Load().WriteTimeout}, 4<<10)
	in := bufio.NewReaderSize(flushingReader{conn, out}, 4<<10)
	client := addressOf(conn)
	var message bytes.Buffer
	for {
		_ = conn.SetReadDeadline(time.Now().Add(s.settings.Load().Idle))
		if ctx.Err() != nil { // the deadline that AfterFunc set may be lost
			break
		}
		begun, err := readMessage(in, &message)
		if err != nil {
			if begun && ctx.Err() == nil {
				s.observer.Dropped(TCP, DropIncomplete)
			}
			break
		}
		if !s.answerMessage(message.Bytes(), client, out) {
			break
		}
		if message.Cap() > keptMessage {
			message = bytes.Buffer{}
		}
	}
	if err := out.Flush(); err != nil {
		s.observer.Dropped(TCP, DropSlowReader)
		_ = conn.SetLinger(0) // the system need not wait for that client either
	}
}

// keptMessage is how much memory for queries an idle connection may keep.
const keptMessage = 4 << 10

// answerMessage writes the reply to one query; ok is false when the connection is
// to end.
func (s *Server) answerMessage(query []byte, client netip.Addr, out *bufio.Writer) (ok bool) {
	start := time.Now()
	a, pooled := s.buffers.Get().(*answerer)
	if !pooled {
		a = s.newAnswerer(TCP)
	}
	defer s.buffers.Put(a)
	r, ok := a.answer(query, client)
	if !ok {
		return false // not a DNS client
	}
	binary.BigEndian.PutUint16(a.buffer, uint16(len(r.message)))
	if _, err := out.Write(a.buffer[:prefix+len(r.message)]); err != nil {
		return false
	}
	s.observer.Answered(TCP, rcodeText(r.rcode), time.Since(start))
	return true
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

// flushingReader sends the replies that wait before it waits for more queries.
type flushingReader struct {
	conn net.Conn
	out  *bufio.Writer
}

func (r flushingReader) Read(b []byte) (int, error) {
	if err := r.out.Flush(); err != nil {
		return 0, err
	}
	return r.conn.Read(b)
}

// deadlineWriter gives each write to a connection its own deadline.
type deadlineWriter struct {
	conn    net.Conn
	timeout time.Duration
}

func (w deadlineWriter) Write(b []byte) (int, error) {
	if err := w.conn.SetWriteDeadline(time.Now().Add(w.timeout)); err != nil {
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
