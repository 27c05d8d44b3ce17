package dnsserver

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/miekg/dns"

	"github.com/seamark-mesh/seamark/dnsserver/lookup"
	"github.com/seamark-mesh/seamark/dnsserver/packet"
	"github.com/seamark-mesh/seamark/dnsserver/transfer"
	"github.com/seamark-mesh/seamark/dnsserver/tsig"
)

// transfers is what all transfers of a server share.
type transfers struct {
	slots    transfer.Slots
	refusals transfer.Refusals
	reloaded chan struct{} // room for one: the settings may be others
}

// reload notes that the settings may be others.
func (t *transfers) reload() {
	select {
	case t.reloaded <- struct{}{}:
	default: // nobody has looked since the last time
	}
}

// kindOf returns which transfer a query is for; false when it is for none.
func kindOf(q *packet.Query) (kind transfer.Kind, ok bool) {
	switch {
	case q.Class != dns.ClassINET:
		return "", false
	case q.Type == dns.TypeAXFR:
		return transfer.AXFR, true
	}
	return transfer.IXFR, q.Type == dns.TypeIXFR
}

// signature verifies a signed query. It returns nil for one that is not, and else
// what the reply is signed with; the query's RCode says whether it is to be answered
// (RFC 8945 §5.2). A transfer that fails here is refused like any other.
func (a *answerer) signature(query []byte, q *packet.Query, client netip.Addr, settings *Settings) *tsig.Reply {
	if !q.Signed || q.RCode != dns.RcodeNotAuth {
		return nil
	}
	signature, err := tsig.Verify(query, settings.Transfer.Keys, time.Now())
	why := "the signature can't be read"
	switch {
	case err != nil:
		q.RCode, signature = dns.RcodeFormatError, nil
	case signature.Error == 0:
		q.RCode = dns.RcodeSuccess
		return signature
	default:
		why = "the signature is not good: " + dns.RcodeToString[int(signature.Error)]
	}
	if kind, ok := kindOf(q); ok {
		a.server.refused(kind, client, why)
	}
	return signature
}

// refused counts a transfer that is refused, and logs it once in a while.
func (s *Server) refused(kind transfer.Kind, client netip.Addr, why string) {
	s.observer.Transferred(kind, transfer.Refused)
	s.transfers.refusals.Log(s.log, kind, client, why, time.Now())
}

// outbound is a transfer that is sent in several messages.
type outbound struct {
	kind    transfer.Kind
	query   []byte // for the log
	plan    transfer.Plan
	request transfer.Request
	client  netip.Addr
	limits  transfer.Settings
}

// transfer decides about a query for AXFR or IXFR. Either the response is what to
// answer, with shorter in its place when it does not fit; or the outbound is to be run,
// and has a slot.
func (a *answerer) transfer(query []byte, q *packet.Query, kind transfer.Kind, client netip.Addr, signature *tsig.Reply, all *Settings) (response lookup.Response, shorter *lookup.Response, zone *outbound) {
	s := a.server
	settings := &all.Transfer
	v := s.table.Load().View().Current() // secondaries take the zone, not this replica's doubts
	asked := lookup.Answer(v, lookup.Question{Name: q.Name, Type: q.Type, Class: q.Class})
	refuse := func(why string) (lookup.Response, *lookup.Response, *outbound) {
		s.refused(kind, client, why)
		return asked, nil, nil
	}
	if !settings.Allows(client, signature != nil) {
		why := "the address is not allowed"
		if settings.Allows(client, true) {
			why = "the request is not signed"
		}
		return refuse(why)
	}
	switch {
	case !v.Synced() || v.Zone() == nil:
		s.observer.Transferred(kind, transfer.NotReady)
		return asked, nil, nil
	case q.Name != v.Zone().Name: // RFC 5936 §2.2.1
		asked = lookup.Response{RCode: dns.RcodeNotAuth}
		return refuse("it is not the zone's name")
	case kind == transfer.AXFR && a.protocol == UDP: // RFC 5936 §4.2 knows none
		return refuse("AXFR over UDP")
	}
	plan, ready := transfer.ForAXFR(v)
	if kind == transfer.IXFR {
		serial, ok := serialOf(query, q.Name)
		if !ok {
			return lookup.Response{RCode: dns.RcodeFormatError}, nil, nil
		}
		parts := 0
		if a.protocol == UDP {
			parts = datagramParts
		}
		plan, ready = transfer.ForIXFR(v, serial, parts)
	}
	if !ready {
		s.observer.Transferred(kind, transfer.NotReady)
		return lookup.Response{RCode: dns.RcodeServerFailure, Extended: &lookup.ExtendedError{
			Code: dns.ExtendedErrorCodeNotReady, Text: "a part of the zone is not known yet",
		}}, nil, nil
	}
	if a.protocol == UDP || plan.Shape == transfer.Current {
		return a.atOnce(plan, all.UDPPayload)
	}
	if !s.transfers.slots.Take(settings.AtOnce) {
		s.observer.Transferred(kind, transfer.Busy)
		return lookup.Response{RCode: dns.RcodeServerFailure, Extended: &lookup.ExtendedError{Text: "too many transfers at the same time"}}, nil, nil
	}
	return lookup.Response{}, nil, &outbound{
		kind: kind, query: bytes.Clone(query), plan: plan, client: client, limits: *settings,
		request: transfer.Request{
			ID: q.ID, RD: q.RD, Question: bytes.Clone(q.Question), EDNS: q.EDNS, DO: q.DO,
			Payload: uint16(all.UDPPayload), Reply: signature,
		},
	}
}

