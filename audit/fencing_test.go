package audit

import (
	"fmt"
	"slices"
	"testing"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
)

// overtaken is a history in which an agent goes on writing after another one took over.
func overtaken() (m *mesh, key registry.ServiceKey) {
	m = newMesh(2, 1)
	a := m.agents[0]
	key = registry.ServiceKey{Namespace: "shop", Name: "orders"}
	state := func(port int) registry.ServiceState {
		s := registry.Service{Key: key, Instances: []registry.Instance{{ID: "a", Address: "10.0.0.1", Port: port, Weight: 1, Health: registry.Passing}}}
		return registry.NewServiceState(key, &s)
	}
	void := func(e registry.Event) {
		e.Writer, e.Epoch, e.Revision = a.writer, a.past[0], 9
		m.put(m.now, e)
	}
	m.takeover(a)                                      // #1
	m.publish(a, registry.CauseChange, state(80))      // #2
	m.setRecord(a, registry.CauseChange, m.gateway(1)) // #3
	m.takeover(a)                                      // #4
	late := state(81)
	void(registry.Event{Kind: registry.KindService, Service: &late})                          // #5
	void(registry.Event{Kind: registry.KindCluster, Cluster: m.gateway(2)})                   // #6
	void(registry.Event{Kind: registry.KindNote, Note: &registry.Note{Kind: "a", Text: "b"}}) // #7
	void(registry.Event{Kind: registry.KindEpoch, Takeover: &registry.EpochRecord{}})         // #8
	m.publish(a, registry.CauseChange, state(82))                                             // #9
	m.setRecord(a, registry.CauseChange, m.gateway(3))                                        // #10
	return m, key
}

// What an agent stored that had lost its epoch was told as a change like any other, and the
// next difference was one from it.
func TestLogTellsWhatIsVoid(t *testing.T) {
	t.Parallel()
	m, key := overtaken()
	for name, q := range map[string]Query{
		"all": {}, "since": {Since: When{Sequence: 5}}, "a service": {Service: key}, "a service, since": {Service: key, Since: When{Sequence: 5}},
		"a service there": {Service: key, Cluster: "c0", Since: When{Sequence: 5}}, "a cluster": {Cluster: "c0", Since: When{Sequence: 5}},
		"the last": {Limit: 6, Newest: true}, "the last of a service": {Service: key, Limit: 2, Newest: true},
		"notes": {Kinds: []Kind{Note}}, "unreadable": {Kinds: []Kind{Unreadable}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, e := range logOf(t, &m.tape, q) {
				if void := e.Sequence >= 5 && e.Sequence <= 8; void != (e.Kind == Unreadable) || void && (e.Unusable.Reason != reasonFenced || e.Agent != "test") {
					t.Errorf("#%d is told as %s", e.Sequence, text(t, e))
				}
				if q.Service != (registry.ServiceKey{}) && e.Service == nil {
					t.Errorf("#%d is no entry of a service: %s", e.Sequence, text(t, e))
				}
				if known := e.Sequence == 9 && (q.Service != registry.ServiceKey{} || !q.Newest && q.Since.IsZero()); known && e.Changes[0].Fields[0].Old != "80" {
					t.Errorf("#9 changed %s, want from 80", text(t, e.Changes))
				}
			}
		})
	}
	if got := sequences(logOf(t, &m.tape, Query{Kinds: []Kind{Unreadable}})); !slices.Equal(got, []uint64{5, 6, 7, 8}) {
		t.Errorf("void are %v", got)
	}
	if got := sequences(logOf(t, &m.tape, Query{Kinds: []Kind{Note}})); got != nil {
		t.Errorf("notes are %v, the only one is void", got)
	}
}

// Whatever the question, an entry is void when the fold of the whole history refuses it.
func TestLogAndFoldAgreeOnWhatIsVoid(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		m := newMesh(seed, 3)
		m.noise = true
		m.start()
		m.hours(5*24, true)
		void := map[uint64]bool{}
		fold, decoder := registry.NewFold(), stream.NewStoredDecoder()
		for _, s := range m.all {
			if out := fold.Apply(decoder.Decode(s)); out.Reason == reasonFenced {
				void[s.Sequence] = true
			}
		}
		if len(void) == 0 {
			t.Fatal("nothing is void: this test shows nothing")
		}
		for range 20 {
			from := 1 + m.Uint64N(uint64(len(m.all)))
			for n, q := range []Query{
				{Since: When{Sequence: from}},
				{Service: m.key(), Since: When{Sequence: from}},
				{Cluster: "c1", Since: When{Sequence: from}},
				{Until: When{Sequence: from}, Limit: 50, Newest: true},
				{Service: m.key(), Until: When{Sequence: from}, Limit: 9, Newest: true},
			} {
				for _, e := range logOf(t, &m.tape, q) {
					if told := e.Unusable != nil && e.Unusable.Reason == reasonFenced; told != void[e.Sequence] {
						t.Fatalf("%s: #%d is told as %s, void: %v", fmt.Sprint(seed, n, from), e.Sequence, text(t, e), void[e.Sequence])
					}
				}
			}
		}
	}
}
