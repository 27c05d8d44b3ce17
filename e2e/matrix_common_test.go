package e2e

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"
)

// commonCases are the changes that every registry makes.
func (s *stage) commonCases(t *testing.T) {
	t.Run("file/states of an entry", func(t *testing.T) {
		t.Parallel()
		testFileStates(t, s, s.clusters["file"])
	})
	for kind, c := range s.clusters {
		for name, run := range map[string]func(*testing.T, *stage, *staged){
			"another address within 100 ms": testMoves,
			"the last instance":             testLastInstance,
			"flapping":                      testFlapping,
		} {
			t.Run(kind+"/"+name, func(t *testing.T) {
				t.Parallel()
				run(t, s, c)
			})
		}
	}
}

// testMoves gives one id another address several times, some of them within 100 ms:
// the name is answered all the time, and the last address stands.
func testMoves(t *testing.T, s *stage, c *staged) {
	service := "moving-" + c.kind
	s.freely(c, service) // how many of the states are seen is chance
	at := instance{id: service, address: "10.4.0.1", port: 80}
	c.put(t, service, at)
	s.look(t, c, service, state{1, 1})
	before := len(s.tape.said(c.name, service))
	stop := s.always(t, service+".svc.mesh.internal.", c.gateway)
	defer stop()
	// How long an address stands is the time between two changes; other cases change the
	// same registry, and may have this one wait.
	const enough, within = 5, 100 * time.Millisecond
	var stood []time.Duration
	moves, soon := 0, 0
	for last := time.Now(); moves < enough || soon < enough && moves < 10*enough; moves++ {
		at.address = fmt.Sprintf("10.4.0.%d", moves+2)
		c.put(t, service, at)
		stood, last = append(stood, time.Since(last).Round(time.Millisecond)), time.Now()
		if stood[moves] <= within {
			soon++
		}
	}
	t.Logf("%s: an address stood for %v", c.kind, stood)
	if soon == 0 {
		t.Errorf("of %d moves none came within %v", moves, within)
	}
	s.eventually(t, patienceOfTests, "the last address stands", func() error {
		shown, err := s.shown(service, c.name)
		if err == nil && (len(shown.Instances) != 1 || shown.Instances[0].Address != at.address) {
			err = fmt.Errorf("/v1/services gives %+v", shown)
		}
		return err
	})
	s.look(t, c, service, state{1, 1})
	stop()
	said := s.tape.said(c.name, service)[before:]
	most := moves
	if c.kind == "nacos" {
		most = 2 * moves // there the address is the id: one comes, the other goes
	}
	if len(said) == 0 || len(said) > most {
		t.Errorf("%d moves gave the events %q, want 1 to %d", moves, said, most)
	}
	for _, line := range said {
		if strings.HasSuffix(line, " 0/0") || c.kind != "nacos" && line != "~"+service+" address 1/1" {
			t.Errorf("a move published %q", line)
		}
	}
}

func testLastInstance(t *testing.T, s *stage, c *staged) {
	service := "lone-" + c.kind
	one := instance{id: service, address: "10.5.0.1", port: 80}
	id := s.id(c, one)
	c.put(t, service, one)
	s.expect(t, c, service, state{1, 1}, "+"+id+" 1/1")
	for range 2 {
		c.put(t, service)
		s.expect(t, c, service, state{0, 0}, "-"+id+" 0/0") // NODATA: the name was registered
		c.put(t, service, one)
		s.expect(t, c, service, state{1, 1}, "+"+id+" 1/1")
	}
	c.put(t, service)
	s.expect(t, c, service, state{0, 0}, "-"+id+" 0/0")
}

// testFlapping flips one of two instances ten times a second for some seconds: at
// most one event for each flip, each a flip, and the last state wins.
func testFlapping(t *testing.T, s *stage, c *staged) {
	service := "flapping-" + c.kind
	s.freely(c, service)
	steady, flaps := instance{id: service + "-1", address: "10.6.0.1", port: 80}, instance{id: service + "-2", address: "10.6.0.2", port: 80}
	c.put(t, service, steady, flaps)
	s.look(t, c, service, state{2, 2})
	before := 0
	s.eventually(t, 10*time.Second, "the tape has "+service, func() error { // it may be behind what DNS says
		said := s.tape.said(c.name, service)
		if before = len(said); before == 0 || !strings.HasSuffix(said[before-1], " 2/2") {
			return fmt.Errorf("%q", said)
		}
		return nil
	})
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	const flips = 31 // the last one leaves it failing
	for range flips {
		<-ticker.C
		flaps.bad = !flaps.bad
		c.put(t, service, steady, flaps)
	}
	s.look(t, c, service, state{1, 2})
	s.nothing(t, c, service, state{1, 2})
	said := s.tape.said(c.name, service)[before:]
	t.Logf("%s: %d flips, %d events", c.kind, flips, len(said))
	down, up := "~"+s.id(c, flaps)+" health 1/2", "~"+s.id(c, flaps)+" health 2/2"
	if len(said) == 0 || len(said) > flips || said[len(said)-1] != down {
		t.Errorf("%d flips gave %d events, the last of %q; want at most as many, the last %q", flips, len(said), said, down)
	}
	for n, line := range said {
		if want := [2]string{down, up}[n%2]; line != want {
			t.Errorf("event %d is %q, want %q", n, line, want)
			break
		}
	}
}

// testFileStates takes an entry of the file through all that it can say.
func testFileStates(t *testing.T, s *stage, c *staged) {
	f, _ := c.registry.(*fileRegistry)
	one := map[string]any{"id": "e1", "address": "10.4.1.1", "port": 80}
	with := func(field string, value any) {
		t.Helper()
		c.mu.Lock()
		defer c.mu.Unlock()
		one = maps.Clone(one)
		one[field] = value
		f.services["entry"] = []map[string]any{one}
		f.save(t)
	}
	with("health", "passing")
	s.expect(t, c, "entry", state{1, 1}, "+e1 1/1")
	for _, change := range []struct {
		field string
		value any
		want  state
		says  []string
	}{
		{"health", "warning", state{1, 1}, []string{"~e1 health 1/1"}},
		{"health", "critical", state{0, 1}, []string{"~e1 health 0/1"}},
		{"health", "unknown", state{0, 1}, nil}, // keeps the health it had
		{"health", "passing", state{1, 1}, []string{"~e1 health 1/1"}},
		{"health", "unknown", state{1, 1}, nil},
		{"health", "passing", state{1, 1}, nil},
		{"weight", 0, state{0, 1}, []string{"~e1 weight 0/1"}},
		{"weight", 7, state{1, 1}, []string{"~e1 weight 1/1"}},
		{"version", "1.1.0", state{1, 1}, []string{"~e1 version 1/1"}},
		{"meta", map[string]string{"team": "red"}, state{1, 1}, []string{"~e1 meta 1/1"}},
		{"port", 81, state{1, 1}, []string{"~e1 port 1/1"}},
	} {
		with(change.field, change.value)
		if change.says == nil {
			s.nothing(t, c, "entry", change.want)
		}
		s.expect(t, c, "entry", change.want, change.says...)
	}
	shown, err := s.shown("entry", c.name)
	if err != nil || len(shown.Instances) != 1 || shown.Instances[0].Version != "1.1.0" || shown.Instances[0].Weight != 7 || shown.Instances[0].Meta["team"] != "red" {
		t.Errorf("/v1/services gives %+v (%v)", shown, err)
	}
}
