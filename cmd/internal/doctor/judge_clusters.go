package doctor

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// Bounds for agents.
const (
	lapse        = 10 * time.Second // an agent renews every 2 s
	longSync     = time.Minute      // a takeover that takes longer
	fightWindow  = 15 * time.Minute
	fightMost    = 3 // takeovers within it that are no fight
	restlessMost = 3 // likewise, within an hour
)

// present are the clusters that should have an agent: known, not gone and not left.
func (f *Facts) present() []*registry.ClusterState {
	return slices.DeleteFunc(f.View.View.Clusters(), func(c *registry.ClusterState) bool { return f.View.View.Left(c.ID) != nil })
}

// age returns how long ago something was stored, by the stream's clock.
func (f *Facts) age(stored time.Time) time.Duration { return max(0, f.Streams.Now.Sub(stored)) }

func judgeAgents(f *Facts) []Finding {
	var found []Finding
	present := f.present()
	for _, c := range present {
		lease, ok := f.Signs.Leases[registry.Writer(c.ID)]
		const start = "Start the cluster's edge-sync, or a second one as standby. Is the cluster gone for good? seamark leave withdraws it."
		switch age := f.age(lease.Stored); {
		case !ok:
			found = append(found, critical(start, "%s: no agent was ever heard of, or its lease can't be read", c.ID))
		case lease.Lease.Phase == registry.PhaseStopped:
			found = append(found, critical(start, "%s: the agent was stopped %v ago and no other took over: what it published stands and grows old", c.ID, rounded(age)))
		case age > lapse:
			found = append(found, critical(start, "%s: the agent (%s) is silent for %v: what it published stands and grows old", c.ID, lease.Lease.Agent, rounded(age)))
		case lease.Lease.Phase == registry.PhaseSyncing && f.Streams.Now.Unix()-int64(lease.Lease.Epoch) > int64(longSync.Seconds()):
			found = append(found, warning("Look at the agent's log: can it read its whole registry, and publish?", "%s: the agent (%s) took over %v ago and has not published everything yet", c.ID, lease.Lease.Agent, rounded(f.Streams.Now.Sub(time.Unix(int64(lease.Lease.Epoch), 0)))))
		}
	}
	for _, w := range slices.Sorted(maps.Keys(f.Signs.Leases)) {
		id, own := w.Cluster()
		if own && f.View.View.Left(id) != nil && f.Signs.Leases[w].Lease.Phase != registry.PhaseStopped && f.age(f.Signs.Leases[w].Stored) <= lapse {
			found = append(found, warning("Stop that agent, or let the cluster come back with seamark join.", "%s has left, but its agent (%s) still runs", id, f.Signs.Leases[w].Lease.Agent))
		}
	}
	if len(found) == 0 {
		if len(present) == 0 {
			return []Finding{warning("Start an edge-sync in each cluster.", "no cluster is known: no agent has ever published here")}
		}
		found = append(found, healthy("%s, each with an agent that renews its lease", plural(len(present), "cluster", "clusters")))
	}
	return found
}

func judgeRegistries(f *Facts) []Finding {
	var found []Finding
	trusted := 0
	for _, c := range f.present() {
		lease, ok := f.Signs.Leases[registry.Writer(c.ID)]
		if !ok || f.age(lease.Stored) > lapse || lease.Lease.Phase == registry.PhaseStopped {
			continue // told of already
		}
		if lease.Lease.Phase != registry.PhaseRegistryDown {
			trusted++
			continue
		}
		why := lease.Lease.Detail
		if why == "" {
			why = "the agent does not say why"
		}
		found = append(found, critical("Mend what is named; the agent tries again by itself. See docs/operations.md, registry_down.", "%s: its %s registry can't be read or trusted: %s", c.ID, lease.Lease.Source, why))
	}
	if len(found) == 0 && trusted > 0 {
		found = append(found, healthy("%s can be read and trusted", plural(trusted, "registry", "registries")))
	}
	return found
}

func judgeTakeovers(f *Facts) []Finding {
	var found []Finding
	for _, c := range f.present() {
		lately, inAnHour := 0, 0
		for _, fence := range c.Fences { // an epoch is the Unix second in which it began, or a little more
			switch age := f.Streams.Now.Unix() - int64(min(fence.Epoch, 1<<62)); {
			case age <= int64(fightWindow.Seconds()):
				lately, inAnHour = lately+1, inAnHour+1
			case age <= int64(time.Hour.Seconds()):
				inAnHour++
			}
		}
		const fix = "Has another cluster the same name in its configuration? Else look at the agents' machines and their way to NATS. See docs/operations.md, agents take over from each other."
		switch by := takenBy(f.View.Epochs[c.ID]); {
		case lately > fightMost:
			found = append(found, critical(fix, "%s: agents took over from each other %d times in %v%s", c.ID, lately, fightWindow, by))
		case inAnHour > restlessMost:
			found = append(found, warning(fix, "%s: %d takeovers in an hour%s", c.ID, inAnHour, by))
		}
	}
	if len(found) == 0 && len(f.present()) > 0 {
		found = append(found, healthy("no cluster's agents take over from each other"))
	}
	return found
}