// datagramParts is of how many parts a difference over UDP may be: about as many as
// fit. Whoever forges a secondary's address should not get much work out of us.
const datagramParts = 16

// atOnce is an IXFR in one message: the difference if it fits, else our SOA alone,
// which tells the client to come by TCP (RFC 1995 §2).
func (a *answerer) atOnce(plan transfer.Plan, payload int) (response lookup.Response, shorter *lookup.Response, zone *outbound) {
	const smallest = 20 // bytes that a record takes at least
	most := payload / smallest
	var records []dns.RR
	for rr := range plan.Records() {
		if records = append(records, rr); len(records) > most {
			break
		}
	}
	soa := lookup.Response{Authoritative: true, Answer: records[:1:1]}
	a.server.observer.Transferred(transfer.IXFR, transfer.Result(plan.Shape))
	if plan.Shape != transfer.Incremental || len(records) > most {
		return soa, nil, nil
	}
	return lookup.Response{Authoritative: true, Answer: records}, &soa, nil
}

// serialOf reads the serial that an IXFR query's client has of a zone (RFC 1995 §3).
func serialOf(query []byte, zone string) (serial uint32, ok bool) {
	var m dns.Msg
	if err := m.Unpack(query); err != nil || len(m.Ns) != 1 {
		return 0, false
	}
	soa, ok := m.Ns[0].(*dns.SOA)
	if !ok || dns.CanonicalName(soa.Hdr.Name) != zone { // the serial of another zone says nothing of this one
		return 0, false
	}
	return soa.Serial, true
}

// errTooSlow ends a transfer that has taken longer than any may.
var errTooSlow = errors.New("dnsserver: the transfer takes too long")

// send sends a transfer message by message and frees its slot. The error is that
// of write, or says why the transfer ended; the connection is of no use then.
func (s *Server) send(ctx context.Context, j *outbound, write func([]byte) error) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			s.notePanic(TCP, "zone transfer", nil, cause)
			err = errors.New("dnsserver: a panic")
		}
		result := transfer.Result(j.plan.Shape)
		switch {
		case err != nil && ctx.Err() != nil:
			result = transfer.Stopped
		case err != nil:
			result = transfer.Failed
		}
		s.transfers.slots.Free() // before anybody can know that it has ended
		s.observer.Transferred(j.kind, result)
	}()
	began := time.Now()
	bytesSent := 0
	err = transfer.Stream(j.request, j.plan.Records(), time.Now, func(message []byte) error {
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case time.Since(began) > j.limits.Longest:
			return errTooSlow
		}
		bytesSent += len(message)
		return write(message)
	})
	s.log.Debug("zone transferred", "kind", string(j.kind), "shape", string(j.plan.Shape), "client", j.client.String(),
		"serial", j.plan.Serial(), "bytes", bytesSent, "took", time.Since(began), "err", err)
	if l := &s.settings.Load().QueryLog; l.On() {
		s.logQuery(l, j.query, answered{TCP, "transfer", j.client, dns.RcodeSuccess, bytesSent, j.plan.Serial()})
	}
	return err
}

// tellSecondaries runs until ctx ends.
func (s *Server) tellSecondaries(ctx context.Context) {
	notifier := transfer.Notifier{
		Views: s.views, Observer: s.observer, Log: s.log, Reloaded: s.transfers.reloaded,
		Answering: func() uint64 { return s.table.Load().View().Sequence() },
		Source:    s.source,
		Settings:  func() *transfer.Settings { return &s.settings.Load().Transfer },
	}
	notifier.Run(ctx)
}

// source returns the address that a secondary knows this server by: one that is
// listened on, of the same family, and loopback only for a secondary that is there.
func (s *Server) source(secondary netip.Addr) netip.Addr {
	secondary = secondary.Unmap()
	for _, a := range s.Addresses() {
		if own := a.Addr(); own.Is4() == secondary.Is4() && !own.IsUnspecified() && own.IsLoopback() == secondary.IsLoopback() {
			return own
		}
	}
	return netip.Addr{}
}
