package edge_test

import (
	"errors"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/sync/edge"
)

func TestStartPublishesWhatTheRegistrySays(t *testing.T) {
	inWorld(t, newWorld(services(450)...), func(t *testing.T, w *world) {
		a := w.start("one")
		w.mustEqual(t, w.catalogue.now())
		if got := len(w.epochs()); got != 1 {
			t.Errorf("%d epochs, want 1", got)
		}
		s := a.Status()
		if s.Role != edge.Leader || s.Phase != registry.PhaseSynced || s.Keys != 450 || s.Pending != 0 || s.Gateways != 1 || s.Synced.IsZero() {
			t.Errorf("status is %+v", s)
		}
		if mark := w.view().Cluster(cluster).Snapshot; mark == nil || mark.Keys != 450 || mark.Digest != s.Digest {
			t.Errorf("snapshot mark is %+v, status digest %s", mark, s.Digest)
		}
	})
}

func TestStartWithAnEmptyRegistry(t *testing.T) {
	inWorld(t, newWorld(), func(t *testing.T, w *world) {
		w.start("one")
		w.mustEqual(t, registry.Snapshot{})
	})
}

func TestRestartPublishesNothingThatIsEqual(t *testing.T) {
	inWorld(t, newWorld(services(30)...), func(t *testing.T, w *world) {
		w.start("one").stop()
		at := w.sequence()
		w.start("two")
		for _, m := range w.since(at) {
			t.Errorf("published again: %v", m.Fact)
		}
		if got := len(w.epochs()); got != 2 {
			t.Errorf("%d epochs after one restart, want 2", got)
		}
		w.mustEqual(t, w.catalogue.now())
	})
}

func TestKilledAndRestartedWhileThingsChange(t *testing.T) {
	inWorld(t, newWorld(services(20)...), func(t *testing.T, w *world) {
		a := w.start("one")
		w.catalogue.put(service("before", 1))
		a.kill()
		w.catalogue.remove("s0003")
		w.catalogue.put(service("s0004", 5), service("after", 1))
		b := w.start("two")
		w.catalogue.remove("s0005")
		time.Sleep(11 * time.Second) // the lease of the killed one lapses
		settle()
		w.mustEqual(t, w.catalogue.now())
		if got := len(w.epochs()); got != 2 {
			t.Errorf("%d epochs, want 2", got)
		}
		if s := b.Status(); s.Role != edge.Leader || s.Takeovers != 1 {
			t.Errorf("status is %+v", s)
		}
	})
}

func TestRestartUnderTheSameNameDoesNotWait(t *testing.T) {
	inWorld(t, newWorld(services(3)...), func(t *testing.T, w *world) {
		w.start("one").kill()
		b := w.start("one")
		if got := b.Status().Role; got != edge.Leader {
			t.Errorf("role is %s right after the restart", got)
		}
	})
}

// A supervisor starts a killed agent again at once: it must not wait for a lease that
// nobody can renew any more.
func TestTheLeaseOfAnAgentThatHasEndedIsNotWaitedFor(t *testing.T) {
	for name, test := range map[string]struct {
		killed bool
		want   edge.Role
	}{"it was killed": {true, edge.Leader}, "it runs": {false, edge.Standby}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(services(3)...)
			w.ended = func(agent string) bool { return test.killed && agent == "host/1" }
			inWorld(t, w, func(t *testing.T, w *world) {
				a := w.start("host/1")
				if test.killed {
					a.kill()
				}
				b := w.start("host/2")
				if got := b.Status().Role; got != test.want {
					t.Errorf("the second one is %s at once, want %s", got, test.want)
				}
				time.Sleep(time.Minute)
				w.mustEqual(t, w.catalogue.now())
			})
		})
	}
}

// Who wrongly takes an agent for ended takes its lease, and that is all: they do not fight.
func TestAnAgentThatIsTakenForEndedStandsBy(t *testing.T) {
	w := newWorld(services(3)...)
	w.ended = func(agent string) bool { return agent == "host/1" }
	inWorld(t, w, func(t *testing.T, w *world) {
		a := w.start("host/1")
		b := w.start("host/2")
		time.Sleep(10 * time.Minute)
		if n := len(w.epochs()); n != 2 || leading(a) || !leading(b) {
			t.Errorf("%d epochs; the first one is %s, the second %s", n, a.Status().Role, b.Status().Role)
		}
		w.mustEqual(t, w.catalogue.now())
	})
}

func TestTheRegistryIsDownAtTheStart(t *testing.T) {
	inWorld(t, newWorld(services(5)...), func(t *testing.T, w *world) {
		w.start("one").stop()
		at := w.sequence()
		b := w.prepare("two")
		b.source.set(func(s *source) { s.watchErr = errRegistry })
		b.run()
		time.Sleep(5 * time.Minute)
		if s := b.Status(); s.Role != edge.Leader || s.Phase != registry.PhaseRegistryDown || s.RegistryKnown || !errors.Is(s.RegistryFault, errRegistry) {
			t.Errorf("status is %+v", s)
		}
		if got := w.since(at); len(got) > 0 {
			t.Errorf("published %v while the registry was down", got[0].Fact)
		}
		w.catalogue.put(service("new", 1))
		b.source.set(func(s *source) { s.watchErr = nil })
		time.Sleep(20 * time.Second)
		w.mustEqual(t, w.catalogue.now())
	})
}

// A standby whose registry connection broke an hour ago must not undo what the
// leader, whose connection worked, has published since.
func TestTakeoverWithAnOldReadingPublishesNothing(t *testing.T) {
	inWorld(t, newWorld(services(5)...), func(t *testing.T, w *world) {
		a := w.start("one")
		b := w.start("two")
		b.source.set(func(s *source) { s.watchErr = errRegistry })
		settle()
		w.catalogue.put(service("later", 1))
		settle()
		a.stop()
		time.Sleep(time.Minute)
		if b.Status().Role != edge.Leader || b.Status().Phase != registry.PhaseRegistryDown {
			t.Fatalf("the standby is %+v", b.Status())
		}
		if w.published().Service(key("later")) == nil {
			t.Error("the standby withdrew what its old reading lacks")
		}
		b.source.set(func(s *source) { s.watchErr = nil })
		time.Sleep(time.Minute)
		w.mustEqual(t, w.catalogue.now())
	})
}

func TestAnEpochFarAheadIsNotCountedOn(t *testing.T) {
	inWorld(t, newWorld(services(2)...), func(t *testing.T, w *world) {
		far := uint64(time.Now().Unix()) + 400*24*60*60
		body, _ := registry.EncodeLease(registry.Lease{Schema: registry.Schema, Writer: registry.Writer(cluster), Agent: "broken clock", Phase: registry.PhaseStopped, Epoch: far})
		w.memory.lease = kept{sequence: 1, stored: time.Now(), body: body, id: "other"}
		w.memory.last = 1
		w.start("one")
		if got := w.epochs(); len(got) != 1 || got[0] >= far {
			t.Errorf("epochs %v, the lease named %d", got, far)
		}
		w.mustEqual(t, w.catalogue.now())
	})
}
