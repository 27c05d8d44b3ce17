package batch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// modes are the two ways in and out; both must do the same.
var modes = map[string]func(*Socket){
	"batched": func(*Socket) {},
	"single":  func(s *Socket) { s.io = newSingle(s.conn, s.wildcard) },
}

// echo answers each datagram with "re: " and itself until the test ends; those that
// begin with "!" through the socket itself, as another goroutine would.
func echo(t *testing.T, address string, n int, mode func(*Socket)) netip.AddrPort {
	t.Helper()
	sockets, err := Listen(t.Context(), address, n)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for _, s := range sockets {
		mode(s)
		wg.Go(func() {
			for {
				count, err := s.Receive()
				if err != nil {
					if !errors.Is(err, os.ErrDeadlineExceeded) {
						t.Error(err)
					}
					return
				}
				for i := range count {
					p := s.Packet(i)
					if len(p) > 0 && p[0] == '!' {
						if _, _, err := s.Conn().WriteMsgUDPAddrPort(append([]byte("re: "), p...), s.Control(i), s.From(i)); err != nil {
							t.Error(err)
						}
						continue
					}
					out := s.Buffer()
					s.Reply(i, copy(out[copy(out, "re: "):], p)+4)
				}
				if failed := s.Flush(); failed > 0 {
					t.Errorf("%d replies were not sent", failed)
				}
			}
		})
	}
	t.Cleanup(func() {
		for _, s := range sockets {
			_ = s.Conn().SetReadDeadline(time.Unix(1, 0))
		}
		wg.Wait()
		for _, s := range sockets {
			_ = s.Conn().Close()
		}
	})
	return sockets[0].Address()
}

func TestEcho(t *testing.T) {
	for name, mode := range modes {
		for _, n := range []int{1, 3} {
			t.Run(fmt.Sprint(name, n), func(t *testing.T) {
				to := echo(t, "127.0.0.1:0", n, mode)
				var wg sync.WaitGroup
				for client := range 8 {
					wg.Go(func() { converse(t, to, client) })
				}
				wg.Wait()
			})
		}
	}
}

// converse sends bursts of datagrams of many lengths and awaits the echo of each.
func converse(t *testing.T, to netip.AddrPort, client int) {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	buffer := make([]byte, 1<<16)
	for burst := range 20 {
		missing := map[string]bool{}
		for n := range 2 * Size {
			text := fmt.Sprintf("%d %d %d %0*d", client, burst, n, n*17, 0)
			if n%7 == 0 {
				text = "!" + text
			}
			missing["re: "+text] = true
			if _, err := conn.Write([]byte(text)); err != nil {
				t.Error(err)
				return
			}
		}
		for len(missing) > 0 {
			n, err := conn.Read(buffer)
			if err != nil {
				t.Errorf("client %d: %d echoes of burst %d did not come: %v", client, len(missing), burst, err)
				return
			}
			if !missing[string(buffer[:n])] {
				t.Errorf("client %d got %.60q", client, buffer[:n])
				return
			}
			delete(missing, string(buffer[:n]))
		}
	}
}

// TestRepliesFromWhereItWasAsked: on a socket for all addresses, each reply comes from
// the address that the query went to.
func TestRepliesFromWhereItWasAsked(t *testing.T) {
	for name, mode := range modes {
		t.Run(name, func(t *testing.T) {
			for _, listen := range []string{":0", "0.0.0.0:0", "[::]:0"} {
				to := echo(t, listen, 2, mode)
				for _, address := range []string{"127.0.0.1", "127.8.9.10", "::1"} {
					host := netip.MustParseAddr(address)
					if listen == "0.0.0.0:0" && host.Is6() || listen == "[::]:0" && host.Is4() {
						continue
					}
					for _, text := range []string{"hello", "!hello"} {
						// Connected: anything that comes from elsewhere is not seen.
						conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(host, to.Port())))
						if err != nil {
							t.Fatal(err)
						}
						_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
						buffer := make([]byte, 100)
						if _, err := conn.Write([]byte(text)); err != nil {
							t.Fatal(err)
						}
						n, err := conn.Read(buffer)
						if err != nil || string(buffer[:n]) != "re: "+text {
							t.Errorf("%s, asked at %s: %q, %v", listen, address, buffer[:n], err)
						}
						_ = conn.Close()
					}
				}
			}
		})
	}
}

