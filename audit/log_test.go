package audit

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

func itoa(n uint64) string { return strconv.FormatUint(n, 10) }

// small is a history that a person can follow: a service comes, changes, and is damaged.
func small() (m *mesh, key registry.ServiceKey) {
	m = newMesh(1, 1)
	key = registry.ServiceKey{Namespace: "shop", Name: "orders"}
	a := m.agents[0]
	m.takeover(a)                                      // #1
	m.setRecord(a, registry.CauseChange, m.gateway(1)) // #2
	say := func(cause registry.Cause, index string, instances ...registry.Instance) {
		s := registry.Service{Key: key, Instances: instances}
		state := registry.NewServiceState(key, &s)
		var was *registry.Service
		if b := a.services[key]; b != nil {
			was = &registry.Service{Key: key, Instances: b.state.Instances}
		}
		state.Changes, state.Index = registry.Compare(was, &s), index
		m.publish(a, cause, state)
	}
	first := registry.Instance{ID: "a", Address: "10.0.0.1", Port: 80, Weight: 1, Health: registry.Passing}
	second := registry.Instance{ID: "b", Address: "10.0.0.2", Port: 80, Weight: 1, Health: registry.Passing, Version: "1"}
	say(registry.CauseChange, "17", first)         // #3
	say(registry.CauseChange, "18", first, second) // #4
	m.mark(a, registry.CauseResync)                // #5
	second.Health, second.Version = registry.Critical, "2"
	say(registry.CauseChange, "19", first, second)                                                                                 // #6
	say(registry.CauseRefresh, "19", first, second)                                                                                // #7
	m.raw(m.now, "mesh.v1.c0.svc.shop.orders", nil, []byte("not JSON"))                                                            // #8
	m.order(registry.CauseChange, registry.Order{Kind: registry.OrderDrain, Target: "orders.shop.c0", By: "ann", Reason: "works"}) // #9
	m.raw(m.now, "mesh.v1.FOREIGN.thing", nil, []byte("?"))                                                                        // #10
	m.setRecord(a, registry.CauseChange, m.gateway(2))                                                                             // #11
	say(registry.CauseChange, "20", second)                                                                                        // #12
	return m, key
}

func (m *mesh) gateway(n byte) *registry.ClusterRecord {
	r := m.newRecord(m.agents[0])
	r.Gateways, _ = registry.CleanGateways([]registry.Gateway{
		{Name: "gw", Addresses: addresses(fmt.Sprintf("192.0.2.%d", n)), Ports: map[string]int{"http": 80}, Weight: 1},
	}, true, nil)
	return r
}

func logOf(t *testing.T, h History, q Query) (all []Entry) {
	t.Helper()
	for e, err := range Log(t.Context(), h, q) {
		if err != nil {
			t.Fatalf("Log(%+v): %v", q, err)
		}
		all = append(all, e)
	}
	return all
}

func sequences(all []Entry) (numbers []uint64) {
	for _, e := range all {
		numbers = append(numbers, e.Sequence)
	}
	return numbers
}

func TestLogSelects(t *testing.T) {
	t.Parallel()
	m, key := small()
	at := func(n int) When { return When{Time: m.all[n-1].Time} }
	tests := map[string]struct {
		query Query
		want  []uint64
	}{
		"all":               {Query{}, []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}},
		"a service":         {Query{Service: key}, []uint64{3, 4, 6, 7, 8, 9, 12}},
		"in a cluster":      {Query{Service: key, Cluster: "c0"}, []uint64{3, 4, 6, 7, 8, 9, 12}},
		"in another":        {Query{Service: key, Cluster: "c1"}, nil},
		"a cluster":         {Query{Cluster: "c0"}, []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12}},
		"changes":           {Query{Kinds: []Kind{Change}}, []uint64{2, 3, 4, 6, 11, 12}},
		"orders, takeovers": {Query{Kinds: []Kind{Order, Takeover}}, []uint64{1, 9}},
		"refreshes":         {Query{Kinds: []Kind{Refresh}}, []uint64{7}},
		"unreadable":        {Query{Kinds: []Kind{Unreadable}}, []uint64{8, 10}},
		"marks":             {Query{Kinds: []Kind{Complete}}, []uint64{5}},
		"since":             {Query{Since: at(11)}, []uint64{11, 12}},
		"until":             {Query{Until: at(2)}, []uint64{1, 2}},
		"sequences":         {Query{Since: When{Sequence: 4}, Until: When{Sequence: 6}}, []uint64{4, 5, 6}},
		"the first two":     {Query{Service: key, Limit: 2}, []uint64{3, 4}},
		"the last two":      {Query{Service: key, Limit: 2, Newest: true}, []uint64{9, 12}},
		"the last of few":   {Query{Kinds: []Kind{Order}, Limit: 5, Newest: true}, []uint64{9}},
		"until long ago":    {Query{Until: When{Time: m.all[0].Time.Add(-time.Hour)}, Since: When{Sequence: 5}}, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := sequences(logOf(t, &m.tape, tt.query)); !slices.Equal(got, tt.want) {
				t.Errorf("Log gives %v, want %v", got, tt.want)
			}
		})
	}
}

