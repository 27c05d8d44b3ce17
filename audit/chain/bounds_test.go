package chain_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/audit/chain"
	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
)

const day = 24 * time.Hour

// bounds are those of a stream that holds these messages of a history and has kept the others for an age.
func bounds(h *history, left []registry.Stored, age time.Duration, asked time.Time) chain.Bounds {
	last := h.messages[len(h.messages)-1]
	b := chain.Bounds{
		First: last.Sequence + 1, Last: last.Sequence, Began: 1, End: last.Time,
		Retention: &stream.Retention{Age: age}, Asked: asked,
	}
	if len(left) > 0 {
		b.First, b.Begin = left[0].Sequence, left[0].Time
	}
	return b
}

// Who takes the beginning away, or all of it, passed for the stream's retention.
func TestPurgedIsNotAgedOut(t *testing.T) {
	h, all := authors(t, false)
	a := all[0]
	a.begin()
	for n := range 20 {
		a.publish(service(n % 5))
	}
	before := chain.Options{Whole: true, ToEnd: true, Bounds: bounds(h, h.messages, 30*day, h.clock)}
	short := before
	short.Bounds.Retention = &stream.Retention{Age: 2 * day}
	made := func(o chain.Options) chain.Checkpoint {
		from := slices.IndexFunc(h.messages, func(m registry.Stored) bool { return m.Sequence >= o.Bounds.First })
		c, err := chain.MakeCheckpoint(verify(h.messages[from:int(o.Bounds.Last)], o), h.clock, nil)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	then := h.clock
	for range 5 {
		a.publish(service(1))
	}
	late := h.messages[23:]
	since := chain.Options{Whole: true, ToEnd: true, Bounds: bounds(h, late, 0, h.clock)}
	for name, test := range map[string]struct {
		left    []registry.Stored
		age     time.Duration // of the stream's retention
		full    bool
		after   time.Duration // since the history ended
		made    *chain.Options
		verdict chain.Verdict
		faults  int
		intact  bool
		note    string
	}{
		"an hour later":                         {late, 30 * day, false, time.Hour, &before, chain.Gone, 1, false, "for 30 days"},
		"an hour later, without a checkpoint":   {late, 30 * day, false, time.Hour, nil, "", 1, false, ""},
		"all of it":                             {nil, 30 * day, false, time.Hour, &before, chain.Gone, 1, false, ""},
		"all of it, without a checkpoint":       {nil, 30 * day, false, time.Hour, nil, "", 1, false, ""},
		"of what is kept for ever":              {late, 0, false, 1000 * day, nil, "", 1, false, "for ever"},
		"it has aged out":                       {late, 30 * day, false, 31 * day, &before, chain.TooOld, 0, true, ""},
		"all has aged out":                      {nil, 30 * day, false, 31 * day, &before, chain.TooOld, 0, false, ""},
		"at the age, by clocks that are apart":  {late, 30 * day, false, 30*day - 10*time.Minute, &before, chain.TooOld, 0, true, ""},
		"the mesh was quiet before":             {late, 30 * day, false, 29*day + time.Hour, nil, "", 0, true, ""},
		"the stream is full":                    {late, 30 * day, true, time.Hour, &before, chain.TooOld, 0, true, "it is full"},
		"its age was raised since":              {late, 30 * day, false, 3 * day, &short, chain.TooOld, 0, true, "it kept them for 2 days"},
		"it began there at the checkpoint":      {late, 0, false, time.Hour, &since, chain.Met, 0, true, "for ever"},
		"its age was lowered since":             {late, time.Hour, false, 3 * day, &before, chain.TooOld, 0, true, "it kept them for 30 days"},
		"nothing":                               {h.messages, 30 * day, false, time.Hour, &before, chain.Met, 0, true, ""},
		"nothing, of a stream with a beginning": {h.messages, 0, false, time.Hour, &before, chain.Met, 0, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			o := chain.Options{Whole: true, ToEnd: true, Bounds: bounds(h, test.left, test.age, then.Add(test.after))}
			o.Bounds.Retention.Full = test.full
			if test.made != nil {
				o.Checkpoints = []chain.Checkpoint{made(*test.made)}
			}
			r, err := chain.VerifyAgainst(t.Context(), o, sequence(test.left))
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Faults) != test.faults || r.Intact() != test.intact || !strings.Contains(strings.Join(r.Notes, "\n"), test.note) {
				t.Errorf("intact %v, faults %v, notes %q", r.Intact(), r.Faults, r.Notes)
			}
			for _, c := range r.Checkpoints {
				if c.Verdict != test.verdict {
					t.Errorf("the checkpoint is %s, want %s: %s", c.Verdict, test.verdict, c.Detail)
				}
			}
		})
	}
}

