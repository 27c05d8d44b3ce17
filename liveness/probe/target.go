package probe

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// maxSaid bounds what is remembered as said.
const maxSaid = 1000

// SetTargets replaces the gateways that are probed of one cluster; none: the cluster is
// forgotten. A gateway that is not new, with the same addresses and the same probe, keeps
// its verdict and its place; one that is new has no verdict yet. Gateways that want no
// probe, and those all of whose addresses may not be probed, are left out; the latter are
// said once. The gateways are not changed and not kept.
func (p *Prober) SetTargets(cluster registry.ClusterID, gateways []registry.Gateway) {
	wanted := p.targets(cluster, gateways)
	p.mu.Lock()
	defer p.mu.Unlock()
	now, old, l := time.Now(), p.clusters[cluster], p.share.of(cluster)
	for name, g := range old {
		if same(g, wanted[name]) {
			wanted[name] = g
			continue
		}
		g.gone = true
		l.queue.drop(g)
		p.counts.Gateways--
		if g.judge.standing != unknown {
			p.turn(cluster)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		g := wanted[name]
		if old[name] == g {
			continue
		}
		if p.counts.Gateways >= MaxTargets {
			delete(wanted, name)
			if p.once("") {
				p.config.Logger.Warn("some gateways are not probed: there are too many", "cluster", string(cluster), "most", MaxTargets)
			}
			continue
		}
		p.counts.Gateways++
		g.line = l
		l.queue.push(g, first(now, p.config.Interval, p.random()))
	}
	if p.clusters[cluster] = wanted; len(wanted) == 0 {
		delete(p.clusters, cluster)
	}
	p.share.moved(l, now)
	p.share.leave(l)
	signal(p.wake)
}

func same(g, o *gateway) bool {
	return o != nil && g.plan == o.plan && slices.Equal(g.addresses, o.addresses)
}

// targets makes the gateways that may be probed, by name.
func (p *Prober) targets(cluster registry.ClusterID, gateways []registry.Gateway) map[string]*gateway {
	clean, _ := registry.CleanGateways(slices.Clone(gateways), true, nil) // what is wrong was refused where they came from
	wanted := make(map[string]*gateway, len(clean))
	for _, g := range clean {
		how, ok := planOf(g)
		if !ok {
			continue
		}
		allowed := slices.DeleteFunc(slices.Clone(g.Addresses), func(a netip.Addr) bool {
			return registry.CheckGatewayAddress(a, false, p.config.Allow) != nil
		})
		if len(allowed) < len(g.Addresses) {
			p.sayRefused(cluster, g.Name, len(allowed))
		}
		if len(allowed) > 0 {
			wanted[g.Name] = &gateway{cluster: cluster, name: g.Name, addresses: allowed, plan: how, place: nowhere}
		}
	}
	return wanted
}

// sayRefused warns once of a gateway.
func (p *Prober) sayRefused(cluster registry.ClusterID, gateway string, left int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.once(string(cluster) + "/" + gateway) {
		p.config.Logger.Warn("addresses of a gateway are not probed: they are loopback, link-local or metadata addresses, and probes.allow does not cover them",
			"cluster", string(cluster), "gateway", gateway, "probed", left)
	}
}

// once reports whether nothing was said yet about one thing. p.mu is held.
func (p *Prober) once(about string) bool {
	if _, ok := p.said[about]; ok || len(p.said) >= maxSaid {
		return false
	}
	p.said[about] = struct{}{}
	return true
}

// Clusters returns the clusters with a gateway that is probed, sorted.
func (p *Prober) Clusters() []registry.ClusterID {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Sorted(maps.Keys(p.clusters))
}

// Verdicts returns what is known of a cluster's gateways, sorted by name: those that
// have a verdict. A gateway that was reached, and whose probes have not had their turn for
// several intervals, has none any more; one that was not reached keeps it, with an error
// that says so. Since is by this machine's clock. The caller owns the result.
func (p *Prober) Verdicts(cluster registry.ClusterID) []registry.GatewayReport {
	p.mu.Lock()
	defer p.mu.Unlock()
	now, all := time.Now(), make([]registry.GatewayReport, 0, len(p.clusters[cluster]))
	for _, g := range p.clusters[cluster] {
		starved, failure := p.starved(g, now), g.failure
		if g.judge.standing == unknown || starved && g.judge.standing == reached {
			continue
		}
		if starved {
			failure = clip(fmt.Sprintf("not probed for %v; before that: %s", now.Sub(g.ended).Round(time.Second), failure))
		}
		all = append(all, registry.GatewayReport{
			Name: g.name, Reached: g.judge.standing == reached, Since: g.judge.since.UTC(), Error: failure, Latency: g.latencies.latency(),
		})
	}
	slices.SortFunc(all, func(a, b registry.GatewayReport) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// Counts returns what was done until now.
func (p *Prober) Counts() Counts {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.counts
}

// takeTurned returns the clusters of which there is news since it was called last.
func (p *Prober) takeTurned() []registry.ClusterID {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := slices.Collect(maps.Keys(p.turned))
	clear(p.turned)
	return all
}
