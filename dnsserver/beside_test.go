package dnsserver

import (
	"encoding/binary"
	"net"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/seamark-mesh/seamark/dnsserver/lookup"
	"github.com/seamark-mesh/seamark/registry"
)

// heldUp is a server whose answers to TXT wait until they are released.
func heldUp(t *testing.T) (s *running, release chan struct{}) {
	t.Helper()
	s, release = newRunning(t, Config{}, harbours()), make(chan struct{})
	s.lookup = func(v *registry.View, q lookup.Question) lookup.Response {
		if q.Type == dns.TypeTXT {
			<-release
		}
		return lookup.Answer(v, q)
	}
	s.begin(t)
	return s, release
}

// dear is a query that heldUp holds up.
func dear(t *testing.T, id uint16) []byte {
	t.Helper()
	q := new(dns.Msg)
	q.SetQuestion("login.svc.mesh.internal.", dns.TypeTXT)
	q.Id = id
	packed, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return packed
}

// TestDearAnswerHoldsUpNoOther: queries that were sent behind one whose answer takes long
// are answered before it (RFC 7766 §6.2.1.1, §7), also when nothing more is asked.
func TestDearAnswerHoldsUpNoOther(t *testing.T) {
	s, release := heldUp(t)
	conn := s.dial(t, TCP)
	defer conn.Close()
	sendStream(t, conn, dear(t, 1))
	for id := range uint16(3) {
		sendStream(t, conn, probe(id+2))
	}
	for id := range uint16(3) {
		if got := readStream(t, conn); binary.BigEndian.Uint16(got) != id+2 {
			t.Errorf("reply %d came, want %d", binary.BigEndian.Uint16(got), id+2)
		}
	}
	close(release)
	if got := readStream(t, conn); binary.BigEndian.Uint16(got) != 1 || got[3] != 0 {
		t.Errorf("reply %x", got)
	}
}

// TestAnswersBesideAreBounded per connection and in total; beyond that a connection has
// its answers in order, and all are answered in the end.
func TestAnswersBesideAreBounded(t *testing.T) {
	s, release := heldUp(t)
	const connections, queries = maxBeside/maxBesidePerConnection + 1, maxBesidePerConnection + 3
	await := func(want int) {
		t.Helper()
		for deadline := time.Now().Add(patience); len(s.beside) != want; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d answers are made beside others, want %d", len(s.beside), want)
			}
		}
	}
	all := make([]net.Conn, connections)
	for n := range all {
		all[n] = s.dial(t, TCP)
		defer all[n].Close()
		for id := range uint16(queries) {
			sendStream(t, all[n], dear(t, id))
		}
		await(min(maxBesidePerConnection*(n+1), maxBeside))
	}
	close(release)
	for n, conn := range all {
		seen := map[uint16]bool{}
		for range queries {
			seen[binary.BigEndian.Uint16(readStream(t, conn))] = true
		}
		if len(seen) != queries {
			t.Errorf("connection %d: %d of %d queries are answered", n, len(seen), queries)
		}
	}
	await(0)
}

// TestEndWaitsForAnswersBeside: what was read before the client closed its half, or the
// server is to stop, is answered.
func TestEndWaitsForAnswersBeside(t *testing.T) {
	for _, name := range []string{"half closed", "stopped"} {
		t.Run(name, func(t *testing.T) {
			s, release := heldUp(t)
			conn := s.dial(t, TCP)
			defer conn.Close()
			sendStream(t, conn, dear(t, 1))
			sendStream(t, conn, probe(2))
			readStream(t, conn) // so the first one was read, too
			if name == "stopped" {
				s.stop()
			} else if err := conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			time.AfterFunc(50*time.Millisecond, func() { close(release) })
			if got := readStream(t, conn); binary.BigEndian.Uint16(got) != 1 || got[3] != 0 {
				t.Errorf("reply %x", got)
			}
			awaitClose(t, conn)
		})
	}
}
