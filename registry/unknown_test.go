package registry_test

import (
	"slices"
	"testing"

	"github.com/seamark-mesh/seamark/registry"
)

func TestANameWhoseStateIsStillLookedForIsUnknown(t *testing.T) {
	t.Parallel()
	fact := func(w registry.Writer, name string) registry.Fact {
		return registry.Fact{Writer: w, Kind: registry.KindService, Service: registry.ServiceKey{Namespace: "default", Name: name}}
	}
	f := registry.NewFold()
	first := f.View()
	f.Missing(fact("amber", "api"), true)
	f.Missing(fact("amber", "API"), true) // meets the other at its labels
	f.Missing(fact("amber", "api"), true)
	f.Missing(registry.Fact{Writer: "amber", Kind: registry.KindCluster}, true)
	second := f.View()
	if first.Unknown(api.Labels()) || !second.Unknown(api.Labels()) || !second.AnyUnknown() || !second.UnknownNamespace("default") || first.UnknownNamespace("default") || second.UnknownNamespace("shop") || second.Unknown(registry.Labels{Namespace: "default", Name: "web"}) {
		t.Errorf("unknown before %v, after %v", first.Unknown(api.Labels()), second.Unknown(api.Labels()))
	}
	if d := second.Delta(); !slices.Equal(d.Names, []registry.Labels{api.Labels()}) {
		t.Errorf("the delta names %v", d.Names)
	}
	f.Missing(fact("amber", "api"), false)
	f.Missing(fact("amber", "api"), false)
	if v := f.View(); !v.Unknown(api.Labels()) {
		t.Error("the other fact is still looked for")
	}
	f.Missing(fact("amber", "API"), false)
	if v := f.View(); v.Unknown(api.Labels()) || v.AnyUnknown() || v.UnknownNamespace("default") || !second.Unknown(api.Labels()) {
		t.Error("nothing is looked for any more, or an old View has changed")
	}
}
