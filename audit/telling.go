package audit

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
)

// rememberedStates bounds how many facts' earlier states are kept while a log is read.
const rememberedStates = 50_000

// teller makes entries of messages. One goroutine uses it.
type teller struct {
	decoder *stream.StoredDecoder
	fencing *fencing
	before  map[registry.Fact]*registry.Event // the state before the next message
}

func newTeller(f *fencing) *teller {
	return &teller{decoder: stream.NewStoredDecoder(), fencing: f, before: map[registry.Fact]*registry.Event{}}
}

// tell makes the entry of a message, and remembers what it states.
func (t *teller) tell(s registry.Stored) Entry {
	void, judged := s.Refused.(*registry.Refusal) // by whoever read it before: see [logging.newest]
	if judged {
		s.Refused = nil
	}
	m := t.decoder.Decode(s)
	if !judged {
		void = t.fencing.judge(m)
	}
	if m.Refused == nil {
		m.Refused = void
	}
	return t.told(s, m)
}

// told is tell for a message that was decoded and judged.
func (t *teller) told(s registry.Stored, m registry.Message) Entry {
	e := Entry{
		Sequence: s.Sequence, Stored: s.Time, Fact: string(m.Fact.Kind), Writer: m.Fact.Writer, Target: m.Fact.Name,
		Epoch: m.Epoch, Revision: m.Revision, Event: m.Event,
	}
	e.Cluster, _ = m.Fact.Writer.Cluster()
	switch m.Fact.Kind {
	case registry.KindService:
		e.Service = &m.Fact.Service
	case registry.KindState:
		e.Cluster, e.Target = registry.ClusterID(m.Fact.Name), ""
	}
	if ids := s.Header["Nats-Msg-Id"]; len(ids) > 0 {
		e.ID = clip(ids[0])
	}
	if m.Refused != nil || m.Event == nil {
		if e.Event != nil { // it can be read, and counts for nothing all the same
			e.Agent, e.Made, e.Event = e.Event.Agent, e.Event.Time, nil
		}
		e.Kind, e.Unusable = Unreadable, &Unusable{Reason: "unknown", Bytes: len(s.Body)}
		if m.Refused != nil {
			e.Unusable.Reason, e.Unusable.Detail = m.Refused.Reason, m.Refused.Detail
		}
		e.About = fmt.Sprintf("a message at %s can't be used: %s", printable(s.Subject), e.Unusable.Detail)
		return e
	}
	t.describe(&e, m)
	if shapesView(m.Fact.Kind) && (t.before[m.Fact] != nil || len(t.before) < rememberedStates) {
		t.before[m.Fact] = m.Event
	}
	return e
}

// mostRecalled bounds how many messages that can't be used are passed over to find out what
// stood before one.
const mostRecalled = 1000

// recall remembers what a subject said last before a sequence. None says that it had said
// nothing that can be used.
func (t *teller) recall(ctx context.Context, h History, subject string, before uint64) (none bool, err error) {
	for range mostRecalled {
		s, found, err := storedBefore(ctx, h, subject, before)
		if err != nil || !found {
			return !found, err
		}
		if t.tell(s).Event != nil {
			return false, nil
		}
		before = s.Sequence
	}
	return false, nil
}

// printable shortens a subject, which anybody may have written.
func printable(s string) string { return fmt.Sprintf("%q", clip(s)) }

// describe fills in what the event says.
func (t *teller) describe(e *Entry, m registry.Message) {
	event := m.Event
	e.Kind, e.Agent, e.Made, e.ID = kindOf(event), event.Agent, event.Time, event.ID
	before, known := t.before[m.Fact]
	switch {
	case event.Service != nil:
		t.describeService(e, event, before, known)
	case event.Cluster != nil:
		var was *registry.ClusterRecord
		if known {
			was = before.Cluster
		}
		e.Changes = diffRecord(event.Cluster.Cluster, was, event.Cluster, known || event.Cause == registry.CauseRefresh)
		e.About = fmt.Sprintf("cluster %s: %d gateways%s", event.Cluster.Cluster, len(event.Cluster.Gateways), summary(e.Changes))
	case event.Zone != nil:
		var was *registry.ZoneRecord
		if known {
			was = before.Zone
		}
		if d, differs := between(Difference{What: "zone"}, zoneValues(was), zoneValues(event.Zone)); differs && event.Cause != registry.CauseRefresh {
			e.Changes = []Difference{d}
		}
		e.About = "the zone record of " + event.Zone.Name
	case event.State != nil:
		var was *registry.StateRecord
		if known {
			was = before.State
		}
		if d, differs := between(Difference{What: "state", Cluster: event.State.Cluster}, stateValues(was), stateValues(event.State)); differs && event.Cause != registry.CauseRefresh {
			e.Changes = []Difference{d}
		}
		e.Reason = event.State.Reason
		e.About = fmt.Sprintf("cluster %s is %s: %s", event.State.Cluster, event.State.State, event.State.Reason)
	case event.Order != nil:
		describeOrder(e, event.Order)
	case event.Note != nil:
		e.Data, e.Target = event.Note.Data, event.Note.Kind
		e.About = event.Note.Kind + ": " + event.Note.Text
	case event.Takeover != nil:
		e.About = fmt.Sprintf("%s began epoch %d", event.Writer, event.Epoch)
		if e.Kind == Refresh {
			e.About = fmt.Sprintf("%s repeats that its epoch is %d", event.Writer, event.Epoch)
		}
	case event.Snapshot != nil:
		e.About = fmt.Sprintf("%s had published all it owns: %d services, digest %s", event.Writer, event.Snapshot.Keys, event.Snapshot.Digest)
	}
}

