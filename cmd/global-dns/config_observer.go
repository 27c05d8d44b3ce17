package main

import (
	"time"

	"github.com/seamark-mesh/seamark/cmd/internal/config"
	elected "github.com/seamark-mesh/seamark/liveness/observer"
	"github.com/seamark-mesh/seamark/registry"
)

// Observer is the section about the observer, which decides which clusters are up.
type Observer struct {
	Enabled   bool          `yaml:"enabled" default:"true" help:"take part in the election of the observer, which decides which clusters are up"`
	Lapse     time.Duration `yaml:"lapse" default:"10s" help:"without renewal after which the lease of a cluster's agent has lapsed"`
	DownAfter time.Duration `yaml:"down_after" default:"5m" help:"for how long the lease and all gateways must be bad until a cluster is down"`
	Failback  time.Duration `yaml:"failback" default:"10s" help:"for how long both must be good until a cluster is up again"`
	ReportAge time.Duration `yaml:"report_age" default:"30s" help:"age beyond which what a vantage point reports of gateways does not count"`
}

// Bounds of the section. Agents renew their leases every 2 s, and vantage points repeat
// their reports every 10 s.
const (
	minLapse, maxLapse         = 5 * time.Second, 10 * time.Minute
	maxDownAfter               = 24 * time.Hour
	maxFailback                = time.Hour
	minReportAge, maxReportAge = 20 * time.Second, time.Hour
)

// check adds to the report what is wrong with the section.
func (o Observer) check(r *config.Report) {
	if o.Lapse < minLapse || o.Lapse > maxLapse {
		r.Add("observer.lapse", "%v is not within %v and %v: agents renew their leases every 2s", o.Lapse, minLapse, maxLapse)
	}
	if o.DownAfter < 0 || o.DownAfter > maxDownAfter {
		r.Add("observer.down_after", "%v is not within 0s and %v", o.DownAfter, maxDownAfter)
	}
	if o.Failback < 0 || o.Failback > maxFailback {
		r.Add("observer.failback", "%v is not within 0s and %v", o.Failback, maxFailback)
	}
	if o.ReportAge < minReportAge || o.ReportAge > maxReportAge {
		r.Add("observer.report_age", "%v is not within %v and %v: reports are repeated every 10s", o.ReportAge, minReportAge, maxReportAge)
	}
}

// settings returns what may change while the observer runs. The history is told of this
// section alone: of the others each replica has its own, and no state follows from them.
func (o Observer) settings() elected.Settings {
	d := config.Describe(struct {
		Observer Observer `yaml:"observer"`
	}{o})
	return elected.Settings{
		Lapse: o.Lapse, DownAfter: o.DownAfter, Failback: o.Failback, ReportAge: o.ReportAge,
		Configuration: registry.Configuration{Revision: d.Revision(), Fields: d.Fields()},
	}
}
