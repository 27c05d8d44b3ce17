package e2e

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// alertRules is a file of Prometheus' rules.
type alertRules struct {
	Groups []struct {
		Name  string
		Rules []struct{ Alert, Expr, For string }
	}
}

var (
	selector  = regexp.MustCompile(`(seamark_\w+)(?:\{([^}]*)\})?`)
	matcher   = regexp.MustCompile(`^(\w+)(?:=|!=|=~|!~)"[^"]+"$`)
	grouping  = regexp.MustCompile(`(?:by|on) \(([^)]*)\)`)
	increased = regexp.MustCompile(`(?:increase|rate)\((seamark_\w+)`)
)

// TestDocumentedAlerts holds the alerts of docs/operations.md to the metrics that it
// documents: what they ask is there, and of its kind and labels.
func TestDocumentedAlerts(t *testing.T) {
	t.Parallel()
	known := map[string]metric{}
	for _, program := range []string{"edge-sync", "global-dns"} {
		maps.Copy(known, documentedMetrics(t, program))
	}
	blocks, _ := split(t, "docs/operations.md")
	at := slices.IndexFunc(blocks, func(b codeBlock) bool { return strings.HasPrefix(b.text, "groups:") })
	if at < 0 {
		t.Fatal("the document has no alerts")
	}
	decoder := yaml.NewDecoder(strings.NewReader(blocks[at].text))
	decoder.KnownFields(true)
	var file alertRules
	if err := decoder.Decode(&file); err != nil {
		t.Fatal(err)
	}
	asked, names := map[string]bool{}, map[string]bool{}
	for _, rule := range file.Groups[0].Rules {
		if names[rule.Alert] || !strings.HasPrefix(rule.Alert, "Seamark") {
			t.Errorf("%q is no name, or is there twice", rule.Alert)
		}
		names[rule.Alert] = true
		if rule.For != "" && rule.For != "1d" {
			if _, err := time.ParseDuration(rule.For); err != nil {
				t.Errorf("%s: %v", rule.Alert, err)
			}
		}
		for _, pair := range []string{"()", "{}", "[]"} {
			if strings.Count(rule.Expr, pair[:1]) != strings.Count(rule.Expr, pair[1:]) {
				t.Errorf("%s: brackets of %s", rule.Alert, rule.Expr)
			}
		}
		labels := []string{"le"} // of all that the rule asks
		for _, m := range selector.FindAllStringSubmatch(rule.Expr, -1) {
			name := strings.TrimSuffix(m[1], "_bucket")
			is, ok := known[name]
			if !ok {
				t.Errorf("%s asks for %s, which is not documented", rule.Alert, name)
			}
			asked[name] = true
			own := strings.Fields(is.labels)
			labels = append(labels, own...)
			for part := range strings.SplitSeq(m[2], ",") {
				if label := matcher.FindStringSubmatch(part); m[2] != "" && (label == nil || !slices.Contains(own, label[1])) {
					t.Errorf("%s: %s has the labels %s, not %s", rule.Alert, name, is.labels, part)
				}
			}
			counts := is.kind != "gauge"
			if grows := slices.ContainsFunc(increased.FindAllStringSubmatch(rule.Expr, -1), func(i []string) bool { return i[1] == m[1] }); grows != counts {
				t.Errorf("%s: %s is a %s", rule.Alert, name, is.kind)
			}
		}
		for _, m := range grouping.FindAllStringSubmatch(rule.Expr, -1) {
			for label := range strings.SplitSeq(m[1], ", ") {
				if !slices.Contains(labels, label) {
					t.Errorf("%s: nothing has the label %s", rule.Alert, label)
				}
			}
		}
		if leaving := strings.HasSuffix(rule.Expr, ` unless on (cluster) seamark_cluster_orders{kind="leave"}`); leaving != endsWithLeave[rule.Alert] {
			t.Errorf("%s ends when the cluster has left: %v", rule.Alert, leaving)
		}
	}
	for name := range endsWithLeave {
		if !names[name] {
			t.Errorf("there is no alert %s", name)
		}
	}
	for _, name := range []string{
		"seamark_synced", "seamark_view_cut_off", "seamark_stream_losses_total", "seamark_clusters_inherited", "seamark_checkpoint_failing",
		"seamark_observer_blind", "seamark_observer_leading", "seamark_observer_alarms_total", "seamark_cluster_orders", "seamark_brake_held",
	} {
		if !asked[name] {
			t.Errorf("no alert asks for %s", name)
		}
	}
}

// endsWithLeave names the alerts about what is as it should be once a cluster has left.
var endsWithLeave = map[string]bool{
	"SeamarkAgentSilent": true, "SeamarkClusterNotUp": true, "SeamarkRegistryDown": true, "SeamarkNoGateway": true, "SeamarkInstancesFell": true,
}
