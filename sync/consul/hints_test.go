package consul

import "testing"

// A check that turned and turned back while a read was under way looked as if nothing had
// changed, and the state between, which the read had seen, was believed until the next
// regular comparison.
func TestACheckThatTurnsBackDuringARead(t *testing.T) {
	check := mark{node: "n", id: "c", check: true}
	place := mark{node: "n", id: "i"}
	for name, test := range map[string]struct {
		reading bool
		sent    []expectation
		hear    func(w *session)
		again   bool
	}{
		"back to what is believed, by the node's checks": {true, nil, func(w *session) {
			w.onChecks(w.nodes["n"], []wireCheck{{Node: "n", CheckID: "c", ServiceID: "i", ServiceName: "web", Status: "critical", ModifyIndex: 12}})
		}, true},
		"what is believed is heard once more": {true, nil, func(w *session) {
			w.onChecks(w.nodes["n"], []wireCheck{{Node: "n", CheckID: "c", ServiceID: "i", ServiceName: "web", Status: "critical", ModifyIndex: 10}})
		}, false},
		"nothing is read": {false, nil, func(w *session) {
			w.onChecks(w.nodes["n"], []wireCheck{{Node: "n", CheckID: "c", ServiceID: "i", ServiceName: "web", Status: "critical", ModifyIndex: 12}})
		}, false},
		"back to critical, by the list of what is critical": {true, nil, func(w *session) {
			w.onState(pathCritical, []wireCheck{{Node: "n", CheckID: "c", ServiceID: "i", ServiceName: "web", Status: "critical", ModifyIndex: 12}})
		}, true},
		"another one recovers while it is read": {true, []expectation{{mark: mark{node: "n", id: "d", check: true}, index: 11}}, func(w *session) {
			w.onState(pathCritical, []wireCheck{{Node: "n", CheckID: "c", ServiceID: "i", ServiceName: "web", Status: "critical", ModifyIndex: 10}})
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			source, _ := newSource(t, Config{Address: "http://127.0.0.1:1", Mode: ModeHints})
			e := &entry{name: "web", place: -1, reading: test.reading, sent: test.sent}
			w := &session{
				source: source, mode: ModeHints, where: newPlaces(), entries: map[string]*entry{"web": e}, barred: map[string]bool{},
				nodes: map[string]*node{"n": {wire: wireNode{Node: "n"}}}, changed: map[string]bool{},
			}
			if test.reading {
				w.reading = 1
			}
			w.believe(t.Context(), e, record{marks: map[mark]fact{place: {index: 9}, check: {index: 10, status: "critical"}}, index: 10})
			test.hear(w)
			if got := e.again || e.queued; got != test.again {
				t.Errorf("it is read again: %v, want %v", got, test.again)
			}
		})
	}
}
