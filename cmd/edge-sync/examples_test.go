package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/seamark-mesh/seamark/cmd/internal/config"
	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/sync/file"
)

func TestExamples(t *testing.T) {
	paths, err := filepath.Glob("../../examples/edge-sync*.yaml")
	if err != nil || len(paths) < 4 {
		t.Fatalf("examples: %v, %v", paths, err)
	}
	for _, path := range paths {
		flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
		AddFlags(flags)
		c, faults := Load(path, nil, flags)
		for _, f := range faults {
			t.Error(f)
		}
		if s := c.Source.File; s == nil {
			continue
		}
		source, err := file.New(file.Config{Path: string(c.Source.File.Path), Logger: slog.New(slog.DiscardHandler), Refused: func(*registry.Refusal) {}})
		if err != nil {
			t.Fatal(err)
		}
		catalog, err := source.Read(t.Context())
		if err != nil || catalog.Len() != 3 || catalog.Instances() != 3 {
			t.Errorf("the catalog has %d services with %d instances, %v", catalog.Len(), catalog.Instances(), err)
		}
	}
}

// TestExampleShowsEveryField takes the comment signs away and finds every field.
func TestExampleShowsEveryField(t *testing.T) {
	body, err := os.ReadFile("../../examples/edge-sync.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range config.Fields(&document{}) {
		if f.Path == "source.consul.token" || f.Path == "source.nacos.password" {
			continue // they come from the environment only
		}
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
	_, text, _ := strings.Cut(string(body), "\n## edge-sync\n")
	text, _, _ = strings.Cut(text, "\n## global-dns\n")
	documented := make(map[string]string)
	for _, m := range row.FindAllStringSubmatch(text, -1) {
		documented[m[1]] = m[2]
	}
	for _, f := range config.Fields(&document{}) {
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
		if !strings.HasPrefix(path, "services[]") {
			t.Errorf("%s is documented, but there is no such field", path)
		}
	}
}
