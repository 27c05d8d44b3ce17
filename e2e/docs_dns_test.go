package e2e

import (
	"go/ast"
	"regexp"
	"strings"
	"testing"

	"github.com/seamark-mesh/seamark/dnsserver/lookup"
	"github.com/seamark-mesh/seamark/dnsserver/lookup/lookuptest"
)

const (
	dnsPage         = "../docs/dns.md"
	conformancePage = "../docs/conformance.md"
)

// TestConformanceNamesTests: each test that the table of docs/conformance.md names is
// there.
func TestConformanceNamesTests(t *testing.T) {
	t.Parallel()
	_, all := sources(t)
	tests := map[string]bool{}
	for _, s := range all {
		for _, d := range s.text.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && s.test && strings.HasPrefix(f.Name.Name, "Test") {
				tests[s.dir+"."+f.Name.Name] = true
			}
		}
	}
	table := rows(t, conformancePage, "RFC", "requirement", "test")
	if len(table) < 40 {
		t.Fatalf("the table has %d rows", len(table))
	}
	for _, row := range table {
		names := strings.Fields(row[2])
		if len(names) == 0 {
			t.Errorf("RFC %s, %s: no test", row[0], row[1])
		}
		for _, name := range names {
			if !tests[unquoted(name)] {
				t.Errorf("RFC %s: there is no test %s", row[0], name)
			}
		}
	}
}

var spacesBetweenFields = regexp.MustCompile(`\t+`)

// TestRecordsOfDNSPage: the records that docs/dns.md shows are those of the world that
// the tests of package lookup use.
func TestRecordsOfDNSPage(t *testing.T) {
	t.Parallel()
	zone := map[string]bool{}
	for rr := range lookup.Zone(lookuptest.Harbours().View()) {
		zone[spacesBetweenFields.ReplaceAllString(rr.String(), " ")] = true
	}
	blocks := regexp.MustCompile("(?s)```text\n(.*?)```").FindAllStringSubmatch(readText(t, dnsPage), -1)
	if len(blocks) < 4 {
		t.Fatalf("the page shows %d blocks of records", len(blocks))
	}
	for _, block := range blocks {
		for line := range strings.Lines(block[1]) {
			if line = strings.TrimSpace(line); !zone[line] {
				t.Errorf("the page shows %q, which is not in the zone", line)
			}
		}
	}
}
