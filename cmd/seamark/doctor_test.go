package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/seamark-mesh/seamark/cmd/internal/doctor"
	"github.com/seamark-mesh/seamark/cmd/internal/proc"
)

// examined is a report with two findings that need the same, two that could not be told
// for the same reason, and text that would steer a terminal.
func examined() doctor.Report {
	return doctor.Report{
		Status: doctor.Critical,
		Findings: []doctor.Finding{
			{Category: doctor.NATS, Check: "reachable", Status: doctor.Healthy, Description: "it answers"},
			{Category: doctor.Clusters, Check: "agents", Status: doctor.Critical, Description: "amber: silent", Fix: "start it"},
			{Category: doctor.Clusters, Check: "agents", Status: doctor.Critical, Description: "bronze: \x1b[31msilent", Fix: "start it"},
			{Category: doctor.Clusters, Check: "state", Status: doctor.Warning, Description: "amber: stale", Fix: "start it"},
			{Category: doctor.Gateways, Check: "reached", Status: doctor.Unknown, Description: "can't be told: x"},
			{Category: doctor.Gateways, Check: "latency", Status: doctor.Unknown, Description: "can't be told: x"},
		},
		NotAsked: []string{"this", "that"},
	}
}

func TestReportAsATable(t *testing.T) {
	var out bytes.Buffer
	if err := (&commands{output: asTable}).printReport(&out, examined()); err != nil {
		t.Fatal(err)
	}
	const want = `CATEGORY  CHECK      STATUS    DESCRIPTION
nats      reachable  Healthy   it answers
clusters  agents     Critical  amber: silent
clusters  agents     Critical  bronze: ?[31msilent
clusters  state      Warning   amber: stale
gateways  2 checks   Unknown   can't be told: x

Critical: clusters: amber: silent
Critical: clusters: bronze: ?[31msilent
  start it

Warning: clusters: amber: stale
  start it

Not looked at: this; that.
`
	if out.String() != want {
		t.Errorf("printed is\n%s\nwant\n%s", out.String(), want)
	}
}

func TestReportAsJSON(t *testing.T) {
	var out bytes.Buffer
	if err := (&commands{output: asJSON}).printReport(&out, examined()); err != nil {
		t.Fatal(err)
	}
	var again doctor.Report
	if err := json.Unmarshal(out.Bytes(), &again); err != nil || len(again.Findings) != 6 || again.Status != doctor.Critical {
		t.Errorf("%v: %s", err, out.String())
	}
	if strings.Contains(out.String(), `"fix": ""`) {
		t.Errorf("there is nothing to say: %s", out.String())
	}
}

func TestVerdict(t *testing.T) {
	r := examined()
	err := verdict(r)
	if code := proc.ExitCode(err); code != 2 || err.Error() != "the mesh is not healthy: 2 Critical, 1 Warning, 2 Unknown" {
		t.Errorf("%d: %v", code, err)
	}
	r.Status = doctor.Warning
	if code := proc.ExitCode(verdict(r)); code != 1 {
		t.Errorf("a warning exits with %d", code)
	}
	if err := verdict(doctor.Report{Status: doctor.Healthy}); err != nil {
		t.Error(err)
	}
}

func TestDoctorRefusesWhatItDoesNotKnow(t *testing.T) {
	for _, arguments := range [][]string{{"--only", "weather"}, {"--transfers", "perhaps"}, {"somebody"}} {
		var stdout, stderr bytes.Buffer
		code := proc.Execute(t.Context(), newCommand(nil), append([]string{"doctor"}, arguments...), &stdout, &stderr)
		if code != proc.ExitUsage || stdout.Len() > 0 {
			t.Errorf("%v exits with %d and prints %s", arguments, code, stdout.String())
		}
	}
}
