package batch

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// header is struct mmsghdr (recvmmsg(2)).
type header struct {
	unix.Msghdr
	length uint32
}

// batched takes and gives up to Size datagrams in one system call.
type batched struct {
	raw     syscall.RawConn
	headers [Size]header
	vectors [Size]unix.Iovec
	sources [Size][addressLen]byte
	beside  [Size][controlLength]byte
	in      []byte

	replies    [Size]header
	outVectors [Size]unix.Iovec
	out        []byte
	queued     int

	wildcard bool
	proven   bool // a batched call has worked
	count    int
	errno    syscall.Errno
	doRead   func(fd uintptr) bool // made once: a closure for each call would be garbage
	doWrite  func(fd uintptr) bool
	sent     int
	failed   int
}

func newBatched(conn *net.UDPConn, wildcard bool) transport {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil
	}
	b := &batched{raw: raw, wildcard: wildcard, in: make([]byte, Size*maxPacket), out: make([]byte, Size*ReplyRoom)}
	for i := range Size {
		h := &b.headers[i]
		b.vectors[i].Base = &b.in[i*maxPacket]
		b.vectors[i].SetLen(maxPacket)
		h.Name = &b.sources[i][0]
		h.Iov = &b.vectors[i]
		h.SetIovlen(1)
		b.outVectors[i].Base = &b.out[i*ReplyRoom]
		b.replies[i].Iov = &b.outVectors[i]
		b.replies[i].SetIovlen(1)
		b.rearm(i)
	}
	b.doRead, b.doWrite = b.read, b.write
	return b
}

func (b *batched) receive() (int, error) {
	for i := range b.count { // the kernel wrote the lengths of those it filled
		b.rearm(i)
	}
	b.count, b.queued = 0, 0 // what was not flushed would go to those who come now
	err := b.raw.Read(b.doRead)
	switch {
	case err != nil:
		return 0, err
	case b.errno == unix.ENOSYS || b.errno == unix.EPERM && !b.proven:
		return 0, errRefused
	case b.errno != 0:
		return 0, os.NewSyscallError("recvmmsg", b.errno)
	}
	b.proven = true
	return b.count, nil
}

func (b *batched) rearm(i int) {
	h := &b.headers[i]
	h.Namelen = addressLen
	if b.wildcard {
		h.Control = &b.beside[i][0]
		h.SetControllen(controlLength)
	}
}

// read is called when the socket may have something; false waits for more.
func (b *batched) read(fd uintptr) bool {
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&b.headers[0])), Size, unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			b.count, b.errno = int(n), 0
			return true
		case unix.EINTR:
		case unix.EAGAIN:
			return false
		default:
			b.count, b.errno = 0, errno
			return true
		}
	}
}

func (b *batched) packet(i int) []byte {
	return b.in[i*maxPacket : i*maxPacket+int(b.headers[i].length)]
}

func (b *batched) from(i int) netip.AddrPort {
	a := b.sources[i][:b.headers[i].Namelen]
	if len(a) < unix.SizeofSockaddrInet4 {
		return netip.AddrPort{}
	}
	port := binary.BigEndian.Uint16(a[2:])
	switch binary.NativeEndian.Uint16(a) {
	case unix.AF_INET:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(a[4:8])), port)
	case unix.AF_INET6:
		if len(a) < unix.SizeofSockaddrInet6 {
			break
		}
		address := netip.AddrFrom16([16]byte(a[8:24])).Unmap()
		if scope := binary.NativeEndian.Uint32(a[24:]); scope != 0 && address.Is6() {
			address = address.WithZone(strconv.Itoa(int(scope)))
		}
		return netip.AddrPortFrom(address, port)
	}
	return netip.AddrPort{}
}

func (b *batched) control(i int) []byte {
	if !b.wildcard {
		return nil
	}
	return replyFrom(b.beside[i][:b.headers[i].Controllen])
}

func (b *batched) buffer() []byte {
	return b.out[b.queued*ReplyRoom : (b.queued+1)*ReplyRoom : (b.queued+1)*ReplyRoom]
}

func (b *batched) reply(i, length int) {
	h := &b.replies[b.queued]
	b.outVectors[b.queued].SetLen(length)
	h.Name, h.Namelen = &b.sources[i][0], b.headers[i].Namelen
	if b.wildcard {
		h.Control = nil
		beside := b.control(i)
		if len(beside) > 0 {
			h.Control = &beside[0]
		}
		h.SetControllen(len(beside))
	}
	b.queued++
}

func (b *batched) flush() int {
	if b.queued == 0 {
		return 0
	}
	b.sent, b.failed = 0, 0
	err := b.raw.Write(b.doWrite)
	failed := b.failed
	if err != nil {
		failed += b.queued - b.sent
	}
	b.queued = 0
	return failed
}

// write is called when the socket may take something; false waits for room.
func (b *batched) write(fd uintptr) bool {
	for b.sent < b.queued {
		n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&b.replies[b.sent])), uintptr(b.queued-b.sent), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			b.sent += int(n)
		case unix.EINTR:
		case unix.EAGAIN:
			return false
		default: // of the first one only; the others may well go
			b.sent++
			b.failed++
		}
	}
	return true
}
