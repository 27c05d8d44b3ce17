package registry

import (
	"slices"
	"strings"
	"time"
)

// Liveness is what the observer holds of a cluster, from two signals: the lease of
// its agent, and whether its gateways can be reached.
//
//	lease    gateways       Liveness       is answered with
//	fresh    reached        Up             always
//	lapsed   reached        Stale          while no cluster that is Up can serve
//	fresh    not reached    Unreachable    while none of these can, drained ones included
//	lapsed   not reached    Down           while no other cluster can serve
//	silent for half of the history's age
//	                        Gone           never: as if it had not been heard of
//
// A cluster of which the observer has said nothing counts as Up.
type Liveness string

// The values of [Liveness].
const (
	Up          Liveness = "up"
	Unreachable Liveness = "unreachable"
	Stale       Liveness = "stale"
	Down        Liveness = "down"
	Gone        Liveness = "gone"
)

// Bounds of a [StateRecord].
const (
	MaxVantages = 64 // vantage points that are named as evidence
	maxReason   = 1024
)

// StateRecord is a transition that the observer publishes, with what it rests on.
// It stands until the next one of the same cluster.
type StateRecord struct {
	Cluster ClusterID `json:"cluster"`
	State   Liveness  `json:"state"`
	Since   time.Time `json:"since"`  // when the signals turned, by the stream's clock
	Reason  string    `json:"reason"` // a sentence

	// Failing are the gateways that can't be reached, by name, sorted. They are left
	// out of answers while the cluster has others.
	Failing  []string  `json:"failing,omitempty"`
	Evidence *Evidence `json:"evidence,omitempty"`
}

// Evidence is what the observer saw when it decided.
type Evidence struct {
	Phase    Phase   `json:"phase,omitempty"`             // in the latest lease
	LeaseAge float64 `json:"lease_age_seconds,omitempty"` // since it was renewed
	Epoch    uint64  `json:"epoch,omitempty"`
	Revision uint64  `json:"revision,omitempty"`
	Votes    []Vote  `json:"votes,omitempty"` // sorted by vantage point; at most MaxVantages
}

// Vote is what one vantage point reports of a cluster's gateways.
type Vote struct {
	Vantage string `json:"vantage"`
	Reached int    `json:"reached"` // gateways
	Failed  int    `json:"failed"`
}

// Equal compares what shapes the zone and what a person reads; not the evidence.
func (s StateRecord) Equal(o StateRecord) bool {
	return s.Cluster == o.Cluster && s.State == o.State && s.Since.Equal(o.Since) && s.Reason == o.Reason && slices.Equal(s.Failing, o.Failing)
}

// checkStateRecord validates a record that came from the stream.
func checkStateRecord(s *StateRecord) *Refusal {
	if _, err := ParseClusterID(string(s.Cluster)); err != nil {
		return err.(*Refusal)
	}
	switch s.State {
	case Up, Unreachable, Stale, Down, Gone:
	default:
		return refuse("state", "%q is no state of a cluster", clip(string(s.State)))
	}
	if len(s.Reason) > maxReason || !printable(s.Reason) {
		return refuse("state", "the reason of a state is longer than %d bytes or not printable", maxReason)
	}
	if len(s.Failing) > MaxGateways || !slices.IsSorted(s.Failing) || slices.ContainsFunc(s.Failing, func(g string) bool { return !isLabel(g) }) {
		return refuse("state", "the failing gateways of %s are too many, not sorted, or no labels", s.Cluster)
	}
	if e := s.Evidence; e != nil {
		if len(e.Votes) > MaxVantages || !isText(string(e.Phase)) ||
			slices.ContainsFunc(e.Votes, func(v Vote) bool { return !isText(v.Vantage) || v.Reached < 0 || v.Failed < 0 }) {
			return refuse("state", "the evidence about %s is not valid", s.Cluster)
		}
	}
	return nil
}

// Probe says how to find out whether a gateway can be reached. The zero Probe stands
// for the defaults.
type Probe struct {
	Kind   string `json:"kind,omitempty"`   // ProbeTCP (the default), ProbeHTTP, ProbeHTTPS or ProbeNone
	Port   int    `json:"port,omitempty"`   // 0: the gateway's first port, by name
	Path   string `json:"path,omitempty"`   // of http(s); "/" by default
	Host   string `json:"host,omitempty"`   // of http(s): the Host header and the name in the certificate; by default the address
	Status int    `json:"status,omitempty"` // of http(s): the one that is expected; 0: any of 200 to 399
}

// The kinds of [Probe].
const (
	ProbeTCP   = "tcp"   // a connection is accepted
	ProbeHTTP  = "http"  // GET over plain HTTP
	ProbeHTTPS = "https" // GET over TLS; the certificate is not verified, for reaching is the question
	ProbeNone  = "none"  // never: the lease alone tells
)

// checkProbe tells what is wrong with a gateway's probe; nil when nothing is.
func checkProbe(g Gateway) *Refusal {
	p := g.Probe
	if p == nil {
		return nil
	}
	bad := func(format string, args ...any) *Refusal {
		return refuse("gateway-probe", "gateway "+g.Name+": "+format, args...)
	}
	switch p.Kind {
	case "", ProbeTCP, ProbeNone:
		if p.Path != "" || p.Host != "" || p.Status != 0 {
			return bad("path, host and status belong to probes of kind http and https")
		}
	case ProbeHTTP, ProbeHTTPS:
	default:
		return bad("%q is no kind of probe: write tcp, http, https or none", clip(p.Kind))
	}
	switch {
	case p.Port < 0 || p.Port > 65535:
		return bad("the probe's port %d is not within 1 to 65535", p.Port)
	case p.Path != "" && (p.Path[0] != '/' || len(p.Path) > 255 || !visible(p.Path)):
		return bad("the probe's path %q is not one of at most 255 visible characters that begins with /", clip(p.Path))
	case len(p.Host) > 253 || strings.ContainsAny(p.Host, "/\\@ ") || !visible(p.Host):
		return bad("the probe's host %q is no host name", clip(p.Host))
	case p.Status != 0 && (p.Status < 100 || p.Status > 599):
		return bad("the probe's status %d is not within 100 to 599", p.Status)
	}
	return nil
}

// visible reports whether s has only printable ASCII without spaces.
func visible(s string) bool {
	for n := range len(s) {
		if s[n] <= ' ' || s[n] >= 0x7f {
			return false
		}
	}
	return true
}

// ProbePort returns the kind and the port of a gateway's probe. Port 0 says that
// there is nothing to probe: the gateway has no port, or its cluster wants none.
func (g Gateway) ProbePort() (kind string, port int) {
	kind = ProbeTCP
	if g.Probe != nil && g.Probe.Kind != "" {
		kind = g.Probe.Kind
	}
	if kind == ProbeNone {
		return kind, 0
	}
	if g.Probe != nil && g.Probe.Port != 0 {
		return kind, g.Probe.Port
	}
	first := ""
	for name := range g.Ports {
		if first == "" || name < first {
			first = name
		}
	}
	return kind, g.Ports[first]
}
