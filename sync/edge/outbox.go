package edge

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"slices"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// belief is what the stream has acknowledged of one service.
type belief struct {
	state   registry.ServiceState // as it was meant: not cut to the server's limit
	stored  registry.Digest       // of what is stored; zero when that can't be read
	refresh time.Time             // when it is due again
	unsure  bool                  // what is stored can't be compared: it was cut, or can't be read
}

// mark says why a service may differ from what the stream has, and since when.
type mark struct {
	cause   registry.Cause
	seen    time.Time
	decided bool // by an operator: nothing that the registry may say counts
}

// outbox turns what should stand on the stream into events, by comparing it with
// what the stream has acknowledged. It holds no queue: only the names that may
// differ. It is pure but for the random part of ids; one goroutine owns it.
type outbox struct {
	writer registry.Writer
	agent  string
	timing Timing
	epoch  uint64
	last   uint64 // the revision last given out

	believed   map[registry.ServiceKey]*belief
	lost       map[registry.ServiceKey]*belief // what the stream had acknowledged and no longer has, until it has it again
	record     *registry.ClusterRecord         // acknowledged; nil: none
	recordDue  time.Time
	digest     registry.Digest                             // of all that is stored
	wanted     func(registry.ServiceKey) *registry.Service // nil: not known, what is believed stands
	wantRecord *registry.ClusterRecord                     // likewise
	index      string                                      // the registry's word for the moment of wanted

	dirty map[registry.ServiceKey]mark
	order []registry.ServiceKey // of dirty, first come first
	own   registry.Cause        // why the record may differ; "" when it does not

	notes []registry.Note       // to be published, first come first
	doubt func() bool           // whether wanted may lack what the registry has again; nil: never
	tells func() bool           // whether another note is due; nil: none ever is
	tell  func(*registry.Event) // makes an event that note
}

func newOutbox(writer registry.Writer, agent string, timing Timing, epoch uint64) *outbox {
	return &outbox{
		writer: writer, agent: agent, timing: timing, epoch: epoch,
		believed: map[registry.ServiceKey]*belief{}, lost: map[registry.ServiceKey]*belief{}, dirty: map[registry.ServiceKey]mark{},
	}
}

// load takes what was read back from the stream. Stored and streamNow are by the
// stream's clock; what could not be read is in unreadable.
func (o *outbox) load(v *registry.View, stored map[registry.Fact]time.Time, unreadable []registry.Fact, streamNow, now time.Time) {
	cluster, _ := o.writer.Cluster()
	due := func(f registry.Fact) time.Time { return now.Add(o.timing.Refresh - streamNow.Sub(stored[f])) }
	for name := range v.Names() {
		for _, e := range name.Entries {
			r := e.Record(cluster)
			if r == nil {
				continue
			}
			service := r.Service
			state := registry.NewServiceState(e.Key, &service)
			state.Total, state.Serving, state.Truncated = r.Total, r.Serving, r.Truncated
			state.Changed, state.Index = r.Changed, r.Index
			fact := registry.Fact{Writer: o.writer, Kind: registry.KindService, Service: e.Key}
			o.believe(e.Key, &belief{state: state, stored: r.Digest, refresh: due(fact), unsure: r.Truncated})
		}
	}
	for _, f := range unreadable {
		if f.Kind == registry.KindService && o.believed[f.Service] == nil {
			o.believe(f.Service, &belief{state: registry.NewServiceState(f.Service, nil), refresh: now.Add(o.timing.Refresh), unsure: true})
		}
	}
	if c := v.Cluster(cluster); c != nil && c.Record != nil {
		o.record = c.Record
		o.recordDue = due(registry.Fact{Writer: o.writer, Kind: registry.KindCluster})
		o.digest = o.digest.XOR(c.Record.Digest())
	}
}

// miss takes what the stream had acknowledged: of what it no longer has, all that is
// not to be forgotten is to be published again.
func (o *outbox) miss(acknowledged map[registry.ServiceKey]*belief, now time.Time) {
	for k, b := range acknowledged {
		if o.believed[k] == nil && !o.forgettable(b, now) {
			b.refresh = now
			o.lost[k] = b
		}
	}
}

// forgettable reports whether a belief is a tombstone of which no reader needs to know any more.
func (o *outbox) forgettable(b *belief, now time.Time) bool {
	return b.state.Total == 0 && now.Sub(b.state.Changed.Time) > o.timing.Forget
}

// known returns what the stream has of a service, or had acknowledged; nil: nothing.
func (o *outbox) known(k registry.ServiceKey) *belief { return cmp.Or(o.believed[k], o.lost[k]) }

