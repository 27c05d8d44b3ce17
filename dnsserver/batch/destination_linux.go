package batch

import (
	"encoding/binary"
	"errors"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A socket on all addresses must answer from the address that was asked, or the
// client takes the reply for a stranger's. The kernel tells that address beside
// each packet, and takes it the same way: struct in_pktinfo (ip(7)) and struct
// in6_pktinfo (ipv6(7)).

// controlLength is more than both take together.
const controlLength = 128

// canShare says that the kernel spreads packets among the sockets of a port, each
// client's to the same one.
const canShare = true

// prepare sets the options of a socket before it is bound: that others of this process
// may have the same port, and that the kernel tells where a packet was sent to.
func prepare(network string, raw syscall.RawConn, shared, wildcard bool) error {
	var failed error
	err := raw.Control(func(fd uintptr) {
		if shared {
			failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		}
		switch {
		case failed != nil || !wildcard:
		case network == "udp6":
			failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
		default:
			failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
		}
	})
	return errors.Join(err, failed)
}

// replyFrom turns what came beside a query into what goes beside its reply, in
// place: the same message, without the interface that the packet came in by, because
// the way back may be another one. Only for a link-local address of IPv6 it is kept:
// that means nothing without. It is nil when there is nothing of the kind.
func replyFrom(control []byte) []byte {
	data := unix.CmsgLen(0)
	if len(control) < data {
		return nil
	}
	h := (*unix.Cmsghdr)(unsafe.Pointer(&control[0]))
	length := int(h.Len)
	if length > len(control) {
		return nil
	}
	switch {
	case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && length >= data+unix.SizeofInet4Pktinfo:
		binary.NativeEndian.PutUint32(control[data:], 0)
	case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && length >= data+unix.SizeofInet6Pktinfo:
		if control[data] != 0xfe || control[data+1]&0xc0 != 0x80 { // not fe80::/10
			binary.NativeEndian.PutUint32(control[data+16:], 0)
		}
	default:
		return nil
	}
	return control[:min(unix.CmsgSpace(length-data), len(control))]
}
