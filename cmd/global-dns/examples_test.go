package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/seamark-mesh/seamark/cmd/internal/config"
)

func TestExample(t *testing.T) {
	const path = "../../examples/global-dns.yaml"
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	AddFlags(flags)
	got, faults := Load(path, nil, flags)
	for _, f := range faults {
		t.Error(f)
	}
	defaults := mustLoad(t, "")
	got.Zone.TTLByService, got.Zone.Nameservers = defaults.Zone.TTLByService, defaults.Zone.Nameservers
	if changed := Reloadable(defaults, got); len(changed) > 0 || !got.Zone.Equal(defaults.Zone) {
		t.Errorf("the example does not show the defaults: %v", changed)
	}
	body, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range config.Fields(&document{}) {
		key := f.Path[strings.LastIndex(f.Path, ".")+1:]
		if !regexp.MustCompile(`(?m)(^[# -]*|\{|, )` + regexp.QuoteMeta(key) + `:`).Match(body) {
			t.Errorf("the example does not show %s", f.Path)
		}
	}
}

// row is a line of a table of fields in the documentation.
var row = regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (.*?) \\| (.+) \\|$")

// TestEveryFieldIsDocumented holds the documentation to the fields and their defaults.
func TestEveryFieldIsDocumented(t *testing.T) {
	body, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(body), "\n## global-dns\n")
	documented := make(map[string]string)
	for _, m := range row.FindAllStringSubmatch(text, -1) {
		documented[m[1]] = m[2]
	}
	for _, f := range config.Fields(&document{}) {
		if strings.HasPrefix(f.Path, "nats.") {
			continue // the section is shared, and documented with edge-sync
		}
		want := "`" + f.Default + "`"
		got, ok := documented[f.Path]
		switch {
		case !ok:
			t.Errorf("%s is not documented", f.Path)
		case f.Default != "" && got != want, f.Default == "" && strings.HasPrefix(got, "`"):
			t.Errorf("%s: the documented default is %s, the real one %q", f.Path, got, f.Default)
		}
		delete(documented, f.Path)
		if f.Default != "" && f.Variable != "" { // the default itself is a valid value
			_, faults := load(t, "", f.Variable+"="+f.Default)
			for _, fault := range faults {
				if strings.HasPrefix(fault, f.Variable) {
					t.Error(fault)
				}
			}
		}
	}
	for path := range documented {
		t.Errorf("%s is documented, but there is no such field", path)
	}
}
