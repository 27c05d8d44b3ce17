package cookie_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/seamark-mesh/seamark/dnsserver/cookie"
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func secret(t *testing.T, s string) cookie.Secret {
	t.Helper()
	parsed, err := cookie.ParseSecret(s)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// TestVectors are those of RFC 9018, appendix A: what we make, others accept.
func TestVectors(t *testing.T) {
	first := secret(t, "e5e973e5a6b2a43f48e7dc849e37bfcf")
	older, newer := secret(t, "dd3bdf9344b678b185a6f5cb60fca715"), secret(t, "445536bcd2513298075a5d379663c962")
	for _, tt := range []struct {
		keys    *cookie.Keys
		client  string // its half
		address string
		now     uint32
		want    string // our half
	}{
		{cookie.NewKeys(first), "2464c4abcf10c957", "198.51.100.100", 1559731985, "010000005cf79f111f8130c3eee29480"},
		{cookie.NewKeys(first), "2464c4abcf10c957", "198.51.100.100", 1559734385, "010000005cf7a871d4a564a1442aca77"},
		{cookie.NewKeys(first), "fc93fc62807ddb86", "203.0.113.203", 1559734700, "010000005cf7a9acf73a7810aca2381e"},
		{cookie.NewKeys(newer, older), "22681ab97d52c298", "2001:db8:220:1:59de:d0f4:8769:82b8", 1559741961, "010000005cf7c609a6bb79d16625507a"},
	} {
		address := netip.MustParseAddr(tt.address)
		got := tt.keys.Append(nil, unhex(t, tt.client), address, tt.now)
		if want := unhex(t, tt.client+tt.want); !bytes.Equal(got, want) {
			t.Errorf("%s at %d: got %x, want %x", tt.address, tt.now, got, want)
		}
		if ok, renew := tt.keys.Verify(got, address, tt.now); !ok || renew {
			t.Errorf("%s: its own cookie: ok %v, renew %v", tt.address, ok, renew)
		}
	}
	// Appendix A.3: reserved bytes that are not zero are part of the hash. A.4: a
	// secret that is no longer the first.
	for _, tt := range []struct {
		keys          *cookie.Keys
		data, address string
		now           uint32
		renew         bool
	}{
		{cookie.NewKeys(first), "fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5", "203.0.113.203", 1559727985, false},
		{cookie.NewKeys(newer, older), "22681ab97d52c298010000005cf7c57926556bd0934c72f8", "2001:db8:220:1:59de:d0f4:8769:82b8", 1559741961, true},
	} {
		ok, renew := tt.keys.Verify(unhex(t, tt.data), netip.MustParseAddr(tt.address), tt.now)
		if !ok || renew != tt.renew {
			t.Errorf("%s: ok %v, renew %v", tt.data, ok, renew)
		}
	}
}

// TestAge: an hour back, five minutes ahead, renewed after half an hour, also where
// the clock's 32 bits wrap.
func TestAge(t *testing.T) {
	k := cookie.NewKeys(cookie.NewSecret())
	address, client := netip.MustParseAddr("192.0.2.1"), []byte("12345678")
	for _, made := range []uint32{1 << 30, 1<<32 - 1, 0, 100, 1<<31 - 5} {
		data := k.Append(nil, client, address, made)
		for age, want := range map[int32]string{
			-1 << 31: "false false", -301: "false false", -300: "true false", 0: "true false", 1800: "true false",
			1801: "true true", 3600: "true true", 3601: "false false", 1<<31 - 1: "false false",
		} {
			ok, renew := k.Verify(data, address, made+uint32(age))
			if got := fmt.Sprint(ok, renew); got != want {
				t.Errorf("made at %d, %d s old: %s, want %s", made, age, got, want)
			}
		}
	}
}

// TestNothingElseIsValid: one bit of difference anywhere, another address, another
// secret, another length.
func TestNothingElseIsValid(t *testing.T) {
	first, second := cookie.NewSecret(), cookie.NewSecret()
	k := cookie.NewKeys(first, second)
	rapid.Check(t, func(t *rapid.T) {
		client := rapid.SliceOfN(rapid.Byte(), cookie.ClientLength, cookie.ClientLength).Draw(t, "client")
		raw := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "address")
		address := netip.AddrFrom16([16]byte(raw)).Unmap()
		if rapid.Bool().Draw(t, "IPv4") {
			address = netip.AddrFrom4([4]byte(raw[:4]))
		}
		now := rapid.Uint32().Draw(t, "now")
		data := k.Append([]byte("in front"), client, address, now)[len("in front"):]
		if len(data) != cookie.Length || !bytes.Equal(data[:cookie.ClientLength], client) {
			t.Fatalf("made %x for %x", data, client)
		}
		if ok, _ := k.Verify(data, address, now); !ok {
			t.Fatal("a fresh cookie is not valid")
		}
		if ok, renew := cookie.NewKeys(second, first).Verify(data, address, now); !ok || !renew {
			t.Fatalf("after the secrets changed places: ok %v, renew %v", ok, renew)
		}
		for bit := range 8 * len(data) {
			flipped := bytes.Clone(data)
			flipped[bit/8] ^= 1 << (bit % 8)
			if ok, _ := k.Verify(flipped, address, now); ok {
				t.Fatalf("valid with bit %d flipped", bit)
			}
		}
		for length := range 42 {
			if ok, _ := k.Verify(append(bytes.Clone(data), make([]byte, 18)...)[:length], address, now); ok != (length == cookie.Length) {
				t.Fatalf("%d bytes: ok %v", length, ok)
			}
		}
		if ok, _ := k.Verify(data, address.Next(), now); ok {
			t.Fatal("valid for another address")
		}
		if ok, _ := cookie.NewKeys(second).Verify(data, address, now); ok {
			t.Fatal("valid without its secret")
		}
	})
	if ok, _ := (*cookie.Keys)(nil).Verify(make([]byte, cookie.Length), netip.Addr{}, 0); ok {
		t.Error("no keys verify a cookie")
	}
}

