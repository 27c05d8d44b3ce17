//go:build !linux

package batch

import "syscall"

// Elsewhere a socket on all addresses answers from the address that the system
// chooses: on machines with several, listen on each address by itself. And a port
// that sockets share does not spread the packets among them.

const (
	controlLength = 0
	canShare      = false
)

func prepare(string, syscall.RawConn, bool, bool) error { return nil }

func replyFrom([]byte) []byte { return nil }
