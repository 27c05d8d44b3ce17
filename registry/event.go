package registry

import (
	"slices"
	"time"
)

// Schema is the version of the event body that this package writes. A reader
// accepts any minor version of the same major one, and ignores fields it does not know.
const Schema = "seamark/1.0"

// Kind says what sort of fact a message states.
type Kind string

// The kinds of fact. Readers that do not know a kind pass it over.
const (
	KindService  Kind = "service"
	KindCluster  Kind = "cluster"
	KindEpoch    Kind = "epoch"
	KindSnapshot Kind = "snapshot"
	KindNote     Kind = "note"
	KindZone     Kind = "zone"
	KindState    Kind = "state"
	KindOrder    Kind = "order"
)

// Fact identifies what one subject of the stream is about: one fact, one owner.
// It is comparable.
type Fact struct {
	Writer  Writer
	Kind    Kind
	Service ServiceKey // for KindService
	Name    string     // for KindNote its kind; for KindOrder "kind.target"; for KindState the cluster
}

// Cause says why an event was published.
type Cause string

// The causes.
const (
	CauseChange  Cause = "change"  // the registry or the configuration changed
	CauseResync  Cause = "resync"  // a reconciliation found a difference
	CauseRefresh Cause = "refresh" // nothing changed: the daily repetition
	CauseSeed    Cause = "seed"    // nobody had said anything yet: what a configuration says, until somebody knows better
)

// Event is the body of one message: the whole state of one fact after a change,
// and what changed. Exactly the part that belongs to Kind is set. An Event is
// immutable once it was published, so that it can be sent again identically.
type Event struct {
	Schema   string    `json:"schema"`
	ID       string    `json:"id"` // equals Nats-Msg-Id
	Kind     Kind      `json:"kind"`
	Writer   Writer    `json:"writer"`
	Epoch    uint64    `json:"epoch,omitempty"`
	Revision uint64    `json:"revision,omitempty"`
	Time     time.Time `json:"time"`            // when the writer made it, by its own clock
	Agent    string    `json:"agent,omitempty"` // who: host and process, or a person
	Cause    Cause     `json:"cause"`

	Service  *ServiceState  `json:"service,omitempty"`
	Cluster  *ClusterRecord `json:"cluster,omitempty"`
	Takeover *EpochRecord   `json:"takeover,omitempty"`
	Snapshot *SnapshotMark  `json:"snapshot,omitempty"`
	Note     *Note          `json:"note,omitempty"`
	Zone     *ZoneRecord    `json:"zone,omitempty"`
	Order    *Order         `json:"order,omitempty"`
	State    *StateRecord   `json:"state,omitempty"`
}

// ServiceState is one service in one cluster. No instances = a tombstone: the
// name stays known and answers NODATA. Forgotten = as if never registered.
type ServiceState struct {
	Namespace string     `json:"namespace"`
	Name      string     `json:"name"`
	Instances []Instance `json:"instances"` // sorted by id
	Total     int        `json:"total"`     // of instances; more than are listed when truncated
	Serving   int        `json:"serving"`   // of those that take traffic; true also when truncated
	Truncated bool       `json:"truncated,omitempty"`
	Redacted  int        `json:"redacted,omitempty"` // metadata pairs that the agent withheld; no part of the digest
	Forgotten bool       `json:"forgotten,omitempty"`
	Changes   *Changes   `json:"changes,omitempty"`
	Changed   Stamp      `json:"changed"`         // the last real change, also in a refresh
	Index     string     `json:"index,omitempty"` // the registry's own word for the moment
	Seen      time.Time  `json:"seen"`            // when the agent learnt it, by its own clock
}

// Stamp names the event of a real change.
type Stamp struct {
	Epoch    uint64    `json:"epoch"`
	Revision uint64    `json:"revision"`
	Time     time.Time `json:"time"`
}

// Changes lists instance ids, for the audit. All sorted.
type Changes struct {
	Added   []string         `json:"added,omitempty"`
	Removed []string         `json:"removed,omitempty"`
	Changed []InstanceChange `json:"changed,omitempty"`
}

