package e2e

import (
	"regexp"
	"strings"
	"testing"
)

var tableRule = regexp.MustCompile(`^\|(?: *:?-+:? *\|)+$`)

// TestDocumentedTables: every row of every page stands in a table. One behind a blank line
// is shown as text.
func TestDocumentedTables(t *testing.T) {
	t.Parallel()
	for _, page := range pages(t) {
		for _, wrong := range strayRows(readText(t, "../"+page)) {
			t.Errorf("%s: %s", page, wrong)
		}
	}
}

// strayRows tells which rows of a page's tables have no head, or another number of cells.
func strayRows(page string) (wrong []string) {
	lines, fenced, head := strings.Split(page, "\n"), false, ""
	width := func(row string) int { return strings.Count(strings.ReplaceAll(row, `\|`, ""), "|") }
	for n, line := range lines {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			fenced = !fenced
		}
		switch {
		case fenced || !strings.HasPrefix(line, "|"):
			head = ""
		case head == "" && (n+1 == len(lines) || !tableRule.MatchString(lines[n+1])):
			wrong = append(wrong, "a row without a table: "+line)
		case head == "":
			head = line
		case width(line) != width(head):
			wrong = append(wrong, "a row with another number of cells than its table: "+line)
		}
	}
	return wrong
}

// A blank line ended the table of docs/failures.md, and nobody saw it.
func TestStrayRows(t *testing.T) {
	t.Parallel()
	const table = "| a | b |\n|---|:-:|\n| 1 | `x\\|y` |\n"
	for name, tt := range map[string]struct {
		page string
		want int
	}{
		"a table":               {"text\n\n" + table + "\ntext\n", 0},
		"two tables":            {table + "\n" + table, 0},
		"behind a blank line":   {table + "\n| 2 | 3 |\n| 4 | 5 |\n", 2},
		"a cell too many":       {table + "| 2 | 3 | 4 |\n", 1},
		"the last line":         {"| 2 | 3 |", 1},
		"code":                  {"```sh\n| x\n```\n", 0},
		"code that is indented": {"    | x\n", 0},
	} {
		if got := strayRows(tt.page); len(got) != tt.want {
			t.Errorf("%s: %q", name, got)
		}
	}
}
