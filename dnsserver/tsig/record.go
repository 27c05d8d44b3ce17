package tsig

import (
	"encoding/binary"
	"errors"
	"strings"

	"github.com/miekg/dns"
)

// Errors of messages whose signature can't be read.
var (
	ErrUnsigned = errors.New("tsig: the message is not signed")
	ErrFormat   = errors.New("tsig: the TSIG record can't be read") // FORMERR (RFC 8945 §5.2)
)

const headerLength = 12

// record is a TSIG record (RFC 8945 §4.2).
type record struct {
	name       string // lower-case, fully qualified
	algorithm  string // the same
	signed     uint64 // Unix seconds, 48 bits
	fudge      uint16 // seconds
	mac        []byte
	originalID uint16
	code       uint16
	other      []byte
	at         int // where it begins in its message
}

// find reads the TSIG record that ends a message.
func find(message []byte) (r record, err error) {
	at, err := last(message)
	if err != nil {
		return r, err
	}
	r.at = at
	if r.name, at, err = domain(message, at); err != nil {
		return r, err
	}
	fixed := message[at:]
	if len(fixed) < 10 || binary.BigEndian.Uint16(fixed) != dns.TypeTSIG {
		return r, ErrUnsigned
	}
	if binary.BigEndian.Uint16(fixed[2:]) != dns.ClassANY || binary.BigEndian.Uint32(fixed[4:]) != 0 {
		return r, ErrFormat
	}
	if r.algorithm, at, err = domain(message, at+10); err != nil {
		return r, err
	}
	data := message[at:]
	if len(data) < 10 {
		return r, ErrFormat
	}
	r.signed = uint64(binary.BigEndian.Uint16(data))<<32 | uint64(binary.BigEndian.Uint32(data[2:]))
	r.fudge = binary.BigEndian.Uint16(data[6:])
	size := int(binary.BigEndian.Uint16(data[8:]))
	if data = data[10:]; len(data) < size+6 {
		return r, ErrFormat
	}
	r.mac, data = data[:size], data[size:]
	r.originalID, r.code = binary.BigEndian.Uint16(data), binary.BigEndian.Uint16(data[2:])
	if r.other = data[6:]; len(r.other) != int(binary.BigEndian.Uint16(data[4:])) {
		return r, ErrFormat
	}
	return r, nil
}

// domain reads a name in lower case.
func domain(message []byte, at int) (name string, next int, err error) {
	name, next, err = dns.UnpackDomainName(message, at)
	if err != nil {
		return "", 0, ErrFormat
	}
	return strings.ToLower(name), next, nil
}

// last returns where the last record of a message begins. The message ends with it.
func last(message []byte) (at int, err error) {
	if len(message) < headerLength {
		return 0, ErrFormat
	}
	count := func(section int) int { return int(binary.BigEndian.Uint16(message[4+2*section:])) }
	if count(3) == 0 {
		return 0, ErrUnsigned
	}
	next := headerLength
	for range count(0) {
		if next = skipName(message, next) + 4; next > len(message) {
			return 0, ErrFormat
		}
	}
	for range count(1) + count(2) + count(3) {
		at = next
		data := skipName(message, at) + 10
		if data > len(message) {
			return 0, ErrFormat
		}
		if next = data + int(binary.BigEndian.Uint16(message[data-2:])); next > len(message) {
			return 0, ErrFormat
		}
	}
	if next != len(message) {
		return 0, ErrFormat
	}
	return at, nil
}

// skipName returns where a name ends; beyond the message when it does not.
func skipName(message []byte, at int) int {
	for at < len(message) {
		switch c := message[at]; {
		case c == 0:
			return at + 1
		case c >= 0xc0:
			return at + 2
		default:
			at += 1 + int(c)
		}
	}
	return len(message) + 1
}

// appendTo writes the record behind a message and counts it there.
func (r *record) appendTo(message []byte) []byte {
	message = appendName(message, r.name)
	message = binary.BigEndian.AppendUint16(message, dns.TypeTSIG)
	message = binary.BigEndian.AppendUint16(message, dns.ClassANY)
	message = append(message, 0, 0, 0, 0, 0, 0)
	data := len(message)
	message = appendName(message, r.algorithm)
	message = r.appendTimers(message)
	message = binary.BigEndian.AppendUint16(message, uint16(len(r.mac)))
	message = append(message, r.mac...)
	message = binary.BigEndian.AppendUint16(message, r.originalID)
	message = binary.BigEndian.AppendUint16(message, r.code)
	message = binary.BigEndian.AppendUint16(message, uint16(len(r.other)))
	message = append(message, r.other...)
	binary.BigEndian.PutUint16(message[data-2:], uint16(len(message)-data))
	binary.BigEndian.PutUint16(message[10:], binary.BigEndian.Uint16(message[10:])+1)
	return message
}

func (r *record) appendTimers(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(r.signed>>32))
	b = binary.BigEndian.AppendUint32(b, uint32(r.signed))
	return binary.BigEndian.AppendUint16(b, r.fudge)
}

// appendVariables writes what a signature covers besides the message (§4.3.3).
func (r *record) appendVariables(b []byte) []byte {
	b = appendName(b, r.name)
	b = binary.BigEndian.AppendUint16(b, dns.ClassANY)
	b = append(b, 0, 0, 0, 0)
	b = appendName(b, r.algorithm)
	b = r.appendTimers(b)
	b = binary.BigEndian.AppendUint16(b, r.code)
	b = binary.BigEndian.AppendUint16(b, uint16(len(r.other)))
	return append(b, r.other...)
}

// appendName writes a name that was read or checked before, without compression.
func appendName(b []byte, name string) []byte {
	var wire [256]byte
	n, err := dns.PackDomainName(name, wire[:], 0, nil, false)
	if err != nil {
		return append(b, 0)
	}
	return append(b, wire[:n]...)
}
