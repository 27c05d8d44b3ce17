package archive

import "strings"

// filter is a list of subjects with NATS wildcards; an empty one matches all.
type filter [][]string

func newFilter(subjects []string) filter {
	f := make(filter, 0, len(subjects))
	for _, s := range subjects {
		f = append(f, strings.Split(s, "."))
	}
	return f
}

// all reports whether every subject matches.
func (f filter) all() bool {
	for _, tokens := range f {
		if len(tokens) == 1 && tokens[0] == ">" {
			return true
		}
	}
	return len(f) == 0
}

// literals returns the subjects themselves when none has a wildcard.
func (f filter) literals() ([]string, bool) {
	var plain []string
	for _, tokens := range f {
		for _, token := range tokens {
			if token == "*" || token == ">" {
				return nil, false
			}
		}
		plain = append(plain, strings.Join(tokens, "."))
	}
	return plain, len(f) > 0
}

// match reports whether one of the filters matches.
func (f filter) match(subject string) bool {
	if len(f) == 0 {
		return true
	}
	for _, tokens := range f {
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
