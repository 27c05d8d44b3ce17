package main

import (
	"time"

	"github.com/seamark-mesh/seamark/cmd/internal/config"
	"github.com/seamark-mesh/seamark/sync/edge"
)

// Brake says when so much is deregistered at once that it is held back.
type Brake struct {
	Enabled   bool          `yaml:"enabled" default:"true" help:"hold back what was deregistered when it is much at once"`
	Share     int           `yaml:"share" default:"30" help:"percent of the services, or instances, that may be deregistered within the window"`
	Floor     int           `yaml:"floor" default:"10" help:"fewer services, or instances, than so many are never much"`
	Window    time.Duration `yaml:"window" default:"1m" help:"within which deregistrations are added up"`
	Policy    string        `yaml:"policy" default:"pass" help:"what nobody decides about: pass (after a time) or hold (for ever)"`
	PassAfter time.Duration `yaml:"pass_after" default:"15m" help:"after which it passes, with policy pass"`
}

// Bounds of the section.
const (
	maxFloor     = 1_000_000
	minWindow    = time.Second
	maxWindow    = time.Hour
	minPassAfter = time.Second
	maxPassAfter = 7 * 24 * time.Hour
)

const (
	policyPass = "pass"
	policyHold = "hold"
)

// check adds to the report what is wrong with the section.
func (b Brake) check(r *config.Report) {
	count := func(name string, n, most int) {
		if n < 1 || n > most {
			r.Add("brake."+name, "%d is not within 1 to %d", n, most)
		}
	}
	length := func(name string, d, least, most time.Duration) {
		if d < least || d > most {
			r.Add("brake."+name, "%v is not within %v to %v", d, least, most)
		}
	}
	count("share", b.Share, 100)
	count("floor", b.Floor, maxFloor)
	length("window", b.Window, minWindow, maxWindow)
	length("pass_after", b.PassAfter, minPassAfter, maxPassAfter)
	if b.Policy != policyPass && b.Policy != policyHold {
		r.Add("brake.policy", "%.64q is neither pass nor hold", b.Policy)
	}
}

// rules are the section as the agent takes it.
func (b Brake) rules() edge.BrakeRules {
	return edge.BrakeRules{
		Off: !b.Enabled, Share: b.Share, Floor: b.Floor, Window: b.Window, PassAfter: b.PassAfter, Stay: b.Policy == policyHold,
	}
}
