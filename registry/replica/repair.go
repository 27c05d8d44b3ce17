package replica

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// fill folds what a job brought. What stands behind the last message that was
// followed is left to come that way: a View is the state at one sequence. It
// returns what is to be ordered, or nil.
func (r *Replica) fill(ctx context.Context, f found) (order func()) {
	if f.of != r.generation {
		return nil
	}
	delete(r.running, f.writer)
	if f.reload != nil {
		r.fillCluster(ctx, f)
	} else {
		r.fillFacts(ctx, f)
	}
	for _, fact := range r.fold.Voided() {
		r.seek(fact, r.followed+1)
	}
	r.settle()
	v := r.fold.View() // one that nobody is shown would hide from all who watch what changed with it
	if r.live {
		r.publish(v)
	}
	if f.reload == nil || f.errs[0] != nil {
		return nil
	}
	cluster, _ := f.writer.Cluster()
	l, _, _ := r.Lease(cluster)
	if c := v.Cluster(cluster); f.reload.reason == "revision" || f.reload.reason == "digest" && differs(l, c) {
		return func() { r.orderResync(ctx, c.ID, differenceOf(l, c)) }
	}
	return nil
}

// failed says that a load failed, and lets its writer rest.
func (r *Replica) failed(ctx context.Context, w registry.Writer, f registry.Fact, err error) {
	r.rest[w] = time.Now().Add(time.Second)
	if ctx.Err() == nil && r.news(w, "load") {
		r.logger.Warn("what was missed can't be loaded: trying until it can", "writer", string(w), "service", f.Service.String(), "err", err)
	}
}

// seek asks for what stands behind a message that can't be used. Until it is found,
// Views say that its name is not known for certain.
func (r *Replica) seek(fact registry.Fact, before uint64) {
	if r.lookBehind(fact, before) && r.live {
		r.fold.Missing(fact, true)
	}
}

// fillFacts folds what was found behind messages that can't be used.
func (r *Replica) fillFacts(ctx context.Context, f found) {
	for n, b := range f.facts {
		if err := f.errs[n]; err != nil {
			r.failed(ctx, f.writer, b.fact, err)
			r.ended(b, true)
			continue
		}
		useless := len(f.messages[n]) > 0
		for _, m := range f.messages[n] {
			if m.Sequence > r.followed {
				continue
			}
			if out := r.fold.Apply(m); out.Result != registry.Quarantined || out.Reason == registry.ReasonTooMany {
				useless = false
			}
		}
		if useless { // it can be read but is void; what stands before it may not be
			r.seek(b.fact, f.messages[n][0].Sequence)
		}
		if r.ended(b, false) {
			r.fold.Missing(b.fact, false)
		}
	}
}

// fillCluster folds a cluster that was loaded again.
func (r *Replica) fillCluster(ctx context.Context, f found) {
	cluster, _ := f.writer.Cluster()
	if err := f.errs[0]; err != nil {
		r.failed(ctx, f.writer, registry.Fact{}, err)
		return
	}
	if f.reload.reason == reasonLoss && r.reloads[cluster] == f.reload && !r.loaded(cluster, f.messages[0]) {
		r.failed(ctx, f.writer, registry.Fact{}, errors.New("a replica of the stream lags"))
		return
	}
	for _, m := range f.messages[0] {
		if m.Sequence > r.followed {
			break
		}
		if out := r.fold.Apply(m); out.Result == registry.Quarantined && out.Reason != registry.ReasonTooMany {
			r.seek(m.Fact, m.Sequence)
		}
	}
	if r.reloads[cluster] != f.reload {
		return // another load was asked for meanwhile
	}
	if r.live && len(r.reloads) == 1 && !r.rereading {
		r.fold.Synced() // what a gap left out is there
	}
	delete(r.reloads, cluster)
	r.reloaded[cluster] = time.Now()
	if f.reload.reason == reasonLoss {
		return
	}
	r.observer.Repaired(cluster, f.reload.reason)
	r.logger.Warn("a cluster was loaded again", "cluster", string(cluster), "reason", f.reload.reason)
}

// differenceOf says how a cluster differs from its agent's lease.
func differenceOf(l registry.Lease, c *registry.ClusterState) string {
	return fmt.Sprintf("at epoch %d revision %d the lease has %d services with digest %s, the stream is at revision %d and has %d with %s",
		l.Epoch, l.Revision, l.Keys, l.Digest, c.Revision, c.Services, c.Digest)
}

// orderResync asks the agent to mend what loading again did not.
func (r *Replica) orderResync(ctx context.Context, cluster registry.ClusterID, why string) {
	r.logger.Error("a cluster is not what its agent means it to be: asking for a resync", "cluster", string(cluster), "why", why)
	if err := r.stream.OrderResync(ctx, cluster, why); err != nil && ctx.Err() == nil {
		r.logger.Warn("a resync can't be ordered", "cluster", string(cluster), "err", err)
	}
}

// amiss is a cluster some of whose facts can't be used.
type amiss struct {
	since time.Time
	next  time.Time // of the order
	pause time.Duration
}

// When a resync is ordered for facts that stay unusable: the agent that wrote them
// may mend them any moment, and one that writes what nobody here can read (a later
// version, say) goes on to.
const (
	amissPatience = 30 * time.Second
	amissPause    = 10 * time.Minute // doubled each time
	amissLongest  = 24 * time.Hour
)

// mend returns an order for each cluster that has had an unusable fact of its own for
// too long: whoever starts anew finds nothing in its place once its history is gone.
func (r *Replica) mend(ctx context.Context, now time.Time) (orders []func()) {
	if !r.live || r.cut != nil {
		return nil
	}
	v := r.store.View()
	for cluster := range r.amiss {
		if c := v.Cluster(cluster); c == nil || r.fault(c) == "" {
			delete(r.amiss, cluster)
		}
	}
	for _, c := range v.Clusters() {
		fault := r.fault(c)
		if fault == "" {
			continue
		}
		a := r.amiss[c.ID]
		if a == nil {
			a = &amiss{since: now, next: now.Add(amissPatience), pause: amissPause}
			r.amiss[c.ID] = a
		}
		if now.Before(a.next) {
			continue
		}
		a.next = now.Add(a.pause)
		a.pause = min(2*a.pause, amissLongest)
		why := fmt.Sprintf("%s, for %s", fault, now.Sub(a.since).Round(time.Second))
		orders = append(orders, func() { r.orderResync(ctx, c.ID, why) })
	}
	return orders
}

// fault says what of a cluster only a resync mends; "" when nothing is amiss.
func (r *Replica) fault(c *registry.ClusterState) string {
	switch {
	case c.Unusable > 0:
		return fmt.Sprintf("%d facts have had a latest message that nobody here can read", c.Unusable)
	case !c.Inherited():
		return ""
	}
	if l, age, ok := r.Lease(c.ID); ok && age < patience && l.Phase == registry.PhaseSynced && r.settling[c.ID] == (settling{}) {
		return "the stream was lost, and it has not published everything anew"
	}
	return ""
}
