package edge_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/seamark-mesh/seamark/registry"
)

// What a pattern of metadata keys covers is in no message, not even as the name of
// what is missing; how much is missing is told.
func TestRedactedMetadataNeverLeaves(t *testing.T) {
	secret := service("cart", 2)
	secret.Instances[0].Meta = map[string]string{"DB_Password": "hunter2", "team": "blue"}
	secret.Instances[1].Meta = map[string]string{"api-token": "hunter2"}
	open := service("cart", 2)
	open.Instances[0].Meta = map[string]string{"team": "blue"}
	w := newWorld(secret, service("tax", 1))
	w.settings.Export.Redact = []registry.KeyPattern{"*password*", "*token"}
	inWorld(t, w, func(t *testing.T, w *world) {
		a := w.start("one")
		settle()
		w.mustEqual(t, registry.NewSnapshot("", open, service("tax", 1)))
		told := 0
		for _, k := range w.memory.history() {
			m := k.message()
			body, err := json.Marshal(m.Event)
			if err != nil {
				t.Fatal(err)
			}
			if text := strings.ToLower(string(body)); strings.Contains(text, "hunter2") || strings.Contains(text, "password") || strings.Contains(text, "token") {
				t.Errorf("it left the cluster: %s", body)
			}
			if s := m.Event.Service; s != nil && s.Name == "cart" {
				if told = s.Redacted; told != 2 {
					t.Errorf("cart: %d pairs are said to be withheld, 2 are", told)
				}
			} else if s != nil && s.Redacted != 0 {
				t.Errorf("%s: %d pairs are said to be withheld", s.Name, s.Redacted)
			}
		}
		if told == 0 {
			t.Error("cart was never published")
		}
		settings := w.settings
		settings.Export.Redact = nil
		a.Reload(settings)
		settle()
		w.mustEqual(t, registry.NewSnapshot("", secret, service("tax", 1)))
		settings.Export.Redact = []registry.KeyPattern{"*password*", "*token"}
		a.Reload(settings)
		settle()
		w.mustEqual(t, registry.NewSnapshot("", open, service("tax", 1)))
	})
}
