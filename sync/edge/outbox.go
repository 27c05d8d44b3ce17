package edge

import (
	"crypto/rand"
	"fmt"
	"slices"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// belief is what the stream has acknowledged of one service.
type belief struct {
	state   registry.ServiceState // as it was meant: not cut to the server's limit
	stored  registry.Digest       // of what is stored
	refresh time.Time             // when it is due again
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
	record     *registry.ClusterRecord // acknowledged
	recordDue  time.Time
	digest     registry.Digest // of all that is stored
	wanted     func(registry.ServiceKey) *registry.Service
	wantRecord registry.ClusterRecord
	index      func() (string, time.Time) // the registry's word for its moment, and when it was seen

	dirty map[registry.ServiceKey]registry.Cause
	order []registry.ServiceKey // of dirty, first come first
	own   registry.Cause        // why the record may differ; "" when it does not
}

func newOutbox(writer registry.Writer, agent string, timing Timing, epoch uint64) *outbox {
	return &outbox{
		writer: writer, agent: agent, timing: timing, epoch: epoch,
		believed: map[registry.ServiceKey]*belief{}, dirty: map[registry.ServiceKey]registry.Cause{},
	}
}

// load takes what was read back from the stream. Ages are by the stream's clock.
func (o *outbox) load(v *registry.View, stored map[registry.Fact]time.Time, streamNow, now time.Time) {
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
			o.believed[e.Key] = &belief{state: state, stored: r.Digest, refresh: due(registry.Fact{Writer: o.writer, Kind: registry.KindService, Service: e.Key})}
			o.digest = o.digest.XOR(r.Digest)
		}
	}
	if c := v.Cluster(cluster); c != nil && c.Record != nil {
		o.record = c.Record
		o.recordDue = due(registry.Fact{Writer: o.writer, Kind: registry.KindCluster})
		o.digest = o.digest.XOR(c.Record.Digest())
	}
}

// mark says that a service may differ from what the stream has.
func (o *outbox) mark(k registry.ServiceKey, cause registry.Cause) {
	if _, known := o.dirty[k]; !known {
		o.order = append(o.order, k)
		o.dirty[k] = cause
	} else if cause != registry.CauseRefresh {
		o.dirty[k] = cause
	}
}

// markAll prepares a full comparison: what is wanted first, tombstones after.
func (o *outbox) markAll(wanted []registry.ServiceKey) {
	for _, k := range wanted {
		o.mark(k, registry.CauseResync)
	}
	var rest []registry.ServiceKey
	for k := range o.believed {
		if _, known := o.dirty[k]; !known {
			rest = append(rest, k)
		}
	}
	slices.SortFunc(rest, registry.ServiceKey.Compare)
	for _, k := range rest {
		o.mark(k, registry.CauseResync)
	}
	o.own = registry.CauseResync
}

// markDue marks what must be published again for its age.
func (o *outbox) markDue(now time.Time) {
	for k, b := range o.believed {
		if !b.refresh.After(now) {
			o.mark(k, registry.CauseRefresh)
		}
	}
	if o.own == "" && o.record != nil && !o.recordDue.After(now) {
		o.own = registry.CauseRefresh
	}
}

// pending counts the services that may differ.
func (o *outbox) pending() int { return len(o.dirty) }

// next returns the events to send now, at most limit, each with its revision, and
// forgets that they were waiting. What it returned must be sent until it is
// acknowledged: see acknowledge.
func (o *outbox) next(limit int, now time.Time) []*registry.Event {
	var events []*registry.Event
	if cause := o.own; cause != "" {
		o.own = ""
		if o.record == nil || !o.record.Equal(o.wantRecord) {
			if cause == registry.CauseRefresh {
				cause = registry.CauseChange
			}
			events = append(events, o.recordEvent(cause, now))
		} else if cause == registry.CauseRefresh {
			events = append(events, o.recordEvent(cause, now))
		}
	}
	taken := 0
	for _, k := range o.order {
		if len(events) == limit {
			break
		}
		taken++
		cause := o.dirty[k]
		delete(o.dirty, k)
		if e := o.serviceEvent(k, cause, now); e != nil {
			events = append(events, e)
		}
	}
	o.order = slices.Delete(o.order, 0, taken)
	return events
}

