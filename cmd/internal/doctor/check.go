package doctor

import (
	"errors"
	"slices"
	"strings"
)

// check is one thing to look at.
type check struct {
	category Category
	name     string
	needs    func(*Facts) error     // why it can't be judged; nil when it can
	judge    func(*Facts) []Finding // pure; none: there is nothing to say
}

// checks are all there are, in the order in which they are shown.
func checks() []check {
	return []check{
		{NATS, "reachable", always, judgeReachable},
		{NATS, "jetstream", reachedNATS, judgeJetStream},
		{NATS, "streams", reachedNATS, judgeStreams},
		{NATS, "replicas", streams, judgeReplicas},
		{NATS, "history", streams, judgeHistory},
		{NATS, "storage", reachedNATS, judgeStorage},
		{NATS, "permissions", reachedNATS, judgeRights},
		{Clusters, "agents", signsAndView, judgeAgents},
		{Clusters, "registries", signsAndView, judgeRegistries},
		{Clusters, "takeovers", viewAndClock, judgeTakeovers},
		{Clusters, "standbys", always, judgeStandbys},
		{Clusters, "content", signsAndView, judgeContent},
		{Clusters, "unusable", view, judgeUnusable},
		{Clusters, "inherited", always, judgeInherited},
		{Clusters, "state", view, judgeState},
		{Clusters, "brakes", view, judgeBrakes},
		{Clusters, "orders", viewAndClock, judgeOrders},
		{Readers, "ready", always, judgeReady},
		{Readers, "lag", streams, judgeLag},
		{Readers, "serials", always, judgeSerials},
		{Readers, "cut-off", always, judgeCutOff},
		{Readers, "checkpoint", always, judgeCheckpoint},
		{Readers, "observer", signsAndView, judgeObserver},
		{Readers, "alarms", viewAndClock, judgeAlarms},
		{DNS, "answers", always, judgeAnswers},
		{DNS, "serial", streams, judgeSerial},
		{DNS, "service", view, judgeService},
		{DNS, "transfers", always, judgeTransfers},
		{Gateways, "declared", view, judgeDeclared},
		{Gateways, "reached", signsAndView, judgeReached},
		{Gateways, "latency", signsAndView, judgeLatency},
		{Credentials, "credentials", always, judgeCredentials},
		{Credentials, "certificates", always, judgeCertificates},
		{Clocks, "here", reachedNATS, judgeClockHere},
		{Clocks, "agents", signs, judgeClockAgents},
		{Clocks, "readers", signs, judgeClockReaders},
		{Configuration, "files", always, judgeFiles},
		{Configuration, "zone", view, judgeZone},
		{Configuration, "names", view, judgeNames},
		{Configuration, "ports", view, judgePorts},
	}
}

// Judge runs the checks of these categories, of all when none is given. It keeps the
// facts as they are.
func Judge(f *Facts, only []Category) Report {
	r := Report{Findings: []Finding{}, NotAsked: notAsked(f, only)}
	for _, c := range checks() {
		if len(only) > 0 && !slices.Contains(only, c.category) {
			continue
		}
		var found []Finding
		if err := c.needs(f); err != nil {
			found = []Finding{unknown("", "can't be told: %v", err)}
		} else {
			found = bounded(c.judge(f))
		}
		for _, finding := range found {
			finding.Category, finding.Check = c.category, c.name
			finding.Description = strings.Join(strings.Fields(finding.Description), " ") // errors may have lines
			r.Findings = append(r.Findings, finding)
		}
	}
	r.Status = worst(r.Findings)
	return r
}

// errNoNATS is why most can't be told while NATS is away; [judgeReachable] says more.
var errNoNATS = errors.New("NATS is not reached")

// What a check may need.

func always(*Facts) error { return nil }

func reachedNATS(f *Facts) error {
	if f.NATS.Err != nil {
		return errNoNATS
	}
	return nil
}

func streams(f *Facts) error { return firstError(reachedNATS(f), f.Streams.Err) }

func view(f *Facts) error { return firstError(reachedNATS(f), f.View.Err) }

func signs(f *Facts) error { return firstError(streams(f), f.Signs.Err) }

func viewAndClock(f *Facts) error { return firstError(view(f), f.Streams.Err) }

func signsAndView(f *Facts) error { return firstError(viewAndClock(f), f.Signs.Err) }

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// notAsked tells what an examination of these categories left out because nobody named it.
func notAsked(f *Facts, only []Category) []string {
	left := []string{}
	for _, part := range []struct {
		category Category
		missing  bool
		says     string
	}{
		{Readers, len(f.Readers) == 0, "readers: give --server URL for each global-dns"},
		{Clusters, len(f.Agents) == 0, "agents that stand by: give --agent URL for each edge-sync"},
		{Configuration, len(f.Configs) == 0, "configuration files: give --config FILE for each"},
		{DNS, f.Transfers == "", "zone transfers: say --transfers refused or allowed"},
	} {
		if part.missing && (len(only) == 0 || slices.Contains(only, part.category)) {
			left = append(left, part.says)
		}
	}
	return left
}
