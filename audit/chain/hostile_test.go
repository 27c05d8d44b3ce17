package chain_test

import (
	"encoding/base64"
	"math"
	"strconv"
	"testing"

	"github.com/nats-io/nkeys"

	"github.com/seamark-mesh/seamark/audit/chain"
)

// A public key of another length made crypto/ed25519 panic: one message of anybody ended
// each verification, and each reader that was told to refuse what is not signed.
func TestAKeyOfAnotherLengthIsNoKey(t *testing.T) {
	short, err := nkeys.Encode(nkeys.PrefixByteUser, []byte{1})
	if err != nil {
		t.Fatal(err)
	}
	h := newHistory()
	a := &author{history: h, writer: "amber", epoch: 1000}
	a.begin()
	m := a.message(a.subject(0))
	m.Header["Seamark-Key"] = []string{string(short)}
	m.Header["Seamark-Signature"] = []string{base64.RawURLEncoding.EncodeToString(make([]byte, 64))}
	h.store(m)
	if r := verify(h.messages, chain.Options{Whole: true}); r.Intact() {
		t.Error("a signature by a key of one byte is held to be good")
	}
	if keys, err := chain.NewKeys(map[string][]chain.Key{"amber": {{Public: string(short)}}}); err == nil {
		t.Errorf("a key of one byte is taken: %v", keys)
	}
}

// A message that names a revision far away made the verifier count down to it, for years.
func TestARevisionFarAwayIsNotCountedTo(t *testing.T) {
	h := newHistory()
	a := &author{history: h, writer: "amber", epoch: 1000}
	a.begin()
	a.publish(a.subject(0))
	m := clone(h.messages[len(h.messages)-1])
	m.Header["Seamark-Revision"] = []string{strconv.FormatUint(math.MaxUint64-1, 10)}
	sign(m, nil)
	h.store(m)
	a.begin()
	a.publish(a.subject(0))
	a.publish(a.subject(1))
	if r := verify(h.messages, chain.Options{Whole: true}); r.Intact() {
		t.Error("a message with a revision of nowhere is held to be good")
	}
}
