package e2e

import (
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/dnsserver/ask"
)

// TestChaosChecker gives the checker answers that are wrong, and some that are only
// late or excused: it tells them apart.
func TestChaosChecker(t *testing.T) {
	const shared, local = "svc-3.svc.mesh.internal.", "svc-3.default.amber.cluster.mesh.internal."
	began := time.Now().Add(-time.Hour)
	at := func(s float64) time.Time { return began.Add(time.Duration(s * float64(time.Second))) }
	// amber serves until 100 s, bronze all the time.
	truth := &truth{history: map[string][]phase{
		"amber/svc-3":  {{begun: at(0), done: at(0), healthy: 2, total: 2}, {begun: at(100), done: at(101), total: 2}},
		"bronze/svc-3": {{begun: at(0), done: at(0), healthy: 1, total: 1}},
	}}
	frozen := &disturbance{begun: at(99), clusters: []string{"amber"}, replica: none}
	judged := &disturbance{begun: at(10), clusters: []string{"bronze"}, replica: none, judged: []string{"bronze"}}
	silent := &disturbance{begun: at(99), replica: 1}
	for _, c := range []struct {
		what    string
		fault   *disturbance
		marked  []string
		replica int
		local   bool
		rcode   string
		data    []string
		at      float64
		wrong   bool
	}{
		{what: "all", data: []string{"a", "b"}, at: 50},
		{what: "one is missing", data: []string{"a"}, at: 50, wrong: true},
		{what: "all are missing", at: 50, wrong: true},
		{what: "NXDOMAIN", rcode: "NXDOMAIN", at: 50, wrong: true},
		{what: "nobody's address", data: []string{"a", "b", "c"}, at: 50, wrong: true},
		{what: "just gone", data: []string{"a", "b"}, at: 104},
		{what: "gone, and out", data: []string{"b"}, at: 104},
		{what: "a ghost", data: []string{"a", "b"}, at: 107, wrong: true},
		{what: "a ghost by its own name", local: true, data: []string{"a"}, at: 107, wrong: true},
		{what: "known, and nothing", local: true, at: 107},
		{what: "withdrawn before it went", local: true, at: 90, wrong: true},
		{what: "its agent can't say it", fault: frozen, data: []string{"a", "b"}, at: 200},
		{what: "its agent can't say it, another is missing", fault: frozen, data: []string{"a"}, at: 200, wrong: true},
		{what: "this replica can't know it", fault: silent, replica: 1, data: []string{"a", "b"}, at: 200},
		{what: "the other could", fault: silent, replica: 0, data: []string{"a", "b"}, at: 200, wrong: true},
		{what: "missing, and the replica has no excuse", fault: silent, replica: 1, data: []string{"a"}, at: 100, wrong: true},
		{what: "missing as of its checkpoint", fault: silent, replica: 1, marked: []string{"3 (Stale Answer): started from a checkpoint"}, data: []string{"a"}, at: 100},
		{what: "nothing as of its checkpoint", fault: silent, replica: 1, marked: []string{"3 (Stale Answer): started from a checkpoint"}, at: 100, wrong: true},
		{what: "taken for dead where another serves", fault: judged, data: []string{"a"}, at: 50},
		{what: "taken for dead where nobody does", fault: judged, at: 200, wrong: true},
	} {
		w := &watcher3{chaos: &chaos{truth: truth}, gateways: map[string]string{"a": "amber", "b": "bronze"}, disturbed: c.fault, seen: observation{Wrong: map[string]int{}}}
		q := question{shared, "svc-3", []string{"amber", "bronze"}}
		if c.local {
			q = question{local, "svc-3", []string{"amber"}}
		}
		if c.rcode == "" {
			c.rcode = "NOERROR"
		}
		w.hold(c.replica, q, ask.Answer{RCode: c.rcode, Data: c.data, Extended: c.marked}, at(c.at), at(c.at+0.01))
		if wrong := len(w.seen.Wrong) > 0; wrong != c.wrong {
			t.Errorf("%s: wrong is %v: %v", c.what, wrong, w.seen.Wrong)
		}
	}
	if d := truth.behind("amber", "svc-3", true, at(107)); d != 6*time.Second {
		t.Errorf("an answer that was true until 101 s is %v behind at 107 s", d)
	}
	r := trial{Saw: observation{Queries: 10_000, Unavailable: 1}}
	if r.judge(0); r.Verdict != "holds" {
		t.Errorf("one of ten thousand: %s", r.Verdict)
	}
	r.Saw.Unavailable++
	if r.judge(0); r.Verdict == "holds" {
		t.Error("two of ten thousand are not too many")
	}
}
