package main

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/checkpoint"
	"github.com/seamark-mesh/seamark/registry/replica"
	"github.com/seamark-mesh/seamark/registry/stream"
	"github.com/seamark-mesh/seamark/registry/stream/streamtest"
)

// strange leaves a checkpoint of another mesh, of the same zone, that has gone further than
// the one of these tests and was current after that one was made.
func strange(t *testing.T, path string) {
	t.Helper()
	s := streamtest.Start(t)
	direct := streamtest.Connect(t, s)
	n := startNode(t, s.ClientURL(), path)
	n.setTTL(t, direct)
	startAgent(t, s, "strange", newSource("alien"))
	if _, err := direct.FillUp(t.Context(), 3000, "test"); err != nil {
		t.Fatal(err)
	}
	order := registry.Order{Kind: registry.OrderDrain, Target: "cobalt", By: "operator", Reason: "of another mesh"}
	if _, err := direct.PutOrder(t.Context(), order, "operator", registry.CauseChange, 0); err != nil {
		t.Fatal(err)
	}
	streamtest.Eventually(t, 20*time.Second, "all of it is known", func() bool {
		v := n.store.View()
		return serves(v, "strange", "alien") && v.Sequence() > 3000 && len(v.Orders()) == 1
	})
	n.stop()
	file := checkpoint.Open(path, "mesh.internal.")
	kept, _, err := file.Read()
	if err != nil {
		t.Fatal(err)
	}
	later(&kept, 2*time.Hour)
	if _, err := file.Write(kept); err != nil {
		t.Fatal(err)
	}
}

// later makes a checkpoint of a mesh whose clocks are ahead.
func later(c *checkpoint.Checkpoint, by time.Duration) {
	c.Created, c.Stored, c.Current = c.Created.Add(by), c.Stored.Add(by), c.Current.Add(by)
}

// TestAStreamThatWasMadeToGoOnIsOfTheSameMesh: NATS was lost and came back with a clock that
// was hours behind. The stream that global-dns itself made then, to go on where the one of its
// checkpoint had ended, was taken for another mesh's, and nothing of the checkpoint counted.
func TestAStreamThatWasMadeToGoOnIsOfTheSameMesh(t *testing.T) {
	path := filepath.Join(t.TempDir(), "checkpoint")
	s := streamtest.Start(t)
	n := startNode(t, s.ClientURL(), path)
	startAgent(t, s, "bronze", newSource("old"))
	streamtest.Eventually(t, 20*time.Second, "it is served", func() bool { return serves(n.store.View(), "bronze", "old") })
	n.stop()
	file := checkpoint.Open(path, "mesh.internal.")
	kept, _, err := file.Read()
	if err != nil {
		t.Fatal(err)
	}
	later(&kept, 6*time.Hour)
	if _, err := file.Write(kept); err != nil {
		t.Fatal(err)
	}
	n = startNode(t, streamtest.Start(t).ClientURL(), path)
	streamtest.Eventually(t, 30*time.Second, "it is current", func() bool {
		v := n.store.View()
		return v.Synced() && n.isCut() == "" && v.Zone() != nil
	})
	if v := n.store.View(); !serves(v, "bronze", "old") || !v.Cluster("bronze").Inherited() || v.Sequence() <= kept.Sequence {
		t.Errorf("of the checkpoint of %d stands %v at %d", kept.Sequence, v.Cluster("bronze"), v.Sequence())
	}
}