// InstanceChange names the fields of an instance that changed: address, port,
// weight, health, version, meta.
type InstanceChange struct {
	ID     string   `json:"id"`
	Fields []string `json:"fields"`
}

// EpochRecord begins an epoch. Fences are the epochs that began before, and in a
// refresh this one too, each with the stream sequence of its first record: what
// stands after a fence with a lower epoch is void.
type EpochRecord struct {
	Fences  []Fence `json:"fences,omitempty"` // ascending; at most MaxFences, the latest
	Version string  `json:"version,omitempty"`
}

// MaxFences bounds the memory of earlier epochs in an [EpochRecord].
const MaxFences = 32

// Fence is the first record of an epoch.
type Fence struct {
	Epoch    uint64 `json:"epoch"`
	Sequence uint64 `json:"sequence"`
}

// SnapshotMark says: at this (epoch, revision) the writer had published all it
// owns, and that was Keys services (tombstones included) with this digest.
type SnapshotMark struct {
	Keys   int    `json:"keys"`
	Digest Digest `json:"digest"`
}

// Note is anything worth keeping that is no state: a refused service, a brake, a resync.
type Note struct {
	Kind string            `json:"kind"` // one DNS label
	Text string            `json:"text"` // a sentence for a person, at most 4 KiB
	Data map[string]string `json:"data,omitempty"`
}

// Compare tells what changed from old to new, for [ServiceState].Changes. A nil
// service has no instances. The result is nil when nothing differs.
func Compare(old, new *Service) *Changes {
	var before, after []Instance
	if old != nil {
		before = old.Instances
	}
	if new != nil {
		after = new.Instances
	}
	var c Changes
	for len(before) > 0 || len(after) > 0 {
		switch {
		case len(after) == 0 || len(before) > 0 && before[0].ID < after[0].ID:
			c.Removed, before = append(c.Removed, before[0].ID), before[1:]
		case len(before) == 0 || after[0].ID < before[0].ID:
			c.Added, after = append(c.Added, after[0].ID), after[1:]
		default:
			if fields := changedFields(before[0], after[0]); fields != nil {
				c.Changed = append(c.Changed, InstanceChange{ID: after[0].ID, Fields: fields})
			}
			before, after = before[1:], after[1:]
		}
	}
	if c.Added == nil && c.Removed == nil && c.Changed == nil {
		return nil
	}
	return &c
}

func changedFields(a, b Instance) []string {
	var fields []string
	for _, f := range []struct {
		name string
		same bool
	}{
		{"address", a.Address == b.Address},
		{"port", a.Port == b.Port},
		{"weight", a.Weight == b.Weight},
		{"health", a.Health == b.Health},
		{"version", a.Version == b.Version},
	} {
		if !f.same {
			fields = append(fields, f.name)
		}
	}
	if metaA, metaB := (Instance{Meta: a.Meta}), (Instance{Meta: b.Meta}); !metaA.Equal(metaB) {
		fields = append(fields, "meta")
	}
	return fields
}

// NewServiceState describes a service as it is after a change. A nil service
// with its key gives the tombstone.
func NewServiceState(key ServiceKey, s *Service) ServiceState {
	state := ServiceState{Namespace: key.Namespace, Name: key.Name, Instances: []Instance{}}
	if s != nil {
		state.Instances = slices.Clone(s.Instances)
		if state.Instances == nil {
			state.Instances = []Instance{}
		}
		state.Total, state.Serving, state.Redacted = len(s.Instances), s.Serving(), s.Redacted
	}
	return state
}

// Key returns the service that the state is about.
func (s ServiceState) Key() ServiceKey { return ServiceKey{Namespace: s.Namespace, Name: s.Name} }

// Fact returns what the event is about.
func (e *Event) Fact() Fact {
	f := Fact{Writer: e.Writer, Kind: e.Kind}
	switch {
	case e.Service != nil:
		f.Service = e.Service.Key()
	case e.Note != nil:
		f.Name = e.Note.Kind
	case e.Order != nil:
		f.Name = e.Order.Kind + "." + e.Order.Target
	case e.State != nil:
		f.Name = string(e.State.Cluster)
	}
	return f
}
