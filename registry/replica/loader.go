package replica

import (
	"context"
	"fmt"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// loader reads again what was missed, one thing at a time and beside the tail, so
// that one cluster's faults do not hold up what changes in the others. It belongs
// to Run's goroutine.
type loader struct {
	loads    chan found
	busy     bool
	rest     time.Time // after a load that failed
	reloads  map[registry.ClusterID]*job
	reloaded map[registry.ClusterID]time.Time
	behind   map[registry.Fact]*job
}

// job is one thing to load: a whole cluster, or what stands behind a message.
type job struct {
	cluster registry.ClusterID
	reason  string
	due     time.Time
	fact    registry.Fact // when cluster is ""
	before  uint64
}

func (j *job) writer() registry.Writer {
	if j.cluster != "" {
		return registry.Writer(j.cluster)
	}
	return j.fact.Writer
}

// found is what a job brought.
type found struct {
	*job
	messages []registry.Message
	err      error
}

// Pauses between two loads of one cluster. A digest that goes on to differ is the
// agent's to mend.
const (
	gapPause    = 5 * time.Second
	digestPause = time.Minute
)

func newLoader() loader {
	return loader{
		loads: make(chan found), reloads: map[registry.ClusterID]*job{},
		reloaded: map[registry.ClusterID]time.Time{}, behind: map[registry.Fact]*job{},
	}
}

// reload asks for a whole cluster.
func (l *loader) reload(cluster registry.ClusterID, reason string, now time.Time) {
	if l.reloads[cluster] != nil {
		return
	}
	j := &job{cluster: cluster, reason: reason, due: now}
	if last, known := l.reloaded[cluster]; known {
		if reason != "gap" && now.Sub(last) < digestPause {
			return // the next lease will ask again
		}
		if due := last.Add(gapPause); due.After(now) {
			j.due = due
		}
	}
	l.reloads[cluster] = j
}

// lookBehind asks for what stands in the history of a fact before a message that
// can't be used. Only facts that shape a View are worth it.
func (l *loader) lookBehind(fact registry.Fact, before uint64) {
	switch fact.Kind {
	case registry.KindService, registry.KindCluster, registry.KindEpoch, registry.KindSnapshot, registry.KindZone:
		l.behind[fact] = &job{fact: fact, before: before}
	}
}

// next returns what to load now; nil when nothing is due.
func (l *loader) next(now time.Time) *job {
	if l.busy || now.Before(l.rest) {
		return nil
	}
	for _, j := range l.reloads {
		if !j.due.After(now) {
			l.busy = true
			return j
		}
	}
	for _, j := range l.behind {
		l.busy = true
		return j
	}
	return nil
}

// load does a job and gives what it brought to Run's goroutine.
func (r *Replica) load(ctx context.Context, j *job) {
	f := found{job: j}
	if j.cluster != "" {
		f.messages, f.err = r.stream.LoadWriter(ctx, registry.Writer(j.cluster))
	} else {
		f.messages, f.err = r.stream.LoadFact(ctx, j.fact, j.before)
	}
	select {
	case r.loads <- f:
	case <-ctx.Done():
	}
}

// fill folds what a job brought. What stands behind the last message that was
// followed is left to come that way: a View is the state at one sequence. It
// returns what is to be ordered, or nil.
func (r *Replica) fill(ctx context.Context, f found) (order func()) {
	r.busy = false
	if f.err != nil {
		r.rest = time.Now().Add(time.Second)
		if ctx.Err() == nil && r.news(f.writer(), "load") {
			r.logger.Warn("what was missed can't be loaded: trying until it can", "writer", string(f.writer()), "service", f.fact.Service.String(), "err", f.err)
		}
		return nil
	}
	for _, m := range f.messages {
		if m.Sequence > r.followed {
			break
		}
		if out := r.fold.Apply(m); f.cluster != "" && out.Result == registry.Quarantined {
			r.lookBehind(m.Fact, m.Sequence)
		}
	}
	if r.behind[f.fact] == f.job {
		delete(r.behind, f.fact)
	}
	for _, fact := range r.fold.Voided() {
		r.lookBehind(fact, r.followed+1)
	}
	if r.synced.Load() && f.cluster != "" && len(r.reloads) == 1 && !r.rereading {
		r.fold.Synced() // what a gap left out is there
	}
	v := r.fold.View()
	if r.synced.Load() {
		r.store.Publish(v)
	}
	if f.cluster == "" {
		return nil
	}
	delete(r.reloads, f.cluster)
	r.reloaded[f.cluster] = time.Now()
	r.observer.Repaired(f.cluster, f.reason)
	r.logger.Warn("a cluster was loaded again", "cluster", string(f.cluster), "reason", f.reason)
	l, _, _ := r.Lease(f.cluster)
	if c := v.Cluster(f.cluster); f.reason == "revision" || f.reason == "digest" && differs(l, c) {
		return func() { r.orderResync(ctx, l, c) }
	}
	return nil
}

// orderResync asks the agent to mend what loading again did not.
func (r *Replica) orderResync(ctx context.Context, l registry.Lease, c *registry.ClusterState) {
	reason := fmt.Sprintf("at epoch %d revision %d the lease has %d services with digest %s, the stream is at revision %d and has %d with %s",
		l.Epoch, l.Revision, l.Keys, l.Digest, c.Revision, c.Services, c.Digest)
	r.logger.Error("a cluster differs from its agent's lease: asking for a resync", "cluster", string(c.ID), "why", reason)
	if err := r.stream.OrderResync(ctx, c.ID, reason); err != nil && ctx.Err() == nil {
		r.logger.Warn("a resync can't be ordered", "cluster", string(c.ID), "err", err)
	}
}
