package lookup

import "github.com/miekg/dns"

// Identity is what a server says of itself in class CHAOS. An empty field is not
// told: whoever asks for it is refused.
type Identity struct {
	Version string // version.bind. and version.server.; at most 255 bytes
	ID      string // id.server. (RFC 4892) and hostname.bind.; at most 255 bytes
}

// Chaos answers a question of class CHAOS: TXT at the names of RFC 4892, and those
// that BIND began with; all else is REFUSED. It knows no zone, so nothing is negative.
func Chaos(q Question, id Identity) Response {
	text := ""
	name := fold(q.Name)
	switch name {
	case "version.bind.", "version.server.":
		text = id.Version
	case "id.server.", "hostname.bind.":
		text = id.ID
	}
	if text == "" || q.Type != dns.TypeTXT {
		return Response{RCode: dns.RcodeRefused}
	}
	return Response{Authoritative: true, Answer: []dns.RR{&dns.TXT{
		Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeTXT, Class: dns.ClassCHAOS}, // TTL 0: about this server alone
		Txt: []string{escape(text)},
	}}}
}
