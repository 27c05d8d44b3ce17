package chain

import (
	"crypto/ed25519"
	"strconv"
	"strings"
	"time"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
)

// examined is what one message says and whether it proves itself: all that needs no
// other message. It is made on any core.
type examined struct {
	sequence uint64
	stored   time.Time
	subject  string
	foreign  bool // on no writer's subject
	fact     registry.Fact
	epoch    uint64
	revision uint64

	bare     bool        // without any header of the chain
	link     stream.Link // what it claims to be; of a bare one what it is
	previous stream.Link
	joins    *stream.Join
	key      string // whose signature is good
	fault    *Fault
}

// examine never fails: what can't be understood is a fault, or foreign.
func (o *Options) examine(s registry.Stored) examined {
	x := examined{sequence: s.Sequence, stored: s.Time, subject: s.Subject}
	fact, err := stream.ParseSubject(s.Subject)
	if err != nil {
		x.foreign = true
		x.stranger(s)
		return x
	}
	x.fact, x.link = fact, stream.LinkOf(s.Subject, s.Header, s.Body)
	is, badNumber := x.link, false
	x.epoch, badNumber = number(s.Header, "Seamark-Epoch")
	if revision, bad := number(s.Header, "Seamark-Revision"); !bad {
		x.revision = revision
	} else {
		badNumber = true
	}
	seal, found, err := stream.ReadSeal(s.Header)
	switch {
	case !found:
		x.bare = true
		x.unsigned(o.Keys)
		return x
	case err != nil:
		x.fail(Altered, "its headers can't be read: "+err.Error())
	case badNumber:
		x.fail(Altered, "its epoch or revision is no number")
	case seal.Link != is:
		x.fail(Altered, "it is not what its digest says")
	}
	if seal.Link != (stream.Link{}) {
		x.link = seal.Link // so that what follows it still does
	}
	x.previous, x.joins = seal.Previous, seal.Joins
	if x.fault == nil {
		x.checkSignature(o.Keys, seal, is)
	}
	return x
}

// stranger looks at a message on no subject of the mesh: one that was written for another
// has a digest that says so.
func (x *examined) stranger(s registry.Stored) {
	seal, found, err := stream.ReadSeal(s.Header)
	if !found || err != nil {
		return
	}
	x.link = seal.Link
	x.epoch, _ = number(s.Header, "Seamark-Epoch")
	x.revision, _ = number(s.Header, "Seamark-Revision")
	if tokens := strings.SplitN(s.Subject, ".", 4); len(tokens) == 4 {
		if w, err := registry.ParseWriter(tokens[2]); err == nil {
			x.fact.Writer = w
		}
	}
	x.fail(Altered, "it was not written for the subject where it stands")
}

func (x *examined) fail(k Kind, detail string) {
	x.fault = &Fault{Kind: k, Writer: x.fact.Writer, Epoch: x.epoch, Revision: x.revision, Sequence: x.sequence, Detail: detail}
}

// unsigned makes it a fault that a signature is lacking, where there must be one.
func (x *examined) unsigned(keys *Keys) {
	if keys.mustSign(x.fact.Writer, x.stored) && !x.fills() {
		x.fail(Unsigned, "it is not signed")
	}
}

// fills reports whether it is one of the notes that fill up a stream: they state nothing.
func (x *examined) fills() bool {
	return x.fact == registry.Fact{Writer: registry.Operator, Kind: registry.KindNote, Name: stream.NoteFill}
}

func (x *examined) checkSignature(keys *Keys, seal stream.Seal, is stream.Link) {
	if seal.Signature == nil {
		x.unsigned(keys)
		return
	}
	if kind, detail := keys.judge(x.fact.Writer, seal.Key, x.stored); kind != "" {
		x.fail(kind, detail)
		return
	}
	raw, err := publicKey(seal.Key)
	switch {
	case err != nil:
		x.fail(UnknownKey, "its key is no public NKey of a user")
	case len(seal.Signature) != ed25519.SignatureSize || !ed25519.Verify(raw, stream.Statement(is), seal.Signature):
		x.fail(Altered, "its signature is not over it")
	default:
		x.key = seal.Key
	}
}

// number reads a header; one that is missing is 0.
func number(header map[string][]string, name string) (n uint64, bad bool) {
	values := header[name]
	if len(values) == 0 {
		return 0, false
	}
	n, err := strconv.ParseUint(values[0], 10, 64)
	return n, err != nil || len(values) > 1
}
