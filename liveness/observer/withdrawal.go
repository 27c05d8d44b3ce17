package observer

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/seamark-mesh/seamark/liveness"
	"github.com/seamark-mesh/seamark/registry"
)

// maxWithdrawn bounds the services of one cluster whose losses are remembered.
const maxWithdrawn = 100_000

// extent counts services that have an instance, and the instances of all.
type extent struct{ services, instances int }

func (e extent) plus(o extent) extent {
	return extent{e.services + o.services, e.instances + o.instances}
}

// minus never goes below none.
func (e extent) minus(o extent) extent {
	return extent{max(0, e.services-o.services), max(0, e.instances-o.instances)}
}

func (e extent) least(o extent) extent {
	return extent{min(e.services, o.services), min(e.instances, o.instances)}
}

// excessive reports whether a cluster that had so much should have been held back by
// its own brake when it lost this.
func (e extent) excessive(had extent) bool {
	return liveness.MassWithdrawal(e.services, had.services) || liveness.MassWithdrawal(e.instances, had.instances)
}

// tally counts, by cluster, what was withdrawn lately. It goes on while another one
// leads: what is withdrawn between two leaders is seen, too. What went before it saw its
// first View it can't know. One goroutine uses it.
type tally struct {
	watcher *registry.Watcher
	last    *registry.View
	has     map[registry.ClusterID]extent
	lost    map[registry.ClusterID]map[registry.ServiceKey]*loss
	judged  map[registry.ClusterID]*judgement
}

// loss is a service that has fewer instances than it had within the window.
type loss struct {
	falls []fall // oldest first
	has   int    // instances
}

// fall is the most instances that a service had before it lost some, at about one moment.
type fall struct {
	at   time.Time
	from int
}

// judgement is what was made of a cluster's losses.
type judgement struct {
	alarmed bool
	doubted bool   // nothing explained them, in the round before
	excused extent // of what is lost now, by its brake
	note    uint64 // the sequence of the brake's note that was counted last: each counts once
}

