package sim

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

var (
	seedFlag  = flag.Uint64("sim.seed", 0, "the only seed to run")
	firstFlag = flag.Uint64("sim.first", 1, "the first seed to run")
	countFlag = flag.Int("sim.count", 20, "how many seeds to run")
	stepsFlag = flag.Int("sim.steps", 500, "steps of each seed")
	loudFlag  = flag.Bool("sim.loud", false, "print every line of the trace and of the logs")
)

// outcome is what became of a seed.
type outcome struct {
	seed       uint64
	step       int
	broken     invariant
	fault      string
	trace      string
	sum        uint64
	operations int
	sequence   uint64
	lived      time.Duration
}

func (o outcome) String() string {
	return fmt.Sprintf("seed %d, step %d, invariant %v: %s\n%s\nreplay: go test ./sim -run TestSeeds -sim.seed=%d -sim.steps=%d\n",
		o.seed, o.step, o.broken, o.fault, o.trace, o.seed, *stepsFlag)
}

// live runs one seed.
func live(t *testing.T, seed uint64, steps int) (out outcome) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		w := newWorld(ctx, seed)
		w.loud = *loudFlag
		n := 0
		for ; n < steps && !w.check.failed(); n++ {
			w.step(n)
		}
		if !w.check.failed() {
			w.finish()
		}
		out = outcome{
			seed: seed, step: n, broken: w.check.broken, fault: w.check.fault, trace: w.trace.last(), sum: w.trace.sum,
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
		w.wg.Wait()
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
		b := v.AppendCanonical(nil)
		if first == nil {
			first = b
		}
		if !bytes.Equal(first, b) {
			w.check.fail(convergence, "at the end %s is not equal to %s", r.name, w.readers[0].name)
		}
	}
}

func TestSeeds(t *testing.T) {
	first, count := *firstFlag, *countFlag
	if *seedFlag > 0 {
		first, count = *seedFlag, 1
	}
	began := time.Now()
	operations, lived := 0, time.Duration(0)
	for n := range count {
		out := live(t, first+uint64(n), *stepsFlag)
		operations += out.operations
		lived += out.lived
		if out.fault != "" {
			t.Error(out)
		}
		if os.Getenv("SIM_SUMS") != "" {
			fmt.Println("seed", out.seed, out.sum, out.operations, out.sequence, out.lived) //nolint:forbidigo
		}
	}
	t.Logf("%d seeds, %d operations, %v of virtual time in %v", count, operations, lived, time.Since(began))
}