func TestLogTellsWhoWhatAndWhen(t *testing.T) {
	t.Parallel()
	m, key := small()
	all := logOf(t, &m.tape, Query{Service: key, Since: When{Sequence: 6}})
	e := all[0]
	want := []Difference{{
		What: "instance", Change: Changed, Cluster: "c0", Service: &key, Name: "b",
		Fields: []FieldChange{{Field: "health", Old: "passing", New: "critical"}, {Field: "version", Old: "1", New: "2"}},
	}}
	if fmt.Sprint(text(t, e.Changes)) != text(t, want) {
		t.Errorf("#6 changed %s, want %s", text(t, e.Changes), text(t, want))
	}
	if e.Agent != "test" || e.Index != "19" || e.Epoch != m.agents[0].epoch || e.Revision != 6-1+1 || !e.Stored.Equal(m.all[5].Time) || e.Made.IsZero() {
		t.Errorf("#6 is told as %s", text(t, e))
	}
	if got := all[1]; got.Kind != Refresh || len(got.Changes) != 0 {
		t.Errorf("a repetition is told as %s", text(t, got))
	}
	if got := all[2]; got.Kind != Unreadable || got.Unusable == nil || got.Unusable.Reason != "not-json" || got.Service == nil {
		t.Errorf("garbage is told as %s", text(t, got))
	}
	if got := all[3]; got.By != "ann" || got.Reason != "works" || got.Cluster != "c0" {
		t.Errorf("an order is told as %s", text(t, got))
	}
	if got := all[4].Changes; len(got) != 1 || got[0].Change != Removed || got[0].Name != "a" || got[0].Fields[0].Old != "10.0.0.1" {
		t.Errorf("#12 is told as %s", text(t, all[4]))
	}
	gateway := logOf(t, &m.tape, Query{Since: When{Sequence: 2}, Until: When{Sequence: 11}})[9]
	if len(gateway.Changes) != 1 || gateway.Changes[0].Fields[0].Old != "192.0.2.1" || gateway.Changes[0].Fields[0].New != "192.0.2.2" {
		t.Errorf("a gateway that moved is told as %s", text(t, gateway))
	}
	if text := text(t, all); strings.Contains(text, `"0001-`) {
		t.Errorf("a time that nobody knows is told: %s", text)
	}
}

// The number of what an agent withheld is all that is known of it.
func TestWhatWasRedactedIsTold(t *testing.T) {
	t.Parallel()
	m := newMesh(1, 1)
	key := registry.ServiceKey{Namespace: "shop", Name: "orders"}
	m.takeover(m.agents[0])
	for _, redacted := range []int{0, 3} {
		s := registry.Service{Key: key, Redacted: redacted}
		m.publish(m.agents[0], registry.CauseChange, registry.NewServiceState(key, &s))
	}
	m.raw(m.now, "mesh.v1.c0.svc.shop.orders", nil, []byte("not JSON"))
	for at, want := range map[uint64]int{2: 0, 3: 3, 4: 3} {
		if e := logOf(t, &m.tape, Query{})[at-1]; at < 4 && e.Redacted != want {
			t.Errorf("#%d tells that %d were redacted, want %d", at, e.Redacted, want)
		}
		for _, asked := range []registry.ServiceKey{key, {}} {
			if stood, err := StoodAt(t.Context(), &m.tape, m.moment(at), asked); err != nil || stood.Redacted("c0", key) != want {
				t.Errorf("at #%d, %v, %d stand redacted, %v; want %d", at, asked, stood.Redacted("c0", key), err, want)
			}
		}
	}
}

