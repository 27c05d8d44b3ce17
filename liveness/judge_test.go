package liveness_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/liveness"
	"github.com/seamark-mesh/seamark/registry"
)

const (
	up          = registry.Up
	unreachable = registry.Unreachable
	stale       = registry.Stale
	down        = registry.Down
	gone        = registry.Gone
)

var (
	states  = []registry.Liveness{up, unreachable, stale, down, gone}
	leases  = []liveness.Lease{liveness.LeaseUnknown, liveness.LeaseFresh, liveness.LeaseLapsed}
	reaches = []liveness.Reach{liveness.ReachUnknown, liveness.ReachUntold, liveness.Reached, liveness.NotReached}
	rules   = liveness.Rules{DownAfter: 5 * time.Minute, Failback: 10 * time.Second, GoneAfter: 15 * 24 * time.Hour}
)

// row is a line of the table below: for one present state, what is said next.
type row struct {
	lease liveness.Lease
	reach liveness.Reach
	// In the order of states: what becomes of up, unreachable, stale, down, gone, when
	// the signals have just turned, and when they have been so for all hold times.
	now, held [5]registry.Liveness
	// The same when the agent has been silent for GoneAfter.
	silent, silentHeld [5]registry.Liveness
}

var stays = [5]registry.Liveness{up, unreachable, stale, down, gone}

func all(l registry.Liveness) [5]registry.Liveness {
	return [5]registry.Liveness{l, l, l, l, l}
}

// TestJudge is the whole input space, written down.
func TestJudge(t *testing.T) {
	t.Parallel()
	const (
		unknown, fresh, lapsed         = liveness.LeaseUnknown, liveness.LeaseFresh, liveness.LeaseLapsed
		awaited, untold, reached, none = liveness.ReachUnknown, liveness.ReachUntold, liveness.Reached, liveness.NotReached
	)
	silentUp := func(l registry.Liveness) [5]registry.Liveness { // one that is up is never gone at once
		return [5]registry.Liveness{l, gone, gone, gone, gone}
	}
	staleButGone := [5]registry.Liveness{stale, stale, stale, stale, gone}
	table := []row{
		{unknown, awaited, stays, stays, stays, stays},
		{unknown, untold, stays, stays, stays, stays},
		{unknown, reached, stays, stays, stays, stays},
		{unknown, none, stays, stays, stays, stays},
		{fresh, awaited, stays, stays, stays, stays},
		{fresh, untold, stays, all(up), stays, all(up)},
		{fresh, reached, stays, all(up), stays, all(up)},
		{fresh, none, all(unreachable), all(unreachable), all(unreachable), all(unreachable)},
		{lapsed, awaited, stays, stays, stays, stays},
		{lapsed, untold, staleButGone, staleButGone, silentUp(stale), silentUp(stale)},
		{lapsed, reached, staleButGone, staleButGone, silentUp(stale), silentUp(stale)},
		{
			lapsed, none,
			[5]registry.Liveness{unreachable, unreachable, stale, down, gone},
			[5]registry.Liveness{down, down, down, down, gone},
			silentUp(unreachable), silentUp(down),
		},
	}
	if len(table) != len(leases)*len(reaches) {
		t.Fatalf("the table has %d of %d combinations", len(table), len(leases)*len(reaches))
	}
	seen := map[string]bool{}
	for _, r := range table {
		seen[fmt.Sprint(r.lease, r.reach)] = true
		for n, present := range states {
			for what, c := range map[string]struct {
				held, silent time.Duration
				want         registry.Liveness
			}{
				"now":          {0, time.Minute, r.now[n]},
				"held":         {rules.DownAfter, time.Minute, r.held[n]},
				"silent":       {0, rules.GoneAfter, r.silent[n]},
				"silent, held": {rules.DownAfter, rules.GoneAfter, r.silentHeld[n]},
			} {
				s := liveness.Signals{Lease: r.lease, Reach: r.reach, Held: c.held, Silent: c.silent}
				if got := liveness.Judge(present, s, rules); got != c.want {
					t.Errorf("%s: lease %d, reach %d, present %s: Judge() = %s, want %s", what, r.lease, r.reach, present, got, c.want)
				}
				if reason := liveness.Reason(c.want, s); reason == "" || len(reason) > 1024 || strings.Contains(reason, "%!") {
					t.Errorf("Reason(%s, %+v) = %q", c.want, s, reason)
				}
			}
		}
	}
	if len(seen) != len(table) {
		t.Errorf("only %d combinations are different", len(seen))
	}
}

