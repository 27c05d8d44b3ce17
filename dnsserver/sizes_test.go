package dnsserver

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/seamark-mesh/seamark/dnsserver/lookup/lookuptest"
	"github.com/seamark-mesh/seamark/registry"
)

// wide is a world with a service behind n gateways.
func wide(n int, port string) Views {
	w := &lookuptest.World{}
	w.Zone(lookuptest.Zone())
	var gateways []registry.Gateway
	for g := range n {
		gateway := lookuptest.Gateway(fmt.Sprintf("gateway-%03d", g), 1, 80, fmt.Sprintf("203.0.%d.%d", g/250, g%250+1), fmt.Sprintf("2001:db8::%x", g+1))
		gateway.Ports = map[string]int{port: 80}
		gateways = append(gateways, gateway)
	}
	w.Cluster("amber", gateways...)
	w.Service("amber", "s", "w", lookuptest.Instance("a", registry.Passing, ""))
	return fixed(w.View())
}

// Sizes and truncation: what a client can take is used to the byte, additional
// records go first, and TC comes with empty sections.
func TestSizes(t *testing.T) {
	// 12 + 4+15+... : header and question "w.s.svc.mesh.internal." take 12+23+4 bytes, each A 16.
	const fixedPart, each, opt = 12 + 23 + 4, 16, 11
	for gateways := 1; gateways <= 90; gateways++ {
		s := start(t, Config{}, wide(gateways, "http"))
		for _, size := range []uint16{0, 512, 700, 1232, 4096} {
			limit := int(min(max(size, 512), 1232))
			full := fixedPart + gateways*each
			change := []func(*dns.Msg){}
			if size > 0 {
				change = append(change, edns(size))
				full += opt
			}
			got := s.ask(t, UDP, "w.s.svc.mesh.internal.", "A", change...)
			wantRecords, wantTC := gateways, false
			if full > limit {
				wantRecords, wantTC = 0, true
			}
			if len(got.Answer) != wantRecords || got.Truncated != wantTC || len(got.Ns) != 0 {
				t.Fatalf("%d gateways (%d bytes), client takes %d: %d records, TC %v", gateways, full, size, len(got.Answer), got.Truncated)
			}
			if (size > 0) != (got.IsEdns0() != nil) {
				t.Fatalf("%d gateways, client takes %d: OPT %v", gateways, size, got.IsEdns0())
			}
		}
		if got := s.ask(t, TCP, "w.s.svc.mesh.internal.", "A"); len(got.Answer) != gateways || got.Truncated {
			t.Fatalf("%d gateways over TCP: %d records", gateways, len(got.Answer))
		}
		if gateways > 77 {
			s.seen.await(t, "udp note truncated", 5)
		}
		s.end(t)
		gateways += gateways / 7 // small steps while small
	}
}

// Additional records leave as whole RRsets from the end, without TC (RFC 2181 §9).
func TestAdditionalGoesFirst(t *testing.T) {
	s := start(t, Config{}, wide(8, "http"))
	full := s.ask(t, TCP, "_http._tcp.w.s.svc.mesh.internal.", "SRV")
	if len(full.Answer) != 8 || len(full.Extra) != 16 {
		t.Fatalf("over TCP: %d SRV, %d additional", len(full.Answer), len(full.Extra))
	}
	for size := uint16(512); size <= 1232; size += 8 {
		got := s.ask(t, UDP, "_http._tcp.w.s.svc.mesh.internal.", "SRV", edns(size))
		if got.Truncated {
			if len(got.Answer) != 0 || len(got.Extra) != 1 {
				t.Errorf("size %d: TC with records", size)
			}
			continue
		}
		if len(got.Answer) != 8 {
			t.Errorf("size %d: %d SRV without TC", size, len(got.Answer))
		}
		kept := got.Extra[:len(got.Extra)-1]
		if show(kept) != show(full.Extra[:len(kept)]) {
			t.Errorf("size %d: what is left is not the beginning:\n%s", size, show(kept))
		}
	}
}

// An answer that is too large even for TCP is a stable beginning of whole records.
func TestTooLargeForTCP(t *testing.T) {
	w := &lookuptest.World{}
	w.Zone(lookuptest.Zone())
	for c := range 6 {
		var gateways []registry.Gateway
		for g := range 1000 {
			gateways = append(gateways, lookuptest.Gateway(fmt.Sprint("g", g), 1, 80, fmt.Sprintf("10.%d.%d.%d", c, g/250, g%250+1)))
		}
		id := registry.ClusterID(fmt.Sprint("c", c))
		w.Cluster(id, gateways...)
		w.Service(id, "s", "w", lookuptest.Instance("a", registry.Passing, ""))
	}
	s := newRunning(t, Config{}, fixed(w.View()))
	var log written
	s.log = slog.New(slog.NewTextHandler(&log, nil))
	s.begin(t)
	var first string
	for n := range 3 {
		got := s.ask(t, TCP, "w.s.svc.mesh.internal.", "A", edns(1232))
		if n == 0 {
			first = show(got.Answer)
		}
		if want := (65535 - 12 - 27 - 11) / 16; len(got.Answer) != want || got.Truncated || show(got.Answer) != first {
			t.Errorf("got %d records, want always the same %d", len(got.Answer), want)
		}
	}
	s.seen.await(t, "tcp note cut", 3)
	if said := log.lines("too large even for TCP"); len(said) != 1 || !strings.Contains(said[0], "w.s.svc.mesh.internal.") {
		t.Errorf("the log says %q, want one line with the name", said)
	}
}
