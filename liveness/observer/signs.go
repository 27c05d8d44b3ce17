package observer

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seamark-mesh/seamark/liveness"
	"github.com/seamark-mesh/seamark/registry"
)

// maxReports bounds the reports that are kept, one for each vantage point and cluster.
const maxReports = 100_000

// signs holds what was last heard of everybody. Its ages are by this process's
// monotonic clock and count only while leases arrive: every lease that is newer than
// all before shows that the watch is alive and delivers in order. Where that pauses,
// all ages begin anew.
type signs struct {
	silence time.Duration // the longest pause

	mu      sync.Mutex // guards what follows
	pulse   time.Time  // when a newer lease was last received; zero: never
	since   time.Time  // since when the pulse has not paused
	latest  time.Time  // the stream's clock at the pulse
	leases  map[registry.Writer]*heard
	reports map[string]map[registry.ClusterID]report
	count   int // of the reports
}

// heard is a writer's lease.
type heard struct {
	registry.Lease
	stored  time.Time
	renewed time.Time // when it was last seen to move; zero: it stands as it was found
}

// report is what a vantage point says of a cluster.
type report struct {
	stored, received time.Time
	reached          map[string]bool
	every            time.Duration // until the next one at the latest
}

// age is how old the report may become: so old that the next one, and the one after
// it, must be lost, for a vantage point with many clusters reports on each seldom.
func (r report) age(settings Settings) time.Duration {
	return min(max(settings.ReportAge, 3*r.every), longestReportAge*settings.ReportAge)
}

// longestReportAge bounds what a vantage point may ask for, in ages of a report.
const longestReportAge = 10

func newSigns(silence time.Duration) *signs {
	return &signs{silence: silence, leases: map[registry.Writer]*heard{}, reports: map[string]map[registry.ClusterID]report{}}
}

// lease takes in a lease. The first one of a writer may have stood there for long, so
// it is no renewal.
func (s *signs) lease(l registry.Lease, stored, received time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.leases[l.Writer]
	again := h != nil && stored.Equal(h.stored) // delivered once more
	if !again && !stored.Equal(s.latest) {
		back := stored.Before(s.latest.Add(-s.silence)) // the server's clock was set back, or another one leads
		if s.pulse.IsZero() || received.Sub(s.pulse) > s.silence || back {
			s.since = received
		}
		s.pulse, s.latest = received, stored
	}
	switch {
	case h == nil && len(s.leases) > registry.MaxClusters:
		return
	case h == nil:
		s.leases[l.Writer] = &heard{Lease: l, stored: stored}
	case !again:
		h.Lease, h.stored, h.renewed = l, stored, received
	}
}

// report takes in a vantage point's report.
func (s *signs) report(r registry.ProbeReport, stored, received time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	of := s.reports[r.Vantage]
	if _, known := of[r.Cluster]; !known {
		if s.count >= maxReports {
			return
		}
		s.count++
	}
	if of == nil {
		of = map[registry.ClusterID]report{}
		s.reports[r.Vantage] = of
	}
	next := report{stored: stored, received: received, reached: make(map[string]bool, len(r.Gateways)), every: time.Duration(r.Every * float64(time.Second))}
	for _, g := range r.Gateways {
		next.reached[g.Name] = g.Reached
	}
	of[r.Cluster] = next
}

// observer returns the latest lease of the observer, whoever that is; false when none
// was renewed within two pauses.
func (s *signs) observer() (registry.Lease, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.leases[registry.Observer]
	if h == nil || h.Phase == registry.PhaseStopped || h.renewed.IsZero() || time.Since(h.renewed) > 2*s.silence {
		return registry.Lease{}, false
	}
	return h.Lease, true
}

// sight is what can be seen at one moment.
type sight struct {
	*signs
	now      time.Time
	settings Settings
	ballots  map[registry.ClusterID][]liveness.Ballot
	doubtful map[string]bool // vantage points
}