// TestLongestDatagram: what UDP can carry is never cut.
func TestLongestDatagram(t *testing.T) {
	for name, mode := range modes {
		t.Run(name, func(t *testing.T) {
			sockets, err := Listen(t.Context(), "127.0.0.1:0", 1)
			if err != nil {
				t.Fatal(err)
			}
			s := sockets[0]
			defer s.Conn().Close()
			mode(s)
			client, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(s.Address()))
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			if _, err := client.Write(make([]byte, 65507)); err != nil {
				t.Fatal(err)
			}
			_ = s.Conn().SetReadDeadline(time.Now().Add(10 * time.Second))
			if n, err := s.Receive(); err != nil || n != 1 || len(s.Packet(0)) != 65507 {
				t.Errorf("%d datagrams, %v; the first has %d bytes", n, err, len(s.Packet(0)))
			}
			if from := s.From(0); from != client.LocalAddr().(*net.UDPAddr).AddrPort() {
				t.Errorf("from %s", from)
			}
		})
	}
}

// TestListenRefuses: an exclusive port is exclusive.
func TestListenRefuses(t *testing.T) {
	sockets, err := Listen(t.Context(), "127.0.0.1:0", 1)
	if err != nil {
		t.Fatal(err)
	}
	defer sockets[0].Conn().Close()
	if again, err := Listen(t.Context(), sockets[0].Address().String(), 1); err == nil {
		_ = again[0].Conn().Close()
		t.Error("two sockets have one port")
	}
	if _, err := Listen(context.WithoutCancel(t.Context()), "nonsense", 1); err == nil {
		t.Error("nonsense was listened on")
	}
}

// TestNothingIsAllocated: receiving, looking and sending cost no memory.
func TestNothingIsAllocated(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "0.0.0.0:0", "[::]:0"} {
		sockets, err := Listen(t.Context(), address, 1)
		if err != nil {
			t.Fatal(err)
		}
		s := sockets[0]
		to := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), s.Address().Port())
		if s.Address().Addr().Is6() && address == "[::]:0" {
			to = netip.AddrPortFrom(netip.IPv6Loopback(), to.Port())
		}
		client, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
		if err != nil {
			t.Fatal(err)
		}
		message, buffer := []byte("hello"), make([]byte, 100)
		allocations := testing.AllocsPerRun(200, func() {
			_, _ = client.Write(message)
			n, err := s.Receive()
			if err != nil {
				t.Fatal(err)
			}
			for i := range n {
				if !s.From(i).IsValid() {
					t.Fatal("no sender")
				}
				s.Reply(i, copy(s.Buffer(), s.Packet(i)))
			}
			s.Flush()
			_, _ = client.Read(buffer)
		})
		if allocations != 0 {
			t.Errorf("%s: %v allocations", address, allocations)
		}
		_ = client.Close()
		_ = s.Conn().Close()
	}
}

// TestRepliesThatWereNotFlushedAreGone: a reader that gives up in the middle of a batch
// loses the replies of that batch, and no more: they go to nobody else, and take no room.
func TestRepliesThatWereNotFlushedAreGone(t *testing.T) {
	for name, mode := range modes {
		t.Run(name, func(t *testing.T) {
			sockets, err := Listen(t.Context(), "127.0.0.1:0", 1)
			if err != nil {
				t.Fatal(err)
			}
			s := sockets[0]
			defer s.Conn().Close()
			mode(s)
			_ = s.Conn().SetReadDeadline(time.Now().Add(10 * time.Second))
			client, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(s.Address()))
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			receive := func() {
				t.Helper()
				if _, err := client.Write([]byte("x")); err != nil {
					t.Fatal(err)
				}
				if _, err := s.Receive(); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 * Size {
				receive()
				s.Reply(0, copy(s.Buffer(), "lost"))
			}
			receive()
			if failed := s.Flush(); failed > 0 {
				t.Errorf("%d replies failed", failed)
			}
			receive()
			s.Reply(0, copy(s.Buffer(), "sent"))
			s.Flush()
			_ = client.SetDeadline(time.Now().Add(10 * time.Second))
			buffer := make([]byte, 10)
			if n, err := client.Read(buffer); err != nil || string(buffer[:n]) != "sent" {
				t.Errorf("the first reply is %q, %v", buffer[:n], err)
			}
		})
	}
}