// believe replaces what is believed of a service; nil = it is not known.
func (o *outbox) believe(k registry.ServiceKey, b *belief) {
	delete(o.lost, k)
	if was := o.believed[k]; was != nil {
		o.digest = o.digest.XOR(was.stored)
	}
	if b == nil {
		delete(o.believed, k)
		return
	}
	o.believed[k] = b
	o.digest = o.digest.XOR(b.stored)
}

// decide marks a service of which an operator has decided that it is withdrawn.
func (o *outbox) decide(k registry.ServiceKey, now time.Time) {
	o.mark(k, registry.CauseChange, now)
	m := o.dirty[k]
	m.decided = true
	o.dirty[k] = m
}

// mark says that a service may differ from what the stream has.
func (o *outbox) mark(k registry.ServiceKey, cause registry.Cause, seen time.Time) {
	m, known := o.dirty[k]
	if !known {
		o.order = append(o.order, k)
		m.seen = seen
	}
	m.cause = cause
	o.dirty[k] = m
}

// markAll prepares a full comparison, which also finds what is due for its age:
// what is wanted first, tombstones after.
func (o *outbox) markAll(wanted []registry.ServiceKey, seen time.Time) {
	compare := func(keys []registry.ServiceKey) {
		for _, k := range keys {
			if _, known := o.dirty[k]; !known {
				o.mark(k, registry.CauseResync, seen)
			}
		}
	}
	compare(wanted)
	var rest []registry.ServiceKey
	for _, known := range []map[registry.ServiceKey]*belief{o.believed, o.lost} {
		for k := range known {
			if _, marked := o.dirty[k]; !marked {
				rest = append(rest, k)
			}
		}
	}
	slices.SortFunc(rest, registry.ServiceKey.Compare)
	compare(rest)
	if o.own == "" {
		o.own = registry.CauseResync
	}
}

// pending counts the services that may differ.
func (o *outbox) pending() int { return len(o.dirty) }

// next returns the events to send now, at most limit, each with its revision, and
// forgets that they were waiting; none means that nothing differs. What it returned
// must be sent until it is acknowledged: see acknowledge.
func (o *outbox) next(limit int, now time.Time) []*registry.Event {
	var events []*registry.Event
	for len(o.notes) > 0 && len(events) < limit {
		e := o.event(registry.KindNote, registry.CauseChange, now)
		e.Note, o.notes = &o.notes[0], o.notes[1:]
		events = append(events, e)
	}
	for o.tells != nil && o.tells() && len(events) < limit {
		e := o.event(registry.KindNote, registry.CauseChange, now)
		o.tell(e)
		events = append(events, e)
	}
	if o.own != "" {
		if e := o.recordEvent(o.own, now); e != nil {
			events = append(events, e)
		}
		o.own = ""
	}
	taken, doubtful := 0, o.doubt != nil && o.doubt()
	var waiting []registry.ServiceKey
	for _, k := range o.order {
		if len(events) == limit {
			break
		}
		taken++
		m := o.dirty[k]
		if doubtful && !m.decided && o.withdraws(k) {
			waiting = append(waiting, k)
			if e := o.unwithdrawn(k, m, now); e != nil {
				events = append(events, e)
			}
			continue
		}
		delete(o.dirty, k)
		if e := o.serviceEvent(k, m, now); e != nil {
			events = append(events, e)
		}
	}
	o.order = slices.Replace(o.order, 0, taken, waiting...)
	return events
}

// withdraws reports whether readers know an instance of a service that is wanted no longer.
func (o *outbox) withdraws(k registry.ServiceKey) bool {
	b := o.known(k)
	if b == nil || o.wanted == nil {
		return false
	}
	changes := registry.Compare(&registry.Service{Key: k, Instances: b.state.Instances}, o.wanted(k))
	return changes != nil && len(changes.Removed) > 0
}

// unwithdrawn is serviceEvent where what is wanted no longer stands as it was. What was
// published so, and can't be compared, is not published so again.
func (o *outbox) unwithdrawn(k registry.ServiceKey, m mark, now time.Time) *registry.Event {
	b := o.known(k)
	base := &registry.Service{Key: k, Instances: b.state.Instances}
	union := newLoss(base, o.wanted(k)).stands()
	if o.lost[k] == nil && b.unsure && registry.Compare(base, keepHealth(union, base)) == nil {
		return nil
	}
	return o.difference(k, union, m, now)
}

// recordEvent compares the cluster's record with what the stream has; nil = equal
// and not due.
func (o *outbox) recordEvent(cause registry.Cause, now time.Time) *registry.Event {
	record := o.wantRecord
	if record == nil {
		record = o.record
	}
	switch {
	case record == nil:
		return nil
	case o.record == nil || !record.Equal(*o.record):
	case o.recordDue.After(now):
		return nil
	default:
		cause = registry.CauseRefresh
	}
	e := o.event(registry.KindCluster, cause, now)
	e.Cluster = record
	return e
}

