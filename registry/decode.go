package registry

import (
	"encoding/json"
	"hash/maphash"
)

// Decoder decodes event bodies as [Decode] does. It keeps one copy of short
// strings that repeat, at most some thousand, so that what it returns takes less
// memory. One goroutine uses it at a time; its results share nothing that could
// change. Make one with [NewDecoder].
type Decoder struct {
	scanner

	strings   *[internedStrings]string // by hash; nil: strings are not kept
	instances []Instance               // reused
	pairs     []string                 // reused: keys and values by turns
	meta      map[string]string        // of the last instance that had any
}

const (
	internedStrings = 4096
	internedLength  = 64 // bytes; longer ones seldom repeat
)

var internSeed = maphash.MakeSeed()

// NewDecoder returns a decoder for many bodies.
func NewDecoder() *Decoder { return &Decoder{strings: new([internedStrings]string)} }

// Decode is the door for bodies from the stream: bounded before it is parsed,
// validated after. Unknown fields and newer minor versions are accepted, any
// other major version is not. The error is a [*Refusal]. The body is not kept.
func (d *Decoder) Decode(body []byte) (*Event, error) {
	if len(body) > MaxBody {
		return nil, refuse("too-large", "a body of %d bytes, more than %d", len(body), MaxBody)
	}
	e := d.plain(body)
	if e == nil {
		var err *Refusal
		if e, err = decodeAny(body); err != nil {
			return nil, err
		}
	}
	if err := checkEvent(e); err != nil {
		return nil, err
	}
	return e, nil
}

// decodeAny decodes all that JSON can be.
func decodeAny(body []byte) (*Event, *Refusal) {
	if depth := jsonDepth(body); depth > MaxDepth {
		return nil, refuse("too-deep", "JSON nested deeper than %d", MaxDepth)
	}
	var e Event
	if err := json.Unmarshal(body, &e); err != nil {
		return nil, refuse("not-json", "no event: %s", clip(err.Error()))
	}
	return &e, nil
}

// plain decodes the event of a service in the form in which nearly all are
// written, ten times faster than encoding/json. Whatever is else (other kinds of
// events, names given twice, in capitals or with escapes, null, fractions,
// anything that is wrong) gives nil and is left to encoding/json, so that the two
// can't differ in what they accept.
func (d *Decoder) plain(body []byte) *Event {
	d.scanner = scanner{body: body, buffer: d.buffer[:0]}
	e := d.event()
	if d.peek(); d.bad || d.at != len(body) {
		e = nil
	}
	d.body = nil
	return e
}

// once notes that a field was met; false when it was before.
func (d *Decoder) once(seen *uint32, field uint) {
	if *seen&(1<<field) != 0 {
		d.fail()
	}
	*seen |= 1 << field
}

func (d *Decoder) event() *Event {
	var seen uint32
	e := &Event{}
	d.open('{')
	for n := 0; d.more(n, '}'); n++ {
		switch string(d.key()) {
		case "schema":
			d.once(&seen, 0)
			e.Schema = d.intern()
		case "id":
			d.once(&seen, 1)
			e.ID = string(d.text())
		case "kind":
			d.once(&seen, 2)
			e.Kind = Kind(d.intern())
		case "writer":
			d.once(&seen, 3)
			e.Writer = Writer(d.intern())
		case "epoch":
			d.once(&seen, 4)
			e.Epoch = d.number()
		case "revision":
			d.once(&seen, 5)
			e.Revision = d.number()
		case "time":
			d.once(&seen, 6)
			d.time(&e.Time)
		case "agent":
			d.once(&seen, 7)
			e.Agent = d.intern()
		case "cause":
			d.once(&seen, 8)
			e.Cause = Cause(d.intern())
		case "service":
			d.once(&seen, 9)
			e.Service = d.service()
		case "cluster", "takeover", "snapshot", "note", "zone", "order", "state":
			d.fail()
		default:
			d.skip()
		}
	}
	return e
}

