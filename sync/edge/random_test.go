package edge_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/seamark-mesh/seamark/registry"
)

// step is one thing that happens in a random run. Everything is drawn before the
// run begins, so that a failure can be replayed and made smaller.
type step struct {
	What  string
	Agent int // which of the agents
	N     int // whatever the step needs
	Fault fault
	Wait  time.Duration // after it
}

func (s step) String() string {
	return fmt.Sprintf("%s agent=%d n=%d fault=%d then %v", s.What, s.Agent, s.N, s.Fault, s.Wait)
}

var happenings = []string{
	"put", "put", "put", "put", "remove", "remove", "many", "few", "flap",
	"faults", "faults", "faults", "heal", "heal", "down", "up",
	"kill", "start", "start", "stop", "freeze", "thaw",
	"registry down", "registry up", "deaf", "hears", "lies", "tells the truth",
	"order", "reload", "recreate", "decide", "decide",
}

func drawSteps(t *rapid.T) []step {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
		return step{
			What:  rapid.SampledFrom(happenings).Draw(t, "what"),
			Agent: rapid.IntRange(0, 1).Draw(t, "agent"),
			N:     rapid.IntRange(0, 40).Draw(t, "n"),
			Fault: fault(rapid.IntRange(int(fails), int(unanswered)).Draw(t, "fault")),
			Wait: rapid.SampledFrom([]time.Duration{
				0, 0, time.Millisecond, 300 * time.Millisecond, time.Second,
				4 * time.Second, 11 * time.Second, time.Minute, 3 * time.Minute,
			}).Draw(t, "wait"),
		}
	}), 1, 60).Draw(t, "steps")
}

// TestWhateverHappensTheStreamConverges lets two agents live through random changes
// and faults. At every moment the protocol holds; once the faults have ended and
// some time has passed, the stream says what the registry says.
func TestWhateverHappensTheStreamConverges(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		steps := drawSteps(rt)
		var report string
		ok := t.Run("run", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { report = live(steps) })
		})
		if report != "" || !ok {
			var all strings.Builder
			for n, s := range steps {
				fmt.Fprintf(&all, "%2d %v\n", n, s)
			}
			rt.Fatalf("%s\n%s", report, all.String())
		}
	})
}

// live runs the steps and returns what is wrong at the end; "" when nothing is.
func live(steps []step) string {
	w := newWorld(services(8)...)
	w.brake.PassAfter = time.Minute
	defer w.end()
	running := []*agent{w.prepare("a0").run(), w.prepare("a1").run()}
	restarts, recreated := 0, uint64(1)
	replace := func(n int) {
		restarts++
		running[n] = w.prepare(fmt.Sprintf("a%d.%d", n, restarts)).run()
	}
	thaw := func(a *agent) {
		a.link.set(func(k *link) {
			if k.frozen != nil {
				close(k.frozen)
				k.frozen = nil
			}
		})
	}
	alive := func(a *agent) bool {
		select {
		case <-a.ended:
			return false
		default:
			return !a.dead
		}
	}
	heal := func(a *agent) {
		thaw(a)
		a.link.set(func(k *link) { k.next, k.down = nil, false })
		a.source.set(func(s *source) { s.watchErr, s.readErr, s.deaf, s.lie, s.readLie = nil, nil, false, nil, nil })
	}
	for n, s := range steps {
		a := running[s.Agent]
		switch s.What {
		case "put":
			w.catalogue.put(service(fmt.Sprintf("s%04d", s.N%12), s.N%5))
		case "remove":
			w.catalogue.remove(fmt.Sprintf("s%04d", s.N%12))
		case "many":
			w.catalogue.put(services(10 * s.N)...)
		case "few":
			w.catalogue.replace(services(s.N % 10)...)
		case "flap":
			for n := range s.N {
				w.catalogue.put(service("flapping", n%3))
				time.Sleep(time.Duration(s.N) * time.Millisecond)
			}
		case "faults":
			each := s.N%4 + 1
			a.link.set(func(k *link) {
				k.next = func(_ string, try int) fault {
					if try%each == 0 {
						return s.Fault
					}
					return works
				}
			})
		case "heal":
			a.link.set(func(k *link) { k.next = nil })
		case "down":
			a.link.set(func(k *link) { k.down = true })
		case "up":
			a.link.set(func(k *link) { k.down = false })
		case "freeze":
			a.link.set(func(k *link) {
				if k.frozen == nil {
					k.frozen = make(chan struct{})
				}
			})
		case "thaw":
			thaw(a)
		case "kill":
			thaw(a)
			a.dead = true
			a.kill()
		case "stop":
			if alive(a) {
				thaw(a)
				a.stop()
			}
		case "start":
			if !alive(a) {
				replace(s.Agent)
			}
		case "registry down":
			a.source.set(func(x *source) { x.watchErr = errRegistry; x.readErr = errRegistry })
		case "registry up":
			a.source.set(func(x *source) { x.watchErr, x.readErr = nil, nil })
		case "deaf":
			a.source.set(func(x *source) { x.deaf = true })
		case "hears":
			a.source.set(func(x *source) { x.deaf = false })
		case "lies":
			some := registry.NewSnapshot("lie", services(s.N%4)...)
			a.source.set(func(x *source) { x.lie = &some })
		case "tells the truth":
			a.source.set(func(x *source) { x.lie = nil })
		case "order":
			w.memory.order(cluster, "somebody")
		case "decide":
			if b, open := w.heldBack(); open {
				w.decide([]string{registry.Approve, registry.Reject}[s.N%2], b.ID)
			}
		case "reload":
			settings := w.settings
			settings.Region = fmt.Sprint("r", n)
			for _, x := range running {
				x.Reload(settings)
			}
			w.settings = settings
		case "recreate":
			if s.N > 35 { // seldom
				if report := protocolFault(w.memory.history()); report != "" {
					return "before the stream was made anew: " + report
				}
				recreated += 1000
				w.memory.recreate(recreated, s.N%2 == 0)
			}
		}
		time.Sleep(s.Wait)
		synctest.Wait()
	}
	for n, a := range running {
		heal(a)
		if !alive(a) {
			replace(n)
		}
	}
	time.Sleep(5 * time.Minute)
	synctest.Wait()
	if b, open := w.heldBack(); open { // somebody said that it is no truth, and stands corrected
		if b.State != registry.BrakeRejected && !b.Until.IsZero() {
			return fmt.Sprintf("five minutes later %s is still %s", b.ID, b.State)
		}
		w.decide(registry.Approve, b.ID)
		time.Sleep(10 * time.Second)
		synctest.Wait()
	}
	if report := w.audit(); report != "" {
		return report
	}
	if report := w.difference(w.catalogue.now()); report != "" {
		return "at the end: " + report
	}
	if got := w.view().Cluster(cluster).Record; got == nil || got.Region != w.settings.Region {
		return fmt.Sprintf("at the end the record is %+v, not of region %s", got, w.settings.Region)
	}
	// A quiet quarter of an hour: nothing is published, one agent leads, the other stands by.
	before := w.memory.history()
	time.Sleep(15 * time.Minute)
	if after := w.memory.history(); len(after) != len(before) {
		return fmt.Sprintf("%d messages in a quiet quarter of an hour", len(after)-len(before))
	}
	if leading(running[0]) == leading(running[1]) {
		return "two agents lead, or none"
	}
	if last, whole := w.view(), fold(before); !bytes.Equal(last.AppendCanonical(nil), whole.AppendCanonical(nil)) {
		return "the two ways of reading differ"
	}
	return ""
}
