package lookup

import (
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/seamark-mesh/seamark/registry"
)

// whyLabel stands in front of a service's name, where TXT records tell why it is
// answered as it is.
const whyLabel = "_why"

// MaxDoubt bounds the data of the EDE option of an answer that may no longer hold, in
// bytes: its code and its text.
const MaxDoubt = 2 + maxDoubtText

const maxDoubtText = 240

// lifetime is a TTL, shorter while nobody knows whether the View still holds.
func lifetime(v *registry.View, ttl int) uint32 {
	if _, cut := v.Cut(); cut {
		ttl = min(ttl, v.Zone().StaleServiceTTL(registry.ServiceKey{}))
	}
	return seconds(ttl)
}

// Doubt returns what is to be said with every answer of a View that is cut off; nil
// when it is not.
func Doubt(v *registry.View, rcode int) *ExtendedError {
	cut, ok := v.Cut()
	if !ok {
		return nil
	}
	e := &ExtendedError{Code: dns.ExtendedErrorCodeStaleAnswer, Text: "as known at " + moment(cut.Since) + ": " + cut.Reason}
	e.Text = strings.ToValidUTF8(e.Text[:min(len(e.Text), maxDoubtText)], "")
	if rcode == dns.RcodeNameError {
		e.Code = dns.ExtendedErrorCodeStaleNXDOMAINAnswer
	}
	return e
}

// moment writes a time as short as it can be told, so that the age can be seen from it.
func moment(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// doubt returns what is to be said with an answer that is kept because no cluster that
// is up can serve; nil when one can.
func (p place) doubt(v *registry.View, qtype uint16) *ExtendedError {
	if p.kind != service {
		return nil
	}
	switch qtype {
	case dns.TypeA, dns.TypeAAAA, dns.TypeSRV, dns.TypeSVCB, dns.TypeHTTPS:
		return Kept(p.entrances(v))
	}
	return nil
}

func kept(c registry.Candidate) bool { return c.Kept }

// namedInDoubt bounds the clusters that an extended error names.
const namedInDoubt = 2

// Kept returns what is to be said with an answer made of these clusters; nil when none
// of them is in doubt.
func Kept(entrances []registry.Candidate) *ExtendedError {
	var b strings.Builder
	count := 0
	for _, c := range entrances {
		if !c.Kept {
			continue
		}
		if count++; count > namedInDoubt {
			continue
		}
		if count > 1 {
			b.WriteString(", ")
		}
		if c.State == registry.Up {
			b.WriteString(string(c.Cluster) + " as before the stream was lost")
			continue
		}
		b.WriteString(string(c.Cluster) + " " + string(c.State))
		if !c.Since.IsZero() {
			b.WriteString(" since " + moment(c.Since))
		}
	}
	if count == 0 {
		return nil
	}
	if count > namedInDoubt {
		b.WriteString(", +" + strconv.Itoa(count-namedInDoubt))
	}
	return &ExtendedError{Code: dns.ExtendedErrorCodeStaleAnswer, Text: b.String()}
}

// findReasons finds _why in front of a service's name; labels are those between.
func findReasons(v *registry.View, top string, labels []string) place {
	p := findBase(v, top, labels)
	if p.kind != service {
		return place{}
	}
	p.kind = reasons
	return p
}

// reasons returns one TXT record for each cluster that knows the service: whether it
// is answered with, why, since when, and what that rests on. They are for people, so
// they are in no zone transfer.
func (p place) reasons(v *registry.View, owner string) []dns.RR {
	p.kind = service
	entrances := p.entrances(v)
	records := make([]dns.RR, 0, len(entrances))
	for _, c := range entrances {
		records = append(records, &dns.TXT{
			Hdr: header(owner, dns.TypeTXT, lifetime(v, min(v.Zone().TTL, v.Zone().NegativeTTL))), Txt: reasonStrings(v, c),
		})
	}
	return records
}

func reasonStrings(v *registry.View, c registry.Candidate) []string {
	answered := "no"
	if c.In {
		answered = "yes"
	}
	all := []string{
		"cluster=" + string(c.Cluster), "answered=" + answered, "reason=" + escape(c.Reason), "state=" + string(c.State),
	}
	if !c.Since.IsZero() {
		all = append(all, "since="+moment(c.Since))
	}
	all = append(all,
		"revision="+strconv.FormatUint(c.Record.Epoch, 10)+"."+strconv.FormatUint(c.Record.Revision, 10),
		"changed="+moment(c.Record.Changed.Time))
	if s := v.State(c.Cluster); s != nil {
		if len(s.Failing) > 0 {
			all = append(all, list("failing=", s.Failing))
		}
		if s.Evidence != nil {
			reached, failed := 0, 0
			for _, vote := range s.Evidence.Votes {
				if vote.Failed > 0 {
					failed++
				} else {
					reached++
				}
			}
			all = append(all, "probes="+strconv.Itoa(reached)+" of "+strconv.Itoa(reached+failed)+" reach it")
		}
	}
	if o := c.Order; o != nil {
		all = append(all, clipString("order="+o.Kind+" by "+escape(o.By)))
		if at, ends := o.Ends(); ends {
			all = append(all, "until="+moment(at))
		}
	}
	return all
}

// clipString cuts what would not fit into one character-string (RFC 1035 §3.3).
func clipString(s string) string {
	if len(s) > 255 {
		s = strings.TrimRight(s[:255], "\\")
	}
	return s
}