func newTally(store *registry.Store) *tally {
	return &tally{
		watcher: store.Watch(), has: map[registry.ClusterID]extent{},
		lost: map[registry.ClusterID]map[registry.ServiceKey]*loss{}, judged: map[registry.ClusterID]*judgement{},
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
				t.compare(nil, n, now, window)
			}
		case change.All:
			for n := range v.Names() {
				was, _ := before.Name(n.Labels)
				t.compare(was, n, now, window)
			}
			for was := range before.Names() {
				if _, known := v.Name(was.Labels); !known {
					t.compare(was, nil, now, window)
				}
			}
		default:
			for _, labels := range change.Names {
				was, _ := before.Name(labels)
				is, _ := v.Name(labels)
				t.compare(was, is, now, window)
			}
		}
		t.exclude(v)
	}
	for cluster, lost := range t.lost {
		for key, l := range lost {
			for len(l.falls) > 0 && now.Sub(l.falls[0].at) > window {
				l.falls = l.falls[1:]
			}
			if l.had() <= l.has {
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

// place is one service in one cluster.
type place struct {
	cluster registry.ClusterID
	key     registry.ServiceKey
}

// compare counts what became of the services of one name; nil is none.
func (t *tally) compare(was, is *registry.Name, now time.Time, window time.Duration) {
	instances := func(n *registry.Name) map[place]int {
		if n == nil {
			return nil
		}
		places := map[place]int{}
		for _, e := range n.Known() {
			for _, r := range e.Records {
				if !r.Tombstone() {
					places[place{r.Cluster, e.Key}] = r.Total
				}
			}
		}
		return places
	}
	before, after := instances(was), instances(is)
	for p, had := range before {
		t.count(p, had, after[p], now, window)
	}
	for p, has := range after {
		if before[p] == 0 {
			t.count(p, 0, has, now, window)
		}
	}
}

// count notes that a service had so many instances, and has so many. Of what it had
// within a sixth of the window only the most is kept: one that goes up and down all the
// time takes no more room.
func (t *tally) count(p place, had, has int, now time.Time, window time.Duration) {
	all := t.has[p.cluster]
	all.instances += has - had
	switch {
	case had == 0 && has > 0:
		all.services++
	case had > 0 && has == 0:
		all.services--
	}
	t.has[p.cluster] = all
	lost := t.lost[p.cluster]
	l := lost[p.key]
	if l == nil {
		if has >= had || len(lost) >= maxWithdrawn {
			return
		}
		if lost == nil {
			lost = map[registry.ServiceKey]*loss{}
			t.lost[p.cluster] = lost
		}
		l = &loss{}
		lost[p.key] = l
	}
	l.has = has
	if has >= had {
		return
	}
	if n := len(l.falls); n == 0 || now.Sub(l.falls[n-1].at) >= window/6 {
		l.falls = append(l.falls, fall{now, had})
	} else {
		l.falls[n-1].from = max(l.falls[n-1].from, had)
	}
}

// had returns the most instances that a service had within the window.
func (l *loss) had() (most int) {
	for _, f := range l.falls {
		most = max(most, f.from)
	}
	return most
}

// of returns what a cluster has lost, of what it had.
func (t *tally) of(cluster registry.ClusterID) (lost, had extent) {
	for _, l := range t.lost[cluster] {
		if gone := l.had() - l.has; gone > 0 {
			lost.instances += gone
			if l.has == 0 {
				lost.services++
			}
		}
	}
	return lost, t.has[cluster].plus(lost)
}

// tell raises an alarm for each cluster that withdraws more than its own brake should
// have let pass, once for each time.
func (l *leader) tell(ctx context.Context, now time.Time) error {
	t := l.tally
	t.take(now, l.config.Timing.Window)
	for cluster, j := range t.judged {
		if lost, had := t.of(cluster); !lost.excessive(had) {
			j.alarmed, j.doubted, j.excused = false, false, extent{}
		}
	}
	for _, cluster := range slices.Sorted(maps.Keys(t.lost)) {
		lost, had := t.of(cluster)
		if !lost.excessive(had) {
			continue
		}
		if t.judged[cluster] == nil {
			t.judged[cluster] = &judgement{}
		}
		j := t.judged[cluster]
		j.excused = j.excused.least(lost)
		if j.alarmed || !lost.minus(j.excused).excessive(had) {
			continue
		}
		passed, note, err := l.passed(ctx, cluster)
		if err != nil {
			continue // the next round asks again
		}
		if note > j.note {
			j.note, j.excused = note, j.excused.plus(passed).least(lost)
			if !lost.minus(j.excused).excessive(had) {
				continue
			}
		}
		if !j.doubted { // the copy of the stream that was asked may lag
			j.doubted = true
			continue
		}
		before, err := l.toldBefore(ctx, cluster)
		if err != nil {
			continue
		}
		if j.alarmed = true; before {
			continue
		}
		alarm := l.alarm(AlarmMassWithdrawal, fmt.Sprintf("%s has withdrawn %d of %d services (%d of %d instances) within %v, and its brake has not said that it let so much pass: is its agent old or faulty?",
			cluster, lost.services, had.services, lost.instances, had.instances, l.config.Timing.Window), map[string]string{
			"clusters": string(cluster), "withdrawn": fmt.Sprint(lost.services), "had": fmt.Sprint(had.services),
			"withdrawn_instances": fmt.Sprint(lost.instances), "had_instances": fmt.Sprint(had.instances),
		})
		if err := l.publish(ctx, []*registry.Event{alarm}); err != nil {
			return err
		}
	}
	return nil
}

// passed returns what a cluster's brake has let pass lately, as its latest note tells,
// and the note's sequence; 0: that note tells of nothing that passed. What it holds
// explains nothing: it should still stand.
func (l *leader) passed(ctx context.Context, cluster registry.ClusterID) (what extent, note uint64, err error) {
	m, found, err := l.log.Last(ctx, registry.Fact{Writer: registry.Writer(cluster), Kind: registry.KindNote, Name: registry.NoteBrake})
	if err != nil || !found || m.Event == nil || m.Event.Note == nil {
		return extent{}, 0, err
	}
	now, err := l.log.Now(ctx)
	if err != nil || now.Sub(m.Stored) >= 2*l.config.Timing.Window {
		return extent{}, 0, err
	}
	b, err := registry.ParseBrake(*m.Event.Note)
	if err != nil {
		return extent{}, 0, nil //nolint:nilerr // what can't be read explains nothing
	}
	switch b.State {
	case registry.BrakePassed, registry.BrakeApproved, registry.BrakeLeft:
		return extent{b.Services, b.Instances}, m.Sequence, nil
	}
	return extent{}, 0, nil
}

// toldBefore reports whether an observer before this one has raised the latest alarm, and
// about this cluster, within the window.
func (l *leader) toldBefore(ctx context.Context, cluster registry.ClusterID) (bool, error) {
	m, found, err := l.log.Last(ctx, registry.Fact{Writer: registry.Observer, Kind: registry.KindNote, Name: noteAlarm})
	if err != nil || !found || m.Epoch == l.epoch || m.Event == nil || m.Event.Note == nil {
		return false, err
	}
	now, err := l.log.Now(ctx)
	said := m.Event.Note.Data
	return said["kind"] == AlarmMassWithdrawal && said["clusters"] == string(cluster) && now.Sub(m.Stored) < l.config.Timing.Window, err
}
