package registry_test

import (
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// TestNextEpochIsAboveAllThatReadersBelieve: a record exactly as far ahead as
// readers believe must be counted on from, or its fence would void all that the
// agent publishes.
func TestNextEpochIsAboveAllThatReadersBelieve(t *testing.T) {
	const clock, day = 1_800_000_000, 24 * 60 * 60
	now := time.Unix(clock, 0)
	record := func(epoch uint64, fences ...registry.Fence) registry.Message {
		return registry.Message{Epoch: epoch, Event: &registry.Event{Takeover: &registry.EpochRecord{Fences: fences}}}
	}
	refused := registry.Message{Epoch: 1 << 63, Refused: &registry.Refusal{Reason: registry.ReasonEpoch}}
	for name, test := range map[string]struct {
		last   registry.Message
		leased uint64
		want   uint64 // 0: not yet
	}{
		"nothing stands":               {registry.Message{}, 0, clock},
		"an old record":                {record(clock - 100), clock - 50, clock},
		"a record in this second":      {record(clock), clock, clock + 1},
		"a lease ahead":                {record(clock), clock + 9, clock + 10},
		"a lease that is not believed": {record(clock), 1 << 63, clock + 1},
		"an hour ahead":                {record(clock + 3600), 0, clock + 3601},
		"almost a day ahead":           {record(clock + day - 1), 0, clock + day},
		"a day ahead":                  {record(clock + day), 0, 0},
		"not believed by readers":      {refused, 0, clock},
		"a fence above its record":     {record(clock, registry.Fence{Epoch: clock + 7, Sequence: 3}), 0, clock + 8},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := registry.NextEpoch(test.last, now, test.leased)
			if got != test.want || (err == nil) != (test.want != 0) {
				t.Errorf("NextEpoch() = %d, %v, want %d", got, err, test.want)
			}
		})
	}
}
