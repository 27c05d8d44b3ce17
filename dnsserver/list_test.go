package dnsserver

import (
	"fmt"
	"testing"

	"github.com/miekg/dns"

	"github.com/seamark-mesh/seamark/dnsserver/lookup"
	"github.com/seamark-mesh/seamark/dnsserver/lookup/lookuptest"
	"github.com/seamark-mesh/seamark/registry"
)

// TestLongListOverUDP: it is truncated as it always was, but not made for that; one that
// just fits comes whole.
func TestLongListOverUDP(t *testing.T) {
	w := lookuptest.Harbours()
	for n := range 900 {
		w.Service("amber", "long", fmt.Sprintf("s%d", n), lookuptest.Instance("i", registry.Passing, ""))
	}
	for n := range 26 {
		w.Service("amber", "s", string(rune('a'+n)), lookuptest.Instance("i", registry.Passing, ""))
	}
	s := newRunning(t, Config{}, fixed(w.View()))
	made := make(chan int, 10)
	s.lookup = func(v *registry.View, q lookup.Question) lookup.Response {
		r := lookup.Answer(v, q)
		made <- len(r.Answer)
		return r
	}
	s.begin(t)
	ask := func(protocol Protocol, name string) (*dns.Msg, int) {
		got := s.ask(t, protocol, name, "PTR", func(q *dns.Msg) { q.SetEdns0(1232, false) })
		return got, <-made
	}
	if got, count := ask(UDP, "_http._tcp.long.svc.mesh.internal."); !got.Truncated || len(got.Answer) > 0 || count > 100 {
		t.Errorf("over UDP, with %d records made: %v", count, got)
	}
	if got, count := ask(TCP, "_http._tcp.long.svc.mesh.internal."); got.Truncated || len(got.Answer) != 900 || count != 900 {
		t.Errorf("over TCP: %d of %d records", len(got.Answer), count)
	}
	if got, _ := ask(UDP, "_http._tcp.s.svc.mesh.internal."); got.Truncated || len(got.Answer) != 26 {
		t.Errorf("one that fits: %v", got)
	}
}
