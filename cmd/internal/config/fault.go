package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// MaxFaults bounds how many faults a [Report] tells.
const MaxFaults = 100

// Fault is one thing wrong with a configuration.
type Fault struct {
	Place  string // the file, the environment variable or the flag; "" when there is none
	Line   int    // in the file, from 1; 0 when it has none
	Column int    // in the line, from 1; 0 when it has none
	Field  string // path of the field: gateways.static[0].weight; "" for the file as a whole
	Detail string // what is wrong and what would be right
}

// String returns the fault in one line, as compilers write theirs:
//
//	edge.yaml:12:5: gateways.static[0].weight: 70000 is not within 0 to 65535
func (f Fault) String() string {
	var b strings.Builder
	if f.Place != "" {
		b.WriteString(f.Place)
		if f.Line > 0 {
			fmt.Fprintf(&b, ":%d", f.Line)
			if f.Column > 0 {
				fmt.Fprintf(&b, ":%d", f.Column)
			}
		}
		b.WriteString(": ")
	}
	if f.Field != "" {
		b.WriteString(f.Field + ": ")
	}
	b.WriteString(f.Detail)
	return b.String()
}

// Error returns what [Fault.String] does.
func (f Fault) Error() string { return f.String() }

// origin is where a value was given.
type origin struct {
	place        string
	line, column int
}

// Report says where each value of a configuration came from, and what is wrong
// with them. One goroutine owns it.
type Report struct {
	file    string
	origins map[string]origin
	faults  []Fault
	more    int
}

// Add tells that a field has a bad value. Field is the path that the
// configuration uses; a fault in a field of which one was found already, or in a
// part of it, is not told twice: the first says more. Where the file as a whole
// can't be read, nothing is missing from it.
func (r *Report) Add(field, format string, args ...any) {
	for _, f := range r.faults {
		if f.Field != "" && within(field, f.Field) || r.whole(f) {
			return
		}
	}
	r.add(r.originOf(field), field, format, args...)
}

func (r *Report) add(o origin, field, format string, args ...any) {
	if len(r.faults) >= MaxFaults {
		r.more++
		return
	}
	r.faults = append(r.faults, Fault{
		Place: o.place, Line: o.line, Column: o.column, Field: field, Detail: fmt.Sprintf(format, args...),
	})
}

// Given reports whether the field, or a part of it, was given anywhere.
func (r *Report) Given(field string) bool {
	for path := range r.origins {
		if within(path, field) {
			return true
		}
	}
	return false
}

// Bad reports whether a fault was found in the field, in a part of it or in the
// file as a whole, so that its value means nothing.
func (r *Report) Bad(field string) bool {
	return slices.ContainsFunc(r.faults, func(f Fault) bool {
		return r.whole(f) || within(f.Field, field) || f.Field != "" && within(field, f.Field)
	})
}

// whole reports whether the fault makes all of the file mean nothing.
func (r *Report) whole(f Fault) bool { return f.Field == "" && f.Place == r.file && r.file != "" }

// FromFlag reports whether the field's value was given on the command line,
// where everyone on the machine can read it.
func (r *Report) FromFlag(field string) bool {
	return strings.HasPrefix(r.originOf(field).place, "--")
}

// Faults returns all faults: those of the file by line, then the others. It is
// nil when there are none.
func (r *Report) Faults() []Fault {
	faults := slices.Clone(r.faults)
	slices.SortStableFunc(faults, func(a, b Fault) int {
		elsewhere := func(f Fault) int {
			if f.Place == r.file {
				return 0
			}
			return 1
		}
		return cmp.Or(elsewhere(a)-elsewhere(b), a.Line-b.Line, a.Column-b.Column)
	})
	if r.more > 0 {
		faults = append(faults, Fault{Place: r.file, Detail: fmt.Sprintf("and %d more faults", r.more)})
	}
	return faults
}

// originOf returns where the field, or the nearest section around it, was given.
func (r *Report) originOf(field string) origin {
	for path := field; path != ""; path = parent(path) {
		if o, ok := r.origins[path]; ok {
			return o
		}
	}
	return origin{place: r.file}
}

// within reports whether field is whole or a part of it.
func within(field, whole string) bool {
	rest, ok := strings.CutPrefix(field, whole)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

func parent(path string) string { return path[:max(strings.LastIndexAny(path, ".["), 0)] }

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// clip quotes s and shortens it, so that a hostile value cannot fill a screen.
func clip(s string) string {
	if len(s) > 64 {
		return fmt.Sprintf("%.64q…", s)
	}
	return fmt.Sprintf("%q", s)
}

// nearest returns the candidate that s was probably meant to be; "" when none is near.
func nearest(s string, candidates []string) string {
	best, distance := "", 3
	if len(s) > 64 {
		return ""
	}
	for _, c := range candidates {
		if d := edits(strings.ToLower(s), c); d < distance && d < max(len(c), len(s))/2+1 {
			best, distance = c, d
		}
	}
	return best
}

// edits counts the letters to insert, delete, replace or swap with their
// neighbour that make b of a.
func edits(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
