package batch

import (
	"errors"
	"net"
	"net/netip"
)

// errRefused says that the system has no batched calls for this process.
var errRefused = errors.New("batch: refused by the system")

// single takes one datagram at a time, by what the standard library has.
type single struct {
	conn     *net.UDPConn
	in       []byte
	out      []byte
	beside   []byte // control messages; nil when there are none
	length   int
	besides  int
	answered int // length of the queued reply; 0: none
	source   netip.AddrPort
}

func newSingle(conn *net.UDPConn, wildcard bool) *single {
	s := &single{conn: conn, in: make([]byte, maxPacket), out: make([]byte, ReplyRoom)}
	if wildcard {
		s.beside = make([]byte, controlLength)
	}
	return s
}

func (s *single) receive() (int, error) {
	var err error
	s.answered = 0 // what was not flushed would go to who comes now
	if s.beside == nil {
		s.length, s.source, err = s.conn.ReadFromUDPAddrPort(s.in)
	} else {
		s.length, s.besides, _, s.source, err = s.conn.ReadMsgUDPAddrPort(s.in, s.beside)
	}
	if err != nil {
		return 0, err
	}
	return 1, nil
}

func (s *single) packet(int) []byte { return s.in[:s.length] }

func (s *single) from(int) netip.AddrPort {
	return netip.AddrPortFrom(s.source.Addr().Unmap(), s.source.Port())
}

func (s *single) control(int) []byte { return replyFrom(s.beside[:s.besides]) }

func (s *single) buffer() []byte { return s.out }

func (s *single) reply(_, length int) { s.answered = length }

func (s *single) flush() (failed int) {
	if s.answered == 0 {
		return 0
	}
	message := s.out[:s.answered]
	s.answered = 0
	var err error
	if beside := s.control(0); beside == nil {
		_, err = s.conn.WriteToUDPAddrPort(message, s.source)
	} else {
		_, _, err = s.conn.WriteMsgUDPAddrPort(message, beside, s.source)
	}
	if err != nil {
		return 1
	}
	return 0
}
