package registry

import "strings"

// Pattern selects services: "namespace/name", where each "*" stands for any run
// of characters (also none) within its half. It is compared byte for byte.
type Pattern string

// ParsePattern checks that s has two non-empty halves of at most [MaxNameLength] bytes.
func ParsePattern(s string) (Pattern, error) {
	namespace, name, ok := strings.Cut(s, "/")
	if !ok || namespace == "" || name == "" || len(namespace) > MaxNameLength || len(name) > MaxNameLength || !printable(s) {
		return "", refuse("pattern", "%q is no pattern: write namespace/name, for example shop/*", clip(s))
	}
	return Pattern(s), nil
}

// Match reports whether the pattern covers the service.
func (p Pattern) Match(k ServiceKey) bool {
	namespace, name, _ := strings.Cut(string(p), "/")
	return wildcard(namespace, k.Namespace) && wildcard(name, k.Name)
}

// KeyPattern selects metadata pairs by their key, where each "*" stands for any run of
// characters, also none. The case of ASCII letters does not matter: a pattern that is
// to keep a secret at home should not miss it for a capital.
type KeyPattern string

// ParseKeyPattern checks that s is text of 1 to [MaxMetaKey] bytes.
func ParseKeyPattern(s string) (KeyPattern, error) {
	if s == "" || len(s) > MaxMetaKey || !printable(s) {
		return "", refuse("pattern", "%q is no pattern of metadata keys: write for example *password*", clip(s))
	}
	return KeyPattern(strings.ToLower(s)), nil
}

// Match reports whether the pattern covers a key.
func (p KeyPattern) Match(key string) bool { return wildcard(string(p), strings.ToLower(key)) }

// specificity counts the characters that are not wildcards.
func (p Pattern) specificity() int { return len(p) - strings.Count(string(p), "*") }

// wildcard never backtracks beyond the last "*": at worst the product of both lengths.
func wildcard(pattern, s string) bool {
	p, n, star, mark := 0, 0, -1, 0
	for n < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, n
			p++
		case p < len(pattern) && pattern[p] == s[n]:
			p, n = p+1, n+1
		case star >= 0:
			mark++
			p, n = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
