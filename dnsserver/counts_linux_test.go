package dnsserver

import (
	"log/slog"
	"net"
	"strings"
	"testing"

	"github.com/seamark-mesh/seamark/dnsserver/batch"
)

// TestKernelDropsAreCounted: what overflows a socket is counted, although no reader ever
// sees it, and a receive buffer that is too small for a burst is told of.
func TestKernelDropsAreCounted(t *testing.T) {
	s := newRunning(t, Config{}, harbours())
	var log written
	s.log = slog.New(slog.NewTextHandler(&log, nil))
	if c := s.Counts(); c.Lost != nil {
		t.Errorf("%d packets are lost before there is a socket", *c.Lost)
	}
	sockets, err := batch.Listen(t.Context(), "127.0.0.1:0", 2)
	if err != nil {
		t.Fatal(err)
	}
	var all []*readerCounts
	for _, k := range sockets {
		defer k.Conn().Close()
		if err := k.Conn().SetReadBuffer(16 << 10); err != nil {
			t.Fatal(err)
		}
		all = append(all, &readerCounts{socket: k})
	}
	s.counts.Store(&all)
	if c := s.Counts(); c.Lost == nil || *c.Lost != 0 {
		t.Errorf("%v packets are lost before any was sent", c.Lost)
	}
	client, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(sockets[0].Address()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	const sent = 500
	for range sent {
		if _, err := client.Write(probe(1)); err != nil {
			t.Fatal(err)
		}
	}
	if c := s.Counts(); *c.Lost < sent/2 || *c.Lost >= sent {
		t.Errorf("%d packets of %d count as lost: some fit", *c.Lost, sent)
	}
	s.noteReceiveBuffer(sockets[0])
	if lines := log.lines("net.core.rmem_max=4194304"); len(lines) != 1 || !strings.Contains(lines[0], "bytes=16384") {
		t.Errorf("the log says %v", lines)
	}
}
