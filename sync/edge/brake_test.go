package edge

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/seamark-mesh/seamark/registry"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func serviceKey(n int) registry.ServiceKey {
	return registry.ServiceKey{Namespace: "default", Name: fmt.Sprintf("s%03d", n)}
}

// says is the registry's word about a service with these instances; none: it is gone.
func says(n int, ids ...string) word {
	if len(ids) == 0 {
		return word{key: serviceKey(n)}
	}
	s := registry.Service{Key: serviceKey(n)}
	for _, id := range ids {
		s.Instances = append(s.Instances, registry.Instance{ID: id, Health: registry.Passing, Weight: 1})
	}
	return word{serviceKey(n), &s}
}

// several are words about the services from a to b, b left out.
func several(a, b int, ids ...string) []word {
	var words []word
	for n := a; n < b; n++ {
		words = append(words, says(n, ids...))
	}
	return words
}

func braking(rules BrakeRules, words ...word) *brake {
	b := newBrake(rules.withDefaults(), &brakeCounts{ended: map[registry.BrakeState]uint64{}})
	for _, w := range words {
		b.believe(w.service)
	}
	return b
}

// standing tells what stands, as "s000=a,b s001=a".
func (b *brake) standing() string {
	var all []string
	for _, k := range slices.SortedFunc(maps.Keys(b.stands), registry.ServiceKey.Compare) {
		var ids []string
		for _, i := range b.stands[k].Instances {
			ids = append(ids, i.ID)
		}
		all = append(all, k.Name+"="+strings.Join(ids, ","))
	}
	return strings.Join(all, " ")
}

func TestTooMuch(t *testing.T) {
	for name, test := range map[string]struct {
		rules      BrakeRules
		lost, base tally
		want       bool
	}{
		"nothing":                   {base: tally{100, 200}},
		"30 of 100":                 {lost: tally{30, 60}, base: tally{100, 200}},
		"31 of 100":                 {lost: tally{31, 31}, base: tally{100, 200}, want: true},
		"instances alone":           {lost: tally{0, 61}, base: tally{100, 200}, want: true},
		"9 of 9":                    {lost: tally{9, 9}, base: tally{9, 9}},
		"9 of 20":                   {lost: tally{9, 9}, base: tally{20, 20}},
		"10 of 20":                  {lost: tally{10, 10}, base: tally{20, 20}, want: true},
		"10 of 10":                  {lost: tally{10, 10}, base: tally{10, 10}, want: true},
		"4 services with 12 of 12":  {lost: tally{4, 12}, base: tally{4, 12}, want: true},
		"another share":             {rules: BrakeRules{Share: 50}, lost: tally{50, 50}, base: tally{100, 100}},
		"another share, more":       {rules: BrakeRules{Share: 50}, lost: tally{51, 51}, base: tally{100, 100}, want: true},
		"another floor":             {rules: BrakeRules{Floor: 3}, lost: tally{3, 3}, base: tally{4, 4}, want: true},
		"all, with a share of 100":  {rules: BrakeRules{Share: 100}, lost: tally{100, 100}, base: tally{100, 100}},
		"31 of 100, little before":  {lost: tally{31, 31}, base: tally{}, want: true},
		"few services, few of many": {lost: tally{9, 29}, base: tally{9, 100}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := test.rules.withDefaults().tooMuch(test.lost, test.base); got != test.want {
				t.Errorf("tooMuch(%v, %v) = %v", test.lost, test.base, got)
			}
		})
	}
}

