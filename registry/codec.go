package registry

import (
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// Limits of an encoded body.
const (
	MaxBody  = 1 << 20 // bytes, uncompressed
	MaxDepth = 32      // nested objects and arrays
)

// Encode returns the event as JSON. The same event always gives the same bytes.
func Encode(e *Event) ([]byte, error) {
	body, err := json.Marshal(e)
	if err != nil {
		return nil, refuse("encode", "event %s: %v", clip(e.ID), err)
	}
	return body, nil
}

// Decode is [Decoder.Decode] for one body: bounded, validated, and refused with a
// [*Refusal].
func Decode(body []byte) (*Event, error) {
	var d Decoder
	return d.Decode(body)
}

// jsonDepth returns how deep objects and arrays nest; it need not be valid JSON.
func jsonDepth(body []byte) (deepest int) {
	depth, quoted := 0, false
	for i := 0; i < len(body); i++ {
		switch body[i] {
		case '"':
			quoted = !quoted
		case '\\':
			if quoted {
				i++
			}
		case '{', '[':
			if !quoted {
				depth++
				deepest = max(deepest, depth)
			}
		case '}', ']':
			if !quoted {
				depth--
			}
		}
	}
	return deepest
}

func checkEvent(e *Event) *Refusal {
	major, _, _ := strings.Cut(Schema, ".")
	if theirs, _, _ := strings.Cut(e.Schema, "."); theirs != major {
		return refuse("schema", "schema %q is not understood; this version reads %s", clip(e.Schema), Schema)
	}
	if _, err := ParseWriter(string(e.Writer)); err != nil {
		return refuse("writer", "%q is no writer", clip(string(e.Writer)))
	}
	if !isText(e.ID) || !isText(e.Agent) || !isText(string(e.Kind)) || !isText(string(e.Cause)) {
		return refuse("text", "id, agent, kind or cause is longer than %d bytes or not printable", maxText)
	}
	parts := 0
	for _, there := range []bool{e.Service != nil, e.Cluster != nil, e.Takeover != nil, e.Snapshot != nil, e.Note != nil, e.Zone != nil, e.Order != nil, e.State != nil} {
		if there {
			parts++
		}
	}
	missing := func() *Refusal {
		return refuse("kind", "an event of kind %q must have its own part and no other", clip(string(e.Kind)))
	}
	if parts > 1 {
		return missing()
	}
	var ok bool
	var err *Refusal
	switch e.Kind {
	case KindService:
		if ok = e.Service != nil; ok {
			err = checkState(e.Service)
		}
	case KindCluster:
		if ok = e.Cluster != nil; ok {
			if err = checkClusterRecord(e.Cluster); err == nil && Writer(e.Cluster.Cluster) != e.Writer {
				err = refuse("foreign", "%s speaks for cluster %s", e.Writer, e.Cluster.Cluster)
			}
		}
	case KindEpoch:
		if ok = e.Takeover != nil; ok {
			err = checkTakeover(e)
		}
	case KindSnapshot:
		if ok = e.Snapshot != nil; ok && e.Snapshot.Keys < 0 {
			err = refuse("snapshot", "a snapshot record of %d services", e.Snapshot.Keys)
		}
	case KindNote:
		if ok = e.Note != nil; ok && (!isLabel(e.Note.Kind) || len(e.Note.Text) > 4096 || checkMeta(e.Note.Data) != nil) {
			err = refuse("note", "note %q: its kind is no label, or its text or data is too long", clip(e.Note.Kind))
		}
	case KindZone:
		if ok = e.Zone != nil; ok {
			zone, faults := CleanZone(*e.Zone)
			if len(faults) > 0 {
				err = refuse("zone", "zone record: %s: %s", clip(faults[0].Field), faults[0].Detail)
			}
			e.Zone = &zone
		}
	case KindOrder:
		if ok = e.Order != nil; ok {
			err = checkOrder(e.Order)
		}
	case KindState:
		if ok = e.State != nil; ok {
			err = checkStateRecord(e.State)
		}
	default:
		ok = true // a kind of a later minor version: passed over by the fold
	}
	if !ok {
		return missing()
	}
	return err
}

// maxText bounds the short texts of an event, in bytes.
const maxText = 256

func isText(s string) bool { return len(s) <= maxText && printable(s) }

func checkTakeover(e *Event) *Refusal {
	t := e.Takeover
	if !isText(t.Version) {
		return refuse("text", "the agent's version is longer than %d bytes or not printable", maxText)
	}
	if len(t.Fences) > MaxFences {
		return refuse("fences", "%d fences, more than %d", len(t.Fences), MaxFences)
	}
	for i, f := range t.Fences {
		if f.Epoch > e.Epoch || i > 0 && (f.Epoch <= t.Fences[i-1].Epoch || f.Sequence <= t.Fences[i-1].Sequence) {
			return refuse("fences", "fences are not ascending or belong to a later epoch")
		}
	}
	return nil
}

// checkState holds a service from the stream to what CleanService lets through,
// and to canonical order. Serving counts are recomputed unless truncated.
func checkState(s *ServiceState) *Refusal {
	key, err := ParseServiceKey(s.Namespace, s.Name)
	if err != nil {
		return err.(*Refusal)
	}
	s.Namespace = key.Namespace
	if s.Forgotten && len(s.Instances) > 0 {
		return refuse("forgotten", "%s is forgotten and has instances", key)
	}
	if len(s.Instances) > MaxInstances {
		return refuse("instances-too-many", "%s has %d instances, more than %d", key, len(s.Instances), MaxInstances)
	}
	if !isText(s.Index) || !s.Changes.printable() {
		return refuse("text", "%s: the index or a changed instance's id is too long or not printable", key)
	}
	if s.Instances == nil {
		s.Instances = []Instance{}
	}
	serving := 0
	for n := range s.Instances {
		i := &s.Instances[n]
		if len(i.Meta) == 0 {
			i.Meta = nil
		}
		if r := checkInstance(*i); r != nil {
			return r
		}
		if r := checkMeta(i.Meta); r != nil {
			return r
		}
		if i.Serves() {
			serving++
		}
	}
	if !slices.IsSortedFunc(s.Instances, func(a, b Instance) int { return strings.Compare(a.ID, b.ID) }) {
		slices.SortFunc(s.Instances, compareInstances)
	}
	for n := 1; n < len(s.Instances); n++ {
		if s.Instances[n].ID == s.Instances[n-1].ID {
			return refuse("instance-duplicate", "%s: instance id %q is given twice", key, clip(s.Instances[n].ID))
		}
	}
	if !s.Truncated {
		s.Total, s.Serving = len(s.Instances), serving
	} else if s.Total < len(s.Instances) || s.Serving < serving || s.Serving > s.Total || s.Total > 1<<30 {
		return refuse("counts", "%s: counts do not fit the instances", key)
	}
	return nil
}

// printable reports whether all that the changes name may be shown to a person.
// The receiver may be nil.
func (c *Changes) printable() bool {
	if c == nil {
		return true
	}
	ok := func(id string) bool { return len(id) <= MaxIDLength && printable(id) }
	for _, id := range slices.Concat(c.Added, c.Removed) {
		if !ok(id) {
			return false
		}
	}
	for _, change := range c.Changed {
		if !ok(change.ID) || slices.ContainsFunc(change.Fields, func(f string) bool { return !isText(f) }) {
			return false
		}
	}
	return true
}

// Truncate returns the event with its instance list cut so that its body fits
// into limit bytes; the counts stay true. An event that fits is returned as it
// is. Only services can be cut; the instances that serve are kept first. What
// can't be made to fit is a [*Refusal].
func Truncate(e *Event, limit int) (*Event, error) {
	body, err := Encode(e)
	if err != nil || len(body) <= limit {
		return e, err
	}
	if e.Service == nil {
		return nil, refuse("too-large", "event %s has %d bytes, more than %d, and cannot be cut", clip(e.ID), len(body), limit)
	}
	cut, state := *e, *e.Service
	state.Truncated, state.Changes = true, nil
	all := slices.Clone(state.Instances)
	slices.SortStableFunc(all, func(a, b Instance) int { return rank(a) - rank(b) })
	low, high := 0, len(all) // the longest prefix that fits
	for low < high {
		middle := (low + high + 1) / 2
		state.Instances = sortedByID(all[:middle])
		cut.Service = &state
		if body, err = Encode(&cut); err != nil {
			return nil, err
		}
		if len(body) <= limit {
			low = middle
		} else {
			high = middle - 1
		}
	}
	state.Instances = sortedByID(all[:low])
	cut.Service = &state
	if body, err = Encode(&cut); err == nil && len(body) > limit {
		return nil, refuse("too-large", "event %s has %d bytes without any instance, more than %d", clip(e.ID), len(body), limit)
	}
	return &cut, err
}

func rank(i Instance) int {
	if i.Serves() {
		return 0
	}
	return 1
}

func sortedByID(instances []Instance) []Instance {
	s := slices.Clone(instances)
	slices.SortFunc(s, compareInstances)
	return s
}

// Phase is what an agent says of itself in its [Lease].
type Phase string

// The phases of an agent that holds its cluster's lease.
const (
	PhaseSyncing      Phase = "syncing"       // has taken over; not everything is published yet
	PhaseSynced       Phase = "synced"        // the stream holds what the registry says
	PhaseRegistryDown Phase = "registry_down" // the registry can't be read or trusted: what stands, stands
	PhaseStopped      Phase = "stopped"       // ended in order; another agent may take over at once
)

// Lease is a writer's sign of life, renewed every few seconds.
type Lease struct {
	Schema   string    `json:"schema"`
	Writer   Writer    `json:"writer"`
	Agent    string    `json:"agent"` // who holds it
	Version  string    `json:"version,omitempty"`
	Phase    Phase     `json:"phase"`
	Epoch    uint64    `json:"epoch"`
	Revision uint64    `json:"revision"` // the last one acknowledged
	Keys     int       `json:"keys"`     // services on the stream, tombstones included
	Digest   Digest    `json:"digest"`   // of those and of the cluster's record
	Time     time.Time `json:"time"`
	Source   string    `json:"source,omitempty"` // kind of registry
	Detail   string    `json:"detail,omitempty"` // a sentence: why the registry is not trusted
}

// DecodeLease validates a lease. The error is a [*Refusal].
func DecodeLease(body []byte) (Lease, error) {
	if len(body) > 64<<10 || jsonDepth(body) > MaxDepth {
		return Lease{}, refuse("too-large", "a lease of %d bytes", len(body))
	}
	var l Lease
	if err := json.Unmarshal(body, &l); err != nil {
		return Lease{}, refuse("not-json", "no lease: %s", clip(err.Error()))
	}
	major, _, _ := strings.Cut(Schema, ".")
	if theirs, _, _ := strings.Cut(l.Schema, "."); theirs != major {
		return Lease{}, refuse("schema", "schema %q is not understood; this version reads %s", clip(l.Schema), Schema)
	}
	if _, err := ParseWriter(string(l.Writer)); err != nil {
		return Lease{}, err
	}
	if !isText(l.Agent) || !isText(l.Version) || !isText(l.Source) || !isText(string(l.Phase)) || len(l.Detail) > 4096 || !printable(l.Detail) {
		return Lease{}, refuse("text", "a text of the lease is too long or not printable")
	}
	return l, nil
}

// EncodeLease returns the lease as JSON.
func EncodeLease(l Lease) ([]byte, error) { return json.Marshal(l) }