// TestMappedAddress: an IPv4 client is the same one through an IPv6 socket.
func TestMappedAddress(t *testing.T) {
	k := cookie.NewKeys(cookie.NewSecret())
	data := k.Append(nil, make([]byte, 8), netip.MustParseAddr("192.0.2.1"), 1)
	if ok, _ := k.Verify(data, netip.MustParseAddr("::ffff:192.0.2.1"), 1); !ok {
		t.Error("not valid")
	}
}

func TestValidLength(t *testing.T) {
	for length := range 50 {
		if want := length == 8 || 16 <= length && length <= 40; cookie.ValidLength(length) != want {
			t.Errorf("%d: %v", length, !want)
		}
	}
}

func TestSecret(t *testing.T) {
	s := secret(t, " E5E973e5a6b2a43f48e7dc849e37bfcf\n")
	if got := fmt.Sprintf("%v %s %+v %#v", s, s, s, s); got != strings.TrimSpace(strings.Repeat("[redacted] ", 4)) {
		t.Errorf("prints as %s", got)
	}
	for _, text := range []string{"", "e5e973e5a6b2a43f48e7dc849e37bfc", "e5e973e5a6b2a43f48e7dc849e37bfcf0", "g5e973e5a6b2a43f48e7dc849e37bfcf", "e5e973e5a6b2a43f 48e7dc849e37bfcf"} {
		if _, err := cookie.ParseSecret(text); err == nil || text != "" && strings.Contains(err.Error(), text) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if one, two := cookie.NewSecret(), cookie.NewSecret(); one == two {
		t.Error("two random secrets are equal")
	}
}

func TestAllocations(t *testing.T) {
	k := cookie.NewKeys(cookie.NewSecret(), cookie.NewSecret())
	address, buffer := netip.MustParseAddr("2001:db8::1"), make([]byte, 0, cookie.Length)
	data := k.Append(nil, make([]byte, 8), address, 1)
	if got := testing.AllocsPerRun(100, func() {
		if ok, _ := k.Verify(data, address, 2); !ok {
			t.Fatal("not valid")
		}
		_ = k.Append(buffer, data, address, 2)
	}); got != 0 {
		t.Errorf("%v allocations", got)
	}
}

func BenchmarkVerify(b *testing.B) {
	k := cookie.NewKeys(cookie.NewSecret())
	address := netip.MustParseAddr("2001:db8::1")
	data := k.Append(nil, make([]byte, 8), address, 1)
	b.ReportAllocs()
	for b.Loop() {
		k.Verify(data, address, 2)
	}
}
