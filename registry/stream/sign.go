package stream

import (
	"encoding/base64"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/seamark-mesh/seamark/registry"
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

// Check judges a message of [EventsStream] that was read, before anything else is done with
// it; the error says why it must not be used. Any number of goroutines may call it.
type Check func(m registry.Stored) error

// CheckWith makes this connection refuse every message of [EventsStream] that check has an
// error for, from now on: with the reason "signature", as one that can't be read. Nil:
// none is refused.
func (c *Conn) CheckWith(check Check) {
	if check == nil {
		c.check.Store(nil)
		return
	}
	c.check.Store(&check)
}

// judge asks the check that is in force where the item was read.
func (i *item) judge() *registry.Refusal {
	if i.check == nil {
		return nil
	}
	err := (*i.check)(registry.Stored{Sequence: i.sequence, Time: i.stored, Subject: i.subject, Header: i.header, Body: i.data})
	if err == nil {
		return nil
	}
	return refuse("signature", err.Error())
}

// decode is [Decode] of a message that was asked for, with the check that is in force.
func (c *Conn) decode(m storedMessage) registry.Message {
	decoded, _ := decode(&registry.Decoder{}, item{
		subject: m.subject, header: m.header, data: m.data, sequence: m.sequence, stored: m.stored, check: c.check.Load(),
	})
	return decoded
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
