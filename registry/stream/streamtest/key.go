package streamtest

import (
	"testing"

	"github.com/nats-io/nkeys"
)

// UserKey makes an NKey of a user: its seed (SU…) and its public half (U…).
func UserKey(tb testing.TB) (seed []byte, public string) {
	tb.Helper()
	pair, err := nkeys.CreateUser()
	if err != nil {
		tb.Fatal(err)
	}
	if seed, err = pair.Seed(); err != nil {
		tb.Fatal(err)
	}
	if public, err = pair.PublicKey(); err != nil {
		tb.Fatal(err)
	}
	return seed, public
}
