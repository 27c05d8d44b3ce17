package chain

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// keysSchema is the version of the file of keys.
const keysSchema = "seamark-keys/1"

// Key is one public key of a writer.
type Key struct {
	Public  string     `json:"key"`               // an NKey of a user: U and 55 characters
	From    *time.Time `json:"from,omitempty"`    // what was stored before is not accepted; nil: always
	Until   *time.Time `json:"until,omitempty"`   // it was replaced then: what was stored at that time or later is not accepted; nil: never
	Revoked *time.Time `json:"revoked,omitempty"` // like Until; for a key that others may have. Nil: never
}

// Keys says which keys may sign for whom. It is immutable, and any number of goroutines
// may use it. A nil *Keys names no key: then no signature is a fault, nor is one that is
// lacking.
type Keys struct {
	writers map[registry.Writer][]key
}

type key struct {
	Key
	raw ed25519.PublicKey
}

// keysFile is the file as it is written.
type keysFile struct {
	Schema  string           `json:"schema"`
	Writers map[string][]Key `json:"writers"`
}

const maxKeysFile = 4 << 20

// ReadKeys reads a file of keys:
//
//	{"schema": "seamark-keys/1", "writers": {
//	  "amber":     [{"key": "UC…", "until": "2026-12-01T00:00:00Z"}, {"key": "UD…", "from": "2026-11-30T00:00:00Z"}],
//	  "_observer": [{"key": "UA…"}],
//	  "_operator": [{"key": "UA…"}, {"key": "UB…", "revoked": "2026-11-20T09:00:00Z"}]}}
//
// A writer that has keys must sign, from the moment on at which its first key is valid.
// The error names everything that is wrong.
func ReadKeys(path string) (*Keys, error) {
	text, err := readFile(path, maxKeysFile, "a file of keys")
	if err != nil {
		return nil, err
	}
	keys, err := parseKeys(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return keys, nil
}

func parseKeys(text []byte) (*Keys, error) {
	var file keysFile
	if err := decodeFile(text, &file, "file of keys"); err != nil {
		return nil, err
	}
	if file.Schema != keysSchema {
		return nil, fmt.Errorf("the schema is %q, this version reads %q", clip(file.Schema), keysSchema)
	}
	return NewKeys(file.Writers)
}

// NewKeys is [ReadKeys] of what is already in memory.
func NewKeys(writers map[string][]Key) (*Keys, error) {
	keys := &Keys{writers: map[registry.Writer][]key{}}
	var faults []error
	for name, list := range writers {
		w, err := registry.ParseWriter(name)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		for n, k := range list {
			raw, err := publicKey(k.Public)
			switch {
			case err != nil:
				faults = append(faults, fmt.Errorf("%s, key %d: %q is no public NKey of a user: %w", w, n+1, clip(k.Public), err))
			case k.From != nil && k.Until != nil && !k.From.Before(*k.Until):
				faults = append(faults, fmt.Errorf("%s, key %d: it ends before it begins", w, n+1))
			default:
				keys.writers[w] = append(keys.writers[w], key{Key: k, raw: raw})
			}
		}
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return keys, nil
}

// Writers returns whom there are keys of, sorted.
func (k *Keys) Writers() []registry.Writer {
	if k == nil {
		return nil
	}
	var all []registry.Writer
	for w := range k.writers {
		all = append(all, w)
	}
	slices.Sort(all)
	return all
}

// mustSign reports whether a writer's message that was stored at some time must be signed.
func (k *Keys) mustSign(w registry.Writer, stored time.Time) bool {
	if k == nil {
		return false
	}
	return slices.ContainsFunc(k.writers[w], func(k key) bool { return k.From == nil || !stored.Before(*k.From) })
}

// judge says what a public key is worth for a message; "" when it may sign it. No key
// is known for a writer that has none: that is no fault.
func (k *Keys) judge(w registry.Writer, public string, stored time.Time) (Kind, string) {
	if k == nil || len(k.writers[w]) == 0 {
		return "", ""
	}
	known := ""
	for _, one := range k.writers[w] { // one key may stand there for several times
		switch {
		case one.Public != public:
		case one.Revoked != nil && !stored.Before(*one.Revoked):
			return RevokedKey, fmt.Sprintf("key %s was revoked at %s", public, one.Revoked.UTC().Format(time.RFC3339))
		case one.From != nil && stored.Before(*one.From):
			known = fmt.Sprintf("key %s is valid from %s only", public, one.From.UTC().Format(time.RFC3339))
		case one.Until != nil && !stored.Before(*one.Until):
			known = fmt.Sprintf("key %s was valid until %s", public, one.Until.UTC().Format(time.RFC3339))
		default:
			return "", ""
		}
	}
	if known != "" {
		return RevokedKey, known
	}
	return UnknownKey, fmt.Sprintf("key %s is none of %s's", clip(public), w)
}

// clip shortens what came from outside.
func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}