// TestTheBrake plays what a registry says, second by second, and looks at what stands.
func TestTheBrake(t *testing.T) {
	type step struct {
		at     int // seconds after noon
		words  []word
		holds  int    // instances, after it
		stands string // of s000 and s001; "" is not looked at
	}
	for name, steps := range map[string][]step{
		"half at once":                 {{1, several(10, 20), 10, "s000=a s001=a"}},
		"too few":                      {{1, several(0, 6), 0, ""}},
		"bit by bit":                   {{1, several(0, 5), 0, ""}, {50, several(5, 10), 10, "s000=a s001=a"}},
		"bit by bit, over two minutes": {{1, several(0, 5), 0, ""}, {62, several(5, 10), 0, ""}},
		"gone and back in between":     {{1, several(0, 9), 0, ""}, {2, several(0, 9, "a"), 0, ""}, {3, several(9, 18), 0, "s000=a s001=a"}},
		"other instances":              {{1, several(0, 20, "b"), 0, "s000=b s001=b"}},
		"replaced, one by one": {
			{1, several(0, 20, "a", "b"), 0, ""}, {2, several(0, 20, "b"), 20, "s000=a,b s001=a,b"}, // twice as many were there
			{3, several(0, 20, "b", "c"), 0, "s000=b,c s001=b,c"},
		},
		"back, each by itself": {
			{1, several(0, 15), 15, "s000=a s001=a"},
			{2, several(0, 1, "a"), 14, "s000=a s001=a"},
			{3, several(1, 2, "x"), 13, "s000=a s001=x"},
			{4, several(2, 15, "a"), 0, ""},
		},
		"more while it is held":                 {{1, several(0, 15), 15, ""}, {300, several(15, 16), 16, ""}},
		"passes in time":                        {{1, several(0, 15), 15, ""}, {900, nil, 15, "s000=a s001=a"}, {901, nil, 0, "s015=a s016=a"}},
		"the window is anew":                    {{1, several(0, 15), 15, ""}, {901, nil, 0, ""}, {902, several(15, 20), 0, ""}},
		"what little goes later passes with it": {{1, several(0, 15), 15, ""}, {800, several(15, 16), 16, "s000=a"}, {900, nil, 16, ""}, {901, nil, 0, "s016=a"}},
		"what comes and goes does not": {
			{1, several(0, 15), 15, ""}, {800, several(0, 1, "a"), 14, ""}, {801, several(0, 1), 15, ""}, {901, nil, 0, ""},
		},
		"new ones pass": {{1, several(0, 15), 15, ""}, {2, several(0, 1, "n", "o"), 14, "s000=n,o s001=a"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := braking(BrakeRules{}, several(0, 20, "a")...)
			for _, s := range steps {
				now := noon.Add(time.Duration(s.at) * time.Second)
				b.tick(now)
				b.advance(now, s.words)
				if b.held != s.holds || (b.hold != nil) != (s.holds > 0) {
					t.Errorf("at %d s %d instances are held, want %d", s.at, b.held, s.holds)
				}
				if got := b.standing(); !strings.HasPrefix(got, s.stands) {
					t.Errorf("at %d s there stands %s, want %s …", s.at, got, s.stands)
				}
			}
		})
	}
}

// In a large catalogue something goes every minute: that neither keeps a hold from its
// end nor takes its id away from whoever is about to approve it. Much is another hold.
func TestAHoldGrowsByWhatIsTooMuchByItself(t *testing.T) {
	type step struct {
		at    int // seconds after noon
		words []word
		holds int  // services, after it
		grown bool // it is another one
	}
	var bleed, minutes []step
	for n := range 14 {
		minutes = append(minutes, step{60 * (n + 1), several(40+n, 41+n), 41 + n, false})
	}
	for n := range 20 { // of 60 that were left
		bleed = append(bleed, step{10 + 2*n, several(40+n, 41+n), 41 + n, n == 18}) // 19 of 60 are more than 30 %
	}
	for name, steps := range map[string][]step{
		"one a minute":            append(minutes, step{at: 899, holds: 54}, step{at: 900}),
		"one every other second":  bleed,
		"much at once":            {{800, several(40, 59), 59, true}, {1699, nil, 59, false}, {1700, nil, 0, false}},
		"much, over two minutes":  {{100, several(40, 55), 55, false}, {161, several(55, 59), 59, false}, {900, nil, 0, false}},
		"it comes and goes":       {{100, several(40, 58), 58, false}, {120, several(40, 58, "a"), 40, false}, {140, several(41, 59), 58, false}},
		"what was held, and came": {{100, several(0, 39, "a"), 1, false}, {120, several(0, 39), 40, false}},
		"two of three instances":  {{100, several(40, 60, "a", "b", "c"), 40, false}, {120, several(40, 60, "a"), 60, true}},
	} {
		t.Run(name, func(t *testing.T) {
			b := braking(BrakeRules{}, several(0, 100, "a")...)
			b.advance(noon, several(0, 40))
			for _, s := range steps {
				was, now := b.hold, noon.Add(time.Duration(s.at)*time.Second)
				b.tick(now)
				b.advance(now, s.words)
				if len(b.losses) != s.holds || (b.hold != nil) != (s.holds > 0) {
					t.Fatalf("at %d s something of %d services is held, want %d", s.at, len(b.losses), s.holds)
				}
				if grown := b.hold != nil && b.hold != was; grown != s.grown {
					t.Fatalf("at %d s it is another hold: %v", s.at, grown)
				}
			}
		})
	}
}

