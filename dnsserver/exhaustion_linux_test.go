package dnsserver

import (
	"encoding/binary"
	"net"
	"syscall"
	"testing"
	"time"
)

// TestNoFilesLeft: while the process may open no file, connections wait, UDP is
// answered, and afterwards both are.
func TestNoFilesLeft(t *testing.T) {
	s := start(t, Config{}, harbours())
	datagrams := s.dial(t, UDP)
	defer datagrams.Close()
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	restore := func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
			t.Error(err)
		}
	}
	defer restore()
	dialer := net.Dialer{Timeout: patience, Control: func(string, string, syscall.RawConn) error {
		// The client's own socket is open; the server's end will not be.
		return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 3, Max: before.Max})
	}}
	stream, err := dialer.DialContext(t.Context(), "tcp", s.address.String())
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if err := stream.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	sendStream(t, stream, probe(5))
	s.seen.await(t, "tcp drop read", 2)
	if _, err := datagrams.Write(probe(6)); err != nil {
		t.Fatal(err)
	}
	if got := readPacket(t, datagrams); binary.BigEndian.Uint16(got) != 6 || got[3] != 0 {
		t.Errorf("UDP: %x", got)
	}
	restore()
	if got := readStream(t, stream); binary.BigEndian.Uint16(got) != 5 || got[3] != 0 {
		t.Errorf("TCP: %x", got)
	}
}