func (o *outbox) recordEvent(cause registry.Cause, now time.Time) *registry.Event {
	record := o.wantRecord
	e := o.event(registry.KindCluster, cause, now)
	e.Cluster = &record
	return e
}

// serviceEvent compares one service with what the stream has; nil = equal.
func (o *outbox) serviceEvent(k registry.ServiceKey, cause registry.Cause, now time.Time) *registry.Event {
	b, wanted := o.believed[k], o.wanted(k)
	if b == nil && wanted == nil {
		return nil
	}
	var was *registry.Service
	if b != nil {
		was = &registry.Service{Key: k, Instances: b.state.Instances}
	}
	if wanted != nil {
		wanted = keepHealth(*wanted, was)
	}
	state := registry.NewServiceState(k, wanted)
	changes := registry.Compare(was, wanted)
	index, seen := o.index()
	state.Index, state.Seen = index, seen
	if b != nil && changes == nil && !b.state.Truncated {
		return o.unchanged(b, state, cause, now)
	}
	if cause == registry.CauseRefresh {
		cause = registry.CauseChange
	}
	e := o.event(registry.KindService, cause, now)
	state.Changes = changes
	state.Changed = registry.Stamp{Epoch: o.epoch, Revision: e.Revision, Time: e.Time}
	e.Service = &state
	return e
}

// unchanged publishes again what is due for its age: a tombstone older than
// Forget as forgotten, anything else as it is.
func (o *outbox) unchanged(b *belief, state registry.ServiceState, cause registry.Cause, now time.Time) *registry.Event {
	if cause != registry.CauseRefresh {
		return nil
	}
	if state.Changed = b.state.Changed; state.Total == 0 && now.Sub(state.Changed.Time) > o.timing.Forget {
		state.Forgotten = true
		cause = registry.CauseChange
	}
	e := o.event(registry.KindService, cause, now)
	e.Service = &state
	return e
}

// keepHealth gives instances of unknown health the health they had; those never
// seen before stay unknown, and take no traffic.
func keepHealth(s registry.Service, was *registry.Service) *registry.Service {
	if !slices.ContainsFunc(s.Instances, func(i registry.Instance) bool { return i.Health == registry.Unknown }) {
		return &s
	}
	before := map[string]registry.Health{}
	if was != nil {
		for _, i := range was.Instances {
			before[i.ID] = i.Health
		}
	}
	s.Instances = slices.Clone(s.Instances)
	for n := range s.Instances {
		if i := &s.Instances[n]; i.Health == registry.Unknown && before[i.ID] != "" {
			i.Health = before[i.ID]
		}
	}
	return &s
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

// mark of completeness at this point.
func (o *outbox) snapshotEvent(cause registry.Cause, now time.Time) *registry.Event {
	e := o.event(registry.KindSnapshot, cause, now)
	e.Snapshot = &registry.SnapshotMark{Keys: len(o.believed), Digest: o.digest}
	return e
}

// acknowledge makes events the truth to compare with. Stored, by index, is what
// was stored instead where the stream's limit cut it.
func (o *outbox) acknowledge(events, stored []*registry.Event, now time.Time) {
	for n, e := range events {
		digestOf := e.Service
		if n < len(stored) && stored[n] != nil {
			digestOf = stored[n].Service
		}
		switch {
		case e.Cluster != nil:
			if o.record != nil {
				o.digest = o.digest.XOR(o.record.Digest())
			}
			o.record, o.recordDue = e.Cluster, now.Add(o.timing.Refresh)
			o.digest = o.digest.XOR(o.record.Digest())
		case e.Service != nil:
			k := e.Service.Key()
			if b := o.believed[k]; b != nil {
				o.digest = o.digest.XOR(b.stored)
				delete(o.believed, k)
			}
			if !e.Service.Forgotten {
				b := &belief{state: *e.Service, stored: digestOf.Digest(), refresh: now.Add(o.timing.Refresh)}
				b.state.Changes = nil
				o.believed[k] = b
				o.digest = o.digest.XOR(b.stored)
			}
		}
	}
}
