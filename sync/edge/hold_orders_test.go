package edge_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// Its time is over while the stream is out of reach, and the watch of orders has not
// noticed yet that it was cut off: what was ordered meanwhile comes later than the
// stream's acknowledgements.
func TestWhatWasRejectedWhileTheStreamWasAwayDoesNotPass(t *testing.T) {
	for name, rejected := range map[string]bool{"rejected": true, "nobody decided": false} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, newWorld(services(100)...), func(t *testing.T, w *world) {
				a := w.start("one")
				a.link.set(func(k *link) { k.lags = true })
				b := w.lose(t)
				time.Sleep(5 * time.Minute)
				a.link.set(func(k *link) { k.down = true })
				time.Sleep(5 * time.Minute)
				if rejected {
					w.decide(registry.Reject, b.ID)
				}
				time.Sleep(time.Hour)
				a.link.set(func(k *link) { k.down = false })
				time.Sleep(time.Minute)
				synctest.Wait()
				if !rejected {
					w.ends(t, b.ID, registry.BrakePassed)
					return
				}
				time.Sleep(time.Hour)
				w.mustStand(t, registry.NewSnapshot("", services(100)...))
				if got, _ := w.heldBack(); got.ID != b.ID || got.State != registry.BrakeRejected {
					t.Errorf("%+v", got)
				}
			})
		})
	}
}

// An agent whose credentials do not let it read orders obeys none, and nothing that it
// holds back ever passes: that is to be seen before somebody wonders.
func TestAnAgentThatCanNotReadOrdersSaysSo(t *testing.T) {
	errDenied := errors.New("permissions violation")
	inWorld(t, newWorld(services(3)...), func(t *testing.T, w *world) {
		var said bytes.Buffer
		w.log = &said
		a := w.prepare("one")
		a.link.deny = errDenied
		a.run()
		time.Sleep(time.Minute)
		synctest.Wait()
		if s := a.Status(); !errors.Is(s.OrdersFault, errDenied) {
			t.Errorf("the status says %v", s.OrdersFault)
		}
		if l, _ := w.memory.standingLease(); l.Phase != registry.PhaseSynced || !strings.Contains(l.Detail, errDenied.Error()) {
			t.Errorf("the lease says %s %q", l.Phase, l.Detail)
		}
		if n := strings.Count(said.String(), "level=WARN msg=\"orders can't be read"); n != 1 {
			t.Errorf("%d warnings in\n%s", n, said.String())
		}
		a.link.set(func(k *link) { k.deny = nil })
		time.Sleep(time.Minute)
		synctest.Wait()
		if s := a.Status(); s.OrdersFault != nil {
			t.Errorf("the status still says %v", s.OrdersFault)
		}
		if l, _ := w.memory.standingLease(); l.Detail != "" {
			t.Errorf("the lease still says %q", l.Detail)
		}
	})
}

// A hold without an end has no moment at which it passes.
func TestAHoldWithoutAnEndIsNotSaidToEnd(t *testing.T) {
	w := newWorld(services(100)...)
	w.brake.Stay = true
	inWorld(t, w, func(t *testing.T, w *world) {
		var said bytes.Buffer
		w.log = &said
		w.start("one")
		w.lose(t)
		if text := said.String(); strings.Contains(text, "0001-01-01") || !strings.Contains(text, "until=\"somebody decides\"") {
			t.Error(text)
		}
	})
}
