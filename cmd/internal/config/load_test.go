package config

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
)

// sample has a field of every form that a configuration can have.
type sample struct {
	Name    string             `yaml:"name" help:"its name"`
	Port    int                `yaml:"port" default:"80" help:"its port"`
	On      bool               `yaml:"on" default:"true" help:"whether"`
	Every   time.Duration      `yaml:"every" default:"1m" help:"how often"`
	TTL     Seconds            `yaml:"ttl" default:"5s" help:"how long"`
	Limit   Size               `yaml:"limit" default:"10GiB" help:"how much"`
	Words   []string           `yaml:"words" default:"a,b" help:"which"`
	Nets    []netip.Prefix     `yaml:"nets" help:"where"`
	Labels  map[string]string  `yaml:"labels" help:"marks"`
	TTLs    map[string]Seconds `yaml:"ttls" help:"how long each"`
	Section struct {
		CA   Path `yaml:"ca" help:"a file"`
		Deep struct {
			Text string `yaml:"two_words" help:"a text"`
		} `yaml:"deep"`
	} `yaml:"section"`
	Either *choice `yaml:"either"`
	Or     *choice `yaml:"or"`
	Items  []item  `yaml:"items"`
	NATS   NATS    `yaml:"nats"`
}

type choice struct {
	Address netip.Addr `yaml:"address" default:"127.0.0.1" help:"an address"`
	Token   Secret     `yaml:"token" help:"a secret"`
}

type item struct {
	Name   string         `yaml:"name"`
	Weight int            `yaml:"weight" default:"1"`
	Ports  map[string]int `yaml:"ports"`
}

func mustLoad(t *testing.T, yaml string, environ []string, args ...string) sample {
	t.Helper()
	s, faults := loadAll(t, yaml, environ, args...)
	if len(faults) > 0 {
		t.Fatalf("Load: %v", faults)
	}
	return s
}

