package tsig

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

var (
	secret = []byte("0123456789abcdef0123456789abcdef")
	now    = time.Unix(1_800_000_000, 0)
)

func key(t testing.TB, name, algorithm string) Key {
	t.Helper()
	k, err := NewKey(name, algorithm, secret)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// theirs signs a query as miekg/dns does.
func theirs(t *testing.T, name, algorithm string, signed time.Time) (packet []byte, mac string) {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion("mesh.internal.", dns.TypeSOA)
	m.SetTsig(name, algorithm, fudge, signed.Unix())
	packet, mac, err := dns.TsigGenerate(m, base64.StdEncoding.EncodeToString(secret), "", false)
	if err != nil {
		t.Fatal(err)
	}
	return packet, mac
}

// plain is a reply without signature.
func plain(t *testing.T, id uint16) []byte {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion("mesh.internal.", dns.TypeSOA)
	m.Id, m.Response = id, true
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// theirVerdict is what miekg/dns says to a message. It has the machine's own clock,
// so only messages of now have the right time.
func theirVerdict(packet []byte, mac string, timersOnly bool) error {
	return dns.TsigVerify(bytes.Clone(packet), base64.StdEncoding.EncodeToString(secret), mac, timersOnly)
}

// TestAgainstAnotherImplementation: what one signs the other believes, over replies
// of several messages.
func TestAgainstAnotherImplementation(t *testing.T) {
	for _, algorithm := range []string{dns.HmacSHA256, dns.HmacSHA512} {
		t.Run(algorithm, func(t *testing.T) {
			k := key(t, "XFR", strings.ToUpper(strings.TrimSuffix(algorithm, ".")))
			today := time.Now()
			packet, mac := theirs(t, "xfr.", algorithm, today)
			r, err := Verify(packet, Keys{k}, today)
			if err != nil || r.Error != 0 || r.Key() != k {
				t.Fatalf("%+v, %v", r, err)
			}
			id := uint16(packet[0])<<8 | uint16(packet[1])
			for n := range 4 {
				message := plain(t, id)
				signed := r.Sign(message, today)
				if len(signed)-len(message) > r.Room() {
					t.Errorf("%d bytes more, room is %d", len(signed)-len(message), r.Room())
				}
				if err := theirVerdict(signed, mac, n > 0); err != nil {
					t.Fatalf("message %d: %v", n, err)
				}
				m := new(dns.Msg)
				if err := m.Unpack(signed); err != nil {
					t.Fatal(err)
				}
				mac = m.IsTsig().MAC
			}
		})
	}
}

// TestRefused: each fault has its own error, and only what the RFC lets be signed is.
func TestRefused(t *testing.T) {
	k := key(t, "xfr.", dns.HmacSHA256)
	good, _ := theirs(t, "xfr.", dns.HmacSHA256, now)
	changed := bytes.Clone(good)
	changed[len(changed)-8] ^= 1 // within the code
	question := bytes.Clone(good)
	question[13] ^= 1
	foreign, _ := theirs(t, "other.", dns.HmacSHA256, now)
	algorithm, _ := theirs(t, "xfr.", dns.HmacSHA512, now)
	for name, tt := range map[string]struct {
		packet []byte
		now    time.Time
		want   uint16
		signed bool
	}{
		"right":           {good, now, 0, true},
		"at the edge":     {good, now.Add(300 * time.Second), 0, true},
		"too late":        {good, now.Add(301 * time.Second), dns.RcodeBadTime, true},
		"too early":       {good, now.Add(-301 * time.Second), dns.RcodeBadTime, true},
		"another code":    {changed, now, dns.RcodeBadSig, false},
		"changed":         {question, now, dns.RcodeBadSig, false},
		"both":            {changed, now.Add(time.Hour), dns.RcodeBadSig, false},
		"unknown key":     {foreign, now, dns.RcodeBadKey, false},
		"other algorithm": {algorithm, now, dns.RcodeBadKey, false},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := Verify(tt.packet, Keys{key(t, "first.", dns.HmacSHA256), k}, tt.now)
			if err != nil || r.Error != tt.want {
				t.Fatalf("%+v, %v", r, err)
			}
			m := new(dns.Msg)
			if err := m.Unpack(r.Sign(plain(t, 7), tt.now)); err != nil {
				t.Fatal(err)
			}
			got := m.IsTsig()
			if got == nil || got.Error != tt.want || (got.MACSize > 0) != tt.signed || got.OrigId != 7 {
				t.Errorf("reply %v", got)
			}
			if tt.want == dns.RcodeBadTime && (got.TimeSigned != uint64(now.Unix()) || got.OtherData != fmt.Sprintf("%012X", tt.now.Unix()) && got.OtherData != fmt.Sprintf("%012x", tt.now.Unix())) {
				t.Errorf("times %d, %q", got.TimeSigned, got.OtherData)
			}
		})
	}
}

