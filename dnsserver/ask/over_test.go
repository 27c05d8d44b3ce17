package ask

import (
	"net"
	"testing"

	"github.com/miekg/dns"
)

// serve answers a TXT question with the protocol it came by, and gives the zone
// given.example. away, over UDP and TCP at one address.
func serve(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	packets, err := net.ListenPacket("udp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		reply := new(dns.Msg).SetReply(q)
		name, header := q.Question[0].Name, dns.RR_Header{Name: q.Question[0].Name, Class: dns.ClassINET, Ttl: 5}
		switch {
		case q.Question[0].Qtype == dns.TypeTXT:
			header.Rrtype = dns.TypeTXT
			reply.Answer = []dns.RR{&dns.TXT{Hdr: header, Txt: []string{w.RemoteAddr().Network()}}}
			reply.Truncated = w.RemoteAddr().Network() == "udp"
		case name == "given.example.":
			header.Rrtype = dns.TypeSOA
			reply.Answer = []dns.RR{&dns.SOA{Hdr: header, Ns: name, Mbox: name, Serial: 7}}
		case name == "refused.example.":
			reply.Rcode = dns.RcodeRefused
		}
		_ = w.WriteMsg(reply) // who asked sees whether it came
	})
	for _, s := range []*dns.Server{{Listener: listener, Handler: handler}, {PacketConn: packets, Handler: handler}} {
		done := make(chan struct{})
		go func() { defer close(done); _ = s.ActivateAndServe() }()
		t.Cleanup(func() { _ = s.Shutdown(); <-done })
	}
	return listener.Addr().String()
}

func TestOverOneProtocol(t *testing.T) {
	server := serve(t)
	for _, protocol := range []string{"udp", "tcp"} {
		a, err := Over(t.Context(), protocol, server, "x.example", "TXT")
		if err != nil || a.Protocol != protocol || len(a.Data) != 1 || a.Data[0] != `"`+protocol+`"` {
			t.Errorf("over %s: %+v, %v", protocol, a, err)
		}
	}
	if a, err := Ask(t.Context(), server, "x.example", "TXT"); err != nil || a.Protocol != "tcp" {
		t.Errorf("what is truncated is not asked for again: %+v, %v", a, err)
	}
	if _, err := Over(t.Context(), "udp", server, "x.example", "NONSENSE"); err == nil {
		t.Error("NONSENSE is a type")
	}
}

func TestTransferTellsWhetherItIsGiven(t *testing.T) {
	server := serve(t)
	for zone, want := range map[string]bool{"given.example": true, "refused.example": false} {
		if given, err := Transfer(t.Context(), server, zone); err != nil || given != want {
			t.Errorf("%s: %v, %v", zone, given, err)
		}
	}
	if _, err := Transfer(t.Context(), server, "empty.example"); err == nil {
		t.Error("an answer without a record is one")
	}
	if _, err := Transfer(t.Context(), "127.0.0.1:1", "given.example"); err == nil {
		t.Error("nobody answered, and that is no error")
	}
}