// loadAll returns the faults as lines without the directory of the file.
func loadAll(t *testing.T, yaml string, environ []string, args ...string) (sample, []string) {
	t.Helper()
	directory := t.TempDir()
	path := filepath.Join(directory, "c.yaml")
	if err := os.WriteFile(path, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	AddFlags(flags, &sample{})
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	var s sample
	r := Load(&s, path, environ, flags)
	s.NATS.Check(r, "nats")
	var lines []string
	for _, f := range r.Faults() {
		lines = append(lines, strings.ReplaceAll(f.String(), directory+string(filepath.Separator), ""))
	}
	return s, lines
}

func TestDefaults(t *testing.T) {
	s := mustLoad(t, "", nil)
	want := sample{
		Port: 80, On: true, Every: time.Minute, TTL: 5, Limit: 10 << 30, Words: []string{"a", "b"},
		NATS: NATS{Servers: []string{"nats://127.0.0.1:4222"}},
	}
	if !reflect.DeepEqual(s, want) {
		t.Errorf("got %+v, want %+v", s, want)
	}
}

func TestFile(t *testing.T) {
	s := mustLoad(t, `
name: 12.50
port: 81
on: false
every: 90s
ttl: 2m
limit: 1.5KiB
words: [x, "y z"]
nets: [192.0.2.7/24, "2001:db8::/32"]
labels: {tier: prod, empty: }
ttls: {shop/*: 15s}
section: &section
  ca: ca.pem
  deep: {two_words: here}
either: {}
or:
items:
- {name: one}
- {name: two, weight: 0, ports: {http: 8080}}
`, nil)
	if s.Name != "12.50" || s.Port != 81 || s.On || s.Every != 90*time.Second || s.TTL != 120 || s.Limit != 1536 {
		t.Errorf("scalars: %+v", s)
	}
	if !slices.Equal(s.Words, []string{"x", "y z"}) || s.Nets[0] != netip.MustParsePrefix("192.0.2.0/24") || s.TTLs["shop/*"] != 15 {
		t.Errorf("lists and maps: %+v", s)
	}
	if v, ok := s.Labels["empty"]; !ok || v != "" || s.Labels["tier"] != "prod" {
		t.Errorf("labels: %v", s.Labels)
	}
	if filepath.Base(string(s.Section.CA)) != "ca.pem" || !filepath.IsAbs(string(s.Section.CA)) || s.Section.Deep.Text != "here" {
		t.Errorf("section: %+v", s.Section)
	}
	if s.Either == nil || s.Either.Address != netip.MustParseAddr("127.0.0.1") || s.Or != nil {
		t.Errorf("choices: %v, %v", s.Either, s.Or)
	}
	want := []item{{Name: "one", Weight: 1}, {Name: "two", Weight: 0, Ports: map[string]int{"http": 8080}}}
	if diff := cmp.Diff(want, s.Items); diff != "" {
		t.Error(diff)
	}
}

func TestPrecedence(t *testing.T) {
	const yaml = "port: 1\nwords: [file]\nsection: {ca: file.pem}\nlabels: {from: file}\n"
	environ := []string{
		"SEAMARK_PORT=2", "SEAMARK_WORDS=a, b,,c", "SEAMARK_SECTION_CA=env.pem", "SEAMARK_SECTION_DEEP_TWO_WORDS=env",
		"SEAMARK_LABELS=from=env,x=1", "SEAMARK_EITHER_TOKEN=hush", "SEAMARK_ON=", "PORT=9", "SEAMARK_NATS_URL=nats://a:1,nats://b:2",
	}
	s := mustLoad(t, yaml, environ)
	if s.Port != 2 || !slices.Equal(s.Words, []string{"a", "b", "c"}) || s.Section.CA != "env.pem" || s.Section.Deep.Text != "env" || !s.On {
		t.Errorf("environment: %+v", s)
	}
	if s.Labels["from"] != "env" || s.Labels["x"] != "1" || s.Either.Token.Reveal() != "hush" || len(s.NATS.Servers) != 2 {
		t.Errorf("environment: %+v", s)
	}
	s = mustLoad(t, yaml, environ, "--port", "3", "--words=d", "--words", "e,f", "--section-ca", "/flag.pem", "--on=false", "--section-deep-two-words", "flag", "--ttls", "a/*=3s")
	if s.Port != 3 || !slices.Equal(s.Words, []string{"d", "e", "f"}) || s.Section.CA != "/flag.pem" || s.On || s.Section.Deep.Text != "flag" || s.TTLs["a/*"] != 3 {
		t.Errorf("flags: %+v", s)
	}
}

func TestFaults(t *testing.T) {
	tests := map[string]struct {
		yaml    string
		environ []string
		args    []string
		want    []string
	}{
		"unknown keys": {
			yaml: "nmae: x\nsection:\n  deep: {words: 1}\nca: x\nfoo: 1\n",
			want: []string{
				`c.yaml:1:1: nmae: unknown key; did you mean name?`,
				`c.yaml:3:10: section.deep.words: unknown key here; did you mean words?`,
				`c.yaml:4:1: ca: unknown key here; did you mean nats.ca?`,
				`c.yaml:5:1: foo: unknown key; the keys are name, port, on, every, ttl, limit, words, nets, labels, ttls, section, either, or, items, nats`,
			},
		},
		"types": {
			yaml: "name: [x]\nport: {a: b}\non: yes\nevery: 5\nttl: 1500ms\nlimit: big\nwords: x\nlabels: [x]\nsection: 3\nitems: [1, {weight: 1.5}]\nnets: [foo]\neither: {address: \"::x\"}\n",
			want: []string{
				`c.yaml:1:7: name: a list stands where one value belongs`,
				`c.yaml:2:7: port: a section stands where one value belongs`,
				`c.yaml:3:5: on: "yes" is neither true nor false`,
				`c.yaml:4:8: every: "5" has no unit; write for example 5s`,
				`c.yaml:5:6: ttl: "1500ms" is not a whole number of seconds; write for example 5s`,
				`c.yaml:6:8: limit: "big" is no size; write for example 512MiB or 10GiB`,
				`c.yaml:7:8: words: "x" stands where a list belongs; write ["x"]`,
				`c.yaml:8:9: labels: a list stands where pairs belong; write for example {key: value}`,
				`c.yaml:9:10: section: "3" stands where a section belongs; its keys are ca, deep`,
				`c.yaml:10:9: items[0]: "1" stands where a section belongs; its keys are name, weight, ports`,
				`c.yaml:10:21: items[1].weight: "1.5" is no whole number; write for example 1`,
				`c.yaml:11:8: nets[0]: "foo" is no network; write for example 192.0.2.0/24 or 2001:db8::/32`,
				`c.yaml:12:19: either.address: "::x" is no IP address; write for example 203.0.113.10 or 2001:db8::10`,
			},
		},
		"structure": {
			yaml: "port: 1\nport: 2\nwords: [a, ~]\nname: !!str x\nlabels: {<<: {a: b}}\n? [a]\n: b\n",
			want: []string{
				`c.yaml:2:1: port: is given twice, first in line 1`,
				`c.yaml:3:12: words[1]: is empty; take it out or give it a value`,
				`c.yaml:4:7: name: the tag "!!str" is not supported; write the plain value`,
				`c.yaml:5:10: labels: the merge key << is not supported; write the values out`,
				`c.yaml:6:3: a list can't be a key`,
			},
		},
		"not YAML":         {yaml: "name: x\nport: [1\n", want: []string{`c.yaml:2: this is not YAML: did not find expected ',' or ']'`}},
		"first line":       {yaml: "a: b: c", want: []string{`c.yaml:1: this is not YAML: mapping values are not allowed in this context`}},
		"a list":           {yaml: "- a", want: []string{`c.yaml:1:1: a list stands where a section belongs; its keys are ` + strings.Join(keysOf(reflect.TypeFor[sample]()), ", ")}},
		"second document":  {yaml: "name: x\n---\nname: y\n", want: []string{`c.yaml:2: a second document begins here; write only one`}},
		"secret in a file": {yaml: "either: {token: hush}", want: []string{`c.yaml:1:17: either.token: a secret does not belong in the configuration; give it as SEAMARK_EITHER_TOKEN, or name a file that holds it in either.token_file`}},
		"environment": {
			environ: []string{"SEAMARK_PORT=x", "SEAMARK_TTLS=a", "SEAMARK_NETS=1,2", "SEAMARK_NATS_SERVRES=x", "SEAMARK_SERVER=http://x", "SEAMARK_SERVICE_HOST=10.0.0.1"},
			want: []string{
				`SEAMARK_PORT: port: "x" is no whole number; write for example 1`,
				`SEAMARK_NETS: nets: "1" is no network; write for example 192.0.2.0/24 or 2001:db8::/32`,
				`SEAMARK_TTLS: ttls: "a" is no pair; write for example tier=prod`,
				`SEAMARK_NATS_SERVRES: is not a variable of this program; did you mean SEAMARK_NATS_SERVERS?`,
			},
		},
		"flags": {
			args: []string{"--port", "x", "--nats-url", "nats://a", "--nats-servers", "nats://b", "--name", "a\x00b"},
			want: []string{
				`--name: name: the text has a control character or is not UTF-8`,
				`--port: port: "x" is no whole number; write for example 1`,
				`--nats-url: nats.servers: is also given as --nats-servers; keep one of the two`,
			},
		},
		"twice in the environment": {
			environ: []string{"SEAMARK_NATS_URL=nats://a", "SEAMARK_NATS_SERVERS=nats://b"},
			want:    []string{`SEAMARK_NATS_URL: nats.servers: is also given as SEAMARK_NATS_SERVERS; keep one of the two`},
		},
		"nats": {
			yaml: "nats: {servers: [\"127.0.0.1:4222\", \"nats://u:p@h/path\", \"tls://h:4222\", \"wss://h/path\"], cert: x}\n",
			want: []string{
				`c.yaml:1:18: nats.servers[0]: this is no URL of a NATS server; write for example nats://127.0.0.1:4222 (or tls:, ws:, wss:)`,
				`c.yaml:1:36: nats.servers[1]: "nats://u:xxxxx@h/path" has more than host and port; write for example nats://127.0.0.1:4222`,
				`c.yaml:1:96: nats.cert: is given without nats.key; a client's certificate needs both`,
			},
		},
		"no server": {
			yaml: "nats: {servers: []}\n",
			want: []string{`c.yaml:1:17: nats.servers: no server is given; write for example [nats://127.0.0.1:4222]`},
		},
		"password in a flag": {
			args: []string{"--nats-url", "nats://u:p@h"},
			want: []string{`--nats-url: nats.servers[0]: a password on the command line can be read by everyone on this machine; use SEAMARK_NATS_SERVERS or a credentials file`},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, faults := loadAll(t, tt.yaml, tt.environ, tt.args...)
			if diff := cmp.Diff(tt.want, faults); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestUnreadableFile(t *testing.T) {
	directory := t.TempDir()
	large := filepath.Join(directory, "large")
	if err := os.WriteFile(large, []byte(strings.Repeat("#\n", MaxFile)), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(directory, "none"): "can't be read: no such file",
		directory:                        "can't be read",
		large:                            "is larger than",
	} {
		var s sample
		r := Load(&s, path, nil, nil)
		r.Add("name", "is missing")
		faults := r.Faults()
		if len(faults) != 1 || faults[0].Place != path || !strings.Contains(faults[0].Detail, want) {
			t.Errorf("Load(%s): %v, want one fault with %q", path, faults, want)
		}
	}
}

// TestBounds gives files that are small and would grow without end, or too deep.
func TestBounds(t *testing.T) {
	var bomb strings.Builder
	bomb.WriteString("words: &a [x,x,x,x,x,x,x,x,x,x]\nitems:\n- ports: &b0 {p: 1}\n")
	for range 20_000 {
		bomb.WriteString("- ports: *b0\n  name: x\n  weight: 1\n")
	}
	bomb.WriteString("nets: *a\n")
	for name, tt := range map[string]struct{ yaml, want string }{
		"billion laughs":    {"a: &a [x,x]\nb: &b [*a,*a]\nlabels: &c {x: *b}\nwords: [*b, *c]\n", "stands where one value belongs"},
		"many values":       {bomb.String(), "expands to more than"},
		"its own alias":     {"section: &s {deep: *s}", "unknown key"},
		"list of itself":    {"words: &w [*w]", "stands where one value belongs"},
		"nested flow":       {strings.Repeat("[", 20_000), "not YAML"},
		"nested blocks":     {strings.Repeat("- ", 20_000) + "a", "not YAML"},
		"nested and closed": {"name: " + strings.Repeat("[", 5000) + strings.Repeat("]", 5000), "a list stands"},
		"hostile key":       {"? \"" + strings.Repeat("k", 100_000) + "\"\n: 1\n", "unknown key"},
		"NUL":               {"name: \"a\\0b\"", "control character"},
		"binary":            {"\x00\x01\x02", "not YAML"},
		"not UTF-8":         {"name: \"\xff\xfe\"", "not YAML"},
	} {
		t.Run(name, func(t *testing.T) {
			_, faults := loadAll(t, tt.yaml, nil)
			if len(faults) == 0 || !slices.ContainsFunc(faults, func(f string) bool { return strings.Contains(f, tt.want) }) {
				t.Fatalf("got %.1000q, want a fault with %q", faults, tt.want)
			}
			for _, f := range faults {
				if len(f) > 700 {
					t.Errorf("a fault has %d bytes", len(f))
				}
			}
		})
	}
}

func TestFaultsAreBounded(t *testing.T) {
	_, faults := loadAll(t, "items:\n"+strings.Repeat("- {weigth: 1}\n", 1000), nil)
	if len(faults) != MaxFaults+1 || faults[MaxFaults] != "c.yaml: and 900 more faults" {
		t.Errorf("got %d faults, the last %q", len(faults), faults[len(faults)-1])
	}
}

func TestReport(t *testing.T) {
	var s sample
	path := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(path, []byte("section:\n  ca: x\nitems:\n- {name: [], weight: 3}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := Load(&s, path, []string{"SEAMARK_NAME=x"}, nil)
	if !r.Given("section") || !r.Given("section.ca") || !r.Given("name") || r.Given("sect") || r.Given("labels") {
		t.Error("Given does not tell what was given")
	}
	if !r.Bad("items") || !r.Bad("items[0].name") || !r.Bad("items[0].name.x") || r.Bad("items[0].weight") || r.Bad("section") {
		t.Error("Bad does not tell what is bad")
	}
	r.Add("items[0].name", "told already")
	r.Add("items[0].weight", "too heavy")
	r.Add("items[0].ports", "missing")
	r.Add("section.deep", "empty")
	r.Add("name", "bad")
	r.Add("labels", "missing")
	var got []string
	for _, f := range r.Faults() {
		got = append(got, strings.TrimPrefix(f.Error(), filepath.Dir(path)+"/"))
	}
	want := []string{
		"c.yaml: labels: missing",
		"c.yaml:2:3: section.deep: empty",
		"c.yaml:4:3: items[0].ports: missing",
		"c.yaml:4:10: items[0].name: a list stands where one value belongs",
		"c.yaml:4:22: items[0].weight: too heavy",
		"SEAMARK_NAME: name: bad",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestNoFlagForSecrets(t *testing.T) {
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	AddFlags(flags, &sample{})
	if flags.Lookup("either-token") != nil {
		t.Error("a secret can be given by a flag")
	}
	if f := flags.Lookup("words"); f == nil || f.DefValue != "a,b" || f.Usage != "which" {
		t.Errorf("flag words: %+v", f)
	}
}

func TestSecretIsNeverPrinted(t *testing.T) {
	text := "hush"
	s := struct{ Token, token Secret }{Secret{&text}, Secret{&text}}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		if text := fmt.Sprintf(format, s); strings.Contains(text, "hush") || strings.Contains(text, "68757368") {
			t.Errorf("%s prints %s", format, text)
		}
	}
	if text, _ := s.Token.MarshalText(); string(text) != "[redacted]" || s.Token.LogValue().String() != "[redacted]" {
		t.Error("a secret is encoded or logged")
	}
	if (Secret{}).String() != "" {
		t.Error("no secret looks like one")
	}
}

// TestAnyIsPassedOver reads one section of a file whose others belong to someone else.
func TestAnyIsPassedOver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(path, []byte("mine: {port: x}\nother: &o {a: [1, 2]}\nmore: *o\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var s struct {
		Mine struct {
			Port int `yaml:"port"`
		} `yaml:"mine"`
		Other any `yaml:"other"`
	}
	var got []string
	for _, f := range Load(&s, path, []string{"SEAMARK_OTHER=x"}, nil).Faults() {
		got = append(got, strings.TrimPrefix(f.String(), filepath.Dir(path)+"/"))
	}
	want := []string{
		`c.yaml:1:14: mine.port: "x" is no whole number; write for example 1`,
		`c.yaml:3:1: more: unknown key; did you mean mine?`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestFields(t *testing.T) {
	got := make(map[string]Field)
	for _, f := range Fields(&sample{}) {
		got[f.Path] = f
	}
	for _, want := range []Field{
		{Path: "port", Default: "80", Variable: "SEAMARK_PORT", Flag: "--port", Help: "its port"},
		{Path: "section.deep.two_words", Variable: "SEAMARK_SECTION_DEEP_TWO_WORDS", Flag: "--section-deep-two-words", Help: "a text"},
		{Path: "either.token", Variable: "SEAMARK_EITHER_TOKEN", Help: "a secret"},
		{Path: "items[].weight", Default: "1"},
		{Path: "items[].ports"},
		{Path: "words", Default: "a,b", Variable: "SEAMARK_WORDS", Flag: "--words", Help: "which"},
	} {
		if got[want.Path] != want {
			t.Errorf("got %+v, want %+v", got[want.Path], want)
		}
	}
	if _, there := got["section"]; there {
		t.Error("a section is among the fields")
	}
}

func FuzzLoad(f *testing.F) {
	for _, seed := range []string{
		"", "name: x", "a: &a [*a]", "section: {deep: {two_words: [}}", "items: [{name: a, ports: {x: 1}}]",
		"limit: 1e400GiB\nttl: -9223372036854775808s\nevery: 1", "either: !!binary x", "? {a: b}\n: c", "%YAML 1.1\n---\n", "nets: [::/0, ~]", "labels: {<<: *x}",
	} {
		f.Add([]byte(seed), seed, seed)
	}
	f.Fuzz(func(t *testing.T, body []byte, variable, flag string) {
		var s sample
		r := &Report{file: "c.yaml", origins: make(map[string]origin)}
		setDefaults(reflect.ValueOf(&s).Elem())
		r.readBody(body, ".", reflect.ValueOf(&s))
		fields := leaves(reflect.TypeFor[sample](), nil, "")
		var environ []string
		flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
		AddFlags(flags, &sample{})
		for i, l := range fields {
			environ = append(environ, Variable(l.path)+"="+variable)
			if i%2 == 0 && !l.secret() {
				_ = flags.Set(Flag(l.path), flag)
			}
		}
		r.readEnvironment(reflect.ValueOf(&s).Elem(), fields, environ)
		r.readFlags(reflect.ValueOf(&s).Elem(), fields, flags)
		s.NATS.Check(r, "nats")
		CheckListen(r, "name", s.Name)
		if n := len(r.Faults()); n > MaxFaults+1 {
			t.Errorf("%d faults", n)
		}
		if s.TTL < 0 || s.Limit < 0 {
			t.Errorf("ttl %d, limit %d", s.TTL, s.Limit)
		}
	})
}
