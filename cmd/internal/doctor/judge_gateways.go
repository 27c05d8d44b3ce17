package doctor

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// Bounds for probes.
const (
	reportLasts = 30 * time.Second // or three times what the report says of the next one
	slowPath    = 500.0            // milliseconds, p99
)

func judgeDeclared(f *Facts) []Finding {
	var found []Finding
	count := 0
	for _, c := range f.present() {
		if c.Record == nil || len(c.Record.Gateways) == 0 {
			found = append(found, critical("Give it gateways in its agent's configuration, or look why the service that names them has no healthy instance.", "%s has no gateway: nothing of it is answered", c.ID))
			continue
		}
		count += len(c.Record.Gateways)
	}
	if len(found) == 0 && count > 0 {
		found = append(found, healthy("%s in %s", plural(count, "gateway", "gateways"), plural(len(f.present()), "cluster", "clusters")))
	}
	return found
}

// sight is what the vantage points see of one gateway. A cluster's own agent has no say.
type sight struct {
	cluster  registry.ClusterID
	gateway  string
	reached  []string // vantage points
	failed   []string // likewise, with the reason
	own      bool     // its own agent reaches it
	slowest  float64  // p99 in milliseconds
	slowFrom string
	mean     float64 // of the quickest way
}

// sights returns what is seen of each gateway that is to be probed.
func (f *Facts) sights() []sight {
	var all []sight
	for _, c := range f.present() {
		if c.Record == nil {
			continue
		}
		for _, g := range c.Record.Gateways {
			if _, port := g.ProbePort(); port != 0 {
				all = append(all, f.sight(c.ID, g.Name))
			}
		}
	}
	return all
}

func (f *Facts) sight(id registry.ClusterID, gateway string) sight {
	s := sight{cluster: id, gateway: gateway}
	for _, r := range f.Signs.Reports {
		if r.Cluster != id || f.age(r.Stored) > max(reportLasts, time.Duration(3*r.Every*float64(time.Second))) {
			continue
		}
		n := slices.IndexFunc(r.Gateways, func(g registry.GatewayReport) bool { return g.Name == gateway })
		if n < 0 {
			continue
		}
		g := r.Gateways[n]
		switch {
		case r.Vantage == string(id):
			s.own = g.Reached
			continue
		case g.Reached:
			s.reached = append(s.reached, r.Vantage)
		default:
			s.failed = append(s.failed, strings.TrimSuffix(r.Vantage+": "+g.Error, ": "))
		}
		if l := g.Latency; l != nil && l.Count > 0 {
			if l.P99 > s.slowest {
				s.slowest, s.slowFrom = l.P99, r.Vantage
			}
			if s.mean == 0 || l.Mean < s.mean {
				s.mean = l.Mean
			}
		}
	}
	return s
}

func judgeReached(f *Facts) []Finding {
	var found []Finding
	good, unreached := 0, map[registry.ClusterID]int{}
	var never []string
	all := f.sights()
	for _, s := range all {
		if len(s.failed) > len(s.reached) {
			unreached[s.cluster]++
		}
	}
	for _, s := range all {
		what := fmt.Sprintf("%s/%s", s.cluster, s.gateway)
		switch votes := len(s.reached) + len(s.failed); {
		case votes == 0:
			never = append(never, what)
		case len(s.failed) == 0:
			good++
		case len(s.failed) <= len(s.reached):
			found = append(found, warning("Look at the way from there.", "%s is not reached from %d of %d vantage points: %s", what, len(s.failed), votes, strings.Join(s.failed, "; ")))
		default:
			text := fmt.Sprintf("%s is not reached (%d of %d vantage points): %s", what, len(s.failed), votes, strings.Join(s.failed, "; "))
			if s.own {
				text += "; its own agent reaches it"
			}
			declared := len(f.View.View.Cluster(s.cluster).Record.Gateways)
			if unreached[s.cluster] < declared {
				found = append(found, warning("Start it, or look at the way to it; the cluster's others are answered.", "%s", text))
			} else {
				found = append(found, critical("Start it, or look at the way to it; other clusters are answered where they can serve.", "%s", text))
			}
		}
	}
	if len(never) > 0 {
		found = append(found, warning("Is probes.enabled false everywhere, may none write its reports, or are the addresses loopback, link-local or metadata and in no probes.allow?",
			"whether these can be reached is not known, for nobody but their own clusters probes them: %s", listed(never)))
	}
	if len(found) == 0 && good > 0 {
		found = append(found, healthy("%s reached from everywhere that tells", plural(good, "gateway is", "gateways are")))
	}
	return found
}

func judgeLatency(f *Facts) []Finding {
	var found []Finding
	known, longest := 0, sight{}
	for _, s := range f.sights() {
		if s.mean == 0 {
			continue
		}
		known++
		if s.slowest > longest.slowest {
			longest = s
		}
		if s.slowest > slowPath {
			found = append(found, warning("Look at the way between them, and at the gateway's load.", "%s/%s: a connection from %s takes up to %.0f ms (p99)", s.cluster, s.gateway, s.slowFrom, s.slowest))
		}
	}
	if len(found) == 0 && known > 0 {
		found = append(found, healthy("the longest way is to %s/%s: %.1f ms from %s (p99)", longest.cluster, longest.gateway, longest.slowest, longest.slowFrom))
	}
	return found
}
