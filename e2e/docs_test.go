package e2e

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func readText(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// rows returns the cells of a table of the document: the one with these titles.
func rows(t *testing.T, path string, titles ...string) [][]string {
	t.Helper()
	cells := func(line string) []string {
		all := strings.Split(strings.Trim(strings.ReplaceAll(line, `\|`, "\x00"), "|"), "|")
		for n := range all {
			all[n] = strings.ReplaceAll(strings.TrimSpace(all[n]), "\x00", "|")
		}
		return all
	}
	lines := strings.Split(readText(t, path), "\n")
	start := slices.IndexFunc(lines, func(line string) bool {
		return strings.HasPrefix(line, "|") && slices.Equal(cells(line), titles)
	})
	if start < 0 {
		t.Fatalf("%s has no table with the titles %v", path, titles)
	}
	var all [][]string
	for _, line := range lines[start+2:] {
		if !strings.HasPrefix(line, "|") {
			break
		}
		row := cells(line)
		if len(row) != len(titles) {
			t.Fatalf("%s: the row %q has %d cells, not %d", path, line, len(row), len(titles))
		}
		all = append(all, row)
	}
	return all
}

func unquoted(s string) string { return strings.Trim(s, "`") }

// constants returns the constants of a package whose name matches, as they are
// written.
func constants(t *testing.T, dir, match string) map[string]string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	wanted, found := regexp.MustCompile(match), map[string]string{}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		source := readText(t, name)
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			for k, id := range spec.Names {
				if wanted.MatchString(id.Name) && k < len(spec.Values) {
					v := spec.Values[k]
					found[id.Name] = source[v.Pos()-1 : v.End()-1]
				}
			}
			return true
		})
	}
	if len(found) == 0 {
		t.Fatalf("%s has no constant that matches %s", dir, match)
	}
	return found
}

// literals collects what a pattern's first group matches in the Go files of some
// packages, tests aside.
func literals(t *testing.T, pattern string, dirs ...string) map[string]bool {
	t.Helper()
	match, found := regexp.MustCompile("(?m)"+pattern), map[string]bool{}
	for _, dir := range dirs {
		names, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			for _, m := range match.FindAllStringSubmatch(readText(t, name), -1) {
				found[m[1]] = true
			}
		}
	}
	if len(found) == 0 {
		t.Fatalf("nothing matches %s", pattern)
	}
	return found
}
