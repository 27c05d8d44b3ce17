package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/tools/go/packages"
)

// licences are those that may be distributed with this project, and how their
// texts are known: by all of these phrases. The first that fits counts.
var licences = []struct {
	name    string
	phrases []string
}{
	{"Apache-2.0", []string{"apache license", "version 2.0"}},
	{"MPL-2.0", []string{"mozilla public license", "2.0"}},
	{"BSD-3-Clause", []string{"redistribution and use in source and binary forms", "neither the name"}},
	{"BSD-2-Clause", []string{"redistribution and use in source and binary forms", "this list of conditions and the following disclaimer in the documentation"}},
	{"MIT", []string{"permission is hereby granted, free of charge", "the above copyright notice and this permission notice shall be included"}},
	{"CC0-1.0", []string{"cc0 1.0 universal", "creative commons"}},
	{"ISC", []string{"permission to use, copy, modify, and/or distribute this software for any purpose", "the above copyright notice"}},
}

var spaces = regexp.MustCompile(`[\s#*]+`)

// licenceOf names the licence of a text; "" for none of those above.
func licenceOf(text string) string {
	text = spaces.ReplaceAllString(strings.ToLower(text), " ")
	for _, l := range licences {
		fits := true
		for _, phrase := range l.phrases {
			fits = fits && strings.Contains(text, phrase)
		}
		if fits {
			return l.name
		}
	}
	return ""
}

// Everything that is linked into the three commands may be given away with them.
func TestLicencesOfAllThatIsLinked(t *testing.T) {
	t.Parallel()
	loaded, err := packages.Load(&packages.Config{
		Context: t.Context(), Dir: "..", Mode: packages.NeedName | packages.NeedImports | packages.NeedDeps | packages.NeedModule,
	}, "./cmd/edge-sync", "./cmd/global-dns", "./cmd/seamark")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	packages.Visit(loaded, nil, func(p *packages.Package) {
		m := p.Module
		if m == nil || seen[m.Path] { // the standard library has no module
			return
		}
		seen[m.Path] = true
		if m.Replace != nil {
			m = m.Replace
		}
		found := licenceFiles(t, m.Dir)
		if len(found) == 0 {
			t.Errorf("%s %s: no licence file in %s", m.Path, m.Version, m.Dir)
		}
		for _, name := range found {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if licence := licenceOf(string(text)); licence == "" {
				t.Errorf("%s %s: %s is no licence of the list: %.60q", m.Path, m.Version, filepath.Base(name), text)
			} else {
				t.Logf("%-55s %-30s %s", m.Path, m.Version, licence)
			}
		}
	})
	if len(seen) < 10 {
		t.Errorf("only %d modules are linked", len(seen))
	}
}

func licenceFiles(t *testing.T, dir string) (found []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		stem := strings.ToLower(strings.TrimSuffix(e.Name(), filepath.Ext(e.Name())))
		if !e.IsDir() && (stem == "license" || stem == "licence" || stem == "copying") {
			found = append(found, filepath.Join(dir, e.Name()))
		}
	}
	return found
}

func TestLicenceOf(t *testing.T) {
	for text, want := range map[string]string{
		"": "",
		"GNU AFFERO GENERAL PUBLIC LICENSE\nVersion 3": "",
		"Business Source License 1.1":                  "",
		"Apache License\n   Version 2.0, January 2004": "Apache-2.0",
		"Mozilla Public License, version 2.0":          "MPL-2.0",
		"Permission is hereby granted, free of charge, to any person …\nThe above copyright notice and this permission notice shall\nbe included": "MIT",
	} {
		if got := licenceOf(text); got != want {
			t.Errorf("licenceOf(%q) = %q, want %q", text, got, want)
		}
	}
}
