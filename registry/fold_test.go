package registry_test

import (
	"strings"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

var (
	api    = registry.ServiceKey{Namespace: "default", Name: "api"}
	shared = []registry.Instance{{ID: "a", Address: "10.0.0.1", Port: 80, Weight: 1, Health: registry.Passing}}
)

// state describes the api service with these instances.
func state(instances ...registry.Instance) registry.ServiceState {
	return registry.NewServiceState(api, &registry.Service{Key: api, Instances: instances})
}

func amber() (*stream, *author) {
	s := newStream("amber")
	s.takeover(s.authors[0], began)
	return s, s.authors[0]
}

func TestApplyTellsWhatBecameOfAMessage(t *testing.T) {
	t.Parallel()
	s, a := amber()
	s.service(a, "change", state(shared...))
	note(nil, s, a)
	s.service(a, "change", state())
	unreadable := s.messages[1]
	unreadable.sequence, unreadable.revision, unreadable.body = 5, 5, nil
	s.messages = append(s.messages, unreadable)
	a.revision = 5
	s.takeover(a, began+10)
	late := s.messages[1]
	late.sequence = 7
	s.messages = append(s.messages, late)

	r := newReader(s.messages)
	for n, want := range []registry.Outcome{
		{Result: registry.Applied},
		{Result: registry.Applied},
		{Result: registry.Passed},
		{Result: registry.Applied},
		{Result: registry.Quarantined, Reason: "not-json"},
		{Result: registry.Applied},
		{Result: registry.Quarantined, Reason: "fenced"},
	} {
		if got := r.fold.Apply(s.messages[n].decoded()); got != want {
			t.Errorf("Apply(%v) = %+v, want %+v", s.messages[n], got, want)
		}
	}
	if got := r.fold.Apply(s.messages[1].decoded()); got.Result != registry.Duplicate {
		t.Errorf("a message that comes again is %q, want %q", got.Result, registry.Duplicate)
	}
	if got, _ := r.fold.View().Service(api); !got.Record("amber").Tombstone() {
		t.Errorf("the service is %+v, want the tombstone that stands before the unusable messages", got.Record("amber"))
	}
}

func TestGapIsSeenOnce(t *testing.T) {
	t.Parallel()
	s, a := amber()
	for range 5 {
		s.service(a, "change", state())
	}
	r := newReader(s.messages)
	for _, step := range []struct {
		message int
		gap     bool
	}{{0, false}, {1, false}, {4, true}, {5, false}, {2, false}, {3, false}, {4, false}} {
		if got := r.take(s.messages[step.message]); got.Gap != step.gap {
			t.Errorf("message %v: Gap = %v, want %v", s.messages[step.message], got.Gap, step.gap)
		}
	}
	if got := r.fold.View().Cluster("amber").Revision; got != 6 {
		t.Errorf("Revision = %d, want 6", got)
	}
	s.takeover(a, began+100)
	if got := r.take(s.messages[6]); got.Gap {
		t.Error("an epoch that begins with revision 1 is no gap")
	}
	a.revision++ // lost
	s.service(a, "change", state())
	if got := r.take(s.messages[7]); !got.Gap {
		t.Error("a revision is missing after the epoch's record, but no gap is seen")
	}
}

// No epoch or revision that a message claims keeps a later honest one from being applied.
func TestPoisonedEpochsBlockNobody(t *testing.T) {
	t.Parallel()
	poisons := map[string]func(*stream, *author){
		"record of the last epoch": func(s *stream, _ *author) {
			s.put("poison", registry.Event{Kind: registry.KindEpoch, Writer: "amber", Epoch: 1<<64 - 1, Revision: 1, Takeover: &registry.EpochRecord{}})
		},
		"service of the last epoch": func(s *stream, _ *author) {
			state := state(shared...)
			s.put("poison", registry.Event{Kind: registry.KindService, Writer: "amber", Epoch: 1<<64 - 1, Revision: 1<<64 - 1, Service: &state})
		},
		"service of tomorrow, without a record": func(s *stream, _ *author) {
			state := state(shared...)
			s.put("poison", registry.Event{Kind: registry.KindService, Writer: "amber", Epoch: began + 80_000, Revision: 9, Service: &state})
		},
		"last revision of this epoch": func(s *stream, a *author) {
			state := state(shared...)
			s.put("poison", registry.Event{Kind: registry.KindService, Writer: "amber", Epoch: a.epoch, Revision: 1<<64 - 1, Service: &state})
		},
		"fences of a later epoch": func(s *stream, a *author) {
			s.put("poison", registry.Event{Kind: registry.KindEpoch, Writer: "amber", Epoch: a.epoch, Revision: 2, Takeover: &registry.EpochRecord{
				Fences: []registry.Fence{{Epoch: 1<<64 - 1, Sequence: 1}},
			}})
		},
		"epoch of another cluster": func(s *stream, _ *author) {
			s.put("poison", registry.Event{Kind: registry.KindEpoch, Writer: "bronze", Epoch: began + 80_000, Revision: 1, Takeover: &registry.EpochRecord{}})
		},
		"a hundred epochs": func(s *stream, _ *author) {
			for n := range uint64(100) {
				state := state(shared...)
				s.put("poison", registry.Event{Kind: registry.KindService, Writer: "amber", Epoch: began + 1000 + n, Revision: 1, Service: &state})
			}
		},
	}
	for name, poison := range poisons {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, a := amber()
			poison(s, a)
			a.revision += 2
			s.service(a, "change", state()) // the same epoch goes on
			if got, _ := at(s.messages).Service(api); got == nil || !got.Record("amber").Tombstone() {
				t.Errorf("the honest writer's next message is not applied: %+v", got)
			}
			s.takeover(a, began+10) // and so does a successor by its clock
			s.service(a, "change", state(shared...))
			v := at(s.messages)
			if got, _ := v.Service(api); got == nil || got.Record("amber").Sequence != uint64(len(s.messages)) {
				t.Errorf("the honest successor's message is not applied: %+v", got)
			}
			if got := v.Cluster("amber").Epoch; got != began+10 {
				t.Errorf("the cluster's epoch is %d, want %d", got, uint64(began+10))
			}
		})
	}
}

