package config

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
)

// Common is what two sections have in common.
type Common struct {
	Every time.Duration  `yaml:"every" default:"2s" help:"how often"`
	Nets  []netip.Prefix `yaml:"nets" help:"where"`
	Inner struct {
		Name string `yaml:"name" default:"x" help:"its name"`
	} `yaml:"inner"`
}

// more is that, and in between two layers of it a field of its own.
type more struct {
	Common `yaml:",inline"`
	Extra  string `yaml:"extra" help:"what else"`
}

type inlining struct {
	First  Common `yaml:"first"`
	Second struct {
		Before string `yaml:"before"`
		More   more   `yaml:",inline"`
	} `yaml:"second"`
	Third *more  `yaml:"third"`
	List  []more `yaml:"list"`
}

func loadInlining(t *testing.T, yaml string, environ []string, args ...string) (inlining, []string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(path, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	AddFlags(flags, &inlining{})
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	var c inlining
	r := Load(&c, path, environ, flags)
	if c.Second.More.Every < time.Second {
		r.Add("second.every", "is too often")
	}
	var lines []string
	for _, f := range r.Faults() {
		lines = append(lines, strings.TrimPrefix(f.String(), filepath.Dir(path)+string(filepath.Separator)))
	}
	return c, lines
}

// TestInlinedSections: what is declared elsewhere is given by file, variable and flag as if
// it were declared here.
func TestInlinedSections(t *testing.T) {
	c, faults := loadInlining(t, `
first: {every: 3s}
second:
  before: b
  every: 4s
  nets: [192.0.2.0/24]
  inner: {name: deep}
  extra: e
third: {extra: t}
list: [{every: 5s, extra: l}, {}]
`, []string{"SEAMARK_SECOND_EXTRA=from-env", "SEAMARK_THIRD_INNER_NAME=third"}, "--second-nets", "198.51.100.0/24", "--first-inner-name=f")
	if faults != nil {
		t.Fatal(faults)
	}
	second := c.Second.More
	if c.First.Every != 3*time.Second || c.First.Inner.Name != "f" || c.Second.Before != "b" || second.Every != 4*time.Second ||
		second.Inner.Name != "deep" || second.Extra != "from-env" || !slices.Equal(second.Nets, []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}) {
		t.Errorf("%+v", c)
	}
	if c.Third == nil || c.Third.Extra != "t" || c.Third.Every != 2*time.Second || c.Third.Inner.Name != "third" {
		t.Errorf("%+v", c.Third)
	}
	if len(c.List) != 2 || c.List[0].Every != 5*time.Second || c.List[0].Extra != "l" || c.List[1].Every != 2*time.Second || c.List[1].Inner.Name != "x" {
		t.Errorf("%+v", c.List)
	}
	var paths []string
	for _, f := range Fields(&c) {
		paths = append(paths, f.Path)
	}
	want := []string{
		"first.every", "first.nets", "first.inner.name", "second.before", "second.every", "second.nets", "second.inner.name", "second.extra",
		"third.every", "third.nets", "third.inner.name", "third.extra", "list[].every", "list[].nets", "list[].inner.name", "list[].extra",
	}
	if diff := cmp.Diff(want, paths); diff != "" {
		t.Error(diff)
	}
	if got := Describe(c).Fields(); got["second.every"] != "4s" || got["second.inner.name"] != "deep" {
		t.Errorf("it describes itself as %v", got)
	}
}

// TestFaultsOfInlinedSections: each names its file, line and field, as it does elsewhere.
func TestFaultsOfInlinedSections(t *testing.T) {
	for name, tt := range map[string]struct {
		yaml    string
		environ []string
		want    []string
	}{
		"unknown": {"second:\n  evry: 3s\n", nil, []string{`c.yaml:2:3: second.evry: unknown key; did you mean every?`}},
		"unknown, near nothing": {"second:\n  before: x\n  zzzzzzzz: 1\n", nil, []string{
			`c.yaml:3:3: second.zzzzzzzz: unknown key; the keys of second are before, every, nets, inner, extra`,
		}},
		"the struct's own name": {"second: {more: {every: 3s}}", nil, []string{
			`c.yaml:1:10: second.more: unknown key; the keys of second are before, every, nets, inner, extra`,
		}},
		"what stands for inlining": {"second: {\",inline\": {every: 3s}}", nil, []string{
			`c.yaml:1:10: second.,inline: unknown key; the keys of second are before, every, nets, inner, extra`,
		}},
		"no key": {"second: {\"\": 1}", nil, []string{
			`c.yaml:1:10: second.: unknown key; the keys of second are before, every, nets, inner, extra`,
		}},
		"elsewhere": {"every: 3s", nil, []string{`c.yaml:1:1: every: unknown key here; did you mean first.every?`}},
		"twice":     {"second:\n  extra: a\n  every: 3s\n  every: 4s\n", nil, []string{`c.yaml:4:3: second.every: is given twice, first in line 3`}},
		"a value":   {"second:\n  extra: a\n  nets: [foo]\n", nil, []string{`c.yaml:3:10: second.nets[0]: "foo" is no network; write for example 192.0.2.0/24 or 2001:db8::/32`}},
		"a scalar":  {"second: 3", nil, []string{`c.yaml:1:9: second: "3" stands where a section belongs; its keys are before, every, nets, inner, extra`}},
		"a meaning": {"second:\n  extra: a\n  every: 3ms\n", nil, []string{`c.yaml:3:10: second.every: is too often`}},
		"of a list": {"list:\n- every: 3s\n- evry: 3s\n", nil, []string{`c.yaml:3:3: list[1].evry: unknown key; did you mean every?`}},
		"a variable": {"", []string{"SEAMARK_SECOND_EVERY=x", "SEAMARK_SECOND_EXTAR=x"}, []string{
			`SEAMARK_SECOND_EVERY: second.every: "x" is no duration; write for example 5s or 720h`,
			`SEAMARK_SECOND_EXTAR: is not a variable of this program; did you mean SEAMARK_SECOND_EXTRA?`,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			if _, faults := loadInlining(t, tt.yaml, tt.environ); cmp.Diff(tt.want, faults) != "" {
				t.Error(cmp.Diff(tt.want, faults))
			}
		})
	}
}
