package dnsserver

import (
	"net/netip"
	"time"

	"github.com/miekg/dns"

	"github.com/seamark-mesh/seamark/dnsserver/cookie"
	"github.com/seamark-mesh/seamark/dnsserver/lookup"
	"github.com/seamark-mesh/seamark/dnsserver/packet"
	"github.com/seamark-mesh/seamark/registry"
)

// NoteBadCookie is noted for a server cookie that is not valid: a forged one, or one
// of a replica with another secret.
const NoteBadCookie Note = "bad-cookie"

// checkCookie looks at a query's cookie and puts into opt what the client gets back:
// its own, or a fresh one when that is old or not valid. Bad tells that the query has
// a server cookie that is not valid. How it came does not matter (RFC 7873 §5.2).
func (a *answerer) checkCookie(q *packet.Query, client netip.Addr, settings *Settings, opt *packet.OPT) (good, bad bool) {
	data := q.Asked.Cookie
	if data == nil {
		return false, false
	}
	now := a.now()
	good, renew := settings.Cookies.Verify(data, client, now)
	if good {
		a.server.cookies.add(a.protocol)
	}
	if good && !renew {
		opt.Cookie = data
		return true, false
	}
	a.cookie = settings.Cookies.Append(a.cookie[:0], data, client, now)
	opt.Cookie = a.cookie
	if bad = !good && len(data) > cookie.ClientLength; bad {
		a.server.observer.Noted(a.protocol, NoteBadCookie)
	}
	return good, bad
}

// unixNow is the clock of cookies: seconds since 1970, modulo 2^32.
func unixNow() uint32 { return uint32(time.Now().Unix()) }

// options puts into opt what the query asks for besides its cookie, and what a View
// says about itself: the one that the answer was made from, or nil.
func (a *answerer) options(q *packet.Query, v *registry.View, settings *Settings, opt *packet.OPT) {
	if q.Asked.NSID {
		opt.NSID = settings.NSID
	}
	if q.Asked.KeepAlive && a.protocol == TCP {
		opt.KeepAlive = uint16(min(settings.Idle/keepAliveUnit, 1<<16-1))
	}
	if q.Asked.ZoneVersion && v != nil {
		opt.ZoneVersion = &packet.ZoneVersion{Labels: dns.CountLabel(v.Zone().Name), Serial: v.Serial()}
	}
}

// smallestPointer is how many bytes a PTR record takes at least: two pointers to names,
// the fixed fields, and a label of one letter.
const smallestPointer = 2 + 10 + 2 + 2

const keepAliveUnit = 100 * time.Millisecond // RFC 7828 §3.1

// decide says what the zone, or the server about itself, says to a query whose packet
// is in order, and puts the cookie into opt. V is the View that the answer is of; nil
// when it is not the zone that answers.
func (a *answerer) decide(q *packet.Query, client netip.Addr, settings *Settings, opt *packet.OPT) (v *registry.View, response lookup.Response) {
	good, bad := a.checkCookie(q, client, settings, opt)
	question := lookup.Question{Name: q.Name, Type: q.Type, Class: q.Class}
	if a.protocol == UDP {
		question.Most = settings.UDPPayload/smallestPointer + 1 // one more than fits: then the reply is truncated
	}
	switch {
	case q.CookieOnly && !bad:
		return nil, lookup.Response{RCode: dns.RcodeSuccess}
	case q.CookieOnly, settings.RequireCookies && a.protocol == UDP && q.Asked.Cookie != nil && !good:
		return nil, lookup.Response{RCode: dns.RcodeBadCookie}
	case q.Class == dns.ClassCHAOS:
		return nil, lookup.Chaos(question, settings.Identity)
	}
	if v, response = a.zone(question); !response.Authoritative {
		v = nil
	}
	return v, response
}
