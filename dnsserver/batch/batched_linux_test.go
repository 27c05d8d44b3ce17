package batch

import (
	"net"
	"testing"
	"time"
)

// TestOneReplyFails: a reply that can't go out costs itself alone.
func TestOneReplyFails(t *testing.T) {
	sockets, err := Listen(t.Context(), "127.0.0.1:0", 1)
	if err != nil {
		t.Fatal(err)
	}
	s := sockets[0]
	defer s.Conn().Close()
	b := s.io.(*batched)
	client, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(s.Address()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	const count = 5
	for range count {
		if _, err := client.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	seen := 0
	for seen < count {
		n, err := s.Receive()
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			seen++
			if seen == 2 {
				b.sources[i][2], b.sources[i][3] = 0, 0 // port 0: refused by the system
			}
			s.Buffer()[0] = byte('0' + seen)
			s.Reply(i, 1)
		}
		if failed, want := s.Flush(), 0; failed != want && seen < 2 || failed > 1 {
			t.Errorf("%d replies failed", failed)
		}
	}
	_ = client.SetDeadline(time.Now().Add(10 * time.Second))
	got, buffer := "", make([]byte, 10)
	for len(got) < count-1 {
		n, err := client.Read(buffer)
		if err != nil {
			t.Fatalf("after %q: %v", got, err)
		}
		got += string(buffer[:n])
	}
	if got != "1345" {
		t.Errorf("the replies %q came, want all but the second", got)
	}
}
