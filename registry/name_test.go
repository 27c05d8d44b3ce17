package registry_test

import (
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/seamark-mesh/seamark/registry"
)

var validLabel = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

func TestLabel(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"api":                          "api",
		"API":                          "api",
		"shop.cart":                    "shop-cart",
		"shop_cart":                    "shop-cart",
		"shop:cart":                    "shop-cart",
		"shop/cart":                    "shop-cart",
		"DEFAULT_GROUP@@orders":        "default-group--orders",
		"_sip":                         "sip",
		"-edge-":                       "edge",
		"42":                           "42",
		"xn--bcher-kva":                "xn--bcher-kva",
		"*":                            "",
		"...":                          "",
		"":                             "",
		"*.api":                        "api",
		strings.Repeat("a", 63):        strings.Repeat("a", 63),
		strings.Repeat("a", 64):        strings.Repeat("a", 54) + "-ffe054fe",
		strings.Repeat("A", 64):        strings.Repeat("a", 54) + "-d53eda7a",
		strings.Repeat("a", 63) + ".":  strings.Repeat("a", 63),
		strings.Repeat("a.", 40) + "z": strings.Repeat("a-", 26) + "a-" + "cbf28d02",
		"bücher":                       "b--cher",
		"a\x00b":                       "a-b",
	} {
		if got := registry.Label(name); got != want {
			t.Errorf("Label(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestLabelIsALabelOrNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.OneOf(rapid.String(), rapid.StringN(0, 300, 300), rapid.StringMatching(`[-a-zA-Z0-9._:/@*]{0,120}`)).Draw(t, "name")
		got := registry.Label(name)
		if got != "" && !validLabel.MatchString(got) {
			t.Fatalf("Label(%q) = %q, which is no label", name, got)
		}
		if again := registry.Label(got); again != got {
			t.Fatalf("the label of the label %q is %q", got, again)
		}
		key, err := registry.ParseServiceKey("", name)
		if err != nil {
			return
		}
		if labels := key.Labels(); labels.Name != got || got == "" || labels.Namespace != "default" {
			t.Fatalf("%q is accepted, but its labels are %+v", name, labels)
		}
	})
}

func TestLongNamesThatDifferKeepDifferentLabels(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 70)
	seen := map[string]string{}
	for _, name := range []string{long + "1", long + "2", long + "3", strings.ToUpper(long) + "1"} {
		label := registry.Label(name)
		if other, meets := seen[label]; meets {
			t.Errorf("%q and %q share the label %q", name, other, label)
		}
		seen[label] = name
	}
}

func TestParseServiceKey(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		namespace, name string
		reason          string
		key             registry.ServiceKey
	}{
		"plain":                     {"shop", "cart", "", registry.ServiceKey{Namespace: "shop", Name: "cart"}},
		"no namespace":              {"", "cart", "", registry.ServiceKey{Namespace: "default", Name: "cart"}},
		"case is kept":              {"Shop", "Cart", "", registry.ServiceKey{Namespace: "Shop", Name: "Cart"}},
		"all digits":                {"1", "2", "", registry.ServiceKey{Namespace: "1", Name: "2"}},
		"255 bytes":                 {"a", strings.Repeat("x", 255), "", registry.ServiceKey{Namespace: "a", Name: strings.Repeat("x", 255)}},
		"an A-label":                {"a", "xn--bcher-kva", "", registry.ServiceKey{Namespace: "a", Name: "xn--bcher-kva"}},
		"a leading hyphen":          {"a", "-x-", "", registry.ServiceKey{Namespace: "a", Name: "-x-"}},
		"empty":                     {"a", "", "name-empty", registry.ServiceKey{}},
		"256 bytes":                 {"a", strings.Repeat("x", 256), "name-too-long", registry.ServiceKey{}},
		"64 KiB":                    {strings.Repeat("x", 65_536), "a", "name-too-long", registry.ServiceKey{}},
		"a wildcard":                {"a", "*", "name-characters", registry.ServiceKey{}},
		"a subject wildcard":        {">", "a", "name-characters", registry.ServiceKey{}},
		"dots":                      {"a", "...", "name-characters", registry.ServiceKey{}},
		"a space":                   {"a", "x y", "name-characters", registry.ServiceKey{}},
		"a line":                    {"a", "x\r\ny", "name-characters", registry.ServiceKey{}},
		"NUL":                       {"a", "x\x00", "name-characters", registry.ServiceKey{}},
		"DEL":                       {"a", "x\x7f", "name-characters", registry.ServiceKey{}},
		"an umlaut":                 {"a", "bücher", "name-not-ascii", registry.ServiceKey{}},
		"a homograph (Cyrillic а)":  {"a", "аpi", "name-not-ascii", registry.ServiceKey{}},
		"a zero-width space":        {"a", "ap\u200bi", "name-not-ascii", registry.ServiceKey{}},
		"a right-to-left override":  {"a", "ap\u202ei", "name-not-ascii", registry.ServiceKey{}},
		"a decomposed accent":       {"a", "e\u0301", "name-not-ascii", registry.ServiceKey{}},
		"bytes that are no UTF-8":   {"a", "x\xff\xfe", "name-not-ascii", registry.ServiceKey{}},
		"a namespace with an emoji": {"\U0001f6a2", "a", "name-not-ascii", registry.ServiceKey{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			key, err := registry.ParseServiceKey(tt.namespace, tt.name)
			if tt.reason == "" {
				if err != nil || key != tt.key {
					t.Errorf("ParseServiceKey = %v, %v; want %v", key, err, tt.key)
				}
				return
			}
			mustRefuse(t, err, tt.reason)
			if _, _, ok := registry.CleanService(tt.namespace, tt.name, shared); ok {
				t.Error("CleanService accepts it")
			}
		})
	}
}

func mustRefuse(t *testing.T, err error, reason string) {
	t.Helper()
	checkRefusal(t, err)
	if got := err.(*registry.Refusal).Reason; got != reason {
		t.Errorf("refused for %q (%v), want %q", got, err, reason)
	}
}

func TestParseClusterIDAndWriter(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"a", "amber", "eu-1", "1", strings.Repeat("a", 63)} {
		id, err := registry.ParseClusterID(good)
		if err != nil || string(id) != good {
			t.Errorf("ParseClusterID(%q) = %q, %v", good, id, err)
		}
		w, err := registry.ParseWriter(good)
		if got, own := w.Cluster(); err != nil || !own || got != id {
			t.Errorf("ParseWriter(%q) = %q, %v; Cluster() = %q, %v", good, w, err, got, own)
		}
	}
	for _, bad := range []string{
		"", "Amber", "a.b", "a_b", "-a", "a-", "*", ">", "a b", "a\r\n", "a\x00", "ä", "_observer", "_system", strings.Repeat("a", 64), strings.Repeat("a", 10_000),
	} {
		_, err := registry.ParseClusterID(bad)
		mustRefuse(t, err, "cluster-id")
		if bad == "_observer" {
			continue
		}
		if _, err := registry.ParseWriter(bad); err == nil {
			t.Errorf("ParseWriter(%q) accepts it", bad)
		}
	}
	for _, w := range []registry.Writer{registry.Observer, registry.Operator, ""} {
		if id, own := w.Cluster(); own || id != "" {
			t.Errorf("%q is the agent of cluster %q", w, id)
		}
	}
	for _, w := range []registry.Writer{registry.Observer, registry.Operator} {
		if got, err := registry.ParseWriter(string(w)); err != nil || got != w {
			t.Errorf("ParseWriter(%q) = %q, %v", w, got, err)
		}
	}
}
