package registry_test

import (
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/seamark-mesh/seamark/registry"
)

func TestPatternMatch(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		pattern, namespace, name string
		want                     bool
	}{
		{"shop/cart", "shop", "cart", true},
		{"shop/cart", "shop", "carts", false},
		{"shop/cart", "Shop", "cart", false},
		{"shop/cart", "shop", "", false},
		{"shop/*", "shop", "cart", true},
		{"shop/*", "shops", "cart", false},
		{"*/*", "shop", "cart", true},
		{"*/cart", "shop", "cart", true},
		{"*/internal-*", "shop", "internal-api", true},
		{"*/internal-*", "shop", "internal-", true},
		{"*/internal-*", "shop", "my-internal-api", false},
		{"shop/*-v1", "shop", "cart-v1", true},
		{"shop/*-v1", "shop", "cart-v1-v1", true},
		{"shop/*-v1", "shop", "cart-v11", false},
		{"shop/a*b*c", "shop", "abc", true},
		{"shop/a*b*c", "shop", "a-b-b-c", true},
		{"shop/a*b*c", "shop", "acb", false},
		{"shop/**", "shop", "cart", true},
		{"shop/c**t", "shop", "ct", true},
		{"shop/*/v1", "shop", "cart/v1", true}, // only the first slash divides
		{"shop/ca?t", "shop", "cart", false},   // nothing else is special
		{"shop/ca.t", "shop", "cart", false},
		{"shop/[a-z]*", "shop", "cart", false},
	} {
		p, err := registry.ParsePattern(tt.pattern)
		if err != nil {
			t.Errorf("ParsePattern(%q): %v", tt.pattern, err)
			continue
		}
		if got := p.Match(registry.ServiceKey{Namespace: tt.namespace, Name: tt.name}); got != tt.want {
			t.Errorf("%q matches %s/%s: %v, want %v", tt.pattern, tt.namespace, tt.name, got, tt.want)
		}
	}
}

func TestPatternMatchesAsARegularExpressionWould(t *testing.T) {
	t.Parallel()
	half := rapid.StringMatching(`[ab*]{1,8}`)
	rapid.Check(t, func(t *rapid.T) {
		namespace, name := half.Draw(t, "namespace"), half.Draw(t, "name")
		p, err := registry.ParsePattern(namespace + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		key := registry.ServiceKey{Namespace: rapid.StringMatching(`[ab]{0,10}`).Draw(t, "in"), Name: rapid.StringMatching(`[ab]{0,10}`).Draw(t, "of")}
		want := expression(namespace).MatchString(key.Namespace) && expression(name).MatchString(key.Name)
		if got := p.Match(key); got != want {
			t.Fatalf("%q matches %v: %v, want %v", p, key, got, want)
		}
	})
}

func expression(half string) *regexp.Regexp {
	return regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(half), `\*`, ".*") + "$")
}

func TestParsePatternRefuses(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{
		"", "/", "shop", "shop/", "/cart", "shop/\x00", "shop/\u202e", "shop/\xff", strings.Repeat("a", 256) + "/a", "a/" + strings.Repeat("a", 256),
	} {
		_, err := registry.ParsePattern(bad)
		mustRefuse(t, err, "pattern")
	}
}

func TestKeyPattern(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		pattern, key string
		want         bool
	}{
		{"*password*", "db-password", true},
		{"*password*", "DB_PASSWORD_2", true},
		{"*Password*", "password", true},
		{"token", "token", true},
		{"token", "tokens", false},
		{"*", "anything", true},
	} {
		p, err := registry.ParseKeyPattern(tt.pattern)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Match(tt.key); got != tt.want {
			t.Errorf("%s covers %s: %v", tt.pattern, tt.key, got)
		}
	}
	for _, bad := range []string{"", "a\x00b", strings.Repeat("x", registry.MaxMetaKey+1)} {
		if p, err := registry.ParseKeyPattern(bad); err == nil {
			t.Errorf("%.20q is the pattern %q", bad, p)
		}
	}
}
