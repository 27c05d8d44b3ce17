package registry

import (
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// ProbeReport is what one vantage point sees of one cluster's gateways. Only the
// latest stands. It shapes nothing by itself: the observer weighs it.
type ProbeReport struct {
	Schema   string          `json:"schema"`
	Vantage  string          `json:"vantage"` // a ClusterID (its agent), or the name of a global-dns, which begins with "_dns-"
	Agent    string          `json:"agent"`   // host and process
	Cluster  ClusterID       `json:"cluster"`
	Time     time.Time       `json:"time"` // when it was written, by its own clock
	Gateways []GatewayReport `json:"gateways"`

	// Every bounds when the next one comes, in seconds: a vantage point with many clusters
	// to tell of does so less often. 0: it does not say.
	Every float64 `json:"every_seconds,omitempty"`
	Cut   bool    `json:"cut,omitempty"` // latencies, and perhaps errors, were left out so that it fits
}

// GatewayReport is what a vantage point sees of one gateway. A gateway that it does not
// probe, or of which it can't tell yet, is in no report.
type GatewayReport struct {
	Name    string    `json:"name"`
	Reached bool      `json:"reached"`         // after rise and fall
	Since   time.Time `json:"since"`           // when that turned
	Error   string    `json:"error,omitempty"` // of the last probe that failed
	Latency *Latency  `json:"latency,omitempty"`
}

// Latency is the path delay to a gateway over the last probes that succeeded, in
// milliseconds.
type Latency struct {
	Count int     `json:"count"`
	Min   float64 `json:"min_ms"`
	Mean  float64 `json:"mean_ms"`
	P99   float64 `json:"p99_ms"`
}

// VantagePrefix begins the names of vantage points that are no cluster's agent, so
// that no ClusterID equals one.
const VantagePrefix = "_dns-"

// ParseVantage accepts a ClusterID, or [VantagePrefix] and a DNS label of at most 58 bytes.
func ParseVantage(s string) (string, error) {
	label := strings.TrimPrefix(s, VantagePrefix)
	if !isLabel(label) || len(s) > maxLabel {
		return "", refuse("vantage", "%q is no vantage point: a cluster id, or %s and a DNS label", clip(s), VantagePrefix)
	}
	return s, nil
}

const (
	maxReport = 512 << 10 // bytes of an encoded report: MaxGateways fit
	maxEvery  = 3600      // seconds; nothing is fresh for longer
)

// EncodeProbeReport returns the report as JSON.
func EncodeProbeReport(r ProbeReport) ([]byte, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return nil, refuse("encode", "probe report of %s: %v", clip(r.Vantage), err)
	}
	return body, nil
}

// DecodeProbeReport validates a report. The error is a [*Refusal].
func DecodeProbeReport(body []byte) (ProbeReport, error) {
	if len(body) > maxReport || jsonDepth(body) > MaxDepth {
		return ProbeReport{}, refuse("too-large", "a probe report of %d bytes", len(body))
	}
	var r ProbeReport
	if err := json.Unmarshal(body, &r); err != nil {
		return ProbeReport{}, refuse("not-json", "no probe report: %s", clip(err.Error()))
	}
	major, _, _ := strings.Cut(Schema, ".")
	if theirs, _, _ := strings.Cut(r.Schema, "."); theirs != major {
		return ProbeReport{}, refuse("schema", "schema %q is not understood; this version reads %s", clip(r.Schema), Schema)
	}
	if _, err := ParseVantage(r.Vantage); err != nil {
		return ProbeReport{}, err
	}
	if _, err := ParseClusterID(string(r.Cluster)); err != nil {
		return ProbeReport{}, err
	}
	if !isText(r.Agent) || len(r.Gateways) > MaxGateways {
		return ProbeReport{}, refuse("probe", "a report with an agent that is no text, or of more than %d gateways", MaxGateways)
	}
	if r.Every < 0 || r.Every > maxEvery {
		return ProbeReport{}, refuse("probe", "a report that comes every %g seconds, not 0 to %d", r.Every, maxEvery)
	}
	for _, g := range r.Gateways {
		if !isLabel(g.Name) || len(g.Error) > maxReason || !printable(g.Error) {
			return ProbeReport{}, refuse("probe", "the report about gateway %q is not valid", clip(g.Name))
		}
		if l := g.Latency; l != nil && (l.Count < 0 || l.Min < 0 || l.Mean < 0 || l.P99 < 0) {
			return ProbeReport{}, refuse("probe", "the latency of gateway %s is negative", g.Name)
		}
	}
	slices.SortFunc(r.Gateways, func(a, b GatewayReport) int { return strings.Compare(a.Name, b.Name) })
	for n := 1; n < len(r.Gateways); n++ {
		if r.Gateways[n].Name == r.Gateways[n-1].Name {
			return ProbeReport{}, refuse("probe", "gateway %s is reported twice", r.Gateways[n].Name)
		}
	}
	return r, nil
}
