package packet

import (
	"encoding/binary"

	"github.com/miekg/dns"

	"github.com/seamark-mesh/seamark/dnsserver/cookie"
	"github.com/seamark-mesh/seamark/dnsserver/lookup"
)

// Asked is what a query's OPT record asks for by its options. Those that are not
// named here are ignored, as RFC 6891 §6.1.2 wants: among them a client's subnet, of
// which no answer depends (RFC 7871 §7.1.3).
type Asked struct {
	Cookie      []byte // data of the first COOKIE option, of a valid length (RFC 7873 §5.2); nil without
	NSID        bool   // RFC 5001
	KeepAlive   bool   // RFC 7828
	ZoneVersion bool   // RFC 9660
}

// options reads the options of an OPT record. It returns false when they do not fill
// its data exactly, or one that we understand has a length that it can't have. Of an
// option that comes again the first counts.
func (q *Query) options(data []byte) bool {
	for len(data) > 0 {
		if len(data) < optionHeader {
			return false
		}
		code, length := binary.BigEndian.Uint16(data), int(binary.BigEndian.Uint16(data[2:]))
		data = data[optionHeader:]
		if length > len(data) {
			return false
		}
		switch code {
		case dns.EDNS0NSID: // §2.1: what a client puts in is ignored
			q.Asked.NSID = true
		case dns.EDNS0COOKIE:
			if !cookie.ValidLength(length) {
				return false
			}
			if q.Asked.Cookie == nil {
				q.Asked.Cookie = data[:length:length]
			}
		case dns.EDNS0TCPKEEPALIVE: // §3.2.1: a client gives no time
			q.Asked.KeepAlive = q.Asked.KeepAlive || length == 0
		case dns.EDNS0ZONEVERSION:
			if length > 0 {
				return false
			}
			q.Asked.ZoneVersion = true
		}
		data = data[length:]
	}
	return true
}

// OPT is what a reply's OPT record carries by its options, besides the extended
// error that the answer itself brings. It is not looked at when the query had no OPT
// record. The zero value carries nothing.
type OPT struct {
	NSID        string       // at most [MaxNSID] bytes; "": not said
	Cookie      []byte       // data of the COOKIE option; empty: not said
	KeepAlive   uint16       // how long a connection may be idle, in units of 100 ms; 0: not said
	ZoneVersion *ZoneVersion // nil: not said
}

// ZoneVersion is the version of the zone that an answer was made from (RFC 9660 §2):
// its SOA's serial.
type ZoneVersion struct {
	Labels int // of the zone's name, the root not counted
	Serial uint32
}

// MaxNSID bounds [OPT].NSID, so that all options fit into the shortest reply beside
// the longest question.
const MaxNSID = 100

const (
	optionHeader      = 4
	soaSerial         = 0 // the type of a version (RFC 9660 §7.2)
	zoneVersionLength = 6
)

// append appends the options in the order of their codes.
func (o *OPT) append(b []byte, e *lookup.ExtendedError) []byte {
	head := func(code uint16, length int) {
		b = binary.BigEndian.AppendUint16(b, code)
		b = binary.BigEndian.AppendUint16(b, uint16(length))
	}
	if o.NSID != "" {
		head(dns.EDNS0NSID, len(o.NSID))
		b = append(b, o.NSID...)
	}
	if len(o.Cookie) > 0 {
		head(dns.EDNS0COOKIE, len(o.Cookie))
		b = append(b, o.Cookie...)
	}
	if o.KeepAlive > 0 {
		head(dns.EDNS0TCPKEEPALIVE, 2)
		b = binary.BigEndian.AppendUint16(b, o.KeepAlive)
	}
	if e != nil {
		head(dns.EDNS0EDE, 2+len(e.Text))
		b = binary.BigEndian.AppendUint16(b, e.Code)
		b = append(b, e.Text...)
	}
	if z := o.ZoneVersion; z != nil {
		head(dns.EDNS0ZONEVERSION, zoneVersionLength)
		b = append(b, byte(z.Labels), soaSerial)
		b = binary.BigEndian.AppendUint32(b, z.Serial)
	}
	return b
}
