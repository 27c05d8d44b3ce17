package batch

import (
	"net"
	"testing"
	"time"
)

// TestPacketsThatTheKernelDropsAreCounted: each packet that was sent is either received
// or counted as lost.
func TestPacketsThatTheKernelDropsAreCounted(t *testing.T) {
	sockets, err := Listen(t.Context(), "127.0.0.1:0", 1)
	if err != nil {
		t.Fatal(err)
	}
	s := sockets[0]
	defer s.Conn().Close()
	lost := func() int {
		t.Helper()
		n, ok := s.Lost()
		if !ok {
			t.Fatal("the system does not tell what it dropped")
		}
		return int(n)
	}
	if n := lost(); n != 0 {
		t.Errorf("%d packets are lost before any was sent", n)
	}
	if err := s.Conn().SetReadBuffer(16 << 10); err != nil {
		t.Fatal(err)
	}
	if granted, ok := s.ReceiveBuffer(); !ok || granted != 16<<10 {
		t.Errorf("%d bytes are granted, %v; want the %d that were asked for", granted, ok, 16<<10)
	}
	client, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(s.Address()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	const sent = 500
	for range sent {
		if _, err := client.Write(make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
	}
	received, deadline := 0, time.Now().Add(10*time.Second)
	for received+lost() < sent && time.Now().Before(deadline) {
		_ = s.Conn().SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		n, err := s.Receive()
		if err == nil {
			received += n
		}
	}
	if received == 0 || lost() == 0 || received+lost() != sent {
		t.Errorf("%d packets were received and %d lost, of %d", received, lost(), sent)
	}
}

// TestLostOfAClosedSocket: who asks after the end is told nothing wrong.
func TestLostOfAClosedSocket(t *testing.T) {
	sockets, err := Listen(t.Context(), "127.0.0.1:0", 1)
	if err != nil {
		t.Fatal(err)
	}
	_ = sockets[0].Conn().Close()
	if n, ok := sockets[0].Lost(); ok || n != 0 {
		t.Errorf("%d, %v", n, ok)
	}
	if n, ok := sockets[0].ReceiveBuffer(); ok || n != 0 {
		t.Errorf("%d, %v", n, ok)
	}
}
