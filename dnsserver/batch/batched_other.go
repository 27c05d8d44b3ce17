//go:build !linux

package batch

import "net"

func newBatched(*net.UDPConn, bool) transport { return nil }
