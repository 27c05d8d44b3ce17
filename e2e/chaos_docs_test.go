package e2e

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestDocsFailures: every test that docs/failures.md names as a proof is there, and
// every experiment has its line in the recovery table.
func TestDocsFailures(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/failures.md")
	if err != nil {
		t.Fatal(err)
	}
	_, all := sources(t)
	there := map[string]bool{}
	for _, s := range all {
		if !strings.HasSuffix(s.path, "_test.go") {
			continue
		}
		for name := range s.text.Scope.Objects { //nolint:staticcheck // names are all that is asked for
			there[name] = true
		}
	}
	named := regexp.MustCompile("`((Test|Fuzz)[A-Z][A-Za-z0-9]*)").FindAllStringSubmatch(string(page), -1)
	if len(named) < 30 {
		t.Errorf("only %d tests are named", len(named))
	}
	for _, n := range named {
		if !there[n[1]] {
			t.Errorf("there is no test %s", n[1])
		}
	}
	lines := strings.Split(string(page), "\n")
	for _, e := range experiments() {
		if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, "| "+e.name+" |") }) {
			t.Errorf("the recovery table has no line %q", e.name)
		}
	}
	if n := strings.Count(string(page), "teaches"); n != 1 {
		t.Errorf("the table of outages is there %d times", n)
	}
}
