package probe

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// TestAGatewayThatGetsNoTurnIsNotToldAsReached: where a cluster's hung gateways hold all of
// its workers, the verdict of the one that was reached stood until its turn came, and was
// reported as if it spoke of now.
func TestAGatewayThatGetsNoTurnIsNotToldAsReached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, to := newNetwork(), &post{}
		n.set("192.0.2.2", errDown)
		p, stop := run(t, Config{Concurrency: 2}, n)
		defer stop()
		end := tell(t, ReporterConfig{}, p, to)
		two := []registry.Gateway{gw("a-good", "192.0.2.1"), gw("b-bad", "192.0.2.2")}
		p.SetTargets("amber", two)
		time.Sleep(20 * time.Second)
		if got := verdicts(p, "amber"); got != "a-good+ b-bad-" {
			t.Fatalf("amber is %s", got)
		}
		p.SetTargets("amber", append(slices.Clone(two), holes(n, 1000)...)) // a round of all takes 500 s
		turns := func() int { return n.tried("192.0.2.1") + n.tried("192.0.2.2") }
		for before := -1; turns() != before; time.Sleep(time.Minute) { // until a minute has passed without a turn
			before = turns()
			to.take()
		}
		n.set("192.0.2.1", errBlackHole)
		all := p.Verdicts("amber")
		good := slices.IndexFunc(all, func(g registry.GatewayReport) bool { return g.Name == "a-good" })
		bad := slices.IndexFunc(all, func(g registry.GatewayReport) bool { return g.Name == "b-bad" })
		if good >= 0 || bad < 0 || all[bad].Reached || !strings.HasPrefix(all[bad].Error, "not probed for ") || !strings.HasSuffix(all[bad].Error, "connection refused") {
			t.Errorf("after a minute without a probe: %+v", all)
		}
		reports := to.take()
		if last := reports[len(reports)-1]; slices.ContainsFunc(last.Gateways, func(g registry.GatewayReport) bool { return g.Name == "a-good" }) {
			t.Errorf("reported is %+v", last)
		}
		p.SetTargets("amber", two)
		time.Sleep(4 * time.Second) // its next probe has failed, for the first time
		if got := verdicts(p, "amber"); got != "b-bad-" {
			t.Errorf("after one failure: %q, which was reached a minute ago", got)
		}
		n.set("192.0.2.1", nil)
		time.Sleep(10 * time.Second)
		if got := verdicts(p, "amber"); got != "a-good+ b-bad-" {
			t.Errorf("when it is probed again: %s", got)
		}
		if err := end(); err != nil {
			t.Error(err)
		}
	})
}

// TestWhatIsNotKnownAnyMoreIsTakenBack: of a cluster of whose gateways nothing is known any
// more nothing was reported, so that the report before stood until it was too old.
func TestWhatIsNotKnownAnyMoreIsTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, to := newNetwork(), &post{}
		p, stop := run(t, Config{Concurrency: 2}, n)
		defer stop()
		end := tell(t, ReporterConfig{}, p, to)
		good := []registry.Gateway{gw("good", "192.0.2.1")}
		p.SetTargets("amber", good)
		time.Sleep(20 * time.Second)
		n.set("192.0.2.1", errBlackHole)
		p.SetTargets("amber", append(slices.Clone(good), holes(n, 1000)...))
		time.Sleep(2 * time.Minute)
		last := ""
		for _, r := range to.take() {
			last = brief([]registry.ProbeReport{r})
		}
		if last != "amber: " {
			t.Errorf("the last report is %q, want one without gateways", last)
		}
		time.Sleep(time.Minute)
		if got := brief(to.take()); got != "" {
			t.Errorf("it is repeated: %q", got)
		}
		p.SetTargets("amber", good)
		n.set("192.0.2.1", nil)
		time.Sleep(10 * time.Second)
		if got := brief(to.take()); !strings.HasSuffix(got, "amber: good+") {
			t.Errorf("probed again: %q", got)
		}
		to.set(func() { to.err = errDown })
		p.SetTargets("amber", nil)
		time.Sleep(10 * time.Second)
		to.set(func() { to.err = nil })
		to.take()
		time.Sleep(10 * time.Second)
		if got := brief(to.take()); got != "amber: " {
			t.Errorf("what could not be taken back at once: %q", got)
		}
		if err := end(); err != nil {
			t.Error(err)
		}
	})
}
