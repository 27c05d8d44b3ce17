package archive

import (
	"maps"
	"slices"
	"strings"
)

// filter is a list of subjects with NATS wildcards; an empty one matches all. There may
// be thousands without wildcards.
type filter struct {
	names map[string]bool // without wildcards
	wild  [][]string      // tokens
	every bool
}

func newFilter(subjects []string) filter {
	f := filter{names: map[string]bool{}, every: len(subjects) == 0}
	for _, s := range subjects {
		tokens := strings.Split(s, ".")
		switch {
		case s == ">":
			f.every = true
		case slices.Contains(tokens, "*") || slices.Contains(tokens, ">"):
			f.wild = append(f.wild, tokens)
		default:
			f.names[s] = true
		}
	}
	return f
}

// all reports whether every subject matches.
func (f filter) all() bool { return f.every }

// literals returns the subjects themselves, sorted, when none has a wildcard.
func (f filter) literals() (names []string, plain bool) {
	if f.every || len(f.wild) > 0 {
		return nil, false
	}
	return slices.Sorted(maps.Keys(f.names)), true
}

// match reports whether one of the filters matches.
func (f filter) match(subject string) bool {
	if f.every || f.names[subject] {
		return true
	}
	for _, tokens := range f.wild {
		if matches(tokens, subject) {
			return true
		}
	}
	return false
}

func matches(tokens []string, subject string) bool {
	for n, token := range tokens {
		if token == ">" && n == len(tokens)-1 {
			return subject != ""
		}
		have, rest, more := strings.Cut(subject, ".")
		if token != "*" && token != have || token == "*" && have == "" {
			return false
		}
		if n == len(tokens)-1 {
			return !more
		}
		if !more {
			return false
		}
		subject = rest
	}
	return false
}