// TestJudgeHolds: each hold time counts to the nanosecond, and for nothing else.
func TestJudgeHolds(t *testing.T) {
	t.Parallel()
	good := liveness.Signals{Lease: liveness.LeaseFresh, Reach: liveness.Reached}
	bad := liveness.Signals{Lease: liveness.LeaseLapsed, Reach: liveness.NotReached}
	for _, tt := range []struct {
		present registry.Liveness
		s       liveness.Signals
		held    time.Duration
		want    registry.Liveness
	}{
		{stale, good, rules.Failback - 1, stale},
		{stale, good, rules.Failback, up},
		{down, good, rules.Failback - 1, down},
		{down, good, rules.Failback, up},
		{stale, bad, rules.DownAfter - 1, stale},
		{stale, bad, rules.DownAfter, down},
		{up, bad, rules.DownAfter - 1, unreachable},
		{unreachable, bad, rules.DownAfter - 1, unreachable},
	} {
		tt.s.Held = tt.held
		if got := liveness.Judge(tt.present, tt.s, rules); got != tt.want {
			t.Errorf("%s, held for %v: Judge() = %s, want %s", tt.present, tt.held, got, tt.want)
		}
	}
	never := rules
	never.GoneAfter = 0
	s := liveness.Signals{Lease: liveness.LeaseLapsed, Reach: liveness.Reached, Silent: 1 << 62}
	if got := liveness.Judge(stale, s, never); got != stale {
		t.Errorf("a history without an end makes a silent cluster %s", got)
	}
}

// TestJudgeComesToRest: signals that stay as they are lead to one state, in at most
// two steps, and never by way of a better one than both ends.
func TestJudgeComesToRest(t *testing.T) {
	t.Parallel()
	for _, lease := range leases {
		for _, reach := range reaches {
			for _, held := range []time.Duration{0, rules.Failback, rules.DownAfter} {
				for _, silent := range []time.Duration{0, rules.GoneAfter} {
					s := liveness.Signals{Lease: lease, Reach: reach, Held: held, Silent: silent}
					for _, present := range states {
						first := liveness.Judge(present, s, rules)
						second := liveness.Judge(first, s, rules)
						if third := liveness.Judge(second, s, rules); third != second {
							t.Errorf("%+v: %s, %s, %s, %s: no rest", s, present, first, second, third)
						}
						if liveness.Better(first, present) && liveness.Better(first, second) && second != present {
							t.Errorf("%+v: %s, %s, %s", s, present, first, second)
						}
					}
				}
			}
		}
	}
}

func TestBetter(t *testing.T) {
	t.Parallel()
	order := []registry.Liveness{up, stale, unreachable, down, gone}
	for a := range order {
		for b := range order {
			if got := liveness.Better(order[a], order[b]); got != (a < b) {
				t.Errorf("Better(%s, %s) = %v", order[a], order[b], got)
			}
		}
	}
}

func TestMass(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		turning, all int
		want         bool
	}{{0, 0, false}, {1, 1, false}, {1, 2, false}, {2, 2, true}, {2, 3, true}, {2, 4, false}, {3, 5, true}, {3, 6, false}, {1, 100, false}, {51, 100, true}} {
		if got := liveness.MassTurn(tt.turning, tt.all); got != tt.want {
			t.Errorf("MassTurn(%d, %d) = %v", tt.turning, tt.all, got)
		}
	}
	for _, tt := range []struct {
		withdrawn, had int
		want           bool
	}{{9, 9, false}, {10, 10, true}, {10, 33, true}, {10, 34, false}, {30, 100, false}, {31, 100, true}, {0, 0, false}} {
		if got := liveness.MassWithdrawal(tt.withdrawn, tt.had); got != tt.want {
			t.Errorf("MassWithdrawal(%d, %d) = %v", tt.withdrawn, tt.had, got)
		}
	}
}

// TestSettle goes through all verdicts about two gateways and all that may be said now.
func TestSettle(t *testing.T) {
	t.Parallel()
	gateways := []registry.Gateway{{Name: "gw-1"}, {Name: "gw-2"}}
	verdicts := []liveness.Verdict{liveness.NoVerdict, liveness.Tied, liveness.GatewayReached, liveness.GatewayFailed}
	for _, before := range [][]string{nil, {"gw-1"}, {"gw-2"}, {"gw-1", "gw-2"}, {"gone-since"}} {
		for _, a := range verdicts {
			for _, b := range verdicts {
				var want []string
				for n, v := range []liveness.Verdict{a, b} {
					name := gateways[n].Name
					if v == liveness.GatewayFailed || v == liveness.Tied && slices.Contains(before, name) {
						want = append(want, name)
					}
				}
				reach := liveness.Reached
				switch {
				case len(want) == 2:
					reach = liveness.NotReached
				case a == liveness.NoVerdict && b == liveness.NoVerdict:
					reach = liveness.ReachUntold
				}
				got, gotReach := liveness.Settle(gateways, []liveness.Verdict{a, b}, before)
				if !slices.Equal(got, want) || gotReach != reach {
					t.Errorf("Settle(%d, %d; %v) = %v, %d; want %v, %d", a, b, before, got, gotReach, want, reach)
				}
			}
		}
	}
	if failing, reach := liveness.Settle(nil, nil, []string{"gw-1"}); failing != nil || reach != liveness.ReachUntold {
		t.Errorf("without gateways: %v, %d", failing, reach)
	}
}
