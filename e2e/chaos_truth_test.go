package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"
)

// chaosServices services are in every cluster under the same names. The first of them
// are touched by nobody; the others come, go and flip.
const chaosServices, untouched = 8, 2

func serviceName(n int) string { return fmt.Sprintf("svc-%d", n) }

// instancesOf makes instances of a service, all healthy or but the first failing.
func instancesOf(c *chaosCluster, service, count int, failing bool) []instance {
	var all []instance
	for i := range count {
		all = append(all, instance{
			id: fmt.Sprintf("%s-%d", serviceName(service), i), address: fmt.Sprintf("10.%d.%d.%d", c.name[0], service, i+1), port: 8080,
			bad: failing && (i > 0 || !c.registry.hidesAllFailed()),
		})
	}
	return all
}

// truth is what was registered when, by cluster and service.
type truth struct {
	mu      sync.Mutex // guards history
	history map[string][]phase
	changes int
}

// phase is a state of one service. It may count from the moment its change was
// begun, and the one before may count until it was done.
type phase struct {
	begun, done    time.Time // done is zero while the registry has not confirmed it
	healthy, total int
}

func newTruth() *truth { return &truth{history: map[string][]phase{}} }

// begin says that a change begins; what is returned says that the registry has it.
func (h *truth) begin(cluster, service string, healthy, total int) (done func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	key := cluster + "/" + service
	h.changes++
	h.history[key] = append(h.history[key], phase{begun: time.Now(), healthy: healthy, total: total})
	n := len(h.history[key]) - 1
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.history[key][n].done = time.Now()
	}
}

// could reports whether a cluster may have been able to serve (or not to) at any
// moment between two.
func (h *truth) could(cluster, service string, serve bool, from, to time.Time) bool {
	return h.was(cluster, service, func(p phase) bool { return (p.healthy > 0) == serve }, from, to)
}

// gone reports whether a service may have had no instance at any moment between two.
func (h *truth) gone(cluster, service string, from, to time.Time) bool {
	return h.was(cluster, service, func(p phase) bool { return p.total == 0 }, from, to)
}

func (h *truth) was(cluster, service string, so func(phase) bool, from, to time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := h.history[cluster+"/"+service]
	for n, p := range all {
		if !so(p) || p.begun.After(to) {
			continue
		}
		if n == len(all)-1 || all[n+1].done.IsZero() || !all[n+1].done.Before(from) {
			return true
		}
	}
	return false
}

// behind tells how long before a moment it was last true that a cluster could serve
// (or not).
func (h *truth) behind(cluster, service string, serve bool, asked time.Time) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := h.history[cluster+"/"+service]
	for n, p := range slices.Backward(all) {
		if (p.healthy > 0) != serve {
			continue
		}
		if n == len(all)-1 || all[n+1].done.IsZero() {
			return 0
		}
		return max(0, asked.Sub(all[n+1].done))
	}
	return time.Hour // it was never so
}

// now is the last state of a service.
func (h *truth) now(cluster, service string) phase {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := h.history[cluster+"/"+service]
	return all[len(all)-1]
}

func (h *truth) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.changes
}

// change makes these the instances of a service, and notes it.
func (c *chaos) change(t *testing.T, cluster *chaosCluster, service string, instances ...instance) {
	t.Helper()
	healthy := 0
	for _, i := range instances {
		if !i.bad {
			healthy++
		}
	}
	done := c.truth.begin(cluster.name, service, healthy, len(instances))
	cluster.registry.put(t, service, instances...)
	done()
}

// churn registers, deregisters and flips health in all clusters until it is stopped,
// which waits until the registries have confirmed the last change.
func (c *chaos) churn(t *testing.T, dice *rand.Rand) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for _, cluster := range c.clusters {
		dice := rand.New(rand.NewPCG(dice.Uint64(), dice.Uint64()))
		wg.Go(func() {
			for pause(ctx, time.Duration(float64(time.Second)*(0.5+dice.Float64())/c.plan.changesPerSecond)) {
				n := untouched + dice.IntN(chaosServices-untouched)
				c.change(t, cluster, serviceName(n), instancesOf(cluster, n, dice.IntN(3), dice.IntN(3) == 0)...)
			}
		})
	}
	return func() { cancel(); wg.Wait() }
}
