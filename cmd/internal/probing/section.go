package probing

import (
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"github.com/seamark-mesh/seamark/cmd/internal/config"
	"github.com/seamark-mesh/seamark/liveness/probe"
	"github.com/seamark-mesh/seamark/registry"
)

// Section is the part of the configuration that both daemons have in common.
type Section struct {
	Enabled     bool           `yaml:"enabled" default:"true" help:"probe the gateways of all clusters and report what is found"`
	Interval    time.Duration  `yaml:"interval" default:"2s" help:"between two probes of a gateway"`
	Timeout     time.Duration  `yaml:"timeout" default:"1s" help:"after which a probe has failed"`
	Rise        int            `yaml:"rise" default:"2" help:"successes in a row after which a gateway counts as reached"`
	Fall        int            `yaml:"fall" default:"3" help:"failures in a row after which a gateway counts as not reached"`
	Concurrency int            `yaml:"concurrency" default:"64" help:"probes at one time"`
	Allow       []netip.Prefix `yaml:"allow" help:"networks in which gateways are probed although their addresses are loopback, link-local or metadata addresses"`
}

// Bounds of the section.
const (
	minInterval    = time.Second
	maxInterval    = 5 * time.Minute
	minTimeout     = 100 * time.Millisecond
	maxRun         = 10
	maxConcurrency = 1024
)

// Check adds to the report what is wrong with the section at field.
func (s Section) Check(r *config.Report, field string) {
	if s.Interval < minInterval || s.Interval > maxInterval {
		r.Add(field+".interval", "%v is not within %v to %v", s.Interval, minInterval, maxInterval)
	}
	if s.Timeout < minTimeout || s.Timeout > s.Interval && !r.Bad(field+".interval") {
		r.Add(field+".timeout", "%v is not within %v and the interval, which is %v", s.Timeout, minTimeout, s.Interval)
	}
	count := func(name string, n, most int) {
		if n < 1 || n > most {
			r.Add(field+"."+name, "%d is not within 1 to %d", n, most)
		}
	}
	count("rise", s.Rise, maxRun)
	count("fall", s.Fall, maxRun)
	count("concurrency", s.Concurrency, maxConcurrency)
}

// Prober returns a Prober as the section wants it; nil when there is to be none.
func (s Section) Prober(logger *slog.Logger) *probe.Prober {
	if !s.Enabled {
		return nil
	}
	return probe.New(probe.Config{
		Interval: s.Interval, Timeout: s.Timeout, Rise: s.Rise, Fall: s.Fall, Concurrency: s.Concurrency, Allow: s.Allow, Logger: logger,
	})
}

// MaxVantage bounds the label of a vantage point that is no cluster's agent, in bytes.
const MaxVantage = 63 - len(registry.VantagePrefix)

// Label makes the label of a vantage point from the name of a host. One that is too long
// is cut and gets a hash of the whole.
func Label(host string) string {
	label := registry.Label(host)
	switch {
	case label == "":
		return "unnamed"
	case len(label) > MaxVantage:
		sum := sha256.Sum256([]byte(host))
		return strings.TrimRight(label[:MaxVantage-9], "-") + "-" + hex.EncodeToString(sum[:4])
	}
	return label
}
