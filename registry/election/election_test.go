package election_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/election"
)

const lapse = 10 * time.Second

var errAway = errors.New("away")

func TestWhoMayTakeTheLease(t *testing.T) {
	lease := func(agent string, phase registry.Phase) registry.LeaseAt {
		return registry.LeaseAt{Found: true, Sequence: 7, Lease: registry.Lease{Agent: agent, Phase: phase}}
	}
	old := lease("other", registry.PhaseSynced)
	old.Age = lapse
	for name, test := range map[string]struct {
		at    registry.LeaseAt
		wrote bool // something, before
		want  bool
	}{
		"there is none":                                      {registry.LeaseAt{}, false, true},
		"somebody else's":                                    {lease("other", registry.PhaseSynced), false, false},
		"somebody else's, stopped":                           {lease("other", registry.PhaseStopped), false, true},
		"somebody else's, lapsed":                            {old, false, true},
		"somebody else's, ended":                             {lease("ended", registry.PhaseSynced), false, true},
		"a predecessor's of its name":                        {lease("one", registry.PhaseSynced), false, true},
		"another process's of its name, while this one runs": {lease("one", registry.PhaseSynced), true, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := election.NewCandidate("one", func(agent string) bool { return agent == "ended" })
			if test.wrote {
				_, _ = c.Put(registry.Lease{}, func(registry.Lease) (uint64, error) { return 1, nil })
			}
			if got := c.MayTake(test.at, &election.Vigil{}, lapse); got != test.want {
				t.Errorf("MayTake() = %v", got)
			}
		})
	}
}

// What it wrote itself is its own, also when it never heard that it was stored.
func TestWhatACandidateWroteIsItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := election.NewCandidate("one", nil)
		var stored, lost registry.Lease
		sequence, err := c.Put(registry.Lease{Epoch: 3, Detail: "a line\nand “more”" + strings.Repeat("!", 5000)}, func(l registry.Lease) (uint64, error) { stored = l; return 5, nil })
		if sequence != 5 || err != nil || stored.Agent != "one" || stored.Epoch != 3 || !stored.Time.Equal(time.Now()) {
			t.Errorf("Put() = %d, %v, of %+v", sequence, err, stored)
		}
		if d := stored.Detail; len(d) != 1024 || !strings.HasPrefix(d, "a line and ") || strings.ContainsFunc(d, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("the detail is %q", d)
		}
		time.Sleep(time.Second)
		if _, err := c.Put(registry.Lease{}, func(l registry.Lease) (uint64, error) { lost = l; return 0, errAway }); !errors.Is(err, errAway) {
			t.Error(err)
		}
		for _, l := range []registry.Lease{stored, lost} {
			if !c.MayTake(registry.LeaseAt{Found: true, Sequence: 5, Lease: l}, &election.Vigil{}, lapse) {
				t.Errorf("the lease of %v is not its own", l.Time)
			}
		}
		foreign := stored
		foreign.Time = foreign.Time.Add(time.Millisecond)
		if c.MayTake(registry.LeaseAt{Found: true, Sequence: 6, Lease: foreign}, &election.Vigil{}, lapse) {
			t.Error("another process of its name has lost the lease")
		}
	})
}

func TestALeaseLapsesByTheWaitersOwnClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var v election.Vigil
		at := registry.LeaseAt{Found: true, Sequence: 7, Age: 4 * time.Second}
		expect := func(want time.Duration) {
			t.Helper()
			if got := v.Left(at, lapse); got != want {
				t.Errorf("Left() = %v, want %v", got, want)
			}
		}
		expect(6 * time.Second)
		time.Sleep(2 * time.Second)
		at.Age = time.Hour // the stream's clock has jumped
		expect(4 * time.Second)
		at.Sequence, at.Age = 8, 0
		expect(lapse)
		time.Sleep(9 * time.Second)
		v.Blind()
		time.Sleep(9 * time.Second)
		expect(lapse) // its holder was perhaps cut off as well
		time.Sleep(lapse)
		expect(0)
	})
}

func TestPausesGrowAndEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := election.NewBackoff(time.Second, true)
		want := []time.Duration{100 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond, 800 * time.Millisecond, time.Second, time.Second}
		for n, d := range want {
			if got := b.NextBackOff(); got != d {
				t.Errorf("pause %d is %v, want %v", n, got, d)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		began := time.Now()
		if !election.Pause(ctx, 2*time.Second) || time.Since(began) != 2*time.Second {
			t.Error("it did not pause for 2 s")
		}
		if election.Pause(ctx, time.Hour) || time.Since(began) != 3*time.Second {
			t.Error("it paused on after the end")
		}
	})
}
