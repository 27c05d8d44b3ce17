package edge

import (
	"cmp"
	"iter"
	"maps"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// carried is what an epoch leaves to the next one of the same process, in case the stream
// has lost what it had acknowledged: readers still have that, and a name of which nothing
// is published again becomes one that was never registered. The zero value carries nothing.
type carried struct {
	at       time.Time // when that epoch ended
	believed map[registry.ServiceKey]*belief
	record   *registry.ClusterRecord
	brake    *brake         // nil: nothing was held
	told     registry.Stamp // of the last note about what was held
}

// carriedFor is how long after its epoch something is remembered. Who has not led for
// longer may have missed what another agent made of it.
const carriedFor = 5 * time.Minute

// take returns what is carried, as long as it counts, and carries nothing any more.
func (c *carried) take(now time.Time) carried {
	c.forget(now)
	taken := *c
	*c = carried{}
	return taken
}

// forget drops what no longer counts.
func (c *carried) forget(now time.Time) {
	if now.Sub(c.at) > carriedFor {
		*c = carried{}
	}
}

// carry keeps for the next epoch of this process what this one knew.
func (l *leader) carry() {
	if !l.loaded { // what the epoch before carried stands
		return
	}
	c := carried{at: time.Now(), believed: maps.Collect(l.acknowledgedLast()), record: l.outbox.record, brake: l.former.brake, told: l.former.told}
	if c.record == nil || l.exports == nil && l.former.record != nil {
		c.record = l.former.record
	}
	switch {
	case l.brake == nil: // nothing was heard of the registry
	case l.brake.holding():
		c.brake, c.told = l.brake, l.told
	default:
		c.brake = nil
	}
	l.agent.carried = c
}

// acknowledgedLast returns all that the stream has, or had acknowledged, each service as it
// was acknowledged last: until the first reading an older state may have come back with a backup.
func (l *leader) acknowledgedLast() iter.Seq2[registry.ServiceKey, *belief] {
	return func(yield func(registry.ServiceKey, *belief) bool) {
		for _, believed := range []map[registry.ServiceKey]*belief{l.outbox.believed, l.outbox.lost} {
			for k, b := range believed {
				if f := l.former.believed[k]; f != nil && before(b.state.Changed, f.state.Changed) {
					b = f
				}
				if !yield(k, b) {
					return
				}
			}
		}
	}
}

// known returns the same as services: what an older state lacks was no loss.
func (l *leader) known() iter.Seq[registry.Service] {
	return func(yield func(registry.Service) bool) {
		for k, b := range l.acknowledgedLast() {
			if !yield(registry.Service{Key: k, Instances: b.state.Instances}) {
				return
			}
		}
	}
}

// lastNote returns what was said last of the brake, and when; noted is zero where the
// stream has lost that, and it is to be said again.
func (l *leader) lastNote() (last registry.Brake, noted time.Time) {
	if f := l.former; f.brake != nil && (len(l.outbox.believed) == 0 || before(l.told, f.told)) {
		last = f.brake.record(f.brake.hold.state)
		last.Names = f.brake.names()
		return last, time.Time{}
	}
	return l.noted, l.notedAt
}

// before reports whether a stamp is of an earlier message than another one.
func before(a, b registry.Stamp) bool {
	return cmp.Or(cmp.Compare(a.Epoch, b.Epoch), cmp.Compare(a.Revision, b.Revision)) < 0
}
