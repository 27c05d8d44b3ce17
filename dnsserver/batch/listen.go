package batch

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"
)

// ReceiveBuffer lets a burst wait in the kernel while the readers are busy, in bytes.
const ReceiveBuffer = 4 << 20

// Listen opens up to n sockets on one address (host:port; an empty host means all
// addresses), among which the kernel spreads the clients; fewer where it can't. They
// all have the port of the first one, should the system choose it. The port is
// exclusive to this process only with n = 1.
func Listen(ctx context.Context, address string, n int) ([]*Socket, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("listen on %q: %w", address, err)
	}
	literal, _ := netip.ParseAddr(host)
	wildcard := host == "" || literal.IsUnspecified()
	if !canShare {
		n = 1
	}
	config := net.ListenConfig{Control: func(network, _ string, raw syscall.RawConn) error {
		return prepare(network, raw, n > 1, wildcard)
	}}
	var all []*Socket
	for range n {
		packets, err := config.ListenPacket(ctx, "udp", address)
		if err != nil {
			for _, s := range all {
				_ = s.conn.Close()
			}
			return nil, err
		}
		conn := packets.(*net.UDPConn)
		_ = conn.SetReadBuffer(ReceiveBuffer) // the system may grant less: see Socket.ReceiveBuffer
		all = append(all, NewSocket(conn, wildcard))
		address = net.JoinHostPort(host, fmt.Sprint(all[0].Address().Port()))
	}
	return all, nil
}

// Address returns where the socket listens; an IPv4 address as such.
func (s *Socket) Address() netip.AddrPort {
	address := s.conn.LocalAddr().(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(address.Addr().Unmap(), address.Port())
}