// Where the state before is gone, the event's own words are told, and that they are all.
func TestLogAfterTheBeginningHasAgedOut(t *testing.T) {
	t.Parallel()
	m, key := small()
	m.lost = 4
	e := logOf(t, &m.tape, Query{Service: key})[0]
	want := []FieldChange{{Field: "health", New: "critical", Unknown: true}, {Field: "version", New: "2", Unknown: true}}
	if len(e.Changes) != 1 || !slices.Equal(e.Changes[0].Fields, want) {
		t.Errorf("#6 is told as %s", text(t, e))
	}
	for _, q := range []Query{{Since: When{Sequence: 2}}, {Until: When{Sequence: 2}}, {Until: When{Time: m.all[1].Time}}, {Until: When{Sequence: 2}, Limit: 5, Newest: true}} {
		told := false
		for _, err := range Log(t.Context(), &m.tape, q) {
			if early, ok := errors.AsType[*TooEarlyError](err); !ok || early.Earliest.Sequence != 5 {
				t.Errorf("Log(%+v) is %v, want a refusal that names #5", q, err)
			}
			told = true
		}
		if !told {
			t.Errorf("Log(%+v) says that nothing was, and that is not known", q)
		}
	}
	for _, q := range []Query{{Since: When{Sequence: 99}}, {Follow: true, Until: When{Sequence: 6}}, {Since: When{Time: m.now.Add(time.Hour), Asked: m.now}}} {
		for _, err := range Log(t.Context(), &m.tape, q) {
			if err == nil {
				t.Errorf("Log(%+v) gives entries", q)
			}
		}
	}
}

func text(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestParseKind(t *testing.T) {
	t.Parallel()
	for _, k := range kinds {
		if got, err := ParseKind(string(k)); err != nil || got != k {
			t.Errorf("ParseKind(%q) = %v, %v", k, got, err)
		}
	}
	if _, err := ParseKind("nonsense"); err == nil || !strings.Contains(err.Error(), "takeover") {
		t.Errorf("ParseKind(nonsense): %v", err)
	}
}

// The newest 10,000 messages of a service may have 10 GiB: what is too large to be held is
// read again, and nothing is left out.
func TestNewestEntriesAreNotAllHeld(t *testing.T) {
	t.Parallel()
	m := newMesh(5, 2)
	m.start()
	m.hours(3*24, true)
	for _, q := range []Query{{Limit: 40}, {Limit: 1}, {Limit: 30, Kinds: []Kind{Change}}, {Limit: 5, Until: When{Sequence: 60}}, {Limit: 1 << 20}} {
		q.Newest = true
		for name, test := range map[string]struct{ most, reads int }{
			"nothing may be held": {0, 2}, "little may be": {2000, 2}, "all may be": {1 << 30, 1},
		} {
			first := q
			first.Newest, first.Limit = false, 0
			want := sequences(logOf(t, &m.tape, first))
			want = want[max(0, len(want)-q.Limit):]
			counted := &counting{tape: &m.tape}
			l, err := newLogging(t.Context(), counted, q)
			if err != nil {
				t.Fatal(err)
			}
			l.mostHeld = test.most
			var got []Entry
			if err := l.newest(t.Context(), func(e Entry, _ error) bool { got = append(got, e); return true }); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(sequences(got), want) {
				t.Errorf("%s, %+v: %d entries, want %d", name, q, len(got), len(want))
			}
			if counted.reads != test.reads && (q.Limit > 1 || test.most != 2000) {
				t.Errorf("%s, %+v: %d reads, want %d", name, q, counted.reads, test.reads)
			}
		}
	}
}

// What is held never exceeds the bound by more than one message.
func TestHoldingIsBounded(t *testing.T) {
	t.Parallel()
	h := holding{most: 5000}
	for n := range uint64(100) {
		h.add(registry.Stored{Sequence: n, Body: make([]byte, 1000)}, 3)
	}
	if h.over || len(h.messages) != 3 || h.sequences[0] != 97 || h.messages[0].Sequence != 97 || h.bytes != 3*1064 {
		t.Errorf("three small ones: over %v, %d held, %d bytes", h.over, len(h.messages), h.bytes)
	}
	h.add(registry.Stored{Sequence: 100, Body: make([]byte, 4000)}, 3)
	h.add(registry.Stored{Sequence: 101}, 3)
	if !h.over || h.messages != nil || h.bytes != 0 || !slices.Equal(h.sequences, []uint64{99, 100, 101}) {
		t.Errorf("one large one: over %v, %d held, of %v", h.over, len(h.messages), h.sequences)
	}
}
