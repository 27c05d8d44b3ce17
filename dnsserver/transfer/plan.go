package transfer

import (
	"iter"

	"github.com/miekg/dns"

	"github.com/seamark-mesh/seamark/dnsserver/lookup"
	"github.com/seamark-mesh/seamark/registry"
)

// Shape is what a transfer consists of.
type Shape string

// The shapes.
const (
	Full        Shape = "full"        // SOA, the whole zone, SOA (RFC 5936 §2.2)
	Incremental Shape = "incremental" // SOA; what was, behind its SOA; what is, behind its SOA; SOA (RFC 1995 §4)
	Current     Shape = "current"     // the SOA alone: the client has all there is (RFC 1995 §2)
)

// Plan is one transfer of one View. It is immutable; Records may be called several
// times, and yields the same.
type Plan struct {
	Shape Shape

	view   *registry.View
	older  *registry.View // of an Incremental: what the client has
	change registry.Delta
	soa    dns.RR
}

// ForAXFR plans the whole zone; ok is false when the View has none to give: it is not
// synced, or a part of the zone is not known yet ([registry.View.AnyUnknown],
// [registry.View.Unsure]), which a secondary would take for gone.
func ForAXFR(v *registry.View) (p Plan, ok bool) {
	p = whole(v)
	return p, p.soa != nil && !v.AnyUnknown() && !v.Unsure()
}

func whole(v *registry.View) Plan { return Plan{Shape: Full, view: v, soa: soaOf(v)} }

// ForIXFR plans what a client lacks that has the zone with a serial. A difference of
// more than so many parts (0: about half of the zone) is not worth it: then, too, the
// shape is Full, or ok false as with [ForAXFR]. To find that out costs in proportion
// to these parts. While the View is unsure, ok is false for a difference, too: what is
// loaded then may come without another serial.
func ForIXFR(v *registry.View, serial uint32, parts int) (p Plan, ok bool) {
	if p = whole(v); p.soa == nil {
		return p, false
	}
	sequence, behind := behind(v.Sequence(), serial)
	if !behind {
		p.Shape = Current
		return p, true
	}
	if v.Unsure() {
		return p, false
	}
	limited := parts > 0
	if !limited {
		parts = max(fewParts, (v.Services()+len(v.Clusters()))/2)
	} else if count, known := v.ChangesSince(sequence); !known || count > changesPerPart*parts {
		return p, !v.AnyUnknown()
	}
	older, change, known := v.Since(sequence)
	if limited && (change.All || len(change.Clusters) > 0) { // to find its parts, all names are looked at
		return p, !v.AnyUnknown()
	}
	if !known || older.Zone() == nil || older.Zone().Name != v.Zone().Name || moreThan(parts, lookup.Changed(older, v, change)) {
		return p, !v.AnyUnknown()
	}
	p.Shape, p.older, p.change = Incremental, older, change
	return p, true
}

// behind finds the sequence that a client's serial stands for. It is false when the
// client has this serial or one after it. A serial exactly half the circle away is
// neither (RFC 1982 §3.2): it stands for a sequence that no journal reaches.
func behind(sequence uint64, serial uint32) (at uint64, behind bool) {
	distance := uint32(sequence) - serial
	if distance == 0 || distance > 1<<31 {
		return 0, false
	}
	return sequence - min(sequence, uint64(distance)), true // what was before the stream had no zone
}

const (
	fewParts       = 16 // an Incremental may have, however small the zone
	changesPerPart = 8  // that are worth looking at where parts are limited
)

// moreThan reports whether there are more parts than some number.
func moreThan(most int, parts iter.Seq[lookup.Part]) bool {
	for range parts {
		if most--; most < 0 {
			return true
		}
	}
	return false
}

// Serial returns the serial that the client has afterwards.
func (p Plan) Serial() uint32 { return p.view.Serial() }

// Records yields all records of the transfer in their order, the SOAs included.
func (p Plan) Records() iter.Seq[dns.RR] {
	return func(yield func(dns.RR) bool) {
		if !yield(p.soa) || p.Shape == Current {
			return
		}
		switch p.Shape {
		case Full:
			for rr := range lookup.Zone(p.view) {
				if !yield(rr) {
					return
				}
			}
		case Incremental:
			if !yield(soaOf(p.older)) || !p.only(p.older, p.view, yield) || !yield(p.soa) || !p.only(p.view, p.older, yield) {
				return
			}
		}
		yield(p.soa)
	}
}

// only yields the records of one View that the other does not have.
func (p Plan) only(of, not *registry.View, yield func(dns.RR) bool) bool {
	others := map[string]struct{}{}
	buffer := make([]byte, dns.MaxMsgSize)
	wire := func(rr dns.RR) []byte {
		n, err := dns.PackRR(rr, buffer, 0, nil, false)
		if err != nil {
			return append(buffer[:0], rr.String()...)
		}
		return buffer[:n]
	}
	for part := range lookup.Changed(p.older, p.view, p.change) {
		clear(others)
		for rr := range part.Records(not) {
			others[string(wire(rr))] = struct{}{}
		}
		for rr := range part.Records(of) {
			if _, there := others[string(wire(rr))]; !there && !yield(rr) {
				return false
			}
		}
	}
	return true
}

// soaOf returns the zone's SOA; nil when the View is not synced or has no zone.
func soaOf(v *registry.View) dns.RR {
	if !v.Synced() || v.Zone() == nil {
		return nil
	}
	r := lookup.Answer(v, lookup.Question{Name: v.Zone().Name, Type: dns.TypeSOA, Class: dns.ClassINET})
	if len(r.Answer) != 1 {
		return nil
	}
	return r.Answer[0]
}
