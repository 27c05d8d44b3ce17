package nacos

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/sync/sourcetest"
)

func TestConformance(t *testing.T) {
	server, a := open(t)
	sourcetest.Run(t, &harness{api: a, registrar: newRegistrar(t, server, ""), line: newLine(t, server)})
}

// harness registers ephemeral instances, as applications do. The sources reach
// Nacos over a line that can be cut, because a restart of the server is a test of
// its own.
type harness struct {
	api       api
	registrar *registrar
	line      *line
}

func (h *harness) Source(t *testing.T) sourcetest.Source {
	return mustNew(t, oneGroup(t, h.line.addr))
}

func (h *harness) Key(name string) registry.ServiceKey {
	return registry.ServiceKey{Namespace: registry.DefaultNamespace, Name: name}
}

func (h *harness) Supports(health registry.Health) bool {
	return health == registry.Passing || health == registry.Critical
}

func (h *harness) Put(t *testing.T, s registry.Service) registry.Service {
	t.Helper()
	want := registry.Service{Key: s.Key}
	var put []instance
	for _, i := range s.Instances {
		meta := map[string]string{}
		maps.Copy(meta, i.Meta)
		if i.Version != "" {
			meta["version"] = i.Version
		}
		text, err := json.Marshal(meta)
		if err != nil {
			t.Fatal(err)
		}
		n := instance{ip: i.Address, port: i.Port, weight: fmt.Sprint(i.Weight), ill: i.Health == registry.Critical, meta: string(text)}
		put = append(put, n)
		i.ID = public.id(s.Key.Name, n)
		want.Instances = append(want.Instances, i)
	}
	h.registrar.put(t, public.group, s.Key.Name, put...)
	clean, refused, ok := registry.CleanService(want.Key.Namespace, want.Key.Name, want.Instances)
	if !ok || len(refused) > 0 {
		t.Fatalf("the harness was asked for what the door refuses: %v", refused)
	}
	return clean
}

func (h *harness) Remove(t *testing.T, k registry.ServiceKey) {
	t.Helper()
	h.registrar.put(t, public.group, k.Name)
}

func (h *harness) Outage(t *testing.T) func() {
	h.line.cut()
	return func() {
		if err := h.line.mend(); err != nil {
			t.Fatal(err)
		}
	}
}

// Hostile registers what Nacos accepts and the door does not.
func (h *harness) Hostile(t *testing.T) []registry.Service {
	t.Helper()
	add := func(service string, i instance) {
		h.api.register(t, public, service, i)
		t.Cleanup(func() { h.api.deregister(t, public, service, i) })
	}
	for _, name := range []string{"über", "日本", strings.Repeat("long", 80), "---"} {
		if _, err := h.api.try(http.MethodPost, "/instance", public.query(name, instance{ip: "192.0.2.9", port: 1})); err == nil {
			add(name, instance{ip: "192.0.2.9", port: 1})
			t.Logf("Nacos accepts the name %q", name)
		}
	}
	service := h.Key("hostile-neighbour").Name
	h.api.create(t, public, service, "0")
	good := instance{ip: "192.0.2.1", port: 80}
	add(service, good)
	add(service, instance{ip: "192.0.2.2", port: 80, weight: "NaN"})
	large := instance{ip: "192.0.2.3", port: 80, meta: `{"large":"` + strings.Repeat("x", 600) + `","fine":"1"}`}
	add(service, large)
	odd := instance{ip: "192.0.2.4", port: 80, meta: `{"version":"` + strings.Repeat("9", 200) + `"}`}
	add(service, odd)
	clean, _, _ := registry.CleanService(registry.DefaultNamespace, service, []registry.Instance{
		{ID: public.id(service, good), Address: good.ip, Port: 80, Weight: 1, Health: registry.Passing},
		{ID: public.id(service, large), Address: large.ip, Port: 80, Weight: 1, Health: registry.Passing, Meta: map[string]string{"fine": "1"}},
		{ID: public.id(service, odd), Address: odd.ip, Port: 80, Weight: 1, Health: registry.Passing, Meta: map[string]string{"version": strings.Repeat("9", 200)}},
	})
	return []registry.Service{clean}
}