// takenBy names who began epochs.
func takenBy(epochs []Epoch) string {
	var names []string
	for _, e := range epochs {
		if e.Agent != "" && !slices.Contains(names, e.Agent) {
			names = append(names, e.Agent)
		}
	}
	if len(names) == 0 {
		return ""
	}
	slices.Sort(names)
	if len(names) > 4 {
		names = append(names[:4], "…")
	}
	return ": " + strings.Join(names, ", ")
}

func judgeStandbys(f *Facts) []Finding {
	leaders, standbys := map[registry.ClusterID]int{}, map[registry.ClusterID]int{}
	var found []Finding
	for _, a := range f.Agents {
		if a.Err != nil {
			found = append(found, unknown("Does it run, and is --agent its http address?", "%s: %v", a.URL, a.Err))
			continue
		}
		if a.Role == "leader" {
			leaders[a.Cluster]++
		} else {
			leaders[a.Cluster] += 0
			standbys[a.Cluster]++
		}
	}
	for _, id := range slices.Sorted(maps.Keys(leaders)) {
		switch {
		case leaders[id] > 1:
			found = append(found, critical("Wait a moment and look again; only the later epoch can write.", "%s: %d agents say that they lead", id, leaders[id]))
		case leaders[id] == 1 && standbys[id] == 0:
			found = append(found, warning("Start a second edge-sync with the same configuration: it stands by and takes over within ten seconds.", "%s: of the agents that were asked none stands by", id))
		case leaders[id] == 0:
			found = append(found, warning("Name the one that leads with --agent, too: seamark clusters shows who holds the lease.", "%s: of the agents that were asked none leads", id))
		default:
			found = append(found, healthy("%s: one agent leads, %d stand by", id, standbys[id]))
		}
	}
	return found
}

// judgeContent compares what agents say that they have published, what the stream
// holds, and what readers have.
func judgeContent(f *Facts) []Finding {
	var found []Finding
	compared := 0
	for _, c := range f.present() {
		lease, ok := f.Signs.Leases[registry.Writer(c.ID)]
		if !ok || lease.Lease.Epoch != c.Epoch || lease.Lease.Revision != c.Revision || c.Quarantined > 0 {
			continue
		}
		compared++
		if lease.Lease.Digest != c.Digest {
			found = append(found, critical("Restart the cluster's agent: it reads back what the stream holds and publishes what differs.", "%s: the stream holds another content than its agent says, at %d.%d", c.ID, c.Epoch, c.Revision))
		}
	}
	readers := 0
	for _, r := range f.Readers {
		for _, id := range slices.Sorted(maps.Keys(r.Digests)) {
			theirs := r.Digests[id]
			for _, v := range r.Seen {
				c := v.Cluster(id)
				if c == nil || c.Epoch != theirs.Epoch || c.Revision != theirs.Revision || c.Quarantined > 0 {
					continue
				}
				readers++
				if c.Digest != theirs.Digest {
					found = append(found, critical("Restart that global-dns, and keep its log: it should have loaded the cluster again by itself.", "%s: %s has another content than the stream, at %d.%d", id, r.URL, c.Epoch, c.Revision))
				}
				break
			}
		}
	}
	if len(found) == 0 && compared+readers > 0 {
		found = append(found, healthy("the stream holds what %s; %s", plural(compared, "agent says", "agents say"), fmt.Sprintf("%s of readers equal it", plural(readers, "cluster", "clusters"))))
	}
	return found
}

func judgeUnusable(f *Facts) []Finding {
	var found []Finding
	for _, c := range f.View.View.Clusters() {
		if c.Quarantined > 0 {
			found = append(found, warning("See docs/operations.md, quarantined: update global-dns, or restart the agent, which publishes them anew.", "%s: the latest message of %s can't be used; what could stands", c.ID, plural(c.Quarantined, "fact", "facts")))
		}
	}
	if len(found) == 0 {
		found = append(found, healthy("every fact on the stream can be used"))
	}
	return found
}

// judgeInherited finds clusters that readers know from before the stream was lost.
func judgeInherited(f *Facts) []Finding {
	const fix = "Start the cluster's agent: it publishes everything again. Is the cluster gone for good? seamark leave withdraws it."
	var found []Finding
	for _, r := range f.answering() {
		var only []string
		for _, id := range slices.Sorted(maps.Keys(r.Digests)) {
			if f.View.Err == nil && f.NATS.Err == nil && !heardOf(id, append(r.Seen, f.View.View)...) {
				only = append(only, string(id))
			}
		}
		switch inherited := int(r.Metrics[clustersInherited]); {
		case len(only) > 0:
			found = append(found, warning(fix, "%s knows these only from before the stream was lost, for their agents have not published since: %s", r.URL, listed(only)))
		case inherited > 0:
			found = append(found, warning(fix, "%s knows %s from before the stream was lost, which have not published everything again", r.URL, plural(inherited, "cluster", "clusters")))
		}
	}
	if len(found) == 0 && len(f.answering()) > 0 {
		found = append(found, healthy("no replica knows anything from before a stream was lost"))
	}
	return found
}

// heardOf tells whether the stream speaks of a cluster.
func heardOf(id registry.ClusterID, views ...*registry.View) bool {
	return slices.ContainsFunc(views, func(v *registry.View) bool {
		return v != nil && (v.Cluster(id) != nil || v.State(id) != nil)
	})
}