// TestACheckpointOfAnotherMeshIsDropped: a checkpoint was bound to the zone's name alone.
// One of another mesh made all of that mesh's clusters known for good, filled the stream up
// to that mesh's sequence, and wrote that mesh's zone record and orders on it.
func TestACheckpointOfAnotherMeshIsDropped(t *testing.T) {
	for name, c := range map[string]struct{ away, zone bool }{
		"NATS is there": {false, true}, "NATS is away at the start": {true, true},
		"NATS is there, without a zone record": {false, false}, "NATS is away at the start, without a zone record": {true, false},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "checkpoint")
			strange(t, path)
			s := streamtest.Start(t)
			direct := streamtest.Connect(t, s)
			streamtest.Create(t, direct, 1)
			if c.zone {
				other := startNode(t, s.ClientURL(), "") // the zone record is its configuration's
				streamtest.Eventually(t, 20*time.Second, "it is ready", func() bool { return other.replica.Ready() == nil })
				other.stop()
			}
			startAgent(t, s, "amber", newSource("web"))
			proxy := streamtest.NewProxy(t, s.ClientURL())
			if c.away {
				proxy.Cut()
			}
			n := startNode(t, proxy.URL(), path)
			if c.away {
				streamtest.Eventually(t, 20*time.Second, "the checkpoint is all there is", func() bool {
					return serves(n.store.View(), "strange", "alien") && n.isCut() != ""
				})
				proxy.Heal()
			}
			streamtest.Eventually(t, 30*time.Second, "it is current", func() bool {
				v := n.store.View()
				if serves(v, "strange", "alien") && (!c.away || n.isCut() == "") {
					t.Fatal("it answers with what another mesh has")
				}
				return v.Synced() && n.isCut() == "" && serves(v, "amber", "web") && v.Zone() != nil
			})
			v := n.store.View()
			if v.Cluster("strange") != nil || len(v.Orders()) != 0 || v.Zone().TTL == 9 || v.Cluster("amber").Inherited() {
				t.Errorf("of the other mesh: cluster %v, orders %v, zone %+v", v.Cluster("strange"), v.Orders(), v.Zone())
			}
			if state, err := direct.State(t.Context()); err != nil || state.Last >= 3000 {
				t.Errorf("the stream is %+v, %v", state, err)
			}
			m, _, err := direct.Last(t.Context(), replica.ZoneFact)
			if err != nil || m.Event == nil || m.Event.Zone == nil || m.Event.Zone.TTL == 9 {
				t.Errorf("the zone record on the stream is %+v, %v", m.Event, err)
			}
			n.stop()
			if kept, _, err := checkpoint.Open(path, "mesh.internal.").Read(); err != nil || kept.Sequence >= 3000 {
				t.Errorf("it keeps %d, %v", kept.Sequence, err)
			}
		})
	}
}

func TestForeign(t *testing.T) {
	made := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	day := 24 * time.Hour
	known := replica.Place{Created: made, Stored: made.Add(10 * day), Before: []time.Time{made.Add(-30 * day), made.Add(-20 * day)}}
	running := known
	running.Stored = time.Time{}
	went := known
	went.Sequence = 700
	for name, c := range map[string]struct {
		known   replica.Place
		created time.Time
		began   uint64
		want    bool
	}{
		"the same":                                    {known, made, 0, false},
		"made later":                                  {known, made.Add(11 * day), 0, false},
		"made later, by a clock that is behind":       {known, known.Stored.Add(-time.Minute), 0, false},
		"made while the other was alive":              {known, made.Add(9 * day), 0, true},
		"made before the other":                       {known, made.Add(-10 * day), 0, true},
		"one of before, from a backup":                {known, made.Add(-20 * day), 0, false},
		"made before what is known by more than file": {running, made.Add(-10 * day), 0, false},
		"nothing is known":                            {replica.Place{}, made, 0, false},
		"made by who did not know the stream's time":  {replica.Place{Stored: made.Add(day)}, made, 0, false},
		"made to go on where the other ended":         {went, made.Add(9 * day), 700 + sequenceHeadroom, false},
		"made to go on, by one that had read more":    {went, made.Add(9 * day), 1500 + sequenceHeadroom, false},
		"made to go on before the other's end":        {went, made.Add(9 * day), 700, true},
		"made to go on far beyond the other's end":    {went, made.Add(9 * day), 701 + 2*sequenceHeadroom, true},
	} {
		if got := foreign(c.known, stream.State{Created: c.created, Began: c.began}); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
