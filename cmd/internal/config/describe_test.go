package config_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seamark-mesh/seamark/cmd/internal/config"
)

type described struct {
	Name    string   `yaml:"name"`
	Servers []string `yaml:"servers"`
	Section *struct {
		Every    time.Duration     `yaml:"every"`
		Networks []netip.Prefix    `yaml:"networks"`
		Inside   []string          `yaml:"inside" private:"true"`
		Renamed  map[string]string `yaml:"renamed" private:"true"`
		Token    config.Secret     `yaml:"token"`
	} `yaml:"section"`
	Labels map[string]string `yaml:"labels"`
	Parts  []struct {
		Port int `yaml:"port"`
	} `yaml:"parts"`
	Unset string `yaml:"unset"`
}

func example(t *testing.T, token string) *described {
	t.Helper()
	type document struct {
		Servers []string `yaml:"servers"`
		Section struct {
			Token config.Secret `yaml:"token"`
		} `yaml:"section"`
	}
	var read document
	r := config.Load(&read, "", []string{config.Variable("section.token") + "=" + token}, nil)
	if faults := r.Faults(); len(faults) > 0 {
		t.Fatal(faults)
	}
	d := &described{Name: "amber", Servers: []string{"nats://me:hunter2@127.0.0.1:4222"}, Labels: map[string]string{"b": "2", "a": "1"}}
	d.Section = &struct {
		Every    time.Duration     `yaml:"every"`
		Networks []netip.Prefix    `yaml:"networks"`
		Inside   []string          `yaml:"inside" private:"true"`
		Renamed  map[string]string `yaml:"renamed" private:"true"`
		Token    config.Secret     `yaml:"token"`
	}{
		Every: 90 * time.Second, Networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		Inside: []string{"shop/secret-plan"}, Renamed: map[string]string{"merger/*": "shop/*"}, Token: read.Section.Token,
	}
	d.Parts = append(d.Parts, struct {
		Port int `yaml:"port"`
	}{8080})
	return d
}

func TestDescribe(t *testing.T) {
	d := config.Describe(example(t, "hunter2"))
	want := map[string]string{
		"name": "amber", "servers": "[nats://me:xxxxx@127.0.0.1:4222]", "section.every": "1m30s", "section.networks": "[127.0.0.0/8]", "section.inside": config.Hidden,
		"section.renamed": config.Hidden, "section.token": config.Hidden, "labels.a": "1", "labels.b": "2", "parts[0].port": "8080",
	}
	if diff := cmp.Diff(want, d.Fields()); diff != "" {
		t.Error(diff)
	}
	for _, secret := range []string{"hunter2", "secret-plan", "merger"} {
		if strings.Contains(fmt.Sprint(d), secret) {
			t.Errorf("%s is told: %v", secret, d)
		}
	}
}

func TestWhatIsInlinedIsAsPrivateAsWhatItIsInlinedIn(t *testing.T) {
	type common struct {
		Name string `yaml:"name"`
	}
	var c struct {
		common `yaml:",inline" private:"true"`
		Zone   string `yaml:"zone"`
	}
	c.Name, c.Zone = "hunter2", "eu"
	if diff := cmp.Diff(map[string]string{"name": config.Hidden, "zone": "eu"}, config.Describe(c).Fields()); diff != "" {
		t.Error(diff)
	}
}

func TestRevisionFollowsWhatIsSaid(t *testing.T) {
	one := config.Describe(example(t, "hunter2"))
	if again := config.Describe(example(t, "other")); again.Revision() != one.Revision() || len(one.Revision()) != 12 {
		t.Errorf("%q and %q, which differ in a secret only", one.Revision(), again.Revision())
	}
	hidden := example(t, "hunter2")
	hidden.Section.Inside = nil
	if config.Describe(hidden).Revision() == one.Revision() {
		t.Error("a field that is not shown does not count")
	}
	var none config.Description
	if none.Revision() != "" {
		t.Errorf("nothing has the revision %q", none.Revision())
	}
}
