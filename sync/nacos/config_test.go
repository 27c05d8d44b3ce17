package nacos

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestValidate(t *testing.T) {
	groups := []Group{{Name: "DEFAULT_GROUP"}}
	good := Config{Servers: []string{"127.0.0.1:8848"}, Namespaces: []Namespace{{Groups: groups}}}
	notPEM := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(notPEM, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	with := func(change func(*Config)) Config {
		c := good
		change(&c)
		return c
	}
	tests := map[string]struct {
		config Config
		want   []string // fields at fault
	}{
		"good":              {good, nil},
		"empty":             {Config{}, []string{"servers", "namespaces"}},
		"IPv6":              {with(func(c *Config) { c.Servers = []string{"[::1]:8848", "nacos.example:80"} }), nil},
		"no port":           {with(func(c *Config) { c.Servers = []string{"127.0.0.1"} }), []string{"servers.0"}},
		"URL":               {with(func(c *Config) { c.Servers = []string{"http://127.0.0.1:8848"} }), []string{"servers.0"}},
		"path":              {with(func(c *Config) { c.Servers = []string{"127.0.0.1:8848", "a/b:1"} }), []string{"servers.1"}},
		"no gRPC port":      {with(func(c *Config) { c.Servers = []string{"127.0.0.1:65000"} }), []string{"servers.0"}},
		"context path":      {with(func(c *Config) { c.ContextPath = "nacos?" }), []string{"context_path"}},
		"user, no password": {with(func(c *Config) { c.Username = "u" }), []string{"username"}},
		"no such file":      {with(func(c *Config) { c.TLS = &TLS{CA: "/nowhere/ca.pem"} }), []string{"tls"}},
		"no PEM":            {with(func(c *Config) { c.TLS = &TLS{CA: notPEM} }), []string{"tls"}},
		"half a pair":       {with(func(c *Config) { c.TLS = &TLS{Cert: notPEM} }), []string{"tls"}},
		"bad pair":          {with(func(c *Config) { c.TLS = &TLS{Cert: notPEM, Key: notPEM} }), []string{"tls"}},
		"no groups":         {with(func(c *Config) { c.Namespaces = []Namespace{{}} }), []string{"namespaces.0.groups"}},
		"unnamed namespace": {with(func(c *Config) { c.Namespaces = []Namespace{{ID: "x", Groups: groups}} }), []string{"namespaces.0.as"}},
		"bad names": {with(func(c *Config) {
			c.Namespaces = []Namespace{{ID: "a b", As: "ü", Groups: []Group{{Name: "a@@b", Suffix: " "}, {Name: "", Suffix: "-x"}}}}
		}), []string{"namespaces.0.id", "namespaces.0.as", "namespaces.0.groups.0.name", "namespaces.0.groups.0.suffix", "namespaces.0.groups.1.name", "namespaces.0.groups.1.suffix"}},
		"twice": {with(func(c *Config) {
			c.Namespaces = []Namespace{{Groups: groups}, {ID: "public", As: "other", Groups: groups}}
		}), []string{"namespaces.1.groups.0.name"}},
		"could meet": {with(func(c *Config) {
			c.Namespaces = []Namespace{{Groups: []Group{{Name: "A"}, {Name: "B", Suffix: "-b"}}}, {ID: "x", As: "default", Groups: []Group{{Name: "A"}, {Name: "C", Suffix: "-b"}}}}
		}), []string{"namespaces.1.groups.0.suffix", "namespaces.1.groups.1.suffix"}},
		"kept apart": {with(func(c *Config) {
			c.Namespaces = []Namespace{{Groups: []Group{{Name: "A"}, {Name: "B", Suffix: "-b"}}}, {ID: "x", As: "x", Groups: []Group{{Name: "A"}}}}
		}), nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, fault := range tt.config.Validate() {
				got = append(got, fault.Field)
				t.Log(fault.Field, fault.Detail)
			}
			if strings.Join(got, " ") != strings.Join(tt.want, " ") {
				t.Errorf("faults at %v, want %v", got, tt.want)
			}
			if _, err := New(tt.config); (err != nil) != (len(tt.want) > 0) {
				t.Errorf("New() error = %v", err)
			}
		})
	}
}