// TestTruncatedCode: a code that was cut is recognised, and not enough (§5.2.2.1).
func TestTruncatedCode(t *testing.T) {
	k := key(t, "xfr.", dns.HmacSHA256)
	good, _ := theirs(t, "xfr.", dns.HmacSHA256, now)
	record, err := find(good)
	if err != nil {
		t.Fatal(err)
	}
	cut := func(size int) []byte {
		r := record
		r.mac = append(bytes.Clone(r.mac), make([]byte, 64)...)[:size]
		return r.appendTo(unsigned(good, &record))
	}
	for size, want := range map[int]error{0: ErrFormat, 9: ErrFormat, 15: ErrFormat, 33: ErrFormat, 16: nil, 31: nil, 32: nil} {
		r, err := Verify(cut(size), Keys{k}, now)
		if err != want {
			t.Errorf("%d bytes: %v, want %v", size, err, want)
		}
		if err == nil && (r.Error == dns.RcodeBadTrunc) != (size < 32) {
			t.Errorf("%d bytes: %d", size, r.Error)
		}
	}
	if r, err := Verify(cut(16), Keys{k}, now.Add(time.Hour)); err != nil || r.Error != dns.RcodeBadTime {
		t.Errorf("cut and an hour old: %+v, %v; want BADTIME, for the time is checked first", r, err)
	}
}

func TestRequest(t *testing.T) {
	k := key(t, "xfr.", dns.HmacSHA512)
	today := time.Now()
	signed, mac := Request(plain(t, 9), k, today)
	if err := theirVerdict(signed, "", false); err != nil {
		t.Fatal(err)
	}
	r, err := Verify(signed, Keys{k}, today)
	if err != nil || r.Error != 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	answer := r.Sign(plain(t, 9), today)
	if err := VerifyAnswer(answer, k, mac, today); err != nil {
		t.Error(err)
	}
	for name, err := range map[string]error{
		"unsigned":    VerifyAnswer(plain(t, 9), k, mac, today),
		"changed":     VerifyAnswer(append([]byte{answer[0] ^ 1, answer[1], answer[2] ^ 1}, answer[3:]...), k, mac, today),
		"another key": VerifyAnswer(answer, key(t, "xfs.", dns.HmacSHA512), mac, today),
		"another ask": VerifyAnswer(answer, k, mac[1:], today),
		"late":        VerifyAnswer(answer, k, mac, today.Add(time.Hour)),
	} {
		if err == nil {
			t.Errorf("%s: believed", name)
		}
	}
}

func TestNewKey(t *testing.T) {
	for _, tt := range []struct{ name, algorithm string }{{"", "hmac-sha256"}, {".", "hmac-sha256"}, {"a b", "hmac-sha256"}, {"xfr", "hmac-md5.sig-alg.reg.int"}, {"xfr", ""}} {
		if _, err := NewKey(tt.name, tt.algorithm, secret); err == nil {
			t.Errorf("%v was taken", tt)
		}
	}
	if _, err := NewKey("xfr", "hmac-sha256", secret[:15]); err == nil {
		t.Error("a short secret was taken")
	}
	k := key(t, "xfr", "hmac-sha256")
	for _, text := range []string{fmt.Sprint(k), fmt.Sprintf("%+v %#v %s %x", k, k, &k, k)} {
		if strings.Contains(text, string(secret[:8])) || strings.Contains(text, fmt.Sprintf("%x", secret[:8])) {
			t.Errorf("the secret is printed: %s", text)
		}
	}
	if (Keys{k, k}).Check() == nil {
		t.Error("the same name twice was taken")
	}
}

func FuzzVerify(f *testing.F) {
	k, _ := NewKey("xfr.", "hmac-sha256", secret)
	query := []byte("\x00\x01\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x01")
	signed, _ := Request(bytes.Clone(query), k, now)
	f.Add(signed)
	f.Add(query)
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		r, err := Verify(b, Keys{k}, now)
		if !bytes.Equal(b, before) {
			t.Fatal("the packet was written to")
		}
		if err != nil {
			return
		}
		reply := r.Sign(bytes.Clone(query), now)
		if _, err := find(reply); err != nil || len(reply) > len(query)+r.Room() {
			t.Fatalf("the reply %x: %v, room %d", reply, err, r.Room())
		}
	})
}