func (d *Decoder) service() *ServiceState {
	var seen uint32
	s := &ServiceState{}
	d.open('{')
	for n := 0; d.more(n, '}'); n++ {
		switch string(d.key()) {
		case "namespace":
			d.once(&seen, 0)
			s.Namespace = d.intern()
		case "name":
			d.once(&seen, 1)
			s.Name = string(d.text())
		case "instances":
			d.once(&seen, 2)
			s.Instances = d.list()
		case "total":
			d.once(&seen, 3)
			s.Total = d.integer()
		case "serving":
			d.once(&seen, 4)
			s.Serving = d.integer()
		case "truncated":
			d.once(&seen, 5)
			s.Truncated = d.flag()
		case "forgotten":
			d.once(&seen, 6)
			s.Forgotten = d.flag()
		case "changes":
			d.once(&seen, 7)
			s.Changes = d.changes()
		case "changed":
			d.once(&seen, 8)
			s.Changed = d.stamp()
		case "index":
			d.once(&seen, 9)
			s.Index = d.intern()
		case "seen":
			d.once(&seen, 10)
			d.time(&s.Seen)
		case "redacted":
			d.once(&seen, 11)
			s.Redacted = d.integer()
		default:
			d.skip()
		}
	}
	return s
}

// list reads a service's instances into a slice that has no room to spare.
func (d *Decoder) list() []Instance {
	d.instances = d.instances[:0]
	d.open('[')
	for n := 0; d.more(n, ']'); n++ {
		d.instances = append(d.instances, d.instance())
	}
	all := make([]Instance, len(d.instances))
	copy(all, d.instances)
	clear(d.instances)
	if cap(d.instances) > 1024 { // one large service is no reason to keep so much
		d.instances = nil
	}
	return all
}

func (d *Decoder) instance() (i Instance) {
	var seen uint32
	d.open('{')
	for n := 0; d.more(n, '}'); n++ {
		switch string(d.key()) {
		case "id":
			d.once(&seen, 0)
			i.ID = string(d.text())
		case "address":
			d.once(&seen, 1)
			i.Address = d.intern()
		case "port":
			d.once(&seen, 2)
			i.Port = d.integer()
		case "weight":
			d.once(&seen, 3)
			i.Weight = d.integer()
		case "health":
			d.once(&seen, 4)
			i.Health = Health(d.intern())
		case "version":
			d.once(&seen, 5)
			i.Version = d.intern()
		case "meta":
			d.once(&seen, 6)
			i.Meta = d.pairsOf()
		default:
			d.skip()
		}
	}
	return i
}

// pairsOf reads metadata. The same as that of the instance before is the same map.
func (d *Decoder) pairsOf() map[string]string {
	d.pairs = d.pairs[:0]
	d.open('{')
	for n := 0; d.more(n, '}'); n++ {
		k := d.intern()
		d.expect(':')
		d.pairs = append(d.pairs, k, d.intern())
		if len(d.pairs) > 2*MaxMetaPairs {
			d.fail() // the refusal is not worth a fast way
		}
	}
	if len(d.pairs) == 0 {
		return nil
	}
	if !samePairs(d.meta, d.pairs) {
		d.meta = make(map[string]string, len(d.pairs)/2)
		for n := 0; n < len(d.pairs); n += 2 {
			d.meta[d.pairs[n]] = d.pairs[n+1]
		}
	}
	return d.meta
}

// samePairs reports whether the pairs, in ascending order of their keys, are those of m.
func samePairs(m map[string]string, pairs []string) bool {
	if len(m) != len(pairs)/2 {
		return false
	}
	for n := 0; n < len(pairs); n += 2 {
		if v, ok := m[pairs[n]]; !ok || v != pairs[n+1] || n > 0 && pairs[n] <= pairs[n-2] {
			return false
		}
	}
	return true
}

// intern reads a string and returns the copy of it that is kept, if there is one.
func (d *Decoder) intern() string {
	text := d.text()
	if d.strings == nil || len(text) > internedLength {
		return string(text)
	}
	kept := &d.strings[maphash.Bytes(internSeed, text)%internedStrings]
	if *kept != string(text) {
		*kept = string(text)
	}
	return *kept
}