// look returns what is seen now; false while leases do not arrive. The caller calls
// done when it has looked.
func (s *signs) look(now time.Time, settings Settings) (seen sight, ok bool) {
	s.mu.Lock()
	if s.pulse.IsZero() || now.Sub(s.pulse) > s.silence {
		s.mu.Unlock()
		return sight{}, false
	}
	seen = sight{signs: s, now: now, settings: settings, ballots: map[registry.ClusterID][]liveness.Ballot{}, doubtful: map[string]bool{}}
	clock := seen.clock()
	for vantage, of := range s.reports {
		var all []liveness.Ballot
		for cluster, r := range of {
			if now.Sub(r.received) > longestReportAge*settings.ReportAge {
				delete(of, cluster)
				s.count--
			}
			if age := r.age(settings); now.Sub(r.received) > age || clock.Sub(r.stored) > age {
				continue
			}
			all = append(all, liveness.Ballot{Vantage: vantage, Cluster: cluster, Reached: r.reached})
		}
		if len(of) == 0 {
			delete(s.reports, vantage)
		}
		seen.doubtful[vantage] = liveness.Doubtful(all)
		for _, b := range all {
			seen.ballots[b.Cluster] = append(seen.ballots[b.Cluster], b)
		}
	}
	return seen, true
}

func (s sight) done() { s.mu.Unlock() }

// clock estimates the stream's clock.
func (s sight) clock() time.Time { return s.latest.Add(s.now.Sub(s.pulse)).UTC() }

// leaseOf tells what is to be made of a cluster's lease, and since when it has not
// been renewed, as far as that was watched.
func (s sight) leaseOf(cluster registry.ClusterID) (state liveness.Lease, unrenewed time.Duration) {
	h := s.leases[registry.Writer(cluster)]
	begin, renewed := s.since, false
	if h != nil && !h.renewed.IsZero() && !h.renewed.Before(s.since) {
		begin, renewed = h.renewed, true
	}
	unrenewed = s.now.Sub(begin)
	switch {
	case unrenewed >= s.settings.Lapse:
		return liveness.LeaseLapsed, unrenewed
	case renewed:
		return liveness.LeaseFresh, unrenewed
	}
	return liveness.LeaseUnknown, unrenewed
}

// silentFor returns since when a cluster has been silent, by the stream's clock: at
// least since it was found so.
func (s sight) silentFor(cluster registry.ClusterID, found *registry.StandingState) time.Duration {
	if h := s.leases[registry.Writer(cluster)]; h != nil {
		return s.clock().Sub(h.stored)
	}
	if found != nil && found.State != registry.Up {
		return s.clock().Sub(found.Since)
	}
	return 0
}

// gateways tells which gateways of a cluster fail, given those of which it is said.
func (s sight) gateways(c *registry.ClusterState, failing []string) (next []string, reach liveness.Reach, votes []registry.Vote) {
	var all []registry.Gateway
	if c != nil && c.Record != nil {
		all = c.Record.Gateways
	}
	var ballots []liveness.Ballot
	if c != nil {
		ballots = s.ballots[c.ID]
	}
	verdicts, votes := liveness.Weigh(all, ballots, func(vantage string) bool { return s.doubtful[vantage] })
	votes = votes[:min(len(votes), registry.MaxVantages)]
	next, reach = liveness.Settle(all, verdicts, failing)
	awaited := slices.ContainsFunc(all, func(g registry.Gateway) bool { _, port := g.ProbePort(); return port != 0 })
	if reach == liveness.ReachUntold && awaited && s.now.Sub(s.since) < s.settings.ReportAge {
		return failing, liveness.ReachUnknown, votes
	}
	return next, reach, votes
}

// evidence is what a state rests on.
func (s sight) evidence(cluster registry.ClusterID, votes []registry.Vote) *registry.Evidence {
	e := &registry.Evidence{Votes: votes}
	if h := s.leases[registry.Writer(cluster)]; h != nil {
		e.Phase, e.Epoch, e.Revision = h.Phase, h.Epoch, h.Revision
		e.LeaseAge = max(s.clock().Sub(h.stored), 0).Round(100 * time.Millisecond).Seconds()
	}
	return e
}

// most bounds a list of names in bytes: it must have room in the data of a note.
const most = registry.MaxMetaValue - 8

// names joins the names of clusters, sorted, for a person.
func names(clusters []registry.ClusterID) string {
	texts := make([]string, len(clusters))
	for n, c := range clusters {
		texts[n] = string(c)
	}
	slices.Sort(texts)
	all := strings.Join(texts, ", ")
	for len(all) > most {
		all = all[:strings.LastIndex(all[:most], ", ")] + " …"
	}
	return all
}
