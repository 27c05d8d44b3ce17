package observer

import (
	"context"
	"fmt"
	"time"

	"github.com/seamark-mesh/seamark/liveness"
	"github.com/seamark-mesh/seamark/registry"
)

// maxWithdrawn bounds the withdrawals that are remembered of one cluster.
const maxWithdrawn = 100_000

// tally counts, by cluster, which services lost their last instance lately.
type tally struct {
	watcher *registry.Watcher
	last    *registry.View
	had     map[registry.ClusterID]int // services with instances
	lost    map[registry.ClusterID]map[registry.ServiceKey]time.Time
	alarmed map[registry.ClusterID]bool
}

func newTally(store *registry.Store) tally {
	return tally{
		watcher: store.Watch(), had: map[registry.ClusterID]int{}, lost: map[registry.ClusterID]map[registry.ServiceKey]time.Time{},
		alarmed: map[registry.ClusterID]bool{},
	}
}

// take counts what changed since the last call.
func (t *tally) take(now time.Time, window time.Duration) {
	v, change, fresh := t.watcher.Poll()
	if fresh {
		before := t.last
		t.last = v
		switch {
		case before == nil:
			for n := range v.Names() {
				t.compare(nil, n, now, false)
			}
		case change.All:
			for n := range v.Names() {
				was, _ := before.Name(n.Labels)
				t.compare(was, n, now, true)
			}
			for was := range before.Names() {
				if _, known := v.Name(was.Labels); !known {
					t.compare(was, nil, now, true)
				}
			}
		default:
			for _, labels := range change.Names {
				was, _ := before.Name(labels)
				is, _ := v.Name(labels)
				t.compare(was, is, now, true)
			}
		}
		t.exclude(v)
	}
	for cluster, lost := range t.lost {
		for key, at := range lost {
			if now.Sub(at) > window {
				delete(lost, key)
			}
		}
		if len(lost) == 0 {
			delete(t.lost, cluster)
		}
	}
}

// exclude forgets clusters that may go as a whole.
func (t *tally) exclude(v *registry.View) {
	for cluster := range t.lost {
		if v.Left(cluster) != nil || v.Cluster(cluster) == nil {
			delete(t.lost, cluster)
		}
	}
}

// compare counts what became of the services of one name; nil is none.
func (t *tally) compare(was, is *registry.Name, now time.Time, count bool) {
	type place struct {
		cluster registry.ClusterID
		key     registry.ServiceKey
	}
	populated := func(n *registry.Name) map[place]bool {
		if n == nil {
			return nil
		}
		places := map[place]bool{}
		for _, e := range n.Known() {
			for _, r := range e.Records {
				if !r.Tombstone() {
					places[place{r.Cluster, e.Key}] = true
				}
			}
		}
		return places
	}
	before, after := populated(was), populated(is)
	for p := range before {
		if after[p] {
			continue
		}
		t.had[p.cluster]--
		if t.lost[p.cluster] == nil {
			t.lost[p.cluster] = map[registry.ServiceKey]time.Time{}
		}
		if count && len(t.lost[p.cluster]) < maxWithdrawn {
			t.lost[p.cluster][p.key] = now
		}
	}
	for p := range after {
		if !before[p] {
			t.had[p.cluster]++
			delete(t.lost[p.cluster], p.key)
		}
	}
}

// tell raises an alarm for each cluster that withdraws more than its own brake should
// have let pass, once for each time.
func (l *leader) tell(ctx context.Context, v *registry.View, now time.Time) error {
	t := &l.tally
	t.take(now, l.config.Timing.Window)
	for cluster := range t.alarmed {
		if !liveness.MassWithdrawal(len(t.lost[cluster]), t.had[cluster]+len(t.lost[cluster])) {
			delete(t.alarmed, cluster)
		}
	}
	for cluster, lost := range t.lost {
		had := t.had[cluster] + len(lost)
		if t.alarmed[cluster] || !liveness.MassWithdrawal(len(lost), had) {
			continue
		}
		explained, err := l.braked(ctx, cluster)
		if err != nil {
			continue // the next round asks again
		}
		t.alarmed[cluster] = true
		if explained {
			continue
		}
		alarm := l.alarm(AlarmMassWithdrawal, fmt.Sprintf("%s has withdrawn %d of %d services within %v, and its brake has said nothing of it: is its agent old or faulty?",
			cluster, len(lost), had, l.config.Timing.Window), map[string]string{"clusters": string(cluster), "withdrawn": fmt.Sprint(len(lost)), "had": fmt.Sprint(had)})
		if err := l.publish(ctx, []*registry.Event{alarm}); err != nil {
			return err
		}
	}
	return nil
}

// braked reports whether a cluster's brake has written a record lately: it does so
// when it holds, and when it lets pass.
func (l *leader) braked(ctx context.Context, cluster registry.ClusterID) (bool, error) {
	m, found, err := l.log.Last(ctx, registry.Fact{Writer: registry.Writer(cluster), Kind: registry.KindNote, Name: registry.NoteBrake})
	if err != nil {
		return false, err
	}
	now, err := l.log.Now(ctx)
	return found && now.Sub(m.Stored) < 2*l.config.Timing.Window, err
}
