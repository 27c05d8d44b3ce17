package registry_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seamark-mesh/seamark/registry"
)

func aReport() registry.ProbeReport {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	return registry.ProbeReport{
		Schema: registry.Schema, Vantage: "_dns-eu-1", Agent: "global-dns@host", Cluster: "amber", Time: at, Every: 11.5, Cut: true,
		Gateways: []registry.GatewayReport{
			{Name: "gw-1", Reached: true, Since: at, Latency: &registry.Latency{Count: 100, Min: 0.5, Mean: 0.75, P99: 3}},
			{Name: "gw-2", Since: at, Error: "192.0.2.1:80: connection refused"},
		},
	}
}

func TestProbeReport(t *testing.T) {
	want := aReport()
	body, err := registry.EncodeProbeReport(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := registry.DecodeProbeReport(body)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	backwards := aReport()
	slices.Reverse(backwards.Gateways)
	if body, err = registry.EncodeProbeReport(backwards); err != nil {
		t.Fatal(err)
	}
	if got, err = registry.DecodeProbeReport(body); err != nil || !cmp.Equal(want, got) {
		t.Errorf("the order of gateways counts: %v", err)
	}
	if _, err := registry.DecodeProbeReport([]byte(`{"schema":"seamark/1.99","vantage":"bronze","cluster":"amber","gateways":null,"new":{"x":[1]}}`)); err != nil {
		t.Errorf("what is unknown is not tolerated: %v", err)
	}
}

// What a vantage point may not say is refused, with a reason, and never panics.
func TestProbeReportIsValidated(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*registry.ProbeReport)
		reason string
	}{
		"another major version":  {func(r *registry.ProbeReport) { r.Schema = "seamark/2.0" }, "schema"},
		"no vantage":             {func(r *registry.ProbeReport) { r.Vantage = "" }, "vantage"},
		"the prefix alone":       {func(r *registry.ProbeReport) { r.Vantage = "_dns-" }, "vantage"},
		"the observer":           {func(r *registry.ProbeReport) { r.Vantage = "_observer" }, "vantage"},
		"a vantage of two parts": {func(r *registry.ProbeReport) { r.Vantage = "a.b" }, "vantage"},
		"a vantage of 64 bytes":  {func(r *registry.ProbeReport) { r.Vantage = "_dns-" + strings.Repeat("v", 59) }, "vantage"},
		"no cluster":             {func(r *registry.ProbeReport) { r.Cluster = "" }, "cluster-id"},
		"a long agent":           {func(r *registry.ProbeReport) { r.Agent = strings.Repeat("a", 1<<14) }, "probe"},
		"an agent in colour":     {func(r *registry.ProbeReport) { r.Agent = "\x1b[31m" }, "probe"},
		"never":                  {func(r *registry.ProbeReport) { r.Every = -1 }, "probe"},
		"once a day":             {func(r *registry.ProbeReport) { r.Every = 86400 }, "probe"},
		"no gateway's name":      {func(r *registry.ProbeReport) { r.Gateways[0].Name = "" }, "probe"},
		"one gateway twice":      {func(r *registry.ProbeReport) { r.Gateways[0].Name = "gw-2" }, "probe"},
		"a long error":           {func(r *registry.ProbeReport) { r.Gateways[0].Error = strings.Repeat("e", 1025) }, "probe"},
		"an error of two lines":  {func(r *registry.ProbeReport) { r.Gateways[0].Error = "a\nb" }, "probe"},
		"a negative latency":     {func(r *registry.ProbeReport) { r.Gateways[0].Latency.P99 = -1 }, "probe"},
		"too many gateways": {func(r *registry.ProbeReport) {
			for n := range registry.MaxGateways {
				r.Gateways = append(r.Gateways, registry.GatewayReport{Name: fmt.Sprintf("g-%d", n)})
			}
		}, "probe"},
		"too large": {func(r *registry.ProbeReport) {
			for n := range registry.MaxGateways - 2 {
				r.Gateways = append(r.Gateways, registry.GatewayReport{Name: fmt.Sprintf("g-%d", n), Error: strings.Repeat("e", 1000)})
			}
		}, "too-large"},
	} {
		r := aReport()
		tt.change(&r)
		body, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		_, err = registry.DecodeProbeReport(body)
		var refused *registry.Refusal
		if !errors.As(err, &refused) || refused.Reason != tt.reason {
			t.Errorf("%s: %v, want a refusal for %s", name, err, tt.reason)
		}
	}
}

func FuzzProbeReport(f *testing.F) {
	body, err := registry.EncodeProbeReport(aReport())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(body)
	f.Add([]byte(`{"schema":"seamark/1.0","vantage":"a","cluster":"b","gateways":[{}]}`))
	f.Add([]byte(strings.Repeat("[", 100)))
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := registry.DecodeProbeReport(body)
		if err != nil {
			return
		}
		again, err := registry.EncodeProbeReport(r)
		if err == nil {
			var back registry.ProbeReport
			if back, err = registry.DecodeProbeReport(again); err == nil && !cmp.Equal(r, back) {
				t.Errorf("%q is read otherwise the second time", body)
			}
		}
		if err != nil {
			t.Errorf("what was read can't be read again: %v", err)
		}
	})
}
