package stream

import (
	"encoding/base64"
	"fmt"

	"github.com/nats-io/nats.go"
)

// Signer signs what this process writes on [EventsStream]. Its methods may be called by
// several goroutines.
type Signer interface {
	// Public returns the public NKey, as text.
	Public() string
	// Sign returns the Ed25519 signature of some bytes.
	Sign(statement []byte) ([]byte, error)
}

// statementDomain begins with a byte that is in no UTF-8 text. The nonce that a NATS
// server asks a client to sign comes as a JSON string: so no server can have a message
// signed that way, where one key is for both.
const statementDomain = "\xffseamark message 1\n"

// Statement returns the bytes that the signature of a message is over.
func Statement(l Link) []byte { return append([]byte(statementDomain), l[:]...) }

// SignWith makes s sign every message that is written on [EventsStream] from now on,
// by this connection and its Writers; nil: none is signed.
func (c *Conn) SignWith(s Signer) {
	if s == nil {
		c.signer.Store(nil)
		return
	}
	c.signer.Store(&s)
}

// seal completes the headers of a message: with the link of the one before (zero: none),
// what it joins (nil: nothing), its own link, and the signature. It returns the link.
func (c *Conn) seal(m *nats.Msg, previous Link, joins *Join) (Link, error) {
	if previous != (Link{}) {
		m.Header[HeaderPrevious] = []string{previous.String()}
	}
	if joins != nil {
		m.Header[HeaderJoins] = []string{joins.String()}
	}
	link := LinkOf(m.Subject, m.Header, m.Data)
	m.Header[HeaderChain] = []string{link.String()}
	s := c.signer.Load()
	if s == nil {
		return link, nil
	}
	signature, err := (*s).Sign(Statement(link))
	if err != nil {
		return link, fmt.Errorf("sign %s: %w", clip(m.Header.Get(nats.MsgIdHdr)), err)
	}
	m.Header[HeaderKey] = []string{(*s).Public()}
	m.Header[HeaderSignature] = []string{base64.RawURLEncoding.EncodeToString(signature)}
	return link, nil
}
