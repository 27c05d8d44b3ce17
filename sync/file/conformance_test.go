package file_test

import (
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/sync/edge"
	"github.com/seamark-mesh/seamark/sync/file"
	"github.com/seamark-mesh/seamark/sync/sourcetest"
)

var _ edge.Source = (*file.Source)(nil)

func TestConformance(t *testing.T) {
	for name, replace := range map[string]func(t *testing.T, path string, body []byte){
		"Rename":  byRename,
		"InPlace": inPlace,
	} {
		t.Run(name, func(t *testing.T) {
			h := &harness{path: filepath.Join(t.TempDir(), "catalog.yaml"), replace: replace, services: make(map[registry.ServiceKey][]byte)}
			h.write(t)
			sourcetest.Run(t, h)
		})
	}
}

// entry and instance are the catalog as a person writes it.
type entry struct {
	Name      string     `yaml:"name"`
	Namespace string     `yaml:"namespace,omitempty"`
	Instances []instance `yaml:"instances"`
}

type instance struct {
	ID      string            `yaml:"id,omitempty"`
	Address string            `yaml:"address"`
	Port    int               `yaml:"port,omitempty"`
	Weight  int               `yaml:"weight"`
	Health  string            `yaml:"health,omitempty"`
	Version string            `yaml:"version,omitempty"`
	Meta    map[string]string `yaml:"meta,omitempty"`
}

type harness struct {
	path     string
	replace  func(t *testing.T, path string, body []byte)
	services map[registry.ServiceKey][]byte // as YAML: the suite writes some hundred services some hundred times
	hostile  []entry
	away     bool
}

func (h *harness) Source(t *testing.T) sourcetest.Source {
	s, err := file.New(file.Config{Path: h.path, Logger: slog.New(slog.DiscardHandler), Refused: func(*registry.Refusal) {}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (h *harness) Put(t *testing.T, s registry.Service) registry.Service {
	h.services[s.Key] = marshal(t, write(s))
	h.write(t)
	clean, _, _ := registry.CleanService(s.Key.Namespace, s.Key.Name, s.Instances)
	return clean
}

func write(s registry.Service) entry {
	e := entry{Name: s.Key.Name, Namespace: s.Key.Namespace, Instances: []instance{}}
	for _, i := range s.Instances {
		e.Instances = append(e.Instances, instance{i.ID, i.Address, i.Port, i.Weight, string(i.Health), i.Version, i.Meta})
	}
	return e
}

func (h *harness) Remove(t *testing.T, k registry.ServiceKey) {
	delete(h.services, k)
	h.write(t)
}

func marshal(t *testing.T, e entry) []byte {
	t.Helper()
	body, err := yaml.Marshal([]entry{e})
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func (h *harness) write(t *testing.T) {
	body := []byte("services:\n")
	if len(h.services)+len(h.hostile) == 0 {
		body = []byte("services: []\n")
	}
	for _, k := range slices.SortedFunc(maps.Keys(h.services), registry.ServiceKey.Compare) {
		body = append(body, h.services[k]...)
	}
	for _, e := range h.hostile {
		body = append(body, marshal(t, e)...)
	}
	path := h.path
	if h.away {
		path += ".away"
	}
	h.replace(t, path, body)
}

// Outage takes the file away.
func (h *harness) Outage(t *testing.T) func() {
	if err := os.Rename(h.path, h.path+".away"); err != nil {
		t.Fatal(err)
	}
	h.away = true
	return func() {
		h.away = false
		if err := os.Rename(h.path+".away", h.path); err != nil {
			t.Error(err)
		}
	}
}

func (h *harness) Hostile(t *testing.T) []registry.Service {
	good := instance{ID: "good", Address: "192.0.2.1", Port: 80, Weight: 1}
	h.hostile = []entry{
		{Name: "*", Instances: []instance{good}},
		{Name: "", Instances: []instance{good}},
		{Name: "a b", Instances: []instance{good}},
		{Name: "x\ny", Instances: []instance{good}},
		{Name: "café", Instances: []instance{good}},
		{Name: string(make([]byte, 300)), Instances: []instance{good}},
		{Name: "mixed", Instances: []instance{
			good,
			{ID: "no-address", Weight: 1},
			{ID: "port", Address: "192.0.2.2", Port: 65536, Weight: 1},
			{ID: "negative", Address: "192.0.2.2", Port: -1, Weight: 1},
			{ID: "weight", Address: "192.0.2.2", Weight: -1},
			{ID: "health", Address: "192.0.2.2", Weight: 1, Health: "excellent"},
			{ID: "control\x00", Address: "192.0.2.2", Weight: 1},
			{ID: "path", Address: "../../etc", Weight: 1},
			good,
		}},
		{Name: "mixed", Instances: []instance{{ID: "second", Address: "192.0.2.9", Weight: 1}}},
	}
	h.write(t)
	t.Cleanup(func() {
		h.hostile = nil
		h.write(t)
	})
	return []registry.Service{{Key: h.Key("mixed"), Instances: []registry.Instance{
		{ID: "good", Address: "192.0.2.1", Port: 80, Weight: 1, Health: registry.Passing},
	}}}
}

func (*harness) Key(name string) registry.ServiceKey {
	return registry.ServiceKey{Namespace: registry.DefaultNamespace, Name: name}
}
func (*harness) Supports(registry.Health) bool            { return true }
func (*harness) Patience() (change, outage time.Duration) { return 10 * time.Second, 10 * time.Second }

// byRename replaces the file as a careful editor does.
func byRename(t *testing.T, path string, body []byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", body, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// inPlace empties the file and fills it again, as a careless one does.
func inPlace(t *testing.T, path string, body []byte) {
	t.Helper()
	if err := os.WriteFile(path, body, 0o600); err != nil {
		t.Fatal(err)
	}
}