// A reader of the last message per subject meets the message of a lost epoch
// before it meets the epoch's repeated record, which names the fence.
func TestStateBehindALateFenceIsWithdrawn(t *testing.T) {
	t.Parallel()
	s, a := amber()
	s.service(a, "change", state(shared...))
	s.recordOf(a, registry.ClusterRecord{Cluster: "amber", Region: "eu"})
	s.takeover(a, began+10)
	rogueState := state()
	s.put("rogue", registry.Event{Kind: registry.KindService, Writer: "amber", Epoch: began, Revision: 4, Service: &rogueState})
	s.put("rogue", registry.Event{Kind: registry.KindCluster, Writer: "amber", Epoch: began, Revision: 5, Cluster: &registry.ClusterRecord{Cluster: "amber", Region: "us"}})
	s.put("rogue", registry.Event{Kind: registry.KindSnapshot, Writer: "amber", Epoch: began, Revision: 6, Snapshot: &registry.SnapshotMark{Keys: 7}})
	s.repeatEpoch(a)

	f := registry.NewFold()
	for _, m := range lastPerSubject(s.messages) {
		f.Apply(m.decoded())
	}
	v := f.View()
	if _, ok := v.Service(api); ok {
		t.Error("the service stands as the lost epoch's writer left it")
	}
	c := v.Cluster("amber")
	if c.Record != nil || c.Snapshot != nil || c.Digest != (registry.Digest{}) || c.Services != 0 || c.Quarantined != 3 {
		t.Errorf("after the fence the cluster is %+v", *c)
	}
	voided := f.Voided()
	if len(voided) != 3 || f.Voided() != nil {
		t.Errorf("Voided() = %v, want three facts, once", voided)
	}
	r := newReader(s.messages)
	for _, m := range lastPerSubject(s.messages) {
		r.take(m)
	}
	mustEqual(t, "after looking back", s.messages, r.fold.View(), at(s.messages))
	if got, _ := r.fold.View().Service(api); got == nil || got.Record("amber").Total != 1 {
		t.Errorf("after looking back the service is %+v, want the honest state", got)
	}
}