func TestWhenTheBrakeTells(t *testing.T) {
	b := braking(BrakeRules{}, several(0, 50, "a")...)
	at := func(ms int) time.Time { return noon.Add(time.Duration(ms) * time.Millisecond) }
	due := func(ms int, want string) {
		t.Helper()
		got, ok := b.due(at(ms))
		text := "never"
		if ok {
			text = got.Sub(noon).String()
		}
		if text != want {
			t.Errorf("at %d ms something is due %s, want %s", ms, text, want)
		}
		if tells := b.tells(at(ms)); tells && (want == "never" || got.After(at(ms))) {
			t.Errorf("at %d ms it tells before it is due", ms)
		}
	}
	named := 0
	name := func(registry.Digest) string { named++; return fmt.Sprint("id", named) }
	due(0, "never")
	b.advance(at(0), several(0, 20))
	due(0, "1s")
	for n := range 12 { // ever more: it can't rest
		b.advance(at(500*(n+1)), several(20+n, 21+n))
	}
	due(6000, "5s")
	if !b.tells(at(5000)) || b.tells(at(4999)) {
		t.Error("it does not tell after five seconds")
	}
	if told := b.tell(at(6000), name); told.ID != "id1" || told.Services != 32 || told.State != registry.BrakeHeld || len(told.Names) != registry.MaxBrakeNames {
		t.Errorf("%+v", told)
	}
	due(6000, "15m5s") // the tenth, of thirty that were left, made it another one
	b.advance(at(7000), several(0, 1, "a"))
	due(7000, "8s")
	if told := b.tell(at(8000), name); told.ID != "id1" || told.Services != 31 {
		t.Errorf("%+v", told)
	}
	b.decide(at(9000), registry.Order{Decision: registry.Reject, Held: "id1", By: "ada", Reason: "no"})
	if told := b.tell(at(9000), name); told.State != registry.BrakeRejected || told.By != "ada" || !told.Until.IsZero() {
		t.Errorf("%+v", told)
	}
	due(9000, "never")
	b.advance(at(10_000), several(0, 50, "a"))
	if told := b.tell(at(10_000), name); told.State != registry.BrakeReturned || told.ID != "id1" {
		t.Errorf("%+v", told)
	}
	due(10_000, "never")

	b.advance(at(20_000), several(0, 20)) // back before anybody was told: nothing to tell
	b.advance(at(20_500), several(0, 20, "a"))
	due(20_500, "never")
}

