package audit

import (
	"net/netip"
	"testing"

	"github.com/seamark-mesh/seamark/registry"
)

func addresses(text ...string) (all []netip.Addr) {
	for _, s := range text {
		all = append(all, netip.MustParseAddr(s))
	}
	return all
}

func originsAt(t *testing.T, h History, m Moment, key registry.ServiceKey) []Origin {
	t.Helper()
	stood, err := StoodAt(t.Context(), h, m, key)
	if err != nil {
		t.Fatal(err)
	}
	origins, err := Blame(t.Context(), h, stood, key)
	if err != nil {
		t.Fatal(err)
	}
	return origins
}

func blame(t *testing.T, m *mesh, at uint64, key registry.ServiceKey) map[string]Origin {
	t.Helper()
	all := map[string]Origin{}
	for _, o := range originsAt(t, &m.tape, m.moment(at), key) {
		all[o.What+" "+o.Name] = o
	}
	return all
}

func TestBlameNamesTheEventThatPutAnAnswerThere(t *testing.T) {
	t.Parallel()
	m, key := small()
	type origin struct{ put, formed uint64 }
	tests := map[uint64]map[string]origin{
		3:  {"instance a": {3, 3}, "gateway gw": {2, 2}},
		5:  {"instance a": {3, 3}, "instance b": {4, 4}, "gateway gw": {2, 2}},
		7:  {"instance a": {3, 3}, "instance b": {4, 6}, "gateway gw": {2, 2}},
		10: {"instance a": {3, 3}, "instance b": {4, 6}, "gateway gw": {2, 2}}, // garbage at #8 explains nothing
		12: {"instance b": {4, 6}, "gateway gw": {2, 11}},
	}
	for at, want := range tests {
		got := blame(t, m, at, key)
		if len(got) != len(want) {
			t.Errorf("#%d: %d origins, want %d", at, len(got), len(want))
		}
		for name, w := range want {
			if g := got[name]; g.Put.Sequence != w.put || g.Formed.Sequence != w.formed || g.Older || g.Put.Agent != "test" {
				t.Errorf("#%d: %s comes from #%d, and is as since #%d (older: %v), want #%d and #%d", at, name, g.Put.Sequence, g.Formed.Sequence, g.Older, w.put, w.formed)
			}
		}
	}
	if got := blame(t, m, 7, key)["instance b"].Formed; len(got.Changes) != 1 || got.Changes[0].Fields[0].Old != "passing" {
		t.Errorf("the event that formed it is told as %s", text(t, got))
	}
	if got := blame(t, m, 7, registry.ServiceKey{Namespace: "shop", Name: "nothing"}); len(got) != 0 {
		t.Errorf("a service that nobody knows comes from %v", got)
	}
}

// An agent that had lost its epoch puts nothing there, although its message is stored.
func TestBlamePassesOverWhatIsVoid(t *testing.T) {
	t.Parallel()
	m := newMesh(2, 1)
	a := m.agents[0]
	m.takeover(a)
	key := registry.ServiceKey{Namespace: "shop", Name: "orders"}
	s := registry.Service{Key: key, Instances: []registry.Instance{{ID: "a", Address: "10.0.0.1", Port: 80, Weight: 1, Health: registry.Passing}}}
	state := registry.NewServiceState(key, &s)
	m.publish(a, registry.CauseChange, state) // #2
	m.takeover(a)
	none := registry.NewServiceState(key, nil)
	m.put(m.now, registry.Event{Kind: registry.KindService, Writer: a.writer, Epoch: a.past[0], Revision: 9, Service: &none}) // #4: void
	m.publish(a, registry.CauseRefresh, state)                                                                                // #5
	if got := blame(t, m, 5, key)["instance a"]; got.Put.Sequence != 2 {
		t.Errorf("it comes from #%d, want #2", got.Put.Sequence)
	}
}