// Old states that stand before the fence are kept, and nobody looks for them.
func TestStateBeforeALateFenceStands(t *testing.T) {
	t.Parallel()
	s, a := amber()
	s.service(a, "change", state(shared...))
	s.takeover(a, began+10)
	s.repeatEpoch(a)
	f := registry.NewFold()
	for _, m := range lastPerSubject(s.messages) {
		f.Apply(m.decoded())
	}
	if got, ok := f.View().Service(api); !ok || got.Record("amber").Sequence != 2 {
		t.Errorf("the service is %+v, %v; want the state that the earlier epoch left", got, ok)
	}
	if voided := f.Voided(); voided != nil {
		t.Errorf("Voided() = %v, want none", voided)
	}
}

// The server's compare-and-set keeps a lost epoch's writer from writing an epoch
// record. Where one stands all the same and is the last of its subject, only the
// subject's history tells that it is void: a reader that applies it, in whatever
// order, holds what everybody holds.
func TestEpochRecordOfALostEpochIsVoidOnceTheHistoryIsRead(t *testing.T) {
	t.Parallel()
	s, a := amber()
	s.service(a, "change", state(shared...))
	s.takeover(a, began+10)
	s.service(a, "change", state())
	s.put("rogue", registry.Event{Kind: registry.KindEpoch, Writer: "amber", Epoch: began, Revision: 9, Takeover: &registry.EpochRecord{}})
	rogueState := state(shared...)
	s.put("rogue", registry.Event{Kind: registry.KindService, Writer: "amber", Epoch: began, Revision: 10, Service: &rogueState})

	r := newReader(s.messages)
	for _, m := range lastPerSubject(s.messages) {
		r.take(m)
	}
	if got := r.fold.View().Cluster("amber").Epoch; got != began {
		t.Fatalf("the epoch is %d: this test no longer shows what it is for", got)
	}
	for _, n := range []int{2, 0} { // the epoch records, newest first
		r.take(s.messages[n])
	}
	mustEqual(t, "with the epochs' history", s.messages, r.fold.View(), at(s.messages))
}

func TestQuarantineEndsWithTheNextMessageOfTheFact(t *testing.T) {
	t.Parallel()
	facts := map[string]func(*stream, *author){
		"service": func(s *stream, a *author) { s.service(a, "change", state()) },
		"cluster": func(s *stream, a *author) { s.recordOf(a, registry.ClusterRecord{Cluster: "amber"}) },
		"note":    func(s *stream, a *author) { note(nil, s, a) },
		"mark":    func(s *stream, a *author) { mark(nil, s, a) },
		"epoch":   func(s *stream, a *author) { s.repeatEpoch(a) },
	}
	for name, write := range facts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, a := amber()
			write(s, a)
			bad := s.messages[1]
			bad.sequence, bad.revision, bad.body = 3, 3, []byte("{")
			s.messages, a.revision = append(s.messages, bad), 3
			write(s, a)
			r := newReader(s.messages)
			for n, want := range []int{0, 0, 1, 0} {
				r.take(s.messages[n])
				if got := r.fold.View().Cluster("amber").Quarantined; got != want {
					t.Errorf("after message %v: Quarantined = %d, want %d", s.messages[n], got, want)
				}
			}
			r.take(s.messages[2])
			if got := r.fold.View().Cluster("amber").Quarantined; got != 0 {
				t.Errorf("after the unusable message came again: Quarantined = %d, want 0", got)
			}
		})
	}
}

