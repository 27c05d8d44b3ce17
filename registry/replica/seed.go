package replica

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// Zones is where the zone record stands.
type Zones interface {
	// Last returns the last message of a fact.
	Last(ctx context.Context, f registry.Fact) (m registry.Message, found bool, err error)
	// Put stores an event of [registry.Operator] after the message with the sequence expect.
	Put(ctx context.Context, e *registry.Event, expect uint64) (sequence uint64, err error)
}

// refreshAge is how old the zone record may become before it is published again,
// so that it never ages out of the history.
const refreshAge = 24 * time.Hour

// SeedZone makes sure that a zone record stands on the stream: ours, when there is
// none. One that stands wins; it is returned, and published again when it is old,
// so call it once a day. One that can't be read is an error and is left alone: a
// later version may have written it. Any number of replicas may do this at the same
// time. By is the author; streamNow the stream's clock.
func SeedZone(ctx context.Context, zones Zones, ours registry.ZoneRecord, by string, streamNow time.Time) (stands registry.ZoneRecord, err error) {
	for {
		m, found, err := zones.Last(ctx, ZoneFact)
		if err != nil {
			return registry.ZoneRecord{}, fmt.Errorf("read the zone record: %w", err)
		}
		e := ZoneEvent(ours, by, registry.CauseSeed, time.Now())
		if found && (m.Event == nil || m.Event.Zone == nil) {
			return registry.ZoneRecord{}, fmt.Errorf("the zone record that stands at sequence %d can't be read: %w", m.Sequence, m.Refused)
		}
		if found {
			if streamNow.Sub(m.Stored) < refreshAge {
				return *m.Event.Zone, nil
			}
			e = ZoneEvent(*m.Event.Zone, m.Event.Agent, registry.CauseRefresh, time.Now())
		}
		_, err = zones.Put(ctx, e, m.Sequence)
		if err == nil {
			return *e.Zone, nil
		}
		if !errors.Is(err, registry.ErrConflict) {
			return registry.ZoneRecord{}, fmt.Errorf("write the zone record: %w", err)
		}
		if err := wait(ctx, 100*time.Millisecond); err != nil { // a reader of the stream may lag
			return registry.ZoneRecord{}, err
		}
	}
}

// ZoneFact is the zone record's place.
var ZoneFact = registry.Fact{Writer: registry.Operator, Kind: registry.KindZone}

// ZoneEvent states a zone record.
func ZoneEvent(z registry.ZoneRecord, by string, cause registry.Cause, now time.Time) *registry.Event {
	return &registry.Event{
		Schema: registry.Schema, ID: string(registry.Operator) + "-zone-" + rand.Text(), Kind: registry.KindZone,
		Writer: registry.Operator, Time: now.UTC(), Agent: by, Cause: cause, Zone: &z,
	}
}

// wait pauses, unless ctx ends before.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
