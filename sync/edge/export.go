package edge

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/seamark-mesh/seamark/registry"
)

// ExportPolicy says which services leave the cluster, and under what name. The
// zero policy exports everything under its own name. Exclude is stronger than
// Include, Include than the default.
type ExportPolicy struct {
	DefaultNone bool
	Include     []registry.Pattern
	Exclude     []registry.Pattern
	Rename      []Rename // the most specific pattern that matches is used

	// Redact names metadata that stays at home whatever service has it. How many pairs
	// were withheld is published, and neither their keys nor their values.
	Redact []registry.KeyPattern
}

// Rename gives services another name: what From's wildcard stood for takes the
// place of To's, in each half of the pattern on its own.
type Rename struct {
	From, To registry.Pattern
}

// Validate tells why a Rename can't be applied: each half may have one "*" at
// most, and To must have as many as From.
func (r Rename) Validate() error {
	for _, p := range []registry.Pattern{r.From, r.To} {
		if _, err := registry.ParsePattern(string(p)); err != nil {
			return err
		}
	}
	fromNamespace, fromName, _ := strings.Cut(string(r.From), "/")
	toNamespace, toName, _ := strings.Cut(string(r.To), "/")
	for _, half := range [][2]string{{fromNamespace, toNamespace}, {fromName, toName}} {
		from, to := strings.Count(half[0], "*"), strings.Count(half[1], "*")
		if from > 1 || to > from {
			return fmt.Errorf("%q to %q: each half may have one *, and the new name no more than the old one", r.From, r.To)
		}
	}
	return nil
}

// Export returns the name under which a service leaves the cluster; ok is false
// when it stays. A rename that gives no valid name keeps the service at home.
func (p ExportPolicy) Export(k registry.ServiceKey) (exported registry.ServiceKey, ok bool) {
	matches := func(p registry.Pattern) bool { return p.Match(k) }
	switch {
	case slices.ContainsFunc(p.Exclude, matches):
		return k, false
	case p.DefaultNone && !slices.ContainsFunc(p.Include, matches):
		return k, false
	}
	var best *Rename
	for i := range p.Rename {
		if r := &p.Rename[i]; r.From.Match(k) && (best == nil || moreSpecific(r.From, best.From)) {
			best = r
		}
	}
	if best == nil {
		return k, true
	}
	renamed, err := best.apply(k)
	return renamed, err == nil
}

func moreSpecific(a, b registry.Pattern) bool {
	fixed := func(p registry.Pattern) int { return len(p) - strings.Count(string(p), "*") }
	return cmp.Or(cmp.Compare(fixed(b), fixed(a)), strings.Compare(string(a), string(b))) < 0
}

func (r Rename) apply(k registry.ServiceKey) (registry.ServiceKey, error) {
	fromNamespace, fromName, _ := strings.Cut(string(r.From), "/")
	toNamespace, toName, _ := strings.Cut(string(r.To), "/")
	return registry.ParseServiceKey(carry(fromNamespace, toNamespace, k.Namespace), carry(fromName, toName, k.Name))
}

// carry replaces the wildcard of to by what the wildcard of from stands for in s.
func carry(from, to, s string) string {
	head, tail, wild := strings.Cut(from, "*")
	if !wild {
		return to
	}
	return strings.Replace(to, "*", s[len(head):len(s)-len(tail)], 1)
}

// exporter keeps what leaves the cluster, as snapshots follow each other. Where
// two services would leave under one name, the one that has it by itself stands,
// then the lexically first; the other stays at home and is reported.
type exporter struct {
	policy  ExportPolicy
	refused func(*registry.Refusal)
	current registry.Snapshot
	origins map[registry.ServiceKey][]registry.ServiceKey // exported → its candidates, the one that stands first
}

func newExporter(policy ExportPolicy, refused func(*registry.Refusal)) *exporter {
	return &exporter{policy: policy, refused: refused, origins: map[registry.ServiceKey][]registry.ServiceKey{}}
}

// advance takes the next snapshot and returns the exported names whose service may differ now.
func (x *exporter) advance(next registry.Snapshot) []registry.ServiceKey {
	changes := registry.Diff(x.current, next)
	x.current = next
	touched := make([]registry.ServiceKey, 0, len(changes))
	for _, c := range changes {
		name, ok := x.policy.Export(c.Key)
		if !ok {
			continue
		}
		touched = append(touched, name)
		switch {
		case c.New == nil:
			x.drop(name, c.Key)
		case c.Old == nil:
			x.add(name, c.Key)
		}
	}
	return touched
}

func (x *exporter) add(name, origin registry.ServiceKey) {
	origins := append(x.origins[name], origin)
	slices.SortFunc(origins, func(a, b registry.ServiceKey) int {
		switch {
		case a == b:
			return 0
		case a == name:
			return -1
		case b == name:
			return 1
		}
		return a.Compare(b)
	})
	x.origins[name] = slices.Compact(origins)
	if len(x.origins[name]) > 1 {
		x.refused(&registry.Refusal{Reason: "export-conflict", Detail: fmt.Sprintf("%s and %s would both leave as %s: %[1]s does", origins[0], origins[1], name)})
	}
}

func (x *exporter) drop(name, origin registry.ServiceKey) {
	rest := slices.DeleteFunc(slices.Clone(x.origins[name]), func(k registry.ServiceKey) bool { return k == origin })
	if len(rest) == 0 {
		delete(x.origins, name)
		return
	}
	x.origins[name] = rest
}

// service returns what leaves under a name; nil when nothing does.
func (x *exporter) service(name registry.ServiceKey) *registry.Service {
	origins := x.origins[name]
	if len(origins) == 0 {
		return nil
	}
	s := x.policy.redact(x.current.Service(origins[0]))
	if s == nil || s.Key == name {
		return s
	}
	renamed := *s
	renamed.Key = name
	return &renamed
}

// redact returns the service without the metadata that stays at home; the same one
// when nothing has to.
func (p ExportPolicy) redact(s *registry.Service) *registry.Service {
	if s == nil || len(p.Redact) == 0 {
		return s
	}
	hidden := func(key, _ string) bool {
		return slices.ContainsFunc(p.Redact, func(p registry.KeyPattern) bool { return p.Match(key) })
	}
	var left *registry.Service
	for n, i := range s.Instances {
		open := maps.Clone(i.Meta)
		maps.DeleteFunc(open, hidden)
		withheld := len(i.Meta) - len(open)
		if withheld == 0 {
			continue
		}
		if left == nil {
			left = &registry.Service{Key: s.Key, Instances: slices.Clone(s.Instances)}
		}
		if left.Redacted += withheld; len(open) == 0 {
			open = nil
		}
		left.Instances[n].Meta = open
	}
	if left == nil {
		return s
	}
	return left
}

// words returns all that leaves.
func (x *exporter) words() []word {
	words := make([]word, 0, len(x.origins))
	for name := range x.origins {
		words = append(words, word{name, x.service(name)})
	}
	return words
}

// withholds reports whether the registry has a service that the policy keeps at home.
func (x *exporter) withholds(k registry.ServiceKey) bool {
	if len(x.origins[k]) > 0 || x.current.Service(k) == nil {
		return false
	}
	name, ok := x.policy.Export(k)
	return !ok || name != k
}

// mayExport reports whether a service could leave under a name, were it there.
func (x *exporter) mayExport(name registry.ServiceKey) bool {
	if to, ok := x.policy.Export(name); ok && to == name {
		return true
	}
	return slices.ContainsFunc(x.policy.Rename, func(r Rename) bool { return r.To.Match(name) })
}

func compareText(a, b string) int { return strings.Compare(a, b) }
