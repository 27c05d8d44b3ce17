package stream

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
)

// Headers by which the messages of a writer's epoch prove each other. All but the
// signature and its key are covered by the [Link] of their message.
const (
	HeaderChain     = "Seamark-Chain"     // the message's own Link
	HeaderPrevious  = "Seamark-Previous"  // the Link of the message before; of an epoch's first record, that of the epoch record before
	HeaderJoins     = "Seamark-Joins"     // of an epoch's second message: the last message of the epochs before, see [Join]
	HeaderKey       = "Seamark-Key"       // the public NKey that signed
	HeaderSignature = "Seamark-Signature" // over [Statement], base64url without padding
)

// Link is the digest of one message as it is stored: a SHA-256 over its subject, its
// headers but those of the server, and its body. As the Link of the message before is
// among the headers, a Link stands for all that led to it. The zero Link is no message's.
type Link [sha256.Size]byte

// String returns the form that stands in headers: base64url without padding.
func (l Link) String() string { return base64.RawURLEncoding.EncodeToString(l[:]) }

// MarshalText is [Link.String], for JSON. It never fails.
func (l Link) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText is [ParseLink].
func (l *Link) UnmarshalText(text []byte) (err error) {
	*l, err = ParseLink(string(text))
	return err
}

// ParseLink is the inverse of [Link.String].
func ParseLink(s string) (l Link, err error) {
	if len(s) != base64.RawURLEncoding.EncodedLen(len(l)) {
		return Link{}, fmt.Errorf("%q is no digest of a message", clip(s))
	}
	if _, err = base64.RawURLEncoding.Strict().Decode(l[:], []byte(s)); err != nil {
		return Link{}, fmt.Errorf("%q is no digest of a message: %w", clip(s), err)
	}
	return l, nil
}

// linkDomain begins what is digested, so that no digest of anything else equals one.
const linkDomain = "seamark message 1\n"

// LinkOf returns the digest of a message: over its subject, its id, every header that
// the server did not write (none whose name begins with Nats- but the id) other than
// [HeaderChain], [HeaderKey] and [HeaderSignature], and its body as it is stored. The
// bytes are in docs/protocol.md. It is pure, and any number of goroutines may call it.
func LinkOf(subject string, header map[string][]string, body []byte) (l Link) {
	var few [24]string
	names := few[:0]
	for name := range header {
		if covered(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var room [1024]byte
	b := append(room[:0], linkDomain...)
	b = appendText(b, subject)
	b = binary.AppendUvarint(b, uint64(len(names)))
	for _, name := range names {
		b = appendText(b, name)
		b = binary.AppendUvarint(b, uint64(len(header[name])))
		for _, value := range header[name] {
			b = appendText(b, value)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(body)))
	h := sha256.New()
	h.Write(b)
	h.Write(body)
	h.Sum(l[:0])
	return l
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// covered reports whether a header enters the digest. What begins with Nats- is between
// the writer and the server, which appends its own to what it hands out.
func covered(name string) bool {
	switch name {
	case HeaderChain, HeaderKey, HeaderSignature:
		return false
	case nats.MsgIdHdr:
		return true
	}
	return len(name) < 5 || !strings.EqualFold(name[:5], "Nats-")
}

// Join names the last message of the epochs before one, epoch records aside: those
// name each other.
type Join struct {
	Epoch    uint64
	Revision uint64
	Link     Link
}

// String returns the form that stands in a header: epoch.revision.link.
func (j Join) String() string {
	return strconv.FormatUint(j.Epoch, 10) + "." + strconv.FormatUint(j.Revision, 10) + "." + j.Link.String()
}

// parseJoin is the inverse of String.
func parseJoin(s string) (j Join, err error) {
	epoch, rest, _ := strings.Cut(s, ".")
	revision, link, _ := strings.Cut(rest, ".")
	if j.Epoch, err = strconv.ParseUint(epoch, 10, 64); err == nil {
		j.Revision, err = strconv.ParseUint(revision, 10, 64)
	}
	if err == nil {
		j.Link, err = ParseLink(link)
	}
	if err != nil {
		return Join{}, fmt.Errorf("%q names no message: %w", clip(s), err)
	}
	return j, nil
}

// Seal is what the headers of a message say for its proof.
type Seal struct {
	Link      Link  // what the message claims to be; see [LinkOf] for what it is
	Previous  Link  // zero: it names none
	Joins     *Join // nil: it names none
	Key       string
	Signature []byte // nil: it is not signed
}

// ReadSeal reads the headers of a message. Found is false when there are none of them: an
// older version wrote it. The error says that they are not well-formed.
func ReadSeal(header map[string][]string) (s Seal, found bool, err error) {
	values := [5]string{}
	for n, name := range [...]string{HeaderChain, HeaderPrevious, HeaderJoins, HeaderKey, HeaderSignature} {
		given := header[name]
		if len(given) == 0 {
			continue
		}
		if found = true; len(given) > 1 {
			return s, true, fmt.Errorf("%s stands there %d times", name, len(given))
		}
		values[n] = given[0]
	}
	if !found {
		return s, false, nil
	}
	if s.Link, err = ParseLink(values[0]); err != nil {
		return s, true, fmt.Errorf("%s: %w", HeaderChain, err)
	}
	if values[1] != "" {
		if s.Previous, err = ParseLink(values[1]); err != nil {
			return s, true, fmt.Errorf("%s: %w", HeaderPrevious, err)
		}
	}
	if values[2] != "" {
		join, err := parseJoin(values[2])
		if err != nil {
			return s, true, fmt.Errorf("%s: %w", HeaderJoins, err)
		}
		s.Joins = &join
	}
	if s.Key = values[3]; values[4] != "" {
		if s.Signature, err = base64.RawURLEncoding.Strict().DecodeString(values[4]); err != nil {
			return s, true, fmt.Errorf("%s: %w", HeaderSignature, err)
		}
	}
	if (s.Key == "") != (s.Signature == nil) {
		return s, true, fmt.Errorf("of %s and %s only one is there", HeaderKey, HeaderSignature)
	}
	return s, true, nil
}