// serviceEvent compares one service with what the stream has; nil = equal and not due.
func (o *outbox) serviceEvent(k registry.ServiceKey, m mark, now time.Time) *registry.Event {
	if o.wanted == nil {
		return o.repeat(o.believed[k], false, now)
	}
	return o.difference(k, o.wanted(k), m, now)
}

// difference is serviceEvent where this is wanted; nil: nothing is.
func (o *outbox) difference(k registry.ServiceKey, wanted *registry.Service, m mark, now time.Time) *registry.Event {
	b := o.known(k)
	if b == nil && wanted == nil {
		return nil
	}
	var was *registry.Service
	if b != nil {
		was = &registry.Service{Key: k, Instances: b.state.Instances}
	}
	if wanted != nil {
		wanted = keepHealth(wanted, was)
	}
	changes := registry.Compare(was, wanted)
	if b != nil && wanted != nil {
		b.state.Redacted = wanted.Redacted
	}
	if b != nil && changes == nil && !b.unsure {
		e := o.repeat(b, wanted == nil, now)
		if e != nil && o.lost[k] != nil && e.Cause == registry.CauseRefresh {
			e.Cause = registry.CauseResync
		}
		return e
	}
	e := o.event(registry.KindService, m.cause, now)
	state := registry.NewServiceState(k, wanted)
	state.Changes, state.Index, state.Seen = changes, o.index, m.seen.UTC()
	state.Changed = registry.Stamp{Epoch: o.epoch, Revision: e.Revision, Time: e.Time}
	e.Service = &state
	return e
}

// repeat publishes again what is due for its age, as it is; an old tombstone of
// what the registry no longer lists as forgotten. It returns nil when nothing is
// due, or nobody knows what stands there.
func (o *outbox) repeat(b *belief, gone bool, now time.Time) *registry.Event {
	if b == nil || b.refresh.After(now) || b.stored == (registry.Digest{}) {
		return nil
	}
	state, cause := b.state, registry.CauseRefresh
	if gone && o.forgettable(b, now) {
		state.Forgotten, cause = true, registry.CauseChange
	}
	e := o.event(registry.KindService, cause, now)
	e.Service = &state
	return e
}

// keepHealth gives instances of unknown health the health they had; those never
// seen before stay unknown, and take no traffic.
func keepHealth(s, was *registry.Service) *registry.Service {
	unknown := func(i registry.Instance) bool { return i.Health == registry.Unknown }
	if !slices.ContainsFunc(s.Instances, unknown) {
		return s
	}
	before := map[string]registry.Health{}
	if was != nil {
		for _, i := range was.Instances {
			before[i.ID] = i.Health
		}
	}
	kept := *s
	kept.Instances = slices.Clone(s.Instances)
	for n := range kept.Instances {
		if i := &kept.Instances[n]; unknown(*i) && before[i.ID] != "" {
			i.Health = before[i.ID]
		}
	}
	return &kept
}

// event begins an event of this epoch with the next revision.
func (o *outbox) event(kind registry.Kind, cause registry.Cause, now time.Time) *registry.Event {
	o.last++
	return &registry.Event{
		Schema: registry.Schema, ID: fmt.Sprintf("%s-%d-%d-%s", o.writer, o.epoch, o.last, rand.Text()),
		Kind: kind, Writer: o.writer, Epoch: o.epoch, Revision: o.last,
		Time: now.UTC(), Agent: o.agent, Cause: cause,
	}
}

// snapshotEvent marks that the stream is complete at this point.
func (o *outbox) snapshotEvent(cause registry.Cause, now time.Time) *registry.Event {
	e := o.event(registry.KindSnapshot, cause, now)
	e.Snapshot = &registry.SnapshotMark{Keys: len(o.believed), Digest: o.digest}
	return e
}

// acknowledge makes events the truth to compare with. Stored, by index, is what
// was stored instead where the stream's limit cut it.
func (o *outbox) acknowledge(events, stored []*registry.Event, now time.Time) {
	due := now.Add(o.timing.Refresh)
	for n, e := range events {
		switch {
		case e.Cluster != nil:
			if o.record != nil {
				o.digest = o.digest.XOR(o.record.Digest())
			}
			o.record, o.recordDue = e.Cluster, due
			o.digest = o.digest.XOR(o.record.Digest())
		case e.Service != nil && e.Service.Forgotten:
			o.believe(e.Service.Key(), nil)
		case e.Service != nil:
			as := e.Service
			if n < len(stored) && stored[n] != nil {
				as = stored[n].Service
			}
			b := &belief{state: *e.Service, stored: as.Digest(), refresh: due, unsure: e.Service.Truncated}
			b.state.Changes = nil
			o.believe(e.Service.Key(), b)
		}
	}
}
