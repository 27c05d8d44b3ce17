package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
)

// errNoWay says that this machine sends nothing to an address: it has no route there, does
// not speak that version of IP, or may not. It tells nothing of the gateway.
var errNoWay = errors.New("this machine has no way there")

// mayBeNoWay are the errors of a connection that either this machine's kernel gives before
// anything is sent, or a router's ICMP message does.
var mayBeNoWay = []syscall.Errno{
	syscall.ENETUNREACH, syscall.EHOSTUNREACH, syscall.ENETDOWN, syscall.EACCES,
	syscall.EAFNOSUPPORT, syscall.EADDRNOTAVAIL,
}

// noWay makes an error an [errNoWay] where it is this machine's. Look asks the kernel for
// the way to the address without sending anything; a host that does not answer on a network
// that is there, or a router that says so, is another matter.
func noWay(err error, look func() error) error {
	is := func(number syscall.Errno) bool { return errors.Is(err, number) }
	local := is(syscall.EPERM) // only a filter on this machine says that
	if !local && slices.ContainsFunc(mayBeNoWay, is) {
		local = look() != nil
	}
	if local {
		return fmt.Errorf("%w: %w", errNoWay, err)
	}
	return err
}

// look asks the kernel for the way to an address: it is looked up when a UDP socket is
// connected, which sends nothing.
func look(ctx context.Context, target netip.AddrPort) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "udp", target.String())
	if err != nil {
		return err
	}
	return conn.Close()
}
