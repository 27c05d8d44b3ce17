package batch

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// ReceiveBuffer returns how many bytes of packets the system lets wait, of the
// [ReceiveBuffer] that were asked for; false where it does not say. What it adds for its
// own bookkeeping is left out (socket(7), SO_RCVBUF).
func (s *Socket) ReceiveBuffer() (granted int, ok bool) {
	ok = s.option(func(fd int) (err error) {
		granted, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
		return err
	})
	return granted / 2, ok
}

// Lost returns how many packets the system has dropped because they found no room in
// the receive buffer, modulo 2^32; false where it does not say. It is a system call, any
// goroutine may make it.
func (s *Socket) Lost() (packets uint32, ok bool) {
	var memory [9]uint32 // linux/sock_diag.h: SK_MEMINFO_RMEM_ALLOC … SK_MEMINFO_DROPS
	size := uint32(unsafe.Sizeof(memory))
	ok = s.option(func(fd int) error {
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
			uintptr(unsafe.Pointer(&memory)), uintptr(unsafe.Pointer(&size)), 0)
		if errno != 0 {
			return errno
		}
		return nil
	})
	return memory[8], ok && size == uint32(unsafe.Sizeof(memory))
}

// option asks the system about the socket; false when that fails.
func (s *Socket) option(ask func(fd int) error) bool {
	raw, err := s.conn.SyscallConn()
	if err != nil {
		return false
	}
	var failed error
	err = raw.Control(func(fd uintptr) { failed = ask(int(fd)) })
	return err == nil && failed == nil
}
