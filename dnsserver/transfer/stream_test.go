package transfer

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/seamark-mesh/seamark/dnsserver/lookup/lookuptest"
	"github.com/seamark-mesh/seamark/dnsserver/tsig"
	"github.com/seamark-mesh/seamark/registry"
)

var secret = []byte("0123456789abcdef0123456789abcdef")

// manyServices is a zone of so many services in three clusters.
func manyServices(services int) *registry.View {
	w := &lookuptest.World{}
	w.Zone(lookuptest.Zone())
	clusters := []registry.ClusterID{"amber", "bronze", "cobalt"}
	for n, c := range clusters {
		w.Cluster(c, lookuptest.Gateway("gw", 1, 8080, fmt.Sprintf("192.0.2.%d", n+1), fmt.Sprintf("2001:db8::%d", n+1)))
	}
	for n := range services {
		for _, c := range clusters {
			w.Service(c, "shop", fmt.Sprintf("service-%06d", n), lookuptest.Instance("i-1", registry.Passing, "1.0"))
		}
	}
	return w.View()
}

// messagesOf streams a whole zone and returns copies of its messages.
func messagesOf(t *testing.T, v *registry.View, q Request) (messages [][]byte) {
	t.Helper()
	p, ok := ForAXFR(v)
	if !ok {
		t.Fatal("no zone")
	}
	err := Stream(q, p.Records(), time.Now, func(b []byte) error {
		if int(binary.BigEndian.Uint16(b)) != len(b)-2 {
			t.Fatalf("the length says %d, there are %d", binary.BigEndian.Uint16(b), len(b)-2)
		}
		messages = append(messages, append([]byte(nil), b[2:]...))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return messages
}

func question(t *testing.T) []byte {
	t.Helper()
	b := make([]byte, 64)
	n, err := dns.PackDomainName("Mesh.internal.", b, 0, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	return append(b[:n], 0, byte(dns.TypeAXFR), 0, 1)
}

// TestStream: many messages that together hold the zone; the question, as asked, and
// OPT stand in the first, the flags and the ID in all.
func TestStream(t *testing.T) {
	v := manyServices(1000)
	messages := messagesOf(t, v, Request{ID: 7, RD: true, Question: question(t), EDNS: true, DO: true, Payload: 1232})
	if len(messages) < 10 {
		t.Fatalf("%d messages", len(messages))
	}
	got := content{}
	total := 0
	for n, b := range messages {
		m := new(dns.Msg)
		if err := m.Unpack(b); err != nil {
			t.Fatal(err)
		}
		if len(b) > fill+optLength || m.Id != 7 || !m.Response || !m.Authoritative || !m.RecursionDesired || m.Rcode != 0 {
			t.Errorf("message %d of %d bytes: %v", n, len(b), m.MsgHdr)
		}
		if first := n == 0; (len(m.Question) == 1) != first || (m.IsEdns0() != nil) != first {
			t.Errorf("message %d: question %v, OPT %v", n, m.Question, m.IsEdns0())
		}
		for _, rr := range m.Answer {
			total++
			if _, isSOA := rr.(*dns.SOA); !isSOA {
				got[rr.String()] = true
			}
		}
	}
	want := contentOf(v)
	if total != len(want)+2 || len(got) != len(want) {
		t.Fatalf("%d records, %d different, want %d and two SOAs", total, len(got), len(want))
	}
	for rr := range want {
		if !got[rr] {
			t.Errorf("missing: %s", rr)
		}
	}
}

// TestStreamIsSigned: every message is, and another implementation believes them.
func TestStreamIsSigned(t *testing.T) {
	k, err := tsig.NewKey("xfr.", "hmac-sha512", secret)
	if err != nil {
		t.Fatal(err)
	}
	m := new(dns.Msg)
	m.SetAxfr("mesh.internal.")
	m.SetTsig("xfr.", dns.HmacSHA512, 300, time.Now().Unix())
	asked, mac, err := dns.TsigGenerate(m, base64.StdEncoding.EncodeToString(secret), "", false)
	if err != nil {
		t.Fatal(err)
	}
	reply, err := tsig.Verify(asked, tsig.Keys{k}, time.Now())
	if err != nil || reply.Error != 0 {
		t.Fatal(reply, err)
	}
	for n, b := range messagesOf(t, manyServices(500), Request{ID: m.Id, Question: question(t), Reply: reply}) {
		if err := m.Unpack(b); err != nil || m.IsTsig() == nil {
			t.Fatalf("message %d: %v", n, err)
		}
		next := m.IsTsig().MAC
		if err := dns.TsigVerify(b, base64.StdEncoding.EncodeToString(secret), mac, n > 0); err != nil {
			t.Fatalf("message %d: %v", n, err)
		}
		mac = next
	}
}

// TestStreamEndsWithTheFirstError: nothing more is packed for a client that is gone.
func TestStreamEndsWithTheFirstError(t *testing.T) {
	gone := errors.New("gone")
	p, _ := ForAXFR(manyServices(500))
	sent := 0
	err := Stream(Request{Question: question(t)}, p.Records(), time.Now, func([]byte) error {
		if sent++; sent == 3 {
			return gone
		}
		return nil
	})
	if !errors.Is(err, gone) || sent != 3 {
		t.Errorf("%v after %d messages", err, sent)
	}
}

// TestStreamNeverLeavesARecordOut: what can't be sent is an error, not a smaller zone.
func TestStreamNeverLeavesARecordOut(t *testing.T) {
	long := &dns.TXT{Hdr: dns.RR_Header{Name: "a.", Rrtype: dns.TypeTXT, Class: dns.ClassINET}}
	for range 300 {
		long.Txt = append(long.Txt, string(make([]byte, 255)))
	}
	bad := &dns.NS{Hdr: dns.RR_Header{Name: "a.", Rrtype: dns.TypeNS, Class: dns.ClassINET}, Ns: "..."}
	fine := &dns.TXT{Hdr: long.Hdr, Txt: long.Txt[:250]}
	for name, tt := range map[string]struct {
		rr   dns.RR
		fits bool
	}{"too long": {long, false}, "no name": {bad, false}, "60,000 bytes": {fine, true}} {
		records := func(yield func(dns.RR) bool) { _ = yield(&dns.NS{Hdr: bad.Hdr, Ns: "b."}) && yield(tt.rr) }
		if err := Stream(Request{Question: question(t)}, records, time.Now, func([]byte) error { return nil }); (err == nil) != tt.fits {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTransferNeedsLittleMemory: records are made while they are sent.
func TestTransferNeedsLittleMemory(t *testing.T) {
	v := manyServices(5000)
	p, _ := ForAXFR(v)
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	most, messages := uint64(0), 0
	err := Stream(Request{Question: question(t)}, p.Records(), time.Now, func([]byte) error {
		if messages++; messages%50 == 0 {
			runtime.GC()
			runtime.ReadMemStats(&now)
			most = max(most, now.HeapAlloc-min(before.HeapAlloc, now.HeapAlloc))
		}
		return nil
	})
	if err != nil || messages < 200 {
		t.Fatalf("%d messages, %v", messages, err)
	}
	if most > 2<<20 {
		t.Errorf("%d bytes are held in the midst of %d messages", most, messages)
	}
	runtime.KeepAlive(v)
}

func BenchmarkAXFR(b *testing.B) {
	v := manyServices(10_000)
	p, _ := ForAXFR(v)
	for b.Loop() {
		bytes, records := 0, 0
		for range p.Records() {
			records++
		}
		if err := Stream(Request{}, p.Records(), time.Now, func(m []byte) error { bytes += len(m); return nil }); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(records), "records")
		b.ReportMetric(float64(bytes), "bytes/zone")
	}
}
