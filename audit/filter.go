package audit

import (
	"maps"
	"slices"
	"strings"

	"github.com/seamark-mesh/seamark/registry/stream"
)

// Filter is what the subjects of a [Range] or of [History].Latest match, for histories
// that look through their messages themselves. Make one with [NewFilter].
type Filter struct {
	names map[string]bool // without wildcards
	wild  []string
	every bool
}

// NewFilter makes a Filter of subjects with NATS wildcards; none match all. There may be
// thousands without wildcards.
func NewFilter(subjects []string) Filter {
	f := Filter{names: map[string]bool{}, every: len(subjects) == 0}
	for _, s := range subjects {
		switch {
		case s == ">":
			f.every = true
		case strings.ContainsAny(s, "*>"):
			f.wild = append(f.wild, s)
		default:
			f.names[s] = true
		}
	}
	return f
}

// All reports whether every subject matches.
func (f Filter) All() bool { return f.every }

// Literals returns the subjects themselves, sorted, when none has a wildcard.
func (f Filter) Literals() (names []string, plain bool) {
	if f.every || len(f.wild) > 0 {
		return nil, false
	}
	return slices.Sorted(maps.Keys(f.names)), true
}

// Match reports whether one of the filters matches.
func (f Filter) Match(subject string) bool {
	return f.every || f.names[subject] ||
		slices.ContainsFunc(f.wild, func(wild string) bool { return stream.Matches(wild, subject) })
}
