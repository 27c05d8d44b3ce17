package tsig

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// Algorithm is the name of an algorithm as a domain name in lower case.
type Algorithm string

// The algorithms that a [Key] may have (RFC 8945 §6).
const (
	HMACSHA256 Algorithm = "hmac-sha256."
	HMACSHA512 Algorithm = "hmac-sha512."
)

// minSecret is the shortest secret, in bytes. Anything shorter is a password that
// can be guessed from one message that was overheard.
const minSecret = 16

// Key is a shared secret with its name. Make one with [NewKey]; it is immutable and
// may be shared. The zero Key is none.
type Key struct {
	name      string // lower-case, fully qualified
	algorithm Algorithm
	secret    string
}

// NewKey checks a key: a domain name, a known algorithm (with or without the dot at
// its end, in any case) and a secret of at least 16 bytes.
func NewKey(name, algorithm string, secret []byte) (Key, error) {
	k := Key{name: strings.ToLower(dns.Fqdn(name)), algorithm: Algorithm(strings.ToLower(dns.Fqdn(algorithm))), secret: string(secret)}
	if _, ok := dns.IsDomainName(k.name); !ok || k.name == "." || strings.ContainsAny(k.name, "\\ ") {
		return Key{}, fmt.Errorf("tsig: %q is no name of a key: write a domain name, for example xfr", name)
	}
	if k.algorithm != HMACSHA256 && k.algorithm != HMACSHA512 {
		return Key{}, fmt.Errorf("tsig: algorithm %q is not supported; use hmac-sha256 or hmac-sha512", algorithm)
	}
	if len(secret) < minSecret {
		return Key{}, fmt.Errorf("tsig: the secret has %d bytes, fewer than %d", len(secret), minSecret)
	}
	return k, nil
}

// Name returns the key's name: a domain name in lower case with a dot at its end.
func (k Key) Name() string { return k.name }

// Algorithm returns the key's algorithm.
func (k Key) Algorithm() Algorithm { return k.algorithm }

// String names the key, without its secret.
func (k Key) String() string { return k.name }

// Format writes what String returns, whatever the verb.
func (k Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.name) }

// Keys are the keys that are known, each name once.
type Keys []Key

// Find returns a key by its name in lower case; ok is false when it is not known.
func (k Keys) Find(name string) (key Key, ok bool) {
	n := slices.IndexFunc(k, func(k Key) bool { return k.name == name })
	if n < 0 {
		return Key{}, false
	}
	return k[n], true
}

// Check reports two keys of one name.
func (k Keys) Check() error {
	for n := range k {
		if _, again := k[:n].Find(k[n].name); again {
			return fmt.Errorf("tsig: two keys are named %s", k[n].name)
		}
		if k[n].name == "" {
			return errors.New("tsig: a key without a name")
		}
	}
	return nil
}

func (k Key) mac() hash.Hash {
	if k.algorithm == HMACSHA512 {
		return hmac.New(sha512.New, []byte(k.secret))
	}
	return hmac.New(sha256.New, []byte(k.secret))
}

// Room returns how many bytes a signature with this key adds to a message at most.
func (k Key) Room() int { return room(k.name, string(k.algorithm), k.mac().Size()) }

// room is the length of a TSIG record: two names, the fixed fields of a record and
// of its data, the code, and six bytes of time in a BADTIME reply.
func room(name, algorithm string, mac int) int {
	return len(name) + 1 + 10 + len(algorithm) + 1 + 16 + mac + 6
}
