package e2e

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"
)

// slowLine passes connections on, and every byte late.
type slowLine struct {
	listener net.Listener
	target   string
	delay    time.Duration
	wg       sync.WaitGroup

	mu    sync.Mutex // guards conns
	conns []net.Conn
}

func newSlowLine(t *testing.T, address, target string, delay time.Duration) *slowLine {
	t.Helper()
	l, err := net.Listen("tcp", address+":0")
	if err != nil {
		t.Fatal(err)
	}
	s := &slowLine{listener: l, target: target, delay: delay}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	s.wg.Go(func() { s.serve(ctx) })
	t.Cleanup(func() { cancel(); s.close() })
	return s
}

func (s *slowLine) serve(ctx context.Context) {
	for {
		here, err := s.listener.Accept()
		if err != nil {
			return
		}
		there, err := net.Dial("tcp", s.target)
		if err != nil {
			here.Close()
			continue
		}
		s.mu.Lock()
		s.conns = append(s.conns, here, there)
		s.mu.Unlock()
		s.wg.Go(func() { s.carry(ctx, there, here) })
		s.wg.Go(func() { s.carry(ctx, here, there) })
	}
}

// carry copies, each piece when it is old enough. What is under way takes no other's time.
func (s *slowLine) carry(ctx context.Context, to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	type piece struct {
		data []byte
		due  time.Time
	}
	under := make(chan piece, 1024)
	s.wg.Go(func() {
		defer close(under)
		for {
			buffer := make([]byte, 32<<10)
			n, err := from.Read(buffer)
			if err != nil {
				return
			}
			under <- piece{buffer[:n], time.Now().Add(s.delay)}
		}
	})
	for p := range under {
		if !pause(ctx, time.Until(p.due)) {
			continue
		}
		if _, err := to.Write(p.data); err != nil {
			from.Close() // which ends the reading
		}
	}
}

func (s *slowLine) close() {
	s.listener.Close()
	s.mu.Lock()
	for _, c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// slow leads a host's connections to NATS over slow lines: new ones by the address
// translation of its kernel, old ones are reset.
func (c *chaos) slow(t *testing.T, host *namespace, delay time.Duration) func() {
	t.Helper()
	within := []string{"ip", "netns", "exec", host.name, "iptables", "-w"}
	var lines []*slowLine
	for _, n := range c.nodes {
		line := newSlowLine(t, host.outside, fmt.Sprintf("127.0.0.1:%d", n.port), delay)
		lines = append(lines, line)
		port := fmt.Sprint(n.port)
		mustRun(t, append(within, "-t", "nat", "-A", "OUTPUT", "-p", "tcp", "--dport", port, "-j", "DNAT", "--to-destination", line.listener.Addr().String())...)
		mustRun(t, append(within, "-A", "OUTPUT", "-p", "tcp", "--dport", port, "-j", "REJECT", "--reject-with", "tcp-reset")...)
	}
	return func() {
		mustRun(t, append(within, "-t", "nat", "-F", "OUTPUT")...)
		mustRun(t, append(within, "-F", "OUTPUT")...)
		for _, line := range lines {
			line.close()
		}
	}
}

func slowCluster(cluster string, delay time.Duration) func(*testing.T, *chaos) func() {
	return func(t *testing.T, c *chaos) func() { return c.slow(t, c.cluster3(cluster).host, delay) }
}

func slowReplica(n int, delay time.Duration) func(*testing.T, *chaos) func() {
	return func(t *testing.T, c *chaos) func() { return c.slow(t, c.replicas[n].host, delay) }
}
