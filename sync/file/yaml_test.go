package file

import (
	"errors"
	"strings"
	"testing"
)

func TestSyntaxErrorNamesTheLine(t *testing.T) {
	for name, tt := range map[string]struct {
		body string
		line int
	}{
		"first line":          {"a: b: c\n", 1},
		"third line":          {"a: 1\nb: 2\nc: d: e\n", 3},
		"open list":           {"a: 1\nb: [1, 2\nc: 3\n", 2}, // where it was opened
		"open map, last line": {"a: 1\nb: {c: 1", 2},
		"open text":           {"a: 1\nb: \"x\n", 2},
		"tab":                 {"a:\n\tb: 1\n", 2},
		"not a key":           {"a: 1\nb\n", 2},
		"back to the left":    {"a:\n    b: 1\n  c: 2\n", 3},
		"unexpected dash":     {"a: 1\n- b\n", 2},
		"second document":     {"a: 1\n---\nb: 1\n", 2},
		"unknown anchor":      {"a: 1\nb: *x\n", 0},
		"control character":   {"a: 1\nb: \x01\n", 0},
		"not UTF-8":           {"a: 1\nb: \xff\n", 0},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseYAML([]byte(tt.body))
			var syntax *SyntaxError
			if !errors.As(err, &syntax) {
				t.Fatalf("got %v, want a SyntaxError", err)
			}
			if syntax.Line != tt.line || syntax.Detail == "" || strings.Contains(syntax.Detail, "yaml:") {
				t.Errorf("got %v, want line %d", syntax, tt.line)
			}
		})
	}
}
