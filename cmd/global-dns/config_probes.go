package main

import (
	"net/netip"
	"os"
	"time"

	"github.com/seamark-mesh/seamark/cmd/internal/config"
	"github.com/seamark-mesh/seamark/cmd/internal/probing"
	"github.com/seamark-mesh/seamark/registry"
)

// Probes is the section about probes of gateways: [probing.Section], and who reports.
type Probes struct {
	Enabled     bool           `yaml:"enabled" default:"true" help:"probe the gateways of all clusters and report what is found"`
	Vantage     string         `yaml:"vantage" help:"name of this replica as a vantage point, one DNS label; the host's name when empty"`
	Interval    time.Duration  `yaml:"interval" default:"2s" help:"between two probes of a gateway"`
	Timeout     time.Duration  `yaml:"timeout" default:"1s" help:"after which a probe has failed"`
	Rise        int            `yaml:"rise" default:"2" help:"successes in a row after which a gateway counts as reached"`
	Fall        int            `yaml:"fall" default:"3" help:"failures in a row after which a gateway counts as not reached"`
	Concurrency int            `yaml:"concurrency" default:"64" help:"probes at one time"`
	Allow       []netip.Prefix `yaml:"allow" help:"networks in which gateways are probed although their addresses are loopback, link-local or metadata addresses"`
}

// section returns what both daemons have in common.
func (p Probes) section() probing.Section {
	return probing.Section{
		Enabled: p.Enabled, Interval: p.Interval, Timeout: p.Timeout, Rise: p.Rise, Fall: p.Fall, Concurrency: p.Concurrency, Allow: p.Allow,
	}
}

// check adds to the report what is wrong with the section.
func (p Probes) check(r *config.Report) {
	p.section().Check(r, "probes")
	if _, err := registry.ParseVantage(registry.VantagePrefix + p.Vantage); p.Vantage != "" && err != nil {
		r.Add("probes.vantage", "%.80q is no DNS label of at most %d bytes; write for example dns-1", p.Vantage, probing.MaxVantage)
	}
}

// vantage names this replica as a vantage point. It should be the only one of that name.
func (p Probes) vantage() string {
	if p.Vantage != "" {
		return registry.VantagePrefix + p.Vantage
	}
	host, err := os.Hostname()
	if err != nil {
		host = ""
	}
	return registry.VantagePrefix + probing.Label(host)
}
