package main

import (
	"os"

	"github.com/seamark-mesh/seamark/cmd/internal/config"
	"github.com/seamark-mesh/seamark/cmd/internal/probing"
	"github.com/seamark-mesh/seamark/registry"
)

// Probes is the section about probes of gateways: what both daemons have in common, and
// who reports.
type Probes struct {
	probing.Section `yaml:",inline"`
	Vantage         string `yaml:"vantage" help:"name of this replica as a vantage point, one DNS label; the host's name when empty"`
}

// check adds to the report what is wrong with the section.
func (p Probes) check(r *config.Report) {
	p.Check(r, "probes")
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
