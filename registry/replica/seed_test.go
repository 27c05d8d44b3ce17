package replica_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/replica"
)

// zones is where the zone record stands; other writes come between.
type zones struct {
	messages []registry.Message
	between  func() // called before the next Put takes effect, once
	err      error
}

func (z *zones) Last(context.Context, registry.Fact) (registry.Message, bool, error) {
	if len(z.messages) == 0 || z.err != nil {
		return registry.Message{}, false, z.err
	}
	return z.messages[len(z.messages)-1], true, nil
}

func (z *zones) Put(_ context.Context, e *registry.Event, expect uint64) (uint64, error) {
	if f := z.between; f != nil {
		z.between = nil
		f()
	}
	if uint64(len(z.messages)) != expect {
		return 0, registry.ErrConflict
	}
	z.messages = append(z.messages, registry.NewMessage(replica.ZoneFact, expect+1, time.Now(), 0, 0, e, nil))
	return expect + 1, z.err
}

func seed(t *testing.T, z *zones, name string) (registry.ZoneRecord, error) {
	t.Helper()
	return replica.SeedZone(t.Context(), z, zoneRecord(name), name, time.Now())
}

func TestTheFirstZoneRecordStands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := &zones{}
		for _, name := range []string{"first.internal.", "second.internal.", "third.internal."} {
			if stands, err := seed(t, z, name); err != nil || stands.Name != "first.internal." {
				t.Errorf("%s: %s stands, %v", name, stands.Name, err)
			}
		}
		if len(z.messages) != 1 {
			t.Errorf("%d records were written", len(z.messages))
		}
		if e := z.messages[0].Event; e.Agent != "first.internal." || e.Cause != registry.CauseSeed {
			t.Errorf("written by %s as %s", e.Agent, e.Cause)
		}
	})
}

func TestTwoReplicasSeedAtTheSameTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := &zones{}
		z.between = func() { _, _ = seed(t, z, "faster.internal.") }
		if stands, err := seed(t, z, "slower.internal."); err != nil || stands.Name != "faster.internal." {
			t.Errorf("%s stands, %v", stands.Name, err)
		}
	})
}

func TestAnOldZoneRecordIsPublishedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := &zones{}
		_, _ = seed(t, z, "first.internal.")
		time.Sleep(23 * time.Hour)
		_, _ = seed(t, z, "second.internal.")
		if len(z.messages) != 1 {
			t.Error("published again after less than a day")
		}
		time.Sleep(2 * time.Hour)
		stands, err := seed(t, z, "second.internal.")
		if err != nil || stands.Name != "first.internal." || len(z.messages) != 2 {
			t.Fatalf("%s stands, %v, %d messages", stands.Name, err, len(z.messages))
		}
		if e := z.messages[1].Event; e.Cause != registry.CauseRefresh || e.Zone.Name != "first.internal." || e.Agent != "first.internal." {
			t.Errorf("published again as %s, by %s: %s", e.Cause, e.Agent, e.Zone.Name)
		}
	})
}

// A later version may have written what this one can't read.
func TestAZoneRecordThatCanNotBeReadIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := &zones{}
		z.messages = append(z.messages, registry.NewMessage(replica.ZoneFact, 1, time.Now(), 0, 0, nil, &registry.Refusal{Reason: "schema", Detail: "seamark/2.0"}))
		if stands, err := seed(t, z, "ours.internal."); err == nil || len(z.messages) != 1 {
			t.Errorf("%s stands, %v, %d messages", stands.Name, err, len(z.messages))
		}
	})
}

func TestAnUnreachableStreamIsAnErrorOfTheSeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := &zones{err: errors.New("no answer")}
		if _, err := seed(t, z, "ours.internal."); !errors.Is(err, z.err) {
			t.Errorf("error %v", err)
		}
	})
}
