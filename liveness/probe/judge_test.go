package probe

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/seamark-mesh/seamark/registry"
)

func TestJudge(t *testing.T) {
	for name, tt := range map[string]struct {
		rise, fall int
		results    string // + and -
		want       string // after each: ? unknown, R reached, F failed
	}{
		"a start says nothing":            {2, 3, "+", "?"},
		"rise":                            {2, 3, "++++", "?RRR"},
		"fall":                            {2, 3, "-----", "??FFF"},
		"a mixed start says nothing":      {2, 3, "+-+--+-", "???????"},
		"a mixed start ends":              {2, 3, "+-+---", "?????F"},
		"a few failures are forgiven":     {2, 3, "++--+--+", "?RRRRRRR"},
		"failures in a row are not":       {2, 3, "++---", "?RRRF"},
		"back":                            {2, 3, "---+-++", "??FFFFR"},
		"at once":                         {1, 1, "+-+", "RFR"},
		"slowly":                          {3, 2, "+++-+--+++", "??RRRRFFFR"},
		"a success between does not help": {3, 1, "-++-++-", "FFFFFFF"},
	} {
		t.Run(name, func(t *testing.T) {
			var j judge
			var got []byte
			start := time.Unix(1000, 0)
			for n, c := range tt.results {
				before, now := j, start.Add(time.Duration(n)*time.Second)
				turned := j.take(c == '+', tt.rise, tt.fall, now)
				got = append(got, "?RF"[j.standing])
				if turned != (before.standing != j.standing) {
					t.Errorf("result %d: turned is %v", n, turned)
				}
				if turned && !j.since.Equal(now) || !turned && !j.since.Equal(before.since) {
					t.Errorf("result %d: since %v", n, j.since)
				}
			}
			if string(got) != tt.want {
				t.Errorf("%s gives %s, want %s", tt.results, got, tt.want)
			}
		})
	}
}

// The verdict is what the last run of at least rise successes or fall failures says.
func TestJudgeFollowsTheLastLongRun(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rise, fall := rapid.IntRange(1, 10).Draw(t, "rise"), rapid.IntRange(1, 10).Draw(t, "fall")
		var j judge
		want, run, last := unknown, 0, false
		for n, good := range rapid.SliceOfN(rapid.Bool(), 0, 60).Draw(t, "results") {
			if n == 0 || good != last {
				run, last = 0, good
			}
			run++
			if good && run >= rise {
				want = reached
			} else if !good && run >= fall {
				want = failed
			}
			j.take(good, rise, fall, time.Unix(int64(n), 0))
			if j.standing != want {
				t.Fatalf("after result %d: %v, want %v", n, j.standing, want)
			}
		}
	})
}

func TestLatency(t *testing.T) {
	var r ring
	if l := r.latency(); l != nil {
		t.Errorf("nothing gives %+v", l)
	}
	r.add(1500 * time.Microsecond)
	if diff := cmp.Diff(&registry.Latency{Count: 1, Min: 1.5, Mean: 1.5, P99: 1.5}, r.latency()); diff != "" {
		t.Error(diff)
	}
	r.add(2500 * time.Microsecond)
	if diff := cmp.Diff(&registry.Latency{Count: 2, Min: 1.5, Mean: 2, P99: 2.5}, r.latency()); diff != "" {
		t.Error(diff)
	}
	for _, n := range rand.Perm(kept) { // they push the first two out
		r.add(time.Duration(n+1) * time.Millisecond)
	}
	if diff := cmp.Diff(&registry.Latency{Count: 100, Min: 1, Mean: 50.5, P99: 99}, r.latency()); diff != "" {
		t.Error(diff)
	}
	r.add(-time.Second)
	r.add(1000 * time.Hour)
	if l := r.latency(); l.Min != 0 || l.P99 > 3600_000 || l.Count != kept {
		t.Errorf("odd values give %+v", l)
	}
}

// Whatever comes and goes, the first that is due is taken first, and none is lost.
func TestSchedule(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s schedule
		start := time.Unix(1000, 0)
		in := map[*gateway]bool{}
		for n := range rapid.IntRange(0, 50).Draw(t, "count") {
			g := &gateway{name: string(rune('a' + n)), place: nowhere}
			s.push(g, start.Add(time.Duration(rapid.IntRange(0, 20).Draw(t, "due"))*time.Second))
			in[g] = true
			if rapid.IntRange(0, 4).Draw(t, "drop") == 0 {
				all := slices.Clone(s)
				gone := all[rapid.IntRange(0, len(all)-1).Draw(t, "which")]
				s.drop(gone)
				s.drop(gone)
				delete(in, gone)
			}
		}
		for now := start; ; now = now.Add(time.Second) {
			g, wait := s.pop(now)
			for ; g != nil; g, wait = s.pop(now) {
				if !in[g] || !g.due.Equal(now) {
					t.Fatalf("%s is taken at %v, and is due at %v", g.name, now, g.due)
				}
				delete(in, g)
			}
			if len(in) == 0 {
				break
			}
			if wait <= 0 || wait > 20*time.Second {
				t.Fatalf("the wait is %v", wait)
			}
		}
		if g, wait := s.pop(start.Add(time.Hour)); g != nil || wait != time.Hour {
			t.Fatalf("an empty schedule gives %v, %v", g, wait)
		}
	})
}

func TestWhenNext(t *testing.T) {
	start := time.Unix(1000, 0)
	for _, tt := range []struct {
		now    time.Duration
		random float64
		want   time.Duration
	}{
		{0, 0, 900 * time.Millisecond},
		{0, 0.5, time.Second},
		{0, 1, 1100 * time.Millisecond},
		{800 * time.Millisecond, 0, 900 * time.Millisecond},
		{3 * time.Second, 0.5, 3 * time.Second}, // the round took long
	} {
		got := next(start, start.Add(tt.now), time.Second, tt.random).Sub(start).Round(time.Microsecond)
		if got != tt.want {
			t.Errorf("next at %v with %v is %v, want %v", tt.now, tt.random, got, tt.want)
		}
	}
	if a, b := first(start, time.Minute, 0), first(start, time.Minute, 0.75); !a.Equal(start) || b.Sub(start) != 45*time.Second {
		t.Errorf("first is %v, %v", a, b)
	}
}
