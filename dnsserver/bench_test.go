package dnsserver

import (
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/dnsserver/transfer"
)

// nobody is an Observer that does not look.
type nobody struct{}

func (nobody) Answered(Protocol, string, time.Duration)   {}
func (nobody) Dropped(Protocol, Drop)                     {}
func (nobody) Noted(Protocol, Note)                       {}
func (nobody) Transferred(transfer.Kind, transfer.Result) {}

var benchmarkQueries = map[string][]byte{
	"A":        build(header(1, 0, 0, 1), "\x03web\x04shop\x03svc\x04mesh\x08internal\x00\x00\x01\x00\x01", wireOPT),
	"SRV":      build(header(1, 0, 0, 1), "\x05_http\x04_tcp\x03web\x04shop\x03svc\x04mesh\x08internal\x00\x00\x21\x00\x01", wireOPT),
	"NXDOMAIN": build(header(1, 0, 0, 1), "\x05never\x04shop\x03svc\x04mesh\x08internal\x00\x00\x01\x00\x01", wireOPT),
}

// BenchmarkPacket is all between two socket calls: bytes to bytes.
func BenchmarkPacket(b *testing.B) {
	s, err := New(Config{Listen: []string{"127.0.0.1:0"}}, harbours(), nobody{}, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	a := s.newAnswerer(UDP)
	for name, query := range benchmarkQueries {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, ok := a.answer(query, netip.Addr{}); !ok {
					b.Fatal("no answer")
				}
			}
		})
	}
}

// BenchmarkUDP adds the sockets: one client that waits for each answer.
func BenchmarkUDP(b *testing.B) {
	s := startObserved(b, Config{}, harbours(), nobody{})
	for name, query := range benchmarkQueries {
		b.Run(name, func(b *testing.B) {
			conn := s.dial(b, UDP)
			defer conn.Close()
			if err := conn.SetDeadline(time.Time{}); err != nil {
				b.Fatal(err)
			}
			buffer := make([]byte, 4096)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := conn.Write(query); err != nil {
					b.Fatal(err)
				}
				if _, err := conn.Read(buffer); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