func TestForgottenIsAsNeverRegistered(t *testing.T) {
	t.Parallel()
	s, a := amber()
	s.service(a, "change", state(shared...))
	forgotten := state()
	forgotten.Forgotten = true
	s.service(a, "forgotten", forgotten)
	r := plain(s.messages)
	check := func(when string) {
		t.Helper()
		v := r.fold.View()
		if _, ok := v.Lookup(api.Labels()); ok {
			t.Errorf("%s: Lookup finds it", when)
		}
		if _, ok := v.Service(api); ok {
			t.Errorf("%s: Service finds it", when)
		}
		for n := range v.Names() {
			t.Errorf("%s: Names yields %v", when, n.Labels)
		}
		c := v.Cluster("amber")
		if v.Services() != 0 || c.Services != 0 || c.Instances != 0 || v.HasNamespace("default", "") || c.Digest != (registry.Digest{}) {
			t.Errorf("%s: it is still counted: %+v", when, *c)
		}
	}
	check("forgotten")
	r.take(s.messages[1])
	check("an older message comes again")
	s.service(a, "change", state(shared...))
	r.take(s.messages[3])
	if _, ok := r.fold.View().Lookup(api.Labels()); !ok {
		t.Error("a service that is registered again is not found")
	}
}

func TestNewMessageRefusesWhatDoesNotAgree(t *testing.T) {
	t.Parallel()
	s, a := amber()
	good := s.service(a, "change", state(shared...)).decoded()
	now := time.Unix(began, 0)
	other := good.Fact
	other.Service.Name = "web"
	foreign := good.Fact
	foreign.Writer = "bronze"
	huge := good.Fact
	huge.Kind, huge.Name = registry.KindOrder, strings.Repeat("x", 10_000)
	tests := map[string]struct {
		got    registry.Message
		reason string
	}{
		"sound":                   {registry.NewMessage(good.Fact, 1, now, began, 2, good.Event, nil), ""},
		"another service":         {registry.NewMessage(other, 1, now, began, 2, good.Event, nil), "foreign"},
		"another writer":          {registry.NewMessage(foreign, 1, now, began, 2, good.Event, nil), "foreign"},
		"another kind":            {registry.NewMessage(huge, 1, now, began, 2, good.Event, nil), "foreign"},
		"another epoch":           {registry.NewMessage(good.Fact, 1, now, began+1, 2, good.Event, nil), "headers"},
		"another revision":        {registry.NewMessage(good.Fact, 1, now, began, 3, good.Event, nil), "headers"},
		"a day and a second off":  {registry.NewMessage(good.Fact, 1, now, began+86_401, 2, good.Event, nil), "epoch"},
		"refused by the decoder":  {registry.NewMessage(good.Fact, 1, now, began, 2, nil, &registry.Refusal{Reason: "not-json"}), "not-json"},
		"neither body nor reason": {registry.NewMessage(good.Fact, 1, now, began, 2, nil, nil), "not-json"},
		"clock before 1970":       {registry.NewMessage(good.Fact, 1, time.Unix(-5, 0), 86_400, 2, good.Event, nil), "headers"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tt.reason == "" {
				if tt.got.Refused != nil || tt.got.Event != good.Event || tt.got.Digest != good.Event.Service.Digest() {
					t.Errorf("a sound message is %+v", tt.got)
				}
				return
			}
			if tt.got.Refused == nil || tt.got.Refused.Reason != tt.reason || tt.got.Event != nil {
				t.Fatalf("refused as %+v with event %v, want %q", tt.got.Refused, tt.got.Event, tt.reason)
			}
			if len(tt.got.Refused.Detail) > 1024 {
				t.Errorf("the detail has %d bytes", len(tt.got.Refused.Detail))
			}
		})
	}
}
