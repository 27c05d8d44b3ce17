package batch

import (
	"errors"
	"net"
	"net/netip"
)

// Sizes of a [Socket].
const (
	Size       = 32      // datagrams in one batch
	maxPacket  = 1 << 16 // more than UDP can bring, so that no query is ever cut
	ReplyRoom  = 4608    // bytes for one reply: 4096, and what is written beyond while a reply is built
	addressLen = 28      // struct sockaddr_in6
)

// Socket is one UDP socket with one reader. Its methods are called by one goroutine;
// other goroutines may write to [Socket.Conn] at any time, and close it.
//
//	n, err := s.Receive()
//	for i := range n {
//		length := answer(s.Buffer(), s.Packet(i))
//		s.Reply(i, length)
//	}
//	failed := s.Flush()
type Socket struct {
	conn     *net.UDPConn
	wildcard bool
	io       transport
}

// transport is the way in and out of one socket.
type transport interface {
	receive() (int, error)
	packet(i int) []byte
	from(i int) netip.AddrPort
	control(i int) []byte
	buffer() []byte
	reply(i, length int)
	flush() int
}

// NewSocket takes over the reading from conn. Wildcard says that it listens on all
// addresses and was made by [Listen].
func NewSocket(conn *net.UDPConn, wildcard bool) *Socket {
	s := &Socket{conn: conn, wildcard: wildcard}
	s.io = newBatched(conn, wildcard)
	if s.io == nil {
		s.io = newSingle(conn, wildcard)
	}
	return s
}

// Conn returns the socket itself.
func (s *Socket) Conn() *net.UDPConn { return s.conn }

// Batched reports whether several datagrams are taken at once.
func (s *Socket) Batched() bool { _, single := s.io.(*single); return !single }

// Receive waits for datagrams and returns how many there are, at least one. What the
// batch before held is no longer valid, and replies that were not flushed are gone. The
// error is the socket's: os.ErrDeadlineExceeded after a deadline.
func (s *Socket) Receive() (int, error) {
	n, err := s.io.receive()
	if errors.Is(err, errRefused) { // at the first call only
		s.io = newSingle(s.conn, s.wildcard)
		n, err = s.io.receive()
	}
	return n, err
}

// Packet returns the i-th datagram of the batch, valid until the next [Socket.Receive].
func (s *Socket) Packet(i int) []byte { return s.io.packet(i) }

// From returns who sent the i-th datagram; an IPv4 address as such.
func (s *Socket) From(i int) netip.AddrPort { return s.io.from(i) }

// Control returns what must go beside the reply to the i-th datagram, when that is
// written to [Socket.Conn] (net.UDPConn.WriteMsgUDP); nil when nothing must. It is
// valid until the next [Socket.Receive].
func (s *Socket) Control(i int) []byte { return s.io.control(i) }

// Buffer returns [ReplyRoom] bytes for the next reply.
func (s *Socket) Buffer() []byte { return s.io.buffer() }

// Reply queues the first length bytes of the last [Socket.Buffer] as the reply to the
// i-th datagram. Each datagram has one reply at most.
func (s *Socket) Reply(i, length int) { s.io.reply(i, length) }

// Flush sends what is queued, and returns how many replies the system did not take.
func (s *Socket) Flush() (failed int) { return s.io.flush() }
