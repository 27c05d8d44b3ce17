package sim

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// outcome is what became of a seed.
type outcome struct {
	seed       uint64
	step       int
	steps      int
	broken     invariant
	fault      string
	trace      string
	sum        uint64
	operations int
	sequence   uint64
	lived      time.Duration
}

// failure tells what was wrong and how to see it again; "" when nothing was.
func (o outcome) failure() string {
	if o.fault == "" {
		return ""
	}
	return fmt.Sprintf("seed %d, step %d, invariant %v: %s\n%sreplay: go test ./sim -run '^TestSeeds$' -sim.seed=%d -sim.steps=%d\n",
		o.seed, o.step, o.broken, o.fault, o.trace, o.seed, o.steps)
}

// live runs one seed.
func live(t *testing.T, seed uint64, steps int) (out outcome) {
	folder := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		w := newWorld(ctx, seed, folder)
		w.loud = *loudFlag
		n := 0
		for ; n < steps && !w.check.failed(); n++ {
			w.step(n)
		}
		if !w.check.failed() {
			w.finish()
		}
		out = outcome{
			seed: seed, step: n, steps: steps, broken: w.check.broken, fault: w.check.fault, trace: w.trace.last(), sum: w.trace.sum,
			operations: w.operations, sequence: w.stream.end(), lived: time.Since(w.began),
		}
		for _, a := range w.agents {
			a.log.dead.Store(true)
			a.source.dead.Store(true)
		}
		for _, r := range w.readers {
			r.log.dead.Store(true)
		}
		cancel()
		w.rest(w.wg.Wait)
		w.turn.Unlock()
	})
	return out
}

// finish ends all faults, gives the world time, and looks whether it converges.
func (w *world) finish() {
	w.heal()
	w.run(10 * time.Second) // until those that were asked to stop have ended
	w.heal()
	w.run(200 * time.Second)
	if w.check.failed() {
		return
	}
	w.decideRest()
	w.check.replayed()
	var first []byte
	for _, r := range w.readers {
		if err := r.replica.Ready(); err != nil {
			w.check.fail(convergence, "at the end %s is not ready: %v", r.name, err)
			return
		}
		v := r.store.View()
		for _, s := range w.sites {
			if _, fault := s.differs(v, 0); fault != "" {
				w.check.fail(convergence, "at the end %s: %s", r.name, fault)
			}
		}
		for _, s := range w.sites {
			if state := v.State(s.id); state != nil && state.State != registry.Up && w.losses == 0 && w.stream.now().Sub(w.stream.shown) > time.Minute {
				w.check.fail(convergence, "at the end %s shows %s as %s: %s", r.name, s.id, state.State, state.Reason)
			}
		}
		b := v.AppendCanonical(nil)
		if w.losses > 0 || w.regressed { // states that only one reader still knows from the stream before stay with it
			b = fmt.Append(nil, v.Sequence(), w.check.honestSum(v))
		}
		if first == nil {
			first = b
		}
		if !bytes.Equal(first, b) {
			w.check.fail(convergence, "at the end %s is not equal to %s: %s", r.name, w.readers[0].name, between(w.readers[0].store.View(), v))
		}
	}
}

// decideRest approves what a brake still holds: somebody had rejected it.
func (w *world) decideRest() {
	open := false
	for _, a := range w.agents {
		if b := a.real.Status().Brake; b.State != "" {
			open = true
			w.order(nil, registry.Order{Kind: registry.OrderBrake, Target: string(a.site.id), By: "the simulation", Reason: "the end", Held: b.ID, Decision: registry.Approve}, registry.CauseChange)
		}
	}
	if open {
		w.run(15 * time.Second)
	}
}
