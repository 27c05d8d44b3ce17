package lookup

import (
	"github.com/miekg/dns"

	"github.com/seamark-mesh/seamark/registry"
)

// Question is what a client asks. Name is fully qualified and in presentation
// format (RFC 1035 §5.1); ASCII letters of both cases are the same (RFC 4343).
type Question struct {
	Name  string
	Type  uint16
	Class uint16

	// Most, when above 0, is how many records a list need have: more could not be sent.
	Most int
}

// Response is the answer as values, without the OPT record. Its sections are in
// the order in which they are to be sent; a packet that has no room drops
// Additional first, whole RRsets from its end.
type Response struct {
	RCode         int // RFC 1035 §4.1.1, RFC 6895 §2.3
	Authoritative bool
	Answer        []dns.RR
	Authority     []dns.RR // the SOA of a negative answer (RFC 2308)
	Additional    []dns.RR
	Extended      *ExtendedError // nil when there is nothing to add
}

// ExtendedError says more than an RCODE can (RFC 8914), to clients that use EDNS.
type ExtendedError struct {
	Code uint16
	Text string
}

// Answer tells what the zone says to a question. It never fails: what can't be
// answered is an RCODE.
//
//	class other than IN                   REFUSED
//	not synced, or no zone record         SERVFAIL, extended error 14
//	outside the zone                      REFUSED, extended error 20
//	AXFR, IXFR                            REFUSED, extended error 18
//	a type that can't be asked for        FORMERR, extended error 30
//	still looked for behind garbage       SERVFAIL, extended error 14
//	never registered, or below such       NXDOMAIN with SOA
//	known, without records of the type    NOERROR with SOA
//	ANY                                   one HINFO record (RFC 8482 §4.2)
//
// What may no longer hold has a short TTL and extended error 3 or 19 (RFC 8914 §4.4,
// §4.20), which say since when: the View is cut off from the stream, or no cluster that
// is up can serve.
func Answer(v *registry.View, q Question) Response {
	zone := v.Zone()
	switch {
	case q.Class != dns.ClassINET:
		return Response{RCode: dns.RcodeRefused}
	case !v.Synced() || zone == nil:
		return failure(dns.RcodeServerFailure, dns.ExtendedErrorCodeNotReady, "the registry is not synced yet")
	}
	name := fold(q.Name)
	labels, inside := within(name, zone.Name)
	switch {
	case !inside:
		return failure(dns.RcodeRefused, dns.ExtendedErrorCodeNotAuthoritative, "the name is outside the zone")
	case q.Type == dns.TypeAXFR || q.Type == dns.TypeIXFR:
		return failure(dns.RcodeRefused, dns.ExtendedErrorCodeProhibited, "zone transfers are not allowed")
	case !askable(q.Type):
		return failure(dns.RcodeFormatError, dns.ExtendedErrorCodeInvalidQueryType, "the type can't be asked for")
	}
	p := find(v, name, labels)
	p.most = q.Most
	switch {
	case p.kind == absent && mayExist(v, labels), p.kind == branch && mayBeService(v, labels):
		return failure(dns.RcodeServerFailure, dns.ExtendedErrorCodeNotReady, "what a cluster says of this name is still looked for")
	case p.kind == absent:
		return negative(v, dns.RcodeNameError)
	}
	r := Response{Authoritative: true}
	r.Answer, r.Additional = p.records(v, name, q.Type)
	if len(r.Answer) == 0 {
		return negative(v, dns.RcodeSuccess)
	}
	r.Extended = Doubt(v, dns.RcodeSuccess)
	if r.Extended == nil {
		r.Extended = p.doubt(v, q.Type)
	}
	return r
}

// askable is false for types that only ever stand beside a question: OPT (RFC
// 6891), NXNAME (RFC 9824 §3.4), TKEY and TSIG (RFC 2930, RFC 8945).
func askable(qtype uint16) bool {
	switch qtype {
	case dns.TypeOPT, dns.TypeNXNAME, dns.TypeTKEY, dns.TypeTSIG:
		return false
	}
	return true
}

func failure(rcode int, code uint16, text string) Response {
	return Response{RCode: rcode, Extended: &ExtendedError{Code: code, Text: text}}
}

// negative is NXDOMAIN or NODATA. The SOA's TTL is how long it may be cached (RFC
// 2308 §3).
func negative(v *registry.View, rcode int) Response {
	zone := v.Zone()
	return Response{
		RCode: rcode, Authoritative: true,
		Authority: []dns.RR{soa(v, lifetime(v, min(zone.TTL, zone.NegativeTTL)))},
		Extended:  Doubt(v, rcode),
	}
}

// seconds is the last door for a TTL: a number in a record must not pin a name
// for longer than the product's bounds.
func seconds(ttl int) uint32 {
	return uint32(min(max(ttl, registry.MinTTL), registry.MaxTTL))
}