// A tail that was cut off one cluster's messages was held not to have been read; and what
// was not to be read, to have aged out.
func TestCheckpointOfOneCluster(t *testing.T) {
	h, all := authors(t, false)
	amber, bronze := all[0], all[1]
	amber.begin()
	bronze.begin()
	for n := range 20 {
		amber.publish(service(n % 5))
		bronze.publish(service(n % 5))
	}
	checkpoint, err := chain.MakeCheckpoint(verify(h.messages, chain.Options{Whole: true}), h.clock, nil)
	if err != nil {
		t.Fatal(err)
	}
	checkpoint.Heads = slices.DeleteFunc(checkpoint.Heads, func(head chain.Head) bool { return head.Writer != "amber" })
	var own []registry.Stored
	for _, m := range h.messages {
		if strings.HasPrefix(m.Subject, "mesh.v1.amber.") {
			own = append(own, m)
		}
	}
	o := chain.Options{ToEnd: true, Checkpoints: []chain.Checkpoint{checkpoint}, Bounds: bounds(h, h.messages, 30*day, h.clock)}
	if r := verify(own, o); !r.Intact() || r.Checkpoints[0].Verdict != chain.Met {
		t.Errorf("the whole: %+v, %v", r.Checkpoints, r.Faults)
	}
	if r := verify(own[:len(own)-1], o); r.Intact() || r.Checkpoints[0].Verdict != chain.Gone {
		t.Errorf("the tail is cut off: %+v", r.Checkpoints)
	}
	if r := verify(nil, o); r.Intact() || r.Checkpoints[0].Verdict != chain.Gone {
		t.Errorf("all of the cluster is gone: %+v", r.Checkpoints)
	}
	some := o
	some.ToEnd = false
	if r := verify(own[:len(own)-1], some); !r.Intact() || r.Checkpoints[0].Verdict != chain.NotRead {
		t.Errorf("it was read until before it: %+v", r.Checkpoints)
	}
	h.clock = h.clock.Add(time.Hour)
	behind := amber.publish(service(1))
	since := o
	since.From, since.Bounds = behind.Sequence, bounds(h, h.messages, 30*day, h.clock)
	if r := verify([]registry.Stored{behind}, since); !r.Intact() || r.Checkpoints[0].Verdict != chain.NotRead {
		t.Errorf("it was read from behind it: %+v", r.Checkpoints)
	}
}

// What is gone at the very end has no message behind it that would show the jump.
func TestLastMessagesAreMissing(t *testing.T) {
	h, all := authors(t, false)
	all[0].begin()
	for n := range 9 {
		all[0].publish(service(n))
	}
	o := chain.Options{Whole: true, ToEnd: true, Bounds: bounds(h, h.messages, 0, h.clock)}
	for left, want := range map[int]uint64{10: 0, 8: 9, 0: 1} {
		r, err := chain.VerifyAgainst(t.Context(), o, sequence(h.messages[:left]))
		if err != nil {
			t.Fatal(err)
		}
		if want == 0 && len(r.Faults) > 0 || want > 0 && (len(r.Faults) != 1 || r.Faults[0].Kind != chain.Missing || r.Faults[0].Sequence != want || r.Faults[0].Last != 10) {
			t.Errorf("of %d messages: %v", left, r.Faults)
		}
	}
}
