package chain

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"

	"github.com/nats-io/nkeys"
)

// Signer signs with the NKey of a user. It is a stream.Signer; any number of goroutines
// may use it.
type Signer struct {
	public  string
	private ed25519.PrivateKey
}

// ReadSigner reads the seed of a user's NKey: a file that holds the seed (SU…), or a
// .creds file as NATS clients have it, with the user's JWT and seed.
func ReadSigner(path string) (*Signer, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	s, err := ParseSigner(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// ParseSigner is [ReadSigner] of a file's content. Errors do not quote it.
func ParseSigner(text []byte) (*Signer, error) {
	pair, err := nkeys.ParseDecoratedUserNKey(text)
	if err != nil {
		return nil, errors.New("there is no seed of a user's NKey in it: one begins with SU, and `nk -gen user` makes one")
	}
	defer pair.Wipe()
	seed, err := pair.Seed()
	if err != nil {
		return nil, fmt.Errorf("the seed can't be read: %w", err)
	}
	_, raw, err := nkeys.DecodeSeed(seed)
	if err != nil {
		return nil, fmt.Errorf("the seed can't be read: %w", err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("the seed can't be read: %w", err)
	}
	return &Signer{public: public, private: ed25519.NewKeyFromSeed(raw)}, nil
}

// Public returns the public NKey: U and 55 characters.
func (s *Signer) Public() string { return s.public }

// Sign returns the Ed25519 signature of some bytes. It never fails.
func (s *Signer) Sign(statement []byte) ([]byte, error) {
	return ed25519.Sign(s.private, statement), nil
}

// publicKey returns the raw key of a public NKey of a user. Package nkeys does not look at
// its length, and a signature can't be held to a key of another one.
func publicKey(public string) (ed25519.PublicKey, error) {
	raw, err := nkeys.Decode(nkeys.PrefixByteUser, []byte(public))
	if err == nil && len(raw) != ed25519.PublicKeySize {
		return nil, nkeys.ErrInvalidPublicKey
	}
	return raw, err
}
