package registry

import (
	"iter"
	"slices"
)

// Snapshot is all that one cluster's registry says at one moment: complete, or
// not made at all. It is immutable and cheap to derive from another one. The zero
// Snapshot is a registry without services.
type Snapshot struct {
	services  table[ServiceKey, *Service]
	index     string
	populated int
	instances int
}

// NewSnapshot returns the snapshot of these services. Index is the registry's own
// word for the moment (a Consul index, a file's digest), for the audit; may be "".
// Of two services with one key the later stands.
func NewSnapshot(index string, services ...Service) Snapshot {
	return Snapshot{}.With(index, services...)
}

// With returns a snapshot in which these services stand as given.
func (s Snapshot) With(index string, services ...Service) Snapshot {
	d := draftOf(s.services)
	for _, service := range services { // each a copy: the caller may reuse its slice
		old, _ := d.get(service.Key)
		s.count(old, -1)
		s.count(&service, 1)
		d.set(service.Key, &service)
	}
	s.services, s.index = d.freeze(), index
	return s
}

// Without returns a snapshot that lacks the services with these keys.
func (s Snapshot) Without(index string, keys ...ServiceKey) Snapshot {
	d := draftOf(s.services)
	for _, k := range keys {
		old, _ := d.get(k)
		s.count(old, -1)
		d.delete(k)
	}
	s.services, s.index = d.freeze(), index
	return s
}

func (s *Snapshot) count(service *Service, by int) {
	if service != nil && len(service.Instances) > 0 {
		s.populated += by
		s.instances += by * len(service.Instances)
	}
}

// Index returns the registry's own word for the moment; "" when it has none.
func (s Snapshot) Index() string { return s.index }

// Len returns the number of services.
func (s Snapshot) Len() int { return s.services.len }

// Service returns the service with this key; nil when the registry has none.
func (s Snapshot) Service(k ServiceKey) *Service {
	v, _ := s.services.get(k)
	return v
}

// Services yields every service, in no order.
func (s Snapshot) Services() iter.Seq[*Service] {
	return func(yield func(*Service) bool) {
		for _, v := range s.services.all() {
			if !yield(v) {
				return
			}
		}
	}
}

// Populated counts the services that have an instance.
func (s Snapshot) Populated() int { return s.populated }

// Instances counts the instances of all services.
func (s Snapshot) Instances() int { return s.instances }

// Change is a service that differs between two snapshots.
type Change struct {
	Key ServiceKey
	Old *Service // nil: it was not there
	New *Service // nil: it is gone
}

// Diff returns what changed from old to new, sorted by key. It looks only at the
// parts that the two do not share, so a snapshot derived by [Snapshot.With] from
// the other costs next to nothing.
//
//	old      new      change
//	–        a        {Old: nil, New: a}
//	a        a        –
//	a        a'       {Old: a, New: a'}
//	a        –        {Old: a, New: nil}
func Diff(old, new Snapshot) []Change {
	var changes []Change
	for n := range tableShards {
		before, after := old.services.shard(n), new.services.shard(n)
		if before == after {
			continue
		}
		for _, slot := range after.all() {
			was, _ := before.get(slot.hash, slot.key)
			if was == nil || was != slot.value && !was.Equal(*slot.value) {
				changes = append(changes, Change{Key: slot.key, Old: was, New: slot.value})
			}
		}
		for _, slot := range before.all() {
			if _, still := after.find(slot.hash, slot.key); !still {
				changes = append(changes, Change{Key: slot.key, Old: slot.value})
			}
		}
	}
	slices.SortFunc(changes, func(a, b Change) int { return a.Key.Compare(b.Key) })
	return changes
}