// TestWhateverARegistrySays holds the brake to what it promises, over random words,
// decisions and times.
func TestWhateverARegistrySays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const services = 30
		rules := BrakeRules{Stay: rapid.IntRange(0, 3).Draw(t, "stay") == 0, PassAfter: 5 * time.Minute}.withDefaults()
		b := braking(rules, several(0, services, "a", "b")...)
		truth := map[registry.ServiceKey]*registry.Service{}
		for _, w := range several(0, services, "a", "b") {
			truth[w.key] = w.service
		}
		now, ids, decided := noon, 0, false
		type moment struct {
			at     time.Time
			stands map[registry.ServiceKey]*registry.Service
		}
		past := []moment{{now, maps.Clone(b.stands)}}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(rapid.SampledFrom([]time.Duration{0, time.Second, 5 * time.Second, 20 * time.Second, 2 * time.Minute, 6 * time.Minute}).Draw(t, "wait"))
			open := false
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0:
				decision := rapid.SampledFrom([]string{registry.Approve, registry.Reject}).Draw(t, "decision")
				if b.hold != nil && b.hold.id != "" {
					b.decide(now, registry.Order{Decision: decision, Held: b.hold.id})
					open, decided = decision == registry.Approve, true
				}
			case 1:
				open = len(b.leave(true, registry.Order{})) > 0
				b.leave(false, registry.Order{})
			default:
				first := rapid.IntRange(0, services-1).Draw(t, "first")
				var words []word
				for n := first; n < min(services, first+rapid.IntRange(1, services).Draw(t, "count")); n++ {
					some := rapid.SampledFrom([][]string{nil, {"a"}, {"a", "b"}, {"a", "b", "c"}, {"x"}, {"x", "y"}}).Draw(t, "instances")
					w := says(n, some...)
					words = append(words, w)
					truth[w.key] = w.service
				}
				b.advance(now, words)
			}
			before := b.counts.ended[registry.BrakePassed]
			b.tick(now)
			open = open || b.counts.ended[registry.BrakePassed] > before
			for b.tells(now) {
				b.tell(now, func(registry.Digest) string { ids++; return fmt.Sprint(ids) })
			}

			check(t, b, truth)
			if open {
				past = nil
			}
			// What is not held back is never much within a window.
			for _, m := range past {
				if now.Sub(m.at) > rules.Window*5/6 {
					continue
				}
				var lost, base tally
				for k, was := range m.stands {
					base.add(was, 1)
					if size(was) > 0 && size(b.stands[k]) == 0 {
						lost.services++
					}
				}
				if lost.services >= rules.Floor && lost.services*100 > base.services*rules.Share {
					t.Fatalf("%d of %d services are withdrawn since %v ago", lost.services, base.services, now.Sub(m.at))
				}
			}
			past = append(past, moment{now, maps.Clone(b.stands)})
		}
		// In time everything passes, unless somebody said that it must not.
		now = now.Add(rules.PassAfter)
		b.tick(now)
		if b.hold != nil && !rules.Stay && !decided {
			t.Fatalf("%d instances are held for ever", b.held)
		}
		b.release(registry.BrakeApproved, "", "")
		check(t, b, truth)
		if b.hold != nil || len(b.losses) > 0 || b.held != 0 || b.content != (registry.Digest{}) {
			t.Fatal("something is left of what was released")
		}
	})
}

// check holds what stands to what the registry said and what is held.
func check(t *rapid.T, b *brake, truth map[registry.ServiceKey]*registry.Service) {
	var listed tally
	held, content := 0, registry.Digest{}
	for k, said := range truth {
		listed.add(said, 1)
		there := map[string]bool{}
		if s := b.stands[k]; s != nil {
			for _, i := range s.Instances {
				there[i.ID] = true
			}
		}
		if said != nil {
			for _, i := range said.Instances {
				if !there[i.ID] {
					t.Fatalf("%s lacks %s, which the registry lists", k, i.ID)
				}
			}
		}
		l := b.losses[k]
		switch {
		case l == nil && len(there) != size(said):
			t.Fatalf("%s has %d instances and nothing held, the registry lists %d", k, len(there), size(said))
		case l != nil:
			held += l.held
			content = content.XOR(newLoss(l.base, said).digest)
			if len(there) != size(said)+l.held || size(said) >= size(l.base) || l.held == 0 {
				t.Fatalf("%s has %d instances, %d held, the registry lists %d", k, len(there), l.held, size(said))
			}
		}
	}
	if b.listed != listed || b.held != held || b.content != content || (b.hold != nil) != (held > 0) {
		t.Fatalf("it counts %v listed, %d held (%v); there are %v and %d", b.listed, b.held, b.hold != nil, listed, held)
	}
}
