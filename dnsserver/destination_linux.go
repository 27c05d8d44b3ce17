package dnsserver

import (
	"encoding/binary"
	"syscall"
)

// A socket on all addresses must answer from the address that was asked, or the
// client takes the reply for a stranger's. The kernel tells that address beside
// each packet, and takes it the same way: struct in_pktinfo (ip(7)) and struct
// in6_pktinfo (ipv6(7)).

// controlLength is more than both take together.
const controlLength = 128

// askForDestination makes the kernel tell where a packet was sent to.
func askForDestination(network, _ string, raw syscall.RawConn) error {
	var failed error
	err := raw.Control(func(fd uintptr) {
		if network == "udp6" {
			failed = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IPV6, syscall.IPV6_RECVPKTINFO, 1)
			return
		}
		failed = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, syscall.IP_PKTINFO, 1)
	})
	if err != nil {
		return err
	}
	return failed
}

// replyFrom turns what came beside a query into what goes beside its reply, in
// place: the same message, without the interface that an IPv4 packet came in by,
// because the way back may be another one. IPv6 keeps it: a link-local address
// means nothing without.
func replyFrom(control []byte) []byte {
	if len(control) < syscall.SizeofCmsghdr {
		return nil
	}
	messages, err := syscall.ParseSocketControlMessage(control)
	if err != nil || len(messages) == 0 {
		return nil
	}
	m := messages[0]
	switch {
	case m.Header.Level == syscall.IPPROTO_IP && m.Header.Type == syscall.IP_PKTINFO && len(m.Data) >= syscall.SizeofInet4Pktinfo:
		binary.NativeEndian.PutUint32(m.Data, 0)
	case m.Header.Level == syscall.IPPROTO_IPV6 && m.Header.Type == syscall.IPV6_PKTINFO && len(m.Data) >= syscall.SizeofInet6Pktinfo:
	default:
		return nil
	}
	return control[:syscall.CmsgSpace(len(m.Data))]
}
