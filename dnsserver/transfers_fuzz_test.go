package dnsserver

import (
	"bytes"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/seamark-mesh/seamark/dnsserver/lookup/lookuptest"
	"github.com/seamark-mesh/seamark/dnsserver/tsig"
)

// FuzzTransferQuery: whatever an allowed client sends, signed or not, nothing panics,
// no datagram is longer than it may be, and every slot that is taken belongs to a
// transfer that is to be sent.
func FuzzTransferQuery(f *testing.F) {
	k, err := tsig.NewKey("xfr", "hmac-sha256", []byte(sharedSecret))
	if err != nil {
		f.Fatal(err)
	}
	for _, q := range []*dns.Msg{axfr(), ixfr(1), ixfr(1 << 31)} {
		packed, err := q.Pack()
		if err != nil {
			f.Fatal(err)
		}
		signed, _ := tsig.Request(bytes.Clone(packed), k, time.Now())
		f.Add(packed)
		f.Add(signed)
	}
	config := allowed(func(c *Settings) { c.Transfer.AtOnce = 1 })
	config.Listen = []string{"127.0.0.1:0"}
	seen := newRecorder()
	plain, err := New(config, fixed(lookuptest.Harbours().View()), seen, slog.New(slog.DiscardHandler))
	if err != nil {
		f.Fatal(err)
	}
	config.Transfer.Keys = tsig.Keys{k}
	keyed, err := New(config, fixed(lookuptest.Harbours().View()), seen, slog.New(slog.DiscardHandler))
	if err != nil {
		f.Fatal(err)
	}
	whole, err := axfr().Pack()
	if err != nil {
		f.Fatal(err)
	}
	if r, _ := plain.newAnswerer(TCP).answer(whole, netip.MustParseAddr("127.0.0.1")); r.zone == nil {
		f.Fatal("an AXFR gets no zone: nothing would be tested")
	}
	plain.transfers.slots.Free()
	f.Fuzz(func(t *testing.T, query []byte) {
		if len(query) > 1<<16-1 {
			return
		}
		before := bytes.Clone(query)
		for _, s := range []*Server{plain, keyed} {
			client := netip.MustParseAddr("127.0.0.1")
			if r, ok := s.newAnswerer(UDP).answer(query, client); ok && (r.zone != nil || len(r.message) > 4096) {
				t.Fatalf("over UDP: %+v", r)
			}
			r, _ := s.newAnswerer(TCP).answer(query, client)
			if r.zone != nil {
				if err := s.send(t.Context(), r.zone, func([]byte) error { return nil }); err != nil {
					t.Fatal(err)
				}
			}
			if !s.transfers.slots.Take(1) {
				t.Fatal("a slot is lost")
			}
			s.transfers.slots.Free()
		}
		if seen.get("udp note panic")+seen.get("tcp note panic") > 0 || !bytes.Equal(query, before) {
			t.Fatal("a panic, or the packet was written to")
		}
	})
}
