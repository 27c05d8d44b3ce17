package dnsserver

import (
	"context"
	"net"
	"net/netip"
	"time"
)

// maxUDPQuery is the longest that UDP can bring, so that no query is ever cut.
const maxUDPQuery = 1 << 16

// serveUDP reads and answers one socket until ctx ends. Several goroutines may
// share a socket. A query is answered by the goroutine that read it: handing it to
// another one would cost more than the answer.
func (s *Server) serveUDP(ctx context.Context, k socket) {
	a := s.newAnswerer(UDP)
	query := make([]byte, maxUDPQuery)
	var control []byte
	if k.wildcard {
		control = make([]byte, controlLength)
	}
	for {
		length, controls, from, err := readUDP(k.udp, query, control)
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			s.observer.Dropped(UDP, DropRead)
			if !wait(ctx, readPause) {
				return
			}
			continue
		}
		if from.Port() == 0 {
			s.observer.Dropped(UDP, DropPort)
			continue
		}
		start := time.Now()
		r, ok := a.answer(query[:length], from.Addr())
		if !ok {
			continue
		}
		if err := writeUDP(k.udp, r.message, replyFrom(control[:controls]), from); err != nil {
			s.observer.Dropped(UDP, DropWrite)
			continue
		}
		s.observer.Answered(UDP, rcodeText(r.rcode), time.Since(start))
	}
}

// readPause keeps a socket that only fails from taking a whole processor.
const readPause = 10 * time.Millisecond

func readUDP(conn *net.UDPConn, query, control []byte) (length, controls int, from netip.AddrPort, err error) {
	if control == nil {
		length, from, err = conn.ReadFromUDPAddrPort(query)
		return length, 0, from, err
	}
	length, controls, _, from, err = conn.ReadMsgUDPAddrPort(query, control)
	return length, controls, from, err
}

func writeUDP(conn *net.UDPConn, message, control []byte, to netip.AddrPort) error {
	if len(control) == 0 {
		_, err := conn.WriteToUDPAddrPort(message, to)
		return err
	}
	_, _, err := conn.WriteMsgUDPAddrPort(message, control, to)
	return err
}

// wait returns true after d, and false at once when ctx ends.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