// kindOf sorts an event among the kinds of entries.
func kindOf(e *registry.Event) Kind {
	switch {
	case e.Kind == registry.KindNote:
		return Note
	case e.Kind == registry.KindSnapshot:
		return Complete
	case e.Cause == registry.CauseRefresh:
		return Refresh
	case e.Kind == registry.KindOrder:
		return Order
	case e.Kind == registry.KindState:
		return State
	case e.Kind == registry.KindEpoch:
		return Takeover
	case e.Cause == registry.CauseResync:
		return Resync
	}
	return Change
}

func (t *teller) describeService(e *Entry, event *registry.Event, before *registry.Event, known bool) {
	s := event.Service
	e.Serving, e.Total, e.Index, e.Seen, e.Redacted = s.Serving, s.Total, s.Index, s.Seen, s.Redacted
	of := Difference{Cluster: e.Cluster, Service: e.Service}
	switch {
	case event.Cause == registry.CauseRefresh:
	case known:
		if !s.Truncated && !before.Service.Truncated {
			e.Changes = diffInstances(of, before.Service.Instances, s.Instances)
		} else {
			e.Changes = fromAudit(of, s)
		}
	default:
		e.Changes = fromAudit(of, s)
	}
	what := fmt.Sprintf("%s in %s: %d of %d instances serve", s.Key(), e.Cluster, s.Serving, s.Total)
	switch {
	case s.Forgotten:
		what = fmt.Sprintf("%s in %s is forgotten: as if it had never been registered", s.Key(), e.Cluster)
	case s.Total == 0:
		what = fmt.Sprintf("%s in %s has no instance", s.Key(), e.Cluster)
	}
	if event.Cause == registry.CauseRefresh {
		what += ", said again"
	}
	e.About = what + summary(e.Changes)
}

// fromAudit tells what changed from the event's own words, where the state before it is
// not known.
func fromAudit(of Difference, s *registry.ServiceState) (all []Difference) {
	c := s.Changes
	if c == nil {
		return nil
	}
	find := func(id string) values {
		for n := range s.Instances {
			if s.Instances[n].ID == id {
				return instanceValues(&s.Instances[n])
			}
		}
		return nil
	}
	add := func(id, change string, fields []FieldChange) {
		d := of
		d.What, d.Name, d.Change, d.Fields = "instance", id, change, fields
		all = append(all, d)
	}
	for _, id := range c.Added {
		add(id, Added, values(nil).compare(find(id)))
	}
	for _, id := range c.Removed {
		add(id, Removed, nil)
	}
	for _, changed := range c.Changed {
		var fields []FieldChange
		now := find(changed.ID)
		for _, name := range changed.Fields {
			f := FieldChange{Field: name, Unknown: true}
			for _, v := range now {
				if v[0] == name {
					f.New = v[1]
				}
			}
			fields = append(fields, f)
		}
		add(changed.ID, Changed, fields)
	}
	slices.SortFunc(all, Difference.compare)
	return all
}

// diffRecord compares two records of a cluster. One before it that is not known makes
// no difference.
func diffRecord(id registry.ClusterID, was, is *registry.ClusterRecord, known bool) (all []Difference) {
	if !known || was == nil && is == nil {
		return nil
	}
	if was != nil {
		if fields := clusterValues(was).compare(clusterValues(is)); len(fields) > 0 {
			all = append(all, Difference{What: "cluster", Cluster: id, Change: Changed, Fields: fields})
		}
		all = append(all, diffGateways(id, was, is, 0)...)
	}
	slices.SortFunc(all, Difference.compare)
	return all
}

func describeOrder(e *Entry, o *registry.Order) {
	e.By, e.Reason, e.Target = o.By, o.Reason, o.Kind+" "+o.Target
	e.Cluster = targetCluster(*o)
	what := o.Kind + " of " + o.Target
	switch {
	case o.Lifted:
		what += " is lifted"
	case o.Ending:
		what += " is to end"
	case o.Kind == registry.OrderBrake:
		what = fmt.Sprintf("what the brake of %s holds back: %s", o.Target, o.Decision)
	case o.Kind == registry.OrderResync:
		what = o.Target + " is asked to publish what differs"
	case o.Force:
		what += ", although nothing else may serve"
	}
	e.About = fmt.Sprintf("%s (by %s: %s)", what, o.By, o.Reason)
}

// summary counts changes for a sentence.
func summary(changes []Difference) string {
	var parts []string
	for _, change := range []string{Added, Removed, Changed} {
		var fields []string
		count := 0
		for _, d := range changes {
			if d.Change != change {
				continue
			}
			count++
			for _, f := range d.Fields {
				if change == Changed && !slices.Contains(fields, f.Field) {
					fields = append(fields, f.Field)
				}
			}
		}
		if count == 0 {
			continue
		}
		part := fmt.Sprintf("%d %s", count, change)
		if len(fields) > 0 {
			part += " (" + strings.Join(fields, ", ") + ")"
		}
		parts = append(parts, part)
	}
	if len(parts) == 0 {
		return ""
	}
	return "; " + strings.Join(parts, ", ")
}
