package cookie

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/dchest/siphash"
)

// Lengths in bytes of the data of a COOKIE option (RFC 7873 §4, RFC 9018 §4).
const (
	ClientLength = 8                           // a client's half
	ServerLength = 16                          // a server's half, as made here
	Length       = ClientLength + ServerLength // both, as every reply has them

	minForeign = 8  // the shortest server's half that any server makes
	maxForeign = 32 // the longest
)

// How long a server cookie counts, in seconds (RFC 9018 §4.3).
const (
	validity = 3600
	future   = 300
	renewal  = 1800 // when an answer brings a new one
)

const version = 1

// SecretLength is that of a secret in bytes (RFC 9018 §4.4).
const SecretLength = 16

// Secret is what makes server cookies unpredictable. It prints as "[redacted]".
type Secret [SecretLength]byte

// String implements [fmt.Stringer].
func (Secret) String() string { return "[redacted]" }

// GoString implements [fmt.GoStringer].
func (Secret) GoString() string { return "[redacted]" }

// NewSecret returns a random secret.
func NewSecret() Secret {
	var s Secret
	_, _ = rand.Read(s[:]) // never fails: the process ends instead
	return s
}

// ParseSecret reads 32 hexadecimal digits, as BIND and Knot have them in their
// configurations; space around them is ignored. The error does not contain the text.
func ParseSecret(text string) (Secret, error) {
	var s Secret
	text = strings.TrimSpace(text)
	if len(text) != hex.EncodedLen(SecretLength) {
		return s, fmt.Errorf("a cookie secret has %d hexadecimal digits, not %d characters", hex.EncodedLen(SecretLength), len(text))
	}
	if _, err := hex.Decode(s[:], []byte(text)); err != nil {
		return Secret{}, errors.New("a cookie secret has hexadecimal digits only")
	}
	return s, nil
}

// Keys are the secrets of a server. The first one makes cookies, all of them verify,
// so a secret can be changed without a moment in which a replica refuses another's
// cookies: first add the new one at the end everywhere, then move it to the front
// everywhere, then, an hour later, drop the old one. Make one with [NewKeys]; nil Keys verify nothing.
type Keys struct{ halves [][2]uint64 }

// NewKeys returns Keys that make cookies with the first secret.
func NewKeys(first Secret, others ...Secret) *Keys {
	k := &Keys{}
	for _, s := range append([]Secret{first}, others...) {
		k.halves = append(k.halves, [2]uint64{binary.LittleEndian.Uint64(s[:8]), binary.LittleEndian.Uint64(s[8:])})
	}
	return k
}

// ValidLength reports whether a COOKIE option may have data of this length: a
// client's half, alone or with a server's. Another one is FORMERR (RFC 7873 §5.2.2).
func ValidLength(length int) bool {
	return length == ClientLength || ClientLength+minForeign <= length && length <= ClientLength+maxForeign
}

// Verify reports whether the server's half of a cookie is one of ours for this client
// at this time: ok. Renew tells that it is good but should be replaced, because it
// is old or was made with another secret than the first. Data is that of the option,
// of any length; an option without a server's half is not ok.
func (k *Keys) Verify(data []byte, client netip.Addr, now uint32) (ok, renew bool) {
	if k == nil || len(data) != Length || data[ClientLength] != version {
		return false, false
	}
	made := binary.BigEndian.Uint32(data[ClientLength+4:])
	age := int32(now - made) // RFC 1982: within half of the circle
	if age > validity || age < -future {
		return false, false
	}
	for n := range k.halves {
		var want [8]byte
		k.sum(&want, n, data[:ClientLength+8], client)
		if subtle.ConstantTimeCompare(want[:], data[ClientLength+8:]) == 1 {
			return true, n > 0 || age > renewal
		}
	}
	return false, false
}

// Append appends the data of a COOKIE option for the reply to a client: its own half
// (the first [ClientLength] bytes of data, which must be there) and a fresh one of
// ours, [Length] bytes in all.
func (k *Keys) Append(b, data []byte, client netip.Addr, now uint32) []byte {
	at := len(b)
	b = append(b, data[:ClientLength]...)
	b = append(b, version, 0, 0, 0)
	b = binary.BigEndian.AppendUint32(b, now)
	var hash [8]byte
	k.sum(&hash, 0, b[at:], client)
	return append(b, hash[:]...)
}

// sum is the hash over the client's half, the first half of ours, and the client's
// address (RFC 9018 §4.4).
func (k *Keys) sum(hash *[8]byte, key int, head []byte, client netip.Addr) {
	var message [ClientLength + 8 + 16]byte
	length := copy(message[:], head)
	if client = client.Unmap(); client.Is4() {
		four := client.As4()
		length += copy(message[length:], four[:])
	} else if client.IsValid() {
		sixteen := client.As16()
		length += copy(message[length:], sixteen[:])
	}
	k0, k1 := k.halves[key][0], k.halves[key][1]
	binary.LittleEndian.PutUint64(hash[:], siphash.Hash(k0, k1, message[:length]))
}
