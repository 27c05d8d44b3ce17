package dnsserver

import (
	"bytes"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/seamark-mesh/seamark/dnsserver/transfer"
	"github.com/seamark-mesh/seamark/dnsserver/tsig"
)

// longName is a domain name of 255 bytes.
func longName(letter string) string {
	return strings.Repeat(strings.Repeat(letter, 62)+".", 4) + letter + "."
}

// TestSignedReplyIsNoLongerThanTheClientTakes: the signature with a long key's name
// came on top of what the question left of 512 bytes.
func TestSignedReplyIsNoLongerThanTheClientTakes(t *testing.T) {
	for _, algorithm := range []string{"hmac-sha256", "hmac-sha512"} {
		k, err := tsig.NewKey(longName("k"), algorithm, []byte(sharedSecret))
		if err != nil {
			t.Fatal(err)
		}
		s := start(t, Config{Settings: Settings{NSID: strings.Repeat("n", 100), Transfer: transfer.Settings{Keys: tsig.Keys{k}}}}, harbours())
		for name, tt := range map[string]struct {
			question  string
			edns      bool
			truncated bool
		}{
			"a long question":           {strings.Repeat(strings.Repeat("q", 57)+".", 4) + "mesh.internal.", false, true},
			"a long question with EDNS": {strings.Repeat(strings.Repeat("q", 57)+".", 4) + "mesh.internal.", true, true},
			"a short question":          {"never.mesh.internal.", false, false},
		} {
			t.Run(algorithm+", "+name, func(t *testing.T) {
				q := new(dns.Msg)
				q.SetQuestion(tt.question, dns.TypeA)
				if tt.edns {
					q.SetEdns0(512, false)
					q.IsEdns0().Option = append(q.IsEdns0().Option, &dns.EDNS0_NSID{Code: dns.EDNS0NSID})
				}
				packed, err := q.Pack()
				if err != nil {
					t.Fatal(err)
				}
				request, mac := tsig.Request(packed, k, time.Now())
				got := s.exchangeRaw(t, request)
				m := new(dns.Msg)
				if err := m.Unpack(got); err != nil || len(got) > 512 || m.Truncated != tt.truncated || (m.IsEdns0() != nil) != tt.edns {
					t.Fatalf("%d bytes, %v: %v", len(got), err, m)
				}
				if err := tsig.VerifyAnswer(got, k, mac, time.Now()); err != nil {
					t.Error(err)
				}
				c := dns.Client{Net: "tcp", Timeout: patience}
				conn, err := c.Dial(s.address.String())
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				request, mac = tsig.Request(bytes.Clone(packed), k, time.Now())
				sendStream(t, conn.Conn, request)
				got = readStream(t, conn.Conn)
				if err := m.Unpack(got); err != nil || m.Truncated || m.Rcode != dns.RcodeNameError || len(m.Question) != 1 {
					t.Errorf("over TCP: %v, %v", err, m)
				}
				if err := tsig.VerifyAnswer(got, k, mac, time.Now()); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// TestReplyToAStrangersSignatureIsNoLonger: names of a key and of an algorithm that
// nobody has do not make a datagram longer than its client takes.
func TestReplyToAStrangersSignatureIsNoLonger(t *testing.T) {
	s := start(t, Config{}, harbours())
	q := new(dns.Msg)
	q.SetQuestion("login.svc.mesh.internal.", dns.TypeA)
	q.Extra = []dns.RR{&dns.TSIG{
		Hdr:       dns.RR_Header{Name: longName("k"), Rrtype: dns.TypeTSIG, Class: dns.ClassANY},
		Algorithm: longName("a"), Fudge: 300, TimeSigned: uint64(time.Now().Unix()), MACSize: 32, MAC: strings.Repeat("00", 32), OrigId: q.Id,
	}}
	packed, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	got := s.exchangeRaw(t, packed)
	m := new(dns.Msg)
	if err := m.Unpack(got); err != nil || len(got) > 512 || m.Rcode != dns.RcodeNotAuth {
		t.Errorf("%d bytes, %v: %v", len(got), err, m)
	}
}

// TestReloadedWriteTimeoutCountsForOpenConnections: it was read once, when the
// connection began.
func TestReloadedWriteTimeoutCountsForOpenConnections(t *testing.T) {
	s := start(t, Config{Settings: Settings{WriteTimeout: time.Hour}}, wide(500, "http"))
	conn := narrow(t, s.dial(t, TCP))
	defer conn.Close()
	q := new(dns.Msg)
	q.SetQuestion("w.s.svc.mesh.internal.", dns.TypeA)
	packed, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	sendStream(t, conn, packed)
	readStream(t, conn)
	if err := s.Reload(Settings{WriteTimeout: 200 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	message := append([]byte{0, byte(len(packed))}, packed...)
	_ = conn.(*net.TCPConn).SetWriteDeadline(time.Now().Add(patience))
	for { // until the server has had enough
		if _, err := conn.Write(message); err != nil {
			break
		}
	}
	s.seen.await(t, "tcp drop slow-reader", 1)
}
