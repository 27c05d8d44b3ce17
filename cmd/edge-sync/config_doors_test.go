package main

import (
	"log/slog"
	"testing"

	"pgregory.net/rapid"

	"github.com/seamark-mesh/seamark/cmd/internal/config"
	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/sync/consul"
	"github.com/seamark-mesh/seamark/sync/nacos"
)

// TestNacosTakesWhatPasses holds the check of the nacos section to that of the
// source, which would otherwise refuse it only at the start.
func TestNacosTakesWhatPasses(t *testing.T) {
	pick := func(usual ...string) *rapid.Generator[string] {
		odd := rapid.StringOfN(rapid.SampledFrom([]rune("aZ-_./@:é *1")), 0, 6, -1)
		return rapid.OneOf(rapid.SampledFrom(usual), rapid.SampledFrom(usual), odd)
	}
	group := rapid.Custom(func(t *rapid.T) NacosGroup {
		return NacosGroup{Name: pick("DEFAULT_GROUP", "PAYMENT").Draw(t, "group"), Suffix: pick("", "-a", ".a", "-A").Draw(t, "suffix")}
	})
	namespace := rapid.Custom(func(t *rapid.T) NacosNamespace {
		return NacosNamespace{ID: pick("", "public", "dev").Draw(t, "id"), As: pick("", "default", "shop").Draw(t, "as"), Groups: rapid.SliceOfN(group, 0, 3).Draw(t, "groups")}
	})
	passed := 0
	rapid.Check(t, func(t *rapid.T) {
		s := &Nacos{
			Servers:    rapid.SliceOfN(pick("127.0.0.1:8848", "[::1]:8848", "nacos:64536"), 0, 2).Draw(t, "servers"),
			Namespaces: rapid.SliceOfN(namespace, 0, 3).Draw(t, "namespaces"),
		}
		r := &config.Report{}
		s.check(r)
		if len(r.Faults()) > 0 {
			return
		}
		passed++
		c := nacos.Config{Servers: s.Servers}
		for _, n := range s.Namespaces {
			target := nacos.Namespace{ID: n.ID, As: n.As}
			for _, g := range n.Groups {
				target.Groups = append(target.Groups, nacos.Group{Name: g.Name, Suffix: g.Suffix})
			}
			c.Namespaces = append(c.Namespaces, target)
		}
		if faults := c.Validate(); len(faults) > 0 {
			t.Errorf("the source refuses what passed: %v", faults)
		}
	})
	if passed == 0 {
		t.Error("no configuration passed, so nothing was shown")
	}
}

func TestConsulTakesWhatPasses(t *testing.T) {
	for address, want := range map[string]bool{
		"http://127.0.0.1:8500": true, "https://consul.example.org": true, "http://[::1]:8500/": true, "https://proxy.example.org/consul": true, "unix:///run/consul.sock": true,
		"127.0.0.1:8500": false, "http://": false, "http://u:p@h": false, "http://h/?x": false, "ftp://h": false, "unix://h": false, "unix:": false, "": false, "http://h:port": false,
	} {
		r := &config.Report{}
		(&Consul{Address: address}).check(r)
		if got := len(r.Faults()) == 0; got != want {
			t.Errorf("%q passes: %v, want %v", address, got, want)
		}
		_, err := consul.New(consul.Config{Address: address, Logger: slog.New(slog.DiscardHandler), Refused: func(*registry.Refusal) {}})
		if want && err != nil {
			t.Errorf("the source refuses %q: %v", address, err)
		}
	}
}
