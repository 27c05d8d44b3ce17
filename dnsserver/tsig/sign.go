package tsig

import (
	"crypto/hmac"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/miekg/dns"
)

// fudge is how far clocks may be apart, in seconds (RFC 8945 §10).
const fudge = 300

// Reply signs what answers one signed request. One goroutine uses it. Make one with
// [Verify].
type Reply struct {
	// Error is 0 when the request is to be believed; else BADKEY, BADSIG, BADTRUNC or
	// BADTIME, and the request is answered NOTAUTH (RFC 8945 §5.2).
	Error uint16

	key      Key // the zero Key when Error says that there is none to sign with
	request  record
	mac      []byte // of the message before
	messages int    // that were signed
}

// Key returns the key that the request was signed with; it means something only
// when Error is 0.
func (r *Reply) Key() Key { return r.key }

// Room returns how many bytes [Reply.Sign] adds to a message at most.
func (r *Reply) Room() int {
	size := 0
	if r.key.name != "" {
		size = r.key.mac().Size()
	}
	return room(r.request.name, r.request.algorithm, size)
}

// Verify checks the signature of a request at a moment. The error is [ErrUnsigned]
// or [ErrFormat]. Reply shares no memory with the packet.
func Verify(packet []byte, keys Keys, now time.Time) (*Reply, error) {
	t, err := find(packet)
	if err != nil {
		return nil, err
	}
	r := &Reply{request: t, mac: append([]byte(nil), t.mac...)}
	r.request.mac, r.request.other = nil, nil
	key, known := keys.Find(t.name)
	if !known || t.algorithm != string(key.algorithm) {
		r.Error = dns.RcodeBadKey
		return r, nil
	}
	want := requestMAC(packet, &t, key)
	switch {
	case len(t.mac) > len(want) || len(t.mac) < max(10, len(want)/2): // §5.2.2.1
		return nil, ErrFormat
	case !hmac.Equal(t.mac, want[:len(t.mac)]):
		r.Error = dns.RcodeBadSig
		return r, nil
	case apart(now, t.signed) > uint64(t.fudge): // before what was cut (§5.2)
		r.Error = dns.RcodeBadTime
	case len(t.mac) < len(want):
		r.Error = dns.RcodeBadTrunc
	}
	r.key = key
	return r, nil
}

func apart(now time.Time, signed uint64) uint64 {
	have := uint64(max(now.Unix(), 0))
	return max(have, signed) - min(have, signed)
}

// requestMAC is the code that a message which answers nothing must have.
func requestMAC(packet []byte, t *record, key Key) []byte {
	h := key.mac()
	h.Write(unsigned(packet, t))
	h.Write(t.appendVariables(nil))
	return h.Sum(nil)
}

// unsigned returns a message as it was before it was signed (§4.3.2).
func unsigned(packet []byte, t *record) []byte {
	plain := append([]byte(nil), packet[:t.at]...)
	binary.BigEndian.PutUint16(plain, t.originalID)
	binary.BigEndian.PutUint16(plain[10:], binary.BigEndian.Uint16(plain[10:])-1)
	return plain
}

// Sign appends the TSIG record to the next message of the reply, and returns the
// message. A message has the request's ID and no TSIG yet, and is sent as it is.
func (r *Reply) Sign(message []byte, now time.Time) []byte {
	t := record{
		name: r.request.name, algorithm: r.request.algorithm, originalID: binary.BigEndian.Uint16(message),
		signed: uint64(max(now.Unix(), 0)), fudge: fudge, code: r.Error,
	}
	if r.Error == dns.RcodeBadTime { // the client can check what its own clock said (§5.2.3)
		t.other = binary.BigEndian.AppendUint32([]byte{byte(t.signed >> 40), byte(t.signed >> 32)}, uint32(t.signed))
		t.signed = r.request.signed
	}
	if r.key.name != "" {
		h := r.key.mac()
		h.Write(binary.BigEndian.AppendUint16(nil, uint16(len(r.mac))))
		h.Write(r.mac)
		h.Write(message)
		if r.messages == 0 {
			h.Write(t.appendVariables(nil))
		} else {
			h.Write(t.appendTimers(nil))
		}
		t.mac = h.Sum(nil)
		r.mac = t.mac
	}
	r.messages++
	return t.appendTo(message)
}

// Request signs a request. The code that is returned beside the message verifies
// its answer with [VerifyAnswer].
func Request(message []byte, key Key, now time.Time) (signed, mac []byte) {
	t := record{
		name: key.name, algorithm: string(key.algorithm), originalID: binary.BigEndian.Uint16(message),
		signed: uint64(max(now.Unix(), 0)), fudge: fudge,
	}
	h := key.mac()
	h.Write(message)
	h.Write(t.appendVariables(nil))
	t.mac = h.Sum(nil)
	return t.appendTo(message), t.mac
}

// VerifyAnswer checks the one message that answers a request which was signed with
// the key and had this code. The error says why it is not to be believed.
func VerifyAnswer(packet []byte, key Key, mac []byte, now time.Time) error {
	t, err := find(packet)
	if err != nil {
		return err
	}
	if t.name != key.name || t.algorithm != string(key.algorithm) {
		return fmt.Errorf("tsig: signed with another key, %s", t.name)
	}
	if t.code != 0 && len(t.mac) == 0 {
		return fmt.Errorf("tsig: the other side says %s", dns.RcodeToString[int(t.code)])
	}
	h := key.mac()
	h.Write(binary.BigEndian.AppendUint16(nil, uint16(len(mac))))
	h.Write(mac)
	h.Write(unsigned(packet, &t))
	h.Write(t.appendVariables(nil))
	switch {
	case !hmac.Equal(t.mac, h.Sum(nil)):
		return fmt.Errorf("tsig: the code is wrong")
	case t.code != 0:
		return fmt.Errorf("tsig: the other side says %s", dns.RcodeToString[int(t.code)])
	case apart(now, t.signed) > fudge:
		return fmt.Errorf("tsig: the time is %d s away from ours", apart(now, t.signed))
	}
	return nil
}
